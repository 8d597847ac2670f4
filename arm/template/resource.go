package template

import (
	"context"
	"fmt"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
)

// Resource is one resource of a deployment, a copy of a loop being one of its own.
type Resource struct {
	ID        string
	Name      string // as in the template: parent/child
	Type      string
	Version   string // api-version
	Location  string
	Symbol    string // symbolic name, "" without
	Copy      string // name of its loop, "" without
	Condition bool   // false: it is not deployed
	Existing  bool   // it is only referred to
	DependsOn []*Resource

	def  *expr.Object // as in the template
	in   *loop
	wait []*Resource // the copy before it, of a serial loop
}

// Nested says that the resource is itself a deployment.
func (r *Resource) Nested() bool { return strings.EqualFold(r.Type, "Microsoft.Resources/deployments") }

// spec is a resource of the template with what its place in it adds.
type spec struct {
	symbol string
	def    *expr.Object
	typ    string // of the parent, for a child inside of it
	name   any    // expression of the parent's name
	in     *loop
	parent *Resource
}

// readResources names all resources: children inside of parents, copies, conditions.
func (d *Deployment) readResources(ctx context.Context) error {
	switch list := d.template.resources.(type) {
	case []any:
		for i, v := range list {
			def, ok := v.(*expr.Object)
			if !ok {
				return parseFailed(fmt.Sprintf("The resource must be an object, it is of type '%s'. Path 'resources[%d]'.", expr.TypeOf(v), i))
			}
			if err := d.expand(ctx, spec{def: def}); err != nil {
				return err
			}
		}
	case *expr.Object:
		for symbol, v := range list.All() {
			def, ok := v.(*expr.Object)
			if !ok {
				return parseFailed(fmt.Sprintf("The resource must be an object, it is of type '%s'. Path 'resources.%s'.", expr.TypeOf(v), symbol))
			}
			if err := d.expand(ctx, spec{symbol: symbol, def: def}); err != nil {
				return err
			}
		}
	}
	return nil
}

// expand adds a resource, or each of its copies, with the children inside.
func (d *Deployment) expand(ctx context.Context, s spec) error {
	c, ok := s.def.Lookup("copy")
	if !ok || c == nil {
		return d.add(ctx, s)
	}
	l, ok := c.(*expr.Object)
	if !ok {
		return invalid("The copy definition of a resource must be an object")
	}
	if s.parent != nil {
		return invalid("The template resource '%s' is a child inside of its parent, copy is not supported there. Please see https://aka.ms/arm-copy for usage details", s.def.Text("name"))
	}
	name := l.Text("name")
	if v, err := d.tree(ctx, d.env, name, nil); err == nil {
		name, _ = v.(string)
	}
	if name == "" {
		name = s.symbol
	}
	if name == "" {
		return invalid("The template copy definition has no name. Please see https://aka.ms/arm-copy for usage details")
	}
	n, err := d.count(ctx, d.env, l, nil)
	if err != nil {
		return asError("the copy loop '"+name+"'", err)
	}
	serial := strings.EqualFold(l.Text("mode"), "serial")
	batch := 1
	if v, ok := l.Lookup("batchSize"); ok {
		if v, err = d.tree(ctx, d.env, v, nil); err != nil {
			return asError("the copy loop '"+name+"'", err)
		}
		size, ok := v.(int64)
		if !ok || size < 1 {
			return invalid("The batchSize of the template copy definition '%s' must be an integer greater than '0'", name)
		}
		batch, serial = int(size), serial || !strings.EqualFold(l.Text("mode"), "parallel")
	}
	around := &loop{name: name}
	if err := d.repeat(around, n, s.def); err != nil {
		return asError("the copy loop '"+name+"'", err)
	}
	var starts []int
	for i := range n {
		starts = append(starts, len(d.Resources))
		s.in = &loop{name: name, index: int64(i), resource: true, times: around.times}
		if err := d.add(ctx, s); err != nil {
			return err
		}
	}
	for i, at := range starts {
		r := d.Resources[at]
		r.Copy = name
		if serial && i >= batch {
			begin := i/batch*batch - batch
			for j := begin; j < begin+batch; j++ {
				r.wait = append(r.wait, d.Resources[starts[j]])
			}
		}
	}
	return nil
}

