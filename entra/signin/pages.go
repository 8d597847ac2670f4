package signin

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

//go:embed web
var web embed.FS

var templates = template.Must(template.ParseFS(web, "web/*.html"))

// page is what the templates show. Nothing in it is trusted to be HTML.
type page struct {
	Title, Error     string
	Region, Domain   string
	Client, Trace    string
	State            string // the sealed flow
	Hint, User, Name string
	Why              string
	Options          string       // for security keys, JSON
	App              bool         // the user has an authenticator app
	QR               template.URL // data: image that this service made
	Secret           string
	Publisher, Sends string
	Device, From     string
	Scopes           []consentScope
	CanAll, SignOut  bool
	Lines            []string
	Link             string
	Fields           map[string]string
	Factors          []Factor
}

// consentScope is one line of the consent page.
type consentScope struct {
	Value, Text string
	Admin       bool
}

// pageError is a refusal that a page shows; the sign-in may go on.
type pageError struct {
	status int
	text   string
}

func (e *pageError) Error() string { return e.text }

// show renders a page. formTarget is where its forms lead beside this service: the redirect URI of the client,
// since browsers hold the redirect after a form to the same rule.
func (s *Service) show(w http.ResponseWriter, status int, name, formTarget string, p page) error {
	p.Region, p.Domain = s.tenant.Name, s.tenant.Domain
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".html", p); err != nil {
		return err
	}
	h := w.Header()
	pageHeaders(h, formTarget)
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes()) //nolint:errcheck // the client is gone; there is nobody to tell
	return nil
}

// plainHost is a host that means nothing in a policy but itself.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]*$`)

// pageHeaders keep a page to itself: no script but the service's own files, no frame around it, no cache, no
// word to others of where the user comes from.
func pageHeaders(h http.Header, formTarget string) {
	form := "'self'"
	if u, err := url.Parse(formTarget); err == nil && formTarget != "" && plainHost.MatchString(u.Host) {
		switch {
		case u.Scheme == "https" || u.Scheme == "http":
			form += " " + u.Scheme + "://" + u.Host
		case u.Scheme != "":
			form += " " + u.Scheme + ":"
		}
	}
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action "+form)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
}

// asset serves the style and the scripts of the pages.
func (s *Service) asset(w http.ResponseWriter, r *http.Request, name string) bool {
	kinds := map[string]string{"style.css": "text/css; charset=utf-8", "key.js": "text/javascript; charset=utf-8", "post.js": "text/javascript; charset=utf-8"}
	kind, ok := kinds[name]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	b, err := web.ReadFile("web/" + name)
	if err != nil {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "max-age=3600")
	w.Write(b) //nolint:errcheck // the client is gone; there is nobody to tell
	return true
}

const (
	browserCookie = "__Host-vauban-browser" // names the browser: pages are sealed for it
	sessionCookie = "__Host-vauban-session" // the session: its id and its secret
)

// setCookie sets a cookie of this host alone, out of reach of scripts and of requests by other sites.
func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(life.Seconds()),
	})
}

// browser is the name of the browser that asks, "" if it has none.
func browser(r *http.Request) string {
	c, err := r.Cookie(browserCookie)
	if err != nil || len(c.Value) != 43 || strings.ContainsAny(c.Value, " \"") {
		return ""
	}
	return c.Value
}

// ensureBrowser names the browser, if it has no name.
func ensureBrowser(w http.ResponseWriter, r *http.Request) string {
	name := browser(r)
	if name == "" {
		name = random(32)
		setCookie(w, browserCookie, name, 400*24*time.Hour)
	}
	return name
}
