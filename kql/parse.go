package kql

import (
	"fmt"
	"strings"
)

// parser turns tokens into a query. Faults are panics of *Fault inside, caught in query.
type parser struct {
	text   string
	tokens []token
	i      int
	depth  int
	limits Limits
	logs   bool // the dialect of Azure Monitor Logs

	joins, expands, unions int
}

func (p *parser) query(text string) (q *Query, err error) {
	p.text = text
	tokens, f := scan(text)
	if f != nil {
		return nil, f
	}
	p.tokens = tokens
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(*Fault)
			if !ok {
				panic(r)
			}
			q, err = nil, f
		}
	}()
	q = &Query{limit: p.limits}
	for p.word("let") {
		q.lets = append(q.lets, p.let())
		p.expect(";")
	}
	q.main = p.pipeline(true)
	for p.sign(";") {
		p.next()
	}
	if p.peek().kind != tEOF {
		p.fail("")
	}
	return q, nil
}

func (p *parser) peek() token { return p.tokens[p.i] }

func (p *parser) ahead(n int) token {
	if p.i+n < len(p.tokens) {
		return p.tokens[p.i+n]
	}
	return p.tokens[len(p.tokens)-1]
}

func (p *parser) next() token {
	t := p.tokens[p.i]
	if t.kind != tEOF {
		p.i++
	}
	return t
}

// fail is a fault at the token that stands here.
func (p *parser) fail(expected string) {
	t := p.peek()
	panic(faultAt(p.text, t.at, t.text, expected))
}

func (p *parser) here() place { return p.peek().place }

// refuse is for what is Kusto's and not Resource Graph's.
func (p *parser) refuse(tok string) {
	panic(&Fault{Kind: Unsupported, Message: "InvalidQueryLanguage", Line: -1, Column: -1, Token: tok})
}

func (p *parser) sign(s string) bool { t := p.peek(); return t.kind == tPunct && t.text == s }

func (p *parser) word(w string) bool {
	t := p.peek()
	return t.kind == tName && strings.EqualFold(t.text, w)
}

func (p *parser) take(s string) bool {
	if p.sign(s) {
		p.next()
		return true
	}
	return false
}

