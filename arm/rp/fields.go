package rp

import "reflect"

// keepReadOnly sets the fields of t tagged rp:"readonly" or rp:"private" to those of old, or to zero when
// there is no old; a field tagged rp:"secret" only when t has none. It descends into structs and pointers to
// structs, not into slices and maps.
func keepReadOnly[T any](t, old *T) {
	var was reflect.Value
	if old != nil {
		was = reflect.ValueOf(old).Elem()
	}
	eachField(reflect.ValueOf(t).Elem(), was, func(tag string, f, old reflect.Value) {
		switch {
		case tag == "secret" && !f.IsZero():
		case old.IsValid():
			f.Set(old)
		default:
			f.SetZero()
		}
	})
}

// hidePrivate clears the fields of t tagged rp:"private" or rp:"secret".
func hidePrivate[T any](t *T) {
	eachField(reflect.ValueOf(t).Elem(), reflect.Value{}, func(tag string, f, _ reflect.Value) {
		if tag != "readonly" {
			f.SetZero()
		}
	})
}

// eachField calls f for every tagged field under v, with its counterpart in old if there is one.
func eachField(v, old reflect.Value, f func(tag string, field, old reflect.Value)) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
		if old.IsValid() && !old.IsNil() {
			old = old.Elem()
		} else {
			old = reflect.Value{}
		}
	}
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if !sf.IsExported() {
			continue
		}
		var was reflect.Value
		if old.IsValid() {
			was = old.Field(i)
		}
		if tag := sf.Tag.Get("rp"); tag != "" {
			f(tag, v.Field(i), was)
			continue
		}
		eachField(v.Field(i), was, f)
	}
}
