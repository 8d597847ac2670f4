package expr

import "strings"

// collections are the functions of arrays, and those that take arrays, strings and objects alike.
func collections() []Func {
	return []Func{
		{Name: "array", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			if list, ok := c.Args[0].([]any); ok {
				return list, nil
			}
			return []any{c.Args[0]}, nil
		}},
		{Name: "createArray", Min: 0, Max: -1, Call: func(c *Call) (any, error) { return append([]any{}, c.Args...), nil }},
		{Name: "concat", Min: 1, Max: -1, Call: callConcat},
		{Name: "contains", Min: 2, Max: 2, Call: callContains},
		{Name: "empty", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			if c.Args[0] == nil {
				return true, nil
			}
			n, err := c.length()
			return n == 0, err
		}},
		{Name: "length", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			n, err := c.length()
			return int64(n), err
		}},
		{Name: "first", Min: 1, Max: 1, Call: func(c *Call) (any, error) { return c.end(true) }},
		{Name: "last", Min: 1, Max: 1, Call: func(c *Call) (any, error) { return c.end(false) }},
		{Name: "skip", Min: 2, Max: 2, Call: func(c *Call) (any, error) { return c.part(false) }},
		{Name: "take", Min: 2, Max: 2, Call: func(c *Call) (any, error) { return c.part(true) }},
		{Name: "indexOf", Min: 2, Max: 2, Call: func(c *Call) (any, error) { return c.index(false) }},
		{Name: "lastIndexOf", Min: 2, Max: 2, Call: func(c *Call) (any, error) { return c.index(true) }},
		{Name: "flatten", Min: 1, Max: 1, Call: callFlatten},
		{Name: "distinct", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			list, err := c.Array(0)
			if err != nil {
				return nil, err
			}
			return c.distinct(list)
		}},
		{Name: "intersection", Min: 2, Max: -1, Call: callIntersection},
		{Name: "union", Min: 2, Max: -1, Call: callUnion},
		{Name: "indexFromEnd", Min: 2, Max: 2, Call: func(c *Call) (any, error) { return c.fromEnd(false) }},
		{Name: "tryIndexFromEnd", Min: 2, Max: 2, Call: func(c *Call) (any, error) { return c.fromEnd(true) }},
	}
}

