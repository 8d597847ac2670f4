package policy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"vauban.dev/arm/expr"
)

// value is a value of a rule: a literal, an expression, or a tree with expressions in it.
type value struct {
	text    string // an expression as it is written; of a literal its text
	literal any
	expr    *expr.Expression
	nested  []*value          // of an array
	members map[string]*value // of an object
	varies  bool              // it depends on more than the parameters
}

// newValue compiles a value of a rule.
func newValue(v any) (*value, error) { return compileValue(v, 0) }

func compileValue(v any, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, errorf("InvalidPolicyRule", "a value is nested deeper than %d levels", maxDepth)
	}
	switch v := v.(type) {
	case string:
		if !expr.IsExpression(v) {
			s := expr.Literal(v)
			return &value{text: s, literal: s}, nil
		}
		x, err := expr.Parse(v)
		if err != nil {
			return nil, errorf("InvalidPolicyRule", "the expression '%s' cannot be parsed: %v", shorten(v), err)
		}
		if err := checkFunctions(v); err != nil {
			return nil, err
		}
		return &value{text: v, expr: x, varies: varies(v)}, nil
	case []any:
		out := &value{text: "an array", literal: v}
		dynamic := false
		for _, e := range v {
			n, err := compileValue(e, depth+1)
			if err != nil {
				return nil, err
			}
			dynamic = dynamic || n.dynamic()
			out.varies = out.varies || n.varies
			out.nested = append(out.nested, n)
		}
		if !dynamic {
			out.nested = nil
		}
		return out, nil
	case map[string]any:
		out := &value{text: "an object", literal: v, members: map[string]*value{}}
		dynamic := false
		for k, e := range v {
			n, err := compileValue(e, depth+1)
			if err != nil {
				return nil, err
			}
			dynamic = dynamic || n.dynamic()
			out.varies = out.varies || n.varies
			out.members[k] = n
		}
		if !dynamic {
			out.members = nil
		}
		return out, nil
	}
	s, _ := text(v)
	return &value{text: s, literal: v}, nil
}

func shorten(s string) string {
	if len(s) > 256 {
		return s[:256] + "…"
	}
	return s
}

func (v *value) dynamic() bool { return v.expr != nil || v.nested != nil || v.members != nil }