// add names one resource and goes on with the children inside of it.
func (d *Deployment) add(ctx context.Context, s spec) error {
	r := &Resource{Symbol: s.symbol, def: s.def, in: s.in, Condition: true}
	text := func(member string, required bool) (string, error) {
		v, ok := s.def.Lookup(member)
		if !ok || v == nil {
			if required {
				return "", invalid("The template resource '%s' is not valid: it has no %s. Please see https://aka.ms/arm-syntax-resources for usage details", s.def.Text("name"), member)
			}
			return "", nil
		}
		v, err := d.tree(ctx, d.env, v, s.in)
		if err != nil {
			if Runtime(err) {
				return "", invalid("The template resource '%s' is not valid: The template function 'reference' is not expected at this location. Please see https://aka.ms/arm-functions for usage details.", s.def.Text("name"))
			}
			return "", invalidResource(s, err)
		}
		t, ok := v.(string)
		if !ok {
			return "", invalid("The template resource '%s' is not valid: its %s must be of type 'String', it is of type '%s'", s.def.Text("name"), member, expr.TypeOf(v))
		}
		return t, nil
	}
	var err error
	for _, m := range []struct {
		member   string
		required bool
		to       *string
	}{{"type", true, &r.Type}, {"name", true, &r.Name}, {"apiVersion", false, &r.Version}, {"location", false, &r.Location}} {
		if *m.to, err = text(m.member, m.required); err != nil {
			return err
		}
	}
	if namespace, _, _ := strings.Cut(r.Type, "/"); s.parent != nil && strings.Contains(namespace, ".") && !strings.HasPrefix(strings.ToLower(r.Type), strings.ToLower(s.parent.Type)+"/") {
		// a whole type stands for itself, wherever it is written
	} else if s.parent != nil && !strings.HasPrefix(strings.ToLower(r.Type), strings.ToLower(s.parent.Type)+"/") {
		r.Type, r.Name = s.parent.Type+"/"+r.Type, s.parent.Name+"/"+r.Name
	} else if s.parent != nil && strings.Count(r.Name, "/") < strings.Count(r.Type, "/")-1 {
		r.Name = s.parent.Name + "/" + r.Name
	}
	if v, ok := s.def.Lookup("existing"); ok {
		r.Existing = v == true
	}
	if v, ok := s.def.Lookup("condition"); ok && v != nil {
		on, err := d.tree(ctx, d.env, v, s.in)
		if err != nil {
			return invalidResource(s, err)
		}
		switch on {
		case true, "true", "True":
		case false, "false", "False":
			r.Condition = false
		default:
			return invalid("The template resource '%s' is not valid: its condition must be of type 'Boolean', it is of type '%s'. Please see https://aka.ms/arm-conditions for usage details", r.Name, expr.TypeOf(on))
		}
	}
	if s.parent != nil && !s.parent.Condition {
		r.Condition = false
	}
	if r.Version == "" {
		if r.Version = d.host.Default(r.Type); r.Version == "" {
			return invalid("The template resource '%s' of type '%s' has no apiVersion. Please see https://aka.ms/arm-syntax-resources for usage details", r.Name, r.Type)
		}
	}
	if err := d.identify(ctx, r, s, text); err != nil {
		return err
	}
	if err := d.enter(r); err != nil {
		return err
	}
	return d.children(ctx, s, r)
}

func invalidResource(s spec, err error) error {
	if e := arm.AsError(err); e != nil {
		return err
	}
	return asError(fmt.Sprintf("resource '%s'", s.def.Text("name")), err)
}

