package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/entra/directory"
	"vauban.dev/entra/password"
	"vauban.dev/store"
)

// crossOrigin refuses forms that browsers send for other sites.
var crossOrigin = http.NewCrossOriginProtection()

// form serves the pages' own forms, below /vauban/.
func (s *Service) form(w http.ResponseWriter, r *http.Request, name string) error {
	handlers := map[string]func(http.ResponseWriter, *http.Request, *flow) error{
		"password": s.password, "change": s.change, "account": s.choose, "factor": s.factor, "enrol": s.enrol,
		"consent": s.consent, "device": s.enterCode, "factors": s.changeFactors, "signout": s.signOut,
	}
	if s.asset(w, r, name) {
		return nil
	}
	if name == "factors" && r.Method == http.MethodGet {
		return s.openFactors(w, r)
	}
	handle := handlers[name]
	if handle == nil {
		return s.show(w, http.StatusNotFound, "message", "", page{Title: "There is no such page"})
	}
	if r.Method != http.MethodPost {
		return s.show(w, http.StatusMethodNotAllowed, "message", "", page{Title: "Start again", Lines: []string{"This page is reached from another one. Start again where you came from."}})
	}
	if err := crossOrigin.Check(r); err != nil {
		return s.show(w, http.StatusForbidden, "message", "", page{Title: "Refused", Error: "This form was sent by another site."})
	}
	err := s.withFlow(w, r, handle)
	shown := new(pageError)
	if errors.As(err, &shown) {
		return s.show(w, shown.status, "message", "", page{Title: "Something is wrong", Error: shown.text})
	}
	refused := new(signInError)
	if errors.As(err, &refused) {
		return s.showRefusal(w, r, refused, nil)
	}
	return err
}

func (s *Service) withFlow(w http.ResponseWriter, r *http.Request, handle func(http.ResponseWriter, *http.Request, *flow) error) error {
	if _, err := readForm(w, r); err != nil {
		return &pageError{http.StatusBadRequest, "The form could not be read."}
	}
	f, err := s.openFlow(r)
	if err != nil {
		return err
	}
	if r.PostForm.Get("cancel") != "" {
		return s.cancel(w, r, f)
	}
	return handle(w, r, f)
}

func (s *Service) cancel(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.Auth == nil {
		return s.show(w, http.StatusOK, "message", "", page{Title: "Cancelled", Lines: []string{"Nothing was signed in. You may close this page."}})
	}
	return s.fail(w, r, f, cancelled())
}

// password takes user name and password.
func (s *Service) password(w http.ResponseWriter, r *http.Request, f *flow) error {
	u, err := s.authenticate(r.Context(), r.PostForm.Get("username"), r.PostForm.Get("password"), place(r).Address)
	refused := new(signInError)
	if errors.As(err, &refused) {
		return s.showPage(w, r, f, refusedStatus(refused), "signin", page{Title: "Sign in", Error: refused.text, Hint: r.PostForm.Get("username")})
	}
	if err != nil {
		return err
	}
	if f.Account != u.ID {
		*f = flow{Auth: f.Auth, Device: f.Device, Expires: f.Expires}
	}
	f.Account, f.ValidFrom, f.SignedIn, f.Fresh, f.Chosen = u.ID, u.SessionsValidFrom, s.clock.Now(), true, true
	f.AMR = []string{"pwd"}
	return s.advance(w, r, f)
}

func refusedStatus(e *signInError) int {
	if e.status == http.StatusTooManyRequests {
		return e.status
	}
	return http.StatusForbidden
}

// authenticate checks a user's password; *signInError. The answer for a name that does not exist takes as long,
// and says the same, as that for a wrong password.
func (s *Service) authenticate(ctx context.Context, upn, secret string, from address) (user, error) {
	if !s.tries.allow(from) {
		return user{}, tooManyTries()
	}
	var u user
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		u, err = s.dir.UserByName(tx, strings.TrimSpace(upn))
		return err
	})
	missing := errors.Is(err, directory.ErrNotFound)
	if err != nil && !missing {
		return u, err
	}
	if !missing {
		locked, err := s.locked(ctx, u.ID, from)
		if err != nil {
			return u, err
		}
		if locked {
			return u, accountLocked()
		}
	}
	ok, err := password.Verify(ctx, u.PasswordHash, secret)
	switch {
	case err != nil:
		return u, err
	case missing || u.PasswordHash == "":
		return u, wrongPassword()
	case !ok:
		if err := s.failed(ctx, u.ID, from, secret); err != nil {
			return u, err
		}
		return u, wrongPassword()
	case !u.AccountEnabled:
		return u, accountDisabled()
	}
	return u, nil
}