func (p *parser) takeWord(w string) bool {
	if p.word(w) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(s string) {
	if !p.take(s) {
		p.fail(s)
	}
}

func (p *parser) expectWord(w string) {
	if !p.takeWord(w) {
		p.fail(w)
	}
}

// nest bounds how deep brackets may stand in each other.
func (p *parser) nest() func() {
	if p.depth++; p.depth > p.limits.Depth {
		panic(&Fault{Kind: TooMuch, Message: fmt.Sprintf("The query is nested deeper than %d.", p.limits.Depth)})
	}
	return func() { p.depth-- }
}

// columnName is a name, written as one or as ['name'].
func (p *parser) columnName() string {
	if p.sign("[") && p.ahead(1).kind == tQuoted && p.ahead(2).text == "]" {
		p.next()
		n := p.next().text
		p.next()
		return n
	}
	if t := p.peek(); t.kind == tName {
		p.next()
		return t.text
	}
	p.fail("identifier")
	return ""
}

func (p *parser) let() let {
	p.next()
	l := let{name: p.columnName()}
	p.expect("=")
	if p.logs && p.word("materialize") && p.ahead(1).text == "(" {
		p.next() // tables of let are worked out once as it is
	}
	if p.tabular() {
		l.table = p.pipeline(false)
		return l
	}
	l.value = p.expr()
	return l
}

// tabular tells a table from a value after "let x =": a name that a pipe or the end follows, or brackets around one.
func (p *parser) tabular() bool {
	i := 0
	for p.ahead(i).text == "(" && p.ahead(i).kind == tPunct {
		i++
	}
	t, after := p.ahead(i), p.ahead(i+1)
	if t.kind != tName {
		return false
	}
	if strings.EqualFold(t.text, "union") {
		return true
	}
	return after.kind == tPunct && after.text == "|"
}

// pipeline is a table and its operators. A query may begin with an operator: of resources.
func (p *parser) pipeline(whole bool) *pipeline {
	defer p.nest()()
	s := &pipeline{place: p.here()}
	t := p.peek()
	switch {
	case p.take("("):
		s.inner = p.pipeline(false)
		p.expect(")")
	case p.word("union") && p.ahead(1).text != "|":
		p.next()
		s.union = p.unionRest()
	case p.logs && p.logsSource(s):
	case !p.logs && whole && t.kind == tName && operators[strings.ToLower(t.text)] != nil && p.ahead(1).text != "|" && p.ahead(1).kind != tEOF:
		s.table = "resources"
		s.ops = append(s.ops, p.operator())
	case t.kind == tName:
		s.table = p.next().text
	case p.sign("["):
		s.table = p.columnName()
	default:
		p.fail("")
	}
	for p.take("|") {
		s.ops = append(s.ops, p.operator())
	}
	return s
}

// operator is one of a pipeline, after the pipe.
func (p *parser) operator() operator {
	t := p.peek()
	if t.kind != tName {
		p.fail("")
	}
	parse, known := operators[strings.ToLower(t.text)]
	if !known && p.logs {
		parse = logOperator(strings.ToLower(t.text))
		known = parse != nil
	}
	if !known && p.logs && !unserved[strings.ToLower(t.text)] {
		p.fail("")
	}
	if !known {
		p.refuse(t.text)
	}
	if parse == nil {
		p.fail("")
	}
	p.next()
	return parse(p)
}

// operators by name. Kusto has more: InvalidQueryLanguage. They are made by init, since those of a join's query are
// operators again.
var operators map[string]func(*parser) operator

func init() {
	operators = map[string]func(*parser) operator{
		"where": func(p *parser) operator { return &whereOp{p.expr()} }, "filter": func(p *parser) operator { return &whereOp{p.expr()} },
		"project":         func(p *parser) operator { return &projectOp{p.namedList()} },
		"extend":          func(p *parser) operator { return &extendOp{p.namedList()} },
		"project-away":    func(p *parser) operator { return &awayOp{p.globs()} },
		"project-keep":    func(p *parser) operator { return &keepOp{p.globs()} },
		"project-reorder": func(p *parser) operator { return &reorderOp{p.globs()} },
		"project-rename":  func(p *parser) operator { return p.rename() },
		"summarize":       func(p *parser) operator { return p.summarize() },
		"order":           func(p *parser) operator { return p.sort() }, "sort": func(p *parser) operator { return p.sort() },
		"take": func(p *parser) operator { return &takeOp{p.expr()} }, "limit": func(p *parser) operator { return &takeOp{p.expr()} },
		"top":       func(p *parser) operator { return p.top() },
		"distinct":  func(p *parser) operator { return p.distinct() },
		"count":     func(p *parser) operator { return &countOp{} },
		"mv-expand": func(p *parser) operator { return p.expand() }, "mvexpand": func(p *parser) operator { return p.expand() },
		"parse": func(p *parser) operator { return p.parse(false) }, "parse-where": func(p *parser) operator { return p.parse(true) },
		"join":  func(p *parser) operator { return p.join() },
		"union": func(p *parser) operator { return p.unionRest() },
	}
}

// namedList is [name =] expression, …
func (p *parser) namedList() []named {
	var all []named
	for {
		all = append(all, p.namedExpr())
		if !p.take(",") {
			return all
		}
	}
}

func (p *parser) namedExpr() named {
	start := p.i
	if t := p.peek(); t.kind == tName || p.sign("[") && p.ahead(1).kind == tQuoted {
		n := p.columnName()
		if p.take("=") {
			return named{n, p.expr()}
		}
		p.i = start
	}
	return named{"", p.expr()}
}

// glob is a name in which * stands for anything.
func (p *parser) glob() name {
	n := name{place: p.here()}
	end := -1
	for t := p.peek(); t.kind == tName || t.kind == tPunct && t.text == "*"; t = p.peek() {
		if end >= 0 && t.at != end {
			break
		}
		n.name += t.text
		end = t.at + len(t.text)
		p.next()
	}
	if n.name == "" {
		n.name = p.columnName()
	}
	return n
}

// globs are names of columns in which * stands for anything.
func (p *parser) globs() []name {
	var all []name
	for {
		n := p.glob()
		if !p.takeWord("asc") { // the order of the columns that a * stands for: they keep theirs
			p.takeWord("desc")
		}
		all = append(all, n)
		if !p.take(",") {
			return all
		}
	}
}

func (p *parser) rename() operator {
	o := &renameOp{}
	for {
		n := p.columnName()
		p.expect("=")
		at := p.here()
		o.columns = append(o.columns, named{n, &name{at, p.columnName()}})
		if !p.take(",") {
			return o
		}
	}
}

func (p *parser) summarize() operator {
	o := &summarizeOp{place: p.here()}
	if !p.word("by") {
		o.aggregates = p.namedList()
	}
	if p.takeWord("by") {
		o.keys = p.namedList()
	}
	return o
}

func (p *parser) sort() operator {
	p.expectWord("by")
	o := &sortOp{}
	for {
		o.keys = append(o.keys, p.sortKey())
		if !p.take(",") {
			return o
		}
	}
}

// sortKey is descending unless it says otherwise; nulls come last, of ascending ones first.
func (p *parser) sortKey() sortKey {
	k := sortKey{expr: p.expr(), descending: true}
	if p.takeWord("asc") {
		k.descending = false
	} else {
		p.takeWord("desc")
	}
	k.nullsFirst = !k.descending
	if p.takeWord("nulls") {
		switch {
		case p.takeWord("first"):
			k.nullsFirst = true
		case p.takeWord("last"):
			k.nullsFirst = false
		default:
			p.fail("first")
		}
	}
	return k
}

func (p *parser) top() operator {
	o := &topOp{count: p.expr()}
	p.expectWord("by")
	o.key = p.sortKey()
	return o
}

func (p *parser) distinct() operator {
	o := &distinctOp{place: p.here()}
	if p.take("*") {
		o.all = true
		return o
	}
	o.columns = p.namedList()
	return o
}

func (p *parser) expand() operator {
	o := &expandOp{place: p.here(), limit: 128}
	if p.expands++; p.expands > p.limits.Joins {
		panic(o.fault(TooMuch, fmt.Sprintf("The query has more than %d mv-expand operators.", p.limits.Joins)))
	}
	for p.word("bagexpansion") || p.word("with_itemindex") || p.word("kind") {
		option := strings.ToLower(p.next().text)
		p.expect("=")
		v := p.columnName()
		switch {
		case option == "with_itemindex":
			o.index = v
		case !strings.EqualFold(v, "bag"):
			p.refuse(v)
		}
	}
	for {
		o.columns = append(o.columns, p.namedExpr())
		var typ *Type
		if p.takeWord("to") {
			p.expectWord("typeof")
			p.expect("(")
			t := p.typeName()
			typ = &t
			p.expect(")")
		}
		o.types = append(o.types, typ)
		if !p.take(",") {
			break
		}
	}
	if p.takeWord("limit") {
		at, t := p.here(), p.next()
		n, ok := t.value.(int64)
		if !ok || n < 1 || n > 400 {
			panic(at.fault(Semantic, "'mv-expand' operator: the limit of rows is a number from 1 to 400."))
		}
		o.limit = int(n)
	}
	return o
}

var typesByName = map[string]Type{
	"string": String, "guid": String, "int": Long, "long": Long, "real": Real, "double": Real, "decimal": Real, "bool": Bool, "boolean": Bool,
	"datetime": Datetime, "date": Datetime, "timespan": Timespan, "time": Timespan, "dynamic": Dynamic,
}

func (p *parser) typeName() Type {
	t, ok := typesByName[strings.ToLower(p.peek().text)]
	if !ok || p.peek().kind != tName {
		p.fail("type")
	}
	p.next()
	return t
}

func (p *parser) parse(where bool) operator {
	o := &parseOp{place: p.here(), kind: "simple", where: where}
	if p.word("kind") && p.ahead(1).text == "=" {
		p.next()
		p.next()
		o.kind = strings.ToLower(p.columnName())
		if o.kind != "simple" && o.kind != "relaxed" && o.kind != "regex" {
			p.refuse(o.kind)
		}
	}
	o.of = p.expr()
	p.expectWord("with")
	for {
		t := p.peek()
		switch {
		case p.take("*"):
			o.patterns = append(o.patterns, pattern{star: true})
		case t.kind == tQuoted:
			p.next()
			o.patterns = append(o.patterns, pattern{text: t.text})
		case t.kind == tName || p.sign("["):
			x := pattern{name: p.columnName()}
			if p.take(":") {
				x.typ = p.typeName()
			}
			o.patterns = append(o.patterns, x)
		default:
			if len(o.patterns) == 0 {
				p.fail("")
			}
			return o
		}
	}
}

// joinKinds are Kusto's.
var joinKinds = map[string]bool{"innerunique": true, "inner": true, "leftouter": true, "rightouter": true, "fullouter": true, "leftanti": true, "anti": true, "leftantisemi": true, "rightanti": true, "rightantisemi": true, "leftsemi": true, "rightsemi": true}

func (p *parser) join() operator {
	o := &joinOp{place: p.here(), kind: "innerunique"}
	if p.joins++; p.joins > p.limits.Joins {
		panic(o.fault(TooMuch, fmt.Sprintf("The query has more than %d join operators.", p.limits.Joins)))
	}
	for p.peek().kind == tName && p.ahead(1).text == "=" {
		t := p.next()
		p.next()
		if !strings.EqualFold(t.text, "kind") {
			p.refuse(t.text)
		}
		kind := p.next()
		o.kind = strings.ToLower(kind.text)
		if !joinKinds[o.kind] {
			p.refuse(kind.text)
		}
	}
	o.right = p.leg()
	p.expectWord("on")
	for {
		o.on = append(o.on, p.joinCondition()...)
		if !p.take(",") {
			return o
		}
	}
}

// leg is a table, or a pipeline in brackets.
func (p *parser) leg() *pipeline {
	s := &pipeline{place: p.here()}
	if p.take("(") {
		s.inner = p.pipeline(false)
		p.expect(")")
		return s
	}
	if p.logs {
		s.table = p.glob().name
		return s
	}
	s.table = p.columnName()
	return s
}

// joinCondition is a column of both sides, or $left.a == $right.b and …
func (p *parser) joinCondition() []joinKey {
	at := p.here()
	e := p.expr()
	if n, ok := e.(*name); ok {
		return []joinKey{{n, n}}
	}
	var keys []joinKey
	var split func(e expr)
	split = func(e expr) {
		b, ok := e.(*binary)
		switch {
		case ok && b.op == "and":
			split(b.l)
			split(b.r)
			return
		case ok && b.op == "==":
			l, onLeft := sideOf(b.l)
			r, onRight := sideOf(b.r)
			if onLeft == "$right" && onRight == "$left" {
				l, r = r, l
				onLeft, onRight = onRight, onLeft
			}
			if onLeft == "$left" && onRight == "$right" {
				keys = append(keys, joinKey{l, r})
				return
			}
		}
		panic(at.fault(Semantic, "'join' operator: the condition is a column of both sides, or $left.column == $right.column."))
	}
	split(e)
	return keys
}

// sideOf takes $left or $right off a column.
func sideOf(e expr) (column expr, side string) {
	m, ok := e.(*member)
	if !ok {
		return nil, ""
	}
	n, ok := m.of.(*name)
	if !ok {
		return nil, ""
	}
	return &name{m.place, m.name}, strings.ToLower(n.name)
}

func (p *parser) unionRest() *unionOp {
	o := &unionOp{place: p.here(), kind: "outer"}
	for p.peek().kind == tName && p.ahead(1).text == "=" {
		option := p.next()
		p.next()
		v := p.columnName()
		switch strings.ToLower(option.text) {
		case "kind":
			if o.kind = strings.ToLower(v); o.kind != "inner" && o.kind != "outer" {
				p.refuse(v)
			}
		case "withsource":
			o.withSource = v
		case "isfuzzy":
			if !p.logs {
				p.refuse(option.text)
			}
			o.fuzzy = strings.EqualFold(v, "true")
		default: // fuzzy resolution is not allowed
			p.refuse(option.text)
		}
	}
	for {
		if p.unions++; p.unions > p.limits.Joins {
			panic(o.fault(TooMuch, fmt.Sprintf("The query has more than %d legs of union.", p.limits.Joins)))
		}
		o.legs = append(o.legs, p.leg())
		if !p.take(",") {
			return o
		}
	}
}
