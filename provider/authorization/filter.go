package authorization

import (
	"net/http"
	"regexp"
	"strings"

	"vauban.dev/arm"
)

// term is one part of a $filter: a comparison (name principalid, value) or a call (name assignedto(), value its
// argument). Names are in lower case.
type term struct{ name, value string }

var termForm = regexp.MustCompile(`^\s*(?:([A-Za-z]+)\s+[eE][qQ]\s+'((?:[^']|'')*)'|([A-Za-z]+)\(\s*(?:'((?:[^']|'')*)')?\s*\))\s*`)

var andForm = regexp.MustCompile(`^[aA][nN][dD]\s`)

// parseFilter parses the OData filters that Microsoft.Authorization takes: comparisons with eq and calls, joined
// by and. 400 InvalidFilterInQueryString for anything else.
func parseFilter(s string) ([]term, error) {
	var out []term
	rest := strings.TrimSpace(s)
	for rest != "" {
		m := termForm.FindStringSubmatch(rest)
		if m == nil {
			return nil, badFilter(s, "comparisons with eq and calls, joined by and")
		}
		unquote := func(v string) string { return strings.ReplaceAll(v, "''", "'") }
		if m[1] != "" {
			out = append(out, term{strings.ToLower(m[1]), unquote(m[2])})
		} else {
			out = append(out, term{strings.ToLower(m[3]) + "()", unquote(m[4])})
		}
		if rest = rest[len(m[0]):]; rest == "" {
			break
		}
		and := andForm.FindString(rest)
		if and == "" || strings.TrimSpace(rest[len(and):]) == "" {
			return nil, badFilter(s, "comparisons with eq and calls, joined by and")
		}
		rest = rest[len(and):]
	}
	return out, nil
}

func badFilter(s, takes string) *arm.Error {
	if len(s) > 512 {
		s = s[:512] + "…"
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string. This listing takes: %s.", s, takes)
}
