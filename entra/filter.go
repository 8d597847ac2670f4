package entra

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/entra/directory"
)

// filter is a $filter of one comparison (OData 4.01, 5.1.1); the zero filter matches everything.
type filter struct {
	field string // lower case
	op    string // eq, startswith, any
	value string
}

const (
	identifier = `\s*([A-Za-z]+)\s*`
	literal    = `\s*'((?:[^']|'')*)'\s*`
)

var (
	filterEq     = regexp.MustCompile(`^` + identifier + `\seq\s` + literal + `$`)
	filterStarts = regexp.MustCompile(`^\s*startswith\(` + identifier + `,` + literal + `\)\s*$`)
	filterAny    = regexp.MustCompile(`^` + identifier + `/any\(\s*([A-Za-z]+)\s*:\s*([A-Za-z]+)\s+eq\s` + literal + `\)\s*$`)
)

// maxFilter bounds a filter's text, in bytes.
const maxFilter = 4096

func badFilter(text string) error {
	return &graphError{http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified: '" + printable(text) +
		"'. This region takes: appId, id, displayName eq '…'; startswith(displayName,'…'); servicePrincipalNames/any(c:c eq '…')."}
}

func parseFilter(text string) (filter, error) {
	if strings.TrimSpace(text) == "" {
		return filter{}, nil
	}
	if len(text) > maxFilter {
		return filter{}, badFilter(text)
	}
	f := filter{}
	if m := filterEq.FindStringSubmatch(text); m != nil {
		f = filter{m[1], "eq", m[2]}
	} else if m := filterStarts.FindStringSubmatch(text); m != nil {
		f = filter{m[1], "startswith", m[2]}
	} else if m := filterAny.FindStringSubmatch(text); m != nil && m[2] == m[3] {
		f = filter{m[1], "any", m[4]}
	}
	f.field = strings.ToLower(f.field)
	f.value = strings.ReplaceAll(f.value, "''", "'")
	allowed := map[string][]string{
		"eq":         {"appid", "id", "displayname"},
		"startswith": {"displayname"},
		"any":        {"serviceprincipalnames"},
	}
	if !slices.Contains(allowed[f.op], f.field) {
		return filter{}, badFilter(text)
	}
	return f, nil
}

func (f filter) match(p directory.ServicePrincipal) bool {
	switch f.field {
	case "":
		return true
	case "appid", "serviceprincipalnames":
		return strings.EqualFold(p.AppID, f.value)
	case "id":
		return strings.EqualFold(p.ObjectID, f.value)
	case "displayname":
		have := p.DisplayName
		if f.op == "startswith" {
			have = have[:min(len(have), len(f.value))]
		}
		return strings.EqualFold(have, f.value)
	}
	return false
}
