package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Object is a JSON object. Its members keep their order and the case of their names. The nil object is empty and can
// be read.
type Object struct {
	keys   []string
	values map[string]any
}

// NewObject makes an empty object with room for n members.
func NewObject(n int) *Object {
	return &Object{keys: make([]string, 0, n), values: make(map[string]any, n)}
}

// ObjectOf makes an object of names and values in turn. It panics on anything else: they are written in the source.
func ObjectOf(pairs ...any) *Object {
	o := NewObject(len(pairs) / 2)
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

// Set adds a member, or replaces one of exactly this name. It is for objects under construction only.
func (o *Object) Set(name string, v any) {
	if _, ok := o.values[name]; !ok {
		o.keys = append(o.keys, name)
	}
	o.values[name] = v
}

// Get is the member of exactly this name.
func (o *Object) Get(name string) (any, bool) {
	if o == nil {
		return nil, false
	}
	v, ok := o.values[name]
	return v, ok
}

// Lookup is the member of this name without regard to case, as templates see objects; the exact one first.
func (o *Object) Lookup(name string) (any, bool) {
	if o == nil {
		return nil, false
	}
	if v, ok := o.values[name]; ok {
		return v, true
	}
	for _, k := range o.keys {
		if len(k) == len(name) && strings.EqualFold(k, name) {
			return o.values[k], true
		}
	}
	return nil, false
}

// Text is the string of this name, "" when there is none.
func (o *Object) Text(name string) string {
	v, _ := o.Lookup(name)
	s, _ := v.(string)
	return s
}

// Len is the number of members; the nil object has none.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.keys)
}

// All are the members in their order.
func (o *Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if o == nil {
			return
		}
		for _, k := range o.keys {
			if !yield(k, o.values[k]) {
				return
			}
		}
	}
}

// Clone is a shallow copy.
func (o *Object) Clone() *Object {
	if o == nil {
		return NewObject(0)
	}
	return &Object{keys: slices.Clone(o.keys), values: maps.Clone(o.values)}
}

// Without is a copy without the members of these names, whatever their case.
func (o *Object) Without(names ...string) *Object {
	out := NewObject(o.Len())
	for k, v := range o.All() {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, k) }) {
			out.Set(k, v)
		}
	}
	return out
}

// MarshalJSON writes the members in their order.
func (o *Object) MarshalJSON() ([]byte, error) { return Encode(o, math.MaxInt) }

// TypeOf is the name of a value's type as messages of Azure write it.
func TypeOf(v any) string {
	switch v.(type) {
	case nil:
		return "Null"
	case bool:
		return "Boolean"
	case int64:
		return "Integer"
	case float64:
		return "Float"
	case string:
		return "String"
	case []any:
		return "Array"
	case *Object:
		return "Object"
	case *Lambda:
		return "Lambda"
	}
	return fmt.Sprintf("%T", v)
}

// From makes a value of what encoding/json decodes into an any: maps become objects in the order of their names,
// whole numbers integers.
func From(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := NewObject(len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o.Set(k, From(v[k]))
		}
		return o
	case map[string]string:
		o := NewObject(len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o.Set(k, v[k])
		}
		return o
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = From(item)
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = item
		}
		return out
	case json.Number:
		return number(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	case int:
		return int64(v)
	}
	return v
}

// To is the reverse of From: maps, slices, strings, booleans, int64 and float64.
func To(v any) any {
	switch v := v.(type) {
	case *Object:
		m := make(map[string]any, v.Len())
		for k, item := range v.All() {
			m[k] = To(item)
		}
		return m
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = To(item)
		}
		return out
	}
	return v
}

func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil { // outside of what a float holds
		return n.String()
	}
	return f
}

// Decode reads JSON of one value, keeping the order of members. Of members with the same name the last counts.
func Decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("additional text after the JSON value")
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			o := NewObject(4)
			for d.More() {
				name, err := d.Token()
				if err != nil {
					return nil, err
				}
				v, err := decode(d, depth+1)
				if err != nil {
					return nil, err
				}
				o.Set(name.(string), v)
			}
			_, err := d.Token()
			return o, err
		}
		list := []any{}
		for d.More() {
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	case json.Number:
		return number(t), nil
	}
	return token, nil
}

