package template

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
)

// Deployment is a template read for one deployment: its parameters are known and its resources named. Its methods may
// be called by several goroutines.
type Deployment struct {
	Source    Source
	Resources []*Resource

	template   *Template
	host       Host
	parameters *expr.Object // name, as declared, to value
	partial    *expr.Object // lower-case name to value, while they are read
	variables  map[string]*variable
	env        *expr.Env
	byKey      map[string]*Resource // by lower-case id, and by symbolic name
	ready      bool                 // references can be read
	repeated   atomic.Int64         // values that copy loops make
}

// variable is evaluated when it is asked for first.
type variable struct {
	mu            sync.Mutex
	name          string
	input         any
	copy          *expr.Object // of an element of variables.copy
	known, hidden result       // hidden is for previews: what the value shows when the secrets in it are hidden
}

// result is the value of a variable once it was evaluated.
type result struct {
	done  bool
	value any
}

// errRuntime is the error of what can be known during the deployment only.
var errRuntime = errors.New("template: known at run time only")

// Runtime says that an error means: not before the deployment.
func Runtime(err error) bool { return errors.Is(err, errRuntime) }

// Read checks a template with its parameters and lays out its resources. Errors are *arm.Error: InvalidTemplate with
// Azure's text, or what the host says of a secret.
func Read(ctx context.Context, host Host, s Source) (*Deployment, error) {
	t, err := Parse(s.Template)
	if err != nil {
		return nil, err
	}
	if err := fits(t, s.Scope); err != nil {
		return nil, err
	}
	d := &Deployment{Source: s, template: t, host: host, variables: map[string]*variable{}, byKey: map[string]*Resource{}}
	d.env = &expr.Env{Functions: d.functions(), Unknown: d.unknown, Budget: expr.NewBudget(expr.TemplateSteps)}
	if err := d.readParameters(ctx); err != nil {
		return nil, err
	}
	if err := d.declareVariables(); err != nil {
		return nil, err
	}
	if err := d.readResources(ctx); err != nil {
		return nil, err
	}
	if err := d.readDependencies(ctx); err != nil {
		return nil, err
	}
	if err := d.checkCycles(); err != nil {
		return nil, err
	}
	if err := d.check(ctx); err != nil {
		return nil, err
	}
	d.ready = true
	return d, nil
}

// fits refuses a template of one scope at another.
func fits(t *Template, s Scope) error {
	if kind := schemaKind(t.schema); kind != s.Kind {
		return invalid("The template schema '%s' is not supported at the scope of the deployment. A deployment at the scope '%s' needs a template of that scope. Please see https://aka.ms/arm-syntax for usage details", t.schema, s.Kind)
	}
	return nil
}

// check evaluates what can be known before the deployment, to refuse early: variables, bodies, outputs.
func (d *Deployment) check(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(d.variables)) { // of several refusals always the same
		if _, err := d.variable(ctx, d.variables[name].name); err != nil && !Runtime(err) {
			return d.variableError(d.variables[name].name, err)
		}
	}
	for _, r := range d.Resources {
		if !r.Condition || r.Existing {
			continue
		}
		if _, err := d.Body(ctx, r); err != nil && !Runtime(err) {
			return err
		}
	}
	for name, v := range d.template.outputs.All() {
		if _, err := d.output(ctx, name, v); err != nil && !Runtime(err) {
			return err
		}
	}
	return d.checkAsserts(ctx)
}

func (d *Deployment) checkAsserts(ctx context.Context) error {
	for name, v := range d.template.asserts.All() {
		value, err := d.tree(ctx, d.env, v, nil)
		if Runtime(err) {
			continue
		}
		if err != nil {
			return unprocessable("assert '"+name+"'", err)
		}
		if value != true {
			return invalid("The template assertion '%s' failed", name)
		}
	}
	return nil
}

// variableError names the variable, unless the error speaks of something deeper already.
func (d *Deployment) variableError(name string, err error) error {
	var e *expr.Error
	if errors.As(err, &e) {
		return invalid("The template variable '%s' is not valid: %s. Please see https://aka.ms/arm-functions for usage details.", name, strings.TrimSuffix(e.Message, "."))
	}
	return err
}