// change sets the password that the user has chosen in place of one that was given to him.
func (s *Service) change(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.Account == "" || !f.Fresh {
		return s.advance(w, r, f)
	}
	u, _, err := s.account(r.Context(), f.Account)
	if err != nil {
		return err
	}
	fresh := r.PostForm.Get("new")
	problem := ""
	if fresh != r.PostForm.Get("again") {
		problem = "The two passwords differ."
	} else if err := password.Check(fresh); err != nil {
		problem = "This password cannot be taken: " + err.Error() + "."
	} else if same, err := password.Verify(r.Context(), u.PasswordHash, fresh); err != nil {
		return err
	} else if same {
		problem = "This is the password that you have. Choose another one."
	}
	if problem != "" {
		return s.showChange(w, r, f, u, problem)
	}
	hash, err := password.Hash(r.Context(), fresh)
	if err != nil {
		return err
	}
	err = s.store.Update(r.Context(), func(tx store.Tx) error {
		if now, err := s.dir.User(tx, u.ID); err != nil || !now.SessionsValidFrom.Equal(f.ValidFrom) {
			return errors.Join(err, &pageError{http.StatusConflict, "The account was changed meanwhile. Sign in again."})
		}
		if err := s.dir.SetPassword(tx, u.ID, hash, false); err != nil {
			return err
		}
		u, err = s.dir.User(tx, u.ID)
		return err
	})
	if err != nil {
		return err
	}
	f.ValidFrom = u.SessionsValidFrom // this flow goes on; what was signed in before is over
	return s.advance(w, r, f)
}

// choose goes on with the session's account, or asks for another one.
func (s *Service) choose(w http.ResponseWriter, r *http.Request, f *flow) error {
	if r.PostForm.Get("use") != "session" {
		*f = flow{Auth: f.Auth, Device: f.Device, Expires: f.Expires}
		if f.Auth != nil {
			f.Auth.Hint = ""
		}
		return s.showSignIn(w, r, f, "")
	}
	f.Chosen = true
	return s.advance(w, r, f)
}

// factor takes a second factor.
func (s *Service) factor(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.Account == "" {
		return s.advance(w, r, f)
	}
	u, all, err := s.account(r.Context(), f.Account)
	if err != nil {
		return err
	}
	from := place(r).Address
	if !s.tries.allow(from) {
		return tooManyTries()
	}
	if locked, err := s.locked(r.Context(), u.ID, from); err != nil {
		return err
	} else if locked {
		return accountLocked()
	}
	how, err := s.checkFactor(r, f, u, all)
	if err != nil {
		return err
	}
	if how == "" {
		if err := s.failed(r.Context(), u.ID, from, random(8)); err != nil { // each wrong code counts
			return err
		}
		return s.askFactor(w, r, f, u, all, "a second factor is needed.", "That is not right. A code of an app holds for half a minute, and once.")
	}
	f.AMR, f.Factor, f.Key = merge(f.AMR, how, "mfa"), s.clock.Now(), nil
	return s.advance(w, r, f)
}

// checkFactor checks the code of an app or the answer of a security key; how is otp or fido, "" when neither fits.
func (s *Service) checkFactor(r *http.Request, f *flow, u user, all []Factor) (how string, err error) {
	if answer := r.PostForm.Get("key"); answer != "" {
		if f.Key == nil {
			return "", nil
		}
		used, ok := finishKey(s.base(r), u, all, *f.Key, []byte(answer))
		if !ok {
			return "", nil
		}
		used.Used = s.clock.Now()
		return "fido", s.store.Update(r.Context(), func(tx store.Tx) error { return putFactor(tx, used) })
	}
	ok, err := s.useTOTP(r.Context(), u.ID, r.PostForm.Get("code"))
	if ok {
		how = "otp"
	}
	return how, err
}

// useTOTP takes the code of one of the user's authenticator apps. A code holds once, even sent twice at the same
// time.
func (s *Service) useTOTP(ctx context.Context, userID, code string) (ok bool, err error) {
	code = strings.ReplaceAll(code, " ", "")
	err = s.store.Update(ctx, func(tx store.Tx) error {
		all, err := factors(tx, userID)
		if err != nil {
			return err
		}
		for _, x := range all {
			if x.TOTP == "" {
				continue
			}
			var step int64
			if step, ok = checkTOTP(x.TOTP, code, s.clock.Now(), x.Step); ok {
				x.Step, x.Used = step, s.clock.Now()
				return putFactor(tx, x)
			}
		}
		return nil
	})
	return ok, err
}

// enrol adds a second factor: the first one in a sign-in that asks for it, further ones on the user's own page.
func (s *Service) enrol(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.Account == "" {
		return s.advance(w, r, f)
	}
	u, all, err := s.account(r.Context(), f.Account)
	if err != nil {
		return err
	}
	if !u.SessionsValidFrom.Equal(f.ValidFrom) {
		return s.advance(w, r, f)
	}
	if len(all) > 0 && !f.proved() { // a password alone must not add a second second factor
		return s.askFactor(w, r, f, u, all, "prove the factor that you have first.", "")
	}
	made, how, err := s.newFactor(r, f, u, all)
	if err != nil {
		return err
	}
	if how == "" {
		return s.showEnrol(w, r, f, u, all, "add a second factor.", "The code does not fit the secret. Is the clock of the device right?")
	}
	err = s.store.Update(r.Context(), func(tx store.Tx) error {
		now, err := factors(tx, u.ID)
		if err != nil {
			return err
		}
		if len(now) != len(all) {
			return &pageError{http.StatusConflict, "The second factors were changed meanwhile. Start again."}
		}
		return putFactor(tx, made)
	})
	if err != nil {
		return err
	}
	f.AMR, f.Factor, f.Secret, f.Key, f.Adds = merge(f.AMR, how, "mfa"), s.clock.Now(), "", nil, false
	return s.advance(w, r, f)
}

