package rp

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// coerced is properties with texts made numbers and booleans, and these made texts, where T wants them so and they
// can be: Azure's providers read JSON as Json.NET does, and many a template has "443" for a port. ok is false when
// nothing changed.
func coerced[T any](properties []byte) (out []byte, ok bool) {
	d := json.NewDecoder(bytes.NewReader(properties))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	v = coerce(v, reflect.TypeFor[T](), &ok)
	if !ok {
		return nil, false
	}
	out, err := json.Marshal(v)
	return out, err == nil
}

func coerce(v any, t reflect.Type, changed *bool) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return v
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			coerceMembers(m, t, changed)
		}
	case reflect.Map:
		if m, ok := v.(map[string]any); ok {
			for k := range m {
				m[k] = coerce(m[k], t.Elem(), changed)
			}
		}
	case reflect.Slice, reflect.Array:
		if list, ok := v.([]any); ok {
			for i := range list {
				list[i] = coerce(list[i], t.Elem(), changed)
			}
		}
	default:
		return coerceScalar(v, t.Kind(), changed)
	}
	return v
}

func coerceMembers(m map[string]any, t reflect.Type, changed *bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			coerce(m, f.Type, changed)
			continue
		}
		if name == "" {
			name = f.Name
		}
		for k := range m {
			if strings.EqualFold(k, name) {
				m[k] = coerce(m[k], f.Type, changed)
			}
		}
	}
}

func coerceScalar(v any, kind reflect.Kind, changed *bool) any {
	switch v := v.(type) {
	case string:
		switch {
		case kind == reflect.Bool:
			if b, err := strconv.ParseBool(strings.ToLower(v)); err == nil && len(v) > 1 {
				*changed = true
				return b
			}
		case kind >= reflect.Int && kind <= reflect.Uint64:
			if _, err := strconv.ParseInt(v, 10, 64); err == nil {
				*changed = true
				return json.Number(strings.TrimPrefix(v, "+"))
			}
		}
	case json.Number:
		if kind == reflect.String {
			*changed = true
			return v.String()
		}
	case bool:
		if kind == reflect.String {
			*changed = true
			return strings.ToUpper(strconv.FormatBool(v)[:1]) + strconv.FormatBool(v)[1:]
		}
	}
	return v
}
