package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Fault is what is wrong with a body.
type Fault struct {
	Path string // properties.ports[2]
	Rule Rule
	Text string // in words, without the path
}

// Rule is what a Fault breaks.
type Rule uint8

const (
	Missing  Rule = iota // a required member is not there
	Mistyped             // a value of another JSON type
	Unlisted             // not of the enumeration
	Bounds               // too long, too short, too great, too small, not of the pattern
)

func (f *Fault) Error() string { return f.Path + ": " + f.Text }

// judged are the members of a body that Read judges; the others are Resource Manager's.
var judged = []string{"properties", "sku", "kind"}

// Read is a body (of properties, sku, kind, and the name for types with several forms) as the service would store it: enumerations in the specification's spelling, numbers and booleans that
// were written as texts, and texts that were not, made what they are to be (services read JSON as Json.NET does), without
// what is read-only and without secrets. Members that the specification does not know stay. Nothing of body is changed.
// Secrets are asked for when the resource is created only. The error is a *Fault, the first one by path.
func (t *Type) Read(body map[string]any, create bool) (map[string]any, error) {
	r := reader{t: t, create: create}
	out := r.value(t.body(), body, "")
	r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool {
		return !slices.ContainsFunc(judged, func(name string) bool { return f.Path == name || strings.HasPrefix(f.Path, name+".") })
	})
	if len(r.faults) > 0 {
		return nil, slices.MinFunc(r.faults, func(a, b *Fault) int { return cmp.Compare(a.Path, b.Path) })
	}
	m, _ := out.(map[string]any)
	return m, nil
}

// BadName is what is wrong with the name of a resource of the type; nil for a good one.
func (t *Type) BadName(name string) *Fault {
	r, form := reader{t: t}, t.NameForm()
	r.text(&form, name, "name")
	if len(r.faults) == 0 {
		return nil
	}
	return r.faults[0]
}

type reader struct {
	t      *Type
	create bool
	faults []*Fault
}

