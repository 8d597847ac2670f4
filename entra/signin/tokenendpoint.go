package signin

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
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
func (s *Service) token(w http.ResponseWriter, r *http.Request, tenant string, v2 bool) error {
	if r.Method != http.MethodPost {
		return wrongMethod(r.Method)
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := s.known(tenant, false); err != nil {
		return err
	}
	req, err := parseTokenRequest(form, r, v2)
	if err != nil {
		return err
	}
	sub, to, err := s.signIn(r, req)
	if err != nil {
		return err
	}
	t, err := s.dir.Issue(sub, to)
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
	writeJSON(w, http.StatusOK, t.V1(req.resource))
	return nil
}

// signIn checks the client's secret and what it asks a token for.
func (s *Service) signIn(r *http.Request, req tokenRequest) (sub entra.Subject, to entra.Target, err error) {
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		p, err := s.dir.ByAppID(tx, req.clientID)
		if errors.Is(err, directory.ErrNoPrincipal) {
			return unknownApplication(req.clientID, s.tenant.Name)
		} else if err != nil {
			return err
		}
		proofs, err := s.dir.Credentials(tx, p)
		if err != nil {
			return err
		}
		keyID, state := proofs.TrySecret(req.secret, s.clock.Now())
		switch state {
		case directory.SecretWrong:
			return wrongSecret(p.AppID)
		case directory.SecretExpired:
			return expiredSecret(p.AppID)
		}
		if to, err = s.dir.Target(tx, req.resource); errors.Is(err, entra.ErrNoResource) {
			return unknownResource(req.resource, s.tenant.Name)
		}
		sub, err = s.dir.AppSubject(tx, p, to)
		sub.Credential, sub.Capabilities = keyID, req.capabilities
		return err
	})
	return sub, to, err
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