// enter adds r to the resources; two of one id are refused.
func (d *Deployment) enter(r *Resource) error {
	key := strings.ToLower(r.ID)
	if old := d.byKey[key]; old != nil && (old.Condition && r.Condition) && !old.Existing && !r.Existing {
		return invalid("The resource '%s' is defined multiple times in a template. Please see https://aka.ms/arm-syntax-resources for usage details.", r.ID)
	}
	if len(d.Resources) >= maxResources {
		return invalid("The number of template resources limit exceeded. Limit: '%d' and actual: '%d'", maxResources, len(d.Resources)+1)
	}
	if old := d.byKey[key]; old == nil || !old.Condition || old.Existing {
		d.byKey[key] = r
	}
	if r.Symbol != "" {
		k := strings.ToLower(r.Symbol)
		if r.in != nil {
			k = fmt.Sprintf("%s[%d]", k, r.in.index)
		}
		d.byKey[k] = r
	}
	d.Resources = append(d.Resources, r)
	return nil
}

func (d *Deployment) children(ctx context.Context, s spec, r *Resource) error {
	v, ok := s.def.Lookup("resources")
	if !ok || v == nil {
		return nil
	}
	var err error
	child := func(symbol string, v any) error {
		def, ok := v.(*expr.Object)
		if !ok {
			return parseFailed(fmt.Sprintf("A resource inside of '%s' must be an object, it is of type '%s'.", r.Name, expr.TypeOf(v)))
		}
		return d.expand(ctx, spec{symbol: symbol, def: def, in: s.in, parent: r})
	}
	switch list := v.(type) {
	case []any:
		for _, v := range list {
			if err = child("", v); err != nil {
				return err
			}
		}
	case *expr.Object:
		for symbol, v := range list.All() {
			if err = child(symbol, v); err != nil {
				return err
			}
		}
	default:
		return parseFailed(fmt.Sprintf("The resources inside of '%s' must be an array.", r.Name))
	}
	return nil
}

// identify makes the id from type, name and scope.
func (d *Deployment) identify(_ context.Context, r *Resource, s spec, text func(string, bool) (string, error)) error {
	types, names := strings.Split(r.Type, "/"), strings.Split(strings.Trim(r.Name, "/"), "/")
	if len(types) < 2 {
		return invalid("The template resource '%s' of type '%s' is not valid: the type must have the form 'Namespace/type'. Please see https://aka.ms/arm-syntax-resources for usage details", r.Name, r.Type)
	}
	scope, err := d.scopeOf(s, text)
	if err != nil {
		return err
	}
	if r.Nested() || strings.EqualFold(types[0]+"/"+types[1], "Microsoft.Resources/resourceGroups") {
		if scope, err = d.targetScope(scope, text); err != nil {
			return err
		}
	}
	at := strings.TrimSuffix(scope, "/")
	lengths := invalid("The template resource '%s' for type '%s' has incorrect segment lengths. A nested resource type must have identical number of segments as its resource name. A root resource type must have segment length one greater than its resource name. Please see https://aka.ms/arm-syntax-resources for usage details.", r.Name, r.Type)
	for i, t := range types {
		if i > 0 && strings.EqualFold(t, "providers") { // an extension of the resource before
			if len(names) != len(types)-1 {
				return lengths
			}
			at = resourcePath(at, types[:i], names[:i-1])
			types = append([]string{names[i-1]}, types[i+1:]...)
			names = names[i:]
			break
		}
	}
	if len(names) != len(types)-1 {
		return lengths
	}
	r.ID = resourcePath(at, types, names)
	if strings.EqualFold(r.Type, "Microsoft.Resources/resourceGroups") {
		if strings.Count(at, "/") != 2 || !strings.HasPrefix(strings.ToLower(at), "/subscriptions/") {
			return invalid("The template resource '%s' of type '%s' is not supported at the scope of the deployment: resource groups are created at the scope of a subscription", r.Name, r.Type)
		}
		r.ID = at + "/resourceGroups/" + r.Name
	}
	if _, err := arm.ParseID(r.ID); err != nil {
		return invalid("The template resource '%s' of type '%s' is not valid: %s", r.Name, r.Type, arm.AsError(err).Message)
	}
	return nil
}

