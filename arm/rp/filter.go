package rp

import (
	"net/http"
	"strings"

	"vauban.dev/arm"
)

// condition is one comparison of an OData $filter: member op 'value'.
type condition struct {
	member string // lower case
	op     string // eq, ne, ge, le, gt, lt
	value  string
}

// parseFilter parses the part of OData's $filter that Resource Manager's listings take: comparisons of a
// member with a quoted string, a number or a time, joined by "and". 400 InvalidFilterInQueryString for anything else.
func parseFilter(s string) ([]condition, error) {
	var all []condition
	rest := strings.TrimSpace(s)
	for rest != "" {
		member, after, ok := strings.Cut(rest, " ")
		op, after, ok2 := strings.Cut(strings.TrimLeft(after, " "), " ")
		value, after, ok3 := quoted(strings.TrimLeft(after, " "))
		if !ok || !ok2 || !ok3 || !comparison(op) || strings.ContainsAny(member, "()'") {
			return nil, badFilter(s)
		}
		all = append(all, condition{strings.ToLower(member), strings.ToLower(op), value})
		after = strings.TrimSpace(after)
		if after == "" {
			break
		}
		and, next, ok := strings.Cut(after, " ")
		if !ok || !strings.EqualFold(and, "and") {
			return nil, badFilter(s)
		}
		if rest = strings.TrimSpace(next); rest == "" {
			return nil, badFilter(s)
		}
	}
	return all, nil
}

func comparison(op string) bool {
	switch strings.ToLower(op) {
	case "eq", "ne", "ge", "le", "gt", "lt":
		return true
	}
	return false
}

// quoted reads a string in single quotes, in which a quote is written twice, or a bare number or time.
func quoted(s string) (value, rest string, ok bool) {
	if s != "" && s[0] >= '0' && s[0] <= '9' { // a number or a time, as az writes it
		value, rest, _ = strings.Cut(s, " ")
		return value, rest, true
	}
	if !strings.HasPrefix(s, "'") {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '\'':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			return b.String(), s[i+1:], true
		}
	}
	return "", s, false
}

func badFilter(s string) *arm.Error {
	if len(s) > 512 {
		s = s[:512] + "…"
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string.", s)
}
