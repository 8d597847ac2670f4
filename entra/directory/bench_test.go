package directory

import (
	"fmt"
	"testing"

	"vauban.dev/store"
)

// crowd is 10,000 users in the innermost of 1,000 groups, each of which is in the next.
func crowd(b *testing.B) (w *world, users []string, groups []string) {
	b.Helper()
	w = newWorld(b)
	w.update(b, func(tx store.Tx) error {
		for i := range 1000 {
			g := Group{DisplayName: fmt.Sprint("g", i), MailNickname: fmt.Sprint("g", i), SecurityEnabled: true}
			if err := w.CreateGroup(tx, &g); err != nil {
				return err
			}
			if i > 0 {
				if err := w.AddMember(tx, g.ID, groups[i-1]); err != nil {
					return err
				}
			}
			groups = append(groups, g.ID)
		}
		for i := range 10_000 {
			u := User{UserPrincipalName: fmt.Sprintf("u%d@contoso.test", i), DisplayName: fmt.Sprint("u", i), AccountEnabled: true}
			if err := w.CreateUser(tx, &u); err != nil {
				return err
			}
			if err := w.AddMember(tx, groups[0], u.ID); err != nil {
				return err
			}
			users = append(users, u.ID)
		}
		return nil
	})
	return w, users, groups
}

// BenchmarkStanding is what a request pays to know its caller's groups.
func BenchmarkStanding(b *testing.B) {
	w, users, groups := crowd(b)
	ask := func(b *testing.B, id string) {
		if s, err := w.Standing(b.Context(), id); err != nil || len(s.Groups) != 1000 {
			b.Fatal(len(s.Groups), err)
		}
	}
	b.Run("nothing written", func(b *testing.B) {
		for b.Loop() {
			ask(b, users[0])
		}
	})
	touch := func(id string) {
		w.update(b, func(tx store.Tx) error {
			_, err := w.UpdateUser(tx, id, func(u *User) error { u.JobTitle += "x"; u.JobTitle = u.JobTitle[:1]; return nil })
			return err
		})
	}
	b.Run("another user written", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			touch(users[1])
			b.StartTimer()
			ask(b, users[0])
		}
	})
	b.Run("nesting written", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			w.update(b, func(tx store.Tx) error {
				if i%2 == 0 {
					return w.AddMember(tx, groups[999], groups[5])
				}
				return w.RemoveMember(tx, groups[999], groups[5])
			})
			b.StartTimer()
			ask(b, users[0])
		}
	})
}
