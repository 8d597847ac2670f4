// Package odata reads the query options of OData (OData 4.01, URL Conventions) as Microsoft Graph takes them:
// $filter with comparisons, string functions, in, any and all, compared without case, null where a value is absent;
// $orderby and $search. It knows nothing of types: a caller gives the value of a property by its path.
package odata

import (
	"fmt"
	"strings"
	"time"
)

// Limits of what is read; more is an *Error.
const (
	MaxLength = 8192 // bytes of an expression
	maxDepth  = 24
	maxTerms  = 100
)

// Error says what is wrong with an expression, and where.
type Error struct {
	Text string // of the expression, shortened
	At   int    // byte
	What string
}

func (e *Error) Error() string { return fmt.Sprintf("%s at position %d in '%s'", e.What, e.At, e.Text) }

// Values gives the value of a property: nil, string, bool, int, float64, time.Time, []string, or []Values for
// collections of complex values. Names are compared as the caller does; ok is false for a property that there is not.
type Values func(path string) (v any, ok bool)

// Filter is a $filter. The zero Filter matches everything.
type Filter struct {
	root  node
	Paths []string // the properties that it names, as written, without those of lambda variables
	// Advanced: it has what Microsoft Graph takes in advanced queries only: ne, not, endswith, contains, $count.
	Advanced bool
}

// Match reports whether the values fit. A property that there is not is null.
func (f Filter) Match(v Values) bool { return f.root == nil || f.root.match(scope{values: v}) }

// Must returns the comparisons with eq that hold for everything that matches, by path: eq at the top, joined by and;
// and any with eq, by the path of the collection.
func (f Filter) Must() map[string]string {
	out := map[string]string{}
	if f.root != nil {
		f.root.must(out)
	}
	return out
}

type scope struct {
	values   Values
	variable string
	value    any // of the variable: a string, or Values
}

func (s scope) get(path string) any {
	if s.variable != "" {
		head, rest, deeper := strings.Cut(path, "/")
		if head == s.variable {
			if !deeper {
				return s.value
			}
			if v, ok := s.value.(Values); ok {
				out, _ := v(rest)
				return out
			}
			return nil
		}
	}
	v, _ := s.values(path)
	return v
}

// node is one part of an expression.
type node interface {
	match(s scope) bool
	must(out map[string]string)
}

type logical struct {
	and         bool
	left, right node
}

func (n logical) match(s scope) bool {
	if n.and {
		return n.left.match(s) && n.right.match(s)
	}
	return n.left.match(s) || n.right.match(s)
}

func (n logical) must(out map[string]string) {
	if n.and {
		n.left.must(out)
		n.right.must(out)
	}
}

type not struct{ of node }

func (n not) match(s scope) bool     { return !n.of.match(s) }
func (n not) must(map[string]string) {}

// comparison is path op literal; path $count compares the length of a collection.
type comparison struct {
	path  string
	count bool
	op    string // eq ne gt ge lt le in
	to    []any
}

func (n comparison) match(s scope) bool {
	v := s.get(n.path)
	if n.count {
		v = length(v)
	}
	if n.op == "ne" {
		return !equal(v, n.to[0])
	}
	for _, to := range n.to {
		if n.op == "eq" || n.op == "in" {
			if equal(v, to) {
				return true
			}
			continue
		}
		if c, ok := compare(v, to); ok && (c < 0 && (n.op == "lt" || n.op == "le") || c > 0 && (n.op == "gt" || n.op == "ge") || c == 0 && (n.op == "ge" || n.op == "le")) {
			return true
		}
	}
	return false
}

func (n comparison) must(out map[string]string) {
	if text, ok := n.to[0].(string); ok && n.op == "eq" && !n.count {
		out[n.path] = text
	}
}

// call is a function with a path and a string.
type call struct{ name, path, with string }

func (n call) match(s scope) bool {
	text, ok := s.get(n.path).(string)
	if !ok {
		return false
	}
	text, with := strings.ToLower(text), strings.ToLower(n.with)
	switch n.name {
	case "startswith":
		return strings.HasPrefix(text, with)
	case "endswith":
		return strings.HasSuffix(text, with)
	}
	return strings.Contains(text, with)
}

func (n call) must(map[string]string) {}

// lambda is path/any(x:…) or path/all(x:…); any without a body asks for an element.
type lambda struct {
	path, variable string
	all            bool
	body           node
}

func (n lambda) match(s scope) bool {
	var elements []any
	switch v := s.get(n.path).(type) {
	case []string:
		for _, e := range v {
			elements = append(elements, e)
		}
	case []Values:
		for _, e := range v {
			elements = append(elements, e)
		}
	}
	if n.body == nil {
		return len(elements) > 0
	}
	for _, e := range elements {
		if n.body.match(scope{values: s.values, variable: n.variable, value: e}) != n.all {
			return !n.all
		}
	}
	return n.all
}

func (n lambda) must(out map[string]string) {
	if c, ok := n.body.(comparison); ok && !n.all && c.op == "eq" && c.path == n.variable {
		if text, ok := c.to[0].(string); ok {
			out[n.path] = text
		}
	}
}

func length(v any) any {
	switch v := v.(type) {
	case []string:
		return float64(len(v))
	case []Values:
		return float64(len(v))
	}
	return float64(0)
}

// equal compares a value with a literal; strings without case, as Microsoft Graph does.
func equal(v, literal any) bool {
	if v == nil || literal == nil {
		return v == nil && literal == nil
	}
	c, ok := compare(v, literal)
	return ok && c == 0
}

func compare(v, literal any) (int, bool) {
	switch a := v.(type) {
	case string:
		if b, ok := literal.(string); ok {
			return strings.Compare(strings.ToLower(a), strings.ToLower(b)), true
		}
	case bool:
		if b, ok := literal.(bool); ok {
			if a == b {
				return 0, true
			}
			return -1, false
		}
	case int:
		return compare(float64(a), literal)
	case float64:
		if b, ok := literal.(float64); ok {
			switch {
			case a < b:
				return -1, true
			case a > b:
				return 1, true
			}
			return 0, a == b
		}
	case time.Time:
		if b, ok := literal.(time.Time); ok {
			return a.Compare(b), true
		}
	}
	return 0, false
}