// get evaluates the value.
func (v *value) get(r *run) (any, error) {
	if !v.dynamic() {
		return v.literal, nil
	}
	if !v.varies && r.policy != nil {
		if known, ok := r.policy.known[v]; ok {
			return known, nil
		}
	}
	switch {
	case v.expr != nil:
		return r.evaluate(v)
	case v.nested != nil:
		out := make([]any, len(v.nested))
		for i, e := range v.nested {
			var err error
			if out[i], err = e.get(r); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	out := make(map[string]any, len(v.members))
	for k, e := range v.members {
		var err error
		if out[k], err = e.get(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// runKey finds the run in the context of an expression's functions.
type runKey struct{}

func (r *run) evaluate(v *value) (any, error) {
	if r.env == nil {
		r.budget = expr.NewBudget(expressionWork)
		r.env = &expr.Env{Functions: functions, Now: func() time.Time { return r.request.Now }, Budget: r.budget}
		r.ctx = context.WithValue(context.Background(), runKey{}, r)
	}
	out, err := v.expr.Eval(r.ctx, r.env)
	if err != nil {
		if missingTag(v.text, err) {
			return nil, nil
		}
		return nil, fmt.Errorf("the expression '%s' cannot be evaluated: %w", shorten(v.text), err)
	}
	return expr.To(out), nil
}

// missingTag tells a tag that the group or subscription lacks: its value is null, on which Azure's own rules that
// inherit tags rely.
func missingTag(text string, err error) bool {
	var e *expr.Error
	return errors.As(err, &e) && tagAccess.MatchString(text) && (strings.Contains(e.Message, "doesn't exist") || strings.Contains(e.Message, "is null"))
}

var tagAccess = regexp.MustCompile(`(?i)^\[(resourceGroup|subscription)\(\)\.tags(\[[^()]*(\([^()]*\))?\]|\.[\w-]+)\]$`)

var called = regexp.MustCompile(`([A-Za-z]\w*)\s*\(`)

// varying are the functions whose results depend on the resource, the request or the time.
var varying = map[string]bool{
	"field": true, "current": true, "resourcegroup": true, "subscription": true, "requestcontext": true, "utcnow": true,
}

func varies(text string) bool {
	for _, m := range called.FindAllStringSubmatch(text, -1) {
		if varying[strings.ToLower(m[1])] {
			return true
		}
	}
	return false
}

// absent are the functions of templates that rules do not have ("Policy functions").
var absent = []string{
	"copyIndex", "dateTimeAdd", "dateTimeFromEpoch", "dateTimeToEpoch", "deployment", "environment", "extensionResourceId", "listAccountSas",
	"listKeys", "listSecrets", "list", "managementGroup", "newGuid", "pickZones", "providers", "reference", "resourceId", "subscriptionResourceId",
	"tenantResourceId", "managementGroupResourceId", "tenant", "variables", "lambda", "map", "filter", "reduce", "sort", "toObject", "groupBy", "mapValues", "deployer",
}

// checkFunctions refuses a function that rules do not have, and an expression that goes beyond the limits.
func checkFunctions(text string) error {
	quoted := quotedText.ReplaceAllString(text, "''")
	calls := called.FindAllStringSubmatch(quoted, -1)
	for _, m := range calls {
		if f, ok := functions[strings.ToLower(m[1])]; ok && f.Call == nil {
			return errorf("InvalidPolicyRule", "the function '%s' is not available in a policy rule", m[1])
		}
	}
	return nil
}

var quotedText = regexp.MustCompile(`'[^']*'`)

// functions are those that rules have besides those of templates.
var functions = ruleFunctions()

func ruleFunctions() expr.Table {
	object := func(name string, of func(*run) map[string]any) expr.Func {
		return expr.Func{Name: name, Call: func(c *expr.Call) (any, error) {
			r, err := runOf(c)
			if err != nil {
				return nil, err
			}
			return expr.From(of(r)), nil
		}}
	}
	all := []expr.Func{
		{Name: "parameters", Min: 1, Max: 1, Call: callParameters},
		{Name: "field", Min: 1, Max: 1, Call: callField},
		{Name: "current", Min: 0, Max: 1, Call: callCurrent},
		{Name: "addDays", Min: 2, Max: 2, Call: callAddDays},
		{Name: "ipRangeContains", Min: 2, Max: 2, Call: callIPRangeContains},
		{Name: "utcNow", Min: 0, Max: 1, Call: callUTCNow},
		object("requestContext", (*run).requestObject),
		object("policy", (*run).policyObject),
		object("resourceGroup", func(r *run) map[string]any { return orEmpty(r.request.ResourceGroup) }),
		object("subscription", func(r *run) map[string]any { return orEmpty(r.request.Subscription) }),
	}
	for _, name := range absent {
		all = append(all, expr.Func{Name: name, Max: -1})
	}
	table := expr.Table{}
	table.Add(all...)
	return table
}

func orEmpty(f func() map[string]any) map[string]any {
	if f == nil {
		return map[string]any{}
	}
	return f()
}

func runOf(c *expr.Call) (*run, error) {
	if r, ok := c.Context().Value(runKey{}).(*run); ok {
		return r, nil
	}
	return nil, c.Fail("it stands outside of a policy rule.")
}

func (r *run) requestObject() map[string]any {
	identity := r.request.Identity
	if identity == nil {
		identity = map[string]any{}
	}
	return map[string]any{"apiVersion": r.request.APIVersion, "identity": identity}
}

func (r *run) policyObject() map[string]any {
	b := r.policy
	m := map[string]any{"assignmentId": "", "definitionId": "", "setDefinitionId": "", "definitionReferenceId": ""}
	if b == nil {
		return m
	}
	m["assignmentId"], m["definitionId"] = b.Assignment.ID, b.Definition.ID
	if b.Set != nil {
		m["setDefinitionId"], m["definitionReferenceId"] = b.Set.ID, b.ReferenceID
	}
	return m
}

func callParameters(c *expr.Call) (any, error) {
	r, err := runOf(c)
	if err != nil {
		return nil, err
	}
	name, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	if r.policy != nil {
		if v, ok := member(r.policy.arguments, name); ok {
			return v, nil
		}
	}
	return nil, c.Fail("the template parameter '%s' is not found.", name)
}

func callField(c *expr.Call) (any, error) {
	r, err := runOf(c)
	if err != nil {
		return nil, err
	}
	name, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	f, err := parseField(name)
	if err != nil {
		return nil, err
	}
	at := *r
	at.resource = r.subject
	s := at.read(f)
	if s.many {
		return expr.From(append([]any{}, s.values...)), nil
	}
	if s.value == nil { // a field that is not there reads as the empty text
		return "", nil
	}
	return expr.From(s.value), nil
}

func callCurrent(c *expr.Call) (any, error) {
	r, err := runOf(c)
	if err != nil {
		return nil, err
	}
	name, named := "", c.Len() > 0
	if named {
		if name, err = c.Text(0); err != nil {
			return nil, err
		}
	}
	v, err := r.current(name, named)
	return expr.From(v), err
}

func callAddDays(c *expr.Call) (any, error) {
	s, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	days, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	t, ok := date(s)
	if !ok || days > 3_000_000 || days < -3_000_000 {
		return nil, c.Fail("'%s' is not a time in ISO 8601, or %d too many days.", s, days)
	}
	return t.UTC().AddDate(0, 0, int(days)).Format(isoTime), nil
}

const isoTime = "2006-01-02T15:04:05.0000000Z"

func callUTCNow(c *expr.Call) (any, error) {
	r, err := runOf(c)
	if err != nil {
		return nil, err
	}
	if c.Len() > 0 {
		return nil, c.Fail("a format is not supported in a policy rule.")
	}
	return r.request.Now.UTC().Format(isoTime), nil
}

func callIPRangeContains(c *expr.Call) (any, error) {
	outer, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	inner, err := c.Text(1)
	if err != nil {
		return nil, err
	}
	ok, err := rangeContains(outer, inner)
	if err != nil {
		return nil, c.Fail("%v.", err)
	}
	return ok, nil
}

// parameterUse is an expression that is a parameter and nothing else.
var parameterUse = regexp.MustCompile(`(?i)^\[\s*parameters\(\s*'([^']+)'\s*\)\s*\]$`)

// parameterUses are the parameters that an expression names.
var parameterUses = regexp.MustCompile(`(?i)\bparameters\(\s*'([^']+)'\s*\)`)
