package template

import (
	"context"
	"strconv"
	"strings"

	"vauban.dev/arm/expr"
)

// loop is a copy loop that an expression stands in; the innermost one has the others in outer.
type loop struct {
	name     string // "" for that of an output or a variable
	index    int64
	resource bool // of a resource, which copyIndex() without a name means inside of its properties
	outer    *loop
	times    int // how often what stands in it is made, the loops around it counted
}

type loopKey struct{}

// tree evaluates the expressions of a value, and its copy loops.
func (d *Deployment) tree(ctx context.Context, env *expr.Env, v any, in *loop) (any, error) {
	if in != nil {
		ctx = context.WithValue(ctx, loopKey{}, in)
	}
	return d.walk(ctx, env, v, in, 0)
}

func (d *Deployment) walk(ctx context.Context, env *expr.Env, v any, in *loop, depth int) (any, error) {
	if depth > 64 {
		return nil, &expr.Error{Message: "The template is nested deeper than 64 levels."}
	}
	switch v := v.(type) {
	case string:
		value, err := env.Text(ctx, v)
		if preview, _ := ctx.Value(previewKey{}).(bool); preview && err != nil {
			return d.rest(ctx, env, v, err)
		}
		return value, err
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = d.walk(ctx, env, item, in, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *expr.Object:
		out := expr.NewObject(v.Len())
		for key, item := range v.All() {
			if loops, ok := item.([]any); ok && strings.EqualFold(key, "copy") && copies(loops) {
				for _, l := range loops {
					c := l.(*expr.Object)
					list, err := d.copied(ctx, env, c, in)
					if err != nil {
						return nil, err
					}
					out.Set(c.Text("name"), list)
				}
				continue
			}
			name, err := env.Text(ctx, key)
			if err != nil {
				return nil, err
			}
			text, ok := name.(string)
			if !ok {
				return nil, &expr.Error{Message: "The name of a property must be a string, the expression '" + key + "' is of type '" + expr.TypeOf(name) + "'."}
			}
			value, err := d.walk(ctx, env, item, in, depth+1)
			if err != nil {
				return nil, err
			}
			out.Set(text, value)
		}
		return out, nil
	}
	return v, nil
}

// repeat refuses a loop that makes too much before it makes anything: loops inside of loops multiply what a small
// template says, constants too.
func (d *Deployment) repeat(l *loop, n int, input any) error {
	l.times = n
	if l.outer != nil {
		l.times *= max(l.outer.times, 1)
	}
	each := values(input)
	if l.times > maxRepeated/each || d.repeated.Add(int64(n*each)) > maxRepeated {
		return &expr.Error{Message: "The template copy definition '" + l.name + "' makes more than '" + strconv.Itoa(maxRepeated) + "' values with the loops around it and before it. Please see https://aka.ms/arm-resource-loops."}
	}
	return nil
}

// values is how many values there are in v, itself among them.
func values(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += values(item)
		}
	case *expr.Object:
		for _, item := range v.All() {
			n += values(item)
		}
	}
	return n
}

// rest is what remains of an expression that cannot be evaluated yet, or not without a secret.
func (d *Deployment) rest(ctx context.Context, env *expr.Env, text string, why error) (any, error) {
	x, err := expr.Parse(text)
	if err != nil {
		return nil, why
	}
	_, rest, err := x.Reduce(ctx, env, func(name string) bool { return later(name) && !strings.EqualFold(name, "copyIndex") })
	if err != nil || rest == "" {
		if Runtime(err) {
			return text, nil // a variable that waits for a resource
		}
		if _, err := env.Text(context.WithValue(ctx, judgedKey{}, true), text); err == nil {
			return masked, nil // a number of a secret is hidden by a text, which add() refuses
		}
		return nil, why
	}
	return rest, nil
}

// copies says that a list is the definition of loops.
func copies(list []any) bool {
	for _, item := range list {
		o, ok := item.(*expr.Object)
		if !ok || o.Text("name") == "" {
			return false
		}
		if _, ok := o.Lookup("count"); !ok {
			return false
		}
		if _, ok := o.Lookup("input"); !ok {
			return false
		}
	}
	return len(list) > 0
}

// copied is the array that a loop of a property, a variable or an output makes.
func (d *Deployment) copied(ctx context.Context, env *expr.Env, c *expr.Object, in *loop) ([]any, error) {
	n, err := d.count(ctx, env, c, in)
	if err != nil {
		return nil, err
	}
	input, ok := c.Lookup("input")
	if !ok {
		return nil, &expr.Error{Message: "The copy loop '" + c.Text("name") + "' has no input."}
	}
	around := &loop{name: c.Text("name"), outer: in}
	if err := d.repeat(around, n, input); err != nil {
		return nil, err
	}
	out := make([]any, n)
	for i := range out {
		if out[i], err = d.tree(ctx, env, input, &loop{name: around.name, index: int64(i), outer: in, times: around.times}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// count is how often a loop runs.
func (d *Deployment) count(ctx context.Context, env *expr.Env, c *expr.Object, in *loop) (int, error) {
	v, ok := c.Lookup("count")
	if !ok {
		return 0, &expr.Error{Message: "The copy loop '" + c.Text("name") + "' has no count."}
	}
	v, err := d.tree(ctx, env, v, in)
	if err != nil {
		if Runtime(err) {
			return 0, &expr.Error{Message: "The template function 'reference' is not expected at this location. Please see https://aka.ms/arm-functions for usage details."}
		}
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > maxCopies {
		return 0, &expr.Error{Message: "The template copy definition '" + c.Text("name") + "' has an invalid copy count. The copy count must be a non negative integer value and cannot exceed '800'. Please see https://aka.ms/arm-resource-loops."}
	}
	return int(n), nil
}

// copyIndex is the function of that name: [loop name], [offset].
func copyIndex(c *expr.Call) (any, error) {
	in, _ := c.Context().Value(loopKey{}).(*loop)
	name, offset := "", int64(0)
	for _, a := range c.Args {
		switch v := a.(type) {
		case string:
			name = v
		case int64:
			offset = v
		default:
			return nil, c.Fail("its arguments must be the name of a loop and a number.")
		}
	}
	for l := in; l != nil; l = l.outer {
		if name == "" && (l.resource || l.name == "" || l.outer == nil) || name != "" && strings.EqualFold(l.name, name) {
			return l.index + offset, nil
		}
	}
	return nil, &expr.Error{Message: "The template function 'copyIndex' is not expected at this location. The function can only be used in a resource with copy specified. Please see https://aka.ms/arm-copy for usage details."}
}
