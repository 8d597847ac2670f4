package authz

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokOpen
	tokClose
	tokOpenSet
	tokCloseSet
	tokComma
	tokNot
	tokAnd
	tokOr
	tokString
	tokWord      // a keyword, an operator, a number, a GUID, true, false
	tokAttribute // @Source[name]
)

type token struct {
	kind      tokenKind
	text      string // of a string its value, of a word as written
	attribute Attribute
	at        int
}

type scanner struct {
	text string
	at   int
}

func (s *scanner) fail(at int, format string, args ...any) error {
	return fmt.Errorf("at character %d: %s", at+1, fmt.Sprintf(format, args...))
}

const space = " \t\r\n"

// next reads a token.
func (s *scanner) next() (token, error) {
	for s.at < len(s.text) && strings.IndexByte(space, s.text[s.at]) >= 0 {
		s.at++
	}
	at := s.at
	if at == len(s.text) {
		return token{kind: tokEnd, at: at}, nil
	}
	take := func(kind tokenKind, n int) (token, error) {
		s.at += n
		return token{kind: kind, text: s.text[at:s.at], at: at}, nil
	}
	rest := s.text[at:]
	for mark, kind := range map[string]tokenKind{"&&": tokAnd, "||": tokOr} {
		if strings.HasPrefix(rest, mark) {
			return take(kind, 2)
		}
	}
	switch rest[0] {
	case '(':
		return take(tokOpen, 1)
	case ')':
		return take(tokClose, 1)
	case '{':
		return take(tokOpenSet, 1)
	case '}':
		return take(tokCloseSet, 1)
	case ',':
		return take(tokComma, 1)
	case '!':
		return take(tokNot, 1)
	case '\'':
		return s.quoted()
	case '@':
		return s.attribute()
	}
	n := 0
	for n < len(rest) && isWord(rest[n]) {
		n++
	}
	if n == 0 {
		r, _ := utf8.DecodeRuneInString(rest)
		return token{}, s.fail(at, "unexpected %q", r)
	}
	t, err := take(tokWord, n)
	switch strings.ToUpper(t.text) {
	case "AND":
		t.kind = tokAnd
	case "OR":
		t.kind = tokOr
	case "NOT":
		t.kind = tokNot
	}
	return t, err
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == ':' || c == '_' || c == '.'
}

// quoted reads a string; a quote in it is doubled or has a backslash before it. Other backslashes stay: they are for
// the Like operators.
func (s *scanner) quoted() (token, error) {
	at := s.at
	var b strings.Builder
	for i := at + 1; i < len(s.text); i++ {
		c := s.text[i]
		following := byte(0)
		if i+1 < len(s.text) {
			following = s.text[i+1]
		}
		switch {
		case (c == '\'' || c == '\\') && following == '\'':
			b.WriteByte('\'')
			i++
		case c == '\'':
			s.at = i + 1
			if !utf8.ValidString(b.String()) {
				return token{}, s.fail(at, "a string that is not UTF-8")
			}
			return token{kind: tokString, text: b.String(), at: at}, nil
		default:
			b.WriteByte(c)
		}
	}
	return token{}, s.fail(at, "a string without its closing quote")
}

func (s *scanner) attribute() (token, error) {
	at := s.at
	source, rest, open := strings.Cut(s.text[at+1:], "[")
	name, _, closed := strings.Cut(rest, "]")
	if !open || !closed {
		return token{}, s.fail(at, "an attribute is written @Source[name]")
	}
	a := Attribute{Name: strings.Trim(name, space)}
	for _, known := range []AttributeSource{FromRequest, FromResource, FromPrincipal, FromEnvironment} {
		if strings.EqualFold(strings.Trim(source, space), string(known)) {
			a.Source = known
		}
	}
	if a.Source == "" {
		return token{}, s.fail(at, "the source of an attribute is @Request, @Resource, @Principal or @Environment")
	}
	if a.Name == "" || !utf8.ValidString(a.Name) {
		return token{}, s.fail(at, "an attribute without a name")
	}
	s.at = at + 1 + len(source) + 1 + len(name) + 1
	return token{kind: tokAttribute, text: s.text[at:s.at], attribute: a, at: at}, nil
}

// parser reads the language by recursive descent, with bounded depth.
type parser struct {
	scan  scanner
	tok   token
	depth int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.scan.next()
	return err
}

func (p *parser) unexpected(want string) error {
	what := "'" + p.tok.text + "'"
	if p.tok.kind == tokEnd {
		what = "the end"
	}
	return p.scan.fail(p.tok.at, "%s where %s is expected", what, want)
}

func (p *parser) expect(kind tokenKind, want string) error {
	if p.tok.kind != kind {
		return p.unexpected(want)
	}
	return p.advance()
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.scan.fail(p.tok.at, "nested deeper than %d", maxDepth)
	}
	return nil
}

