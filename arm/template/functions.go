package template

import (
	"context"
	"errors"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
)

// functions are those of a template besides the built-in ones of the language.
func (d *Deployment) functions() expr.Table {
	t := expr.Table{}
	t.Add(
		expr.Func{Name: "parameters", Min: 1, Max: 1, Call: d.callParameters},
		expr.Func{Name: "variables", Min: 1, Max: 1, Call: func(c *expr.Call) (any, error) {
			name, err := c.Text(0)
			if err != nil {
				return nil, err
			}
			return d.variable(c.Context(), name)
		}},
		expr.Func{Name: "copyIndex", Max: 2, Call: copyIndex},
		expr.Func{Name: "deployment", Call: func(*expr.Call) (any, error) { return d.about(), nil }},
		expr.Func{Name: "resourceGroup", Max: 2, Call: d.fact("resourceGroup")},
		expr.Func{Name: "subscription", Max: 1, Call: d.fact("subscription")},
		expr.Func{Name: "managementGroup", Max: 1, Call: d.fact("managementGroup")},
		expr.Func{Name: "tenant", Call: d.fact("tenant")},
		expr.Func{Name: "environment", Call: d.fact("environment")},
		expr.Func{Name: "deployer", Call: d.fact("deployer")},
		expr.Func{Name: "providers", Min: 1, Max: 2, Call: d.callProviders},
		expr.Func{Name: "pickZones", Min: 3, Max: 5, Call: callPickZones},
		expr.Func{Name: "resourceId", Min: 2, Max: -1, Call: d.callResourceID},
		expr.Func{Name: "subscriptionResourceId", Min: 2, Max: -1, Call: d.callSubscriptionResourceID},
		expr.Func{Name: "tenantResourceId", Min: 2, Max: -1, Call: func(c *expr.Call) (any, error) { return under(c, "", 0) }},
		expr.Func{Name: "managementGroupResourceId", Min: 2, Max: -1, Call: d.callManagementGroupResourceID},
		expr.Func{Name: "extensionResourceId", Min: 3, Max: -1, Call: func(c *expr.Call) (any, error) {
			scope, err := c.Text(0)
			if err != nil {
				return nil, err
			}
			return under(c, strings.TrimSuffix(scope, "/"), 1)
		}},
		expr.Func{Name: "resourceInfo", Min: 1, Max: 1, Call: d.callResourceInfo},
		expr.Func{Name: "reference", Min: 1, Max: 3, Call: d.callReference},
		expr.Func{Name: "references", Min: 1, Max: 2, Call: d.callReferences},
	)
	for _, f := range d.template.functions {
		t.Add(d.userFunction(f))
	}
	return t
}

// unknown are the list* functions.
func (d *Deployment) unknown(name string) (expr.Func, bool) {
	if len(name) < 5 || !strings.EqualFold(name[:4], "list") || strings.Contains(name, ".") {
		return expr.Func{}, false
	}
	return expr.Func{Name: name, Min: 2, Max: 3, Call: d.callList}, true
}

func (d *Deployment) callParameters(c *expr.Call) (any, error) {
	name, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	if d.parameters != nil {
		if v, ok := d.parameters.Lookup(name); ok {
			if hides(c.Context()) && d.secure(name) {
				return hidden(v), nil
			}
			return v, nil
		}
	}
	return d.parameter(c.Context(), name)
}

// masked stands for a secret in a preview.
const masked = "*******"

// hides says that secrets are hidden: in a preview that is shown.
func hides(ctx context.Context) bool {
	preview, _ := ctx.Value(previewKey{}).(bool)
	judged, _ := ctx.Value(judgedKey{}).(bool)
	return preview && !judged
}

// hidden is a secret as previews show it: its members and elements are there to be asked for, their values are not.
func hidden(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case *expr.Object:
		out := expr.NewObject(v.Len())
		for name, member := range v.All() {
			out.Set(name, hidden(member))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = hidden(v[i])
		}
		return out
	}
	return masked
}

func (d *Deployment) secure(name string) bool {
	def, _ := d.template.parameters.Lookup(name)
	o, _ := def.(*expr.Object)
	s, err := d.schemaOf(o)
	return err != nil || s.secure
}

