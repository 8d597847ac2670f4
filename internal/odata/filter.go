// Package odata reads the part of OData's query options that Azure Policy's lists take: $filter with comparisons,
// in, functions, not, and, or and parentheses, and $apply with filter, groupby and aggregate (OData 4.01, part 2: URL
// conventions, 5.1.1; OData extension for data aggregation). It imports the standard library only.
package odata

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Row looks a member up, without regard to case; ok is false when rows have none of that name.
type Row interface {
	Member(name string) (v any, ok bool)
}

// Filter decides on rows.
type Filter interface {
	// Match says whether the row is in. It fails for a member that rows do not have and for values that cannot be
	// compared.
	Match(r Row) (bool, error)
}

// Equaler is a value of a row that decides itself what it is equal to.
type Equaler interface{ Equal(other string) bool }

// Call is a function of the caller's that stands alone, such as atScope() or atExactScope().
type Call func(args []any, r Row) (any, error)

const (
	maxLength = 8192
	maxDepth  = 32
)

// ParseFilter reads a $filter; "" matches all. calls are the caller's functions by lower-case name.
func ParseFilter(s string, calls map[string]Call) (Filter, error) {
	if strings.TrimSpace(s) == "" {
		return literal{true}, nil
	}
	if len(s) > maxLength {
		return nil, fmt.Errorf("it is longer than %d characters", maxLength)
	}
	p, err := newParser(s, calls)
	if err != nil {
		return nil, err
	}
	f, err := p.or(0)
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("'%s' stands where the end is expected", p.peek())
	}
	if err != nil {
		return nil, err
	}
	return match{f}, nil
}

// match is a Filter of an expression.
type match struct{ e expression }

func (m match) Match(r Row) (bool, error) {
	v, err := m.e.value(r)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the filter is not true or false")
	}
	return b, nil
}

// Members are the names that a filter asks rows for.
func Members(f Filter) []string {
	if m, ok := f.(match); ok {
		return members(m.e, nil)
	}
	return nil
}

// Required are the texts that a member is to equal in every row that the filter matches: what stands in comparisons that
// only "and" joins. More than one that differ match no row.
func Required(f Filter, member string) []string {
	if m, ok := f.(match); ok {
		return required(m.e, member)
	}
	return nil
}

func required(e expression, member string) []string {
	switch e := e.(type) {
	case logical:
		if !e.or {
			return append(required(e.left, member), required(e.right, member)...)
		}
	case comparison:
		n, isName := e.left.(name)
		l, isLiteral := e.right.(literal)
		if text, isText := l.v.(string); isName && isLiteral && isText && e.op == "eq" && strings.EqualFold(string(n), member) {
			return []string{text}
		}
	}
	return nil
}

func members(e expression, all []string) []string {
	switch e := e.(type) {
	case name:
		return append(all, string(e))
	case logical:
		return members(e.right, members(e.left, all))
	case negation:
		return members(e.of, all)
	case comparison:
		return members(e.right, members(e.left, all))
	case call:
		for _, a := range e.args {
			all = members(a, all)
		}
	}
	return all
}

type expression interface{ value(r Row) (any, error) }

type literal struct{ v any }

func (l literal) value(Row) (any, error) { return l.v, nil }

// Match makes a literal true or false a Filter.
func (l literal) Match(Row) (bool, error) { return l.v == true, nil }

type name string

func (n name) value(r Row) (any, error) {
	v, ok := r.Member(string(n))
	if !ok {
		return nil, fmt.Errorf("there is no member '%s'", string(n))
	}
	return v, nil
}

type logical struct {
	or          bool
	left, right expression
}

func (l logical) value(r Row) (any, error) {
	a, err := truth(l.left, r)
	if err != nil || a == l.or {
		return a, err
	}
	return truth(l.right, r)
}

type negation struct{ of expression }

func (n negation) value(r Row) (any, error) {
	a, err := truth(n.of, r)
	return !a, err
}

