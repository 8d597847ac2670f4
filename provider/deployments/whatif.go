package deployments

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
)

// change is what a deployment would do to one resource (Resources REST: WhatIfChange).
type change struct {
	ID          string `json:"resourceId"`
	Type        string `json:"changeType"` // Create, Delete, Deploy, Ignore, Modify, NoChange, Unsupported
	Before      any    `json:"before,omitempty"`
	After       any    `json:"after,omitempty"`
	Delta       []diff `json:"delta,omitempty"`
	Unsupported string `json:"unsupportedReason,omitempty"`
}

// diff is a change of one property (WhatIfPropertyChange).
type diff struct {
	Path     string `json:"path"`
	Type     string `json:"propertyChangeType"` // Create, Delete, Modify, Array
	Before   any    `json:"before,omitempty"`
	After    any    `json:"after,omitempty"`
	Children []diff `json:"children,omitempty"`
}

// whatIf tells what a deployment would change, without changing anything. A template that is refused is no failure of
// the operation: Azure answers 200 with the status Failed and the error, which its clients read there alone.
func (p *Provider) whatIf(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	q, err := p.read(ctx, id, r.Body)
	if err != nil {
		return nil, err
	}
	changes, err := p.predict(ctx, q, sessionOf(ctx, r))
	if e := arm.AsError(err); e != nil && ofTemplate(e) {
		return &rp.Response{Status: http.StatusOK, Body: map[string]any{"status": "Failed", "error": e}}, nil
	}
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"status": "Succeeded", "properties": map[string]any{"correlationId": r.CorrelationID, "changes": changes}}}, nil
}

// ofTemplate says that an error is the template's, and not that of who asks, or of the region at this moment.
func ofTemplate(e *arm.Error) bool {
	return e.Status == http.StatusBadRequest || e.Status == http.StatusForbidden || e.Status == http.StatusNotImplemented
}

func (p *Provider) predict(ctx context.Context, q *request, s session) ([]change, error) {
	d, err := p.checked(ctx, q, s)
	if err != nil {
		return nil, err
	}
	settings, _ := member(q.properties, "whatIfSettings")
	return p.changes(ctx, q, d, host{p, s}, !strings.EqualFold(settings.Text("resultFormat"), "ResourceIdOnly"))
}

