package azurefirewall

import (
	"fmt"
	"net/netip"
	neturl "net/url"
	"strings"
)

// CanonicalHost is a host's name as rules are compared with it: in lower case, without the trailing dot. It is
// false for what is no host name: an address, an empty label, a character that no host name has.
func CanonicalHost(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) == 0 || len(name) > 253 || strings.Contains(name, "*") {
		return "", false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	numeric := true
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", false
		}
		numeric = strings.Trim(label, "0123456789") == ""
	}
	if numeric { // a last label of digits is some other spelling of an address
		return "", false
	}
	return name, true
}

func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// ParseFQDN checks a target of an application rule: a host name, "*", or a name with one asterisk at its
// left end. An asterisk stands for anything at all: "*.pytorch.org" matches what ends in ".pytorch.org",
// "*pytorch.org" also pytorch.org itself and notpytorch.org.
// https://learn.microsoft.com/azure/firewall/firewall-faq (wildcards in target URLs and target FQDNs)
func ParseFQDN(pattern string) error {
	rest, wild := strings.CutPrefix(pattern, "*")
	if wild && (rest == "" || rest == ".") {
		return nil
	}
	if _, ok := CanonicalHost(strings.TrimPrefix(rest, ".")); !ok || (!wild && strings.HasPrefix(rest, ".")) {
		return fmt.Errorf("%q is no fully qualified domain name; an asterisk may stand at its left end only", pattern)
	}
	return nil
}

// fqdns is a set of patterns.
type fqdns struct {
	all      bool
	exact    map[string]bool
	suffixes []string
}

func parseFQDNs(patterns []string) (f fqdns, err error) {
	f.exact = map[string]bool{}
	for _, p := range patterns {
		if err := ParseFQDN(p); err != nil {
			return f, err
		}
		p = strings.ToLower(strings.TrimSuffix(p, "."))
		rest, wild := strings.CutPrefix(p, "*")
		switch {
		case wild && rest == "":
			f.all = true
		case wild:
			f.suffixes = append(f.suffixes, rest)
		default:
			f.exact[p] = true
		}
	}
	return f, nil
}

// matches expects a canonical host.
func (f *fqdns) matches(host string) bool {
	if f.all || f.exact[host] {
		return true
	}
	for _, s := range f.suffixes {
		if strings.HasSuffix(host, s) {
			return true
		}
	}
	return false
}

// url is a target URL: host and path, each of which may be a wildcard at one end.
type url struct {
	host   fqdns
	prefix string // what the path begins with
	exact  bool   // it is the whole path
}

// ParseURL checks a target URL of an application rule: HOST or HOST/PATH without a scheme; an asterisk may
// stand at the left end of the host and at the right end of the path.
func ParseURL(text string) error {
	_, err := parseURL(text)
	return err
}

func parseURL(text string) (u url, err error) {
	if strings.Contains(text, "://") {
		return u, fmt.Errorf("target URL %q must not have a scheme", text)
	}
	host, path, hasPath := strings.Cut(text, "/")
	if u.host, err = parseFQDNs([]string{host}); err != nil {
		return u, fmt.Errorf("target URL %q: %w", text, err)
	}
	if !hasPath {
		return u, nil
	}
	prefix, wild := strings.CutSuffix("/"+path, "*")
	if strings.ContainsAny(prefix, "*?#") {
		return u, fmt.Errorf("target URL %q: an asterisk may stand at the end of the path only, and there is no query in it", text)
	}
	u.prefix, u.exact = prefix, !wild
	return u, nil
}

func (u *url) matches(host, path string) bool {
	if !u.host.matches(host) {
		return false
	}
	if u.exact {
		return path == u.prefix || path == u.prefix+"/" || path+"/" == u.prefix
	}
	return strings.HasPrefix(path, u.prefix)
}

// CanonicalPath is a request's path as rules are compared with it: decoded once. It is false for one that a server might
// read in another way than the rules: with dot segments, encoded slashes or backslashes, or encoded twice.
func CanonicalPath(escaped string) (string, bool) {
	lower := strings.ToLower(escaped)
	if strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.Contains(lower, "%00") {
		return "", false
	}
	path, err := neturl.PathUnescape(escaped)
	if err != nil || strings.ContainsAny(path, "\\%\x00") || !strings.HasPrefix(path, "/") {
		return "", false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return "", false
		}
	}
	return path, true
}
