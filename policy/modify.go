package policy

import (
	"fmt"
	"slices"
	"strings"
)

// change is an operation of a finding, resolved.
type change struct {
	by    *Finding
	kind  string
	field *field
	value any
}

// key is the field that a change is on, for conflicts.
func (c *change) key() string { return strings.ToLower(c.field.text) }

// rewrite applies append and modify to a copy of the body. Changes of one field that differ are conflicts, which
// conflictEffect decides ("Azure Policy definitions modify effect"); an append over another value refuses.
func (d *Decision) rewrite(rc *RequestContext, res *Resource, findings []*Finding) map[string]any {
	var all []*change
	for _, f := range findings {
		changes, err := f.changes(rc, res)
		if err != nil {
			f.Err = err
			d.Denied = append(d.Denied, f.explain(rc, res))
			continue
		}
		all = append(all, changes...)
	}
	skip := d.resolve(all)
	body, _ := clone(res.Body).(map[string]any)
	if body == nil {
		body = map[string]any{}
	}
	done := map[*Finding]bool{}
	for _, c := range all {
		if skip[c.by] {
			continue
		}
		made, conflict := c.apply(res, body)
		if conflict != "" {
			c.by.Conflict = conflict
			skip[c.by] = true
			if c.by.conflictEffect(rc, res) == Deny && !slices.Contains(d.Denied, c.by) {
				d.Denied = append(d.Denied, c.by.explain(rc, res))
			}
			continue
		}
		if made && !done[c.by] {
			done[c.by] = true
			d.Modified = append(d.Modified, c.by)
		}
	}
	if len(done) > 0 {
		d.Body = body
	}
	return body
}

