package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/imports"
	"vauban.dev/region"
)

const methodImport = "import" // importParams → imported

type importParams struct {
	Group      string             `json:"group"` // of a template
	Location   string             `json:"location"`
	Template   json.RawMessage    `json:"template,omitempty"`
	Parameters json.RawMessage    `json:"parameters,omitempty"`
	Resources  []imports.Resource `json:"resources,omitempty"`
	Sub        string             `json:"subscription"` // of this region, for all others that ids name
}

// imported is what a dry run found.
type imported struct {
	Resources int       `json:"resources"`
	Problems  []problem `json:"problems"`
}

// problem is a resource that the region refuses, as Azure would.
type problem struct {
	From    string `json:"from,omitempty"` // as the file calls it
	ID      string `json:"id,omitempty"`
	Type    string `json:"type,omitempty"`
	Rule    string `json:"rule"` // template, type, policy, quota, name, network, lock, validation
	Code    string `json:"code"`
	Message string `json:"message"`
	// Unsure: a value that is only known later has a part in it.
	Unsure bool `json:"unsure,omitempty"`
	// Follows is the refused resource without which this one would be.
	Follows string `json:"follows,omitempty"`
}

// ruleOf tells the kind of rule by Azure's code.
func ruleOf(code, typ string) string {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(code, p) })
	}
	switch {
	case has("Template", "DeploymentName"):
		return "template"
	case has("RequestDisallowedByPolicy", "PolicyViolation"):
		return "policy"
	case has("ScopeLocked"):
		return "lock"
	case has("InvalidResourceType", "InvalidResourceNamespace", "NoRegisteredProviderFound", "NotImplemented", "LocationNotAvailable", "MissingSubscriptionRegistration"):
		return "type"
	case has("Quota", "LimitReached", "CountLimit", "Exceeded"):
		return "quota"
	case has("AlreadyTaken", "AlreadyExists", "NotAvailable", "NameUnavailable", "VaultAlreadyExists", "InUse"):
		return "name"
	case strings.HasPrefix(strings.ToLower(typ), "microsoft.network/"), has("Subnet", "Network", "Netcfg", "PrivateEndpoint"):
		return "network"
	}
	return "validation"
}

// draft is a resource on its way through the checks.
type draft struct {
	imports.Resource
	id arm.ID
}

// dryImport says what would be refused. Nothing is written.
func (w *world) dryImport(ctx context.Context, r region.Request) (region.Reply, error) {
	var p importParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	group, err := arm.ParseID("/subscriptions/" + p.Sub + "/resourceGroups/" + p.Group)
	if err != nil {
		return region.Reply{}, badRequest("%v", err)
	}
	if p.Location == "" {
		p.Location = w.settings.Location
	}
	out := imported{Problems: []problem{}}
	refuse := func(x imports.Resource, e *arm.Error) {
		code, message := e.Code, e.Message
		if len(e.Details) > 0 && (code == "InvalidTemplateDeployment" || code == "MultipleErrorsOccurred") {
			code, message = e.Details[0].Code, e.Details[0].Message
		}
		out.Problems = append(out.Problems, problem{From: x.From, ID: x.ID, Type: x.Type, Rule: ruleOf(code, x.Type), Code: code, Message: message, Unsure: !x.Known})
	}
	resources := p.Resources
	if len(p.Template) > 0 {
		planned, err := w.deploys.Preview(ctx, w.owner(), group, p.Location, p.Template, p.Parameters)
		if e := arm.AsError(err); e != nil {
			refuse(imports.Resource{From: "the template", Known: true}, e)
			return region.Reply{Result: out}, nil
		}
		if err != nil {
			return region.Reply{}, err
		}
		for _, x := range planned {
			res := imports.Resource{ID: x.ID, Type: x.Type, Version: x.Version, Known: !bytes.Contains(x.Body, []byte(`"[reference(`)) && !bytes.Contains(x.Body, []byte(`"[list`))}
			if x.Err != nil {
				refuse(res, x.Err)
				continue
			}
			if err := json.Unmarshal(x.Body, &res.Body); err != nil {
				return region.Reply{}, err
			}
			resources = append(resources, res)
		}
	}
	out.Resources = len(resources)
	drafts := w.drafts(ctx, resources, p, refuse)
	refused, err := w.engine.RehearseWrites(ctx, w.withGroups(ctx, drafts, p))
	if err != nil {
		return region.Reply{}, err
	}
	for _, x := range refused {
		at := slices.IndexFunc(drafts, func(d draft) bool { return d.id.Key() == x.ID.Key() })
		if at >= 0 {
			refuse(drafts[at].Resource, x.Error)
		} else {
			refuse(imports.Resource{ID: x.ID.String(), Type: x.ID.Type().String(), Known: true}, x.Error)
		}
	}
	consequences(out.Problems)
	return region.Reply{Result: out}, nil
}

