package authz

import (
	"fmt"
	"strings"
)

// Limits of a condition's text and of how deep its parentheses and negations nest.
const (
	maxCondition = 8 << 10 // Azure: "Limits": 8 KB
	maxDepth     = 64
)

// AttributeSource is where a condition looks for an attribute ("Azure role assignment condition format and syntax").
type AttributeSource string

// The sources.
const (
	FromRequest     AttributeSource = "Request"
	FromResource    AttributeSource = "Resource"
	FromPrincipal   AttributeSource = "Principal"
	FromEnvironment AttributeSource = "Environment"
)

// Attribute names what a condition compares: @Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name].
type Attribute struct {
	Source AttributeSource
	Name   string // as written; compared without case but for what stands before <$key_case_sensitive$>
}

func (a Attribute) String() string { return "@" + string(a.Source) + "[" + a.Name + "]" }

// Attributes answers a condition's questions about one request. ok is false for an attribute that the request does
// not have; the comparison is then undecided, and an undecided condition grants nothing.
type Attributes func(a Attribute) (values []string, ok bool, err error)

// Condition is a parsed condition of version 2.0 of the language. It is safe for concurrent use.
type Condition struct {
	text string
	root node
}

// String is the condition as it was written.
func (c *Condition) String() string { return c.text }

// ParseCondition parses a condition. The error says where and why; its text is for the author of the condition.
func ParseCondition(text string) (*Condition, error) {
	if len(text) > maxCondition {
		return nil, fmt.Errorf("the condition has %d bytes, the most is %d", len(text), maxCondition)
	}
	p := parser{scan: scanner{text: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected("AND, OR or the end")
	}
	return &Condition{text: text, root: root}, nil
}

// truth is a decision that may be open: what cannot be known makes nothing true, nor its negation.
type truth uint8

const (
	unknown truth = iota
	no
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// ConditionTerm is a comparison of a condition that did not hold.
type ConditionTerm struct {
	Text    string   `json:"expression"`
	Missing bool     `json:"attributeMissing,omitempty"` // the request has no such attribute
	Values  []string `json:"values,omitempty"`           // what the attribute was
}

func (t ConditionTerm) String() string {
	if t.Missing {
		return t.Text + " (the request has no such attribute)"
	}
	return t.Text + " (it is '" + strings.Join(t.Values, "', '") + "')"
}

// asked is a question to a condition, with what it found out.
type asked struct {
	action     string // lower case
	sub        []string
	attributes Attributes
	trace      bool
	failed     []ConditionTerm
	err        error
}

// holds evaluates the condition. failed are the comparisons that were not true, with trace.
func (c *Condition) holds(q *asked) bool { return c.root.eval(q) == yes && q.err == nil }

// node is a part of a condition.
type node interface{ eval(q *asked) truth }

type (
	andNode     []node
	orNode      []node
	notNode     struct{ of node }
	actionNode  []pattern
	subNode     []string // lower case
	existsNode  Attribute
	compareNode struct {
		text        string
		op          *operator
		anyL, anyR  bool // ForAny… of the left, …Any of the right; neither with a plain operator
		set         bool // a For…Of…Values: operator
		left, right operand
	}
	// operand is an attribute, or literals.
	operand struct {
		attribute *Attribute
		values    []string
	}
)

func (n andNode) eval(q *asked) truth {
	out := yes
	for _, of := range n {
		switch of.eval(q) {
		case no:
			return no
		case unknown:
			out = unknown
		}
	}
	return out
}

func (n orNode) eval(q *asked) truth {
	out := no
	for _, of := range n {
		switch of.eval(q) {
		case yes:
			return yes
		case unknown:
			out = unknown
		}
	}
	return out
}

func (n notNode) eval(q *asked) truth {
	switch n.of.eval(q) {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

func (n actionNode) eval(q *asked) truth {
	for i := range n {
		if n[i].match(q.action) {
			return yes
		}
	}
	return no
}

func (n subNode) eval(q *asked) truth {
	for _, want := range n {
		for _, have := range q.sub {
			if lower(have) == want {
				return yes
			}
		}
	}
	return no
}

func (n existsNode) eval(q *asked) truth {
	_, ok := q.get(Attribute(n))
	if q.err != nil {
		return unknown
	}
	return truthOf(ok)
}

// get looks an attribute up; subOperation is that of the request in the language's first form.
func (q *asked) get(a Attribute) ([]string, bool) {
	if a.Source == FromRequest && lower(a.Name) == "suboperation" {
		return q.sub, true
	}
	if q.attributes == nil || q.err != nil {
		return nil, false
	}
	values, ok, err := q.attributes(a)
	if err != nil {
		q.err = fmt.Errorf("authz: attribute %s: %w", a, err)
	}
	return values, ok && err == nil
}

func (o operand) read(q *asked) ([]string, bool) {
	if o.attribute == nil {
		return o.values, true
	}
	return q.get(*o.attribute)
}

func (n *compareNode) eval(q *asked) truth {
	left, okL := n.left.read(q)
	right, okR := n.right.read(q)
	out := unknown
	if okL && okR && q.err == nil {
		out = n.compare(left, right)
	}
	if out != yes && q.trace {
		t := ConditionTerm{Text: n.text, Missing: !okL || !okR, Values: left}
		if n.left.attribute == nil {
			t.Values = right
		}
		q.failed = append(q.failed, t)
	}
	return out
}

// compare is undecided where there is nothing to compare: of no values, all and none would be true at once.
func (n *compareNode) compare(left, right []string) truth {
	if !n.set {
		if len(left) != 1 || len(right) != 1 {
			return unknown
		}
		return n.op.compare(left[0], right[0])
	}
	if len(left) == 0 && !n.isSubOperation() || len(right) == 0 {
		return unknown
	}
	outer := combine(n.anyL)
	for _, l := range left {
		inner := combine(n.anyR)
		for _, r := range right {
			inner.add(n.op.compare(l, r))
		}
		outer.add(inner.out())
	}
	return outer.out()
}

func (n *compareNode) isSubOperation() bool {
	a := n.left.attribute
	return a != nil && a.Source == FromRequest && lower(a.Name) == "suboperation"
}

// tally joins decisions by any or by all.
type tally struct {
	any                       bool
	hasYes, hasNo, hasUnknown bool
}

func combine(anyOf bool) tally { return tally{any: anyOf} }

func (t *tally) add(v truth) {
	t.hasYes = t.hasYes || v == yes
	t.hasNo = t.hasNo || v == no
	t.hasUnknown = t.hasUnknown || v == unknown
}

func (t *tally) out() truth {
	switch {
	case t.any && t.hasYes, !t.any && !t.hasNo && !t.hasUnknown:
		return yes
	case t.any && !t.hasUnknown, !t.any && t.hasNo:
		return no
	}
	return unknown
}
