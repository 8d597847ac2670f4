package expr

import "slices"

// lambdas are the functions that take a lambda, and those that write one.
func lambdas() []Func {
	return []Func{
		{Name: "lambda", Min: 1, Max: -1, Lazy: true, Call: callLambda},
		{Name: "lambdaVariables", Min: 1, Max: 1, Call: callLambdaVariables},
		{Name: "map", Min: 2, Max: 2, Call: callMap},
		{Name: "filter", Min: 2, Max: 2, Call: callFilter},
		{Name: "reduce", Min: 3, Max: 3, Call: callReduce},
		{Name: "sort", Min: 2, Max: 2, Call: callSort},
		{Name: "toObject", Min: 2, Max: 3, Call: callToObject},
		{Name: "groupBy", Min: 2, Max: 3, Call: callGroupBy},
		{Name: "mapValues", Min: 2, Max: 2, Call: callMapValues},
	}
}

func callLambda(c *Call) (any, error) {
	l := &Lambda{ev: c.ev, vars: c.ev.vars, body: c.nodes[c.Len()-1]}
	for i := range c.Len() - 1 {
		v, err := c.Arg(i)
		if err != nil {
			return nil, err
		}
		name, ok := v.(string)
		if !ok {
			return nil, c.Fail("the names of its variables must be strings, one is of type '%s'.", TypeOf(v))
		}
		l.params = append(l.params, name)
	}
	return l, nil
}

func callLambdaVariables(c *Call) (any, error) {
	name, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	for v := c.ev.vars; v != nil; v = v.outer {
		if len(v.name) == len(name) && lower(v.name) == lower(name) {
			return v.value, nil
		}
	}
	return nil, errorf("The template function 'lambdaVariables' is not valid: the lambda variable '%s' is not found. Please see https://aka.ms/arm-functions for usage details.", name)
}

// over reads an array and a lambda, and calls it for each element with its place.
func (c *Call) over(parameters int, each func(i int, item any, l *Lambda) error) error {
	list, err := c.Array(0)
	if err != nil {
		return err
	}
	l, err := c.Lambda(1, 1, parameters)
	if err != nil {
		return err
	}
	for i, item := range list {
		if err := each(i, item, l); err != nil {
			return err
		}
	}
	return nil
}

func callMap(c *Call) (any, error) {
	out := []any{}
	err := c.over(2, func(i int, item any, l *Lambda) error {
		v, err := l.Invoke(item, int64(i))
		out = append(out, v)
		return err
	})
	return out, err
}

func callFilter(c *Call) (any, error) {
	out := []any{}
	err := c.over(2, func(i int, item any, l *Lambda) error {
		v, err := l.Invoke(item, int64(i))
		if err != nil {
			return err
		}
		keep, ok := v.(bool)
		if !ok {
			return c.Fail("the lambda must return a value of type 'Boolean', it returned one of type '%s'.", TypeOf(v))
		}
		if keep {
			out = append(out, item)
		}
		return nil
	})
	return out, err
}

func callReduce(c *Call) (any, error) {
	list, err := c.Array(0)
	if err != nil {
		return nil, err
	}
	l, err := c.Lambda(2, 2, 3)
	if err != nil {
		return nil, err
	}
	v := c.Args[1]
	for i, item := range list {
		if v, err = l.Invoke(v, item, int64(i)); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func callSort(c *Call) (any, error) {
	list, err := c.Array(0)
	if err != nil {
		return nil, err
	}
	l, err := c.Lambda(1, 2, 2)
	if err != nil {
		return nil, err
	}
	var failed error
	before := func(a, b any) bool {
		if failed != nil {
			return false
		}
		v, err := l.Invoke(a, b)
		less, ok := v.(bool)
		switch {
		case err != nil:
			failed = err
		case !ok:
			failed = c.Fail("the lambda must return a value of type 'Boolean', it returned one of type '%s'.", TypeOf(v))
		}
		return less
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b any) int {
		switch {
		case before(a, b):
			return -1
		case before(b, a):
			return 1
		}
		return 0
	})
	if failed != nil {
		return nil, failed
	}
	return out, nil
}

// keyed calls each with the name that the first lambda gives and the value of the second, if there is one.
func (c *Call) keyed(each func(name string, v any) error) error {
	var value *Lambda
	if len(c.Args) == 3 {
		var err error
		if value, err = c.Lambda(2, 1, 1); err != nil {
			return err
		}
	}
	return c.over(1, func(_ int, item any, l *Lambda) error {
		k, err := l.Invoke(item)
		if err != nil {
			return err
		}
		name, ok := k.(string)
		if !ok {
			return c.Fail("the lambda of the key must return a value of type 'String', it returned one of type '%s'.", TypeOf(k))
		}
		if value != nil {
			if item, err = value.Invoke(item); err != nil {
				return err
			}
		}
		return each(name, item)
	})
}

func callToObject(c *Call) (any, error) {
	out := NewObject(0)
	err := c.keyed(func(name string, v any) error {
		out.Set(name, v)
		return nil
	})
	return out, err
}

func callGroupBy(c *Call) (any, error) {
	out := NewObject(0)
	err := c.keyed(func(name string, v any) error {
		group, _ := out.values[name].([]any)
		out.Set(name, append(group, v))
		return nil
	})
	return out, err
}

func callMapValues(c *Call) (any, error) {
	o, err := c.Object(0)
	if err != nil {
		return nil, err
	}
	l, err := c.Lambda(1, 1, 1)
	if err != nil {
		return nil, err
	}
	out := NewObject(o.Len())
	for k, v := range o.All() {
		mapped, err := l.Invoke(v)
		if err != nil {
			return nil, err
		}
		out.Set(k, mapped)
	}
	return out, nil
}
