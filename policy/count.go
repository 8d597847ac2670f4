package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// count is a count expression: how many elements of an array meet a condition ("Count").
type count struct {
	field *field // of a field count: an alias with [*]
	value *value // of a value count: an array
	name  string // by which current() knows the element of a value count, lower case
	where node
}

// frame is the element that an enclosing count is at.
type frame struct {
	field *field // of a field count
	at    []int  // the index in each of its arrays
	name  string // of a value count
	value any    // of a value count: the element
}

func (c *compiler) count(raw json.RawMessage, depth int) (*count, error) {
	var members map[string]json.RawMessage
	if err := decode(raw, &members); err != nil || members == nil {
		return nil, errorf("InvalidPolicyRule", "'count' needs an object")
	}
	n := &count{where: always{}}
	var where json.RawMessage
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var err error
		switch strings.ToLower(name) {
		case "field":
			err = n.compileField(members[name])
		case "value":
			c.valueCounts++
			n.value, err = c.value(members[name])
		case "name":
			err = decode(members[name], &n.name)
			n.name = strings.ToLower(n.name)
		case "where":
			where = members[name]
		default:
			err = errorf("InvalidPolicyRule", "'%s' is not a member of 'count'", name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case (n.field == nil) == (n.value == nil):
		return nil, errorf("InvalidPolicyRule", "'count' needs one of 'field' and 'value'")
	case n.field != nil && n.name != "":
		return nil, errorf("InvalidPolicyRule", "'name' belongs to a count of a value")
	case c.valueCounts > maxValueCounts:
		return nil, errorf("PolicyRuleLimitExceeded", "the policy rule has more than %d value counts", maxValueCounts)
	case n.value != nil && n.name == "" && c.inCount > 0:
		return nil, errorf("InvalidPolicyRule", "a count of a value inside of another count needs a 'name'")
	}
	if n.value != nil && n.name == "" {
		n.name = "default"
	}
	if where == nil {
		return n, nil
	}
	c.inCount++
	defer func() { c.inCount-- }()
	var err error
	n.where, err = c.node(where, depth+1)
	return n, err
}

func (n *count) compileField(raw json.RawMessage) (err error) {
	var name string
	if err := decode(raw, &name); err != nil {
		return errorf("InvalidPolicyRule", "'count.field' needs an alias")
	}
	if n.field, err = parseField(name); err != nil {
		return err
	}
	if n.field.kind != fieldAlias || !n.field.star {
		return errorf("InvalidPolicyRule", "'count.field' needs an alias with [*], '%s' has none", name)
	}
	return nil
}

// number counts. Each element is looked at as if it were the only one of its array.
func (n *count) number(r *run) (int64, error) {
	if len(r.frames) >= maxDepth {
		return 0, ErrLimit
	}
	if n.field != nil {
		return n.countField(r)
	}
	v, err := n.value.get(r)
	if err != nil {
		return 0, err
	}
	list, ok := v.([]any)
	if !ok {
		return 0, fmt.Errorf("'count.value' is %s, not an array", describe(v))
	}
	total := r.iterations * max(len(list), 1)
	if total > maxValueIteration {
		return 0, fmt.Errorf("value counts have %d iterations, more than %d: %w", total, maxValueIteration, ErrLimit)
	}
	before := r.iterations
	r.iterations = total
	defer func() { r.iterations = before }()
	var sum int64
	for _, e := range list {
		ok, err := n.at(r, frame{name: n.name, value: e})
		if err != nil {
			return 0, err
		}
		if ok {
			sum++
		}
	}
	return sum, nil
}

func (n *count) at(r *run, f frame) (bool, error) {
	if err := r.step(); err != nil {
		return false, err
	}
	r.frames = append(r.frames, f)
	defer func() { r.frames = r.frames[:len(r.frames)-1] }()
	return n.where.holds(r)
}

// countField enumerates the members of the array, through all the arrays on its path.
func (n *count) countField(r *run) (int64, error) {
	if !n.field.of(r.resource.Type) {
		return 0, nil
	}
	last := len(n.field.steps) - 1 // what follows the last [*] is selected, not counted
	for !n.field.steps[last].star {
		last--
	}
	var sum int64
	var walk func(v any, i int, at []int) error
	walk = func(v any, i int, at []int) error {
		if i > last {
			ok, err := n.at(r, frame{field: n.field, at: slices.Clone(at)})
			if ok {
				sum++
			}
			return err
		}
		m, _ := v.(map[string]any)
		find := descend
		if i == 0 {
			find = descendRoot
		}
		next, same := find(m, n.field.steps[i].name)
		if same || !n.field.steps[i].star {
			return walk(next, i+1, at)
		}
		list, _ := next.([]any)
		if only, fixed := r.fixed(n.field, i, len(at)); fixed {
			if only >= len(list) {
				return nil
			}
			return walk(list[only], i+1, append(at, only))
		}
		for k, e := range list {
			if err := walk(e, i+1, append(at, k)); err != nil {
				return err
			}
		}
		return nil
	}
	return sum, walk(r.resource.Body, 0, nil)
}

// fixed returns the index that an enclosing count is at in the array of the field's step i, the stars-th of its
// path: when that count goes through the same array.
func (r *run) fixed(f *field, i, stars int) (int, bool) {
	for _, fr := range slices.Backward(r.frames) {
		if fr.field == nil || stars >= len(fr.at) || len(fr.field.steps) <= i || fr.field.typ != f.typ {
			continue
		}
		same := true
		for k := 0; k <= i && same; k++ {
			same = fr.field.steps[k].star == f.steps[k].star && strings.EqualFold(fr.field.steps[k].name, f.steps[k].name)
		}
		if same {
			return fr.at[stars], true
		}
	}
	return 0, false
}

// current is the function current(): the element of the innermost count, of the value count of that name, or what
// an alias selects in the element of a field count.
func (r *run) current(name string, named bool) (any, error) {
	if len(r.frames) == 0 {
		return nil, fmt.Errorf("current() stands outside of a count")
	}
	if !named {
		top := r.frames[len(r.frames)-1]
		if top.field == nil {
			return top.value, nil
		}
		return r.single(top.field), nil
	}
	for _, fr := range slices.Backward(r.frames) {
		if fr.field == nil && strings.EqualFold(fr.name, name) {
			return fr.value, nil
		}
	}
	f, err := parseField(name)
	if err != nil || f.kind != fieldAlias {
		return nil, fmt.Errorf("current('%s') names no enclosing count", name)
	}
	for _, fr := range r.frames {
		if fr.field != nil && f.extends(fr.field) {
			return r.single(f), nil
		}
	}
	return nil, fmt.Errorf("current('%s') names no enclosing count", name)
}

// extends says whether the field is the other one or lies in its elements.
func (f *field) extends(outer *field) bool {
	if f.typ != outer.typ || len(f.steps) < len(outer.steps) {
		return false
	}
	for i, s := range outer.steps {
		if f.steps[i].star != s.star || !strings.EqualFold(f.steps[i].name, s.name) {
			return false
		}
	}
	return true
}

// single is what a field selects: one value as it is, several as an array.
func (r *run) single(f *field) any {
	s := r.read(f)
	switch {
	case !s.many:
		return s.value
	case len(s.values) == 1:
		return s.values[0]
	}
	return slices.Clone(s.values)
}
