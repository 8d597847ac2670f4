package signin

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"image/png"
	"net/http"
	"slices"
	"strings"

	"github.com/pquerna/otp"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// advance takes a flow one step on: it shows the next page that the user must pass, or ends the flow with its
// answer. Every form of every page comes back here, so that no step can be left out by calling a later one.
func (s *Service) advance(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.Account == "" {
		return s.showSignIn(w, r, f, "")
	}
	if f.Session != "" && !f.Chosen {
		return s.showAccount(w, r, f)
	}
	account, all, err := s.account(r.Context(), f.Account)
	if err != nil {
		return err
	}
	if !account.SessionsValidFrom.Equal(f.ValidFrom) { // revoked, or another password, since
		*f = flow{Auth: f.Auth, Device: f.Device, Expires: f.Expires}
		return s.showSignIn(w, r, f, "")
	}
	if account.MustChangePassword && f.Fresh {
		return s.showChange(w, r, f, account, "")
	}
	if f.Auth == nil && f.Device == "" {
		return s.manage(w, r, f, account, all)
	}
	return s.permit(w, r, f, all)
}

// account reads a user who has proved his password, with his second factors.
func (s *Service) account(ctx context.Context, id string) (u user, all []Factor, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		if u, err = s.dir.User(tx, id); err != nil {
			return err
		}
		all, err = factors(tx, id)
		return err
	})
	if errors.Is(err, directory.ErrNotFound) || err == nil && !u.AccountEnabled {
		return u, nil, accountDisabled()
	}
	return u, all, err
}

// permit asks conditional access and consent, and ends the flow.
func (s *Service) permit(w http.ResponseWriter, r *http.Request, f *flow, all []Factor) error {
	a, code, err := s.request(r.Context(), f)
	if err != nil {
		return err
	}
	var me who
	var perms permissions
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		if me, err = s.whoOf(tx, a.Tenant, f.Account, a.ClientID, a.Scope); err != nil {
			return err
		}
		perms, err = s.permissions(tx, me.client, me.to, me.user.ID, a.Scope)
		return err
	})
	if err != nil {
		return s.fail(w, r, f, err)
	}
	again, factor, err := s.conditions(r, f, me, a)
	switch {
	case err != nil:
		return s.fail(w, r, f, err)
	case again != "":
		*f = flow{Auth: f.Auth, Device: f.Device, Expires: f.Expires}
		return s.showSignIn(w, r, f, again)
	case factor != "":
		return s.showFactor(w, r, f, me.account, all, factor)
	}
	if err := s.assigned(r, me); err != nil {
		return s.fail(w, r, f, err)
	}
	if err := s.signedIn(w, r, f); err != nil {
		return err
	}
	if (len(perms.ask) > 0 || f.Device != "" || a.Prompt == "consent" && me.client.first == nil) && !f.Consent {
		if a.Prompt == "none" {
			return s.fail(w, r, f, notConsented(me.client.AppID, me.client.DisplayName))
		}
		return s.showConsent(w, r, f, me, perms, code)
	}
	if len(perms.ask) > 0 {
		return s.fail(w, r, f, notConsented(me.client.AppID, me.client.DisplayName))
	}
	return s.finish(w, r, f, me, perms.granted)
}

// conditions asks conditional access what the flow needs: to sign in again, or a second factor; each with the
// reason that the page gives. The error is a refusal.
func (s *Service) conditions(r *http.Request, f *flow, me who, a *authRequest) (again, factor string, err error) {
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		d, err := s.decide(r.Context(), tx, me, a.Platform == platformWeb || a.Platform == platformSPA, place(r), f.SignedIn)
		switch {
		case err != nil:
			return err
		case len(d.Blocked) > 0:
			return blockedByPolicy(names(d.Blocked))
		case len(d.Again) > 0:
			again = "The policy " + names(d.Again) + " asks you to sign in again."
		case len(d.MFA) > 0 && !f.proved():
			factor = "the policy " + names(d.MFA) + " asks for a second factor."
		case a.Factor && !f.proved():
			factor = "the application asks for a second factor."
		}
		return nil
	})
	if err == nil && a.Prompt == "none" && again+factor != "" {
		err = needsFactor(me.to.Audience)
	}
	return again, factor, err
}

// assigned refuses users who are not assigned to an application that asks for it.
func (s *Service) assigned(r *http.Request, me who) error {
	if !me.client.AssignmentRequired {
		return nil
	}
	return s.store.View(r.Context(), func(tx store.Tx) error {
		st, err := s.dir.StandingIn(r.Context(), tx, me.user.ID)
		if err != nil {
			return err
		}
		given, err := s.dir.AppRoles(tx, me.tenant.ID, "", me.client.ObjectID)
		if err != nil {
			return err
		}
		for _, g := range given {
			if g.PrincipalID == me.user.ID || slices.Contains(st.Groups, g.PrincipalID) {
				return nil
			}
		}
		return notAssigned(me.user.UserPrincipalName, me.client.AppID)
	})
}

