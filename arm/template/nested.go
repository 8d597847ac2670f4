package template

import (
	"context"
	"strings"

	"vauban.dev/arm/expr"
)

// inner says that the expressions of a nested deployment's template are its own (expressionEvaluationOptions).
func (d *Deployment) inner(def *expr.Object) bool {
	p, _ := def.Lookup("properties")
	properties, _ := p.(*expr.Object)
	if properties == nil {
		return false
	}
	o, _ := properties.Lookup("expressionEvaluationOptions")
	options, _ := o.(*expr.Object)
	return options != nil && strings.EqualFold(options.Text("scope"), "Inner")
}

// nested is the body of a nested deployment. Everything but its template is evaluated here; of its template, when it
// is in the outer scope, all that can be known here: what needs resources of the nested deployment, or its copy
// loops, stays an expression for it.
func (d *Deployment) nested(ctx context.Context, r *Resource, def *expr.Object) (any, error) {
	p, _ := def.Lookup("properties")
	properties, ok := p.(*expr.Object)
	if !ok {
		return nil, &expr.Error{Message: "The nested deployment '" + r.Name + "' has no properties."}
	}
	raw, has := properties.Lookup("template")
	v, err := d.tree(ctx, d.env, overlaid(def, expr.ObjectOf("properties", properties.Without("template"))), r.in)
	if err != nil || !has {
		return v, err
	}
	body := v.(*expr.Object)
	if text, ok := raw.(string); ok {
		if raw, err = d.tree(ctx, d.env, text, r.in); err != nil {
			return nil, err
		}
	} else if !d.inner(def) {
		if r.in != nil {
			ctx = context.WithValue(ctx, loopKey{}, r.in)
		}
		if raw, err = d.substitute(ctx, raw, 0); err != nil {
			return nil, err
		}
	}
	inside, _ := body.Get("properties")
	full := inside.(*expr.Object).Clone()
	full.Set("template", raw)
	out := body.Clone()
	out.Set("properties", full)
	return out, nil
}

// later are the functions that only the nested deployment can evaluate.
func later(name string) bool {
	n := strings.ToLower(name)
	return n == "reference" || n == "references" || n == "copyindex" || len(n) > 4 && strings.HasPrefix(n, "list")
}

// substitute evaluates what it can of a nested template in the outer scope.
func (d *Deployment) substitute(ctx context.Context, v any, depth int) (any, error) {
	if depth > 64 {
		return nil, &expr.Error{Message: "The template is nested deeper than 64 levels."}
	}
	switch v := v.(type) {
	case string:
		if !expr.IsExpression(v) {
			return v, nil
		}
		x, err := expr.Parse(v)
		if err != nil {
			return nil, err
		}
		value, rest, err := x.Reduce(ctx, d.env, later)
		if err != nil || rest != "" {
			return rest, err
		}
		return escaped(value), nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = d.substitute(ctx, item, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *expr.Object:
		if d.inner(v) && strings.EqualFold(v.Text("type"), "Microsoft.Resources/deployments") {
			return d.substituteAround(ctx, v, depth)
		}
		out := expr.NewObject(v.Len())
		for name, item := range v.All() {
			value, err := d.substitute(ctx, item, depth+1)
			if err != nil {
				return nil, err
			}
			out.Set(name, value)
		}
		return out, nil
	}
	return v, nil
}

// substituteAround leaves the template of an inner deployment alone.
func (d *Deployment) substituteAround(ctx context.Context, def *expr.Object, depth int) (any, error) {
	p, _ := def.Lookup("properties")
	properties := p.(*expr.Object)
	t, _ := properties.Lookup("template")
	bare := overlaid(def, expr.ObjectOf("properties", properties.Without("template", "expressionEvaluationOptions")))
	v, err := d.substitute(ctx, bare, depth+1)
	if err != nil {
		return nil, err
	}
	out := v.(*expr.Object).Clone()
	inside, _ := out.Get("properties")
	full := inside.(*expr.Object).Clone()
	options, _ := properties.Lookup("expressionEvaluationOptions")
	full.Set("expressionEvaluationOptions", options)
	full.Set("template", t)
	out.Set("properties", full)
	return out, nil
}

// escaped makes texts literals of a template.
func escaped(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") {
			return "[" + v
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = escaped(item)
		}
		return out
	case *expr.Object:
		out := expr.NewObject(v.Len())
		for name, item := range v.All() {
			out.Set(name, escaped(item))
		}
		return out
	}
	return v
}
