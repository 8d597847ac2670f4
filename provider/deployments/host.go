package deployments

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
	"vauban.dev/provider/resources"
)

// host is the region as a template sees it, for who deploys.
type host struct {
	p *Provider
	s session
}

var _ template.Host = host{}

// do makes a request for who deploys; a refusal is an error.
func (h host) do(ctx context.Context, method, path, version string, body any) (door.Answer, error) {
	in := door.Inside{Caller: h.s.caller, Method: method, Path: path, Version: version, CorrelationID: h.s.correlation, Base: h.s.base, Address: h.s.address}
	if body != nil {
		b, err := expr.Encode(body, maxTemplate)
		if err != nil {
			return door.Answer{}, arm.Errorf(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request content size exceeds the maximum size of 4 MB.")
		}
		in.Body = b
	}
	a, err := h.p.door.Do(ctx, in)
	if err != nil || a.Status < http.StatusBadRequest {
		return a, err
	}
	var wrapped struct {
		Error *arm.Error `json:"error"`
	}
	if json.Unmarshal(a.Body, &wrapped) != nil || wrapped.Error == nil || wrapped.Error.Code == "" {
		wrapped.Error = arm.Errorf(a.Status, http.StatusText(a.Status), "The request to '%s' was refused with status %d.", path, a.Status)
	}
	wrapped.Error.Status = a.Status
	if after := a.Header.Get("Retry-After"); after != "" {
		wrapped.Error.Header = map[string]string{"Retry-After": after}
	}
	return a, wrapped.Error
}

func (h host) Read(ctx context.Context, id, version string) (*expr.Object, error) {
	a, err := h.do(ctx, http.MethodGet, id, version, nil)
	if err != nil {
		return nil, err
	}
	v, err := expr.Decode(a.Body)
	o, ok := v.(*expr.Object)
	if err != nil || !ok {
		return expr.NewObject(0), nil
	}
	return o, nil
}

func (h host) List(ctx context.Context, id, function, version string, body any) (any, error) {
	a, err := h.do(ctx, http.MethodPost, strings.TrimSuffix(id, "/")+"/"+function, version, body)
	if err != nil {
		return nil, err
	}
	v, err := expr.Decode(a.Body)
	if err != nil {
		return nil, nil
	}
	return v, nil
}

// Default has no profiles: a template names its api-versions.
func (h host) Default(string) string { return "" }

func (h host) Secret(ctx context.Context, vault, name, version string) (string, error) {
	id, err := arm.ParseID(vault)
	if err != nil {
		return "", err
	}
	refuse := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "KeyVaultParameterReferenceSecretRetrieveFailed", format, args...)
	}
	if id.Type().Key() != "microsoft.keyvault/vaults" || h.p.cfg.Secret == nil {
		return "", refuse("The specified KeyVault '%s' could not be found.", vault)
	}
	const action = "Microsoft.KeyVault/vaults/deploy/action"
	ok, why, err := h.p.allowed(ctx, h.s.caller, action, id)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", arm.Errorf(http.StatusForbidden, "Forbidden", "The client '%s' with object id '%s' does not have permission to perform action '%s' at scope '%s'. %s", h.s.caller.Name, h.s.caller.ObjectID, action, vault, why)
	}
	return h.p.cfg.Secret(ctx, id, name, version)
}

func (h host) Facts(ctx context.Context, what, scope string) (o *expr.Object, err error) {
	switch what {
	case "environment":
		return h.p.cfg.Environment, nil
	case "tenant":
		return expr.ObjectOf("countryCode", "US", "displayName", h.p.cfg.TenantName, "id", "/tenants/"+h.p.cfg.TenantID, "tenantId", h.p.cfg.TenantID), nil
	case "deployer":
		return expr.ObjectOf("objectId", h.s.caller.ObjectID, "tenantId", h.s.caller.TenantID, "userPrincipalName", h.s.caller.Name), nil
	}
	id, err := arm.ParseID(scope)
	if err != nil {
		return nil, err
	}
	err = h.p.engine.View(ctx, func(tx *rp.Tx) error {
		switch what {
		case "resourceGroup":
			g, err := rp.Get[resources.Group](tx, id)
			if err != nil {
				return err
			}
			o = expr.ObjectOf("id", g.ID.String(), "name", g.ID.ResourceGroup(), "type", resources.GroupType, "location", g.Location)
			if len(g.Tags) > 0 {
				o.Set("tags", expr.From(g.Tags))
			}
			o.Set("properties", expr.ObjectOf("provisioningState", string(g.State)))
		case "subscription":
			s, err := rp.Get[resources.Subscription](tx, id)
			if err != nil {
				return err
			}
			o = expr.ObjectOf("id", s.ID.String(), "subscriptionId", s.ID.Subscription(), "tenantId", h.p.cfg.TenantID, "displayName", s.Properties.DisplayName)
		}
		return nil
	})
	if err != nil || o != nil {
		return o, err
	}
	return h.Read(ctx, scope, "2023-04-01")
}

func (h host) Providers(ctx context.Context, namespace, resourceType string) (*expr.Object, error) {
	path := "/providers/" + namespace
	o, err := h.Read(ctx, path, "2021-04-01")
	if err != nil || resourceType == "" {
		return o, err
	}
	types, _ := o.Lookup("resourceTypes")
	list, _ := types.([]any)
	for _, t := range list {
		if to, ok := t.(*expr.Object); ok && strings.EqualFold(to.Text("resourceType"), resourceType) {
			return to, nil
		}
	}
	return nil, arm.Errorf(http.StatusBadRequest, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s'.", resourceType, namespace)
}
