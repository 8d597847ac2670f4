package policy

import (
	"context"
	"strings"

	"vauban.dev/arm/expr"
)

// run is the evaluation of one rule for one resource.
type run struct {
	policy     *Bound
	resource   *Resource // whose fields the conditions read
	subject    *Resource // whose fields field() reads: the resource of the if, also in an existence condition
	request    *RequestContext
	frames     []frame
	iterations int // of the enclosing value counts, multiplied
	steps      int
	budget     *expr.Budget
	env        *expr.Env
	ctx        context.Context
	tracing    bool
	trace      []Expression
	plain      plainValues
}

// plainValues are what the fields of most rules read, of one resource: asked by hundreds of rules, made once.
type plainValues struct {
	of                  *Resource
	typ, name, location any
}

func (r *run) plainValues() *plainValues {
	if r.plain.of != r.resource {
		r.plain = plainValues{of: r.resource, typ: orNull(r.resource.Type), name: orNull(r.resource.Name)}
		v, _ := member(r.resource.Body, "location")
		if s, ok := v.(string); ok {
			r.plain.location = normalLocation(s)
		}
	}
	return &r.plain
}

// orNull is a text, or no value for "".
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// expressionWork is what the expressions of one rule may cost for one resource, in the steps of package expr.
const expressionWork = 500_000

func newRun(b *Bound, rc *RequestContext, res *Resource) *run {
	return &run{policy: b, resource: res, subject: res, request: rc, iterations: 1}
}

// reset makes the run ready for another rule.
func (r *run) reset(b *Bound, res *Resource) *run {
	r.policy, r.resource, r.subject, r.steps, r.iterations, r.env = b, res, res, 0, 1, nil
	return r
}

// action is the authorization action of the request; a scan asks as if the resource were written.
func (r *run) action() string {
	if r.request != nil && r.request.Action != "" {
		return r.request.Action
	}
	return r.subject.Type + "/write"
}

// step counts a condition.
func (r *run) step() error {
	if r.steps++; r.steps > maxIterations {
		return ErrLimit
	}
	return nil
}

// Expression is one evaluated condition, as refusals and compliance results tell it (PolicyInsights REST:
// ExpressionEvaluationDetails).
type Expression struct {
	Result     string `json:"result"`         // True, False
	Kind       string `json:"expressionKind"` // Field, Value, Count
	Expression string `json:"expression"`
	Path       string `json:"path,omitempty"`
	Value      any    `json:"expressionValue,omitempty"`
	Target     any    `json:"targetValue,omitempty"`
	Operator   string `json:"operator"`
}

// maxTrace bounds the conditions that an explanation tells.
const maxTrace = 64

// note keeps an evaluated condition, outside of counts.
func (r *run) note(c *condition, f *field, have selected, target any, ok bool) {
	if !r.tracing || len(r.frames) > 0 || len(r.trace) >= maxTrace {
		return
	}
	e := Expression{Result: "False", Operator: c.operator, Target: target}
	if ok {
		e.Result = "True"
	}
	switch {
	case c.count != nil:
		e.Kind, e.Value = "Count", have.value
		if c.count.field != nil {
			e.Expression = c.count.field.text
		} else {
			e.Expression = c.count.value.text
		}
	case c.action:
		e.Kind, e.Expression, e.Value = "Source", "action", have.value
	case c.value != nil:
		e.Kind, e.Expression, e.Value = "Value", c.value.text, have.value
	default:
		e.Kind, e.Expression, e.Path = "Field", f.text, f.path()
		e.Value = have.shown()
		if r.policy != nil && r.policy.index != nil && r.policy.index.secret(f) {
			e.Value = nil
		}
	}
	r.trace = append(r.trace, e)
}

// path is where the field stands in the resource.
func (f *field) path() string {
	if f.kind != fieldAlias {
		return f.text
	}
	var b strings.Builder
	b.WriteString("properties")
	for _, s := range f.steps {
		b.WriteByte('.')
		b.WriteString(s.name)
		if s.star {
			b.WriteString("[*]")
		}
	}
	return b.String()
}
