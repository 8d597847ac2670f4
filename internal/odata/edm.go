package odata

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// GUID is an Edm.Guid in lower case.
type GUID string

// ParseEDM reads a $filter in the older dialect that Table Storage speaks (OData 2.0, "Querying tables and entities"): typed
// literals (datetime'…', guid'…', X'…', binary'…', 5L), names and texts with case, no functions. Rows answer string, bool,
// int64, float64, time.Time, GUID and []byte; a comparison with a member that a row lacks, or of another type, is false.
func ParseEDM(s string) (Filter, error) {
	if len(s) > maxLength {
		return nil, fmt.Errorf("it is longer than %d characters", maxLength)
	}
	if strings.TrimSpace(s) == "" {
		return literal{true}, nil
	}
	p, err := newParser(s, nil)
	if err != nil {
		return nil, err
	}
	p.edm = true
	f, err := p.or(0)
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("'%s' stands where the end is expected", p.peek())
	}
	if err != nil {
		return nil, err
	}
	return match{f}, nil
}

var guidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ParseGUID reads an Edm.Guid.
func ParseGUID(s string) (GUID, bool) {
	s = strings.ToLower(s)
	return GUID(s), guidForm.MatchString(s)
}

// ParseDateTime reads an Edm.DateTime; without an offset it is UTC.
func ParseDateTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

var edmName = regexp.MustCompile(`^[\pL_][\pL\pN_]*$`)

// edmOperand reads a literal or the name of a property.
func (p *parser) edmOperand(t string) (expression, error) {
	if next := p.peek(); strings.HasPrefix(next, "'") {
		if kind := strings.ToLower(t); kind == "datetime" || kind == "guid" || kind == "x" || kind == "binary" {
			p.at++
			return typedLiteral(kind, next[1:len(next)-1])
		}
	}
	if t[0] == '\'' {
		return literal{strings.ReplaceAll(t[1:len(t)-1], "''", "'")}, nil
	}
	if p.peek() == "(" {
		return nil, fmt.Errorf("there is no function '%s'", t)
	}
	switch t {
	case "true", "false":
		return literal{t == "true"}, nil
	case "NaN":
		return literal{math.NaN()}, nil
	case "INF", "Infinity":
		return literal{math.Inf(1)}, nil
	case "-INF", "-Infinity":
		return literal{math.Inf(-1)}, nil
	}
	digits := strings.TrimSuffix(strings.TrimSuffix(t, "L"), "l")
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return literal{n}, nil
	}
	if c := t[0]; c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9' {
		if f, err := strconv.ParseFloat(strings.TrimRight(t, "dDfFmM"), 64); err == nil {
			return literal{f}, nil
		}
	}
	if !edmName.MatchString(t) {
		return nil, fmt.Errorf("'%s' is neither a value nor the name of a property", t)
	}
	return edmMember(t), nil
}

func typedLiteral(kind, text string) (expression, error) {
	switch kind {
	case "datetime":
		if t, ok := ParseDateTime(text); ok {
			return literal{t}, nil
		}
	case "guid":
		if g, ok := ParseGUID(text); ok {
			return literal{g}, nil
		}
	default:
		if b, err := hex.DecodeString(text); err == nil {
			return literal{b}, nil
		}
		if b, err := base64.StdEncoding.DecodeString(text); err == nil && kind == "binary" {
			return literal{b}, nil
		}
	}
	return nil, fmt.Errorf("%s'%s' is no value of its type", kind, text)
}

// edmMember is a property; alone it is true when it is there and true.
type edmMember string

func (m edmMember) value(r Row) (any, error) {
	v, ok := r.Member(string(m))
	if !ok {
		return false, nil
	}
	return v, nil
}

// edmComparison compares values of one type.
type edmComparison struct {
	op          string
	left, right expression
}

func (c edmComparison) value(r Row) (any, error) {
	a, ok := edmValue(c.left, r)
	if !ok {
		return false, nil
	}
	b, ok := edmValue(c.right, r)
	if !ok {
		return false, nil
	}
	n, ok := compareEDM(a, b)
	switch {
	case !ok:
		return false, nil
	case c.op == "eq":
		return n == 0, nil
	case c.op == "ne":
		return n != 0, nil
	case c.op == "gt":
		return n == 1, nil
	case c.op == "ge":
		return n == 0 || n == 1, nil
	case c.op == "lt":
		return n == -1, nil
	}
	return n == 0 || n == -1, nil
}

func edmValue(e expression, r Row) (any, bool) {
	if m, isMember := e.(edmMember); isMember {
		return r.Member(string(m))
	}
	v, err := e.value(r)
	return v, err == nil
}

// unordered is how NaN compares with everything.
const unordered = 2

// compareEDM orders two values of one type, -1, 0, 1 or unordered; ok is false for others.
func compareEDM(a, b any) (n int, ok bool) {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return strings.Compare(a, b), ok
	case GUID:
		b, ok := b.(GUID)
		return strings.Compare(string(a), string(b)), ok
	case []byte:
		b, ok := b.([]byte)
		return bytes.Compare(a, b), ok
	case time.Time:
		b, ok := b.(time.Time)
		return a.Compare(b), ok
	case bool:
		b, ok := b.(bool)
		switch {
		case a == b:
			return 0, ok
		case a:
			return 1, ok
		}
		return -1, ok
	case int64:
		if b, ok := b.(int64); ok {
			return order(a, b), true
		}
	}
	x, ok1 := edmNumber(a)
	y, ok2 := edmNumber(b)
	if x != x || y != y {
		return unordered, ok1 && ok2
	}
	return order(x, y), ok1 && ok2
}

func order[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func edmNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// Between are the least and the greatest text that a member has in rows which a filter of ParseEDM matches, as far as
// comparisons that only "and" joins say: low "" is none, bounded says whether high is one. Rows between need not match.
func Between(f Filter, member string) (low, high string, bounded bool) {
	m, ok := f.(match)
	if !ok {
		return "", "", false
	}
	return between(m.e, member)
}

func between(e expression, member string) (low, high string, bounded bool) {
	switch e := e.(type) {
	case logical:
		if e.or {
			return "", "", false
		}
		low, high, bounded = between(e.left, member)
		l, h, b := between(e.right, member)
		low = max(low, l)
		switch {
		case b && bounded:
			high = min(high, h)
		case b:
			high, bounded = h, true
		}
	case edmComparison:
		op, left, right := e.op, e.left, e.right
		if _, isLiteral := left.(literal); isLiteral {
			left, right = right, left
			op = map[string]string{"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq"}[op]
		}
		l, isLiteral := right.(literal)
		text, isText := l.v.(string)
		if m, isMember := left.(edmMember); !isMember || string(m) != member || !isLiteral || !isText {
			return "", "", false
		}
		switch op {
		case "eq":
			return text, text, true
		case "gt", "ge":
			return text, "", false
		case "lt", "le":
			return "", text, true
		}
	}
	return low, high, bounded
}