// maxFactors bounds the second factors of a user.
const maxFactors = 10

func (s *Service) newFactor(r *http.Request, f *flow, u user, all []Factor) (made Factor, how string, err error) {
	if len(all) >= maxFactors {
		return made, "", &pageError{http.StatusBadRequest, "There are ten second factors already. Remove one first."}
	}
	if answer := r.PostForm.Get("key"); answer != "" && f.Key != nil {
		made, err = finishEnrol(s.base(r), u, all, *f.Key, []byte(answer), s.clock.Now())
		return made, "fido", err
	}
	step, ok := checkTOTP(f.Secret, strings.ReplaceAll(r.PostForm.Get("code"), " ", ""), s.clock.Now(), 0)
	if f.Secret == "" || !ok {
		return made, "", nil
	}
	return Factor{ID: uuid.NewString(), UserID: u.ID, Name: "Authenticator app", Created: s.clock.Now(), TOTP: f.Secret, Step: step}, "otp", nil
}

func merge(list []string, add ...string) []string {
	out := slices.Clone(list)
	for _, a := range add {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// consent takes the user's answer to what the application asks for.
func (s *Service) consent(w http.ResponseWriter, r *http.Request, f *flow) error {
	if r.PostForm.Get("answer") != "yes" {
		if f.Device != "" {
			return s.declineDevice(w, r, f)
		}
		return s.fail(w, r, f, declinedConsent())
	}
	a, _, err := s.request(r.Context(), f)
	if err != nil {
		return err
	}
	if f.Account == "" {
		return s.advance(w, r, f)
	}
	all := r.PostForm.Get("all") != ""
	err = s.store.Update(r.Context(), func(tx store.Tx) error {
		me, err := s.whoOf(tx, a.Tenant, f.Account, a.ClientID, a.Scope)
		if err != nil {
			return err
		}
		if !me.account.SessionsValidFrom.Equal(f.ValidFrom) {
			return nil // advance asks him to sign in again
		}
		perms, err := s.permissions(tx, me.client, me.to, me.user.ID, a.Scope)
		if err != nil || len(perms.ask) == 0 {
			return err
		}
		st, err := s.dir.StandingIn(r.Context(), tx, me.user.ID)
		if err != nil {
			return err
		}
		admin := slices.Contains(st.Roles, directory.GlobalAdministrator)
		grant := directory.Grant{ClientID: me.client.ObjectID, ConsentType: "Principal", PrincipalID: me.user.ID, ResourceID: me.to.Principal.ObjectID}
		if all && admin {
			grant.ConsentType, grant.PrincipalID = "AllPrincipals", ""
		}
		var values []string
		for _, c := range perms.ask {
			if c.Admin && !admin {
				return needsAdmin(me.client.DisplayName)
			}
			values = append(values, c.Value)
		}
		grant.Scope = strings.Join(values, " ")
		_, err = s.dir.PutGrant(tx, grant)
		return err
	})
	if err != nil {
		return s.fail(w, r, f, err)
	}
	f.Consent = true
	return s.advance(w, r, f)
}

// openFactors is the page on which users manage their second factors.
func (s *Service) openFactors(w http.ResponseWriter, r *http.Request) error {
	f := &flow{}
	if err := s.resume(r, f); err != nil {
		return err
	}
	f.Chosen = true
	return s.advance(w, r, f)
}

// manage shows the page, or adds a factor.
func (s *Service) manage(w http.ResponseWriter, r *http.Request, f *flow, u user, all []Factor) error {
	if len(all) > 0 && !f.proved() {
		return s.askFactor(w, r, f, u, all, "prove the factor that you have first.", "")
	}
	if f.Adds {
		return s.showEnrol(w, r, f, u, all, "add a second factor.", "")
	}
	if err := s.signedIn(w, r, f); err != nil {
		return err
	}
	return s.showPage(w, r, f, http.StatusOK, "factors", page{Title: "Your second factors", User: u.UserPrincipalName, Factors: all})
}

func (s *Service) changeFactors(w http.ResponseWriter, r *http.Request, f *flow) error {
	if f.Account == "" || f.Auth != nil || f.Device != "" {
		return s.advance(w, r, f)
	}
	_, all, err := s.account(r.Context(), f.Account)
	if err != nil {
		return err
	}
	if len(all) > 0 && !f.proved() {
		return s.advance(w, r, f)
	}
	if id := r.PostForm.Get("remove"); id != "" {
		err := s.store.Update(r.Context(), func(tx store.Tx) error { return removeFactor(tx, f.Account, id) })
		if err != nil {
			return err
		}
		return s.advance(w, r, f)
	}
	f.Adds = true
	return s.advance(w, r, f)
}

func pathEscape(text string) string { return url.PathEscape(text) }