// about is the object of deployment(). In a deployment of a subscription or above it has a location.
func (d *Deployment) about() *expr.Object {
	p := expr.ObjectOf("mode", "Incremental", "provisioningState", "Accepted")
	if d.Source.Link != nil {
		p.Set("templateLink", d.Source.Link)
	} else {
		p.Set("template", d.Source.Template)
		p.Set("templateHash", Hash(d.Source.Template))
	}
	if d.Source.Parameters != nil {
		p.Set("parameters", d.shownParameters())
	}
	o := expr.ObjectOf("name", d.Source.Name)
	if d.Source.Scope.Kind != ResourceGroup {
		o.Set("location", d.Source.Location)
	}
	o.Set("properties", p)
	return o
}

// Sent are the parameters as they were sent, without values that are secret.
func (d *Deployment) Sent() *expr.Object {
	if d.Source.Parameters == nil {
		return nil
	}
	return d.shownParameters()
}

// shownParameters are the parameters as sent, without values that are secret.
func (d *Deployment) shownParameters() *expr.Object {
	out := expr.NewObject(0)
	for name, v := range d.Source.Parameters.All() {
		if def, ok := d.template.parameters.Lookup(name); ok {
			if o, ok := def.(*expr.Object); ok {
				if s, err := d.schemaOf(o); err != nil || s.secure {
					continue
				}
			}
		}
		out.Set(name, v)
	}
	return out
}

// fact asks the host for the object of a scope function; an argument names another subscription or group.
func (d *Deployment) fact(what string) func(*expr.Call) (any, error) {
	return func(c *expr.Call) (any, error) {
		s := d.Source.Scope
		id := s.ID
		var args []string
		for i := range c.Args {
			a, err := c.Text(i)
			if err != nil {
				return nil, err
			}
			args = append(args, a)
		}
		switch {
		case what == "resourceGroup" && len(args) == 2:
			id = "/subscriptions/" + args[0] + "/resourceGroups/" + args[1]
		case what == "resourceGroup" && len(args) == 1:
			id = "/subscriptions/" + s.Subscription + "/resourceGroups/" + args[0]
		case what == "subscription" && len(args) == 1:
			id = "/subscriptions/" + args[0]
		case what == "managementGroup" && len(args) == 1:
			id = "/providers/Microsoft.Management/managementGroups/" + args[0]
		case what == "resourceGroup" && s.Kind != ResourceGroup, what == "subscription" && s.Subscription == "", what == "managementGroup" && s.Kind != ManagementGroup:
			return nil, &expr.Error{Message: "The template function '" + c.Name + "' is not expected at this location. It is not available in deployments at the scope '" + string(s.Kind) + "'. Please see https://aka.ms/arm-functions for usage details."}
		case what == "subscription":
			id = "/subscriptions/" + s.Subscription
		}
		o, err := d.host.Facts(c.Context(), what, id)
		if err != nil {
			return nil, err
		}
		if o == nil {
			return nil, &expr.Error{Message: "The template function '" + c.Name + "' has no value here."}
		}
		return o, nil
	}
}

func (d *Deployment) callProviders(c *expr.Call) (any, error) {
	namespace, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	typ := ""
	if len(c.Args) == 2 {
		if typ, err = c.Text(1); err != nil {
			return nil, err
		}
	}
	return d.host.Providers(c.Context(), namespace, typ)
}

// callPickZones gives the first zones of a region; every region of the list has three.
func callPickZones(c *expr.Call) (any, error) {
	n, offset := int64(1), int64(0)
	var err error
	for i, to := range []*int64{&n, &offset} {
		if len(c.Args) > 3+i {
			if *to, err = c.Int(3 + i); err != nil {
				return nil, err
			}
		}
	}
	if n < 1 || offset < 0 || n+offset > 3 {
		return nil, c.Fail("the region has '3' zones, '%d' from '%d' are asked for.", n, offset)
	}
	out := []any{}
	for i := range n {
		out = append(out, string(rune('1'+offset+i)))
	}
	return out, nil
}

