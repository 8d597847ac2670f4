package policy

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	rules "vauban.dev/policy"
)

// Before decides about a write or a deletion before the provider sees it (door.Policy). It may rewrite the request's
// body. done, if not nil, is called when the operation has succeeded: it records what was audited and modified.
func (p *Provider) Before(ctx context.Context, t *rp.Target, r *rp.Request) (done func(context.Context) error, err error) {
	typeName, _, writes := t.Writes()
	if !writes {
		return nil, nil
	}
	index, err := p.Index(ctx)
	if err != nil {
		return nil, err
	}
	if len(index.All()) == 0 {
		return nil, nil
	}
	scopes, err := p.enclosing(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	group := r.Method == http.MethodDelete && t.ID.Type().Key() == "microsoft.resources/resourcegroups"
	if !group && !index.May(scopes, TypeName(typeName)) {
		return nil, nil
	}
	c, err := p.engine.Change(ctx, t, r)
	if err != nil || c == nil {
		return nil, err
	}
	g := &judged{p: p, target: t, request: r, change: c, context: p.requestContext(ctx, c.ID, t.Version)}
	g.resource = NewResource(c.ID, c.Type, c.Kind, c.Body)
	if r.Method == http.MethodDelete {
		return g.delete(ctx, index, scopes, group)
	}
	return g.write(ctx, index, scopes)
}

// judged is a request under decision.
type judged struct {
	p        *Provider
	target   *rp.Target
	request  *rp.Request
	change   *rp.Change
	context  *rules.RequestContext
	resource *rules.Resource
}

func (g *judged) write(ctx context.Context, index *rules.Index, scopes []string) (func(context.Context) error, error) {
	tagsOnly := g.request.Method == http.MethodPatch && onlyTags(g.request.Body)
	d := index.Write(g.context, scopes, g.resource, tagsOnly)
	if len(d.Denied) > 0 {
		if err := g.record(context.WithoutCancel(ctx), d.Denied, activity.Failed); err != nil {
			return nil, err
		}
		return nil, disallowed(g.resource, d.Denied, false)
	}
	if d.Body != nil {
		if err := g.rewrite(d.Body); err != nil {
			return nil, err
		}
		g.resource.Body = d.Body
	}
	all := append(d.Modified, d.Audited...)
	if len(all) == 0 {
		return nil, nil
	}
	return func(ctx context.Context) error { return g.record(ctx, all, activity.Succeeded) }, nil
}

// rewrite makes the changed resource the request's body: of a PATCH what it says besides.
func (g *judged) rewrite(body map[string]any) error {
	if g.request.Method == http.MethodPatch {
		var patch map[string]any
		if err := json.Unmarshal(g.request.Body, &patch); err != nil {
			return err
		}
		body = combine(patch, Difference(g.change.Body, body))
	}
	b, err := json.Marshal(body)
	if err == nil {
		g.request.Body = b
	}
	return err
}

// Difference is the merge patch (RFC 7396) that makes after of before.
func Difference(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for k, v := range after {
		was, had := before[k]
		m, isObject := v.(map[string]any)
		old, wasObject := was.(map[string]any)
		switch {
		case had && isObject && wasObject:
			if d := Difference(old, m); len(d) > 0 {
				patch[k] = d
			}
		case !had || asJSON(was) != asJSON(v):
			patch[k] = v
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			patch[k] = nil
		}
	}
	return patch
}

// combine lays one merge patch over another; nulls stay.
func combine(patch, over map[string]any) map[string]any {
	for k, v := range over {
		name := k
		for own := range patch {
			if strings.EqualFold(own, k) {
				name = own
			}
		}
		m, isObject := v.(map[string]any)
		old, wasObject := patch[name].(map[string]any)
		if isObject && wasObject {
			patch[name] = combine(old, m)
			continue
		}
		patch[name] = v
	}
	return patch
}

// onlyTags says whether a PATCH changes tags and nothing else.
func onlyTags(patch []byte) bool {
	var m map[string]json.RawMessage
	if json.Unmarshal(patch, &m) != nil || len(m) == 0 {
		return false
	}
	for k := range m {
		if !strings.EqualFold(k, "tags") {
			return false
		}
	}
	return true
}

func (g *judged) delete(ctx context.Context, index *rules.Index, scopes []string, group bool) (func(context.Context) error, error) {
	d := index.Delete(g.context, scopes, g.resource, false)
	denied, audited, of := d.Denied, d.Audited, g.resource
	if group && len(denied) == 0 {
		err := g.p.engine.View(ctx, func(tx *rp.Tx) error {
			return rp.EachDocument(ctx, tx, g.target.ID, "", func(doc *rp.Document) error {
				if doc.Kind != rp.Tracked || doc.ID.Key() == g.target.ID.Key() || len(denied) > 0 {
					return nil
				}
				within, err := g.p.enclosing(ctx, doc.ID)
				if err != nil {
					return err
				}
				res := NewResource(doc.ID, doc.Type, doc.Kind, doc.Body)
				if d := index.Delete(g.context, within, res, true); len(d.Denied) > 0 {
					denied, of = d.Denied, res
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	if len(denied) > 0 {
		if err := g.record(context.WithoutCancel(ctx), denied, activity.Failed); err != nil {
			return nil, err
		}
		return nil, disallowed(of, denied, true)
	}
	if len(audited) == 0 {
		return nil, nil
	}
	return func(ctx context.Context) error { return g.record(ctx, audited, activity.Succeeded) }, nil
}

// record writes the policy events of findings, and their entries in the activity log.
func (g *judged) record(ctx context.Context, all []*rules.Finding, status activity.Status) error {
	return g.p.engine.Update(ctx, func(tx *rp.Tx) error {
		for _, f := range all {
			compliance := rules.NonCompliant
			if f.Err != nil {
				compliance = rules.Failed
			}
			r := NewRecord(f, g.resource, compliance, tx.Now)
			r.Principal = tx.Caller.ObjectID
			if err := writeEvent(tx, r); err != nil {
				return err
			}
			if err := rp.Record(tx, g.entry(ctx, f, status)); err != nil {
				return err
			}
		}
		return nil
	})
}

// entry is the activity entry of a finding ("Azure activity log event schema": Policy category).
func (g *judged) entry(ctx context.Context, f *rules.Finding, status activity.Status) activity.Entry {
	e := g.request.Entry(ctx, g.target)
	e.Operation = "Microsoft.Authorization/policies/" + actionName(f.Effect) + "/action"
	e.Category = activity.Policy
	e.Category, e.Status, e.HTTPStatus = activity.Policy, status, http.StatusOK
	if status != activity.Failed {
		e.Level = "Warning"
	}
	e.Message = "'" + actionName(f.Effect) + "' policy action: assignment '" + f.Assignment.ID + "', definition '" + f.Definition.ID + "'."
	if status == activity.Failed {
		e.HTTPStatus, e.Code = http.StatusForbidden, "RequestDisallowedByPolicy"
	}
	return e
}

func actionName(effect string) string {
	switch effect {
	case rules.DenyAction:
		return "denyAction"
	case rules.AuditAction:
		return "auditAction"
	}
	return effect
}

// requestContext is what rules know of a request. The group and the subscription are read when a rule asks.
func (p *Provider) requestContext(ctx context.Context, id arm.ID, version string) *rules.RequestContext {
	rc := &rules.RequestContext{APIVersion: version, Identity: identityOf(ctx)}
	rc.Now = p.clock.Now()
	rc.Subscription = sync.OnceValue(func() map[string]any { return p.subscriptionOf(ctx, id) })
	if id.ResourceGroup() != "" {
		rc.ResourceGroup = sync.OnceValue(func() map[string]any { return p.groupOf(ctx, id) })
	}
	return rc
}

// ScanContext is what rules know of an existing resource.
func (p *Provider) ScanContext(ctx context.Context, id arm.ID, version string) *rules.RequestContext {
	rc := p.requestContext(ctx, id, version)
	rc.Identity = nil
	return rc
}

// identityOf are the claims of the caller that rules may ask for. The methods of who has none, and acrs, since a region has
// no authentication contexts, are empty: rules that split them find nothing.
func identityOf(ctx context.Context) map[string]any {
	caller, ok := authz.FromContext(ctx)
	if !ok {
		return nil
	}
	idtyp := "app"
	if strings.EqualFold(caller.Type, "User") {
		idtyp = "user"
	}
	return map[string]any{"idtyp": idtyp, "appid": caller.AppID, "oid": caller.ObjectID, "tid": caller.TenantID, "acrs": "", "http://schemas.microsoft.com/claims/authnmethodsreferences": strings.Join(caller.Methods, ",")}
}

func (p *Provider) groupOf(ctx context.Context, id arm.ID) map[string]any {
	text := "/subscriptions/" + id.Subscription() + "/resourceGroups/" + id.ResourceGroup()
	m := map[string]any{"id": text, "name": id.ResourceGroup(), "type": "Microsoft.Resources/resourceGroups", "tags": map[string]any{}, "managedBy": nil, "location": ""}
	p.overlay(ctx, text, m, "location", "tags", "managedBy", "properties", "name", "id")
	return m
}

func (p *Provider) subscriptionOf(ctx context.Context, id arm.ID) map[string]any {
	text := "/subscriptions/" + id.Subscription()
	m := map[string]any{"id": text, "subscriptionId": id.Subscription(), "tenantId": p.tenant, "displayName": "", "tags": map[string]any{}}
	p.overlay(ctx, text, m, "tags")
	if doc := p.read(ctx, text); doc != nil {
		if properties, ok := doc["properties"].(map[string]any); ok {
			m["displayName"] = properties["displayName"]
		}
	}
	return m
}

// overlay copies members of a stored scope over m.
func (p *Provider) overlay(ctx context.Context, id string, m map[string]any, names ...string) {
	doc := p.read(ctx, id)
	for _, n := range names {
		if v, ok := doc[n]; ok && v != nil {
			m[n] = v
		}
	}
}

func (p *Provider) read(ctx context.Context, text string) (body map[string]any) {
	id, err := arm.ParseID(text)
	if err != nil {
		return nil
	}
	_ = p.engine.View(ctx, func(tx *rp.Tx) error { // a scope that cannot be read has no members: the rule fails on them
		doc, err := rp.ReadDocument(ctx, tx, id)
		if err == nil {
			body = doc.Body
		}
		return err
	})
	return body
}
