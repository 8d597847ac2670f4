package expr

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// callFormat is .NET's composite formatting in the invariant culture ("{index,alignment:specifier}").
func callFormat(c *Call) (any, error) {
	f, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	invalid := func(why string) error {
		return errorf("Unable to evaluate language function 'format': the format is invalid: '%s'. Please see https://aka.ms/arm-function-format for usage details.", why)
	}
	const wrong = "Input string was not in a correct format."
	var b strings.Builder
	for i := 0; i < len(f); {
		ch := f[i]
		switch {
		case (ch == '{' || ch == '}') && i+1 < len(f) && f[i+1] == ch:
			b.WriteByte(ch)
			i += 2
			continue
		case ch == '}':
			return nil, invalid(wrong)
		case ch != '{':
			b.WriteByte(ch)
			i++
			continue
		}
		end := strings.IndexByte(f[i:], '}')
		if end < 0 {
			return nil, invalid(wrong)
		}
		hole, spec, _ := strings.Cut(f[i+1:i+end], ":")
		i += end + 1
		at, align, aligned := strings.Cut(hole, ",")
		n, err := strconv.Atoi(strings.TrimSpace(at))
		if err != nil || n < 0 {
			return nil, invalid(wrong)
		}
		if n+1 >= len(c.Args) {
			return nil, invalid("Index (zero based) must be greater than or equal to zero and less than the size of the argument list.")
		}
		text, err := formatted(c.Args[n+1], spec)
		if err != nil {
			return nil, invalid(err.Error())
		}
		if aligned {
			width, err := strconv.Atoi(strings.TrimSpace(align))
			if err != nil || width > 1<<16 || width < -(1<<16) {
				return nil, invalid(wrong)
			}
			if gap := max(width, -width) - units(text); gap > 0 && width > 0 {
				text = strings.Repeat(" ", gap) + text
			} else if gap > 0 {
				text += strings.Repeat(" ", gap)
			}
		}
		b.WriteString(text)
		if b.Len() > maxString {
			return nil, c.Fail("its result has more than '%d' characters.", maxString)
		}
	}
	return b.String(), nil
}

func formatted(v any, spec string) (string, error) {
	switch v := v.(type) {
	case int64, float64:
		if spec != "" {
			return formatNumber(v, spec)
		}
	case []any, *Object:
		e := encoder{limit: maxString, quote: '\''} // as Azure writes them here
		if err := e.value(v); err != nil {
			return "", err
		}
		return string(e.out), nil
	}
	return String(v)
}

var errSpecifier = errors.New("Format specifier was invalid.")

// formatNumber follows .NET's standard and custom numeric format strings in the invariant culture.
func formatNumber(v any, spec string) (string, error) {
	letter := spec[0] | 0x20
	precision := -1
	if len(spec) > 1 {
		n, err := strconv.Atoi(spec[1:])
		if err != nil || n < 0 || n > 1000 || letter < 'a' || letter > 'z' {
			return customNumber(v, spec)
		}
		precision = n
	} else if letter < 'a' || letter > 'z' {
		return customNumber(v, spec)
	}
	f, _ := float(v)
	n, whole := v.(int64)
	digits := func(standard int) int {
		if precision < 0 {
			return standard
		}
		return precision
	}
	switch letter {
	case 'd':
		if !whole {
			return "", errSpecifier
		}
		return pad(strconv.FormatInt(n, 10), precision), nil
	case 'x', 'b':
		if !whole {
			return "", errSpecifier
		}
		base := 16
		if letter == 'b' {
			base = 2
		}
		s := strconv.FormatUint(uint64(n), base)
		if spec[0] == 'X' {
			s = strings.ToUpper(s)
		}
		return pad(s, precision), nil
	case 'f':
		return fixed(v, digits(2)), nil
	case 'n':
		return grouped(fixed(v, digits(2))), nil
	case 'c':
		s := grouped(fixed(v, digits(2)))
		if rest, negative := strings.CutPrefix(s, "-"); negative {
			return "(¤" + rest + ")", nil
		}
		return "¤" + s, nil
	case 'p':
		return grouped(fixed(f*100, digits(2))) + " %", nil
	case 'e':
		s := strconv.FormatFloat(f, 'e', digits(6), 64)
		mantissa, exponent, _ := strings.Cut(s, "e")
		return mantissa + spec[:1] + exponent[:1] + pad(exponent[1:], 3), nil
	case 'g', 'r':
		if whole && precision <= 0 {
			return strconv.FormatInt(n, 10), nil
		}
		if precision <= 0 {
			return floatText(f, false), nil
		}
		return strings.ToUpper(strconv.FormatFloat(f, 'g', precision, 64)), nil
	}
	return "", errSpecifier
}

