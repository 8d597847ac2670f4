package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vauban.dev/arm/expr"
)

// Compiled is a definition whose rule was checked.
type Compiled struct {
	*Definition
	rule    *rule
	effects []string // that the rule may have, in lower case
}

// Compile checks a definition. Errors are *Error.
func Compile(d *Definition) (*Compiled, error) {
	if err := checkParameters(d.Parameters); err != nil {
		return nil, err
	}
	r, err := compileRule(d.Rule)
	if err != nil {
		return nil, err
	}
	c := &Compiled{Definition: d, rule: r}
	if c.effects, err = c.possibleEffects(); err != nil {
		return nil, err
	}
	if err := r.check(c.effects); err != nil {
		return nil, err
	}
	return c, checkUses(c)
}

// possibleEffects are the effects of the rule: the literal one, or the values that its parameter may have.
func (c *Compiled) possibleEffects() ([]string, error) {
	e := c.rule.effect
	if e.expr == nil {
		return []string{strings.ToLower(e.text)}, nil
	}
	m := parameterUse.FindStringSubmatch(e.text)
	if m == nil {
		return nil, nil // decided when it is assigned
	}
	p, ok := c.Parameters[parameterName(c.Parameters, m[1])]
	if !ok {
		return nil, errorf("InvalidPolicyRule", "the effect refers to the parameter '%s', which is not defined", m[1])
	}
	var all []string
	for _, v := range p.AllowedValues {
		s, ok := v.(string)
		if !ok {
			return nil, errorf("InvalidPolicyParameters", "the parameter '%s' has an effect among its allowed values that is not a text", m[1])
		}
		all = append(all, strings.ToLower(s))
	}
	if s, ok := p.DefaultValue.(string); ok && len(all) == 0 {
		all = append(all, strings.ToLower(s))
	}
	return all, nil
}

// ResourceMode says whether the definition is for Resource Manager, whose requests are evaluated here; other modes
// are asked by data planes.
func (d *Definition) ResourceMode() bool {
	return d.Mode == "" || strings.EqualFold(d.Mode, "All") || strings.EqualFold(d.Mode, "Indexed")
}

// parameterTypes are the types of parameters in lower case.
var parameterTypes = map[string]bool{
	"string": true, "array": true, "object": true, "boolean": true, "integer": true, "float": true, "datetime": true,
}

