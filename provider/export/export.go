// Package export makes a template of a resource group that exists ("Resource Groups - Export Template"): as JSON or as
// Bicep. What it makes deploys again; names are parameters, and no secret is in it.
package export

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Kept are the resources of a type that a data plane keeps and no engine stores (blob containers).
type Kept struct {
	Type, Under string // under the resources of this type
	List        func(tx *rp.Tx, of arm.ID) ([]*rp.Document, error)
}

// Provider exports resource groups.
type Provider struct {
	engine *rp.Engine
	kept   []Kept
}

// New returns the provider; Attach gives it the engine.
func New(kept ...Kept) *Provider { return &Provider{kept: kept} }

// Attach gives the provider the engine, once all types are registered.
func (p *Provider) Attach(e *rp.Engine) { p.engine = e }

var versions = []string{
	"2015-11-01", "2016-02-01", "2016-07-01", "2016-09-01", "2017-05-10", "2018-02-01", "2018-05-01", "2019-03-01", "2019-05-01", "2019-05-10", "2019-07-01", "2019-08-01", "2019-10-01", "2020-06-01",
	"2020-08-01", "2020-10-01", "2021-01-01", "2021-04-01", "2022-09-01", "2023-07-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01",
}

// Types are the routes. Azure has no right of its own for an export: whoever reads the group exports what they may read.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{rp.Routes(rp.Route{
		Method: http.MethodPost, Pattern: "/subscriptions/{subscription}/resourceGroups/{group}/exportTemplate", Versions: versions,
		Permission: "Microsoft.Resources/subscriptions/resourceGroups/read", Reads: true, Serve: p.serve,
	})}
}

// request is the body (ExportTemplateRequest).
type request struct {
	Resources []string `json:"resources"`
	Options   string   `json:"options"`
	Format    string   `json:"outputFormat"`
}

func bad(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", format, args...)
}

func (r request) parse() (o options, err error) {
	for s := range strings.SplitSeq(r.Options, ",") {
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "":
		case "includeparameterdefaultvalue":
			o.defaults = true
		case "includecomments":
			o.comments = true
		case "skipresourcenameparameterization":
			o.names = true
		case "skipallparameterization":
			o.names, o.literal = true, true
		default:
			return o, bad("The export option '%s' is not one of IncludeParameterDefaultValue, IncludeComments, SkipResourceNameParameterization and SkipAllParameterization.", strings.TrimSpace(s))
		}
	}
	switch strings.ToLower(r.Format) {
	case "", "json":
	case "bicep":
		o.bicep = true
	default:
		return o, bad("The output format '%s' is not one of Json and Bicep.", r.Format)
	}
	if len(r.Resources) == 0 {
		return o, bad("The request content was invalid: 'resources' lists the ids of the resources to export, or '*' for all.")
	}
	return o, nil
}

func (p *Provider) serve(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	var q request
	if err := json.Unmarshal(r.Body, &q); err != nil {
		return nil, bad("The request content was invalid: an object with 'resources', 'options' and 'outputFormat' is expected.")
	}
	o, err := q.parse()
	if err != nil {
		return nil, err
	}
	group, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"])
	if err != nil {
		return nil, err
	}
	types := map[string]rp.TypeInfo{}
	for _, info := range p.engine.Describe() {
		types[strings.ToLower(info.Name.String())] = info
	}
	for _, k := range p.kept {
		name := arm.ParseTypeName(k.Type)
		types[name.Key()] = rp.TypeInfo{Name: name, Kind: rp.Proxy, Permission: k.Type}
	}
	docs, err := p.documents(ctx, r, group, q.Resources, types)
	if err != nil {
		return nil, err
	}
	t, refused := build(docs, types, o)
	answer := map[string]any{}
	if o.bicep {
		answer["output"] = t.bicep()
	} else {
		answer["template"] = t.json()
	}
	if len(refused) > 0 {
		answer["error"] = &arm.Error{Code: "ExportTemplateCompletedWithErrors", Details: refused,
			Message: "Export template operation completed with errors. Some resources were not exported. Please see details for more information."}
	}
	return &rp.Response{Status: http.StatusOK, Body: answer}, nil
}

// documents are the resources of the group that were asked for and that the caller may read.
func (p *Provider) documents(ctx context.Context, r *rp.Request, group arm.ID, wanted []string, types map[string]rp.TypeInfo) (docs []*rp.Document, err error) {
	all := false
	ids := map[string]bool{}
	for _, w := range wanted {
		if w == "*" {
			all = true
			continue
		}
		id, err := arm.ParseID(w)
		if err != nil || !id.Within(group) {
			return nil, bad("'%s' is not the id of a resource of the resource group '%s'.", w, group.ResourceGroup())
		}
		ids[id.Key()] = false
	}
	add := func(d *rp.Document) error {
		chosen := all
		for at := d.ID; !chosen && at.Namespace() != ""; at = at.Parent() { // what is in a resource comes with it
			if _, chosen = ids[at.Key()]; chosen {
				ids[at.Key()] = true
			}
		}
		if !chosen {
			return nil
		}
		decision, err := r.Check(ctx, types[strings.ToLower(d.Type)].Permission+"/read", d.ID)
		if err == nil && decision.Allowed {
			docs = append(docs, d)
		}
		return err
	}
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		if err := rp.Exists(tx, group); err != nil {
			return err
		}
		return rp.EachDocument(ctx, tx, group, "", func(d *rp.Document) error {
			for _, k := range p.kept {
				if !strings.EqualFold(k.Under, d.Type) {
					continue
				}
				more, err := k.List(tx, d.ID)
				if err != nil {
					return err
				}
				for _, x := range more {
					if err := add(x); err != nil {
						return err
					}
				}
			}
			return add(d)
		})
	})
	if err != nil {
		return nil, err
	}
	for id, found := range ids {
		if !found {
			return nil, arm.Errorf(http.StatusNotFound, "ResourceNotFound", "The resource '%s' of the request to export could not be found.", id)
		}
	}
	return docs, nil
}
