package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"vauban.dev/store"
)

const kindFactor = "entra.factor" // key: user/id

// Factor is a second factor of a user: an authenticator app (TOTP, RFC 6238) or a security key (WebAuthn).
type Factor struct {
	ID      string               `json:"id"`
	UserID  string               `json:"userId"`
	Name    string               `json:"name"`
	Created time.Time            `json:"created"`
	Used    time.Time            `json:"used,omitzero"`
	TOTP    string               `json:"totp,omitempty"` // the secret, base32
	Step    int64                `json:"step,omitempty"` // the last time step that was used: a code holds once
	Key     *webauthn.Credential `json:"key,omitempty"`
	RPID    string               `json:"rpId,omitempty"` // the host under which the key was made
}

// Kind of the factor for pages: app or key.
func (f Factor) Kind() string {
	if f.Key != nil {
		return "key"
	}
	return "app"
}

// factors returns the second factors of a user.
func factors(tx store.Tx, userID string) (out []Factor, err error) {
	var bad error
	err = tx.Scan(kindFactor, userID+"/", "", func(doc store.Doc) bool {
		var f Factor
		if bad = json.Unmarshal(doc.Value, &f); bad == nil {
			out = append(out, f)
		}
		return bad == nil
	})
	return out, errors.Join(err, bad)
}

func putFactor(tx store.Tx, f Factor) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = tx.Put(kindFactor, f.UserID+"/"+f.ID, b, store.Any)
	return err
}

func removeFactor(tx store.Tx, userID, id string) error {
	err := tx.Delete(kindFactor, userID+"/"+id, store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// ResetFactors takes a user's second factors away, and what is counted against him: he enrols anew where a policy
// asks for one. Whoever calls it has made sure of who asks.
func ResetFactors(tx store.Tx, userID string) error {
	all, err := factors(tx, userID)
	for _, f := range all {
		err = errors.Join(err, removeFactor(tx, userID, f.ID))
	}
	if gone := tx.Delete(kindLockout, userID, store.Any); !errors.Is(gone, store.ErrNotFound) {
		err = errors.Join(err, gone)
	}
	return err
}

const totpPeriod = 30 // seconds

// newTOTP makes a secret for an authenticator app, and the URI that the app reads from a QR code.
func newTOTP(region, upn string) (*otp.Key, error) {
	return totp.Generate(totp.GenerateOpts{Issuer: "Vauban " + region, AccountName: upn, Period: totpPeriod, SecretSize: 20, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
}

// checkTOTP reports whether the code is that of now, of the step before or of the next, and returns its step. A
// step that is not after last has been used.
func checkTOTP(secret, code string, now time.Time, last int64) (step int64, ok bool) {
	for _, d := range []int64{0, -1, 1} {
		step := now.Unix()/totpPeriod + d
		if step <= last {
			continue
		}
		if ok, err := totp.ValidateCustom(code, secret, time.Unix(step*totpPeriod, 0), totp.ValidateOpts{Period: totpPeriod, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}); ok && err == nil {
			return step, true
		}
	}
	return 0, false
}

// keyHolder is a user as the WebAuthn library sees him.
type keyHolder struct {
	id, upn, name string
	keys          []webauthn.Credential
}

func (k keyHolder) WebAuthnID() []byte                         { return []byte(k.id) }
func (k keyHolder) WebAuthnName() string                       { return k.upn }
func (k keyHolder) WebAuthnDisplayName() string                { return k.name }
func (k keyHolder) WebAuthnCredentials() []webauthn.Credential { return k.keys }

// relyingParty is this service under the host that the browser came by: security keys hold for one host.
func relyingParty(base string) (*webauthn.WebAuthn, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "Vauban", RPOrigins: []string{base},
		AuthenticatorSelection: protocol.AuthenticatorSelection{UserVerification: protocol.VerificationPreferred, ResidentKey: protocol.ResidentKeyRequirementDiscouraged},
		Timeouts: webauthn.TimeoutsConfig{
			Login:        webauthn.TimeoutConfig{Enforce: false, Timeout: 2 * time.Minute},
			Registration: webauthn.TimeoutConfig{Enforce: false, Timeout: 2 * time.Minute},
		},
	})
}

// holder is the user with the keys that were made under this host.
func holder(u user, all []Factor, rpID string) keyHolder {
	h := keyHolder{id: u.ID, upn: u.UserPrincipalName, name: u.DisplayName}
	for _, f := range all {
		if f.Key != nil && f.RPID == rpID {
			h.keys = append(h.keys, *f.Key)
		}
	}
	return h
}

// beginKey makes the challenge for one of the user's security keys, as JSON for the page, and what is needed to
// check the answer.
func beginKey(base string, u user, all []Factor) (options []byte, session *webauthn.SessionData, err error) {
	rp, err := relyingParty(base)
	if err != nil {
		return nil, nil, err
	}
	h := holder(u, all, rp.Config.RPID)
	if len(h.keys) == 0 {
		return nil, nil, nil
	}
	assertion, session, err := rp.BeginLogin(h)
	if err != nil {
		return nil, nil, err
	}
	options, err = json.Marshal(assertion.Response)
	return options, session, err
}

// finishKey checks the answer of a security key. It returns the factor with its counter moved on.
func finishKey(base string, u user, all []Factor, session webauthn.SessionData, answer []byte) (Factor, bool) {
	rp, err := relyingParty(base)
	if err != nil {
		return Factor{}, false
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Factor{}, false
	}
	key, err := rp.ValidateLogin(holder(u, all, rp.Config.RPID), session, parsed)
	if err != nil || key.Authenticator.CloneWarning {
		return Factor{}, false
	}
	for _, f := range all {
		if f.Key != nil && string(f.Key.ID) == string(key.ID) {
			f.Key = key
			return f, true
		}
	}
	return Factor{}, false
}

// beginEnrol makes the challenge for a new security key.
func beginEnrol(base string, u user, all []Factor) (options []byte, session *webauthn.SessionData, err error) {
	rp, err := relyingParty(base)
	if err != nil {
		return nil, nil, err
	}
	h := holder(u, all, rp.Config.RPID)
	var have []protocol.CredentialDescriptor
	for _, k := range h.keys {
		have = append(have, k.Descriptor())
	}
	creation, session, err := rp.BeginRegistration(h, webauthn.WithExclusions(have))
	if err != nil {
		return nil, nil, err
	}
	options, err = json.Marshal(creation.Response)
	return options, session, err
}

// finishEnrol checks the answer of a new security key.
func finishEnrol(base string, u user, all []Factor, session webauthn.SessionData, answer []byte, now time.Time) (Factor, error) {
	rp, err := relyingParty(base)
	if err != nil {
		return Factor{}, err
	}
	refused := &pageError{http.StatusBadRequest, "The security key's answer is not valid. Try again."}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return Factor{}, refused
	}
	key, err := rp.CreateCredential(holder(u, all, rp.Config.RPID), session, parsed)
	if err != nil {
		return Factor{}, refused
	}
	return Factor{ID: uuid.NewString(), UserID: u.ID, Name: fmt.Sprintf("Security key %d", len(all)+1), Created: now, Key: key, RPID: rp.Config.RPID}, nil
}