func resourcePath(scope string, types, names []string) string {
	var b strings.Builder
	b.WriteString(scope + "/providers/" + types[0])
	for i, n := range names {
		b.WriteString("/" + types[i+1] + "/" + n)
	}
	return b.String()
}

// scopeOf is the member scope: an id, or type and name of a resource in the deployment's scope; without it that of
// the deployment.
func (d *Deployment) scopeOf(s spec, text func(string, bool) (string, error)) (string, error) {
	scope, err := text("scope", false)
	own := d.Source.Scope.ID
	switch {
	case err != nil || scope == "":
		return own, err
	case strings.HasPrefix(scope, "/"):
		return scope, nil
	case strings.HasPrefix(strings.ToLower(scope), "microsoft.management/managementgroups/"):
		return "/providers/" + scope, nil
	}
	if r := d.byKey[strings.ToLower(scope)]; r != nil {
		return r.ID, nil
	}
	segments := strings.Split(scope, "/")
	if len(segments) < 3 || len(segments)%2 == 0 {
		return "", invalid("The scope '%s' of the template resource '%s' is not valid. Please see https://aka.ms/arm-syntax-resources for usage details", scope, s.def.Text("name"))
	}
	return strings.TrimSuffix(own, "/") + "/providers/" + scope, nil
}

// targetScope applies the members subscriptionId and resourceGroup of nested deployments.
func (d *Deployment) targetScope(scope string, text func(string, bool) (string, error)) (string, error) {
	subscription, err := text("subscriptionId", false)
	if err != nil {
		return "", err
	}
	group, err := text("resourceGroup", false)
	if err != nil || subscription == "" && group == "" {
		return scope, err
	}
	if subscription == "" {
		subscription = d.Source.Scope.Subscription
	}
	subscription = strings.TrimPrefix(subscription, "/subscriptions/")
	if group == "" {
		return "/subscriptions/" + subscription, nil
	}
	return "/subscriptions/" + subscription + "/resourceGroups/" + group, nil
}

// notBody are the members of a resource that are no part of what its provider gets.
var notBody = []string{"type", "name", "apiVersion", "dependsOn", "copy", "condition", "scope", "comments", "resources", "subscriptionId", "resourceGroup", "existing", "metadata", "asserts", "import", "extension", "@options"}

// Body is what is sent to the provider: the resource's members with their expressions evaluated. Before the
// deployment runs, a body that needs a reference is an error of which Runtime is true.
func (d *Deployment) Body(ctx context.Context, r *Resource) (*expr.Object, error) {
	def := r.def.Without(notBody...)
	var v any
	var err error
	if r.Nested() {
		v, err = d.nested(ctx, r, def)
	} else {
		v, err = d.tree(ctx, d.env, def, r.in)
	}
	if err != nil {
		return nil, asError(fmt.Sprintf("resource '%s'", r.ID), err)
	}
	body, ok := v.(*expr.Object)
	if !ok {
		return nil, invalid("The template resource '%s' is not valid", r.Name)
	}
	out := expr.NewObject(body.Len())
	for name, v := range body.All() {
		if v == nil && !strings.EqualFold(name, "properties") { // "location": null is as none
			continue
		}
		out.Set(name, v)
	}
	return out, nil
}

// Preview is Body before the deployment: what only it will know stays an expression.
func (d *Deployment) Preview(ctx context.Context, r *Resource) (*expr.Object, error) {
	return d.Body(context.WithValue(ctx, previewKey{}, true), r)
}

// Judged is Preview with the values of secure parameters, for who judges a body and shows nothing of it.
func (d *Deployment) Judged(ctx context.Context, r *Resource) (*expr.Object, error) {
	return d.Preview(context.WithValue(ctx, judgedKey{}, true), r)
}

type (
	previewKey struct{}
	judgedKey  struct{}
)