func (p *Provider) changes(ctx context.Context, q *request, d *template.Deployment, h host, payloads bool) ([]change, error) {
	out := []change{}
	var wanted []string
	for _, r := range deployed(d) {
		wanted = append(wanted, r.ID)
		if r.Nested() {
			inner, err := p.nestedChanges(ctx, d, r, h, payloads)
			if err != nil {
				return nil, err
			}
			for _, c := range inner {
				wanted = append(wanted, c.ID)
			}
			out = append(out, inner...)
			continue
		}
		c, err := p.changeOf(ctx, d, r, h)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if q.id.Scope().ResourceGroup() != "" {
		all, err := h.inGroup(ctx, q.id.Scope())
		if err != nil && arm.AsError(err) == nil {
			return nil, err
		}
		what := "Ignore"
		if q.mode == "Complete" {
			what = "Delete"
		}
		for _, r := range surplus(all, wanted) {
			c := change{ID: r.ID, Type: what}
			if version, err := h.version(ctx, r.Type); err == nil {
				if before, err := h.Read(ctx, r.ID, version); err == nil {
					c.Before = withVersion(before, version)
				}
			}
			out = append(out, c)
		}
	}
	for i := range out {
		if !payloads {
			out[i].Before, out[i].After, out[i].Delta = nil, nil, nil
		}
	}
	slices.SortStableFunc(out, func(a, b change) int { return strings.Compare(lower(a.ID), lower(b.ID)) })
	return out, nil
}

// nestedChanges looks into a nested deployment; one whose template depends on what is not there yet is Unsupported.
func (p *Provider) nestedChanges(ctx context.Context, d *template.Deployment, r *template.Resource, h host, payloads bool) ([]change, error) {
	unsupported := func(why string) []change { return []change{{ID: r.ID, Type: "Unsupported", Unsupported: why}} }
	body, err := d.Preview(ctx, r)
	if err != nil {
		return unsupported(err.Error()), nil
	}
	data, err := expr.Encode(relative(body, d.Source.Link), maxTemplate)
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(r.ID)
	if err != nil {
		return nil, err
	}
	q, err := p.read(ctx, id, data)
	if err == nil {
		var inner *template.Deployment
		if inner, err = p.plan(ctx, q, h.s); err == nil {
			all, err := p.changes(ctx, q, inner, h, payloads)
			return slices.DeleteFunc(all, func(c change) bool { return c.Type == "Ignore" }), err
		}
	}
	if e := arm.AsError(err); e != nil {
		return unsupported(e.Message), nil
	}
	return nil, err
}

func withVersion(o *expr.Object, version string) *expr.Object {
	out := o.Clone()
	out.Set("apiVersion", version)
	return out
}

func (p *Provider) changeOf(ctx context.Context, d *template.Deployment, r *template.Resource, h host) (change, error) {
	c := change{ID: r.ID}
	after, err := d.Preview(ctx, r)
	if err != nil {
		return c, err
	}
	full := expr.ObjectOf("apiVersion", r.Version, "id", r.ID)
	for k, v := range after.All() {
		full.Set(k, v)
	}
	full.Set("name", r.Name[strings.LastIndexByte(r.Name, '/')+1:])
	if id, err := arm.ParseID(r.ID); err == nil && id.ResourceGroup() != "" {
		full.Set("resourceGroup", id.ResourceGroup())
	}
	full.Set("type", r.Type)
	c.After = full
	before, err := h.Read(ctx, r.ID, r.Version)
	if e := arm.AsError(err); e != nil {
		c.Type = "Create"
		if e.Status != http.StatusNotFound {
			c.Type, c.Unsupported = "Unsupported", e.Message
		}
		return c, nil
	}
	if err != nil {
		return c, err
	}
	c.Before = withVersion(before, r.Version)
	c.Delta = differences(before, after, "", true)
	c.Type = "NoChange"
	if len(c.Delta) > 0 {
		c.Type = "Modify"
	}
	return c, nil
}

// differences are the members of after that before has not, or has with another value. What before alone has are
// defaults and read-only values, which a template need not say; tags are as the template says.
func differences(before, after *expr.Object, path string, top bool) []diff {
	var out []diff
	for name, want := range after.All() {
		at := name
		if path != "" {
			at = path + "." + name
		}
		have, ok := before.Lookup(name)
		if !ok {
			if want != nil {
				out = append(out, diff{Path: at, Type: "Create", After: want})
			}
			continue
		}
		if d, changed := difference(have, want, at); changed {
			out = append(out, d...)
		}
		if top && strings.EqualFold(name, "tags") {
			h, _ := have.(*expr.Object)
			w, _ := want.(*expr.Object)
			for k, v := range h.All() {
				if _, ok := w.Lookup(k); !ok {
					out = append(out, diff{Path: "tags." + k, Type: "Delete", Before: v})
				}
			}
		}
	}
	return out
}

func difference(have, want any, at string) ([]diff, bool) {
	switch w := want.(type) {
	case *expr.Object:
		if h, ok := have.(*expr.Object); ok {
			inner := differences(h, w, at, false)
			return inner, len(inner) > 0
		}
	case []any:
		if h, ok := have.([]any); ok {
			inner := elements(h, w)
			if len(inner) == 0 {
				return nil, false
			}
			return []diff{{Path: at, Type: "Array", Children: inner}}, true
		}
	case string:
		if h, ok := have.(string); ok && (strings.EqualFold(h, w) || strings.HasSuffix(at, "location") && lower(strings.ReplaceAll(h, " ", "")) == lower(strings.ReplaceAll(w, " ", ""))) {
			return nil, false
		}
	case nil:
		return nil, false
	}
	if expr.Equal(have, want) {
		return nil, false
	}
	return []diff{{Path: at, Type: "Modify", Before: have, After: want}}, true
}

// elements compares arrays place by place; objects with names are compared by name.
func elements(have, want []any) []diff {
	var out []diff
	used := map[int]bool{}
	for i, w := range want {
		j := i
		if o, ok := w.(*expr.Object); ok && o.Text("name") != "" {
			j = slices.IndexFunc(have, func(v any) bool {
				h, ok := v.(*expr.Object)
				return ok && strings.EqualFold(h.Text("name"), o.Text("name"))
			})
		}
		place := strconv.Itoa(i)
		if j < 0 || j >= len(have) {
			out = append(out, diff{Path: place, Type: "Create", After: w})
			continue
		}
		used[j] = true
		if d, changed := difference(have[j], w, ""); changed {
			if len(d) == 1 && d[0].Path == "" {
				d[0].Path = place
				out = append(out, d[0])
				continue
			}
			for k := range d {
				d[k].Path = strings.TrimPrefix(d[k].Path, ".")
			}
			out = append(out, diff{Path: place, Type: "Modify", Children: d})
		}
	}
	for j, h := range have {
		if !used[j] {
			out = append(out, diff{Path: strconv.Itoa(j), Type: "Delete", Before: h})
		}
	}
	return out
}
