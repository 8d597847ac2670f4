package policy

import (
	"slices"
	"strings"
)

// Finding is a definition whose condition holds for a resource.
type Finding struct {
	*Bound
	Effect      string       // what it does, in lower case
	Expressions []Expression // what was evaluated
	Err         error        // the evaluation failed: it refuses
	Conflict    string       // why a change could not be made
	Exemptions  []*Exemption
}

// Decision is what policy says of a write or a deletion.
type Decision struct {
	Body     map[string]any // the body after append and modify; nil when nothing changed it
	Denied   []*Finding
	Audited  []*Finding
	Modified []*Finding
	// After are to be evaluated when the write has succeeded: auditIfNotExists and deployIfNotExists.
	After []*Finding
}

// evaluate asks whether the condition of b holds for the resource.
// The finding is nil when it does not.
func (b *Bound) evaluate(r *run, res *Resource, effect string) (f *Finding, holds bool) {
	if b.Broken != nil {
		return &Finding{Bound: b, Effect: effect, Err: b.Broken}, true
	}
	ok, err := b.Definition.rule.cond.holds(r.reset(b, res))
	if err == nil && !ok {
		return nil, false
	}
	return &Finding{Bound: b, Effect: effect, Err: err}, true
}

// explain fills in what was evaluated, by evaluating once more: refusals are rare and successes are to be cheap.
func (f *Finding) explain(rc *RequestContext, res *Resource) *Finding {
	if f.Broken != nil {
		return f
	}
	r := newRun(f.Bound, rc, res)
	r.tracing = true
	_, _ = f.Definition.rule.cond.holds(r)
	f.Expressions = r.trace
	return f
}

// Write decides about the creation or the update of a resource, in Azure's order: append and modify rewrite the
// body, then deny and audit see it. An evaluation that fails refuses. tagsOnly is a PATCH of nothing but tags, for
// which only rules that look at tags count. res.Body is not changed.
func (x *Index) Write(rc *RequestContext, scopes []string, res *Resource, tagsOnly bool) *Decision {
	d, r := &Decision{}, newRun(nil, rc, res)
	type reached struct {
		b      *Bound
		effect string
	}
	var rest []reached
	var changes []*Finding
	x.reaching(scopes, res, func(b *Bound, effect string) bool {
		if !b.Assignment.Enforced() || tagsOnly && !b.tags || len(x.Exempt(b, scopes, res, rc.Now)) > 0 {
			return true
		}
		if effect != Append && effect != Modify {
			rest = append(rest, reached{b, effect})
			return true
		}
		f, holds := b.evaluate(r, res, effect)
		switch {
		case !holds:
		case f.Err != nil:
			d.Denied = append(d.Denied, f)
		default:
			changes = append(changes, f)
		}
		return true
	})
	changed := *res
	if len(changes) > 0 {
		changed.Body = d.rewrite(rc, res, changes)
	}
	for _, c := range rest {
		if c.effect == DenyAction || c.effect == AuditAction || c.effect == Manual {
			continue
		}
		f, holds := c.b.evaluate(r, &changed, c.effect)
		switch {
		case !holds:
		case f.Err != nil, c.effect == Deny:
			d.Denied = append(d.Denied, f.explain(rc, &changed))
		case c.effect == Audit:
			d.Audited = append(d.Audited, f.explain(rc, &changed))
		case c.effect == AuditIfNotExists, c.effect == DeployIfNotExists:
			d.After = append(d.After, f)
		}
	}
	return d
}

// Delete decides about a deletion: denyAction refuses it ("Azure Policy definitions denyAction effect"). group says
// that the resource goes with its resource group.
func (x *Index) Delete(rc *RequestContext, scopes []string, res *Resource, group bool) *Decision {
	asked := *rc
	asked.Action = res.Type + "/delete"
	rc = &asked
	d, r := &Decision{}, newRun(nil, rc, res)
	if undeniable[strings.ToLower(res.Type)] {
		return d
	}
	x.reaching(scopes, res, func(b *Bound, effect string) bool {
		if effect != DenyAction && effect != AuditAction || !b.Assignment.Enforced() || len(x.Exempt(b, scopes, res, rc.Now)) > 0 {
			return true
		}
		rule := b.Definition.rule
		if b.Broken == nil && !slices.ContainsFunc(rule.actions, func(a string) bool { return strings.EqualFold(a, "delete") }) {
			return true
		}
		if group && (!res.Tracked || !indexed(b.Definition.Mode) || rule.cascade == "allow") {
			return true
		}
		f, holds := b.evaluate(r, res, effect)
		switch {
		case !holds:
		case f.Err != nil, effect == DenyAction:
			d.Denied = append(d.Denied, f.explain(rc, res))
		default:
			d.Audited = append(d.Audited, f.explain(rc, res))
		}
		return true
	})
	return d
}

// undeniable are the types that denyAction does not keep, lest somebody be locked out.
var undeniable = map[string]bool{
	"microsoft.authorization/policyassignments": true, "microsoft.authorization/denyassignments": true,
	"microsoft.blueprint/blueprintassignments": true, "microsoft.resources/deploymentstacks": true,
	"microsoft.resources/subscriptions": true, "microsoft.authorization/locks": true,
}