func truth(e expression, r Row) (bool, error) {
	v, err := e.value(r)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("an operand of and, or, not is not true or false")
	}
	return b, nil
}

type comparison struct {
	op          string
	left, right expression
}

func (c comparison) value(r Row) (any, error) {
	a, err := c.left.value(r)
	if err != nil {
		return nil, err
	}
	b, err := c.right.value(r)
	if err != nil {
		return nil, err
	}
	if c.op == "eq" || c.op == "ne" {
		return equal(a, b) == (c.op == "eq"), nil
	}
	if a == nil || b == nil {
		return false, nil
	}
	n := compare(a, b)
	switch c.op {
	case "gt":
		return n > 0, nil
	case "ge":
		return n >= 0, nil
	case "lt":
		return n < 0, nil
	}
	return n <= 0, nil
}

func equal(a, b any) bool {
	if e, ok := a.(Equaler); ok {
		return e.Equal(Text(b))
	}
	if e, ok := b.(Equaler); ok {
		return e.Equal(Text(a))
	}
	return compare(a, b) == 0
}

// compare orders values: times, numbers, else texts without regard to case.
func compare(a, b any) int {
	if s, ok := asTime(a); ok {
		if t, ok := asTime(b); ok {
			return s.Compare(t)
		}
	}
	if x, ok := asNumber(a); ok {
		if y, ok := asNumber(b); ok {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	return strings.Compare(strings.ToLower(Text(a)), strings.ToLower(Text(b)))
}

// Compare orders two values as filters do.
func Compare(a, b any) int { return compare(a, b) }

// Text is a value as text.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

func asTime(v any) (time.Time, bool) {
	switch v := v.(type) {
	case time.Time:
		return v, true
	case string:
		if len(v) < 10 || v[4] != '-' {
			return time.Time{}, false
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
			if t, err := time.Parse(layout, v); err == nil {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// call is a function: contains, startswith, endswith, tolower, toupper, length, or one of the caller's.
type call struct {
	f    Call
	args []expression
}

func (c call) value(r Row) (any, error) {
	args := make([]any, len(c.args))
	for i, a := range c.args {
		var err error
		if args[i], err = a.value(r); err != nil {
			return nil, err
		}
	}
	return c.f(args, r)
}

func texts(n int, f func(s []string) any) Call {
	return func(args []any, _ Row) (any, error) {
		if len(args) != n {
			return nil, fmt.Errorf("a function has %d arguments, %d are expected", len(args), n)
		}
		s := make([]string, n)
		for i, a := range args {
			s[i] = strings.ToLower(Text(a))
		}
		return f(s), nil
	}
}

var functions = map[string]Call{
	"contains":    texts(2, func(s []string) any { return strings.Contains(s[0], s[1]) }),
	"substringof": texts(2, func(s []string) any { return strings.Contains(s[1], s[0]) }),
	"startswith":  texts(2, func(s []string) any { return strings.HasPrefix(s[0], s[1]) }),
	"endswith":    texts(2, func(s []string) any { return strings.HasSuffix(s[0], s[1]) }),
	"tolower":     texts(1, func(s []string) any { return s[0] }),
	"toupper":     texts(1, func(s []string) any { return strings.ToUpper(s[0]) }),
	"trim":        texts(1, func(s []string) any { return strings.TrimSpace(s[0]) }),
	"length":      texts(1, func(s []string) any { return int64(len([]rune(s[0]))) }),
}

// parser reads tokens: words, quoted texts and punctuation.
type parser struct {
	tokens []string
	at     int
	calls  map[string]Call
	edm    bool // the dialect of ParseEDM
}

func newParser(s string, calls map[string]Call) (*parser, error) {
	p := &parser{calls: calls}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.IndexByte("(),", c) >= 0:
			p.tokens = append(p.tokens, s[i:i+1])
			i++
		case c == '\'':
			end := i + 1
			for ; end < len(s); end++ {
				if s[end] != '\'' {
					continue
				}
				if end+1 < len(s) && s[end+1] == '\'' {
					end++
					continue
				}
				break
			}
			if end >= len(s) {
				return nil, fmt.Errorf("a text is not closed")
			}
			p.tokens = append(p.tokens, s[i:end+1])
			i = end + 1
		default:
			end := i
			for end < len(s) && strings.IndexByte(" \t\n\r(),'", s[end]) < 0 {
				end++
			}
			p.tokens = append(p.tokens, s[i:end])
			i = end
		}
	}
	return p, nil
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

func (p *parser) next() string {
	t := p.peek()
	p.at++
	return t
}

func (p *parser) word(w string) bool {
	if strings.EqualFold(p.peek(), w) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(t string) error {
	if got := p.next(); got != t {
		return fmt.Errorf("'%s' stands where '%s' is expected", got, t)
	}
	return nil
}

func (p *parser) or(depth int) (expression, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested too deep")
	}
	left, err := p.and(depth)
	for err == nil && p.word("or") {
		var right expression
		right, err = p.and(depth)
		left = logical{true, left, right}
	}
	return left, err
}

func (p *parser) and(depth int) (expression, error) {
	left, err := p.unary(depth)
	for err == nil && p.word("and") {
		var right expression
		right, err = p.unary(depth)
		left = logical{false, left, right}
	}
	return left, err
}

func (p *parser) unary(depth int) (expression, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested too deep")
	}
	if p.word("not") {
		of, err := p.unary(depth + 1)
		return negation{of}, err
	}
	left, err := p.operand(depth)
	if err != nil {
		return nil, err
	}
	switch op := strings.ToLower(p.peek()); op {
	case "eq", "ne", "gt", "ge", "lt", "le":
		p.at++
		right, err := p.operand(depth)
		if p.edm {
			return edmComparison{op, left, right}, err
		}
		return comparison{op, left, right}, err
	case "in":
		if p.edm {
			break
		}
		p.at++
		return p.list(left, depth)
	}
	return left, nil
}

// list reads in ('a', 'b').
func (p *parser) list(left expression, depth int) (expression, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var all expression = literal{false}
	for {
		e, err := p.operand(depth)
		if err != nil {
			return nil, err
		}
		all = logical{true, all, comparison{"eq", left, e}}
		if p.peek() != "," {
			return all, p.expect(")")
		}
		p.at++
	}
}

func (p *parser) operand(depth int) (expression, error) {
	t := p.next()
	switch {
	case t == "":
		return nil, fmt.Errorf("it ends where a value is expected")
	case t == "(":
		e, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case t == ")" || t == ",":
		return nil, fmt.Errorf("'%s' stands where a value is expected", t)
	case p.edm:
		return p.edmOperand(t)
	case t[0] == '\'':
		return literal{strings.ReplaceAll(t[1:len(t)-1], "''", "'")}, nil
	case p.peek() == "(":
		return p.function(t, depth)
	}
	switch strings.ToLower(t) {
	case "true", "false":
		return literal{strings.EqualFold(t, "true")}, nil
	case "null":
		return literal{nil}, nil
	}
	if n, err := strconv.ParseFloat(t, 64); err == nil {
		return literal{n}, nil
	}
	if when, ok := asTime(t); ok {
		return literal{when}, nil
	}
	for _, c := range t {
		if c != '_' && c != '.' && c != '/' && c != '$' && c != '@' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return nil, fmt.Errorf("'%s' is not the name of a member", t)
		}
	}
	return name(t), nil
}

func (p *parser) function(called string, depth int) (expression, error) {
	f, ok := functions[strings.ToLower(called)]
	if !ok {
		f, ok = p.calls[strings.ToLower(called)]
	}
	if !ok {
		return nil, fmt.Errorf("there is no function '%s'", called)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested too deep")
	}
	p.at++ // (
	c := call{f: f}
	if p.peek() == ")" {
		p.at++
		return c, nil
	}
	for {
		arg, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if p.peek() != "," {
			return c, p.expect(")")
		}
		p.at++
	}
}
