package kql

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxText is the size of a text that Kusto keeps whole.
const maxText = 1 << 20

// ticks is the form of times in answers: .NET's, to a tenth of a microsecond.
const ticks = "2006-01-02T15:04:05.0000000Z"

// text is a value as tostring() writes it; null is the empty text.
func text(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case int64:
		return strconv.FormatInt(x, 10)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case time.Time:
		return x.UTC().Format(ticks)
	case time.Duration:
		return timespan(x)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// timespan writes [d.]hh:mm:ss[.fffffff].
func timespan(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	days, d := d/(24*time.Hour), d%(24*time.Hour)
	h, m, s, rest := d/time.Hour, d/time.Minute%60, d/time.Second%60, d%time.Second/100
	out := fmt.Sprintf("%02d:%02d:%02d", h, m, s)
	if days > 0 {
		out = fmt.Sprintf("%d.%s", days, out)
	}
	if rest > 0 {
		out += fmt.Sprintf(".%07d", rest)
	}
	return sign + out
}

// Cell is a value as answers show it.
func Cell(v any) any {
	switch x := v.(type) {
	case time.Time:
		return x.UTC().Format(ticks)
	case time.Duration:
		return timespan(x)
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Sprint(x)
		}
	}
	return v
}

// Plain makes of decoded JSON what cells of Dynamic have: json.Number becomes int64 or float64.
func Plain(v any) any {
	switch x := v.(type) {
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		f, _ := x.Float64()
		return f
	case []any:
		for i := range x {
			x[i] = Plain(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = Plain(x[k])
		}
	case []string:
		out := make([]any, len(x))
		for i := range x {
			out[i] = x[i]
		}
		return out
	}
	return v
}

// maxJSON is how deep parse_json looks; encoding/json has a bound of its own.
func parseJSON(s string) (any, bool) {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, false
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, false
	}
	return Plain(v), true
}

func readDynamic(s string) (any, Type, bool) {
	if v, ok := parseJSON(s); ok {
		return v, Dynamic, true
	}
	v, ok := parseJSON(quotesAsJSON(s)) // Kusto lets texts stand in single quotes
	return v, Dynamic, ok
}