// ErrTooLong is returned by Encode for a value whose JSON is longer than allowed.
var ErrTooLong = errors.New("expr: the value is longer than allowed")

// Encode writes a value as compact JSON of at most limit bytes.
func Encode(v any, limit int) ([]byte, error) {
	e := encoder{limit: limit, quote: '"'}
	if err := e.value(v); err != nil {
		return nil, err
	}
	return e.out, nil
}

type encoder struct {
	out   []byte
	limit int
	quote byte // format writes objects with single quotes
}

func (e *encoder) value(v any) error {
	switch v := v.(type) {
	case nil:
		e.out = append(e.out, "null"...)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case int:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case float64:
		e.out = append(e.out, floatText(v, true)...)
	case string:
		e.string(v)
	case []any:
		e.out = append(e.out, '[')
		for i, item := range v {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			if err := e.value(item); err != nil {
				return err
			}
		}
		e.out = append(e.out, ']')
	case *Object:
		e.out = append(e.out, '{')
		first := true
		for k, item := range v.All() {
			if !first {
				e.out = append(e.out, ',')
			}
			first = false
			e.string(k)
			e.out = append(e.out, ':')
			if err := e.value(item); err != nil {
				return err
			}
		}
		e.out = append(e.out, '}')
	case *Lambda:
		return errorf("A lambda expression is not a value.")
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		e.out = append(e.out, b...)
	}
	if len(e.out) > e.limit {
		return ErrTooLong
	}
	return nil
}

func (e *encoder) string(s string) {
	e.out = append(e.out, e.quote)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == e.quote || c == '\\':
			e.out = append(e.out, '\\', c)
		case c == '\n':
			e.out = append(e.out, '\\', 'n')
		case c == '\r':
			e.out = append(e.out, '\\', 'r')
		case c == '\t':
			e.out = append(e.out, '\\', 't')
		case c == '\b':
			e.out = append(e.out, '\\', 'b')
		case c == '\f':
			e.out = append(e.out, '\\', 'f')
		case c < ' ':
			e.out = fmt.Appendf(e.out, `\u%04x`, c)
		case c < utf8.RuneSelf:
			e.out = append(e.out, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			e.out = utf8.AppendRune(e.out, r)
			i += n
			continue
		}
		i++
	}
	e.out = append(e.out, e.quote)
}

// floatText writes a float as .NET does; in JSON a whole number keeps its point.
func floatText(f float64, inJSON bool) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "null"
	}
	s := strconv.FormatFloat(f, 'G', -1, 64)
	if a := math.Abs(f); a >= 1e-5 && a < 1e15 || f == 0 {
		s = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if inJSON && !strings.ContainsAny(s, ".Ee") {
		s += ".0"
	}
	return s
}

// maxString is the longest string that a function makes, in bytes.
const maxString = 4 << 20

// String is the text of a value as the function string makes it: strings as they are, True and False, JSON of
// arrays and objects.
func String(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case float64:
		return floatText(v, false), nil
	}
	b, err := Encode(v, maxString)
	if errors.Is(err, ErrTooLong) {
		return "", errorf("The value is too long for a string: more than %d characters.", maxString)
	}
	return string(b), err
}

// Equal compares values deeply; strings and names of members by case. A whole float equals the integer.
func Equal(a, b any) bool {
	n := expressionSteps
	return equal(a, b, &n)
}

func equal(a, b any, steps *int) bool {
	if *steps--; *steps < 0 {
		return false
	}
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return x == y
		case float64:
			return float64(x) == y
		}
		return false
	case float64:
		switch y := b.(type) {
		case int64:
			return x == float64(y)
		case float64:
			return x == y
		}
		return false
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equal(x[i], y[i], steps) {
				return false
			}
		}
		return true
	case *Object:
		y, ok := b.(*Object)
		if !ok || x.Len() != y.Len() {
			return false
		}
		if x == y {
			return true
		}
		for k, v := range x.All() {
			if _, exact := y.values[k]; !exact {
				*steps -= y.Len() // a look at every name
			}
			w, ok := y.Lookup(k)
			if !ok || !equal(v, w, steps) {
				return false
			}
		}
		return true
	case *Lambda:
		return false
	case nil, bool, string:
		return a == b
	}
	return false
}