// fail ends a flow with a refusal: the client is told, if it has asked here; else the user.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, f *flow, err error) error {
	refused := new(signInError)
	if !errors.As(err, &refused) {
		return err
	}
	if f.Auth != nil && f.Auth.Prompt == "none" {
		return s.answer(w, r, f.Auth, refused.parameters())
	}
	if f.Auth != nil && (refused.code == cancelled().code || refused.code == declinedConsent().code) {
		return s.answer(w, r, f.Auth, refused.parameters())
	}
	return s.showRefusal(w, r, refused, f)
}

// showRefusal tells the user, and offers to tell the client.
func (s *Service) showRefusal(w http.ResponseWriter, _ *http.Request, e *signInError, f *flow) error {
	p := page{Title: "You cannot sign in here", Error: e.text, Trace: e.Error()[:strings.IndexByte(e.Error(), ':')]}
	target := ""
	if f != nil {
		target = f.target()
	}
	return s.show(w, e.status, "message", target, p)
}

func (s *Service) showSignIn(w http.ResponseWriter, r *http.Request, f *flow, problem string) error {
	status := http.StatusOK
	if problem != "" {
		status = http.StatusForbidden
	}
	return s.showPage(w, r, f, status, "signin", page{Title: "Sign in", Error: problem, Hint: f.hint()})
}

// showPage seals the flow into a page.
func (s *Service) showPage(w http.ResponseWriter, r *http.Request, f *flow, status int, name string, p page) (err error) {
	if p.State, err = s.sealFlow(w, r, f); err != nil {
		return err
	}
	if p.Client == "" && f.Auth != nil {
		p.Client = s.clientName(r.Context(), f.Auth)
	}
	return s.show(w, status, name, f.target(), p)
}

func (s *Service) clientName(ctx context.Context, a *authRequest) (name string) {
	_ = s.store.View(ctx, func(tx store.Tx) error { // without a name the page says none
		t, err := s.tenantOf(tx, a.Tenant, nil)
		if err != nil {
			return err
		}
		c, err := s.client(tx, t, a.ClientID)
		name = c.DisplayName
		return err
	})
	return name
}

func (s *Service) showAccount(w http.ResponseWriter, r *http.Request, f *flow) error {
	u, _, err := s.account(r.Context(), f.Account)
	if err != nil {
		return s.fail(w, r, f, err)
	}
	return s.showPage(w, r, f, http.StatusOK, "account", page{Title: "Choose an account", User: u.UserPrincipalName, Name: u.DisplayName})
}

func (s *Service) showChange(w http.ResponseWriter, r *http.Request, f *flow, u user, problem string) error {
	return s.showPage(w, r, f, http.StatusOK, "change", page{Title: "Choose a new password", Error: problem, User: u.UserPrincipalName})
}

// showFactor asks for a second factor, or for the first one to be added.
func (s *Service) showFactor(w http.ResponseWriter, r *http.Request, f *flow, u user, all []Factor, why string) error {
	if len(all) == 0 {
		return s.showEnrol(w, r, f, u, all, why, "")
	}
	return s.askFactor(w, r, f, u, all, why, "")
}

func (s *Service) askFactor(w http.ResponseWriter, r *http.Request, f *flow, u user, all []Factor, why, problem string) error {
	options, session, err := beginKey(s.base(r), u, all)
	if err != nil {
		return err
	}
	f.Key = session
	p := page{Title: "Second factor", Error: problem, User: u.UserPrincipalName, Why: why, Options: string(options)}
	p.App = slices.ContainsFunc(all, func(x Factor) bool { return x.TOTP != "" })
	status := http.StatusOK
	if problem != "" {
		status = http.StatusForbidden
	}
	return s.showPage(w, r, f, status, "factor", p)
}

func (s *Service) showEnrol(w http.ResponseWriter, r *http.Request, f *flow, u user, all []Factor, why, problem string) error {
	key, err := s.totpKey(f, u)
	if err != nil {
		return err
	}
	qr, err := qrCode(key)
	if err != nil {
		return err
	}
	options, session, err := beginEnrol(s.base(r), u, all)
	if err != nil {
		return err
	}
	f.Secret, f.Key = key.Secret(), session
	return s.showPage(w, r, f, http.StatusOK, "enrol", page{Title: "Add a second factor", Error: problem, User: u.UserPrincipalName, Why: why, QR: qr, Secret: key.Secret(), Options: string(options)})
}

// totpKey is the secret that the page shows already, or a new one.
func (s *Service) totpKey(f *flow, u user) (*otp.Key, error) {
	if f.Secret != "" {
		issuer := "Vauban " + s.tenant.Name
		return otp.NewKeyFromURL(fmt.Sprintf("otpauth://totp/%s:%s?secret=%s&issuer=%s&period=%d", pathEscape(issuer), pathEscape(u.UserPrincipalName), f.Secret, pathEscape(issuer), totpPeriod))
	}
	return newTOTP(s.tenant.Name, u.UserPrincipalName)
}