// consequences marks what is refused because another resource is, and puts it last.
func consequences(all []problem) {
	ids := map[string]bool{}
	for _, p := range all {
		ids[strings.ToLower(p.ID)] = p.ID != ""
	}
	for i := range all {
		p := &all[i]
		for _, s := range idInText.FindAllString(p.Message, -1) {
			for s = strings.ToLower(strings.TrimRight(s, "./")); strings.Count(s, "/") >= 8; s = s[:strings.LastIndexByte(s, '/')] {
				if ids[s] && s != strings.ToLower(p.ID) && p.Follows == "" {
					p.Follows = s
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b problem) int { return min(len(a.Follows), 1) - min(len(b.Follows), 1) })
}

// owner is the region's first principal.
func (w *world) owner() authz.Principal {
	return authz.Principal{TenantID: w.first.TenantID, ObjectID: w.first.ObjectID, AppID: w.first.ClientID, Name: "vauban-admin", Type: "ServicePrincipal"}
}

var foreignSubscription = regexp.MustCompile(`(?i)/subscriptions/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// drafts takes resources past the checks that come before their types: id, type and api-version, policies.
func (w *world) drafts(ctx context.Context, resources []imports.Resource, p importParams, refuse func(imports.Resource, *arm.Error)) []draft {
	var all []draft
	for _, x := range resources {
		d := draft{Resource: x}
		if len(p.Template) == 0 { // the file's subscription is this region's
			d.ID = foreignSubscription.ReplaceAllString(d.ID, "/subscriptions/"+p.Sub)
		}
		id, err := arm.ParseID(d.ID)
		if err != nil {
			refuse(d.Resource, arm.AsError(err))
			continue
		}
		d.id = id
		if d.Version == "" {
			d.Version = w.newest(id.Type())
		}
		body, err := json.Marshal(d.Body)
		if err != nil {
			continue // it was JSON
		}
		if len(p.Template) == 0 {
			body = foreignSubscription.ReplaceAll(body, []byte("/subscriptions/"+p.Sub))
		}
		target, err := w.engine.Resolve(ctx, http.MethodPut, d.ID, d.Version)
		if e := arm.AsError(err); e != nil {
			refuse(d.Resource, e)
			continue
		}
		req := &rp.Request{Method: http.MethodPut, Path: d.ID, Query: url.Values{"api-version": {d.Version}}, Header: http.Header{}, Body: body, Base: "https://management.azure.com", Start: w.clock.Now()}
		if _, err := w.policies.Before(authz.NewContext(ctx, w.owner()), target, req); arm.AsError(err) != nil {
			refuse(d.Resource, arm.AsError(err))
			continue
		}
		if json.Unmarshal(req.Body, &d.Body) == nil {
			all = append(all, d)
		}
	}
	return all
}

// newest is the newest api-version of a type, "" of one that the region has not.
func (w *world) newest(t arm.TypeName) string {
	for _, info := range w.engine.Describe() {
		if info.Name.Key() == t.Key() {
			return info.Versions[0]
		}
	}
	return "2024-01-01" // for the message that there is no such type
}

// withGroups adds the resource groups that are not there and that the file does not make.
func (w *world) withGroups(ctx context.Context, drafts []draft, p importParams) []rp.Draft {
	var all []rp.Draft
	made := map[string]bool{}
	for _, d := range drafts {
		group, err := arm.ParseID("/subscriptions/" + d.id.Subscription() + "/resourceGroups/" + d.id.ResourceGroup())
		if err != nil || d.id.ResourceGroup() == "" || made[group.Key()] || slices.ContainsFunc(drafts, func(x draft) bool { return x.id.Key() == group.Key() }) {
			continue
		}
		made[group.Key()] = true
		if err := w.engine.View(ctx, func(tx *rp.Tx) error { return rp.Exists(tx, group) }); err != nil {
			body, _ := json.Marshal(map[string]string{"location": p.Location}) // a map of strings
			all = append(all, rp.Draft{ID: group, Version: "2022-09-01", Body: body})
		}
	}
	for _, d := range drafts {
		body, _ := json.Marshal(d.Body) // it was decoded from JSON
		all = append(all, rp.Draft{ID: d.id, Version: d.Version, Body: body})
	}
	return all
}
