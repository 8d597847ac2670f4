package directory

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type world struct {
	*Objects
	store store.Store
	clock *clock.Region
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{clock: new(clock.Region), store: st}
	if w.Objects, err = Open(context.Background(), st, w.clock, Options{Domain: "contoso.test"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) update(t testing.TB, f func(store.Tx) error) {
	t.Helper()
	if err := w.store.Update(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func (w *world) user(t testing.TB, name string) (u User) {
	t.Helper()
	w.update(t, func(tx store.Tx) error {
		u = User{UserPrincipalName: name + "@contoso.test", DisplayName: name, AccountEnabled: true}
		return w.CreateUser(tx, &u)
	})
	return u
}

func (w *world) group(t testing.TB, name string, members ...string) (g Group) {
	t.Helper()
	w.update(t, func(tx store.Tx) error {
		g = Group{DisplayName: name, MailNickname: name, SecurityEnabled: true}
		err := w.CreateGroup(tx, &g)
		for _, m := range members {
			err = errors.Join(err, w.AddMember(tx, g.ID, m))
		}
		return err
	})
	return g
}

func (w *world) standing(t testing.TB, id string) Standing {
	t.Helper()
	s, err := w.Standing(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStanding: what a principal is worth follows every write at once, nested groups and cycles among them.
func TestStanding(t *testing.T) {
	w := newWorld(t)
	u := w.user(t, "ada")
	inner := w.group(t, "inner", u.ID)
	outer := w.group(t, "outer", inner.ID)
	w.update(t, func(tx store.Tx) error { return w.AddMember(tx, inner.ID, outer.ID) }) // a cycle
	want := []string{inner.ID, outer.ID}
	slices.Sort(want)
	if s := w.standing(t, u.ID); !slices.Equal(s.Groups, want) || !s.Enabled || s.Name != "ada@contoso.test" {
		t.Errorf("%+v, want groups %v", s, want)
	}
	w.update(t, func(tx store.Tx) error { return w.RemoveMember(tx, outer.ID, inner.ID) })
	if s := w.standing(t, u.ID); !slices.Equal(s.Groups, []string{inner.ID}) {
		t.Errorf("after the inner group left the outer: %v", s.Groups)
	}
	w.update(t, func(tx store.Tx) error { return w.RemoveMember(tx, inner.ID, strings.ToUpper(u.ID)) })
	if s := w.standing(t, u.ID); len(s.Groups) != 0 {
		t.Errorf("after he left: %v", s.Groups)
	}
	w.update(t, func(tx store.Tx) error { return w.AssignRole(tx, "", GlobalAdministrator, u.ID) })
	if s := w.standing(t, u.ID); !slices.Equal(s.Roles, []string{GlobalAdministrator}) {
		t.Errorf("roles %v", s.Roles)
	}
	before := w.standing(t, u.ID).ValidFrom
	w.update(t, func(tx store.Tx) error { return w.RevokeSessions(tx, u.ID) })
	if after := w.standing(t, u.ID).ValidFrom; !after.After(before) {
		t.Errorf("tokens survive: valid from %s, was %s", after, before)
	}
	if _, err := w.Standing(t.Context(), "../x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no GUID: %v", err)
	}
}

func TestUserNames(t *testing.T) {
	w := newWorld(t)
	w.user(t, "ada")
	for upn, want := range map[string]any{
		"ADA@contoso.test":                        new(*Conflict),
		"ada@CONTOSO.TEST":                        new(*Conflict),
		"аda@contoso.test":                        new(*Invalid), // a Cyrillic а
		"ada\u200b@contoso.test":                  new(*Invalid),
		"ada@fabrikam.test":                       new(*Invalid),
		"ada@contoso.test@evil.test":              new(*Invalid),
		".ada@contoso.test":                       new(*Invalid),
		"../ada@contoso.test":                     new(*Invalid),
		"ada%2f@contoso.test":                     new(*Invalid),
		strings.Repeat("a", 65) + "@contoso.test": new(*Invalid),
		"@contoso.test":                           new(*Invalid),
		"ada":                                     new(*Invalid),
	} {
		err := w.store.Update(t.Context(), func(tx store.Tx) error {
			return w.CreateUser(tx, &User{UserPrincipalName: upn, DisplayName: "x"})
		})
		if !errors.As(err, want) {
			t.Errorf("%q: %v, want %T", upn, err, want)
		}
	}
}