// expression is terms joined by AND or by OR. Azure leaves the order of the two open and asks for parentheses.
func (p *parser) expression() (node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	first, err := p.unary()
	if err != nil {
		return nil, err
	}
	joined := []node{first}
	by := p.tok.kind
	for p.tok.kind == tokAnd || p.tok.kind == tokOr {
		if p.tok.kind != by {
			return nil, p.scan.fail(p.tok.at, "AND and OR beside each other need parentheses")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.unary()
		if err != nil {
			return nil, err
		}
		joined = append(joined, n)
	}
	switch {
	case len(joined) == 1:
		return first, nil
	case by == tokAnd:
		return andNode(joined), nil
	}
	return orNode(joined), nil
}

func (p *parser) unary() (node, error) {
	if p.tok.kind != tokNot {
		return p.primary()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.unary()
	return notNode{n}, err
}

func (p *parser) primary() (node, error) {
	if p.tok.kind == tokOpen {
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.expression()
		if err != nil {
			return nil, err
		}
		return n, p.expect(tokClose, "')'")
	}
	if p.tok.kind == tokWord {
		switch lower(p.tok.text) {
		case "actionmatches":
			return p.actions()
		case "suboperationmatches":
			return p.subOperations()
		case "exists":
			return p.exists()
		}
	}
	return p.comparison()
}

func (p *parser) actions() (node, error) {
	values, err := p.function()
	if err != nil {
		return nil, err
	}
	return actionNode(patterns(values)), nil
}

func (p *parser) subOperations() (node, error) {
	values, err := p.function()
	for i := range values {
		values[i] = lower(values[i])
	}
	return subNode(values), err
}

// function reads the argument of ActionMatches{'…'} and its like.
func (p *parser) function() ([]string, error) {
	name := p.tok.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind != tokOpenSet {
		return nil, p.unexpected("'{' after " + name)
	}
	o, err := p.operand()
	if err == nil && len(o.values) == 0 {
		err = p.scan.fail(p.tok.at, "%s names nothing", name)
	}
	return o.values, err
}

func (p *parser) exists() (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	a := p.tok.attribute
	return existsNode(a), p.expect(tokAttribute, "an attribute after Exists")
}

func (p *parser) comparison() (node, error) {
	begin := p.tok.at
	n := &compareNode{}
	var err error
	if n.left, err = p.operand(); err != nil {
		return nil, err
	}
	if err := p.operator(n); err != nil {
		return nil, err
	}
	end := p.scan.at
	if n.right, err = p.operandTo(&end); err != nil {
		return nil, err
	}
	n.text = p.scan.text[begin:end]
	if n.left.attribute == nil && n.right.attribute == nil {
		return nil, p.scan.fail(begin, "a comparison of two constants")
	}
	for _, o := range []operand{n.left, n.right} {
		if o.attribute == nil && !n.set && len(o.values) != 1 {
			return nil, p.scan.fail(begin, "%s takes one value; several need ForAnyOfAnyValues:%s or its like", n.op.name, n.op.name)
		}
		for _, v := range o.values {
			if o.attribute == nil && n.op.literal != nil && !n.op.literal(v) {
				return nil, p.scan.fail(begin, "'%s' is no value for %s, which compares %s", v, n.op.name, n.op.must)
			}
		}
	}
	return n, nil
}

// quantifiers of the left and of the right side ("Cross product comparison operators").
var quantifiers = map[string][2]bool{
	"foranyofanyvalues": {true, true}, "forallofanyvalues": {false, true}, "foranyofallvalues": {true, false}, "forallofallvalues": {false, false},
}

func (p *parser) operator(n *compareNode) error {
	if p.tok.kind != tokWord {
		return p.unexpected("an operator")
	}
	name := lower(p.tok.text)
	if of, plain, ok := strings.Cut(name, ":"); ok {
		q, known := quantifiers[of]
		if !known {
			return p.unexpected("ForAnyOfAnyValues:, ForAllOfAnyValues:, ForAnyOfAllValues: or ForAllOfAllValues:")
		}
		n.set, n.anyL, n.anyR, name = true, q[0], q[1], plain
	}
	if n.op = operators[name]; n.op == nil {
		return p.unexpected("an operator")
	}
	return p.advance()
}

func (p *parser) operand() (operand, error) {
	var end int
	return p.operandTo(&end)
}

// operandTo reads an attribute, a value, or values in braces, and where they end.
func (p *parser) operandTo(end *int) (o operand, err error) {
	*end = p.scan.at
	switch p.tok.kind {
	case tokAttribute:
		a := p.tok.attribute
		return operand{attribute: &a}, p.advance()
	case tokString, tokWord:
		o.values = []string{p.tok.text}
		return o, p.advance()
	case tokOpenSet:
	default:
		return o, p.unexpected("an attribute or a value")
	}
	o.values = []string{}
	for {
		if err := p.advance(); err != nil {
			return o, err
		}
		if p.tok.kind != tokString && p.tok.kind != tokWord {
			return o, p.unexpected("a value")
		}
		o.values = append(o.values, p.tok.text)
		if err := p.advance(); err != nil {
			return o, err
		}
		if p.tok.kind == tokComma {
			continue
		}
		*end = p.scan.at
		return o, p.expect(tokCloseSet, "',' or '}'")
	}
}
