package signin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// newFamily begins an authorization that has no page.
func (s *Service) newFamily(me who, amr []string) entra.Family {
	now := s.clock.Now()
	return entra.Family{
		ID: random(16), UserID: me.user.ID, Account: me.account.ID, TenantID: me.tenant.ID, ClientID: me.client.AppID,
		ValidFrom: me.user.SessionsValidFrom, AccountFrom: me.account.SessionsValidFrom, AMR: amr, SignedIn: now, Expires: now.Add(refreshLife),
	}
}

// refreshToken is the text of a family's refresh token. It is proved by a MAC, so that a forged one ends nothing,
// and an old one is known to have been real.
func (s *Service) refreshToken(f entra.Family) string {
	text := "1." + f.ID + "." + strconv.Itoa(f.Generation)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(s.keys.refresh, text))
}

// readRefresh takes a refresh token apart; ok is false for what this service never made.
func (s *Service) readRefresh(token string) (family string, generation int, ok bool) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || len(token) > 256 {
		return "", 0, false
	}
	sum, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil || !hmac.Equal(sum, mac(s.keys.refresh, token[:at])) {
		return "", 0, false
	}
	parts := strings.Split(token[:at], ".")
	if len(parts) != 3 {
		return "", 0, false
	}
	generation, err = strconv.Atoi(parts[2])
	return parts[1], generation, err == nil
}

// standsStill holds a family against its user: it is over when his sessions were revoked since.
func standsStill(f entra.Family, me who) error {
	if !me.account.SessionsValidFrom.Equal(f.AccountFrom) {
		return revokedGrant(me.account.SessionsValidFrom)
	}
	if !me.user.SessionsValidFrom.Equal(f.ValidFrom) {
		return revokedGrant(me.user.SessionsValidFrom)
	}
	return nil
}

// permitted asks, where there is no page, what a page would have asked for: conditional access and consent. The
// errors are what clients take to send the user to a page.
func (s *Service) permitted(t *tokenCall, tx store.Tx, me who, f entra.Family, scope scopeRequest, browser bool) ([]string, error) {
	if err := standsStill(f, me); err != nil {
		return nil, err
	}
	d, err := s.decide(t.r.Context(), tx, me, browser, place(t.r), f.SignedIn)
	switch {
	case err != nil:
		return nil, err
	case len(d.Blocked) > 0:
		e := blockedByPolicy(names(d.Blocked))
		e.kind = "invalid_grant"
		return nil, e
	case len(d.Again) > 0:
		return nil, needsFreshSignIn(f.SignedIn)
	case len(d.MFA) > 0 && !slices.Contains(f.AMR, "mfa"):
		e := needsFactor(me.to.Audience)
		e.kind, e.suberror = "invalid_grant", "basic_action"
		return nil, e
	}
	perms, err := s.permissions(tx, me.client, me.to, me.user.ID, scope)
	if err != nil {
		return nil, err
	}
	if len(perms.ask) > 0 {
		e := notConsented(me.client.AppID, me.client.DisplayName)
		e.kind, e.suberror = "invalid_grant", "consent_required"
		return nil, e
	}
	return perms.granted, nil
}

// begin keeps a new family and gives its first tokens.
func (s *Service) begin(t *tokenCall, me who, f entra.Family, scope scopeRequest, proof proofOf, nonce string) (tokenAnswer, error) {
	err := s.store.Update(t.r.Context(), func(tx store.Tx) error {
		granted, err := s.permitted(t, tx, me, f, scope, false)
		if err != nil {
			return err
		}
		f.Scopes = granted
		s.turn(&f, scope)
		return s.dir.PutFamily(tx, f)
	})
	if err != nil {
		return tokenAnswer{}, err
	}
	return s.userAnswer(t, me, f, scope, f.Scopes, proof, nonce)
}

// turn moves a family on to its next refresh token, if the client asks for one.
func (s *Service) turn(f *entra.Family, scope scopeRequest) {
	now := s.clock.Now()
	if f.Generation > 0 || scope.has("offline_access") {
		f.Generation++
		f.Issued = now
	}
	f.Expires = now.Add(refreshLife)
}

