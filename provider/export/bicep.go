package export

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// bicep is the template as Bicep text (Bicep's specification: "Resource and module definitions").
func (t *template) bicep() string {
	var b strings.Builder
	symbols := map[*item]string{}
	taken := map[string]bool{}
	for _, p := range t.parameters {
		taken[p.name] = true
		if strings.HasPrefix(p.typ, "Secure") {
			b.WriteString("@secure()\n")
		}
		fmt.Fprintf(&b, "param %s %s", p.name, strings.ToLower(strings.TrimPrefix(p.typ, "Secure")))
		switch {
		case p.fixed && p.value == nil:
			b.WriteString("?") // it may be left out
		case t.options.defaults || p.fixed:
			b.WriteString(" = " + bicepText(fmt.Sprint(p.value)))
		}
		b.WriteString("\n")
	}
	for _, x := range t.items {
		types := x.info.Name.Types
		s := strings.Trim(notWord.ReplaceAllString(types[len(types)-1]+"_"+strings.Join(x.id.Names(), "_"), "_"), "_")
		for taken[s] {
			s += "_resource"
		}
		taken[s], symbols[x] = true, s
	}
	w := bicepWriter{&b, symbols}
	for _, x := range t.items {
		w.resource(x)
	}
	return b.String()
}

type bicepWriter struct {
	b       *strings.Builder
	symbols map[*item]string
}

func (w bicepWriter) resource(x *item) {
	fmt.Fprintf(w.b, "\nresource %s '%s@%s' = {\n", w.symbols[x], x.info.Name, x.version)
	implied := map[*item]bool{}
	name := x.name
	if x.parent != nil && len(x.id.Names()) == len(x.parent.id.Names())+1 {
		fmt.Fprintf(w.b, "  parent: %s\n", w.symbols[x.parent])
		implied[x.parent] = true
		name = name[len(name)-1:]
	}
	fmt.Fprintf(w.b, "  name: %s\n", bicepName(name))
	for _, m := range x.shown {
		w.implied(m.value, implied)
	}
	for _, m := range x.shown {
		fmt.Fprintf(w.b, "  %s: ", m.key)
		w.value(m.value, 1)
		w.b.WriteString("\n")
	}
	var explicit []string
	for _, n := range needsOf(x) {
		if !implied[n] {
			explicit = append(explicit, "    "+w.symbols[n]+"\n")
		}
	}
	if len(explicit) > 0 {
		fmt.Fprintf(w.b, "  dependsOn: [\n%s  ]\n", strings.Join(explicit, ""))
	}
	w.b.WriteString("}\n")
}

// implied collects what a value refers to: Bicep makes dependencies of it.
func (w bicepWriter) implied(v any, found map[*item]bool) {
	switch x := v.(type) {
	case reference:
		found[x.to] = true
	case object:
		for _, m := range x {
			w.implied(m.key, found)
			w.implied(m.value, found)
		}
	case []any:
		for _, e := range x {
			w.implied(e, found)
		}
	}
}

func bicepName(parts []any) string {
	if len(parts) == 1 {
		if p, ok := parts[0].(parameter); ok {
			return p.name
		}
	}
	var b strings.Builder
	b.WriteByte('\'')
	for i, n := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		if p, ok := n.(parameter); ok {
			b.WriteString("${" + p.name + "}")
		} else {
			b.WriteString(inBicepText(n.(string)))
		}
	}
	b.WriteByte('\'')
	return b.String()
}

var bicepEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "${", `\${`)

func inBicepText(s string) string { return bicepEscapes.Replace(s) }

func bicepText(s string) string { return "'" + inBicepText(s) + "'" }

var bicepIdentifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (w bicepWriter) scalar(v any) string {
	switch x := v.(type) {
	case parameter:
		return x.name
	case reference:
		if len(x.tail) == 0 {
			return w.symbols[x.to] + ".id"
		}
		return fmt.Sprintf("'${%s.id}/%s'", w.symbols[x.to], inBicepText(strings.Join(x.tail, "/")))
	case outside:
		if x.tail == "" {
			return x.parameter
		}
		return fmt.Sprintf("'${%s}%s'", x.parameter, inBicepText(x.tail))
	case string:
		return bicepText(x)
	case float64:
		return fmt.Sprintf("json('%v')", x) // Bicep has whole numbers only
	case json.Number:
		if strings.ContainsAny(string(x), ".eE") {
			return fmt.Sprintf("json('%s')", x)
		}
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

func (w bicepWriter) value(v any, depth int) {
	pad := strings.Repeat("  ", depth)
	switch x := v.(type) {
	case object:
		if len(x) == 0 {
			w.b.WriteString("{}")
			return
		}
		w.b.WriteString("{\n")
		for _, m := range x {
			key, ok := m.key.(string)
			switch {
			case !ok:
				key = w.scalar(m.key)
				if !strings.HasPrefix(key, "'") {
					key = "'${" + key + "}'"
				}
			case !bicepIdentifier.MatchString(key):
				key = bicepText(key)
			}
			fmt.Fprintf(w.b, "%s  %s: ", pad, key)
			w.value(m.value, depth+1)
			w.b.WriteString("\n")
		}
		w.b.WriteString(pad + "}")
	case []any:
		if len(x) == 0 {
			w.b.WriteString("[]")
			return
		}
		w.b.WriteString("[\n")
		for _, e := range x {
			w.b.WriteString(pad + "  ")
			w.value(e, depth+1)
			w.b.WriteString("\n")
		}
		w.b.WriteString(pad + "]")
	default:
		w.b.WriteString(w.scalar(v))
	}
}
