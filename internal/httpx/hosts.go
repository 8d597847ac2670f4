package httpx

import (
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Hosts is the table from host names to handlers. Fill it before it is served; the zero value is empty.
type Hosts struct {
	exact, suffix map[string]http.Handler
}

// Handle registers the handler of a host ("management.azure.com") or of every name below a suffix
// ("*.blob.core.windows.net", any number of labels). A second handler for one pattern is an error.
func (h *Hosts) Handle(pattern string, handler http.Handler) error {
	name := strings.ToLower(pattern)
	table := &h.exact
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name, table = rest, &h.suffix
	}
	if name == "" || strings.ContainsAny(name, "*/:") {
		return fmt.Errorf("httpx: bad host pattern %q", pattern)
	}
	if *table == nil {
		*table = map[string]http.Handler{}
	}
	if _, ok := (*table)[name]; ok {
		return fmt.Errorf("httpx: two handlers for %s", pattern)
	}
	(*table)[name] = handler
	return nil
}

// Lookup returns the handler of a host (as CanonicalHost gives it): the exact one, else the one of the
// longest suffix, else nil.
func (h *Hosts) Lookup(host string) http.Handler {
	if handler, ok := h.exact[host]; ok {
		return handler
	}
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return nil
		}
		rest = rest[i+1:]
		if handler, ok := h.suffix[rest]; ok {
			return handler
		}
	}
}

// CanonicalHost is the host of a Host header or authority: lower-case, without port and trailing dot.
func CanonicalHost(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