// userAnswer makes the tokens of a user.
func (s *Service) userAnswer(t *tokenCall, me who, f entra.Family, scope scopeRequest, granted []string, proof proofOf, nonce string) (a tokenAnswer, err error) {
	sub := entra.Subject{
		ObjectID: me.user.ID, Tenant: me.tenant, ClientID: me.client.AppID, Proof: proof.kind, Capabilities: t.caps, ValidFrom: me.user.SessionsValidFrom,
		User: &entra.UserSubject{
			Name: me.user.DisplayName, UPN: me.user.UserPrincipalName, Scopes: granted, Session: f.Session, Family: f.ID, AMR: f.AMR, Address: place(t.r).Address.String(),
		},
	}
	if me.account.ID != me.user.ID {
		sub.User.IDP = directory.Tenant{ID: me.account.TenantID}.IssuerV1()
	}
	err = s.store.View(t.r.Context(), func(tx store.Tx) error {
		st, err := s.dir.StandingIn(t.r.Context(), tx, me.user.ID)
		if err != nil {
			return err
		}
		if sub.User.Roles, err = s.dir.RolesOn(tx, me.user.ID, st.Groups, me.to.Principal); err != nil {
			return err
		}
		resource, err := s.client(tx, me.tenant, me.to.AppID)
		if err == nil && (resource.first != nil || resource.wantsGroups()) {
			sub.User.Groups, sub.User.WIDs = st.Groups, st.Roles
		}
		return err
	})
	if err != nil {
		return a, err
	}
	if a.token, err = s.dir.Issue(sub, me.to); err != nil {
		return a, err
	}
	a.resource, a.scope, a.clientInfo = scope.Resource, scope.answer(granted), clientInfo(t, me)
	if f.Generation > 0 {
		a.refresh = s.refreshToken(f)
	}
	if scope.has("openid") {
		a.idToken, err = s.idToken(me, f, scope, t.v2, nonce, "")
	}
	return a, err
}

