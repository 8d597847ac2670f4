package expr

import (
	"context"
	"errors"
	"math"
	"strings"
)

// Eval evaluates the expression. Errors are *Error, what a function of the caller returned, or the context's.
func (x *Expression) Eval(ctx context.Context, env *Env) (any, error) {
	budget := env.Budget
	if budget == nil {
		budget = NewBudget(expressionSteps)
	}
	v, err := (&eval{ctx: ctx, env: env, budget: budget}).node(x.root)
	if err != nil {
		return nil, err
	}
	if _, ok := v.(*Lambda); ok {
		return nil, errorf("A lambda expression can only be an argument of a function that takes one.")
	}
	return v, nil
}

// eval is one evaluation.
type eval struct {
	ctx    context.Context
	env    *Env
	budget *Budget
	vars   *variables
	depth  int
}

// variables are the parameters of a lambda and of those around it.
type variables struct {
	name  string
	value any
	outer *variables
}

// Lambda is a function written in an expression.
type Lambda struct {
	params []string
	body   node
	ev     *eval
	vars   *variables
}

// Params is the number of its parameters.
func (l *Lambda) Params() int { return len(l.params) }

// Invoke calls the lambda; arguments beyond its parameters are left out.
func (l *Lambda) Invoke(args ...any) (any, error) {
	vars := l.vars
	for i, p := range l.params {
		if i < len(args) {
			vars = &variables{name: p, value: args[i], outer: vars}
		}
	}
	in := *l.ev
	in.vars = vars
	return in.node(l.body)
}

func (e *eval) node(n node) (any, error) {
	if err := e.budget.Spend(1); err != nil {
		return nil, err
	}
	if e.depth++; e.depth > 4*maxDepth {
		return nil, errorf("The template language expression is nested too deep.")
	}
	defer func() { e.depth-- }()
	switch n := n.(type) {
	case literal:
		return n.value, nil
	case access:
		return e.access(n)
	case call:
		return e.call(n)
	}
	return nil, errorf("The expression is empty.")
}

func (e *eval) call(n call) (any, error) {
	if err := e.ctx.Err(); err != nil {
		return nil, err
	}
	f, ok := e.env.function(n.name)
	if !ok {
		return nil, errorf("The template function '%s' is not valid. Please see https://aka.ms/arm-functions for usage details.", n.name)
	}
	c := &Call{Name: f.Name, ev: e, nodes: n.args}
	if len(n.args) < f.Min || f.Max >= 0 && len(n.args) > f.Max {
		return nil, c.Fail("function requires %s while '%d' were provided.", arity(f), len(n.args))
	}
	if !f.Lazy {
		c.Args = make([]any, len(n.args))
		for i := range n.args {
			var err error
			if c.Args[i], err = c.Arg(i); err != nil {
				return nil, err
			}
			if err := e.budget.Spend(weight(c.Args[i])); err != nil {
				return nil, err
			}
		}
	}
	v, err := f.Call(c)
	if err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok {
		if len(s) > maxString {
			return nil, c.Fail("its result has more than '%d' characters.", maxString)
		}
		return s, e.budget.Spend(len(s) / 16)
	}
	return v, nil
}

// weight is what a function pays for being given a value, which it may look through.
func weight(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) / 64
	case []any:
		return len(v) / 16
	case *Object:
		return v.Len() / 16
	}
	return 0
}

func arity(f Func) string {
	switch {
	case f.Max < 0 && f.Min == 1:
		return "at least one argument"
	case f.Max < 0:
		return "at least " + itoa(f.Min) + " arguments"
	case f.Min == f.Max && f.Max == 0:
		return "no arguments"
	case f.Min == f.Max && f.Max == 1:
		return "exactly one argument"
	case f.Min == f.Max:
		return "exactly " + itoa(f.Min) + " arguments"
	}
	return "between " + itoa(f.Min) + " and " + itoa(f.Max) + " arguments"
}

// access reads a property or an element.
func (e *eval) access(n access) (any, error) {
	of, err := e.node(n.of)
	if err != nil {
		return nil, err
	}
	if n.safe && of == nil {
		return nil, nil
	}
	key, err := e.node(n.key)
	if err != nil {
		return nil, err
	}
	if err := e.budget.Spend(weight(of)); err != nil {
		return nil, err
	}
	v, err := Property(of, key)
	var missing *missing
	if n.safe && errors.As(err, &missing) {
		return nil, nil
	}
	return v, err
}

