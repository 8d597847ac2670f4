package authz

import (
	"strconv"
	"strings"
	"time"
)

// operator compares two values; undecided when one of them is not of its type.
type operator struct {
	name    string
	compare func(a, b string) truth
	literal func(s string) bool // whether a literal is of the operator's type; nil: any
	must    string              // what literals must be
}

// operators by their names in lower case.
var operators = func() map[string]*operator {
	all := map[string]*operator{}
	add := func(name string, literal func(string) bool, must string, compare func(a, b string) truth) {
		all[lower(name)] = &operator{name: name, compare: compare, literal: literal, must: must}
	}
	// String…, StringNot…, each also with IgnoreCase
	for name, f := range map[string]func(a, b string) bool{
		"Equals": func(a, b string) bool { return a == b }, "StartsWith": strings.HasPrefix, "Like": like,
	} {
		for _, ignore := range []bool{false, true} {
			for _, negated := range []bool{false, true} {
				text := "String"
				if negated {
					text += "Not"
				}
				text += name
				if ignore {
					text += "IgnoreCase"
				}
				add(text, nil, "", func(a, b string) truth {
					if ignore {
						a, b = strings.ToLower(a), strings.ToLower(b)
					}
					return truthOf(f(a, b) != negated)
				})
			}
		}
	}
	for name, f := range map[string]func(c int) bool{
		"Equals": func(c int) bool { return c == 0 }, "NotEquals": func(c int) bool { return c != 0 },
		"LessThan": func(c int) bool { return c < 0 }, "LessThanEquals": func(c int) bool { return c <= 0 },
		"GreaterThan": func(c int) bool { return c > 0 }, "GreaterThanEquals": func(c int) bool { return c >= 0 },
	} {
		add("Numeric"+name, isNumber, "whole numbers", func(a, b string) truth { return ordered(a, b, number, f) })
		add("DateTime"+name, isDate, "times as 2023-05-01T13:00:00.0Z", func(a, b string) truth { return ordered(a, b, date, f) })
	}
	for _, negated := range []bool{false, true} {
		text := "Equals"
		if negated {
			text = "NotEquals"
		}
		add("Bool"+text, isBool, "true or false", func(a, b string) truth {
			x, okX := boolean(a)
			y, okY := boolean(b)
			if !okX || !okY {
				return unknown
			}
			return truthOf((x == y) != negated)
		})
		add("Guid"+text, isGUID, "GUIDs", func(a, b string) truth {
			x, okX := guid(a)
			y, okY := guid(b)
			if !okX || !okY {
				return unknown
			}
			return truthOf((x == y) != negated)
		})
	}
	return all
}()

func ordered(a, b string, parse func(string) (int64, bool), f func(int) bool) truth {
	x, okX := parse(a)
	y, okY := parse(b)
	switch {
	case !okX || !okY:
		return unknown
	case x < y:
		return truthOf(f(-1))
	case x > y:
		return truthOf(f(1))
	}
	return truthOf(f(0))
}

func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// date is a time in Azure's ticks of 100 ns since 1970.
func date(s string) (int64, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Unix()*1e7 + int64(t.Nanosecond()/100), true
		}
	}
	return 0, false
}

func boolean(s string) (value, ok bool) {
	switch lower(s) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// guid is a GUID's 32 digits, also of one without dashes, as built-in roles write some.
func guid(s string) (string, bool) {
	digits := lower(strings.ReplaceAll(s, "-", ""))
	if len(digits) != 32 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", false
	}
	return digits, true
}

func isNumber(s string) bool { _, ok := number(s); return ok }
func isDate(s string) bool   { _, ok := date(s); return ok }
func isBool(s string) bool   { _, ok := boolean(s); return ok }
func isGUID(s string) bool   { _, ok := guid(s); return ok }

// like matches a pattern in which * is any run of characters and ? is one; a backslash before either makes it plain.
// It takes time in proportion to both lengths at most.
func like(s, pattern string) bool {
	text, glob := []rune(s), []rune(pattern)
	i, j, star, mark := 0, 0, -1, 0
	for i < len(text) {
		c, n, kind := next(glob[min(j, len(glob)):])
		switch {
		case kind == '*':
			star, mark = j+n, i
			j = star
		case kind == '?' || kind == 'c' && c == text[i]:
			i, j = i+1, j+n
		case star >= 0: // let the last star take one more
			mark++
			i, j = mark, star
		default:
			return false
		}
	}
	for j < len(glob) {
		_, n, kind := next(glob[j:])
		if kind != '*' {
			return false
		}
		j += n
	}
	return true
}

// next is the first element of a pattern: kind '*', '?', 'c' for the character c, 0 at its end; n is its length.
func next(glob []rune) (c rune, n int, kind byte) {
	switch {
	case len(glob) == 0:
		return 0, 0, 0
	case glob[0] == '*':
		return 0, 1, '*'
	case glob[0] == '?':
		return 0, 1, '?'
	case glob[0] == '\\' && len(glob) > 1 && (glob[1] == '*' || glob[1] == '?'):
		return glob[1], 2, 'c'
	}
	return glob[0], 1, 'c'
}