// redeemCode redeems an authorization code, once. A second time means that somebody else has it too: what was
// given for it is taken back (RFC 6749, 4.1.2).
func (s *Service) redeemCode(t *tokenCall) (tokenAnswer, error) {
	key, ok := ticketKey(t.form.Get("code"))
	if t.form.Get("code") == "" {
		return tokenAnswer{}, missingParameter("code")
	}
	if !ok {
		return tokenAnswer{}, badCode()
	}
	var c authCode
	err := s.store.View(t.r.Context(), func(tx store.Tx) error { return getDoc(tx, kindCode, key, &c) })
	if errors.Is(err, store.ErrNotFound) {
		return tokenAnswer{}, badCode()
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	scope, err := narrowed(t, c.Scope)
	if err != nil {
		return tokenAnswer{}, err
	}
	me, proof, err := s.requester(t, t.tenant, c.Family.Account, scope)
	if err == nil {
		err = c.fits(t, me, proof, s.clock.Now())
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	f := c.Family
	replayed := false
	err = s.store.Update(t.r.Context(), func(tx store.Tx) error {
		if err := getDoc(tx, kindCode, key, &c); err != nil {
			return err
		}
		if replayed = c.Used; replayed {
			return s.dir.EndFamily(tx, f.ID)
		}
		granted, err := s.permitted(t, tx, me, f, scope, c.Platform != platformPublic)
		if err != nil {
			return err
		}
		f.Scopes = granted
		s.turn(&f, scope)
		c.Used = true
		return errors.Join(putDoc(tx, kindCode, key, c), s.dir.PutFamily(tx, f))
	})
	if err != nil {
		return tokenAnswer{}, err
	}
	if replayed {
		return tokenAnswer{}, codeRedeemed()
	}
	return s.userAnswer(t, me, f, scope, f.Scopes, proof, c.Nonce)
}

// narrowed is the scope of a redemption: that of the authorization, or what is asked for now of the same
// sign-in.
func narrowed(t *tokenCall, had scopeRequest) (scopeRequest, error) {
	if resource := t.form.Get("resource"); !t.v2 && resource != "" {
		q := resourceScope(resource)
		return q, nil
	}
	if t.form.Get("scope") == "" {
		return had, nil
	}
	q, err := parseScopes(t.form.Get("scope"))
	if err != nil {
		return q, err
	}
	if q.Implicit && !had.Implicit {
		q.Resource, q.Scopes, q.Implicit = had.Resource, had.Scopes, false
	}
	for _, o := range []string{"offline_access", "openid"} { // what was not asked the user is not given later
		if !had.has(o) {
			q.OIDC = slices.DeleteFunc(q.OIDC, func(x string) bool { return x == o })
		} else if !q.has(o) {
			q.OIDC = append(q.OIDC, o)
		}
	}
	return q, nil
}

// fits holds a redemption against its code: client, redirect URI, time and the proof key (RFC 7636, 4.6).
func (c authCode) fits(t *tokenCall, me who, proof proofOf, now time.Time) error {
	verifier := t.form.Get("code_verifier")
	switch {
	case !strings.EqualFold(c.Family.ClientID, me.client.AppID) || me.tenant.ID != c.Family.TenantID:
		return badCode()
	case t.form.Get("redirect_uri") != c.Redirect:
		return badRedirect(t.form.Get("redirect_uri"), me.client.AppID)
	case !now.Before(c.Expires):
		return expiredCode()
	case c.Platform == platformWeb && proof.kind == entra.ProofNone:
		return needsCredential()
	case c.Platform == platformSPA && c.Challenge == "":
		return pkceRequired()
	case c.Challenge == "" && verifier != "": // somebody took the challenge out of the request
		return unexpectedVerifier()
	case c.Challenge == "":
		return nil
	case verifier == "":
		return missingParameter("code_verifier")
	case len(verifier) < 43 || len(verifier) > 128:
		return wrongVerifier()
	}
	sum := sha256.Sum256([]byte(verifier))
	if !hmac.Equal([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(c.Challenge)) {
		return wrongVerifier()
	}
	return nil
}

// refresh gives new tokens for a refresh token, and a new refresh token in its place. One that was used before
// means that two have it: the whole family ends (RFC 9700, 4.14.2).
func (s *Service) refresh(t *tokenCall) (tokenAnswer, error) {
	if t.form.Get("refresh_token") == "" {
		return tokenAnswer{}, missingParameter("refresh_token")
	}
	id, generation, ok := s.readRefresh(t.form.Get("refresh_token"))
	if !ok {
		return tokenAnswer{}, badRefreshToken()
	}
	var f entra.Family
	err := s.store.View(t.r.Context(), func(tx store.Tx) (err error) {
		f, err = s.dir.Family(tx, id)
		return err
	})
	if errors.Is(err, entra.ErrNoSession) {
		return tokenAnswer{}, badRefreshToken()
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	scope, err := s.refreshScope(t)
	if err != nil {
		return tokenAnswer{}, err
	}
	me, proof, err := s.requester(t, f.TenantID, f.Account, scope)
	if err != nil {
		return tokenAnswer{}, err
	}
	if !strings.EqualFold(f.ClientID, me.client.AppID) {
		return tokenAnswer{}, badRefreshToken()
	}
	if !s.sameTenant(t, me) {
		return tokenAnswer{}, badRefreshToken()
	}
	var granted []string
	reused := false
	err = s.store.Update(t.r.Context(), func(tx store.Tx) error {
		f, err = s.dir.Family(tx, id)
		switch {
		case errors.Is(err, entra.ErrNoSession):
			return badRefreshToken()
		case err != nil:
			return err
		case generation != f.Generation:
			reused = true
			return s.dir.EndFamily(tx, id)
		case !s.clock.Now().Before(f.Expires):
			return expiredCode()
		}
		if granted, err = s.permitted(t, tx, me, f, scope, false); err != nil {
			return err
		}
		s.turn(&f, scope)
		return s.dir.PutFamily(tx, f)
	})
	if err != nil {
		return tokenAnswer{}, err
	}
	if reused {
		return tokenAnswer{}, reusedRefreshToken()
	}
	return s.userAnswer(t, me, f, scope, granted, proof, "")
}

// sameTenant reports whether the path's tenant is that of the family, by name or by a word for all.
func (s *Service) sameTenant(t *tokenCall, me who) bool {
	switch strings.ToLower(t.tenant) {
	case "common", "organizations", me.tenant.ID, me.tenant.Domain:
		return true
	}
	return false
}

// refreshScope is what a refresh asks for; nothing means signing in alone.
func (s *Service) refreshScope(t *tokenCall) (scopeRequest, error) {
	if !t.v2 && t.form.Get("scope") == "" {
		if t.form.Get("resource") == "" {
			return scopeRequest{}, missingParameter("resource")
		}
		return resourceScope(t.form.Get("resource")), nil
	}
	if t.form.Get("scope") == "" {
		return scopeRequest{OIDC: []string{"openid", "profile", "offline_access"}, Resource: entra.AudienceGraph, Implicit: true}, nil
	}
	return parseScopes(t.form.Get("scope"))
}

// redeemDevice answers the polls of a device (RFC 8628, 3.5).
func (s *Service) redeemDevice(t *tokenCall) (tokenAnswer, error) {
	ticket := t.form.Get("device_code")
	if ticket == "" && !t.v2 {
		ticket = t.form.Get("code")
	}
	if ticket == "" {
		return tokenAnswer{}, missingParameter("device_code")
	}
	key, ok := ticketKey(ticket)
	if !ok {
		return tokenAnswer{}, badDeviceCode()
	}
	var d deviceCode
	err := s.store.View(t.r.Context(), func(tx store.Tx) error { return getDoc(tx, kindDevice, key, &d) })
	now := s.clock.Now()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return tokenAnswer{}, badDeviceCode()
	case err != nil:
		return tokenAnswer{}, err
	case !strings.EqualFold(d.ClientID, t.creds.id), d.Redeemed:
		return tokenAnswer{}, badDeviceCode()
	case d.Declined:
		return tokenAnswer{}, authorizationDeclined()
	case !now.Before(d.Expires):
		return tokenAnswer{}, expiredDeviceCode()
	case s.polls.early(key, now):
		return tokenAnswer{}, slowDown()
	case d.Family == nil:
		return tokenAnswer{}, authorizationPending()
	}
	t.caps = append(t.caps, d.Capabilities...)
	return s.giveDevice(t, key, d)
}

func (s *Service) giveDevice(t *tokenCall, key string, d deviceCode) (tokenAnswer, error) {
	f := *d.Family
	me, proof, err := s.requester(t, f.TenantID, f.Account, d.Scope)
	if err != nil {
		return tokenAnswer{}, err
	}
	err = s.store.Update(t.r.Context(), func(tx store.Tx) error {
		if err := getDoc(tx, kindDevice, key, &d); err != nil {
			return err
		}
		if d.Redeemed {
			return badDeviceCode()
		}
		granted, err := s.permitted(t, tx, me, f, d.Scope, false)
		if err != nil {
			return err
		}
		f.Scopes = granted
		s.turn(&f, d.Scope)
		d.Redeemed = true
		return errors.Join(putDoc(tx, kindDevice, key, d), s.dir.PutFamily(tx, f))
	})
	if err != nil {
		return tokenAnswer{}, err
	}
	s.polls.forget(key)
	return s.userAnswer(t, me, f, d.Scope, f.Scopes, proof, "")
}

// onBehalfOf gives an API a token for another one, for the user whose token it was sent ("OAuth 2.0
// On-Behalf-Of flow"). What it gives ends with the sign-in that the user's token is of.
func (s *Service) onBehalfOf(t *tokenCall) (tokenAnswer, error) {
	if t.form.Get("requested_token_use") != "on_behalf_of" {
		return tokenAnswer{}, missingParameter("requested_token_use")
	}
	assertion := t.form.Get("assertion")
	if assertion == "" {
		return tokenAnswer{}, missingParameter("assertion")
	}
	scope, err := deviceScope(t.form.Get("scope"), t.form.Get("resource"), t.v2)
	if err != nil {
		return tokenAnswer{}, err
	}
	var api client
	err = s.store.View(t.r.Context(), func(tx store.Tx) error {
		api, err = s.client(tx, s.tenant, t.creds.id)
		return err
	})
	if err != nil {
		return tokenAnswer{}, err
	}
	caller, err := s.dir.Authenticate(t.r.Context(), assertion, append([]string{api.AppID, "api://" + api.AppID}, api.URIs...)...)
	if refused := new(entra.TokenError); errors.As(err, &refused) {
		return tokenAnswer{}, badUserAssertion(refused.Error())
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	if caller.Type != "User" || caller.Family == "" {
		return tokenAnswer{}, badUserAssertion("it is not a token of a user: an application acts for itself by client credentials.")
	}
	var parent entra.Family
	err = s.store.View(t.r.Context(), func(tx store.Tx) error {
		parent, err = s.dir.Family(tx, caller.Family)
		return err
	})
	if errors.Is(err, entra.ErrNoSession) {
		return tokenAnswer{}, badUserAssertion("the sign-in that it is of has ended.")
	}
	if err != nil {
		return tokenAnswer{}, err
	}
	me, proof, err := s.requester(t, s.tenant.ID, parent.Account, scope)
	if err != nil {
		return tokenAnswer{}, err
	}
	if proof.kind == entra.ProofNone {
		return tokenAnswer{}, needsCredential()
	}
	f := s.newFamily(me, parent.AMR)
	f.Parent, f.Session, f.SignedIn, f.Factor, f.ValidFrom, f.AccountFrom = parent.ID, parent.Session, parent.SignedIn, parent.Factor, parent.ValidFrom, parent.AccountFrom
	a, err := s.begin(t, me, f, scope, proof, "")
	if refused := new(signInError); errors.As(err, &refused) && refused.code == 50076 {
		refused.kind = "interaction_required"
	}
	return a, err
}
