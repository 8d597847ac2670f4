package template

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"vauban.dev/arm/expr"
)

// find is the resource of the template that a text names: symbolic name, id, type and name, or name alone.
func (d *Deployment) find(text string) *Resource {
	if r := d.byKey[strings.ToLower(strings.TrimSuffix(text, "/"))]; r != nil {
		return r
	}
	var found *Resource
	for _, r := range d.Resources {
		if strings.EqualFold(r.Name, text) || strings.EqualFold(typed(r), text) || strings.EqualFold(r.Type+"/"+r.Name, text) || strings.EqualFold(r.Type+r.Name, text) {
			if found == nil || !found.Condition {
				found = r
			}
		}
	}
	return found
}

// typed is type and name with each name after its type: Microsoft.Network/virtualNetworks/v/subnets/s.
func typed(r *Resource) string {
	types, names := strings.Split(r.Type, "/"), strings.Split(r.Name, "/")
	if len(types) != len(names)+1 {
		return ""
	}
	return strings.TrimPrefix(resourcePath("", types, names), "/providers/")
}

// readDependencies fills in DependsOn: what dependsOn names, what references and list* functions mean, and the copies
// before it in a serial loop.
func (d *Deployment) readDependencies(ctx context.Context) error {
	for _, r := range d.Resources {
		seen := map[*Resource]bool{r: true}
		add := func(on *Resource) {
			if !seen[on] {
				seen[on] = true
				r.DependsOn = append(r.DependsOn, on)
			}
		}
		if err := d.declared(ctx, r, add); err != nil {
			return err
		}
		if !r.Existing && r.Condition {
			d.implied(ctx, r, r.def, add)
		}
		for _, w := range r.wait {
			add(w)
		}
	}
	return nil
}

func (d *Deployment) declared(ctx context.Context, r *Resource, add func(*Resource)) error {
	v, ok := r.def.Lookup("dependsOn")
	if !ok || v == nil {
		return nil
	}
	v, err := d.tree(ctx, d.env, v, r.in)
	if err != nil {
		if Runtime(err) {
			err = &expr.Error{Message: "The template function 'reference' is not expected at this location. Please see https://aka.ms/arm-functions for usage details."}
		}
		return asError(fmt.Sprintf("resource '%s'", r.ID), err)
	}
	list, ok := v.([]any)
	if !ok {
		if s, isText := v.(string); isText {
			list = []any{s}
		} else {
			return invalid("The dependsOn of the template resource '%s' must be an array of strings", r.Name)
		}
	}
	for _, item := range list {
		name, ok := item.(string)
		if !ok {
			return invalid("The dependsOn of the template resource '%s' must be an array of strings, one element is of type '%s'", r.Name, expr.TypeOf(item))
		}
		if copies := d.loop(name); len(copies) > 0 {
			for _, c := range copies {
				add(c)
			}
			continue
		}
		on := d.find(name)
		// Who is not deployed waits for nobody, and may name what is not there.
		if on == nil && (!r.Condition || d.defined(name)) {
			continue
		}
		if on == nil {
			return invalid("The resource '%s' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details.", strings.TrimPrefix(name, strings.TrimSuffix(d.Source.Scope.ID, "/")+"/providers/"))
		}
		if on == r {
			return circular(r)
		}
		add(on)
	}
	return nil
}

// loop are the resources of a copy loop.
func (d *Deployment) loop(name string) []*Resource {
	var all []*Resource
	for _, r := range d.Resources {
		if r.Copy != "" && strings.EqualFold(r.Copy, name) {
			all = append(all, r)
		}
	}
	return all
}

// defined says that a name is that of a loop or of a symbolic resource without any copies.
func (d *Deployment) defined(name string) bool {
	has := func(def *expr.Object, symbol string) bool {
		c, _ := def.Lookup("copy")
		l, ok := c.(*expr.Object)
		return ok && (strings.EqualFold(l.Text("name"), name) || strings.EqualFold(symbol, name))
	}
	switch list := d.template.resources.(type) {
	case []any:
		for _, v := range list {
			if def, ok := v.(*expr.Object); ok && has(def, "") {
				return true
			}
		}
	case *expr.Object:
		for symbol, v := range list.All() {
			if def, ok := v.(*expr.Object); ok && has(def, symbol) {
				return true
			}
		}
	}
	return false
}

// implied finds the resources of the template that a resource reads: a reference is a dependency.
func (d *Deployment) implied(ctx context.Context, r *Resource, v any, add func(*Resource)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			d.implied(ctx, r, item, add)
		}
	case *expr.Object:
		for name, item := range v.All() {
			if v == r.def && slices.ContainsFunc([]string{"resources", "dependsOn", "copy"}, func(n string) bool { return strings.EqualFold(n, name) }) {
				continue
			}
			if r.Nested() && strings.EqualFold(name, "template") {
				if d.inner(r.def) {
					continue
				}
			}
			d.implied(ctx, r, item, add)
		}
	case string:
		d.impliedBy(ctx, r, v, add, map[string]bool{})
	}
}

// impliedBy looks at the calls of one expression, and into the variables that it reads.
func (d *Deployment) impliedBy(ctx context.Context, r *Resource, text string, add func(*Resource), seen map[string]bool) {
	if !expr.IsExpression(text) {
		return
	}
	x, err := expr.Parse(text)
	if err != nil {
		return // refused when it is evaluated
	}
	in := r.in
	if in != nil {
		ctx = context.WithValue(ctx, loopKey{}, in)
	}
	for _, call := range x.Calls() {
		name := strings.ToLower(call.Name)
		if len(call.Args) == 0 {
			continue
		}
		if name == "variables" {
			d.impliedByVariable(ctx, r, call, add, seen)
			continue
		}
		if name != "reference" && name != "references" && !strings.HasPrefix(name, "list") {
			continue
		}
		v, err := call.Args[0].Eval(ctx, d.env)
		s, ok := v.(string)
		if err != nil || !ok {
			continue
		}
		if name == "references" {
			for _, c := range d.loop(s) {
				add(c)
			}
			continue
		}
		if on := d.find(s); on != nil && on != r {
			add(on)
		}
	}
}

func (d *Deployment) impliedByVariable(ctx context.Context, r *Resource, call expr.CallSite, add func(*Resource), seen map[string]bool) {
	v, err := call.Args[0].Eval(ctx, d.env)
	name, ok := v.(string)
	key := strings.ToLower(name)
	if err != nil || !ok || seen[key] || d.variables[key] == nil {
		return
	}
	seen[key] = true
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			d.impliedBy(ctx, r, v, add, seen)
		case []any:
			for _, item := range v {
				walk(item)
			}
		case *expr.Object:
			for _, item := range v.All() {
				walk(item)
			}
		}
	}
	walk(d.variables[key].input)
}

func circular(r *Resource) error {
	return invalid("Circular dependency detected on resource: '%s'. Please see https://aka.ms/arm-syntax-resources for usage details.", r.ID)
}

// checkCycles refuses resources that wait for each other.
func (d *Deployment) checkCycles() error {
	const open, done = 1, 2
	state := map[*Resource]int{}
	var visit func(r *Resource) *Resource
	visit = func(r *Resource) *Resource {
		switch state[r] {
		case open:
			return r
		case done:
			return nil
		}
		state[r] = open
		for _, on := range r.DependsOn {
			if bad := visit(on); bad != nil {
				return bad
			}
		}
		state[r] = done
		return nil
	}
	for _, r := range d.Resources {
		if bad := visit(r); bad != nil {
			return circular(bad)
		}
	}
	return nil
}
