package template

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"vauban.dev/arm/expr"
)

// schema is what a parameter, an output or a type may be ("Type definitions in ARM templates").
type schema struct {
	kind     string // string, int, bool, object, array; "" for any
	secure   bool
	nullable bool
	allowed  []any
	min, max [2]*int64 // length, value
	def      *expr.Object
	depth    int
}

var kinds = map[string]struct {
	kind   string
	secure bool
}{
	"string": {"string", false}, "securestring": {"string", true}, "int": {"int", false}, "bool": {"bool", false},
	"object": {"object", false}, "secureobject": {"object", true}, "array": {"array", false},
}

const maxReferences = 64

// schemaOf reads a definition, following $ref to the definitions of the template.
func (d *Deployment) schemaOf(def *expr.Object) (*schema, error) { return d.schemaAt(def, 0) }

func (d *Deployment) schemaAt(def *expr.Object, depth int) (*schema, error) {
	if depth > maxReferences {
		return nil, &expr.Error{Message: "The type definition refers to itself."}
	}
	s := &schema{def: def, depth: depth}
	if ref := def.Text("$ref"); ref != "" {
		name, ok := strings.CutPrefix(ref, "#/definitions/")
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
		v, found := d.template.types.Lookup(name)
		target, isObject := v.(*expr.Object)
		if !ok || !found || !isObject {
			return nil, &expr.Error{Message: "The type reference '" + ref + "' could not be resolved."}
		}
		base, err := d.schemaAt(target, depth+1)
		if err != nil {
			return nil, err
		}
		merged := *base
		s = &merged
		s.def = overlaid(base.def, def)
	} else {
		v, ok := def.Lookup("type")
		name, isText := v.(string)
		k, known := kinds[strings.ToLower(name)]
		if ok && (!isText || !known) {
			return nil, &expr.Error{Message: "The type '" + name + "' is not valid. The valid types are 'String, SecureString, Int, Bool, Array, Object, SecureObject'."}
		}
		s.kind, s.secure = k.kind, k.secure
	}
	if v, _ := def.Lookup("nullable"); v == true {
		s.nullable = true
	}
	if v, ok := def.Lookup("allowedValues"); ok {
		list, isList := v.([]any)
		if !isList || len(list) == 0 {
			return nil, &expr.Error{Message: "The allowed values must be an array that is not empty."}
		}
		s.allowed = list
	}
	for name, to := range map[string]**int64{"minLength": &s.min[0], "maxLength": &s.max[0], "minValue": &s.min[1], "maxValue": &s.max[1]} {
		if v, ok := def.Lookup(name); ok {
			n, isInt := v.(int64)
			if !isInt {
				return nil, &expr.Error{Message: "The value of '" + name + "' must be an integer."}
			}
			*to = &n
		}
	}
	return s, nil
}

// overlaid is the target of a $ref with what stands beside the reference.
func overlaid(base, over *expr.Object) *expr.Object {
	out := base.Clone()
	for k, v := range over.All() {
		if k != "$ref" {
			out.Set(k, v)
		}
	}
	return out
}

// name is the type as answers show it.
func (s *schema) name() string {
	switch {
	case s.kind == "":
		return "Object"
	case s.secure:
		return "Secure" + strings.ToUpper(s.kind[:1]) + s.kind[1:]
	}
	return strings.ToUpper(s.kind[:1]) + s.kind[1:]
}

// expected are the token types of messages.
var expected = map[string]string{"string": "String, Uri", "int": "Integer", "bool": "Boolean", "object": "Object", "array": "Array"}

// violation says which rule a value breaks, "" for none. It does not repeat a secret value.
func (s *schema) violation(d *Deployment, v any, path string) string {
	return s.violationAt(d, v, path, 0)
}

func (s *schema) violationAt(d *Deployment, v any, path string, depth int) string {
	if depth > maxReferences {
		return "The value is nested deeper than its type can be checked."
	}
	if v == nil {
		if s.nullable || !d.template.symbolic {
			return ""
		}
		return fmt.Sprintf("The value of '%s' must not be null.", path)
	}
	ok := true
	switch s.kind {
	case "string":
		_, ok = v.(string)
	case "int":
		_, ok = v.(int64)
	case "bool":
		_, ok = v.(bool)
	case "object":
		_, ok = v.(*expr.Object)
	case "array":
		_, ok = v.([]any)
	}
	if !ok {
		return fmt.Sprintf("Template parameter JToken type is not valid. Expected '%s'. Actual '%s'. Please see https://aka.ms/resource-manager-parameter-files for usage details.", expected[s.kind], expr.TypeOf(v))
	}
	if why := s.outOfBounds(v); why != "" {
		return why
	}
	if why := s.notAllowed(v); why != "" {
		return why
	}
	switch v := v.(type) {
	case []any:
		return s.elements(d, v, path, depth)
	case *expr.Object:
		return s.members(d, v, path, depth)
	}
	return ""
}