// changes evaluates the operations whose conditions hold.
func (f *Finding) changes(rc *RequestContext, res *Resource) ([]*change, error) {
	r := newRun(f.Bound, rc, res)
	var out []*change
	for _, op := range f.Definition.rule.operations {
		if op.condition != nil {
			v, err := op.condition.get(r)
			if err != nil {
				return nil, err
			}
			if s, _ := text(v); !strings.EqualFold(s, "true") {
				continue
			}
		}
		name, err := op.field.get(r)
		if err != nil {
			return nil, err
		}
		s, _ := name.(string)
		c := &change{by: f, kind: op.kind}
		if c.field, err = parseField(s); err != nil {
			return nil, err
		}
		if op.value != nil {
			if c.value, err = op.value.get(r); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// conflictEffect is what a change that cannot be made does: of append it is always deny.
func (f *Finding) conflictEffect(rc *RequestContext, res *Resource) string {
	if f.Effect == Append || f.Definition.rule.conflict == nil {
		return Deny
	}
	v, err := f.Definition.rule.conflict.get(newRun(f.Bound, rc, res))
	s, _ := v.(string)
	if err != nil || s == "" {
		return Deny
	}
	return strings.ToLower(s)
}

// resolve finds the changes of one field by several definitions that contradict each other, and says whose changes
// are left out.
func (d *Decision) resolve(all []*change) map[*Finding]bool {
	skip := map[*Finding]bool{}
	for i, c := range all {
		group := []*change{c}
		for _, o := range all[i+1:] {
			if o.by != c.by && o.key() == c.key() && (o.kind != c.kind || !equal(o.value, c.value)) && !c.field.star {
				group = append(group, o)
			}
		}
		if len(group) == 1 {
			continue
		}
		var deny []*Finding
		for _, g := range group {
			if g.by.Effect == Append || g.by.Definition.rule.conflict == nil || strings.EqualFold(g.by.Definition.rule.conflict.text, Deny) {
				deny = append(deny, g.by)
			}
		}
		switch {
		case len(deny) > 1:
			for _, f := range deny {
				f.Conflict = fmt.Sprintf("several policies change '%s' to different values", c.field.text)
				skip[f] = true
				if !slices.Contains(d.Denied, f) {
					d.Denied = append(d.Denied, f)
				}
			}
		default:
			for _, g := range group {
				if !slices.Contains(deny, g.by) {
					skip[g.by] = true
				}
			}
		}
	}
	return skip
}

// apply makes the change in the body. made is false when there was nothing to do; conflict says why it cannot be.
func (c *change) apply(res *Resource, body map[string]any) (made bool, conflict string) {
	switch c.field.kind {
	case fieldTag:
		return c.applyTag(body)
	case fieldTags:
		if c.kind == "remove" {
			delete(body, "tags")
			return true, ""
		}
		return c.set(body, "tags")
	case fieldAlias:
		if !c.field.of(res.Type) {
			return false, ""
		}
		return c.applyAlias(body)
	case fieldIdentity:
		typ := strings.ToLower(res.Type)
		if typ != "microsoft.compute/virtualmachines" && typ != "microsoft.compute/virtualmachinescalesets" {
			return false, ""
		}
		return c.set(object(body, "identity"), "type")
	case fieldLocation, fieldKindOf:
		return c.set(body, strings.ToLower(c.field.text))
	}
	return false, fmt.Sprintf("the field '%s' cannot be changed", c.field.text)
}

func (c *change) applyTag(body map[string]any) (bool, string) {
	tags := object(body, "tags")
	if c.kind == "remove" {
		name, has := memberName(tags, c.field.tag)
		delete(tags, name)
		return has, ""
	}
	if c.value == nil {
		return false, "" // the tag to inherit is not there
	}
	s, ok := text(c.value)
	if !ok {
		return false, fmt.Sprintf("the value of the tag '%s' is not a text", c.field.tag)
	}
	c.value = s
	return c.set(tags, c.field.tag)
}

// object returns the member that is an object, and makes it when there is none.
func object(m map[string]any, name string) map[string]any {
	name, _ = memberName(m, name)
	o, ok := m[name].(map[string]any)
	if !ok {
		o = map[string]any{}
		m[name] = o
	}
	return o
}

// set gives a member its value by the rules of the operation.
func (c *change) set(m map[string]any, name string) (bool, string) {
	name, has := memberName(m, name)
	old := m[name]
	has = has && old != nil
	switch {
	case has && equal(old, c.value):
		return false, ""
	case has && (c.kind == Append || c.kind == "add"):
		return false, fmt.Sprintf("'%s' already has another value", c.field.text)
	case !has && c.kind == "replace":
		return false, ""
	}
	m[name] = clone(c.value)
	return true, ""
}

// applyAlias makes the change at the alias' path, in every element of its arrays. An array alias that ends in [*]
// adds an element. Objects on the way that are missing are made, but for what is nested below the properties of the
// resource: their absence is meant.
func (c *change) applyAlias(body map[string]any) (bool, string) {
	steps := c.field.steps
	first := steps[0].name
	at := object(body, "properties")
	if _, ok := member(at, first); !ok {
		switch strings.ToLower(first) {
		case "sku", "kind", "identity", "zones", "plan", "managedby", "extendedlocation":
			at = body
		default:
			if _, ok := member(body, first); ok {
				at = body
			}
		}
	}
	return c.applyAt(at, steps)
}

func (c *change) applyAt(m map[string]any, steps []step) (made bool, conflict string) {
	st, last := steps[0], len(steps) == 1
	if _, ok := member(m, st.name); !ok { // the property of an embedded resource
		if inner, ok := member(m, "properties"); ok {
			if p, ok := inner.(map[string]any); ok {
				return c.applyAt(p, steps)
			}
		}
	}
	name, _ := memberName(m, st.name)
	switch {
	case last && st.star:
		list, _ := m[name].([]any)
		if slices.ContainsFunc(list, func(v any) bool { return equal(v, c.value) }) {
			return false, ""
		}
		m[name] = append(slices.Clone(list), clone(c.value))
		return true, ""
	case last:
		return c.set(m, st.name)
	case st.star:
		list, _ := m[name].([]any)
		for _, e := range list {
			o, ok := e.(map[string]any)
			if !ok {
				continue
			}
			did, conflict := c.applyAt(o, steps[1:])
			if conflict != "" {
				return made, conflict
			}
			made = made || did
		}
		return made, ""
	}
	o, ok := m[name].(map[string]any)
	if !ok {
		if m[name] != nil {
			return false, fmt.Sprintf("'%s' does not lead to a property", c.field.text)
		}
		o = map[string]any{}
		if made, conflict = c.applyAt(o, steps[1:]); made {
			m[name] = o
		}
		return made, conflict
	}
	return c.applyAt(o, steps[1:])
}

// SetField gives a field of the resource a value, in place; false when it is none that can be set.
func SetField(res *Resource, name string, v any) bool {
	f, err := parseField(name)
	if err != nil {
		return false
	}
	body, _ := clone(res.Body).(map[string]any)
	c := &change{kind: "addorreplace", field: f, value: v}
	_, conflict := c.apply(res, body)
	res.Body = body
	return conflict == ""
}
