// Package expr is the expression language of Azure Resource Manager templates and policies: strings of the form
// "[…]" ("ARM template syntax: template expressions"). It parses and evaluates; what an expression refers to
// (parameters, resources, a policy's fields) comes as functions of the caller. It imports the standard library
// only.
//
// Values are nil, bool, int64, float64, string, []any and *Object. They are never changed after they were made,
// so that they can be shared.
package expr

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// Limits of the language ("Azure Resource Manager limits": template limits). Lengths are in characters.
const (
	MaxExpression = 24576
	MaxLiteral    = 131072
	maxDepth      = 128
	maxRange      = 10000
)

// Error says why an expression cannot be parsed or evaluated, in Azure's words.
type Error struct {
	Message string
	// Syntax is set when the text itself is not an expression.
	Syntax bool
}

func (e *Error) Error() string { return e.Message }

func errorf(format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...)}
}

// Func is one function of the language.
type Func struct {
	Name string // as Azure spells it, for messages
	Min  int    // the least arguments
	Max  int    // the most; negative: any number
	// Lazy functions get their arguments by Call.Arg, which evaluates; others find them in Call.Args.
	Lazy bool
	Call func(*Call) (any, error)
}

// Table is a set of functions by lower-case name.
type Table map[string]Func

// Add puts functions into the table.
func (t Table) Add(functions ...Func) {
	for _, f := range functions {
		t[strings.ToLower(f.Name)] = f
	}
}

// Env is what expressions are evaluated in. It may be used by several goroutines.
type Env struct {
	// Functions are the caller's; they come before the built-in ones.
	Functions Table
	// Unknown is asked for a function that nobody has, for families such as list*; nil: there are none.
	Unknown func(name string) (Func, bool)
	// Now is the time of utcNow.
	Now func() time.Time
	// Budget is what all evaluations in this environment may use together; nil: each has one of its own.
	Budget *Budget

	mu     sync.Mutex
	parsed map[string]*Expression
}

// With is an environment with more functions, laid over those of e. Clock and budget are shared.
func (e *Env) With(more Table) *Env {
	all := make(Table, len(e.Functions)+len(more))
	maps.Copy(all, e.Functions)
	maps.Copy(all, more)
	return &Env{Functions: all, Unknown: e.Unknown, Now: e.Now, Budget: e.Budget}
}

func (e *Env) function(name string) (Func, bool) {
	key := strings.ToLower(name)
	if f, ok := e.Functions[key]; ok {
		return f, true
	}
	if f, ok := builtins()[key]; ok {
		return f, true
	}
	if e.Unknown != nil {
		return e.Unknown(name)
	}
	return Func{}, false
}

// Budget bounds the work of evaluations: what a template may cost, however it is written.
type Budget struct {
	mu    sync.Mutex
	steps int
}

// Steps of a template and of a single expression. A step is a node evaluated, a value visited or sixteen bytes made.
const (
	TemplateSteps   = 2_000_000
	expressionSteps = 1_000_000
)

// NewBudget allows n steps.
func NewBudget(n int) *Budget { return &Budget{steps: n} }

// Spend takes n steps, or says that too many were asked for.
func (b *Budget) Spend(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < 0 || b.steps < n {
		b.steps = 0
		return errorf("The template language expressions exceed the limit of work for one evaluation.")
	}
	b.steps -= n
	return nil
}

// IsExpression says whether a string is an expression: it starts with one left bracket and ends with a right one.
func IsExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[1] != '[' && s[len(s)-1] == ']'
}

// Literal is a string that is not an expression as it is meant: "[[…]" begins with one bracket.
func Literal(s string) string {
	if strings.HasPrefix(s, "[[") && strings.HasSuffix(s, "]") {
		return s[1:]
	}
	return s
}

// Text evaluates a string of a template: an expression, or a literal.
func (e *Env) Text(ctx context.Context, s string) (any, error) {
	if !IsExpression(s) {
		if len(s) > MaxLiteral {
			return nil, errorf("The language expression literal limit exceeded. Limit: '%d' and actual: '%d'.", MaxLiteral, len(s))
		}
		return Literal(s), nil
	}
	x, err := e.parse(s)
	if err != nil {
		return nil, err
	}
	return x.Eval(ctx, e)
}

// cached is how many parsed expressions an environment keeps.
const cached = 4096

func (e *Env) parse(s string) (*Expression, error) {
	e.mu.Lock()
	x, ok := e.parsed[s]
	e.mu.Unlock()
	if ok {
		return x, nil
	}
	x, err := Parse(s)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.parsed == nil || len(e.parsed) >= cached {
		e.parsed = map[string]*Expression{}
	}
	e.parsed[s] = x
	return x, nil
}

// Tree evaluates every string of a value, the names of members among them. It returns the value itself where
// nothing changes.
func (e *Env) Tree(ctx context.Context, v any) (any, error) {
	return e.tree(ctx, v, 0)
}

func (e *Env) tree(ctx context.Context, v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errorf("The template is nested deeper than %d levels.", maxDepth)
	}
	switch v := v.(type) {
	case string:
		return e.Text(ctx, v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = e.tree(ctx, item, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *Object:
		out := NewObject(v.Len())
		for key, item := range v.All() {
			name, err := e.Text(ctx, key)
			if err != nil {
				return nil, err
			}
			text, ok := name.(string)
			if !ok {
				return nil, errorf("The name of a property must be a string. The expression '%s' is of type '%s'.", key, TypeOf(name))
			}
			value, err := e.tree(ctx, item, depth+1)
			if err != nil {
				return nil, err
			}
			out.Set(text, value)
		}
		return out, nil
	}
	return v, nil
}
