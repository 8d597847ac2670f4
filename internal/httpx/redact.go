package httpx

import (
	"net/url"
	"strconv"
	"strings"
)

// plainQuery are the query parameters whose values may stand in a log. All others lose theirs: a list
// of what is secret (sig, code, tokens, assertions …) would miss the next one.
var plainQuery = map[string]bool{
	"api-version": true, "comp": true, "restype": true, "prefix": true, "delimiter": true, "maxresults": true,
	"blockid": true, "blocklisttype": true, "snapshot": true, "include": true, "timeout": true, "versionid": true,
	"$top": true, "$skip": true, "$orderby": true, "$filter": true, "$expand": true, "$select": true,
	"sv": true, "sr": true, "sp": true, "se": true, "st": true, "spr": true, "ss": true, "srt": true,
}

// redact is the query string with the values of unknown parameters replaced by "…".
func redact(rawQuery string) string {
	if rawQuery == "" {
		return ""
	}
	parts := strings.Split(rawQuery, "&")
	for i, part := range parts {
		key, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(key)
		switch {
		case err == nil && plainQuery[strings.ToLower(name)]:
			parts[i] = key + "=" + value
		case value == "" || err != nil: // a bare word may itself be the secret
			parts[i] = "…"
		default:
			parts[i] = key + "=…"
		}
	}
	return strings.Join(parts, "&")
}

// quote makes a client's text safe to show, and short.
func quote(s string) string {
	if len(s) > 253 {
		s = s[:253]
	}
	return strconv.QuoteToASCII(s)
}