// missing is the error of a property that a value lacks.
type missing struct{ Message string }

func (m *missing) Error() string { return m.Message }
func (m *missing) Unwrap() error { return &Error{Message: m.Message} }

// Property reads a member of an object by name or an element of an array by index.
func Property(of, key any) (any, error) {
	switch v := of.(type) {
	case *Object:
		name, ok := key.(string)
		if !ok {
			return nil, errorf("The language expression property '%s' can't be evaluated, property name must be a string.", shown(key))
		}
		if member, ok := v.Lookup(name); ok {
			return member, nil
		}
		return nil, &missing{Message: "The language expression property '" + name + "' doesn't exist, available properties are '" + strings.Join(v.keys, ", ") + "'."}
	case []any:
		i, ok := key.(int64)
		if f, isFloat := key.(float64); isFloat && f == math.Trunc(f) {
			i, ok = int64(f), true
		}
		if !ok {
			return nil, errorf("The language expression property '%s' can't be evaluated, property index must be an integer.", shown(key))
		}
		if i < 0 || i >= int64(len(v)) {
			return nil, &missing{Message: "The language expression property array index '" + shown(key) + "' is out of bounds."}
		}
		return v[i], nil
	case nil:
		return nil, &missing{Message: "The language expression property '" + shown(key) + "' can't be evaluated, the value it is read of is null."}
	}
	return nil, errorf("The language expression property '%s' can't be evaluated, it is read of a value of type '%s'.", shown(key), TypeOf(of))
}

func shown(v any) string {
	s, err := String(v)
	if err != nil || len(s) > 100 {
		return TypeOf(v)
	}
	return s
}

// Call is a call of a function under evaluation.
type Call struct {
	Name  string
	Args  []any // of functions that are not lazy
	ev    *eval
	nodes []node
}

// Context of the evaluation.
func (c *Call) Context() context.Context { return c.ev.ctx }

// Len is the number of arguments.
func (c *Call) Len() int { return len(c.nodes) }

// Arg evaluates an argument.
func (c *Call) Arg(i int) (any, error) { return c.ev.node(c.nodes[i]) }

// Spend takes steps of the evaluation's budget.
func (c *Call) Spend(n int) error { return c.ev.budget.Spend(n) }

// Fail is an error of this call.
func (c *Call) Fail(format string, args ...any) error {
	return errorf("Unable to evaluate template language function '"+c.Name+"': "+format+" Please see https://aka.ms/arm-functions for usage details.", args...)
}

// Text is a string argument.
func (c *Call) Text(i int) (string, error) {
	s, ok := c.Args[i].(string)
	if !ok {
		return "", c.wrong(i, "String")
	}
	return s, nil
}

// Int is an integer argument.
func (c *Call) Int(i int) (int64, error) {
	switch v := c.Args[i].(type) {
	case int64:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return int64(v), nil
		}
	}
	return 0, c.wrong(i, "Integer")
}

// Array is an array argument.
func (c *Call) Array(i int) ([]any, error) {
	v, ok := c.Args[i].([]any)
	if !ok {
		return nil, c.wrong(i, "Array")
	}
	return v, nil
}

// Object is an object argument.
func (c *Call) Object(i int) (*Object, error) {
	v, ok := c.Args[i].(*Object)
	if !ok {
		return nil, c.wrong(i, "Object")
	}
	return v, nil
}

// Lambda is a lambda argument with at least min and at most max parameters.
func (c *Call) Lambda(i, min, max int) (*Lambda, error) {
	l, ok := c.Args[i].(*Lambda)
	if !ok {
		return nil, c.wrong(i, "Lambda")
	}
	if l.Params() < min || l.Params() > max {
		return nil, c.Fail("the lambda of argument '%d' must have between '%d' and '%d' parameters.", i+1, min, max)
	}
	return l, nil
}

var ordinals = []string{"first", "second", "third", "fourth", "fifth"}

func (c *Call) wrong(i int, want string) error {
	if len(c.Args) == 1 {
		return errorf("The template language function '%s' expects its parameter to be of type '%s'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#%s for usage details.", c.Name, want, TypeOf(c.Args[i]), c.Name)
	}
	place := itoa(i+1) + "th"
	if i < len(ordinals) {
		place = ordinals[i]
	}
	return errorf("The template language function '%s' expects its %s parameter to be of type '%s'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#%s for usage details.", c.Name, place, want, TypeOf(c.Args[i]), c.Name)
}