func qrCode(key *otp.Key) (template.URL, error) {
	img, err := key.Image(200, 200)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return "", err
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil //nolint:gosec // it was made here
}

func (s *Service) showConsent(w http.ResponseWriter, r *http.Request, f *flow, me who, perms permissions, code *deviceCode) error {
	p := page{Title: "Permissions requested", Client: me.client.DisplayName, User: me.user.UserPrincipalName, Scopes: perms.ask}
	if f.Auth != nil {
		p.Sends = f.Auth.Redirect
	}
	if code != nil {
		p.Title, p.Device, p.From = "Are you signing in on another device?", code.UserCode, code.Address
	}
	if me.client.app != nil {
		p.Publisher = me.client.Owner
		if me.client.Owner == me.tenant.ID {
			p.Publisher = me.tenant.Name
		}
	}
	if len(p.Scopes) == 0 {
		for _, g := range perms.granted {
			p.Scopes = append(p.Scopes, consentScope{Value: g})
		}
	}
	admin, err := s.administers(r.Context(), me.user.ID)
	if err != nil {
		return err
	}
	p.CanAll = admin && len(perms.ask) > 0
	if !admin && slices.ContainsFunc(perms.ask, func(c consentScope) bool { return c.Admin }) {
		return s.fail(w, r, f, needsAdmin(me.client.DisplayName))
	}
	return s.showPage(w, r, f, http.StatusOK, "consent", p)
}

// administers reports whether the user may consent for the tenant.
func (s *Service) administers(ctx context.Context, userID string) (bool, error) {
	st, err := s.dir.Standing(ctx, userID)
	return slices.Contains(st.Roles, directory.GlobalAdministrator), err
}

// request is what the flow is to be answered with: the authorization request, or that of the device code.
func (s *Service) request(ctx context.Context, f *flow) (*authRequest, *deviceCode, error) {
	if f.Auth != nil {
		return f.Auth, nil, nil
	}
	d, err := s.deviceByKey(ctx, f.Device)
	if err != nil {
		return nil, nil, err
	}
	return &authRequest{Tenant: d.Tenant, V2: d.V2, ClientID: d.ClientID, Platform: platformPublic, Scope: d.Scope, Capabilities: d.Capabilities}, &d, nil
}

// signedIn keeps the session of a user who has proved all that was asked for.
func (s *Service) signedIn(w http.ResponseWriter, r *http.Request, f *flow) error {
	session, secret, err := s.keepSession(r.Context(), f)
	if err != nil {
		return err
	}
	f.Session = session.ID
	if secret == "" {
		return nil
	}
	setCookie(w, sessionCookie, session.ID+"."+secret, 0)
	return s.succeeded(r.Context(), f.Account, place(r).Address)
}

// finish gives the client what it may have.
func (s *Service) finish(w http.ResponseWriter, r *http.Request, f *flow, me who, granted []string) error {
	a, _, err := s.request(r.Context(), f)
	if err != nil {
		return err
	}
	if me.user.ExternalUserState == "PendingAcceptance" {
		if err := s.store.Update(r.Context(), func(tx store.Tx) error { return s.dir.AcceptInvitation(tx, me.user.ID) }); err != nil {
			return err
		}
	}
	fam := entra.Family{
		ID: random(16), UserID: me.user.ID, Account: me.account.ID, TenantID: me.tenant.ID, Session: f.Session, ClientID: me.client.AppID, Scopes: granted,
		ValidFrom: me.user.SessionsValidFrom, AccountFrom: me.account.SessionsValidFrom, AMR: f.AMR, SignedIn: f.SignedIn, Factor: f.Factor, Expires: s.clock.Now().Add(refreshLife),
	}
	if f.Device != "" {
		fam.Session = "" // the device is another place: it stays when the user signs out here
		return s.approveDevice(w, r, f, fam)
	}
	return s.sendCode(w, r, a, fam, me)
}

// keepSession makes the browser's session, or renews the one that the flow went on.
func (s *Service) keepSession(ctx context.Context, f *flow) (session entra.Session, secret string, err error) {
	now := s.clock.Now()
	err = s.store.Update(ctx, func(tx store.Tx) error {
		if f.Session != "" {
			if session, err = s.dir.Session(tx, f.Session); err != nil && !errors.Is(err, entra.ErrNoSession) {
				return err
			} else if err == nil {
				if slices.Equal(session.AMR, f.AMR) {
					return nil
				}
				session.AMR, session.Factor = f.AMR, f.Factor
				return s.dir.PutSession(tx, session)
			}
		}
		secret = random(32)
		session = entra.Session{ID: random(16), UserID: f.Account, Secret: digest(secret), ValidFrom: f.ValidFrom, AMR: f.AMR, SignedIn: f.SignedIn, Factor: f.Factor, Expires: now.Add(sessionLife)}
		return s.dir.PutSession(tx, session)
	})
	return session, secret, err
}
