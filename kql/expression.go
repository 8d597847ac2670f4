package kql

import "strings"

// expr reads an expression: or, and, comparisons, sums, products, unary.
func (p *parser) expr() expr {
	defer p.nest()()
	l := p.conjunction()
	for p.word("or") {
		at := p.here()
		p.next()
		l = &binary{at, "or", l, p.conjunction()}
	}
	return l
}

func (p *parser) conjunction() expr {
	l := p.comparison()
	for p.word("and") {
		at := p.here()
		p.next()
		l = &binary{at, "and", l, p.comparison()}
	}
	return l
}

// stringOps are the comparisons that are words.
var stringOps = map[string]bool{
	"has": true, "has_cs": true, "contains": true, "contains_cs": true, "startswith": true, "startswith_cs": true, "endswith": true, "endswith_cs": true,
	"hasprefix": true, "hasprefix_cs": true, "hassuffix": true, "hassuffix_cs": true, "matches": true, "like": true,
}

func (p *parser) comparison() expr {
	l := p.sum()
	for {
		t, at := p.peek(), p.here()
		op := strings.ToLower(t.text)
		switch {
		case t.kind == tPunct && (op == "==" || op == "!=" || op == "<>" || op == "=~" || op == "!~" || op == "<" || op == "<=" || op == ">" || op == ">="):
			p.next()
			if op == "<>" {
				op = "!="
			}
			l = &binary{at, op, l, p.sum()}
		case t.kind == tPunct && strings.HasPrefix(op, "!") && stringOps[op[1:]], t.kind == tName && stringOps[op]:
			p.next()
			if op == "matches" {
				p.expectWord("regex")
			}
			l = &binary{at, op, l, p.sum()}
		case op == "in" || op == "in~" || op == "!in" || op == "!in~" || op == "has_any" || op == "has_all":
			p.next()
			l = p.among(at, op, l)
		case t.kind != tQuoted && (op == "between" || op == "!between"):
			p.next()
			p.expect("(")
			low := p.sum()
			p.expect("..")
			high := p.sum()
			p.expect(")")
			l = &between{at, l, low, high, op[0] == '!'}
		default:
			return l
		}
	}
}

// among reads the list after in: values, or a table in its own brackets.
func (p *parser) among(at place, op string, x expr) expr {
	a := &among{place: at, op: op, x: x}
	p.expect("(")
	if p.tabular() {
		a.from = p.pipeline(false)
		p.expect(")")
		return a
	}
	for !p.sign(")") {
		a.list = append(a.list, p.expr())
		if !p.take(",") {
			break
		}
	}
	p.expect(")")
	return a
}

func (p *parser) sum() expr {
	l := p.product()
	for p.sign("+") || p.sign("-") {
		at, op := p.here(), p.next().text
		l = &binary{at, op, l, p.product()}
	}
	return l
}

func (p *parser) product() expr {
	l := p.unary()
	for p.sign("*") || p.sign("/") || p.sign("%") {
		at, op := p.here(), p.next().text
		l = &binary{at, op, l, p.unary()}
	}
	return l
}

func (p *parser) unary() expr {
	if p.sign("-") || p.sign("+") {
		defer p.nest()()
		at, op := p.here(), p.next().text
		return &unary{at, op, p.unary()}
	}
	return p.postfix(p.primary())
}

func (p *parser) postfix(e expr) expr {
	for {
		at := p.here()
		switch {
		case p.take("."):
			if p.sign("[") { // properties.['odata.type']
				e = &member{at, e, p.columnName()}
				continue
			}
			t := p.peek()
			if t.kind != tName && t.kind != tNumber {
				p.fail("identifier")
			}
			p.next()
			e = &member{at, e, t.text}
		case p.take("["):
			if p.peek().kind == tQuoted && p.ahead(1).text == "]" {
				e = &member{at, e, p.next().text}
			} else {
				e = &element{at, e, p.expr()}
			}
			p.expect("]")
		default:
			return e
		}
	}
}

func (p *parser) primary() expr {
	at, t := p.here(), p.peek()
	switch t.kind {
	case tQuoted:
		p.next()
		text := t.text
		for p.peek().kind == tQuoted { // texts beside each other are one
			text += p.next().text
		}
		return &literal{at, text, String}
	case tNumber, tLiteral:
		p.next()
		return &literal{at, t.value, t.typ}
	case tName:
		p.next()
		if p.sign("(") {
			return p.call(at, t.text)
		}
		switch strings.ToLower(t.text) {
		case "true":
			return &literal{at, true, Bool}
		case "false":
			return &literal{at, false, Bool}
		}
		if strings.EqualFold(t.text, "where") { // no column is called so
			p.fail("")
		}
		return &name{at, t.text}
	}
	switch {
	case p.take("("):
		e := p.expr()
		p.expect(")")
		return e
	case p.sign("[") && p.ahead(1).kind == tQuoted:
		return &name{at, p.columnName()}
	}
	p.fail("")
	return nil
}

func (p *parser) call(at place, function string) expr {
	c := &call{place: at, name: strings.ToLower(function)}
	p.expect("(")
	if p.logs && c.name == "toscalar" {
		s := &scalarOf{at, p.pipeline(false)}
		p.expect(")")
		return s
	}
	for !p.sign(")") {
		if p.take("*") {
			c.star = true
			break
		}
		c.args = append(c.args, p.expr())
		if !p.take(",") {
			break
		}
	}
	p.expect(")")
	return c
}
