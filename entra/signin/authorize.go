package signin

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// authorize is the authorization endpoint (OpenID Connect Core 1.0, 3.1.2). Until client and redirect URI are
// known to belong together, nothing is sent anywhere: the user is told instead.
func (s *Service) authorize(w http.ResponseWriter, r *http.Request, tenant string, v2 bool) error {
	q, err := authParameters(w, r)
	if err != nil {
		return s.showError(w, r, err)
	}
	a := &authRequest{Tenant: tenant, V2: v2}
	if err := s.checkClient(r, a, q); err != nil {
		return s.showError(w, r, err)
	}
	if err := a.parse(q); err != nil {
		return s.refuseTo(w, r, a, err)
	}
	if err := s.checkResponse(r, a); err != nil {
		return s.refuseTo(w, r, a, err)
	}
	f := &flow{Auth: a}
	if a.Prompt != "login" {
		if err := s.resume(r, f); err != nil {
			return err
		}
	}
	if f.Session != "" && a.Hint != "" && !s.isHinted(r, f) {
		f = &flow{Auth: a}
	}
	f.Chosen = f.Session != "" && a.Prompt != "select_account"
	if a.Prompt == "none" && f.Account == "" {
		return s.refuseTo(w, r, a, mustSignIn())
	}
	err = s.advance(w, r, f)
	if refused := new(signInError); errors.As(err, &refused) {
		return s.showRefusal(w, r, refused, f)
	}
	return err
}

func authParameters(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if len(r.URL.RawQuery) > maxQuery {
			return nil, refuse(http.StatusBadRequest, "invalid_request", 90015, "The query string is too long.")
		}
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, malformedRequest()
		}
		return q, nil
	case http.MethodPost:
		return readForm(w, r)
	}
	return nil, refuse(http.StatusBadRequest, "invalid_request", 900561, "The endpoint only accepts GET, POST requests. Received a %s request.", printable(r.Method))
}

// checkClient finds the client, and takes the redirect URI only if it is one of its own.
func (s *Service) checkClient(r *http.Request, a *authRequest, q url.Values) error {
	id, redirect, mode, err := parseTarget(q)
	if err != nil {
		return err
	}
	a.Mode, a.Base = mode, s.base(r)
	return s.store.View(r.Context(), func(tx store.Tx) error {
		t, err := s.tenantOf(tx, a.Tenant, nil)
		if err != nil {
			return err
		}
		c, err := s.client(tx, t, id)
		if err != nil {
			return err
		}
		a.ClientID = c.AppID
		a.Redirect, a.Platform, err = c.redirect(redirect)
		return err
	})
}

// checkResponse holds the response type against what the application may ask for.
func (s *Service) checkResponse(r *http.Request, a *authRequest) error {
	if !slices.Contains(a.Types, "id_token") {
		return nil
	}
	return s.store.View(r.Context(), func(tx store.Tx) error {
		t, err := s.tenantOf(tx, a.Tenant, nil)
		if err != nil {
			return err
		}
		c, err := s.client(tx, t, a.ClientID)
		if err != nil {
			return err
		}
		if c.app == nil || !c.app.Web.Implicit.IDTokens {
			return refuse(http.StatusBadRequest, "unsupported_response_type", 700054, "response_type 'id_token' is not enabled for the application.")
		}
		return nil
	})
}

// isHinted reports whether the session is of the user that the client expects.
func (s *Service) isHinted(r *http.Request, f *flow) bool {
	u, _, err := s.account(r.Context(), f.Account)
	return err == nil && strings.EqualFold(u.UserPrincipalName, f.Auth.Hint)
}

// showError tells the user what is wrong with a request that has no answer.
func (s *Service) showError(w http.ResponseWriter, r *http.Request, err error) error {
	refused := new(signInError)
	if !errors.As(err, &refused) {
		return err
	}
	return s.showRefusal(w, r, refused, nil)
}

// refuseTo sends a refusal to the client.
func (s *Service) refuseTo(w http.ResponseWriter, r *http.Request, a *authRequest, err error) error {
	refused := new(signInError)
	if !errors.As(err, &refused) {
		return err
	}
	if a.Mode == "" {
		a.Mode = "query"
	}
	return s.answer(w, r, a, refused.parameters())
}

// parameters of an error response (RFC 6749, 4.1.2.1).
func (e *signInError) parameters() url.Values {
	return url.Values{"error": {e.kind}, "error_description": {e.Error()}}
}