// pad puts zeros before the digits of a number.
func pad(s string, width int) string {
	sign := ""
	if rest, negative := strings.CutPrefix(s, "-"); negative {
		sign, s = "-", rest
	}
	return sign + strings.Repeat("0", max(0, width-len(s))) + s
}

func fixed(v any, digits int) string {
	if n, ok := v.(int64); ok {
		s := strconv.FormatInt(n, 10)
		if digits > 0 {
			s += "." + strings.Repeat("0", digits)
		}
		return s
	}
	f, _ := float(v)
	return strconv.FormatFloat(f, 'f', digits, 64)
}

// grouped puts commas between thousands.
func grouped(s string) string {
	sign := ""
	if rest, negative := strings.CutPrefix(s, "-"); negative {
		sign, s = "-", rest
	}
	whole, fraction, point := strings.Cut(s, ".")
	var b strings.Builder
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	if point {
		b.WriteByte('.')
	}
	return sign + b.String() + fraction
}

// customNumber follows a picture of 0, #, point, comma, percent, quoted text and sections.
func customNumber(v any, picture string) (string, error) {
	f, _ := float(v)
	sections := strings.Split(picture, ";")
	switch {
	case len(sections) > 1 && f < 0 && sections[1] != "":
		picture, v = sections[1], math.Abs(f)
	case len(sections) > 2 && f == 0:
		picture = sections[2]
	default:
		picture = sections[0]
	}
	var prefix, suffix strings.Builder
	least, most, decimals, leastDecimals := 0, 0, 0, 0
	point, group, percent := false, false, false
	seen := false
	for i := 0; i < len(picture); {
		r, n := utf8.DecodeRuneInString(picture[i:])
		i += n
		out := &prefix
		if seen {
			out = &suffix
		}
		switch r {
		case '0', '#':
			seen = true
			switch {
			case point:
				decimals++
				if r == '0' {
					leastDecimals = decimals
				}
			default:
				most++
				if r == '0' || least > 0 {
					least++
				}
			}
		case '.':
			point, seen = true, true
		case ',':
			group = group || seen && !point
		case '%':
			percent = true
			out.WriteByte('%')
		case '\'', '"':
			end := strings.IndexRune(picture[i:], r)
			if end < 0 {
				return "", errSpecifier
			}
			out.WriteString(picture[i : i+end])
			i += end + 1
		case '\\':
			if i < len(picture) {
				r, n := utf8.DecodeRuneInString(picture[i:])
				out.WriteRune(r)
				i += n
			}
		default:
			out.WriteRune(r)
		}
	}
	if percent {
		f, _ = float(v)
		v = f * 100
	}
	s := ""
	if n, ok := v.(int64); ok {
		s = strconv.FormatInt(n, 10)
	} else {
		f, _ = float(v)
		s = strconv.FormatFloat(f, 'f', decimals, 64)
	}
	negative := strings.HasPrefix(s, "-")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	fraction += strings.Repeat("0", max(0, leastDecimals-len(fraction)))
	for len(fraction) > leastDecimals && strings.HasSuffix(fraction, "0") {
		fraction = fraction[:len(fraction)-1]
	}
	if whole == "0" && least == 0 {
		whole = ""
	}
	whole = pad(whole, least)
	if group {
		whole = grouped(whole)
	}
	if most == 0 && decimals == 0 {
		whole = ""
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if negative && strings.ContainsAny(whole, "123456789") {
		return "-" + prefix.String() + whole + suffix.String(), nil
	}
	return prefix.String() + whole + suffix.String(), nil
}
