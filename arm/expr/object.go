package expr

import (
	"errors"
	"slices"
	"strings"
)

func objects() []Func {
	return []Func{
		{Name: "createObject", Min: 0, Max: -1, Call: callCreateObject},
		{Name: "items", Min: 1, Max: 1, Call: callItems},
		{Name: "objectKeys", Min: 1, Max: 1, Call: callObjectKeys},
		{Name: "shallowMerge", Min: 1, Max: 1, Call: callShallowMerge},
		{Name: "tryGet", Min: 2, Max: -1, Call: callTryGet},
	}
}

func callCreateObject(c *Call) (any, error) {
	if len(c.Args)%2 != 0 {
		return nil, c.Fail("it requires an even number of arguments: names, each with its value.")
	}
	o := NewObject(len(c.Args) / 2)
	for i := 0; i < len(c.Args); i += 2 {
		name, err := c.Text(i)
		if err != nil {
			return nil, err
		}
		o.Set(name, c.Args[i+1])
	}
	return o, nil
}

// sortedKeys are the names of an object in the order of items: without regard to case, then as they came.
func sortedKeys(o *Object) []string {
	keys := slices.Clone(o.keys)
	slices.SortStableFunc(keys, func(a, b string) int { return strings.Compare(lower(a), lower(b)) })
	return keys
}

func callItems(c *Call) (any, error) {
	o, err := c.Object(0)
	if err != nil {
		return nil, err
	}
	if err := c.Spend(o.Len()); err != nil {
		return nil, err
	}
	out := make([]any, 0, o.Len())
	for _, k := range sortedKeys(o) {
		out = append(out, ObjectOf("key", k, "value", o.values[k]))
	}
	return out, nil
}

func callObjectKeys(c *Call) (any, error) {
	o, err := c.Object(0)
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, o.Len())
	for _, k := range sortedKeys(o) {
		out = append(out, k)
	}
	return out, nil
}

func callShallowMerge(c *Call) (any, error) {
	list, err := c.Array(0)
	if err != nil {
		return nil, err
	}
	out := NewObject(0)
	for _, v := range list {
		o, ok := v.(*Object)
		if !ok {
			return nil, c.Fail("all elements must be of type 'Object', one is of type '%s'.", TypeOf(v))
		}
		if err := c.Spend(o.Len()); err != nil {
			return nil, err
		}
		for k, member := range o.All() {
			out.Set(k, member)
		}
	}
	return out, nil
}

// callTryGet reads properties of one another and is null where one is missing. A key may be an object with value
// and fromEnd, as Bicep writes [^n].
func callTryGet(c *Call) (any, error) {
	v := c.Args[0]
	for _, key := range c.Args[1:] {
		if v == nil {
			return nil, nil
		}
		if o, ok := key.(*Object); ok {
			n, _ := o.Lookup("value")
			i, whole := n.(int64)
			if !whole {
				return nil, c.Fail("the value of an index must be of type 'Integer'.")
			}
			key = i
			if back, _ := o.Lookup("fromEnd"); back == true {
				list, ok := v.([]any)
				if !ok {
					return nil, c.Fail("an index from the end needs an array, not a value of type '%s'.", TypeOf(v))
				}
				key = int64(len(list)) - i
			}
		}
		next, err := Property(v, key)
		var gone *missing
		if errors.As(err, &gone) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		v = next
	}
	return v, nil
}