func (r *reader) fault(path string, rule Rule, format string, args ...any) {
	r.faults = append(r.faults, &Fault{Path: path, Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// value reads v as n says; nil where it is not to be stored.
func (r *reader) value(n *Node, v any, path string) any {
	switch n.Kind {
	case String, Enum:
		return r.text(n, v, path)
	case Integer:
		return r.integer(n, v, path)
	case Boolean:
		return r.boolean(v, path)
	case Array:
		return r.array(n, v, path)
	case Object:
		m, ok := v.(map[string]any)
		if !ok {
			r.mistyped(v, "object", path)
			return nil
		}
		return r.object(n, m, path)
	}
	return v
}

func (r *reader) mistyped(v any, want, path string) {
	r.fault(path, Mistyped, "a JSON %s was found where a JSON %s is expected", kindOf(v), want)
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case nil:
		return "null"
	}
	return "number"
}

func (r *reader) text(n *Node, v any, path string) any {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case bool:
		s = map[bool]string{true: "True", false: "False"}[v]
	case float64:
		s = strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		s = v.String()
	default:
		r.mistyped(v, "string", path)
		return nil
	}
	if n.Kind == Enum {
		for _, known := range n.Values {
			if strings.EqualFold(known, s) {
				return known
			}
		}
		if !n.Open && s != "" {
			r.fault(path, Unlisted, "the value '%s' is not one of '%s'", s, strings.Join(n.Values, ", "))
		}
		return s
	}
	if length := len([]rune(s)); n.Min != nil && length < *n.Min || n.Max != nil && length > *n.Max {
		r.fault(path, Bounds, "the value has %d characters, where it must have %s", length, between(n.Min, n.Max))
	} else if p := compiled(n.Pattern); p != nil && !p.MatchString(s) {
		r.fault(path, Bounds, "the value '%s' does not match the pattern '%s'", s, n.Pattern)
	}
	return s
}

func between(min, max *int) string {
	switch {
	case max == nil:
		return fmt.Sprintf("at least %d", *min)
	case min == nil:
		return fmt.Sprintf("at most %d", *max)
	}
	return fmt.Sprintf("%d to %d", *min, *max)
}

// patterns are compiled once; those that only a backtracking matcher can read (look-ahead) are nil, and not asked.
var patterns sync.Map

func compiled(pattern string) *regexp.Regexp {
	if pattern == "" {
		return nil
	}
	if p, ok := patterns.Load(pattern); ok {
		return p.(*regexp.Regexp)
	}
	p, err := regexp.Compile(pattern)
	if err != nil {
		p = nil
	}
	patterns.Store(pattern, p)
	return p
}

func (r *reader) integer(n *Node, v any, path string) any {
	var f float64
	switch x := v.(type) {
	case float64:
		f = x
	case json.Number:
		f, _ = x.Float64() // a number of JSON always is one
	case string:
		i, err := strconv.ParseInt(strings.TrimSpace(x), 10, 64)
		if err != nil {
			r.mistyped(v, "whole number", path)
			return nil
		}
		f, v = float64(i), float64(i)
	default:
		r.mistyped(v, "whole number", path)
		return nil
	}
	if f != math.Trunc(f) {
		return v // the specification calls some fractions whole: a capacity of 0.25
	}
	if n.Min != nil && f < float64(*n.Min) || n.Max != nil && f > float64(*n.Max) {
		r.fault(path, Bounds, "the value %v is out of range: it must be %s", v, between(n.Min, n.Max))
	}
	return v
}

func (r *reader) boolean(v any, path string) any {
	switch x := v.(type) {
	case bool:
		return x
	case string:
		if strings.EqualFold(x, "true") || strings.EqualFold(x, "false") {
			return strings.EqualFold(x, "true")
		}
	}
	r.mistyped(v, "boolean", path)
	return nil
}

func (r *reader) array(n *Node, v any, path string) any {
	list, ok := v.([]any)
	if !ok {
		r.mistyped(v, "array", path)
		return nil
	}
	if n.Min != nil && len(list) < *n.Min || n.Max != nil && len(list) > *n.Max {
		r.fault(path, Bounds, "the array has %d elements, where it must have %s", len(list), between(n.Min, n.Max))
	}
	out := make([]any, 0, len(list))
	for i, e := range list {
		if n.Item != nil {
			e = r.value(r.t.node(*n.Item), e, fmt.Sprintf("%s[%d]", path, i))
		}
		out = append(out, e)
	}
	return out
}

func (r *reader) object(n *Node, m map[string]any, path string) any {
	out := map[string]any{}
	forms := []*Node{n}
	if c := r.caseOf(n, m, path); c != nil {
		forms = append(forms, c)
	}
	known := map[string]bool{}
	for _, form := range forms {
		for i := range form.Members {
			if strings.EqualFold(form.Members[i].Name, n.Discriminator) {
				continue
			}
			r.member(&form.Members[i], m, out, path, known)
		}
	}
	for name, v := range m {
		if text, ok := v.(string); ok && n.Discriminator != "" && strings.EqualFold(name, n.Discriminator) {
			out[n.Discriminator] = n.caseName(text)
			continue
		}
		if known[strings.ToLower(name)] {
			continue
		}
		if n.Item != nil {
			if item := r.t.node(*n.Item); item.Secret {
				continue
			} else if v != nil {
				v = r.value(item, v, join(path, name))
			}
		}
		out[name] = v
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// caseName is the value of the discriminator as the specification spells it.
func (n *Node) caseName(text string) string {
	for _, c := range n.Cases {
		if strings.EqualFold(c.Value, text) {
			return c.Value
		}
	}
	return text
}

// caseOf is the form that the discriminator chooses; nil for one that the specification does not have.
func (r *reader) caseOf(n *Node, m map[string]any, path string) *Node {
	if n.Discriminator == "" {
		return nil
	}
	value, ok := fold(m, n.Discriminator)
	text, _ := value.(string)
	if !ok || text == "" {
		return nil // services have one that they take then, which the specification does not say
	}
	var names []string
	for _, c := range n.Cases {
		if strings.EqualFold(strings.TrimPrefix(c.Value, "#"), strings.TrimPrefix(text, "#")) { // OData's types, with their # or without
			return r.t.node(c.Node)
		}
		names = append(names, c.Value)
	}
	if path != "" || !strings.EqualFold(n.Discriminator, "name") {
		r.fault(join(path, n.Discriminator), Unlisted, "the value '%s' is not one of '%s'", text, strings.Join(names, ", "))
	}
	return nil
}

func (r *reader) member(x *Member, m, out map[string]any, path string, known map[string]bool) {
	key := strings.ToLower(x.Name)
	if known[key] {
		return
	}
	known[key] = true
	v, ok := fold(m, x.Name)
	form := &r.t.in.nodes[x.Node]
	secret := form.Secret || x.Flags&WriteOnly != 0
	switch {
	case x.Flags&ReadOnly != 0:
	case !ok || v == nil:
		if x.Flags&Required != 0 && (r.create || !secret) && !form.constant() && !(form.Kind == Enum && r.t.in.kinds[key]) { // as caseOf: services have a kind that they take then
			r.fault(join(path, x.Name), Missing, "the required property is missing")
		}
	case secret:
		r.value(form, v, join(path, x.Name))
	default:
		out[x.Name] = r.value(form, v, join(path, x.Name))
	}
}

// constant says that a value can be but one, which services do not ask for.
func (n *Node) constant() bool { return n.Kind == Enum && !n.Open && len(n.Values) == 1 }

func fold(m map[string]any, name string) (any, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}