func checkParameters(all map[string]Parameter) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		if !parameterTypes[strings.ToLower(p.Type)] {
			return errorf("InvalidPolicyParameters", "The policy parameter '%s' has the type '%s', which is not one of String, Array, Object, Boolean, Integer, Float and DateTime.", name, p.Type)
		}
		if p.DefaultValue != nil {
			if err := checkArgument(name, p, p.DefaultValue, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkUses refuses a rule that refers to a parameter that is not defined.
func checkUses(c *Compiled) error {
	var bad error
	see := func(v *value) {
		if v == nil || v.expr == nil {
			return
		}
		for _, m := range parameterUses.FindAllStringSubmatch(v.text, -1) {
			if parameterName(c.Parameters, m[1]) == "" && bad == nil {
				bad = errorf("InvalidPolicyRule", "the policy rule refers to the parameter '%s', which is not defined", m[1])
			}
		}
	}
	walkValues(c.rule.cond, see)
	for _, op := range c.rule.operations {
		see(op.field)
		see(op.value)
	}
	if x := c.rule.existence; x != nil {
		walkValues(x.condition, see)
		for _, v := range []*value{x.typ, x.name, x.group, x.scope} {
			see(v)
		}
	}
	return bad
}

// parameterName is the spelling of a parameter's name that the declarations have, "" when they have none.
func parameterName(all map[string]Parameter, name string) string {
	if _, ok := all[name]; ok {
		return name
	}
	for k := range all {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return ""
}

// arguments are the values of the parameters: those given, else the defaults. The names of the errors' subject are
// those of Azure's messages.
func arguments(declared map[string]Parameter, given map[string]Value, subject, definition string) (map[string]any, error) {
	out := map[string]any{}
	var undefined, missing []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		own := parameterName(declared, name)
		if own == "" {
			undefined = append(undefined, name)
			continue
		}
		v := given[name].Value
		if s, ok := v.(string); ok {
			v = expr.Literal(s)
		}
		if err := checkArgument(own, declared[own], v, definition); err != nil {
			return nil, err
		}
		out[own] = v
	}
	if len(undefined) > 0 {
		return nil, errorf("UndefinedPolicyParameter", "The policy assignment '%s' has defined parameters '%s' which are not defined in the policy definition '%s'.", subject, strings.Join(undefined, ","), definition)
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		if _, ok := out[name]; ok {
			continue
		}
		if declared[name].DefaultValue == nil {
			missing = append(missing, name)
			continue
		}
		out[name] = declared[name].DefaultValue
	}
	if len(missing) > 0 {
		return nil, errorf("MissingPolicyParameter", "The policy assignment '%s' is missing the parameter(s) '%s' as defined in the policy definition '%s'.", subject, strings.Join(missing, ","), definition)
	}
	return out, nil
}

func checkArgument(name string, p Parameter, v any, definition string) error {
	ok := true
	switch strings.ToLower(p.Type) {
	case "array":
		_, ok = v.([]any)
	case "object":
		_, ok = v.(map[string]any)
	case "boolean":
		_, ok = v.(bool)
	case "integer":
		n, isNumber := number(v)
		ok = isNumber && n.IsInt()
	case "float":
		_, ok = number(v)
	case "string":
		_, ok = v.(string)
	case "datetime":
		s, isText := v.(string)
		_, isDate := date(s)
		ok = isText && isDate
	}
	if !ok {
		return errorf("InvalidPolicyParameters", "The value %s of the policy parameter '%s' is not of its type '%s'.", describe(v), name, p.Type)
	}
	if len(p.AllowedValues) == 0 {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	for _, e := range list {
		if !slices.ContainsFunc(p.AllowedValues, func(a any) bool { return identical(a, e) }) {
			return errorf("PolicyParameterValueNotAllowed", "The value '%s' is not allowed for policy parameter '%s' in policy definition '%s'. The allowed values are '%s'.", shown(e), name, definition, shownAll(p.AllowedValues))
		}
	}
	return nil
}

// identical compares an argument with an allowed value: texts with regard to case.
func identical(a, b any) bool {
	x, isText := a.(string)
	y, isTextToo := b.(string)
	if isText || isTextToo {
		return isText && isTextToo && x == y
	}
	return equal(a, b)
}

func shown(v any) string { return strings.Trim(describe(v), "'") }

func shownAll(all []any) string {
	var b []string
	for _, v := range all {
		b = append(b, shown(v))
	}
	return strings.Join(b, ", ")
}

// Bound is a definition in force by an assignment: with its arguments and its effect.
type Bound struct {
	Assignment  *Assignment
	Definition  *Compiled
	Set         *SetDefinition // nil: the definition is assigned by itself
	ReferenceID string         // in the set
	GroupNames  []string
	Parameters  map[string]any // the arguments
	Effect      string         // lower case
	// Broken is why the rule cannot be evaluated: a definition was changed or deleted after it was assigned. It refuses
	// what it would have been asked about.
	Broken error

	index     *Index
	arguments map[string]any // the arguments as expressions take them
	known     map[*value]any // values that depend on the arguments only
	types     map[string]bool
	tags      bool // a condition looks at tags
	overrides []Override
}

// Library knows the definitions. version is "" or a pattern such as "1.*.*". Errors are *Error.
type Library interface {
	Definition(id, version string) (*Compiled, error)
	Set(id, version string) (*SetDefinition, error)
}

// SetType is the resource type in an initiative's id.
const SetType = "Microsoft.Authorization/policySetDefinitions"

// IsSet says whether a definition's id is that of an initiative.
func IsSet(id string) bool {
	return strings.Contains(strings.ToLower(id), "/providers/"+strings.ToLower(SetType)+"/")
}

// Bind makes what an assignment puts in force. Errors are *Error: what the assignment lacks.
func Bind(lib Library, a *Assignment) ([]*Bound, error) {
	if !IsSet(a.DefinitionID) {
		d, err := lib.Definition(a.DefinitionID, a.DefinitionVersion)
		if err != nil {
			return nil, err
		}
		args, err := arguments(d.Parameters, a.Parameters, nameOf(a.ID), nameOf(d.ID))
		if err != nil {
			return nil, err
		}
		b, err := bind(&Bound{Assignment: a, Definition: d, Parameters: args})
		if err != nil {
			return nil, err
		}
		return []*Bound{b}, nil
	}
	set, err := lib.Set(a.DefinitionID, a.DefinitionVersion)
	if err != nil {
		return nil, err
	}
	args, err := arguments(set.Parameters, a.Parameters, nameOf(a.ID), nameOf(set.ID))
	if err != nil {
		return nil, err
	}
	var all []*Bound
	for i := range set.Definitions {
		b, err := bindReference(lib, a, set, &set.Definitions[i], args)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func bindReference(lib Library, a *Assignment, set *SetDefinition, ref *Reference, outer map[string]any) (*Bound, error) {
	d, err := lib.Definition(ref.DefinitionID, ref.Version)
	if err != nil {
		return nil, err
	}
	r := newRun(&Bound{Assignment: a, Definition: d, Set: set, ReferenceID: ref.ReferenceID, arguments: toArguments(outer)}, &RequestContext{}, &Resource{})
	given := map[string]Value{}
	for name, p := range ref.Parameters {
		v, err := newValue(p.Value)
		if err != nil {
			return nil, err
		}
		if v.varies {
			return nil, errorf("InvalidPolicySetDefinition", "the parameter '%s' of the reference '%s' depends on more than the initiative's parameters", name, ref.ReferenceID)
		}
		got, err := v.get(r)
		if err != nil {
			return nil, errorf("InvalidPolicySetDefinition", "the parameter '%s' of the reference '%s': %v", name, ref.ReferenceID, err)
		}
		given[name] = Value{got}
	}
	args, err := arguments(d.Parameters, given, nameOf(a.ID), nameOf(d.ID))
	if err != nil {
		return nil, err
	}
	return bind(&Bound{Assignment: a, Definition: d, Set: set, ReferenceID: ref.ReferenceID, GroupNames: ref.GroupNames, Parameters: args})
}

func toArguments(args map[string]any) map[string]any {
	out := make(map[string]any, len(args))
	for k, v := range args {
		out[k] = expr.From(v)
	}
	return out
}

// bind resolves what follows from the arguments alone.
func bind(b *Bound) (*Bound, error) {
	b.arguments = toArguments(b.Parameters)
	rule := b.Definition.rule
	r := newRun(b, &RequestContext{}, &Resource{})
	effect, err := rule.effect.get(r)
	if err != nil {
		return nil, errorf("InvalidPolicyRule", "%v", err)
	}
	s, _ := effect.(string)
	if b.Effect = strings.ToLower(s); !knownEffect(s) {
		return nil, errorf("InvalidPolicyRule", "the effect '%s' is not one that Azure Policy has", s)
	}
	for _, o := range b.Assignment.Overrides {
		if !strings.EqualFold(o.Kind, "policyEffect") || !o.names(b.ReferenceID) {
			continue
		}
		if err := b.checkOverride(o.Value); err != nil {
			return nil, err
		}
		b.overrides = append(b.overrides, o)
	}
	if err := rule.check([]string{b.Effect}); err != nil {
		return nil, err
	}
	known := map[*value]any{}
	walkConditions(rule.cond, func(c *condition) {
		for _, v := range c.values() {
			if !v.dynamic() || v.varies {
				continue
			}
			got, err := v.get(r)
			if err != nil { // one that fails, fails when it is asked for
				continue
			}
			if v == c.target && c.parsed != nil && c.parsed.kind == fieldLocation {
				got = foldLocation(got)
			}
			known[v] = got
		}
	})
	b.known = known
	b.types, b.tags = types(rule.cond, b), readsTags(rule.cond)
	return b, nil
}

// checkOverride refuses an effect that the rule cannot have.
func (b *Bound) checkOverride(effect string) error {
	key := strings.ToLower(effect)
	if !knownEffect(key) {
		return errorf("InvalidPolicyOverride", "the override's effect '%s' is not one that Azure Policy has", effect)
	}
	rule := b.Definition.rule
	if m := parameterUse.FindStringSubmatch(rule.effect.text); m != nil && key != Disabled {
		p := b.Definition.Parameters[parameterName(b.Definition.Parameters, m[1])]
		if len(p.AllowedValues) > 0 && !slices.Contains(b.Definition.effects, key) {
			return errorf("InvalidPolicyOverride", "the override's effect '%s' is not among the allowed values '%s' of the parameter '%s'", effect, shownAll(p.AllowedValues), m[1])
		}
	}
	if err := rule.check([]string{key}); err != nil {
		return errorf("InvalidPolicyOverride", "the override's effect '%s': %v", effect, err)
	}
	return nil
}

// names says whether an override reaches a reference of the initiative.
func (o *Override) names(reference string) bool {
	for _, s := range o.Selectors {
		if strings.EqualFold(s.Kind, "policyDefinitionReferenceId") && !s.picks(reference) {
			return false
		}
	}
	return true
}

// effectFor is the effect on a resource: the last override that reaches it decides.
func (b *Bound) effectFor(res *Resource) string {
	effect := b.Effect
	for _, o := range b.overrides {
		reached := true
		for _, s := range o.Selectors {
			if strings.EqualFold(s.Kind, "resourceLocation") && !s.picks(locationOf(res)) {
				reached = false
			}
		}
		if reached {
			effect = strings.ToLower(o.Value)
		}
	}
	return effect
}

// picks applies in or notIn.
func (s *Selector) picks(v string) bool {
	is := func(w string) bool {
		if strings.EqualFold(s.Kind, "resourceLocation") {
			return normalLocation(w) == normalLocation(v)
		}
		return strings.EqualFold(w, v)
	}
	if len(s.NotIn) > 0 {
		return !slices.ContainsFunc(s.NotIn, is)
	}
	return slices.ContainsFunc(s.In, is)
}

func locationOf(res *Resource) string {
	v, _ := member(res.Body, "location")
	s, _ := v.(string)
	return normalLocation(s)
}

// reaches says whether one of the resource selectors picks the resource; none pick all.
func reaches(all []Selectors, res *Resource) bool {
	if len(all) == 0 {
		return true
	}
	return slices.ContainsFunc(all, func(one Selectors) bool {
		return !slices.ContainsFunc(one.Selectors, func(s Selector) bool {
			switch strings.ToLower(s.Kind) {
			case "resourcelocation":
				return !s.picks(locationOf(res))
			case "resourcetype":
				return !s.picks(res.Type)
			case "resourcewithoutlocation":
				return locationOf(res) != ""
			}
			return true
		})
	})
}

// nameOf is the last segment of an id.
func nameOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func (b *Bound) String() string {
	return fmt.Sprintf("%s (%s)", b.Assignment.ID, b.Definition.ID)
}

// PossibleEffects are the effects that the definition has in the assignment, in lower case: with overrides by location
// there are several.
func (b *Bound) PossibleEffects() []string {
	all := []string{}
	base := true
	for _, o := range b.overrides {
		all = append(all, strings.ToLower(o.Value))
		if !slices.ContainsFunc(o.Selectors, func(s Selector) bool { return strings.EqualFold(s.Kind, "resourceLocation") }) {
			base = false
		}
	}
	if base {
		all = append(all, b.Effect)
	}
	return all
}

// Supported says whether an effect is evaluated here.
func Supported(effect string) bool { return supported[strings.ToLower(effect)] != "" }