// declareVariables lists the variables without evaluating them.
func (d *Deployment) declareVariables() error {
	for name, v := range d.template.variables.All() {
		if strings.EqualFold(name, "copy") {
			if list, ok := v.([]any); ok {
				for _, item := range list {
					c, ok := item.(*expr.Object)
					if !ok || c.Text("name") == "" {
						return invalid("The template variable copy definition is not valid: each element needs a name, a count and an input")
					}
					d.variables[strings.ToLower(c.Text("name"))] = &variable{name: c.Text("name"), copy: c}
				}
				continue
			}
		}
		d.variables[strings.ToLower(name)] = &variable{name: name, input: v}
	}
	return nil
}

type openVariables struct{}

// variable evaluates a variable once.
func (d *Deployment) variable(ctx context.Context, name string) (any, error) {
	key := strings.ToLower(name)
	v := d.variables[key]
	if v == nil {
		return nil, &expr.Error{Message: "The template variable '" + name + "' is not found. Please see https://aka.ms/arm-syntax-variables for usage details."}
	}
	open, _ := ctx.Value(openVariables{}).(*openNames)
	if open.has(key) {
		return nil, &expr.Error{Message: "The template variable '" + v.name + "' has a circular reference. Please see https://aka.ms/arm-syntax-variables for usage details."}
	}
	r := &v.known
	if hides(ctx) {
		r = &v.hidden
	}
	v.mu.Lock()
	found := *r
	v.mu.Unlock()
	if found.done {
		return found.value, nil
	}
	ctx = context.WithValue(ctx, openVariables{}, &openNames{name: key, outer: open})
	ctx = context.WithValue(ctx, loopKey{}, (*loop)(nil)) // a variable does not see the loop of who reads it
	var value any
	var err error
	if v.copy != nil {
		value, err = d.copied(ctx, d.env, v.copy, nil)
	} else {
		value, err = d.tree(ctx, d.env, v.input, nil)
	}
	if err != nil {
		return nil, err
	}
	v.mu.Lock() // not held meanwhile: variables read each other
	defer v.mu.Unlock()
	*r = result{true, value}
	return value, nil
}

// openNames are the names under evaluation.
type openNames struct {
	name  string
	outer *openNames
}

func (o *openNames) has(name string) bool {
	for ; o != nil; o = o.outer {
		if o.name == name {
			return true
		}
	}
	return false
}

// Parameters are the values of all parameters, secrets among them.
func (d *Deployment) Parameters() *expr.Object { return d.parameters }

// Output is one output of a deployment.
type Output struct {
	Name, Type string
	Value      any
	Secure     bool
}

// Outputs evaluates the outputs.
func (d *Deployment) Outputs(ctx context.Context) ([]Output, error) {
	var all []Output
	for name, v := range d.template.outputs.All() {
		o, err := d.output(ctx, name, v)
		if err != nil {
			return nil, err
		}
		if o != nil {
			all = append(all, *o)
		}
	}
	return all, nil
}

func (d *Deployment) output(ctx context.Context, name string, v any) (*Output, error) {
	def, ok := v.(*expr.Object)
	if !ok {
		return nil, invalid("The template output '%s' is not valid: it must be an object", name)
	}
	fail := func(err error) error {
		var e *expr.Error
		if errors.As(err, &e) {
			return arm.Errorf(400, "InvalidTemplate", "Unable to process template language expressions in template output '%s'. '%s'", name, e.Message)
		}
		return err
	}
	if c, ok := def.Lookup("condition"); ok {
		on, err := d.tree(ctx, d.env, c, nil)
		if err != nil {
			return nil, fail(err)
		}
		if on == false {
			return nil, nil
		}
	}
	o := &Output{Name: name}
	schema, err := d.schemaOf(def)
	if err != nil {
		return nil, fail(err)
	}
	o.Type, o.Secure = schema.name(), schema.secure
	if c, ok := def.Lookup("copy"); ok {
		loop, isObject := c.(*expr.Object)
		if !isObject {
			return nil, invalid("The template output '%s' is not valid: its copy must be an object", name)
		}
		o.Value, err = d.copied(ctx, d.env, loop, nil)
	} else {
		input, ok := def.Lookup("value")
		if !ok {
			return nil, invalid("The template output '%s' is not valid: it has no value", name)
		}
		o.Value, err = d.tree(ctx, d.env, input, nil)
	}
	if err != nil {
		return nil, fail(err)
	}
	if why := schema.violation(d, o.Value, "outputs."+name); why != "" {
		return nil, arm.Errorf(400, "DeploymentOutputEvaluationFailed", "Unable to evaluate template outputs: '%s'. Please see error details and deployment operations. Please see https://aka.ms/arm-common-errors for usage details. The template output '%s' is not valid: %s", name, name, why)
	}
	return o, nil
}
