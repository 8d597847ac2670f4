package graph

import (
	"encoding/json"
	"slices"
	"strings"
)

// property is how a property of a T is written; nil for one that clients only read.
type property[T any] func(v *T, raw json.RawMessage) error

// at writes what f points at; null makes it empty.
func at[T, V any](f func(*T) *V) property[T] {
	return func(v *T, raw json.RawMessage) error {
		to := f(v)
		if string(raw) == "null" {
			*to = *new(V)
			return nil
		}
		return json.Unmarshal(raw, to)
	}
}

// apply writes the properties of a request's body into v. A property that the type does not have, that is read-only,
// or whose value has another type is refused, so that nothing is written that no table names.
func apply[T any](typeName string, table map[string]property[T], v *T, body map[string]json.RawMessage, but ...string) error {
	for name, raw := range body {
		if strings.HasPrefix(name, "@odata.") || slices.Contains(but, name) {
			continue
		}
		set, ok := table[name]
		switch {
		case !ok:
			return badRequest("Invalid property '%s'.", printable(name))
		case set == nil:
			return badRequest("Property '%s' is read-only and cannot be set.", name)
		}
		if err := set(v, raw); err != nil {
			if refused, ok := err.(*Error); ok {
				return refused
			}
			return badRequest("Invalid value specified for property '%s' of resource '%s'.", name, typeName)
		}
	}
	return nil
}

// bound reads the object ids of a binding such as owners@odata.bind.
func bound(body map[string]json.RawMessage, name string) (ids []string, err error) {
	raw, ok := body[name+"@odata.bind"]
	if !ok {
		return nil, nil
	}
	var links []string
	if json.Unmarshal(raw, &links) != nil || len(links) > 20 {
		return nil, badRequest("Invalid value specified for property '%s@odata.bind': at most 20 links are expected.", name)
	}
	for _, l := range links {
		id, err := linked(l)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// linked is the object id at the end of a link: https://graph.microsoft.com/v1.0/directoryObjects/{id}.
func linked(link string) (string, error) {
	id := lastSegment(link)
	if name, key, ok := strings.Cut(id, "("); ok && name != "" {
		id = strings.Trim(strings.TrimSuffix(key, ")"), "'")
	}
	if len(id) != 36 {
		return "", badRequest("Invalid URL format specified in @odata.id for the request: '%s'.", printable(link))
	}
	return id, nil
}
