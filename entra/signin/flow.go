package signin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"vauban.dev/entra"
	"vauban.dev/entra/conditionalaccess"
	"vauban.dev/entra/directory"
	"vauban.dev/origin"
	"vauban.dev/store"
)

// flow is a sign-in that is under way: what it is for, and what the user has proved. It travels in the page,
// sealed for the browser that the page was given to, so that nothing is stored for strangers, nobody can change it,
// and no other site can send it (which is what a CSRF token is for).
type flow struct {
	Auth    *authRequest `json:"auth,omitempty"`   // to be answered; or
	Device  string       `json:"device,omitempty"` // key of a device code to be approved; else the page of second factors
	Expires time.Time    `json:"expires"`

	Account   string    `json:"account,omitempty"` // object id of who has proved his password
	Session   string    `json:"session,omitempty"` // id of the session that this goes on
	ValidFrom time.Time `json:"validFrom,omitzero"`
	AMR       []string  `json:"amr,omitempty"`
	SignedIn  time.Time `json:"signedIn,omitzero"`
	Factor    time.Time `json:"factor,omitzero"`
	Chosen    bool      `json:"chosen,omitempty"`  // the user has said that it shall be this account
	Fresh     bool      `json:"fresh,omitempty"`   // the password was typed in this flow
	Consent   bool      `json:"consent,omitempty"` // the user has seen the consent page

	Secret string                `json:"secret,omitempty"` // of the authenticator app that is being added
	Key    *webauthn.SessionData `json:"key,omitempty"`    // challenge to a security key
	Adds   bool                  `json:"adds,omitempty"`   // the user adds a factor on his own account
}

// flowLife is how long a page holds.
const flowLife = 30 * time.Minute

func (f *flow) proved() bool { return slices.Contains(f.AMR, "mfa") }

// hint is the user name that the client expects.
func (f *flow) hint() string {
	if f.Auth != nil {
		return f.Auth.Hint
	}
	return ""
}

// target is where the answer goes, for the rule on forms.
func (f *flow) target() string {
	if f.Auth != nil {
		return f.Auth.Redirect
	}
	return ""
}

func (s *Service) sealFlow(w http.ResponseWriter, r *http.Request, f *flow) (string, error) {
	if f.Expires.IsZero() {
		f.Expires = s.clock.Now().Add(flowLife)
	}
	return s.keys.seal(f, ensureBrowser(w, r))
}

// openFlow takes the flow of a form back.
func (s *Service) openFlow(r *http.Request) (*flow, error) {
	stale := &pageError{http.StatusBadRequest, "This page has expired, or is of another browser. Start again where you came from."}
	b := browser(r)
	if b == "" {
		return nil, stale
	}
	f := new(flow)
	if s.keys.open(r.PostForm.Get("flow"), b, f) != nil || !s.clock.Now().Before(f.Expires) {
		return nil, stale
	}
	return f, nil
}

// who is the user of a flow: the account that signed in, and how the tenant that was asked for knows him.
type who struct {
	tenant  directory.Tenant
	account user // whose password it is
	user    user // the same, or the guest
	client  client
	to      entra.Target
}

// place is where the request comes from, as the kernel saw it.
func place(r *http.Request) conditionalaccess.Place {
	o := origin.FromContext(r.Context())
	return conditionalaccess.Place{Address: o.Source, VNet: o.VNet, Subnet: o.Subnet}
}

// tenantOf resolves the tenant segment of a path for an account: common and organizations are the account's own.
func (s *Service) tenantOf(tx store.Tx, segment string, account *user) (directory.Tenant, error) {
	switch strings.ToLower(segment) {
	case "common", "organizations":
		if account == nil {
			return s.tenant, nil
		}
		return s.dir.TenantBy(tx, account.TenantID)
	case "consumers":
		return directory.Tenant{}, noConsumers()
	}
	t, err := s.dir.TenantBy(tx, segment)
	if errors.Is(err, directory.ErrNotFound) {
		return t, unknownSegment(segment)
	}
	return t, err
}

// in returns how a tenant knows an account: itself, or as its guest.
func (s *Service) in(tx store.Tx, t directory.Tenant, account user, appID string) (user, error) {
	if account.TenantID == "" || account.TenantID == t.ID {
		return account, nil
	}
	g, err := s.dir.GuestOf(tx, t.ID, account.ID)
	if errors.Is(err, directory.ErrNotFound) {
		return g, refuse(http.StatusBadRequest, "access_denied", 50020,
			"User account '%s' from identity provider '%s' does not exist in tenant '%s' and cannot access the application '%s' in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different Microsoft Entra user account.",
			account.UserPrincipalName, directory.Tenant{ID: account.TenantID}.IssuerV1(), t.Name, printable(appID))
	}
	return g, err
}

// whoOf reads user, client and resource of a request; *signInError.
func (s *Service) whoOf(tx store.Tx, segment, accountID, clientID string, q scopeRequest) (w who, err error) {
	if w.account, err = s.dir.User(tx, accountID); errors.Is(err, directory.ErrNotFound) {
		return w, wrongPassword()
	} else if err != nil {
		return w, err
	}
	if w.tenant, err = s.tenantOf(tx, segment, &w.account); err != nil {
		return w, err
	}
	if w.user, err = s.in(tx, w.tenant, w.account, clientID); err != nil {
		return w, err
	}
	if !w.account.AccountEnabled || !w.user.AccountEnabled {
		return w, accountDisabled()
	}
	if w.client, err = s.client(tx, w.tenant, clientID); err != nil {
		return w, err
	}
	w.to, err = s.target(tx, w.tenant, q.Resource)
	return w, err
}

func (s *Service) target(tx store.Tx, t directory.Tenant, identifier string) (entra.Target, error) {
	to, err := s.dir.TargetIn(tx, t, identifier)
	if errors.Is(err, entra.ErrNoResource) {
		return to, unknownResource(identifier, t.Name)
	}
	return to, err
}

// decide asks conditional access.
func (s *Service) decide(ctx context.Context, tx store.Tx, w who, browser bool, at conditionalaccess.Place, signedIn time.Time) (conditionalaccess.Decision, error) {
	policies, locations, err := s.dir.ConditionalAccess(tx)
	if err != nil || len(policies) == 0 {
		return conditionalaccess.Decision{}, err
	}
	standing, err := s.dir.StandingIn(ctx, tx, w.user.ID)
	if err != nil {
		return conditionalaccess.Decision{}, err
	}
	return conditionalaccess.Decide(policies, locations, conditionalaccess.Request{
		UserID: w.user.ID, Guest: w.user.UserType == directory.Guest, Groups: standing.Groups, Roles: standing.Roles,
		Resources: []string{w.to.AppID}, Browser: browser, Place: at, SignedIn: signedIn, Now: s.clock.Now(),
	}), nil
}

func names(policies []conditionalaccess.Policy) string {
	var out []string
	for _, p := range policies {
		out = append(out, p.DisplayName)
	}
	return strings.Join(out, ", ")
}