// callResourceID is resourceId([subscription], [group], type, name…). In deployments above a group it is an id of
// their scope.
func (d *Deployment) callResourceID(c *expr.Call) (any, error) {
	at, err := typeAt(c)
	if err != nil {
		return nil, err
	}
	s := d.Source.Scope
	subscription, group := s.Subscription, s.Group
	switch at {
	case 1:
		if s.Kind == ResourceGroup {
			group, _ = c.Text(0)
		} else {
			subscription, _ = c.Text(0)
		}
	case 2:
		subscription, _ = c.Text(0)
		group, _ = c.Text(1)
	}
	scope := ""
	switch {
	case group != "":
		scope = "/subscriptions/" + subscription + "/resourceGroups/" + group
	case subscription != "":
		scope = "/subscriptions/" + subscription
	}
	return under(c, scope, at)
}

func (d *Deployment) callSubscriptionResourceID(c *expr.Call) (any, error) {
	at, err := typeAt(c)
	if err != nil {
		return nil, err
	}
	subscription := d.Source.Scope.Subscription
	if at == 1 {
		subscription, _ = c.Text(0)
	}
	return under(c, "/subscriptions/"+subscription, at)
}

func (d *Deployment) callManagementGroupResourceID(c *expr.Call) (any, error) {
	at, err := typeAt(c)
	if err != nil {
		return nil, err
	}
	group := d.Source.Scope.ManagementGroup
	if at == 1 {
		group, _ = c.Text(0)
	}
	return under(c, "/providers/Microsoft.Management/managementGroups/"+group, at)
}

// typeAt is the place of the resource type among the arguments: the first with a slash.
func typeAt(c *expr.Call) (int, error) {
	for i := range c.Args {
		s, err := c.Text(i)
		if err != nil {
			return 0, err
		}
		if strings.Contains(s, "/") {
			if i > 2 {
				break
			}
			return i, nil
		}
	}
	return 0, &expr.Error{Message: "Unable to evaluate template language function '" + c.Name + "': function requires fully qualified resource type 'Microsoft.Compute/virtualMachines' as one of first arguments. Please see https://aka.ms/arm-resource-functions/#resourceid for usage details."}
}

// under makes the id of a resource from the arguments from the type on.
func under(c *expr.Call, scope string, at int) (any, error) {
	typ, err := c.Text(at)
	if err != nil {
		return nil, err
	}
	segments := strings.Split(strings.TrimSuffix(typ, "/"), "/") // real templates have types that end with a slash
	names := c.Args[at+1:]
	if len(segments) < 2 {
		return nil, &expr.Error{Message: "Unable to evaluate template language function '" + c.Name + "': function requires fully qualified resource type 'Microsoft.Compute/virtualMachines' as one of first arguments. Please see https://aka.ms/arm-resource-functions/#resourceid for usage details."}
	}
	var parts []string
	for _, n := range names {
		s, ok := n.(string)
		if !ok {
			return nil, c.Fail("all arguments must be of type 'String', one is of type '%s'.", expr.TypeOf(n))
		}
		parts = append(parts, s)
	}
	if len(parts) == 1 && len(segments) > 2 && strings.Count(parts[0], "/") == len(segments)-2 {
		parts = strings.Split(parts[0], "/")
	}
	if len(parts) != len(segments)-1 {
		return nil, c.Fail("the type '%s' requires '%d' resource name argument(s).", typ, len(segments)-1)
	}
	var b strings.Builder
	b.WriteString(scope + "/providers/" + segments[0])
	if scope != "" && strings.EqualFold(typ, "Microsoft.Resources/resourceGroups") && strings.Count(scope, "/") == 2 {
		return scope + "/resourceGroups/" + parts[0], nil
	}
	if strings.EqualFold(typ, "Microsoft.Resources/subscriptions") && scope == "" {
		return "/subscriptions/" + parts[0], nil
	}
	for i, p := range parts {
		b.WriteString("/" + segments[i+1] + "/" + p)
	}
	return b.String(), nil
}

