package expr

import (
	"cmp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func lower(s string) string { return strings.ToLower(s) }

// compareText is .NET's ordinal comparison.
func compareText(a, b string) int { return cmp.Compare(a, b) }

func texts() []Func {
	return []Func{
		{Name: "toLower", Min: 1, Max: 1, Call: mapText(strings.ToLower)},
		{Name: "toUpper", Min: 1, Max: 1, Call: mapText(strings.ToUpper)},
		{Name: "trim", Min: 1, Max: 1, Call: mapText(strings.TrimSpace)},
		{Name: "replace", Min: 3, Max: 3, Call: callReplace},
		{Name: "split", Min: 2, Max: 2, Call: callSplit},
		{Name: "join", Min: 2, Max: 2, Call: callJoin},
		{Name: "padLeft", Min: 2, Max: 3, Call: callPadLeft},
		{Name: "startsWith", Min: 2, Max: 2, Call: test(func(s, part string) bool { return len(s) >= len(part) && strings.EqualFold(s[:len(part)], part) })},
		{Name: "endsWith", Min: 2, Max: 2, Call: test(func(s, part string) bool { return len(s) >= len(part) && strings.EqualFold(s[len(s)-len(part):], part) })},
		{Name: "string", Min: 1, Max: 1, Call: func(c *Call) (any, error) { return String(c.Args[0]) }},
		{Name: "substring", Min: 2, Max: 3, Call: callSubstring},
		{Name: "format", Min: 1, Max: -1, Call: callFormat},
	}
}

func mapText(f func(string) string) func(*Call) (any, error) {
	return func(c *Call) (any, error) {
		s, err := c.Text(0)
		if err != nil {
			return nil, err
		}
		return f(s), nil
	}
}

func test(f func(s, part string) bool) func(*Call) (any, error) {
	return func(c *Call) (any, error) {
		s, err := c.Text(0)
		if err != nil {
			return nil, err
		}
		part, err := c.Text(1)
		if err != nil {
			return nil, err
		}
		return f(s, part), nil
	}
}

func callReplace(c *Call) (any, error) {
	var s [3]string
	for i := range s {
		var err error
		if s[i], err = c.Text(i); err != nil {
			return nil, err
		}
	}
	if s[1] == "" {
		return nil, c.Fail("the string to replace must not be empty.")
	}
	if n := strings.Count(s[0], s[1]); len(s[0])+n*(len(s[2])-len(s[1])) > maxString {
		return nil, c.Fail("its result has more than '%d' characters.", maxString)
	}
	return strings.ReplaceAll(s[0], s[1], s[2]), nil
}

func callSplit(c *Call) (any, error) {
	s, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	var by []string
	switch d := c.Args[1].(type) {
	case string:
		by = []string{d}
	case []any:
		for _, v := range d {
			t, ok := v.(string)
			if !ok {
				return nil, c.Fail("the delimiters must be strings, one is of type '%s'.", TypeOf(v))
			}
			by = append(by, t)
		}
	default:
		return nil, c.wrong(1, "String")
	}
	out := []any{}
	for start, i := 0, 0; ; {
		if err := c.Spend(1 + len(by)/16); err != nil {
			return nil, err
		}
		if i >= len(s) {
			return append(out, s[start:]), nil
		}
		step := 0
		for _, d := range by {
			if d != "" && strings.HasPrefix(s[i:], d) {
				step = len(d)
				break
			}
		}
		if step == 0 {
			i++
			continue
		}
		out = append(out, s[start:i])
		i += step
		start = i
	}
}

func callJoin(c *Call) (any, error) {
	list, err := c.Array(0)
	if err != nil {
		return nil, err
	}
	by, err := c.Text(1)
	if err != nil {
		return nil, err
	}
	return c.glue(list, by)
}

// glue writes values one after another with a text between them.
func (c *Call) glue(list []any, by string) (string, error) {
	var b strings.Builder
	for i, v := range list {
		s, err := String(v)
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteString(by)
		}
		b.WriteString(s)
		if b.Len() > maxString {
			return "", c.Fail("its result has more than '%d' characters.", maxString)
		}
	}
	return b.String(), nil
}

func callPadLeft(c *Call) (any, error) {
	var s string
	switch v := c.Args[0].(type) {
	case string:
		s = v
	case int64:
		s, _ = String(v)
	default:
		return nil, c.wrong(0, "String")
	}
	width, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	pad := " "
	if len(c.Args) == 3 {
		if pad, err = c.Text(2); err != nil {
			return nil, err
		}
	}
	if utf8.RuneCountInString(pad) != 1 {
		return nil, c.Fail("the padding must be a single character.")
	}
	if width < 0 || width > 1<<16 {
		return nil, c.Fail("the total length must be between '0' and '%d'.", 1<<16)
	}
	return strings.Repeat(pad, max(0, int(width)-units(s))) + s, nil
}

// units is the length of a string in .NET: UTF-16 code units.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// cut is the part of a string from unit start to unit end; a pair of surrogates is never cut.
func cut(s string, start, end int) string {
	if len(s) == units(s) {
		return s[start:end]
	}
	u := utf16.Encode([]rune(s))
	return string(utf16.Decode(u[start:end]))
}

func callSubstring(c *Call) (any, error) {
	s, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	start, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	n := int64(units(s))
	length := n - start
	if len(c.Args) == 3 && c.Args[2] != nil {
		if length, err = c.Int(2); err != nil {
			return nil, err
		}
	}
	if start < 0 || length < 0 || start > n || length > n-start {
		return nil, c.Fail("the index and length parameters must refer to a location within the string. The index parameter: '%d', the length parameter: '%d', the length of the string parameter: '%d'.", start, length, n)
	}
	return cut(s, int(start), int(start+length)), nil
}
