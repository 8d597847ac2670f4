package entra

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// bySecret is a token of the application, got by its first secret.
func (w *world) bySecret(t testing.TB, capabilities ...string) string {
	t.Helper()
	var to Target
	var p directory.ServicePrincipal
	var proofs directory.Credentials
	var s Subject
	err := w.store.View(context.Background(), func(tx store.Tx) (err error) {
		if p, err = w.ByObjectID(tx, w.app.ObjectID); err != nil {
			return err
		}
		if to, err = w.Target(tx, AudienceARM); err != nil {
			return err
		}
		if proofs, err = w.Credentials(tx, p); err != nil {
			return err
		}
		s, err = w.AppSubject(tx, p, to)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Credential, s.Capabilities = proofs.Secrets[0].KeyID, capabilities
	tok, err := w.Issue(s, to)
	if err != nil {
		t.Fatal(err)
	}
	return tok.AccessToken
}

// TestRevocationHoldsAtOnce takes away what a token hangs on, and asks again in the next line.
func TestRevocationHoldsAtOnce(t *testing.T) {
	for name, revoke := range map[string]func(w *world, tx store.Tx) error{
		"credential": func(w *world, tx store.Tx) error {
			a, err := w.ApplicationByAppID(tx, w.app.AppID)
			return errors.Join(err, w.RemoveSecret(tx, a.ID, a.Secrets[0].KeyID))
		},
		"account": func(w *world, tx store.Tx) error {
			return w.UpdatePrincipal(tx, w.app.ObjectID, func(p *directory.ServicePrincipal) error { p.Disabled = true; return nil })
		},
		"principal": func(w *world, tx store.Tx) error { return w.RemovePrincipal(tx, w.app.ObjectID) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testTenant)
			token := w.bySecret(t)
			for range 2 {
				if _, err := w.Verify(context.Background(), token, AudienceARM); err != nil {
					t.Fatal(err)
				}
			}
			w.update(t, func(tx store.Tx) error { return revoke(w, tx) })
			for range 2 {
				refused := new(TokenError)
				if _, err := w.Verify(context.Background(), token, AudienceARM); !errors.As(err, &refused) || refused.Reason != Revoked {
					t.Errorf("after it was revoked: %v", err)
				}
			}
		})
	}
}

func TestClaimsChallenge(t *testing.T) {
	w := newWorld(t, testTenant)
	for _, capabilities := range [][]string{nil, {"CP1"}} {
		var keyID string
		var a directory.Application
		w.update(t, func(tx store.Tx) (err error) { // the token hangs on the first secret
			if a, err = w.ApplicationByAppID(tx, w.app.AppID); err != nil {
				return err
			}
			keyID = a.Secrets[0].KeyID
			_, _, err = w.AddSecret(tx, a.ID, "next", time.Hour)
			return err
		})
		r := get("https://management.azure.com/")
		r.Header.Set("Authorization", "Bearer "+w.bySecret(t, capabilities...))
		w.update(t, func(tx store.Tx) error { return w.RemoveSecret(tx, a.ID, keyID) })
		_, err := w.Bearer(AudienceARM)(r)
		refused := new(arm.Error)
		if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			t.Fatal(err)
		}
		_, rest, challenged := strings.Cut(refused.Header["WWW-Authenticate"], `error="insufficient_claims", claims="`)
		if challenged != (capabilities != nil) {
			t.Errorf("%v: %s", capabilities, refused.Header["WWW-Authenticate"])
		}
		if challenged {
			text, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(rest, `"`))
			if err != nil || !strings.HasPrefix(string(text), `{"access_token":{"nbf":{"essential":true,"value":"`) {
				t.Errorf("%s %v", text, err)
			}
		}
	}
}
