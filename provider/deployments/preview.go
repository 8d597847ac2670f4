package deployments

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/template"
	"vauban.dev/authz"
)

// Planned is a resource as a template would deploy it.
type Planned struct {
	ID, Type, Version string
	Body              []byte // JSON; what is known only while it is deployed stands there as an expression
	Err               *arm.Error
}

// previewed is the region as a template sees it whose resource group may not be there yet.
type previewed struct {
	host
	group    arm.ID
	location string
}

func (h previewed) Facts(ctx context.Context, what, scope string) (*expr.Object, error) {
	o, err := h.host.Facts(ctx, what, scope)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound && what == "resourceGroup" && strings.EqualFold(scope, h.group.String()) {
		return expr.ObjectOf("id", h.group.String(), "name", h.group.ResourceGroup(), "type", "Microsoft.Resources/resourceGroups", "location", h.location,
			"properties", expr.ObjectOf("provisioningState", "Succeeded")), nil
	}
	return o, err
}

// Preview reads a template with its parameters (JSON, with comments) for a resource group that may not be there yet,
// and lays out its resources and those of its nested templates, in an order in which each comes after what it needs.
// Nothing is written, and no role is asked for. An error is an *arm.Error that says what is wrong with the template.
func (p *Provider) Preview(ctx context.Context, who authz.Principal, group arm.ID, location string, source, parameters []byte) ([]Planned, error) {
	id, err := arm.ParseID(group.String() + "/providers/Microsoft.Resources/deployments/vauban-import")
	if err != nil {
		return nil, err
	}
	body := []byte(`{"properties":{"mode":"Incremental","template":` + string(source))
	if len(parameters) > 0 {
		body = append(body, `,"parameters":`+string(parameters)...)
	}
	return p.preview(ctx, previewed{host{p, session{caller: who}}, group, location}, id, append(body, "}}"...))
}

func (p *Provider) preview(ctx context.Context, h previewed, id arm.ID, body []byte) ([]Planned, error) {
	q, err := p.read(ctx, id, body)
	if err != nil {
		return nil, err
	}
	d, err := template.Read(ctx, h, p.source(q))
	if err != nil {
		return nil, err
	}
	var all []Planned
	for _, r := range deployed(d) {
		x := Planned{ID: r.ID, Type: r.Type, Version: r.Version}
		v, err := d.Preview(ctx, r)
		if err == nil && r.Nested() {
			inner, err := p.nested(ctx, h, d, r, v)
			if e := arm.AsError(err); e != nil {
				x.Err = e
				all = append(all, x)
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
			continue
		}
		if err == nil {
			x.Body, err = expr.Encode(v, maxTemplate)
		}
		if x.Err = arm.AsError(err); err != nil && x.Err == nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}

func (p *Provider) nested(ctx context.Context, h previewed, d *template.Deployment, r *template.Resource, v *expr.Object) ([]Planned, error) {
	data, err := expr.Encode(relative(v, d.Source.Link), maxTemplate)
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(r.ID)
	if err != nil {
		return nil, err
	}
	return p.preview(ctx, h, id, data)
}