// answer sends the response to the client's redirect URI in the way that it asked for. iss says whose answer it
// is, so that a client of several services cannot mix them up (RFC 9207).
func (s *Service) answer(w http.ResponseWriter, r *http.Request, a *authRequest, out url.Values) error {
	if a.State != "" {
		out.Set("state", a.State)
	}
	issuer := s.tenant.IssuerV1()
	if a.V2 {
		issuer = s.tenant.IssuerV2()
	}
	if out.Get("iss") == "" {
		out.Set("iss", issuer)
	}
	if a.Mode == "form_post" {
		p := page{Title: "Continue", Link: a.Redirect, Fields: map[string]string{}}
		for k := range out {
			p.Fields[k] = out.Get(k)
		}
		return s.show(w, http.StatusOK, "post", a.Redirect, p)
	}
	u, err := url.Parse(a.Redirect)
	if err != nil {
		return err
	}
	if a.Mode == "fragment" {
		u.RawFragment, u.Fragment = "", ""
		pageHeaders(w.Header(), a.Redirect)
		w.Header().Set("Location", u.String()+"#"+out.Encode())
		w.WriteHeader(http.StatusFound)
		return nil
	}
	q := u.Query()
	for k := range out {
		q.Set(k, out.Get(k))
	}
	u.RawQuery = q.Encode()
	pageHeaders(w.Header(), a.Redirect)
	w.Header().Set("Location", u.String())
	w.WriteHeader(http.StatusFound)
	return nil
}

// codeLife is how long an authorization code may wait to be redeemed.
const codeLife = 10 * time.Minute

const kindCode = "entra.code" // key: ticket's key

// authCode is what an authorization code stands for. It stays until it expires, to know it again.
type authCode struct {
	Family    entra.Family `json:"family"`
	Redirect  string       `json:"redirect"`
	Platform  platform     `json:"platform"`
	Challenge string       `json:"challenge,omitempty"`
	Scope     scopeRequest `json:"scope"`
	Nonce     string       `json:"nonce,omitempty"`
	V2        bool         `json:"v2"`
	Used      bool         `json:"used"`
	Expires   time.Time    `json:"expires"`
}

// sendCode ends a flow: a code, and an id token where it was asked for.
func (s *Service) sendCode(w http.ResponseWriter, r *http.Request, a *authRequest, fam entra.Family, me who) error {
	out := url.Values{"session_state": {fam.Session}}
	issuer := me.tenant.IssuerV1()
	if a.V2 {
		issuer = me.tenant.IssuerV2()
	}
	out.Set("iss", issuer)
	var code string
	if slices.Contains(a.Types, "code") {
		c := authCode{Family: fam, Redirect: a.Redirect, Platform: a.Platform, Challenge: a.Challenge, Scope: a.Scope, Nonce: a.Nonce, V2: a.V2, Expires: s.clock.Now().Add(codeLife)}
		var key string
		code, key = newTicket(c.Expires)
		err := s.store.Update(r.Context(), func(tx store.Tx) error {
			if err := sweep(tx, kindCode, s.clock.Now()); err != nil {
				return err
			}
			return putDoc(tx, kindCode, key, c)
		})
		if err != nil {
			return err
		}
		out.Set("code", code)
	}
	if slices.Contains(a.Types, "id_token") {
		token, err := s.idToken(me, fam, a.Scope, a.V2, a.Nonce, code)
		if err != nil {
			return err
		}
		out.Set("id_token", token)
	}
	return s.answer(w, r, a, out)
}

// idToken makes the id token of a sign-in ("ID tokens in the Microsoft identity platform").
func (s *Service) idToken(me who, fam entra.Family, scope scopeRequest, v2 bool, nonce, code string) (string, error) {
	now := s.clock.Now()
	c := idClaims{
		Audience: me.client.AppID, Issuer: me.tenant.IssuerV1(), Version: "1.0",
		IssuedAt: jwt.NewNumericDate(now.Add(-entra.Backdate)), NotBefore: jwt.NewNumericDate(now.Add(-entra.Backdate)), Expires: jwt.NewNumericDate(now.Add(time.Hour)),
		Name: me.user.DisplayName, Nonce: nonce, OID: me.user.ID, SessionID: fam.Session, Subject: entra.Pairwise(me.user.ID, me.client.AppID), TenantID: me.tenant.ID, UTI: random(16),
	}
	if v2 {
		c.Issuer, c.Version, c.Preferred = me.tenant.IssuerV2(), "2.0", me.user.UserPrincipalName
	} else {
		c.AMR, c.UPN, c.Unique = fam.AMR, me.user.UserPrincipalName, me.user.UserPrincipalName
	}
	if scope.has("email") {
		c.Email = me.user.Mail
	}
	if code != "" { // OpenID Connect Core 1.0, 3.3.2.11
		sum := sha256.Sum256([]byte(code))
		c.CodeHash = base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	return s.dir.Sign(c)
}

// anyTenant checks a path's tenant, the words for all of them among it.
func (s *Service) anyTenant(r *http.Request, segment string) (t directory.Tenant, err error) {
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		t, err = s.tenantOf(tx, segment, nil)
		return err
	})
	return t, err
}
