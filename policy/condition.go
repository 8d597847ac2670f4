package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is a compiled condition or logical operator.
type node interface {
	// holds evaluates it. An error is a failed evaluation, which refuses what it was asked about.
	holds(r *run) (bool, error)
	// applies evaluates the conditions on type, name and kind alone; the others count as true, or as false under
	// a not ("Azure Policy applicability logic").
	applies(r *run, negated bool) (bool, error)
}

type allOf []node

func (n allOf) holds(r *run) (bool, error) {
	for _, c := range n {
		if ok, err := c.holds(r); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (n allOf) applies(r *run, negated bool) (bool, error) {
	for _, c := range n {
		if ok, err := c.applies(r, negated); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

type anyOf []node

func (n anyOf) holds(r *run) (bool, error) {
	for _, c := range n {
		if ok, err := c.holds(r); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

func (n anyOf) applies(r *run, negated bool) (bool, error) {
	for _, c := range n {
		if ok, err := c.applies(r, negated); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

type not struct{ inner node }

func (n not) holds(r *run) (bool, error) {
	ok, err := n.inner.holds(r)
	return !ok, err
}

func (n not) applies(r *run, negated bool) (bool, error) {
	ok, err := n.inner.applies(r, !negated)
	return !ok, err
}

// always holds: the where of a count without one, the existence condition of a rule without one.
type always struct{}

func (always) holds(*run) (bool, error)         { return true, nil }
func (always) applies(*run, bool) (bool, error) { return true, nil }

// condition compares a field, a value or a count with what the rule says.
type condition struct {
	field    *value // the field's name: a text or an expression
	parsed   *field // of a name that is no expression
	value    *value
	count    *count
	action   bool   // the authorization action of the request ("source": "action")
	operator string // as Azure writes it
	compare  compare
	target   *value
}

func (c *condition) holds(r *run) (bool, error) {
	if err := r.step(); err != nil {
		return false, err
	}
	target, err := c.target.get(r)
	if err != nil {
		return false, err
	}
	var ok bool
	var have selected
	var f *field
	switch {
	case c.count != nil:
		n, err := c.count.number(r)
		if err != nil {
			return false, err
		}
		have = selected{value: n}
		ok, err = c.compare(n, target)
		if err != nil {
			return false, err
		}
	case c.action:
		have = selected{value: r.action()}
		if ok, err = c.compare(have.value, target); err != nil {
			return false, fmt.Errorf("the condition '%s' on the action %v: %w", c.operator, have.value, err)
		}
	case c.value != nil:
		v, err := c.value.get(r)
		if err != nil {
			return false, err
		}
		have = selected{value: v}
		if ok, err = c.compare(v, target); err != nil {
			return false, fmt.Errorf("the condition '%s' on the value %s: %w", c.operator, c.value.text, err)
		}
	default:
		if f, err = c.fieldOf(r); err != nil {
			return false, err
		}
		if f.kind == fieldLocation && (c.target.varies || c.parsed == nil) {
			target = foldLocation(target)
		}
		have = r.read(f)
		if ok, err = have.all(c.compare, target); err != nil {
			return false, fmt.Errorf("the condition '%s' on the field '%s': %w", c.operator, f.text, err)
		}
	}
	r.note(c, f, have, target, ok)
	return ok, nil
}

func (c *condition) fieldOf(r *run) (*field, error) {
	if c.parsed != nil {
		return c.parsed, nil
	}
	v, err := c.field.get(r)
	if err != nil {
		return nil, err
	}
	s, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("the field %s is not a text", c.field.text)
	}
	return parseField(s)
}

func (c *condition) applies(r *run, negated bool) (bool, error) {
	if c.parsed != nil {
		switch c.parsed.kind {
		case fieldType, fieldName, fieldKindOf:
			return c.holds(r)
		}
	}
	return !negated, nil
}

// foldLocation writes the locations of a condition as resources spell them.
func foldLocation(target any) any {
	switch t := target.(type) {
	case string:
		return normalLocation(t)
	case []any:
		out := make([]any, len(t))
		for i, v := range t {
			out[i] = foldLocation(v)
		}
		return out
	}
	return target
}

// compare is a condition on one value.
type compare func(have, target any) (bool, error)

func negate(f compare) compare {
	return func(have, target any) (bool, error) {
		ok, err := f(have, target)
		return !ok && err == nil, err
	}
}

// operators are the conditions by lower-case name ("Azure Policy definition structure policy rule", Conditions).
var operators = map[string]struct {
	name    string
	compare compare
}{
	"equals":                {"Equals", compareEqual},
	"notequals":             {"NotEquals", negate(compareEqual)},
	"like":                  {"Like", compareLike},
	"notlike":               {"NotLike", negate(compareLike)},
	"match":                 {"Match", compareMatch(false)},
	"notmatch":              {"NotMatch", negate(compareMatch(false))},
	"matchinsensitively":    {"MatchInsensitively", compareMatch(true)},
	"notmatchinsensitively": {"NotMatchInsensitively", negate(compareMatch(true))},
	"contains":              {"Contains", compareContains},
	"notcontains":           {"NotContains", negate(compareContains)},
	"in":                    {"In", compareIn},
	"notin":                 {"NotIn", negate(compareIn)},
	"containskey":           {"ContainsKey", compareContainsKey},
	"notcontainskey":        {"NotContainsKey", negate(compareContainsKey)},
	"less":                  {"Less", compareOrder(func(n int) bool { return n < 0 })},
	"lessorequals":          {"LessOrEquals", compareOrder(func(n int) bool { return n <= 0 })},
	"greater":               {"Greater", compareOrder(func(n int) bool { return n > 0 })},
	"greaterorequals":       {"GreaterOrEquals", compareOrder(func(n int) bool { return n >= 0 })},
	"exists":                {"Exists", compareExists},
}

func compareEqual(have, target any) (bool, error) { return equal(have, target), nil }

func compareLike(have, target any) (bool, error) {
	pattern, ok := text(target)
	if !ok {
		return false, fmt.Errorf("a pattern is expected, not %s", describe(target))
	}
	s, ok := text(have)
	return ok && !isNull(have) && like(s, pattern), nil
}

func compareMatch(fold bool) compare {
	return func(have, target any) (bool, error) {
		pattern, ok := text(target)
		if !ok {
			return false, fmt.Errorf("a pattern is expected, not %s", describe(target))
		}
		s, ok := text(have)
		return ok && !isNull(have) && match(s, pattern, fold), nil
	}
}

func compareContains(have, target any) (bool, error) {
	if list, ok := have.([]any); ok {
		return slices.ContainsFunc(list, func(v any) bool { return equal(v, target) }), nil
	}
	part, ok := text(target)
	if !ok {
		return false, fmt.Errorf("a text is expected, not %s", describe(target))
	}
	s, ok := text(have)
	return ok && !isNull(have) && strings.Contains(strings.ToLower(s), strings.ToLower(part)), nil
}

func compareIn(have, target any) (bool, error) {
	list, ok := target.([]any)
	if !ok {
		return false, fmt.Errorf("an array is expected, not %s", describe(target))
	}
	return slices.ContainsFunc(list, func(v any) bool { return equal(have, v) }), nil
}

func compareContainsKey(have, target any) (bool, error) {
	key, ok := text(target)
	if !ok {
		return false, fmt.Errorf("the name of a key is expected, not %s", describe(target))
	}
	m, _ := have.(map[string]any)
	_, has := member(m, key)
	return has, nil
}

func compareOrder(is func(int) bool) compare {
	return func(have, target any) (bool, error) {
		if isNull(have) {
			return false, nil
		}
		n, err := order(have, target)
		return err == nil && is(n), err
	}
}

func compareExists(have, target any) (bool, error) {
	s, _ := text(target)
	switch strings.ToLower(s) {
	case "true":
		return !isNull(have), nil
	case "false":
		return isNull(have), nil
	}
	return false, fmt.Errorf("true or false is expected, not %s", describe(target))
}

// compiler makes nodes of a rule's JSON and counts what it has made.
type compiler struct {
	conditions  int
	limit       int
	valueCounts int
	counts      map[string]bool // names of the enclosing value counts
	inCount     int
}

func (c *compiler) node(raw json.RawMessage, depth int) (node, error) {
	if depth > maxDepth {
		return nil, errorf("InvalidPolicyRule", "the conditions are nested deeper than %d levels", maxDepth)
	}
	var members map[string]json.RawMessage
	if err := decode(raw, &members); err != nil || members == nil {
		return nil, errorf("InvalidPolicyRule", "a condition is not an object")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var list []json.RawMessage
		switch strings.ToLower(name) {
		case "not":
			if len(members) > 1 {
				return nil, errorf("InvalidPolicyRule", "'not' stands with other members in one object")
			}
			inner, err := c.node(members[name], depth+1)
			return not{inner}, err
		case "allof", "anyof":
			if len(members) > 1 {
				return nil, errorf("InvalidPolicyRule", "'%s' stands with other members in one object", name)
			}
			if err := decode(members[name], &list); err != nil || len(list) == 0 {
				return nil, errorf("InvalidPolicyRule", "'%s' needs an array of conditions", name)
			}
			nodes := make([]node, 0, len(list))
			for _, e := range list {
				n, err := c.node(e, depth+1)
				if err != nil {
					return nil, err
				}
				nodes = append(nodes, n)
			}
			if strings.EqualFold(name, "allof") {
				return allOf(nodes), nil
			}
			return anyOf(nodes), nil
		}
	}
	return c.condition(members, depth)
}

// condition compiles {"field"|"value"|"count": …, "<operator>": …}.
func (c *compiler) condition(members map[string]json.RawMessage, depth int) (node, error) {
	if c.conditions++; c.conditions > c.limit {
		return nil, errorf("PolicyRuleLimitExceeded", "the policy rule has more than %d conditions", c.limit)
	}
	n := &condition{}
	left := 0
	for _, name := range slices.Sorted(maps.Keys(members)) {
		raw := members[name]
		var err error
		switch key := strings.ToLower(name); key {
		case "field":
			left++
			err = c.field(n, raw)
		case "value":
			left++
			n.value, err = c.value(raw)
		case "count":
			left++
			n.count, err = c.count(raw, depth)
		case "source":
			left++
			n.action, err = true, checkSource(raw)
		default:
			op, ok := operators[key]
			if !ok {
				return nil, errorf("InvalidPolicyRule", "'%s' is not a condition that is supported", name)
			}
			if n.compare != nil {
				return nil, errorf("InvalidPolicyRule", "a condition has two operators, '%s' and '%s'", n.operator, op.name)
			}
			n.operator, n.compare = op.name, op.compare
			n.target, err = c.value(raw)
			if err == nil {
				err = n.checkTarget(key)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case left == 0:
		return nil, errorf("InvalidPolicyRule", "a condition needs one of 'field', 'value', 'count' and 'source'")
	case left > 1:
		return nil, errorf("InvalidPolicyRule", "a condition has more than one of 'field', 'value', 'count' and 'source'")
	case n.compare == nil:
		return nil, errorf("InvalidPolicyRule", "a condition has no operator, such as 'equals'")
	}
	if n.parsed != nil && n.parsed.kind == fieldLocation && !n.target.dynamic() {
		n.target.literal = foldLocation(n.target.literal)
	}
	return n, nil
}

// checkSource: the authorization action of the request is the only other source of a condition's value.
func checkSource(raw json.RawMessage) error {
	var name string
	if err := decode(raw, &name); err != nil || !strings.EqualFold(name, "action") {
		return errorf("InvalidPolicyRule", "'source' has the one value 'action'")
	}
	return nil
}

// checkTarget refuses a literal that its operator cannot compare with.
func (n *condition) checkTarget(operator string) error {
	if n.target.expr != nil {
		return nil
	}
	switch operator {
	case "in", "notin":
		if _, ok := n.target.literal.([]any); !ok {
			return errorf("InvalidPolicyRule", "'%s' needs an array", n.operator)
		}
	case "like", "notlike":
		if s, ok := n.target.literal.(string); ok && strings.Count(s, "*") > 1 {
			return errorf("InvalidPolicyRule", "the pattern '%s' of '%s' has more than one wildcard", s, n.operator)
		}
	case "exists":
		if _, err := compareExists(nil, n.target.literal); err != nil {
			return errorf("InvalidPolicyRule", "'exists' needs true or false")
		}
	case "containskey", "notcontainskey", "match", "notmatch", "matchinsensitively", "notmatchinsensitively", "contains", "notcontains":
		if _, ok := text(n.target.literal); !ok {
			return errorf("InvalidPolicyRule", "'%s' needs a text", n.operator)
		}
	}
	return nil
}

func (c *compiler) field(n *condition, raw json.RawMessage) error {
	var name string
	if err := decode(raw, &name); err != nil || name == "" {
		return errorf("InvalidPolicyRule", "'field' needs the name of a field")
	}
	v, err := newValue(name)
	if err != nil {
		return err
	}
	if n.field = v; v.expr != nil {
		return nil
	}
	n.parsed, err = parseField(name)
	return err
}

func (c *compiler) value(raw json.RawMessage) (*value, error) {
	var v any
	if err := decode(raw, &v); err != nil {
		return nil, errorf("InvalidPolicyRule", "a value is not JSON")
	}
	return newValue(v)
}
