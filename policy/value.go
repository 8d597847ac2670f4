package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// decode reads JSON and keeps numbers as they are written.
func decode(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return dec.Decode(v)
}

// member looks a member of an object up without regard to case.
func member(m map[string]any, name string) (any, bool) {
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

// memberName is the spelling of a member that an object has.
func memberName(m map[string]any, name string) (string, bool) {
	if _, ok := m[name]; ok {
		return name, true
	}
	for k := range m {
		if strings.EqualFold(k, name) {
			return k, true
		}
	}
	return name, false
}

// isNull says that there is no value: a missing member, null, and what an expression makes of them.
func isNull(v any) bool { return v == nil }

// number is a JSON number, or ok false.
func number(v any) (*big.Rat, bool) {
	switch n := v.(type) {
	case json.Number:
		return rational(n.String())
	case float64:
		return new(big.Rat).SetString(strconv.FormatFloat(n, 'g', -1, 64))
	case int:
		return new(big.Rat).SetInt64(int64(n)), true
	case int64:
		return new(big.Rat).SetInt64(n), true
	}
	return nil, false
}

// rational reads a decimal number of bounded size: an exponent may not make a value of a million digits.
func rational(s string) (*big.Rat, bool) {
	if len(s) > 64 || s == "" || strings.ContainsAny(s, "/_xXpPbBoO") {
		return nil, false
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.Atoi(s[i+1:]); err != nil || e > 400 || e < -400 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(s)
}

// text is a scalar as conditions compare it; ok is false for arrays and objects. There being no value reads as
// the empty string.
func text(v any) (s string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	}
	if n, ok := number(v); ok {
		if n.IsInt() {
			return n.Num().String(), true
		}
		f, _ := n.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64), true
	}
	return "", false
}

// equal compares as the conditions equals and in do: without regard to case, and a number or a boolean is equal to
// its text. Arrays and objects are equal to their like.
func equal(a, b any) bool {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.EqualFold(x, y)
		}
	}
	x, scalar := text(a)
	y, scalarToo := text(b)
	switch {
	case scalar && scalarToo:
		if strings.EqualFold(x, y) {
			return true
		}
		if _, isText := a.(string); isText {
			if _, isText := b.(string); isText {
				return false
			}
		}
		p, ok := rational(x)
		q, ok2 := rational(y)
		return ok && ok2 && p.Cmp(q) == 0
	case scalar != scalarToo:
		return false
	}
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			w, ok := member(b, k)
			if !ok || !equal(v, w) {
				return false
			}
		}
		return true
	}
	return false
}

// order compares for less and greater: numbers, dates, else texts without regard to case. Values of different
// types are an error.
func order(a, b any) (int, error) {
	x, isText := a.(string)
	y, isTextToo := b.(string)
	if isText && isTextToo {
		if s, ok := date(x); ok {
			if t, ok := date(y); ok {
				return s.Compare(t), nil
			}
		}
		return strings.Compare(strings.ToLower(x), strings.ToLower(y)), nil
	}
	p, ok := ordinal(a)
	q, okToo := ordinal(b)
	if ok && okToo {
		return p.Cmp(q), nil
	}
	return 0, fmt.Errorf("%s and %s cannot be ordered: their types differ", describe(a), describe(b))
}

// ordinal is a number, also one that is written as text.
func ordinal(v any) (*big.Rat, bool) {
	if s, ok := v.(string); ok {
		return rational(s)
	}
	return number(v)
}

func date(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02") || s[4] != '-' {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// describe is a value in an error message.
func describe(v any) string {
	if s, ok := text(v); ok {
		if len(s) > 128 {
			s = s[:128] + "…"
		}
		return "'" + s + "'"
	}
	if _, ok := v.([]any); ok {
		return "an array"
	}
	return "an object"
}

// like matches a text without regard to case with a pattern in which * is any run of characters. It takes time
// in proportion to the lengths' product at worst.
func like(s, pattern string) bool {
	t, p := []rune(strings.ToLower(s)), []rune(strings.ToLower(pattern))
	i, j, star, mark := 0, 0, -1, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j] == '*':
			star, mark = j, i
			j++
		case j < len(p) && p[j] == t[i]:
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '*' {
		j++
	}
	return j == len(p)
}

// match compares letter by letter: # is a digit, ? a letter, . anything.
func match(s, pattern string, fold bool) bool {
	if fold {
		s, pattern = strings.ToLower(s), strings.ToLower(pattern)
	}
	t, p := []rune(s), []rune(pattern)
	if len(t) != len(p) {
		return false
	}
	for i, c := range p {
		switch c {
		case '#':
			if t[i] < '0' || t[i] > '9' {
				return false
			}
		case '?':
			if !unicode.IsLetter(t[i]) {
				return false
			}
		case '.':
		default:
			if t[i] != c {
				return false
			}
		}
	}
	return true
}

// clone copies a tree, so that changing it changes nobody else's.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, e := range v {
			a[i] = clone(e)
		}
		return a
	}
	return v
}
