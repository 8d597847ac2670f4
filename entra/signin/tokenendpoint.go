package signin

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// maxForm bounds the body of a token request, in bytes.
const maxForm = 64 << 10

// tokenCall is one request to the token endpoint.
type tokenCall struct {
	r      *http.Request
	form   url.Values
	tenant string // segment of the path
	v2     bool
	creds  clientCredentials
	caps   []string // xms_cc
}

// token is the token endpoint (RFC 6749, 3.2). It answers browsers of any site, as Entra does: it looks at no
// cookie, so that a request is worth what is in it.
func (s *Service) token(w http.ResponseWriter, r *http.Request, tenant string, v2 bool) error {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if r.Method != http.MethodPost {
		return wrongMethod(r.Method)
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	t := &tokenCall{r: r, form: form, tenant: tenant, v2: v2}
	if err := t.creds.read(r, form); err != nil {
		return err
	}
	grant := form.Get("grant_type")
	if grant == "" {
		return missingParameter("grant_type")
	}
	if strings.EqualFold(tenant, "consumers") {
		return noConsumers()
	}
	handle := map[string]func(*tokenCall) (tokenAnswer, error){
		"client_credentials": s.clientCredentials, "authorization_code": s.redeemCode, "refresh_token": s.refresh,
		deviceGrant: s.redeemDevice, "device_code": s.redeemDevice, "urn:ietf:params:oauth:grant-type:jwt-bearer": s.onBehalfOf, "password": s.passwordGrant,
	}[grant]
	if handle == nil {
		return unsupportedGrant(grant, "This region serves authorization_code, refresh_token, client_credentials, device_code, jwt-bearer (on behalf of) and, where it is switched on, password.")
	}
	if t.creds.id == "" {
		return missingParameter("client_id")
	}
	if t.caps, err = declaredCapabilities(form.Get("claims")); err != nil {
		return err
	}
	answer, err := handle(t)
	if err != nil {
		return err
	}
	answer.write(w, v2)
	return nil
}

// tokenAnswer is the answer of the token endpoint.
type tokenAnswer struct {
	token      entra.Token
	resource   string // v1
	scope      string // of users
	refresh    string
	idToken    string
	clientInfo string
}

func (a tokenAnswer) write(w http.ResponseWriter, v2 bool) {
	out := map[string]any{}
	if v2 {
		life := int(a.token.ExpiresIn.Seconds())
		out["token_type"], out["expires_in"], out["ext_expires_in"], out["access_token"] = "Bearer", life, life, a.token.AccessToken
	} else {
		for k, v := range a.token.V1(a.resource) {
			out[k] = v
		}
	}
	for name, v := range map[string]string{"scope": a.scope, "refresh_token": a.refresh, "id_token": a.idToken, "client_info": a.clientInfo} {
		if v != "" {
			out[name] = v
		}
	}
	writeJSON(w, http.StatusOK, out)
}

// clientCredentials is the grant of applications that act for themselves ("OAuth 2.0 client credentials flow on
// the Microsoft identity platform"), by secret, certificate or the token of another issuer.
func (s *Service) clientCredentials(t *tokenCall) (a tokenAnswer, err error) {
	if word := strings.ToLower(t.tenant); word == "common" || word == "organizations" {
		return a, noTenant()
	}
	if t.v2 {
		scope := strings.TrimSpace(t.form.Get("scope"))
		if scope == "" {
			return a, missingParameter("scope")
		}
		// MSAL for Go and for Java add OpenID Connect's scopes, which mean nothing without a user
		words := slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return slices.Contains(oidcScopes, strings.ToLower(s)) })
		resource, ok := strings.CutSuffix(strings.Join(words, " "), "/"+defaultScope)
		if !ok || resource == "" || len(words) != 1 {
			return a, badScope(scope)
		}
		a.resource = resource
	} else if a.resource = t.form.Get("resource"); a.resource == "" {
		return a, missingParameter("resource")
	}
	if t.creds.secret == "" && t.creds.assertion == "" {
		return a, noCredential("client_credentials")
	}
	var c client
	var proofs directory.Credentials
	var tenant directory.Tenant
	err = s.store.View(t.r.Context(), func(tx store.Tx) error {
		if tenant, err = s.tenantOf(tx, t.tenant, nil); err != nil {
			return err
		}
		if c, err = s.client(tx, tenant, t.creds.id); err != nil {
			return err
		}
		proofs, err = s.dir.Credentials(tx, c.ServicePrincipal)
		return err
	})
	if err != nil {
		return a, err
	}
	keyID, proof, err := s.prove(t, c, proofs)
	if err != nil {
		return a, err
	}
	var sub entra.Subject
	var to entra.Target
	err = s.store.View(t.r.Context(), func(tx store.Tx) error {
		if to, err = s.target(tx, tenant, a.resource); err != nil {
			return err
		}
		sub, err = s.dir.AppSubject(tx, c.ServicePrincipal, to)
		return err
	})
	if err != nil {
		return a, err
	}
	sub.Credential, sub.Proof, sub.Capabilities = keyID, proof, t.caps
	a.token, err = s.dir.Issue(sub, to)
	return a, err
}

// passwordGrant takes a user's password from a client. It is off unless the region was told otherwise: it teaches
// people to type passwords into programs, and takes no second factor.
func (s *Service) passwordGrant(t *tokenCall) (a tokenAnswer, err error) {
	if !s.passwords {
		return a, passwordGrantOff()
	}
	if t.form.Get("username") == "" || t.form.Get("password") == "" {
		return a, missingParameter("username, password")
	}
	scope, err := deviceScope(t.form.Get("scope"), t.form.Get("resource"), t.v2)
	if err != nil {
		return a, err
	}
	from := place(t.r).Address
	u, err := s.authenticate(t.r.Context(), t.form.Get("username"), t.form.Get("password"), from)
	if err != nil {
		return a, err
	}
	if u.MustChangePassword {
		return a, passwordExpired()
	}
	me, proof, err := s.requester(t, t.tenant, u.ID, scope)
	if err != nil {
		return a, err
	}
	if err := s.succeeded(t.r.Context(), u.ID, from); err != nil {
		return a, err
	}
	fam := s.newFamily(me, []string{"pwd"})
	return s.begin(t, me, fam, scope, proof, "")
}

// requester reads the user and the client of a call, and has the client prove itself; the client may be public.
func (s *Service) requester(t *tokenCall, tenant, account string, scope scopeRequest) (me who, proof proofOf, err error) {
	var proofs directory.Credentials
	err = s.store.View(t.r.Context(), func(tx store.Tx) error {
		if me, err = s.whoOf(tx, tenant, account, t.creds.id, scope); err != nil {
			return err
		}
		proofs, err = s.dir.Credentials(tx, me.client.ServicePrincipal)
		return err
	})
	if err != nil {
		return me, proof, err
	}
	proof, err = s.identify(t, me.client, proofs)
	return me, proof, err
}

func clientInfo(t *tokenCall, me who) string {
	if t.form.Get("client_info") != "1" {
		return ""
	}
	b, err := json.Marshal(map[string]string{"uid": me.account.ID, "utid": me.account.TenantID})
	if err != nil { // strings always marshal
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
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
