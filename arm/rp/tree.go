package rp

import (
	"bytes"
	"encoding/json"
	"strings"
)

// decodeTree reads a JSON object, keeping numbers as they are written.
func decodeTree(b []byte) (map[string]any, error) {
	if len(b) == 0 {
		return map[string]any{}, nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	if m == nil {
		m = map[string]any{}
	}
	return m, nil
}

// without returns what sent says beyond known: the members that a type does not interpret. Member names
// are compared without case, as the JSON decoder does. It returns nil when nothing is left.
//
// An array that both have with the same length keeps, for each element, what the element says beyond its
// counterpart, with the "name" or "id" by which overlay finds it again.
func without(sent, known any) any {
	switch s := sent.(type) {
	case map[string]any:
		k, ok := known.(map[string]any)
		if !ok {
			return nil // the type has its own idea of this value
		}
		rest := map[string]any{}
		for name, v := range s {
			kv, in := fold(k, name)
			if !in {
				rest[name] = v
				continue
			}
			if r := without(v, kv); r != nil {
				rest[name] = r
			}
		}
		if len(rest) == 0 {
			return nil
		}
		return rest
	case []any:
		k, ok := known.([]any)
		if !ok || len(k) != len(s) {
			return nil
		}
		rest, some := make([]any, len(s)), false
		for i := range s {
			r, ok := without(s[i], k[i]).(map[string]any)
			if !ok {
				continue
			}
			if key, v := elementKey(k[i]); key != "" {
				r[key] = v
			}
			rest[i], some = r, true
		}
		if !some {
			return nil
		}
		return rest
	}
	return nil
}

// overlay returns known with the members of rest that it does not have. Neither is changed.
func overlay(known, rest any) any {
	switch k := known.(type) {
	case map[string]any:
		r, ok := rest.(map[string]any)
		if !ok {
			return known
		}
		out := make(map[string]any, len(k)+len(r))
		for name, v := range k {
			out[name] = v
		}
		for name, v := range r {
			if _, in := fold(k, name); !in {
				out[name] = v
				continue
			}
			for own, kv := range k { // the type's spelling of the name stays
				if strings.EqualFold(own, name) {
					out[own] = overlay(kv, v)
				}
			}
		}
		return out
	case []any:
		r, ok := rest.([]any)
		if !ok {
			return known
		}
		out := make([]any, len(k))
		for i, v := range k {
			out[i] = overlay(v, counterpart(r, i, v, len(k)))
		}
		return out
	}
	return known
}

// counterpart finds the remains of element v: by its name or id, else by position when no element came or went.
func counterpart(rest []any, i int, v any, length int) any {
	key, want := elementKey(v)
	if key == "" {
		if len(rest) == length {
			return rest[i]
		}
		return nil
	}
	for _, r := range rest {
		if k, have := elementKey(r); k == key && have == want {
			return r
		}
	}
	return nil
}

func elementKey(v any) (key, value string) {
	m, _ := v.(map[string]any)
	for _, key := range []string{"name", "id"} {
		if s, ok := m[key].(string); ok && s != "" {
			return key, s
		}
	}
	return "", ""
}

func fold(m map[string]any, name string) (any, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

// mergePatch applies a JSON merge patch (RFC 7396). Member names of the target are found without case.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, _ := target.(map[string]any)
	out := make(map[string]any, len(t)+len(p))
	for k, v := range t {
		out[k] = v
	}
	for name, v := range p {
		key := name
		if _, exact := out[name]; !exact {
			for k := range out {
				if strings.EqualFold(k, name) {
					key = k
				}
			}
		}
		if v == nil {
			delete(out, key)
			continue
		}
		out[key] = mergePatch(out[key], v)
	}
	return out
}