func (d *Deployment) callResourceInfo(c *expr.Call) (any, error) {
	name, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	r := d.byKey[strings.ToLower(name)]
	if r == nil {
		return nil, undefined(name)
	}
	return expr.ObjectOf("id", r.ID, "name", r.Name, "type", r.Type, "apiVersion", r.Version), nil
}

func undefined(name string) error {
	return &expr.Error{Message: "The resource '" + name + "' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details."}
}

// target is the resource that an argument of reference or list* means: of the template by symbolic name, id, type and
// name, or name; or any by id.
func (d *Deployment) target(arg string) (id string, r *Resource, err error) {
	if r := d.find(arg); r != nil {
		return r.ID, r, nil
	}
	if strings.HasPrefix(arg, "/") {
		return arg, nil, nil
	}
	if segments := strings.Split(arg, "/"); len(segments) >= 3 && len(segments)%2 == 1 && strings.Contains(segments[0], ".") && d.Source.Scope.Kind != Tenant {
		return strings.TrimSuffix(d.Source.Scope.ID, "/") + "/providers/" + arg, nil, nil // type and name of a resource in this scope
	}
	return "", nil, undefined(arg)
}

func (d *Deployment) callReference(c *expr.Call) (any, error) {
	arg, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	version, full := "", false
	for i := 1; i < len(c.Args); i++ {
		s, err := c.Text(i)
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(s, "Full") && i == len(c.Args)-1 {
			full = true
		} else {
			version = s
		}
	}
	return d.reference(c.Context(), arg, version, full)
}

func (d *Deployment) reference(ctx context.Context, arg, version string, full bool) (any, error) {
	if !d.ready {
		return nil, errRuntime
	}
	id, r, err := d.target(arg)
	if err != nil {
		return nil, err
	}
	switch {
	case r != nil && !r.Condition && !r.Existing:
		return nil, undefined(arg)
	case r != nil && version == "":
		version = r.Version
	case version == "":
		return nil, &expr.Error{Message: "The resource '" + arg + "' is not defined in the template. A reference to a resource outside of the template needs an api-version. Please see https://aka.ms/arm-syntax for usage details."}
	}
	body, err := d.host.Read(ctx, id, version)
	if err != nil {
		return nil, err
	}
	if !full {
		p, ok := body.Lookup("properties")
		if !ok {
			p = body
		}
		return p, nil
	}
	out := body.Without("id", "name", "type")
	out.Set("apiVersion", version)
	out.Set("resourceId", id)
	if parsed, err := arm.ParseID(id); err == nil {
		if s := parsed.Subscription(); s != "" {
			out.Set("subscriptionId", s)
		}
		if g := parsed.ResourceGroup(); g != "" {
			out.Set("resourceGroupName", g)
		}
		if scope := parsed.Scope(); scope.Namespace() != "" {
			out.Set("scope", strings.TrimPrefix(strings.TrimPrefix(scope.String(), scope.Scope().String()), "/providers/"))
		} else {
			out.Set("scope", "")
		}
	}
	return out, nil
}

