package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Compare tells which keys of Azure's answer ours lacks, which have another type, which values of the request (sent,
// at the same place) did not come back, which error codes differ and which words are spelled otherwise. Values that
// Azure chose are not compared.
func Compare(azure, ours, sent any) []string {
	seen := map[string]bool{}
	var out []string
	for _, d := range compare("", azure, ours, sent) {
		if !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}

func compare(at string, azure, ours, sent any) (out []string) {
	if azure == nil {
		return nil
	}
	switch a := azure.(type) {
	case map[string]any:
		o, ok := ours.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %s, Azure's is an object", place(at), kindOf(ours))}
		}
		s, _ := sent.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(a)) {
			v, has := o[k]
			sub := strings.TrimPrefix(at+"."+k, ".")
			if !has && a[k] != nil {
				out = append(out, sub+" is missing")
				continue
			}
			out = append(out, compare(sub, a[k], v, s[k])...)
		}
	case []any:
		o, ok := ours.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %s, Azure's is a list", place(at), kindOf(ours))}
		}
		s, _ := sent.([]any)
		for i, x := range a {
			switch j := counterpart(x, o, s, i, at); {
			case j < 0 && at == "value" && len(o) > 0: // what else the recording's subscription had
			case j < 0:
				out = append(out, fmt.Sprintf("%s has %d elements, Azure's %d", place(at), len(o), len(a)))
			default:
				out = append(out, compare(at+"[]", x, o[j], element(s, i))...)
			}
		}
	default:
		out = leaf(at, azure, ours, sent)
	}
	return out
}

// leaf compares values that have no parts.
func leaf(at string, azure, ours, sent any) []string {
	switch {
	case kindOf(azure) != kindOf(ours):
		return []string{fmt.Sprintf("%s is %s, Azure's is %s", place(at), kindOf(ours), kindOf(azure))}
	case sent != nil && azure == sent && ours != sent:
		return []string{fmt.Sprintf("%s is %v, the request had %v", at, ours, sent)}
	case (at == "error.code" || at == "code") && azure != ours:
		return []string{fmt.Sprintf("%s is %v, Azure's is %v", at, ours, azure)}
	}
	a, _ := azure.(string)
	o, _ := ours.(string)
	if a != o && strings.EqualFold(a, o) && !strings.Contains(a, "/") && !strings.HasSuffix(at, "name") { // names are the client's
		return []string{fmt.Sprintf("%s is %s, Azure spells it %s", at, o, a)}
	}
	return nil
}

func place(at string) string {
	if at == "" {
		return "the body"
	}
	return at
}

// counterpart finds the element of ours that Azure's x speaks of: by its name, else by its place; -1 for none. A name
// that the request had must be there; others are of Azure's choice.
func counterpart(x any, ours, sent []any, i int, at string) int {
	m, ok := x.(map[string]any)
	if name, named := m["name"].(string); ok && named {
		if j := byName(ours, name, m["type"]); j >= 0 {
			return j // two of one name are told apart by their types
		}
		if j := byName(ours, name, nil); j >= 0 || at == "value" || byName(sent, name, nil) >= 0 {
			return j
		}
	}
	if at == "value" || i < len(ours) {
		return min(i, len(ours)-1)
	}
	return -1
}

// byName finds the element of a name, and of a type if it is given, in which case does not count; -1 for none.
func byName(list []any, name string, of any) int {
	return slices.IndexFunc(list, func(e any) bool {
		m, _ := e.(map[string]any)
		n, named := m["name"].(string)
		return named && strings.EqualFold(n, name) && (of == nil || strings.EqualFold(fmt.Sprint(of), fmt.Sprint(m["type"])))
	})
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	}
	return "an object"
}
