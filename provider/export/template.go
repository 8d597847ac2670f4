package export

import (
	"fmt"
	"slices"
	"strings"

	"vauban.dev/arm/expr"
)

// template is what is to be written, in either language.
type template struct {
	parameters []definition
	items      []*item
	options    options
}

const schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"

// json is the template as Resource Manager takes it.
func (t *template) json() *expr.Object {
	parameters := expr.NewObject(len(t.parameters))
	for _, p := range t.parameters {
		def := expr.NewObject(2)
		if t.options.defaults || p.fixed {
			def.Set("defaultValue", p.value)
		}
		def.Set("type", p.typ)
		parameters.Set(p.name, def)
	}
	resources := make([]any, len(t.items))
	for i, x := range t.items {
		resources[i] = t.resource(x)
	}
	return expr.ObjectOf("$schema", schema, "contentVersion", "1.0.0.0", "parameters", parameters, "variables", expr.NewObject(0), "resources", resources)
}

func (t *template) resource(x *item) *expr.Object {
	o := expr.NewObject(10)
	if t.options.comments {
		o.Set("comments", fmt.Sprintf("Exported from '%s'.", x.id))
	}
	o.Set("type", x.info.Name.String())
	o.Set("apiVersion", x.version)
	o.Set("name", nameOf(x))
	var needs []any
	for _, n := range needsOf(x) {
		needs = append(needs, "["+idOf(n, nil)+"]")
	}
	for i, m := range x.shown {
		if needs != nil && (m.key == "properties" || i == len(x.shown)-1) {
			o.Set("dependsOn", needs)
			needs = nil
		}
		o.Set(m.key.(string), armValue(m.value))
	}
	if needs != nil {
		o.Set("dependsOn", needs)
	}
	return o
}

// needsOf is in a fixed order.
func needsOf(x *item) []*item {
	var all []*item
	for n := range x.needs {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *item) int { return strings.Compare(a.id.Key(), b.id.Key()) })
	return all
}

// nameOf is the name of a resource: a literal, or a concatenation of parameters and literals.
func nameOf(x *item) string {
	if len(x.name) == 1 {
		if p, ok := x.name[0].(parameter); ok {
			return "[" + call("parameters", p.name) + "]"
		}
	}
	literal := true
	var parts []string
	for i, n := range x.name {
		p, isParameter := n.(parameter)
		switch {
		case isParameter:
			literal = false
			parts = append(parts, call("parameters", p.name))
			continue
		case i > 0:
			n = "/" + n.(string)
		}
		parts = append(parts, quoted(n.(string)))
	}
	if literal {
		texts := make([]string, len(x.name))
		for i, n := range x.name {
			texts[i] = n.(string)
		}
		return escaped(strings.Join(texts, "/"))
	}
	joined := parts[:1]
	for _, p := range parts[1:] { // literals beside each other are one
		if last := len(joined) - 1; strings.HasPrefix(p, "'") && strings.HasPrefix(joined[last], "'") {
			joined[last] = strings.TrimSuffix(joined[last], "'") + p[1:]
		} else {
			joined = append(joined, p)
		}
	}
	return "[concat(" + strings.Join(joined, ", ") + ")]"
}

// idOf is the expression of a resource's id, or of something in it.
func idOf(x *item, tail []string) string {
	typ := x.info.Name.String()
	args := []string{}
	for _, n := range x.name {
		if p, ok := n.(parameter); ok {
			args = append(args, call("parameters", p.name))
		} else {
			args = append(args, quoted(n.(string)))
		}
	}
	for i := 0; i+1 < len(tail); i += 2 {
		typ += "/" + tail[i]
		args = append(args, quoted(tail[i+1]))
	}
	return "resourceId(" + strings.Join(append([]string{quoted(typ)}, args...), ", ") + ")"
}

func call(function, arg string) string { return function + "(" + quoted(arg) + ")" }

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// escaped is a literal text that is not taken for an expression.
func escaped(s string) string {
	if strings.HasPrefix(s, "[") {
		return "[" + s
	}
	return s
}

func armText(v any) string {
	switch x := v.(type) {
	case parameter:
		return "[" + call("parameters", x.name) + "]"
	case reference:
		return "[" + idOf(x.to, x.tail) + "]"
	case outside:
		if x.tail == "" {
			return "[" + call("parameters", x.parameter) + "]"
		}
		return "[concat(" + call("parameters", x.parameter) + ", " + quoted(x.tail) + ")]"
	case string:
		return escaped(x)
	}
	return fmt.Sprint(v)
}

func armValue(v any) any {
	switch x := v.(type) {
	case parameter, reference, outside, string:
		return armText(x)
	case object:
		o := expr.NewObject(len(x))
		for _, m := range x {
			o.Set(armText(m.key), armValue(m.value))
		}
		return o
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = armValue(e)
		}
		return list
	}
	return expr.From(v)
}