// callReferences is the function of collections: what reference is for each resource of a copy loop.
func (d *Deployment) callReferences(c *expr.Call) (any, error) {
	name, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	full := false
	if len(c.Args) == 2 {
		s, err := c.Text(1)
		if err != nil {
			return nil, err
		}
		full = strings.EqualFold(s, "Full")
	}
	if !d.ready {
		return nil, errRuntime
	}
	out := []any{}
	for _, r := range d.Resources {
		if strings.EqualFold(r.Copy, name) {
			v, err := d.reference(c.Context(), r.ID, r.Version, full)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	}
	return out, nil
}

func (d *Deployment) callList(c *expr.Call) (any, error) {
	arg, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	version, err := c.Text(1)
	if err != nil {
		return nil, err
	}
	if !d.ready {
		return nil, errRuntime
	}
	id, _, err := d.target(arg)
	if err != nil {
		return nil, err
	}
	if preview, _ := c.Context().Value(previewKey{}).(bool); preview {
		return nil, errRuntime // keys are no matter of a preview
	}
	var body any
	if len(c.Args) == 3 {
		body = c.Args[2]
	}
	return d.host.List(c.Context(), id, c.Name, version, body)
}

// userFunction is a function that the template defines.
type userFunction struct {
	name       string // namespace.name
	parameters []*expr.Object
	output     *expr.Object
}

// maxCalls is how deep user functions may call each other.
const maxCalls = 32

type callDepth struct{}

func userFunctions(root *expr.Object) (map[string]*userFunction, error) {
	all := map[string]*userFunction{}
	v, _ := root.Lookup("functions")
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, parseFailed("The value of 'functions' must be an array. Path 'functions'.")
	}
	for _, item := range list {
		ns, ok := item.(*expr.Object)
		if !ok || ns.Text("namespace") == "" {
			return nil, parseFailed("Each element of 'functions' needs a namespace. Path 'functions'.")
		}
		members, _ := ns.Lookup("members")
		m, _ := members.(*expr.Object)
		for name, def := range m.All() {
			o, ok := def.(*expr.Object)
			if !ok {
				return nil, parseFailed("The function '" + name + "' must be an object. Path 'functions'.")
			}
			f := &userFunction{name: ns.Text("namespace") + "." + name}
			parameters, _ := o.Lookup("parameters")
			plist, _ := parameters.([]any)
			for _, p := range plist {
				po, ok := p.(*expr.Object)
				if !ok || po.Text("name") == "" {
					return nil, parseFailed("Each parameter of the function '" + f.name + "' needs a name. Path 'functions'.")
				}
				f.parameters = append(f.parameters, po)
			}
			output, _ := o.Lookup("output")
			if f.output, ok = output.(*expr.Object); !ok {
				return nil, parseFailed("The function '" + f.name + "' needs an output. Path 'functions'.")
			}
			all[strings.ToLower(f.name)] = f
		}
	}
	return all, nil
}

// userFunction makes it callable. Inside it sees its own parameters, other user functions and the pure functions:
// neither variables nor references ("User-defined functions in ARM template: limitations").
func (d *Deployment) userFunction(f *userFunction) expr.Func {
	return expr.Func{Name: f.name, Min: len(f.parameters), Max: len(f.parameters), Call: func(c *expr.Call) (any, error) {
		depth, _ := c.Context().Value(callDepth{}).(int)
		if depth >= maxCalls {
			return nil, &expr.Error{Message: "The template function '" + f.name + "' calls itself."}
		}
		ctx := context.WithValue(c.Context(), callDepth{}, depth+1)
		values := expr.NewObject(len(c.Args))
		for i, p := range f.parameters {
			s, err := d.schemaOf(p)
			if err != nil {
				return nil, err
			}
			if why := s.violation(d, c.Args[i], p.Text("name")); why != "" {
				return nil, c.Fail("its parameter '%s' is not valid: %s.", p.Text("name"), strings.TrimSuffix(why, "."))
			}
			values.Set(p.Text("name"), c.Args[i])
		}
		none := func(name string) expr.Func {
			return expr.Func{Name: name, Max: -1, Call: func(*expr.Call) (any, error) {
				return nil, &expr.Error{Message: "The template function '" + name + "' is not expected at this location. It is not available in user functions. Please see https://aka.ms/arm-template-functions for usage details."}
			}}
		}
		own := expr.Table{}
		own.Add(expr.Func{Name: "parameters", Min: 1, Max: 1, Call: func(c *expr.Call) (any, error) {
			name, err := c.Text(0)
			if err != nil {
				return nil, err
			}
			if v, ok := values.Lookup(name); ok {
				return v, nil
			}
			return nil, parameterMissing(name)
		}}, none("reference"), none("references"))
		if !d.template.symbolic {
			own.Add(none("variables"))
		}
		value, ok := f.output.Lookup("value")
		if !ok {
			return nil, c.Fail("it has no value.")
		}
		return d.walk(ctx, d.env.With(own), value, nil, 0)
	}}
}

func parameterMissing(name string) error {
	return &expr.Error{Message: "The template parameter '" + name + "' is not found. Please see https://aka.ms/arm-syntax-parameters for usage details."}
}

// asError is err as the refusal of the template.
func asError(what string, err error) error {
	var e *expr.Error
	if errors.As(err, &e) {
		return unprocessable(what, err)
	}
	return err
}
