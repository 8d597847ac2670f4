package signin

import (
	"context"
	"errors"
	"strings"

	"vauban.dev/entra"
	"vauban.dev/entra/conditionalaccess"
	"vauban.dev/store"
)

// DeviceRequest is what waits behind a user code.
type DeviceRequest struct {
	Client  string   `json:"client"`  // name of the application
	Address string   `json:"address"` // where it asked from
	Scopes  []string `json:"scopes"`
}

// Approval is a user's answer to a device code without a browser: in a terminal.
type Approval struct {
	Code, User, Password string
	OTP                  string // of an authenticator app, when ErrNeedsFactor has asked for it
	Place                conditionalaccess.Place
}

var (
	// ErrNoDevice is returned for a user code that nothing waits behind.
	ErrNoDevice = errors.New("that code is not valid, or it has expired or was used")
	// ErrNeedsFactor is returned when conditional access asks for a second factor.
	ErrNeedsFactor = errors.New("a second factor is needed: the code of your authenticator app")
	// ErrNeedsPage is returned for what a terminal cannot do: consent, a new password, a first second factor.
	ErrNeedsPage = errors.New("this sign-in needs the sign-in page: open the page that the device names in a browser of the region")
)

// Waiting says what waits behind a user code; ErrNoDevice.
func (s *Service) Waiting(ctx context.Context, code string) (DeviceRequest, error) {
	key, err := s.deviceByUserCode(ctx, code)
	if errors.Is(err, errNoDevice) {
		return DeviceRequest{}, ErrNoDevice
	}
	var out DeviceRequest
	if err == nil {
		err = s.store.View(ctx, func(tx store.Tx) error {
			d, err := s.waiting(tx, key)
			if err != nil {
				return err
			}
			c, err := s.client(tx, s.tenant, d.ClientID)
			out = DeviceRequest{Client: c.DisplayName, Address: d.Address, Scopes: strings.Fields(d.Scope.answer(nil))}
			return err
		})
	}
	return out, err
}

// Approve signs a user in and gives the device what it waits for, by the same rules as the pages: lock-out,
// conditional access, consent. Errors: ErrNoDevice, ErrNeedsFactor, ErrNeedsPage, or a refusal with its AADSTS code.
func (s *Service) Approve(ctx context.Context, a Approval) error {
	key, err := s.deviceByUserCode(ctx, a.Code)
	if errors.Is(err, errNoDevice) {
		return ErrNoDevice
	}
	if err != nil {
		return err
	}
	u, err := s.authenticate(ctx, a.User, a.Password, a.Place.Address)
	if err != nil {
		return err
	}
	if u.MustChangePassword {
		return ErrNeedsPage
	}
	fam, err := s.approval(ctx, key, u, a)
	if err != nil {
		return err
	}
	if err := s.succeeded(ctx, u.ID, a.Place.Address); err != nil {
		return err
	}
	return s.settleDevice(ctx, key, func(d *deviceCode) { d.Family = &fam })
}

// approval checks what the pages would ask for.
func (s *Service) approval(ctx context.Context, key string, u user, a Approval) (fam entra.Family, err error) {
	amr := []string{"pwd"}
	factor := false
	var me who
	var all []Factor
	err = s.store.View(ctx, func(tx store.Tx) error {
		d, err := s.waiting(tx, key)
		if err != nil {
			return err
		}
		if me, err = s.whoOf(tx, d.Tenant, u.ID, d.ClientID, d.Scope); err != nil {
			return err
		}
		decided, err := s.decide(ctx, tx, me, false, a.Place, s.clock.Now())
		if err != nil {
			return err
		}
		if len(decided.Blocked) > 0 {
			return blockedByPolicy(names(decided.Blocked))
		}
		factor = len(decided.MFA) > 0
		perms, err := s.permissions(tx, me.client, me.to, me.user.ID, d.Scope)
		if err == nil && (len(perms.ask) > 0 || me.client.AssignmentRequired) {
			return ErrNeedsPage
		}
		if err == nil {
			all, err = factors(tx, u.ID)
		}
		return err
	})
	if err != nil {
		return fam, err
	}
	if factor {
		if err := s.terminalFactor(ctx, u, all, a); err != nil {
			return fam, err
		}
		amr = append(amr, "otp", "mfa")
	}
	fam = s.newFamily(me, amr)
	if factor {
		fam.Factor = s.clock.Now()
	}
	return fam, nil
}

func (s *Service) terminalFactor(ctx context.Context, u user, all []Factor, a Approval) error {
	app := false
	for _, f := range all {
		app = app || f.TOTP != ""
	}
	if !app {
		return ErrNeedsPage
	}
	if a.OTP == "" {
		return ErrNeedsFactor
	}
	ok, err := s.useTOTP(ctx, u.ID, a.OTP)
	if err != nil {
		return err
	}
	if !ok {
		if err := s.failed(ctx, u.ID, a.Place.Address, random(8)); err != nil {
			return err
		}
		return invalidGrant(500121, "Authentication failed during strong authentication request: the code is not right, or was used before.")
	}
	return nil
}

// Refused reports whether an error is a refusal of the caller, with its AADSTS code, and no failure of the region.
func Refused(err error) bool {
	refused := new(signInError)
	return errors.As(err, &refused)
}
