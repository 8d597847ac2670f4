package authorization

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

const (
	permissionsType = "Microsoft.Authorization/permissions"
	operationsType  = "Microsoft.Authorization/providerOperations"
)

// listPermissions is what the caller may do at a scope ("Permissions - List For Resource").
func (p *Provider) listPermissions(ctx context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	scope, err := scopeOf(path)
	if err != nil {
		return nil, err
	}
	if err := rp.Exists(tx, scope); err != nil {
		return nil, err
	}
	value := []authz.Permission{}
	if p.Permissions != nil {
		held, err := p.Permissions(ctx, tx.Caller, scope.String())
		if err != nil {
			return nil, err
		}
		value = append(value, held...)
	}
	return map[string]any{"value": value}, nil
}

// operationRoutes are what `az provider operation` and old listings ask; they are for every caller of the tenant.
func (p *Provider) operationRoutes() []rp.Route {
	return []rp.Route{
		{Method: http.MethodGet, Pattern: "/providers/" + operationsType, Permission: "-", Versions: versions, Do: listProviderOperations},
		{Method: http.MethodGet, Pattern: "/providers/" + operationsType + "/{namespace}", Permission: "-", Versions: versions, Do: getProviderOperations},
		// Classic administrators are gone since August 2024: there are none.
		{Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/Microsoft.Authorization/classicAdministrators",
			Permission: "Microsoft.Authorization/classicAdministrators/read", Versions: []string{"2015-06-01", "2015-07-01"},
			Do: func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
				return map[string]any{"value": []any{}}, nil
			}},
	}
}

// providerOperations are the operations of one namespace (Authorization REST: ProviderOperationsMetadata).
type providerOperations struct {
	ID            string              `json:"id"`
	Name          string              `json:"name"`
	Type          string              `json:"type"`
	DisplayName   string              `json:"displayName"`
	ResourceTypes []operationsOfType  `json:"resourceTypes"`
	Operations    []providerOperation `json:"operations"`
}

type operationsOfType struct {
	Name        string              `json:"name"`
	DisplayName string              `json:"displayName"`
	Operations  []providerOperation `json:"operations"`
}

type providerOperation struct {
	Name         string `json:"name"`
	DisplayName  string `json:"displayName"`
	Description  string `json:"description"`
	Origin       string `json:"origin"`
	Properties   any    `json:"properties"`
	IsDataAction bool   `json:"isDataAction"`
}

func listProviderOperations(_ context.Context, tx *rp.Tx, _, query map[string]string, _ []byte) (any, error) {
	return map[string]any{"value": describe(rp.OperationsOf(tx), expands(query))}, nil
}

func getProviderOperations(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	all := describe(rp.OperationsOf(tx), expands(query))
	i := slices.IndexFunc(all, func(o *providerOperations) bool { return strings.EqualFold(o.Name, path["namespace"]) })
	if i < 0 {
		return nil, arm.Errorf(http.StatusNotFound, "ProviderNotFound", "Provider '%s' not found.", path["namespace"])
	}
	return all[i], nil
}

func expands(query map[string]string) bool {
	return strings.EqualFold(cmp.Or(query["$expand"], "resourceTypes"), "resourceTypes")
}

// describe groups operations by namespace and, expanded, by resource type.
func describe(operations []rp.Operation, expand bool) (all []*providerOperations) {
	for _, o := range operations {
		namespace, rest, _ := strings.Cut(o.Name, "/")
		if n := len(all); n == 0 || !strings.EqualFold(all[n-1].Name, namespace) {
			all = append(all, &providerOperations{ID: "/providers/" + operationsType + "/" + namespace, Name: namespace, Type: operationsType, DisplayName: namespace,
				ResourceTypes: []operationsOfType{}, Operations: []providerOperation{}})
		}
		at := all[len(all)-1]
		shown := providerOperation{Name: o.Name, DisplayName: o.Description, Description: o.Description, Origin: "user,system", IsDataAction: o.Data}
		typ := operationType(rest)
		if typ == "" || !expand {
			if typ == "" {
				at.Operations = append(at.Operations, shown)
			}
			continue
		}
		i := slices.IndexFunc(at.ResourceTypes, func(t operationsOfType) bool { return strings.EqualFold(t.Name, typ) })
		if i < 0 {
			at.ResourceTypes = append(at.ResourceTypes, operationsOfType{Name: typ, DisplayName: typ})
			i = len(at.ResourceTypes) - 1
		}
		at.ResourceTypes[i].Operations = append(at.ResourceTypes[i].Operations, shown)
	}
	return all
}

// operationType is the resource type that an operation is on: join/action is on what stands before both words.
func operationType(rest string) string {
	segments := strings.Split(rest, "/")
	last := len(segments) - 1
	if strings.EqualFold(segments[last], "action") {
		last--
	}
	return strings.Join(segments[:max(0, last)], "/")
}
