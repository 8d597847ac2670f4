package odata

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Parse reads a $filter; "" is the filter that matches everything. Errors are *Error.
func Parse(text string) (Filter, error) {
	if strings.TrimSpace(text) == "" {
		return Filter{}, nil
	}
	p := &parser{text: text}
	if len(text) > MaxLength {
		return Filter{}, p.fail("the expression is longer than " + strconv.Itoa(MaxLength) + " bytes")
	}
	if !utf8.ValidString(text) {
		return Filter{}, p.fail("the expression is not UTF-8")
	}
	root, err := p.or(0)
	if err != nil {
		return Filter{}, err
	}
	if p.space(); p.at < len(text) {
		return Filter{}, p.fail("and, or or the end is expected")
	}
	return Filter{root: root, Paths: p.paths, Advanced: p.advanced}, nil
}

type parser struct {
	text      string
	at        int
	terms     int
	variables []string
	paths     []string
	advanced  bool
}

func (p *parser) fail(what string) error {
	shown := p.text
	if len(shown) > 200 {
		shown = strings.ToValidUTF8(shown[:200], "") + "…"
	}
	return &Error{Text: shown, At: p.at, What: what}
}

func (p *parser) space() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t') {
		p.at++
	}
}

// symbol takes a sign, after space.
func (p *parser) symbol(s string) bool {
	p.space()
	if strings.HasPrefix(p.text[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

// word takes a keyword, in any case, that ends there.
func (p *parser) word(w string) bool {
	p.space()
	end := p.at + len(w)
	if end > len(p.text) || !strings.EqualFold(p.text[p.at:end], w) || end < len(p.text) && nameByte(p.text[end]) {
		return false
	}
	p.at = end
	return true
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func (p *parser) or(depth int) (node, error) {
	left, err := p.and(depth)
	for err == nil && p.word("or") {
		var right node
		if right, err = p.and(depth); err == nil {
			left = logical{false, left, right}
		}
	}
	return left, err
}

func (p *parser) and(depth int) (node, error) {
	left, err := p.unary(depth)
	for err == nil && p.word("and") {
		var right node
		if right, err = p.unary(depth); err == nil {
			left = logical{true, left, right}
		}
	}
	return left, err
}

func (p *parser) unary(depth int) (node, error) {
	if depth > maxDepth {
		return nil, p.fail("the expression is nested too deeply")
	}
	if p.terms++; p.terms > maxTerms {
		return nil, p.fail("the expression has too many terms")
	}
	if p.word("not") {
		p.advanced = true
		of, err := p.unary(depth + 1)
		return not{of}, err
	}
	if p.symbol("(") {
		inner, err := p.or(depth + 1)
		if err == nil && !p.symbol(")") {
			err = p.fail(") is expected")
		}
		return inner, err
	}
	for _, f := range []string{"startswith", "endswith", "contains"} {
		mark := p.at
		if p.word(f) && p.symbol("(") {
			return p.function(f)
		}
		p.at = mark
	}
	return p.comparison(depth)
}

func (p *parser) function(name string) (node, error) {
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	if !p.symbol(",") {
		return nil, p.fail(", is expected")
	}
	v, err := p.literal()
	if err != nil {
		return nil, err
	}
	with, ok := v.(string)
	if !ok {
		return nil, p.fail("a string in quotes is expected")
	}
	if !p.symbol(")") {
		return nil, p.fail(") is expected")
	}
	p.advanced = p.advanced || name != "startswith"
	if p.word("eq") { // startswith(a,'b') eq true
		v, err := p.literal()
		if err != nil {
			return nil, err
		}
		switch v {
		case true:
		case false:
			return not{call{name, path, with}}, nil
		default:
			return nil, p.fail("true or false is expected")
		}
	}
	return call{name, path, with}, nil
}

// path reads names joined by /, and stops before any, all and $count.
func (p *parser) path() (string, error) {
	p.space()
	start := p.at
	for {
		from := p.at
		for p.at < len(p.text) && nameByte(p.text[p.at]) {
			p.at++
		}
		if p.at == from {
			return "", p.fail("a property is expected")
		}
		rest := p.text[p.at:]
		if !strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "/any(") || strings.HasPrefix(rest, "/all(") || strings.HasPrefix(rest, "/$count") {
			break
		}
		p.at++
	}
	path := p.text[start:p.at]
	head, _, _ := strings.Cut(path, "/")
	if !slices.Contains(p.variables, head) {
		p.paths = append(p.paths, path)
	}
	return path, nil
}

func (p *parser) comparison(depth int) (node, error) {
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	if p.symbol("/any(") {
		return p.lambda(path, false, depth)
	}
	if p.symbol("/all(") {
		return p.lambda(path, true, depth)
	}
	n := comparison{path: path, count: p.symbol("/$count")}
	p.advanced = p.advanced || n.count
	if p.word("in") {
		n.op = "in"
		n.to, err = p.list()
		return n, err
	}
	for _, op := range []string{"eq", "ne", "gt", "ge", "lt", "le"} {
		if p.word(op) {
			p.advanced = p.advanced || op == "ne"
			v, err := p.literal()
			n.op, n.to = op, []any{v}
			return n, err
		}
	}
	return nil, p.fail("one of eq, ne, gt, ge, lt, le, in is expected")
}

func (p *parser) lambda(path string, all bool, depth int) (node, error) {
	n := lambda{path: path, all: all}
	if p.symbol(")") {
		if all {
			return nil, p.fail("all needs a condition")
		}
		return n, nil
	}
	p.space()
	start := p.at
	for p.at < len(p.text) && nameByte(p.text[p.at]) {
		p.at++
	}
	n.variable = p.text[start:p.at]
	if n.variable == "" || !p.symbol(":") {
		return nil, p.fail("a variable and : are expected")
	}
	p.variables = append(p.variables, n.variable)
	body, err := p.or(depth + 1)
	p.variables = p.variables[:len(p.variables)-1]
	if err == nil && !p.symbol(")") {
		err = p.fail(") is expected")
	}
	n.body = body
	return n, err
}

func (p *parser) list() (out []any, err error) {
	if !p.symbol("(") {
		return nil, p.fail("( is expected")
	}
	for {
		v, err := p.literal()
		if err != nil {
			return nil, err
		}
		if out = append(out, v); len(out) > maxTerms {
			return nil, p.fail("the list is too long")
		}
		if p.symbol(")") {
			return out, nil
		}
		if !p.symbol(",") {
			return nil, p.fail(", or ) is expected")
		}
	}
}

func (p *parser) literal() (any, error) {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == '\'' {
		return p.quoted()
	}
	for text, v := range map[string]any{"true": true, "false": false, "null": nil} {
		if p.word(text) {
			return v, nil
		}
	}
	start := p.at
	for p.at < len(p.text) && (nameByte(p.text[p.at]) || strings.IndexByte("-+.:", p.text[p.at]) >= 0) {
		p.at++
	}
	text := p.text[start:p.at]
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	if len(text) == 36 && strings.Count(text, "-") == 4 { // a GUID without quotes
		return text, nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f, nil
	}
	p.at = start
	return nil, p.fail("a value is expected: a string in quotes, a number, a date, true, false or null")
}

func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		if p.text[i] != '\'' {
			b.WriteByte(p.text[i])
			continue
		}
		if i+1 < len(p.text) && p.text[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.at = i + 1
		return b.String(), nil
	}
	return "", p.fail("a string has no end")
}
