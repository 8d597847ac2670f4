package expr

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Expression is a parsed expression. It is never changed and may be shared.
type Expression struct {
	text string
	root node
}

func (x *Expression) String() string { return x.text }

// node is a part of an expression.
type node interface{}

type (
	literal struct{ value any }
	call    struct {
		name string
		args []node
	}
	access struct {
		of   node
		key  node // of a name or of an index
		safe bool // .? and [?]: null where there is nothing
	}
)

// Parse parses the text of an expression, brackets included.
func Parse(text string) (*Expression, error) {
	if len(text) > MaxExpression && utf8.RuneCountInString(text) > MaxExpression {
		return nil, &Error{Syntax: true, Message: "The language expression length limit exceeded. Limit: '" + strconv.Itoa(MaxExpression) + "' and actual: '" + strconv.Itoa(utf8.RuneCountInString(text)) + "'."}
	}
	if !IsExpression(text) {
		return nil, &Error{Syntax: true, Message: "Unable to parse language expression '" + text + "': it must be enclosed in brackets."}
	}
	inner := text[1 : len(text)-1]
	p := &parser{text: inner}
	p.next()
	root := p.expression(0)
	if p.err == nil && p.token.kind != tokEnd {
		p.expect(tokEnd)
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Expression{text: text, root: root}, nil
}

type tokenKind string

// The names of tokens are those of Azure's messages.
const (
	tokEnd        tokenKind = "EndOfData"
	tokLeft       tokenKind = "LeftParenthesis"
	tokRight      tokenKind = "RightParenthesis"
	tokOpen       tokenKind = "LeftSquareBracket"
	tokClose      tokenKind = "RightSquareBracket"
	tokComma      tokenKind = "Comma"
	tokDot        tokenKind = "Dot"
	tokQuestion   tokenKind = "QuestionMark"
	tokString     tokenKind = "StringLiteral"
	tokInteger    tokenKind = "Integer"
	tokFloat      tokenKind = "Float"
	tokIdentifier tokenKind = "Identifier"
)

type token struct {
	kind  tokenKind
	value any // string, int64 or float64
}

type parser struct {
	text  string
	at    int
	token token
	err   error
}

func (p *parser) fail(why string) {
	if p.err == nil {
		p.err = &Error{Syntax: true, Message: "Unable to parse language expression '" + p.text + "': " + why}
	}
	p.token = token{kind: tokEnd}
	p.at = len(p.text)
}

func (p *parser) expect(kind tokenKind) {
	if p.err == nil && p.token.kind != kind {
		p.fail("expected token '" + string(kind) + "' and actual '" + string(p.token.kind) + "'.")
		return
	}
	if kind != tokEnd {
		p.next()
	}
}

var marks = map[byte]tokenKind{'(': tokLeft, ')': tokRight, '[': tokOpen, ']': tokClose, ',': tokComma, '.': tokDot, '?': tokQuestion}

func (p *parser) next() {
	if p.err != nil {
		return
	}
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	if p.at >= len(p.text) {
		p.token = token{kind: tokEnd}
		return
	}
	c := p.text[p.at]
	if kind, ok := marks[c]; ok {
		p.at++
		p.token = token{kind: kind}
		return
	}
	switch {
	case c == '\'':
		p.stringLiteral()
	case c >= '0' && c <= '9' || c == '-' || c == '+':
		p.number()
	case isLetter(c):
		start := p.at
		for p.at < len(p.text) && (isLetter(p.text[p.at]) || p.text[p.at] >= '0' && p.text[p.at] <= '9') {
			p.at++
		}
		p.token = token{kind: tokIdentifier, value: p.text[start:p.at]}
	default:
		r, _ := utf8.DecodeRuneInString(p.text[p.at:])
		p.fail("unexpected character '" + string(r) + "' at position '" + strconv.Itoa(p.at) + "'.")
	}
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}

// stringLiteral reads 'text', in which a quote is written twice.
func (p *parser) stringLiteral() {
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
		p.token = token{kind: tokString, value: b.String()}
		return
	}
	p.fail("the string that begins at position '" + strconv.Itoa(p.at) + "' has no closing quote.")
}

