package main

import (
	"context"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/region"
)

const methodAccess = "explain access" // accessParams → accessResult

// accessParams ask what a principal may do.
type accessParams struct {
	Principal     string              `json:"principal"` // as --as of explain
	Action        string              `json:"action"`
	Data          bool                `json:"data,omitempty"`
	Scope         string              `json:"scope"`
	SubOperations []string            `json:"subOperations,omitempty"`
	Attributes    map[string][]string `json:"attributes,omitempty"` // by @Source[name]
}

// accessResult is the answer, with what the principal is called.
type accessResult struct {
	authz.Explanation
	Name string `json:"principalName,omitempty"`
}

// explainAccess answers from the roles alone, as the door and the data planes do.
func (w *world) explainAccess(ctx context.Context, r region.Request) (region.Reply, error) {
	var p accessParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	if p.Scope != "/" {
		if _, err := arm.ParseID(p.Scope); err != nil {
			return region.Reply{}, badRequest("scope %q: %v", p.Scope, err)
		}
	}
	who, err := w.principal(ctx, p.Principal)
	if err != nil {
		return region.Reply{}, err
	}
	known := map[string][]string{"@environment[utcnow]": {w.clock.Now().UTC().Format(time.RFC3339Nano)}}
	for name, values := range p.Attributes {
		known[strings.ToLower(name)] = values
	}
	why, err := w.access.Explain(ctx, *who, authz.Request{
		Action: p.Action, Data: p.Data, Scope: p.Scope, SubOperations: p.SubOperations,
		Attributes: func(a authz.Attribute) ([]string, bool, error) {
			values, ok := known[strings.ToLower(a.String())]
			return values, ok, nil
		},
	})
	if err != nil {
		return region.Reply{}, err
	}
	return region.Reply{Result: accessResult{Explanation: why, Name: who.Name}}, nil
}
