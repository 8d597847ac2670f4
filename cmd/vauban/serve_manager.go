package main

import (
	"context"
	"encoding/json"
	"net/url"

	"vauban.dev/arm/door"
	"vauban.dev/region"
)

const methodARM = "arm" // armParams → armResult

// armParams are a request to Resource Manager, which is made as the region's first principal.
type armParams struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Version string            `json:"apiVersion"`
	Query   map[string]string `json:"query,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
}

// armResult is the answer.
type armResult struct {
	Status    int             `json:"status"`
	Operation string          `json:"operation,omitempty"` // the path and query of what to poll
	Body      json.RawMessage `json:"body,omitempty"`
}

// callARM makes a request of the machine's owner, through all stages of the door.
func (w *world) callARM(ctx context.Context, r region.Request) (region.Reply, error) {
	var p armParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	query := url.Values{}
	for k, v := range p.Query {
		query.Set(k, v)
	}
	a, err := w.door.Do(ctx, door.Inside{Caller: w.owner(), Method: p.Method, Path: p.Path, Version: p.Version, Query: query, Body: p.Body})
	if err != nil {
		return region.Reply{}, err
	}
	answer := armResult{Status: a.Status, Operation: a.Header.Get("Azure-AsyncOperation")}
	if answer.Operation == "" {
		answer.Operation = a.Header.Get("Location")
	}
	if json.Valid(a.Body) {
		answer.Body = a.Body
	}
	return region.Reply{Result: answer}, nil
}