func callConcat(c *Call) (any, error) {
	if _, ok := c.Args[0].([]any); ok {
		out := []any{}
		for i := range c.Args {
			list, err := c.Array(i)
			if err != nil {
				return nil, err
			}
			if err := c.Spend(len(list)); err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
		return out, nil
	}
	for _, v := range c.Args {
		switch v.(type) {
		case []any, *Object, nil, *Lambda:
			return nil, errorf("The provided parameters for template function 'concat' are not valid: they must be all strings or all arrays, one is of type '%s'. Please see https://aka.ms/arm-functions#concat for usage details.", TypeOf(v))
		}
	}
	return c.glue(c.Args, "")
}

func callContains(c *Call) (any, error) {
	switch in := c.Args[0].(type) {
	case string:
		part, err := String(c.Args[1])
		if err != nil {
			return nil, err
		}
		return strings.Contains(in, part), nil
	case []any:
		for _, v := range in {
			same, err := c.same(v, c.Args[1])
			if err != nil || same {
				return same, err
			}
		}
		return false, nil
	case *Object:
		name, err := c.Text(1)
		if err != nil {
			return nil, err
		}
		_, ok := in.Lookup(name)
		return ok, nil
	}
	return nil, errorf("The template language function 'contains' expects its first argument to be an array, object, or string. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#contains for usage details.", TypeOf(c.Args[0]))
}

// same compares within the budget.
func (c *Call) same(a, b any) (bool, error) {
	n := expressionSteps
	same := equal(a, b, &n)
	return same, c.Spend(expressionSteps - n)
}

func (c *Call) length() (int, error) {
	switch v := c.Args[0].(type) {
	case string:
		return units(v), nil
	case []any:
		return len(v), nil
	case *Object:
		return v.Len(), nil
	}
	return 0, errorf("The template language function '%s' expects exactly one parameter: an array, object, or a string the %s of which is determined. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#%s for usage details.", c.Name, c.Name, TypeOf(c.Args[0]), c.Name)
}

func (c *Call) end(first bool) (any, error) {
	switch v := c.Args[0].(type) {
	case string:
		n := units(v)
		switch {
		case n == 0:
			return "", nil
		case first:
			return cut(v, 0, 1), nil
		}
		return cut(v, n-1, n), nil
	case []any:
		switch {
		case len(v) == 0:
			return nil, nil
		case first:
			return v[0], nil
		}
		return v[len(v)-1], nil
	}
	return nil, errorf("The template language function '%s' expects its parameter be an array or a string. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#%s for usage details.", c.Name, TypeOf(c.Args[0]), c.Name)
}

// part is the beginning of an array or string, or what follows it.
func (c *Call) part(head bool) (any, error) {
	n, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	bound := func(length int) int { return int(min(max(n, 0), int64(length))) }
	switch v := c.Args[0].(type) {
	case string:
		size := units(v)
		if head {
			return cut(v, 0, bound(size)), nil
		}
		return cut(v, bound(size), size), nil
	case []any:
		if head {
			return append([]any{}, v[:bound(len(v))]...), nil
		}
		return append([]any{}, v[bound(len(v)):]...), nil
	}
	return nil, errorf("The template language function '%s' expects its first parameter to be an array or a string. The provided value is of type '%s'. Please see https://aka.ms/arm-functions#%s for usage details.", c.Name, TypeOf(c.Args[0]), c.Name)
}

// index is the place of a text in a string, without regard to case, or of a value in an array; -1 for none.
func (c *Call) index(last bool) (any, error) {
	found := int64(-1)
	switch in := c.Args[0].(type) {
	case string:
		part, err := c.Text(1)
		if err != nil {
			return nil, err
		}
		s, part := lower(in), lower(part)
		at := strings.Index(s, part)
		if last {
			at = strings.LastIndex(s, part)
		}
		if at > 0 {
			at = units(s[:at])
		}
		return int64(at), nil
	case []any:
		for i, v := range in {
			same, err := c.same(v, c.Args[1])
			if err != nil {
				return nil, err
			}
			if same {
				found = int64(i)
				if !last {
					break
				}
			}
		}
		return found, nil
	}
	return nil, c.wrong(0, "String")
}

func callFlatten(c *Call) (any, error) {
	list, err := c.Array(0)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, v := range list {
		inner, ok := v.([]any)
		if !ok {
			return nil, c.Fail("all elements must be of type 'Array', one is of type '%s'.", TypeOf(v))
		}
		if err := c.Spend(len(inner)); err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return out, nil
}

func (c *Call) distinct(list []any) ([]any, error) {
	out := []any{}
	for _, v := range list {
		known, err := c.has(out, v)
		if err != nil {
			return nil, err
		}
		if !known {
			out = append(out, v)
		}
	}
	return out, nil
}

func (c *Call) has(list []any, v any) (bool, error) {
	for _, w := range list {
		if same, err := c.same(v, w); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

func callIntersection(c *Call) (any, error) {
	if first, ok := c.Args[0].(*Object); ok {
		out := NewObject(0)
		for k, v := range first.All() {
			in := true
			for i := 1; i < len(c.Args) && in; i++ {
				o, err := c.Object(i)
				if err != nil {
					return nil, err
				}
				w, ok := o.Lookup(k)
				if in = ok; !in {
					break
				}
				if in, err = c.same(v, w); err != nil {
					return nil, err
				}
			}
			if in {
				out.Set(k, v)
			}
		}
		return out, nil
	}
	list, err := c.Array(0)
	if err != nil {
		return nil, err
	}
	if list, err = c.distinct(list); err != nil {
		return nil, err
	}
	for i := 1; i < len(c.Args); i++ {
		other, err := c.Array(i)
		if err != nil {
			return nil, err
		}
		kept := []any{}
		for _, v := range list {
			in, err := c.has(other, v)
			if err != nil {
				return nil, err
			}
			if in {
				kept = append(kept, v)
			}
		}
		list = kept
	}
	return list, nil
}

// callUnion merges objects deeply; arrays inside them are replaced, not merged. null does not replace.
func callUnion(c *Call) (any, error) {
	if _, ok := c.Args[0].(*Object); ok {
		out := NewObject(0)
		for i := range c.Args {
			o, err := c.Object(i)
			if err != nil {
				return nil, err
			}
			if out, err = c.merge(out, o); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	all := []any{}
	for i := range c.Args {
		list, err := c.Array(i)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return c.distinct(all)
}

func (c *Call) merge(a, b *Object) (*Object, error) {
	if err := c.Spend(1 + a.Len() + b.Len()); err != nil {
		return nil, err
	}
	out := a.Clone()
	for k, v := range b.All() {
		name := k
		old, ok := out.values[k]
		if !ok {
			if err := c.Spend(out.Len() / 16); err != nil {
				return nil, err
			}
			for _, have := range out.keys {
				if strings.EqualFold(have, k) {
					name, old = have, out.values[have]
				}
			}
		}
		x, isObject := old.(*Object)
		y, both := v.(*Object)
		if isObject && both {
			merged, err := c.merge(x, y)
			if err != nil {
				return nil, err
			}
			out.Set(name, merged)
			continue
		}
		out.Set(name, v)
	}
	return out, nil
}

func (c *Call) fromEnd(try bool) (any, error) {
	list, ok := c.Args[0].([]any)
	if !ok {
		if try && c.Args[0] == nil {
			return nil, nil
		}
		return nil, c.wrong(0, "Array")
	}
	n, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	if n < 1 || n > int64(len(list)) {
		if try {
			return nil, nil
		}
		return nil, errorf("The language expression property array index '%d' from the end is out of bounds.", n)
	}
	return list[int64(len(list))-n], nil
}
