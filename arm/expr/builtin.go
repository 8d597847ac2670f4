package expr

import (
	"strconv"
	"sync"
)

// The functions that need nothing but their arguments, made at first use: functions call evaluation, which looks
// functions up, so that Go would see a cycle in an initial value.
var (
	builtinTable Table
	builtinOnce  sync.Once
)

func builtins() Table {
	builtinOnce.Do(func() {
		builtinTable = Table{}
		for _, group := range [][]Func{logical(), numeric(), texts(), encodings(), collections(), objects(), lambdas(), dates(), addresses()} {
			builtinTable.Add(group...)
		}
	})
	return builtinTable
}

func itoa(n int) string { return strconv.Itoa(n) }

func constant(name string, v any) Func {
	return Func{Name: name, Call: func(*Call) (any, error) { return v, nil }}
}

// logical are the logical functions and those that compare.
func logical() []Func {
	return []Func{
		constant("true", true), constant("false", false), constant("null", nil),
		{Name: "if", Min: 3, Max: 3, Lazy: true, Call: callIf},
		{Name: "and", Min: 2, Max: -1, Lazy: true, Call: func(c *Call) (any, error) { return c.junction(false) }},
		{Name: "or", Min: 2, Max: -1, Lazy: true, Call: func(c *Call) (any, error) { return c.junction(true) }},
		{Name: "not", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			b, ok := c.Args[0].(bool)
			if !ok {
				return nil, c.wrong(0, "Boolean")
			}
			return !b, nil
		}},
		{Name: "bool", Min: 1, Max: 1, Call: callBool},
		{Name: "equals", Min: 2, Max: 2, Call: func(c *Call) (any, error) {
			n := expressionSteps
			same := equal(c.Args[0], c.Args[1], &n)
			if err := c.Spend(expressionSteps - n); err != nil {
				return nil, err
			}
			return same, nil
		}},
		compare("less", func(n int) bool { return n < 0 }),
		compare("lessOrEquals", func(n int) bool { return n <= 0 }),
		compare("greater", func(n int) bool { return n > 0 }),
		compare("greaterOrEquals", func(n int) bool { return n >= 0 }),
		{Name: "coalesce", Min: 1, Max: -1, Lazy: true, Call: func(c *Call) (any, error) {
			for i := range c.Len() {
				if v, err := c.Arg(i); err != nil || v != nil {
					return v, err
				}
			}
			return nil, nil
		}},
		{Name: "fail", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			s, err := c.Text(0)
			if err != nil {
				return nil, err
			}
			return nil, &Error{Message: s}
		}},
	}
}

// callIf evaluates only the branch that is taken.
func callIf(c *Call) (any, error) {
	v, err := c.Arg(0)
	if err != nil {
		return nil, err
	}
	b, ok := v.(bool)
	if !ok {
		return nil, errorf("The template language function 'if' expects its first parameter to be of type 'Boolean'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#if for usage details.", TypeOf(v))
	}
	if b {
		return c.Arg(1)
	}
	return c.Arg(2)
}

// junction evaluates its arguments until one is decisive.
func (c *Call) junction(decisive bool) (any, error) {
	for i := range c.Len() {
		v, err := c.Arg(i)
		if err != nil {
			return nil, err
		}
		b, ok := v.(bool)
		if !ok {
			return nil, c.Fail("all its arguments must be of type 'Boolean', argument '%d' is of type '%s'.", i+1, TypeOf(v))
		}
		if b == decisive {
			return decisive, nil
		}
	}
	return !decisive, nil
}

func callBool(c *Call) (any, error) {
	switch v := c.Args[0].(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case float64:
		return v != 0, nil
	case string:
		switch lower(v) {
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
	}
	return nil, errorf("The template language function 'bool' was invoked with a parameter that is not valid. The value cannot be converted to the target type.")
}

func compare(name string, holds func(int) bool) Func {
	return Func{Name: name, Min: 2, Max: 2, Call: func(c *Call) (any, error) {
		n, ok := order(c.Args[0], c.Args[1])
		if !ok {
			return nil, c.Fail("its arguments must be two numbers or two strings, they are of type '%s' and '%s'.", TypeOf(c.Args[0]), TypeOf(c.Args[1]))
		}
		return holds(n), nil
	}}
}

// order compares numbers, or strings as .NET's ordinal comparison does.
func order(a, b any) (int, bool) {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return compareText(x, y), ok
	case int64:
		if y, ok := b.(int64); ok {
			return sign(x < y, x > y), true
		}
	}
	x, ok := float(a)
	y, ok2 := float(b)
	return sign(x < y, x > y), ok && ok2
}

func sign(less, more bool) int {
	switch {
	case less:
		return -1
	case more:
		return 1
	}
	return 0
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}
