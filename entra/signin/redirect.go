package signin

import (
	"net/url"
	"strings"
)

// platform is what kind of client a redirect URI belongs to.
type platform string

const (
	platformWeb    platform = "web"    // a server, which has a credential
	platformSPA    platform = "spa"    // a page, which has none
	platformPublic platform = "public" // a program on the user's machine, which has none
)

// matchRedirect reports whether a redirect URI is the registered one: equal to it, character by character. For
// programs on the user's machine the port does not count, since they listen on any that is free (RFC 8252, 7.3;
// "Redirect URI (reply URL) outline and restrictions", localhost exceptions).
func matchRedirect(registered, asked string) bool {
	if registered == asked {
		return registered != ""
	}
	r, err1 := url.Parse(registered)
	a, err2 := url.Parse(asked)
	if err1 != nil || err2 != nil || !onLoopback(r) || !onLoopback(a) {
		return false
	}
	return r.Hostname() == a.Hostname() && strings.TrimSuffix(r.EscapedPath(), "/") == strings.TrimSuffix(a.EscapedPath(), "/") && r.RawQuery == a.RawQuery
}

// onLoopback reports whether the URI is http to this machine, with nothing in it that clients read differently.
func onLoopback(u *url.URL) bool {
	h := u.Hostname()
	return u.Scheme == "http" && (h == "localhost" || h == "127.0.0.1" || h == "::1") && u.User == nil && u.Fragment == "" && u.Opaque == "" &&
		!strings.ContainsAny(u.String(), "\\ \t\r\n#")
}
