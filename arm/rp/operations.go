package rp

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
)

// Operation is what a role can permit ("az provider operation show"): an operation of a resource provider, on its
// management plane or on its data.
type Operation struct {
	Name        string // Microsoft.Network/virtualNetworks/subnets/join/action
	Data        bool   // a data action
	Description string
}

// Operations makes the registration of operations that are on no type and no route: those that Links ask for (join/action)
// and data actions. What types and routes need is declared by them.
func Operations(list ...Operation) Registration { return Registration{operations: list} }

// Actions are management operations without more to say of them, for Operations.
func Actions(names ...string) []Operation {
	out := make([]Operation, len(names))
	for i, n := range names {
		out[i].Name = n
	}
	return out
}

// DataActions are data actions without more to say of them, for Operations.
func DataActions(names ...string) []Operation {
	out := Actions(names...)
	for i := range out {
		out[i].Data = true
	}
	return out
}

// Operations returns every operation that the registered types, routes and registrations declare, ordered by name.
func (e *Engine) Operations() []Operation {
	var all []Operation
	for _, info := range e.Describe() {
		resource := strings.Join(info.Name.Types, "/")
		add := func(name, verb string) {
			all = append(all, Operation{Name: name, Description: verb + " " + resource})
		}
		add(info.Permission+"/read", "Read")
		if !info.NoPut {
			add(info.Permission+"/write", "Write")
		}
		if !info.NoDelete {
			add(info.Permission+"/delete", "Delete")
		}
		for _, a := range info.Actions {
			add(a, "Action on")
		}
	}
	e.mu.RLock()
	for _, r := range e.routes.routes {
		if name := r.permission; name != "-" && !strings.Contains(name, "{") {
			all = append(all, Operation{Name: name, Description: r.method + " " + strings.Join(r.segments[max(0, len(r.segments)-2):], "/")})
		}
	}
	all = append(all, e.operations...)
	for _, namespace := range e.namespaces {
		all = append(all, Operation{Name: namespace + "/register/action", Description: "Register the namespace"},
			Operation{Name: namespace + "/unregister/action", Description: "Unregister the namespace"})
	}
	e.mu.RUnlock()
	slices.SortStableFunc(all, func(a, b Operation) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(dataRank(a), dataRank(b)))
	})
	return slices.CompactFunc(all, func(a, b Operation) bool { return strings.EqualFold(a.Name, b.Name) && a.Data == b.Data })
}

func dataRank(o Operation) int {
	if o.Data {
		return 1
	}
	return 0
}

// OperationsOf returns the engine's operations to a route.
func OperationsOf(tx *Tx) []Operation { return tx.engine.Operations() }

// listedOperation is an operation as the operations API of a provider lists it.
type listedOperation struct {
	Name         string            `json:"name"`
	IsDataAction bool              `json:"isDataAction"`
	Display      map[string]string `json:"display"`
}

// listOperations is GET /providers/{namespace}/operations.
func (e *Engine) listOperations(_ context.Context, _ *Request, path map[string]string) (*Response, error) {
	body := page{Value: []any{}}
	for _, o := range e.Operations() {
		namespace, rest, _ := strings.Cut(o.Name, "/")
		if !strings.EqualFold(namespace, path["namespace"]) {
			continue
		}
		resource, verb := "", rest
		if cut := strings.LastIndexByte(rest, '/'); cut >= 0 {
			resource, verb = rest[:cut], rest[cut+1:]
		}
		body.Value = append(body.Value, listedOperation{Name: o.Name, IsDataAction: o.Data, Display: map[string]string{
			"provider": namespace, "resource": resource, "operation": verb, "description": o.Description,
		}})
	}
	if len(body.Value) == 0 {
		return nil, arm.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", path["namespace"])
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}