func (p *parser) number() {
	start := p.at
	p.at++
	float := false
	for p.at < len(p.text) {
		c := p.text[p.at]
		if c == '.' && !float && p.at+1 < len(p.text) && p.text[p.at+1] >= '0' && p.text[p.at+1] <= '9' {
			float = true
		} else if c < '0' || c > '9' {
			break
		}
		p.at++
	}
	s := p.text[start:p.at]
	if float {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			p.fail("'" + s + "' is not a number.")
			return
		}
		p.token = token{kind: tokFloat, value: f}
		return
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.fail("'" + s + "' is not an integer of 64 bits.")
		return
	}
	p.token = token{kind: tokInteger, value: n}
}

// expression = (literal | function "(" arguments ")") { "." ["?"] name | "[" ["?"] expression "]" }
func (p *parser) expression(depth int) node {
	if depth > maxDepth {
		p.fail("it is nested deeper than '" + strconv.Itoa(maxDepth) + "' levels.")
		return nil
	}
	var n node
	switch p.token.kind {
	case tokString, tokInteger, tokFloat:
		n = literal{p.token.value}
		p.next()
	case tokIdentifier:
		n = p.call(depth)
	default:
		p.fail("expected token '" + string(tokIdentifier) + "' and actual '" + string(p.token.kind) + "'.")
		return nil
	}
	for chain := 0; p.err == nil; chain++ {
		if chain > maxDepth {
			p.fail("it reads more than '" + strconv.Itoa(maxDepth) + "' properties of one another.")
			return nil
		}
		switch p.token.kind {
		case tokDot:
			p.next()
			a := access{of: n, safe: p.question()}
			name, ok := p.token.value.(string)
			if p.token.kind != tokIdentifier || !ok {
				p.expect(tokIdentifier)
				return nil
			}
			p.next()
			a.key = literal{name}
			n = a
		case tokOpen:
			p.next()
			a := access{of: n, safe: p.question()}
			a.key = p.expression(depth + 1)
			p.expect(tokClose)
			n = a
		default:
			return n
		}
	}
	return n
}

func (p *parser) question() bool {
	if p.token.kind != tokQuestion {
		return false
	}
	p.next()
	return true
}

// call = name { "." name } "(" [ expression { "," expression } ] ")": a function, or one of a namespace.
func (p *parser) call(depth int) node {
	c := call{name: p.token.value.(string)}
	p.next()
	for p.token.kind == tokDot {
		p.next()
		name, ok := p.token.value.(string)
		if p.token.kind != tokIdentifier || !ok {
			p.expect(tokIdentifier)
			return nil
		}
		c.name += "." + name
		p.next()
	}
	p.expect(tokLeft)
	if p.token.kind != tokRight {
		for p.err == nil {
			c.args = append(c.args, p.expression(depth+1))
			if p.token.kind != tokComma {
				break
			}
			p.next()
		}
	}
	p.expect(tokRight)
	return c
}

// CallSite is a call of a function in an expression.
type CallSite struct {
	Name string
	Args []*Expression
}

// Calls are the calls in the expression, outermost first, each before those in its arguments.
func (x *Expression) Calls() []CallSite {
	var all []CallSite
	var walk func(node)
	walk = func(n node) {
		switch n := n.(type) {
		case call:
			site := CallSite{Name: n.name}
			for _, a := range n.args {
				site.Args = append(site.Args, &Expression{text: x.text, root: a})
			}
			all = append(all, site)
			for _, a := range n.args {
				walk(a)
			}
		case access:
			walk(n.of)
			walk(n.key)
		}
	}
	walk(x.root)
	return all
}
