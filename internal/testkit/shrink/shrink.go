// Package shrink makes failing test inputs small: what is left of one is what the failure needs.
package shrink

import (
	"reflect"
	"slices"
)

// Value takes parts out of what p points to, as long as it still fails: elements of slices and maps, pointers,
// and fields of simple types. What fails must be a function of *p alone; it is asked at most limit times and has to
// say no for values that are not valid. Unexported fields and interfaces stay as they are.
func Value(p any, limit int, fails func() bool) {
	s := &shrinker{fails: fails, left: limit}
	for s.changed = true; s.changed && s.left > 0; {
		s.changed = false
		s.value(reflect.ValueOf(p).Elem())
	}
}

type shrinker struct {
	fails   func() bool
	left    int
	changed bool
}

// try keeps a smaller value if it fails too.
func (s *shrinker) try(v reflect.Value, smaller reflect.Value) bool {
	if s.left--; s.left < 0 {
		return false
	}
	before := reflect.New(v.Type()).Elem()
	before.Set(v)
	v.Set(smaller)
	if s.fails() {
		s.changed = true
		return true
	}
	v.Set(before)
	return false
}

func (s *shrinker) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		s.slice(v)
	case reflect.Map:
		s.entries(v)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				s.value(v.Field(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() && !s.try(v, reflect.Zero(v.Type())) {
			s.value(v.Elem())
		}
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int16, reflect.Uint8, reflect.Uint16:
		if !v.IsZero() {
			s.try(v, reflect.Zero(v.Type()))
		}
	}
}

// slice takes out halves, quarters …, then looks into the elements that are left.
func (s *shrinker) slice(v reflect.Value) {
	if !v.CanSet() {
		return
	}
	for size := v.Len(); size > 0; size /= 2 {
		for from := 0; from+size <= v.Len(); {
			rest := reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v.Slice(0, from))
			if !s.try(v, reflect.AppendSlice(rest, v.Slice(from+size, v.Len()))) {
				from += size
			}
		}
	}
	if v.Len() == 0 {
		return
	}
	own := reflect.MakeSlice(v.Type(), v.Len(), v.Len()) // the elements may be shared with other slices
	reflect.Copy(own, v)
	v.Set(own)
	for i := range v.Len() {
		s.value(v.Index(i))
	}
}

func (s *shrinker) entries(v reflect.Value) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if a.Kind() != reflect.String || a.String() == b.String() {
			return 0
		}
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	for _, k := range keys {
		was := v.MapIndex(k)
		if s.left--; s.left < 0 {
			return
		}
		v.SetMapIndex(k, reflect.Value{})
		if s.fails() {
			s.changed = true
			continue
		}
		v.SetMapIndex(k, was)
		if was.Kind() == reflect.Pointer && !was.IsNil() {
			s.value(was.Elem())
		}
	}
}
