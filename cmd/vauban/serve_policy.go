package main

import (
	"context"

	"vauban.dev/arm/door"
	"vauban.dev/authz"
	"vauban.dev/provider/policyinsights"
)

// actThrough makes the requests of policy assignments' identities through the door: they need roles as any caller does.
func actThrough(d *door.Door) policyinsights.Act {
	return func(ctx context.Context, who authz.Principal, method, path, version string, body []byte) (int, []byte, error) {
		a, err := d.Do(ctx, door.Inside{Caller: who, Method: method, Path: path, Version: version, Body: body})
		return a.Status, a.Body, err
	}
}