// quotesAsJSON turns texts in single quotes into JSON's.
func quotesAsJSON(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '"' && c != '\'' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('"')
		for i++; i < len(s) && s[i] != c; i++ {
			switch {
			case s[i] == '\\' && i+1 < len(s):
				i++
				if s[i] != '\'' {
					b.WriteByte('\\')
				}
				b.WriteByte(s[i])
			case s[i] == '"':
				b.WriteString(`\"`)
			default:
				b.WriteByte(s[i])
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// layouts of times that Kusto reads.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.9999999", "2006-01-02T15:04", "2006-01-02 15:04:05.9999999Z07:00", "2006-01-02 15:04:05.9999999", "2006-01-02 15:04", "2006-01-02",
	"2006-01", "1/2/2006 3:04:05 PM", "1/2/2006 15:04:05", "1/2/2006", time.RFC1123, time.RFC850,
}

func parseTime(s string) (time.Time, bool) {
	for _, l := range layouts {
		if t, err := time.Parse(l, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

func unquote(s string) string { return strings.Trim(strings.TrimSpace(s), `"'`) }

func readDatetime(s string) (any, Type, bool) {
	if s = unquote(s); s == "null" {
		return nil, Datetime, true
	}
	t, ok := parseTime(s)
	return t, Datetime, ok
}

func readGUID(s string) (any, Type, bool) { return strings.ToLower(unquote(s)), String, true }

var spanForm = regexp.MustCompile(`^(-)?(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?$`)

func parseTimespan(s string) (time.Duration, bool) {
	m := spanForm.FindStringSubmatch(s)
	if m == nil {
		if s == "" || !digit(s[0]) {
			return 0, false
		}
		t, _, f := scanNumber(s, 0)
		if f != nil || t.typ != Timespan || t.text != s {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil && n < 100_000 && n > -100_000 {
				return time.Duration(n) * 24 * time.Hour, true
			}
			return 0, false
		}
		return t.value.(time.Duration), true
	}
	number := func(i int) time.Duration { n, _ := strconv.ParseInt(m[i], 10, 64); return time.Duration(n) }
	if len(m[2]) > 5 {
		return 0, false
	}
	d := number(2)*24*time.Hour + number(3)*time.Hour + number(4)*time.Minute + number(5)*time.Second
	if m[6] != "" {
		n, _ := strconv.ParseInt((m[6] + "000000")[:7], 10, 64)
		d += time.Duration(n) * 100
	}
	if m[1] != "" {
		d = -d
	}
	return d, true
}

func readTimespan(s string) (any, Type, bool) {
	if s = unquote(s); s == "null" {
		return nil, Timespan, true
	}
	if s == "" {
		return nil, Timespan, false
	}
	d, ok := parseTimespan(s)
	return d, Timespan, ok
}

func number(v any) (float64, bool) {
	switch x := v.(type) {
	case int64:
		return float64(x), true
	case float64:
		return x, true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(x), 64)
		return f, err == nil
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case time.Duration:
		return float64(x), true
	}
	return 0, false
}

// Convert makes a value of a type, or null ("" of String).
func Convert(v any, t Type) any { return convert(v, t) }

// convert makes a value of a type, or null.
func convert(v any, t Type) any {
	if v == nil {
		if t == String {
			return ""
		}
		return nil
	}
	switch t {
	case String:
		return text(v)
	case Long:
		switch x := v.(type) {
		case int64:
			return x
		case float64:
			return whole(x)
		case bool:
			n, _ := number(x)
			return int64(n)
		case time.Duration:
			return int64(x / 100)
		case time.Time:
			return x.UnixNano()/100 + 621355968000000000
		case string:
			if n, err := strconv.ParseInt(strings.TrimSpace(x), 0, 64); err == nil {
				return n
			}
			if f, err := strconv.ParseFloat(strings.TrimSpace(x), 64); err == nil {
				return whole(f)
			}
		}
	case Real:
		if f, ok := number(v); ok {
			return f
		}
	case Bool:
		switch x := v.(type) {
		case bool:
			return x
		case int64:
			return x != 0
		case float64:
			return x != 0
		case string:
			if strings.EqualFold(x, "true") || x == "1" {
				return true
			}
			if strings.EqualFold(x, "false") || x == "0" {
				return false
			}
		}
	case Datetime:
		switch x := v.(type) {
		case time.Time:
			return x
		case string:
			if t, ok := parseTime(strings.TrimSpace(x)); ok {
				return t
			}
		}
	case Timespan:
		switch x := v.(type) {
		case time.Duration:
			return x
		case string:
			if d, ok := parseTimespan(strings.TrimSpace(x)); ok {
				return d
			}
		}
	case Dynamic:
		return v
	}
	return nil
}

func whole(f float64) any {
	if math.IsNaN(f) || math.Abs(f) >= 1<<63 {
		return nil
	}
	return int64(f)
}

// equal is == of two values of which neither is null; ok is false where they cannot be compared.
func equal(a, b any) bool {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x == y
		}
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Equal(y)
		}
	case bool:
		if y, ok := b.(bool); ok {
			return x == y
		}
	case int64:
		if y, ok := b.(int64); ok {
			return x == y
		}
	}
	_, aText := a.(string)
	_, bText := b.(string)
	if aText != bText { // a dynamic beside a text
		return text(a) == text(b)
	}
	x, ok := number(a)
	y, ok2 := number(b)
	if ok && ok2 && !aText {
		return x == y
	}
	return text(a) == text(b)
}

// order compares values for sorting and <; nulls are told apart before.
func order(a, b any) int {
	switch x := a.(type) {
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y)
		}
	case string:
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y)
		}
	case int64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y)
		}
	}
	x, ok := number(a)
	y, ok2 := number(b)
	if ok && ok2 {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(text(a), text(b))
}

// key is a value as a key of maps: two values that == are the same.
func key(v any) any {
	switch x := v.(type) {
	case nil, string, bool, int64:
		return x
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return int64(x)
		}
		return x
	case time.Time:
		return x.UnixNano()
	case time.Duration:
		return x
	}
	return "\x00" + text(v)
}

// keyOf is the key of several values.
func keyOf(values []any) string {
	var b strings.Builder
	for _, v := range values {
		k := key(v)
		s := fmt.Sprint(k)
		fmt.Fprintf(&b, "%T:%d:%s;", k, len(s), s)
	}
	return b.String()
}
