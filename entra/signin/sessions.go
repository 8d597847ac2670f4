package signin

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

type address = netip.Addr

const (
	sessionLife = 24 * time.Hour      // of a browser's session
	refreshLife = 90 * 24 * time.Hour // of a refresh token that is not used
)

// resume takes up the browser's session, if it has one that holds.
func (s *Service) resume(r *http.Request, f *flow) error {
	session, u, ok, err := s.session(r)
	if err != nil || !ok {
		return err
	}
	f.Account, f.Session, f.ValidFrom = u.ID, session.ID, session.ValidFrom
	f.AMR, f.SignedIn, f.Factor = session.AMR, session.SignedIn, session.Factor
	return nil
}

// session is the session that the browser's cookie names and proves.
func (s *Service) session(r *http.Request) (session entra.Session, u user, ok bool, err error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return session, u, false, nil
	}
	id, secret, found := strings.Cut(c.Value, ".")
	if !found || len(id) > 64 || len(secret) > 64 {
		return session, u, false, nil
	}
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		if session, err = s.dir.Session(tx, id); err != nil {
			return err
		}
		u, err = s.dir.User(tx, session.UserID)
		return err
	})
	if errors.Is(err, entra.ErrNoSession) || errors.Is(err, directory.ErrNotFound) {
		return session, u, false, nil
	}
	if err != nil {
		return session, u, false, err
	}
	ok = subtle.ConstantTimeCompare(digest(secret), session.Secret) == 1 && s.clock.Now().Before(session.Expires) &&
		u.AccountEnabled && u.SessionsValidFrom.Equal(session.ValidFrom)
	return session, u, ok, nil
}

// logout is the end of a session (OpenID Connect RP-Initiated Logout 1.0). A link of another site cannot sign a
// user out: without the client's own id token, the user is asked.
func (s *Service) logout(w http.ResponseWriter, r *http.Request, tenant string) error {
	if _, err := s.anyTenant(r, tenant); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return malformedRequest()
	}
	session, _, ok, err := s.session(r)
	if err != nil {
		return err
	}
	back := s.signedOutURI(r, tenant)
	if !ok {
		return s.signedOut(w, r, back)
	}
	if sid := s.hintedSession(r.Form.Get("id_token_hint")); sid == session.ID {
		if err := s.endSession(w, r, session.ID); err != nil {
			return err
		}
		return s.signedOut(w, r, back)
	}
	f := &flow{Session: session.ID}
	return s.showPage(w, r, f, http.StatusOK, "message", page{Title: "Sign out?", Lines: []string{"You are signed in here. Sign out of this browser?"}, SignOut: true, Link: back})
}

// signOut is the form of that page, and of the page of second factors.
func (s *Service) signOut(w http.ResponseWriter, r *http.Request, f *flow) error {
	session, _, ok, err := s.session(r)
	if err != nil {
		return err
	}
	if ok && (f.Session == session.ID || f.Account == session.UserID) {
		if err := s.endSession(w, r, session.ID); err != nil {
			return err
		}
	}
	return s.signedOut(w, r, "")
}

func (s *Service) endSession(w http.ResponseWriter, r *http.Request, id string) error {
	setCookie(w, sessionCookie, "", -time.Second)
	return s.store.Update(r.Context(), func(tx store.Tx) error { return s.dir.EndSession(tx, id) })
}

func (s *Service) signedOut(w http.ResponseWriter, r *http.Request, back string) error {
	if back != "" {
		http.Redirect(w, r, back, http.StatusFound)
		return nil
	}
	return s.show(w, http.StatusOK, "message", "", page{Title: "You are signed out", Lines: []string{"Nobody is signed in in this browser. Applications that you opened in this session have lost their tokens."}})
}

// hintedSession is the session that an id token of this service names; it may have expired.
func (s *Service) hintedSession(token string) string {
	var c idClaims
	if token == "" || s.dir.Open(token, &c) != nil {
		return ""
	}
	return c.SessionID
}

// signedOutURI is where a client wants the browser next: one of its own redirect URIs, or nowhere.
func (s *Service) signedOutURI(r *http.Request, tenant string) (uri string) {
	asked, clientID := r.Form.Get("post_logout_redirect_uri"), r.Form.Get("client_id")
	if token := r.Form.Get("id_token_hint"); token != "" {
		var c idClaims
		if s.dir.Open(token, &c) == nil {
			clientID = c.Audience
		}
	}
	if asked == "" || clientID == "" {
		return ""
	}
	_ = s.store.View(r.Context(), func(tx store.Tx) error { // what is not found leads nowhere
		t, err := s.tenantOf(tx, tenant, nil)
		if err != nil {
			return err
		}
		c, err := s.client(tx, t, clientID)
		if err != nil {
			return err
		}
		for _, uris := range c.redirects() {
			if slices.ContainsFunc(uris, func(u string) bool { return matchRedirect(u, asked) }) {
				uri = asked
			}
		}
		return nil
	})
	if uri == "" {
		return ""
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	if state := r.Form.Get("state"); state != "" {
		q := u.Query()
		q.Set("state", state)
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// idClaims of an id token ("ID token claims reference").
type idClaims struct {
	Audience  string           `json:"aud"`
	Issuer    string           `json:"iss"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	Expires   *jwt.NumericDate `json:"exp"`
	AMR       []string         `json:"amr,omitempty"` // v1
	CodeHash  string           `json:"c_hash,omitempty"`
	Email     string           `json:"email,omitempty"`
	Groups    []string         `json:"groups,omitempty"`
	Name      string           `json:"name,omitempty"`
	Nonce     string           `json:"nonce,omitempty"`
	OID       string           `json:"oid"`
	Preferred string           `json:"preferred_username,omitempty"` // v2
	Roles     []string         `json:"roles,omitempty"`
	SessionID string           `json:"sid,omitempty"`
	Subject   string           `json:"sub"`
	TenantID  string           `json:"tid"`
	Unique    string           `json:"unique_name,omitempty"` // v1
	UPN       string           `json:"upn,omitempty"`         // v1
	UTI       string           `json:"uti"`
	Version   string           `json:"ver"`
}