func (s *schema) outOfBounds(v any) string {
	n, what, i := int64(0), "", 0
	switch v := v.(type) {
	case string:
		n, what = int64(len(utf16.Encode([]rune(v)))), "Length of the value"
	case []any:
		n, what = int64(len(v)), "Length of the value"
	case *expr.Object:
		return ""
	case int64:
		n, what, i = v, "The value", 1
	default:
		return ""
	}
	const see = " Please see https://aka.ms/arm-create-parameter-file for usage details."
	if m := s.min[i]; m != nil && n < *m {
		return fmt.Sprintf("%s should be greater than or equal to '%d'.%s", what, *m, see)
	}
	if m := s.max[i]; m != nil && n > *m {
		return fmt.Sprintf("%s should be less than or equal to '%d'.%s", what, *m, see)
	}
	return ""
}

func (s *schema) notAllowed(v any) string {
	if s.allowed == nil {
		return ""
	}
	in := func(v any) bool {
		for _, a := range s.allowed {
			if x, ok := a.(string); ok {
				if y, ok := v.(string); ok && strings.EqualFold(x, y) {
					return true
				}
			}
			if expr.Equal(a, v) {
				return true
			}
		}
		return false
	}
	if in(v) {
		return ""
	}
	if list, ok := v.([]any); ok { // each element one of them
		all := true
		for _, item := range list {
			all = all && in(item)
		}
		if all {
			return ""
		}
	}
	var names []string
	for _, a := range s.allowed {
		t, _ := expr.String(a)
		names = append(names, t)
	}
	shown, _ := expr.String(v)
	if s.secure {
		shown = ""
	}
	return fmt.Sprintf("The value '%s' is not part of the allowed value(s): '%s'.", shown, strings.Join(names, ","))
}

// elements checks an array against prefixItems and items.
func (s *schema) elements(d *Deployment, list []any, path string, depth int) string {
	prefix, _ := s.def.Lookup("prefixItems")
	heads, _ := prefix.([]any)
	rest, _ := s.def.Lookup("items")
	for i, item := range list {
		var def *expr.Object
		if i < len(heads) {
			def, _ = heads[i].(*expr.Object)
		} else if rest == false {
			return fmt.Sprintf("The array '%s' must have no more than '%d' elements.", path, len(heads))
		} else {
			def, _ = rest.(*expr.Object)
		}
		if def == nil {
			continue
		}
		if why := d.checkAgainst(def, item, fmt.Sprintf("%s[%d]", path, i), depth); why != "" {
			return why
		}
	}
	return ""
}

func (d *Deployment) checkAgainst(def *expr.Object, v any, path string, depth int) string {
	s, err := d.schemaOf(def)
	if err != nil {
		return err.Error()
	}
	why := s.violationAt(d, v, path, depth+1)
	if why != "" && !strings.Contains(why, path) {
		why = fmt.Sprintf("The value of '%s' is not valid: %s", path, why)
	}
	return why
}

// members checks an object against properties, additionalProperties and discriminator.
func (s *schema) members(d *Deployment, o *expr.Object, path string, depth int) string {
	def := s.def
	if v, ok := def.Lookup("discriminator"); ok {
		disc, _ := v.(*expr.Object)
		name := disc.Text("propertyName")
		mapping, _ := disc.Lookup("mapping")
		m, _ := mapping.(*expr.Object)
		chosen, ok := m.Lookup(o.Text(name))
		variant, isObject := chosen.(*expr.Object)
		if !ok || !isObject {
			return fmt.Sprintf("The value of '%s.%s' must be one of the discriminator's: '%s'.", path, name, strings.Join(keys(m), ","))
		}
		return d.checkAgainst(variant, o, path, depth)
	}
	properties, _ := def.Lookup("properties")
	known, _ := properties.(*expr.Object)
	for name, v := range known.All() {
		member, ok := v.(*expr.Object)
		if !ok {
			continue
		}
		value, given := o.Lookup(name)
		if !given {
			ms, err := d.schemaOf(member)
			if err != nil {
				return err.Error()
			}
			if !ms.nullable {
				return fmt.Sprintf("The following required property is missing in '%s': '%s'.", path, name)
			}
			continue
		}
		if why := d.checkAgainst(member, value, path+"."+name, depth); why != "" {
			return why
		}
	}
	more, restricted := def.Lookup("additionalProperties")
	if !restricted || more == true {
		return ""
	}
	for name, v := range o.All() {
		if known != nil {
			if _, ok := known.Lookup(name); ok {
				continue
			}
		}
		rest, ok := more.(*expr.Object)
		if !ok {
			return fmt.Sprintf("The property '%s' is not allowed in '%s'.", name, path)
		}
		if why := d.checkAgainst(rest, v, path+"."+name, depth); why != "" {
			return why
		}
	}
	return ""
}

func keys(o *expr.Object) []string {
	var all []string
	for k := range o.All() {
		all = append(all, k)
	}
	return all
}
