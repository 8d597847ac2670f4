package rp

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// Field is a property that a type interprets: the policy alias of a resource type follows from it.
type Field struct {
	// Path is the way to it in the properties: networkAcls.ipRules[*].value. Arrays are themselves without [*], their
	// elements with it.
	Path     string
	Type     string // String, Boolean, Integer, Number, Array, Object
	ReadOnly bool
	Secret   bool // in no answer
}

// maxFieldDepth bounds recursive structs.
const maxFieldDepth = 12

// fieldsOf lists the JSON members of T.
func fieldsOf[T any]() []Field {
	var all []Field
	structFields(reflect.TypeFor[T](), Field{}, 0, &all)
	return all
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	rawJSON       = reflect.TypeFor[json.RawMessage]()
	timeType      = reflect.TypeFor[time.Time]()
)

func structFields(t reflect.Type, under Field, depth int, all *[]Field) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || depth > maxFieldDepth {
		return
	}
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if !sf.IsExported() || name == "-" {
			continue
		}
		if sf.Anonymous && name == "" {
			structFields(sf.Type, under, depth, all)
			continue
		}
		if name == "" {
			name = sf.Name
		}
		f := under
		if f.Path != "" {
			f.Path += "."
		}
		f.Path += name
		switch sf.Tag.Get("rp") {
		case "readonly":
			f.ReadOnly = true
		case "private":
			f.Secret, f.ReadOnly = true, true
		case "secret":
			f.Secret = true
		}
		valueFields(sf.Type, f, depth, all)
	}
}

func valueFields(t reflect.Type, f Field, depth int, all *[]Field) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	f.Type = jsonType(t)
	*all = append(*all, f)
	switch {
	case f.Type == "Array":
		f.Path += "[*]"
		valueFields(t.Elem(), f, depth+1, all)
	case f.Type == "Object":
		structFields(t, f, depth+1, all)
	}
}

func jsonType(t reflect.Type) string {
	switch {
	case t == rawJSON || t.Kind() == reflect.Interface:
		return "Any"
	case t == timeType, t.Implements(textMarshaler), reflect.PointerTo(t).Implements(textMarshaler):
		return "String"
	case t.Implements(marshaler), reflect.PointerTo(t).Implements(marshaler):
		return "Any"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "Boolean"
	case reflect.String:
		return "String"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "String"
		}
		return "Array"
	case reflect.Map, reflect.Struct:
		return "Object"
	case reflect.Float32, reflect.Float64:
		return "Number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "Integer"
	}
	return "Any"
}
