package entra

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"vauban.dev/store"
)

// maxForm bounds the body of a token request, in bytes.
const maxForm = 64 << 10

// onlySecrets is what is said to clients that sign in any other way.
const onlySecrets = "This region signs in applications by client secret (client_credentials) and managed identities by IMDS; nothing else yet."

// tokenRequest is a token request, checked for form.
type tokenRequest struct {
	clientID, secret string
	resource         string   // the identifier that the token is asked for
	capabilities     []string // xms_cc that the client declares
	v2               bool
}

// token is the token endpoint of the tenant (RFC 6749, 3.2; "OAuth 2.0 client credentials flow on
// the Microsoft identity platform").
func (l *login) token(w http.ResponseWriter, r *http.Request, tenant string, v2 bool) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r.Method)
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := l.known(tenant, false); err != nil {
		return err
	}
	req, err := parseTokenRequest(form, r, v2)
	if err != nil {
		return err
	}
	p, to, err := l.signIn(r, req)
	if err != nil {
		return err
	}
	t, err := l.issue(p, to, req.capabilities)
	if err != nil {
		return err
	}
	if v2 {
		writeJSON(w, http.StatusOK, map[string]any{
			"token_type":     "Bearer",
			"expires_in":     int(t.ExpiresIn.Seconds()),
			"ext_expires_in": int(t.ExpiresIn.Seconds()),
			"access_token":   t.AccessToken,
		})
		return nil
	}
	writeJSON(w, http.StatusOK, t.v1(req.resource))
	return nil
}

// v1 is the answer of the v1 endpoint, whose numbers are strings.
func (t Token) v1(resource string) map[string]string {
	life := strconv.Itoa(int(t.ExpiresIn.Seconds()))
	return map[string]string{
		"token_type":     "Bearer",
		"expires_in":     life,
		"ext_expires_in": life,
		"expires_on":     strconv.FormatInt(t.ExpiresOn.Unix(), 10),
		"not_before":     strconv.FormatInt(t.NotBefore.Unix(), 10),
		"resource":       resource,
		"access_token":   t.AccessToken,
	}
}

// signIn checks the client's secret and what it asks a token for.
func (l *login) signIn(r *http.Request, req tokenRequest) (p ServicePrincipal, to target, err error) {
	err = l.store.View(r.Context(), func(tx store.Tx) error {
		if p, err = l.ByAppID(tx, req.clientID); errors.Is(err, ErrNoPrincipal) {
			return unknownApplication(req.clientID, l.tenant.Name)
		} else if err != nil {
			return err
		}
		switch p.try(req.secret, l.clock.Now()) {
		case secretWrong:
			return wrongSecret(p.AppID)
		case secretExpired:
			return expiredSecret(p.AppID)
		}
		if to, err = l.target(tx, req.resource); errors.Is(err, errNoResource) {
			return unknownResource(req.resource, l.tenant.Name)
		}
		return err
	})
	return p, to, err
}

// readForm reads the body as a form; a parameter that stands twice is refused (RFC 6749, 3.2).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, missingParameter("grant_type") // what Entra finds in a body of another kind
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, malformedRequest()
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			return nil, malformedRequest()
		}
	}
	return r.PostForm, nil
}

func parseTokenRequest(form url.Values, r *http.Request, v2 bool) (tokenRequest, error) {
	req := tokenRequest{clientID: form.Get("client_id"), secret: form.Get("client_secret"), v2: v2}
	if err := req.basic(r); err != nil {
		return req, err
	}
	switch grant := form.Get("grant_type"); {
	case grant == "":
		return req, missingParameter("grant_type")
	case grant != "client_credentials":
		return req, unsupportedGrant(grant, onlySecrets)
	case req.clientID == "":
		return req, missingParameter("client_id")
	case form.Has("client_assertion") || form.Has("client_assertion_type"):
		return req, unsupportedGrant("client_credentials with client_assertion", onlySecrets)
	}
	if err := req.target(form); err != nil {
		return req, err
	}
	if req.secret == "" {
		return req, noCredential("client_credentials")
	}
	caps, err := declaredCapabilities(form.Get("claims"))
	req.capabilities = caps
	return req, err
}

// basic takes the client's credentials from an Authorization header, where they are form-encoded
// (RFC 6749, 2.3.1). Credentials in both places are refused.
func (req *tokenRequest) basic(r *http.Request) error {
	user, password, ok := r.BasicAuth()
	if !ok {
		return nil
	}
	id, err := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if err != nil || err2 != nil || req.secret != "" || req.clientID != "" && req.clientID != id {
		return malformedRequest()
	}
	req.clientID, req.secret = id, secret
	return nil
}

func (req *tokenRequest) target(form url.Values) error {
	if !req.v2 {
		req.resource = form.Get("resource")
		if req.resource == "" {
			return missingParameter("resource")
		}
		return nil
	}
	scope := strings.TrimSpace(form.Get("scope"))
	if scope == "" {
		return missingParameter("scope")
	}
	resource, ok := strings.CutSuffix(scope, "/.default")
	if !ok || resource == "" || strings.ContainsAny(resource, " \t\r\n") {
		return badScope(scope)
	}
	req.resource = resource
	return nil
}

// declaredCapabilities reads the client capabilities (xms_cc, such as CP1) from a claims request
// (OpenID Connect Core 1.0, 5.5), which the token then carries.
func declaredCapabilities(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	var asked struct {
		AccessToken map[string]json.RawMessage `json:"access_token"`
	}
	if json.Unmarshal([]byte(text), &asked) != nil {
		return nil, malformedRequest()
	}
	raw, ok := asked.AccessToken["xms_cc"]
	if !ok {
		return nil, nil
	}
	var cc struct {
		Values []string `json:"values"`
	}
	if json.Unmarshal(raw, &cc) != nil || len(cc.Values) > 16 {
		return nil, malformedRequest()
	}
	for _, v := range cc.Values {
		if len(v) > 32 {
			return nil, malformedRequest()
		}
	}
	return cc.Values, nil
}
