package entra

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

func TestV2Tokens(t *testing.T) {
	w := newWorld(t, testTenant)
	w.update(t, func(tx store.Tx) error {
		return w.UpdatePrincipal(tx, w.app.ObjectID, func(p *directory.ServicePrincipal) error { p.TokenVersion = 2; return nil })
	})
	text := w.tokenFor(t, "api://"+w.app.AppID)
	c := payload(t, text)
	if c.Audience != w.app.AppID || c.Issuer != "https://login.microsoftonline.com/"+testTenant+"/v2.0" || c.Version != "2.0" || c.AZP != w.app.AppID || c.AppID != "" {
		t.Errorf("%+v", c)
	}
	if p, err := w.Verify(context.Background(), text, w.app.AppID); err != nil || p.ObjectID != w.app.ObjectID || p.AppID != w.app.AppID {
		t.Errorf("%+v %v", p, err)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t, testTenant)
	ctx := context.Background()
	old := w.tokenFor(t, AudienceARM)
	first := w.keys.Load().current.KID
	if err := w.RotateKey(ctx); err != nil {
		t.Fatal(err)
	}
	if len(w.keys.Load().all) != 2 || w.keys.Load().current.KID == first {
		t.Fatal("not rotated")
	}
	for _, token := range []string{old, w.tokenFor(t, AudienceARM)} {
		if _, err := w.Verify(ctx, token, AudienceARM); err != nil {
			t.Error(err)
		}
	}
	again, err := New(ctx, w.store, w.clock, directory.Options{}) // a restart signs with the newest
	if err != nil {
		t.Fatal(err)
	}
	if again.keys.Load().current.KID != w.keys.Load().current.KID || again.Tenant() != w.Tenant() {
		t.Error("a restart forgot keys or tenant")
	}
	// another server on the same store: each takes at once what the other has signed by a new key
	if err := again.RotateKey(ctx); err != nil {
		t.Fatal(err)
	}
	fresh, err := again.IssueFor(ctx, w.app.ObjectID, AudienceARM)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verify(ctx, fresh.AccessToken, AudienceARM); err != nil {
		t.Errorf("by the other server's key: %v", err)
	}
	if _, err := again.Verify(ctx, w.tokenFor(t, AudienceARM), AudienceARM); err != nil || w.keys.Load().current.KID != again.keys.Load().current.KID {
		t.Errorf("it signs by the old key still: %v", err)
	}
	w.later(keyGrace + time.Minute)
	if err := w.RotateKey(ctx); err != nil {
		t.Fatal(err)
	}
	if _, still := w.keys.Load().byKID[first]; still || len(w.keys.Load().all) != 2 {
		t.Errorf("%d keys; the first must be gone", len(w.keys.Load().all))
	}
}

// TestTidy: keys take over from each other by time, and what they signed holds meanwhile; sessions that are over go.
func TestTidy(t *testing.T) {
	w := newWorld(t, testTenant)
	ctx := context.Background()
	first := w.keys.Load().current.KID
	w.update(t, func(tx store.Tx) error {
		for id, life := range map[string]time.Duration{"over": time.Hour, "holds": 2 * keyLife} {
			if err := errors.Join(w.PutSession(tx, Session{ID: id, Expires: w.clock.Now().Add(life)}), w.PutFamily(tx, Family{ID: id, Expires: w.clock.Now().Add(life)})); err != nil {
				return err
			}
		}
		return nil
	})
	if err := w.Tidy(ctx); err != nil || w.keys.Load().current.KID != first {
		t.Fatalf("rotated at once: %v", err)
	}
	w.later(keyLife + time.Minute)
	token := w.tokenFor(t, AudienceARM)
	if err := w.Tidy(ctx); err != nil || w.keys.Load().current.KID == first || len(w.keys.Load().all) != 2 {
		t.Fatalf("not rotated: %v", err)
	}
	if _, err := w.Verify(ctx, token, AudienceARM); err != nil {
		t.Errorf("the old key's token: %v", err)
	}
	w.update(t, func(tx store.Tx) error {
		for id, want := range map[string]error{"over": ErrNoSession, "holds": nil} {
			_, err1 := w.Session(tx, id)
			_, err2 := w.Family(tx, id)
			if !errors.Is(err1, want) || !errors.Is(err2, want) {
				t.Errorf("%s: %v %v", id, err1, err2)
			}
		}
		return nil
	})
}

func TestTenantIsKept(t *testing.T) {
	w := newWorld(t, "")
	if _, err := uuid.Parse(w.Tenant().ID); err != nil {
		t.Errorf("tenant %q", w.Tenant().ID)
	}
	if _, err := New(context.Background(), w.store, w.clock, directory.Options{TenantID: testTenant}); err == nil {
		t.Error("another tenant's directory is opened")
	}
	if _, err := New(context.Background(), w.store, w.clock, directory.Options{TenantID: "x"}); err == nil {
		t.Error("a tenant that is no GUID")
	}
}
