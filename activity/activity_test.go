package activity

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/authz"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

var testLog = NewLog([]byte("a key of the tests"))

func TestListAndTrim(t *testing.T) {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	err = s.Update(t.Context(), func(tx store.Tx) error {
		for i := range 6 {
			e := Entry{
				ID: fmt.Sprint(i), Time: start.Add(time.Duration(i) * time.Hour), Caller: authz.Principal{Name: fmt.Sprintf("user%d", i%2)},
				Operation: "A.B/things/write", Resource: fmt.Sprintf("/subscriptions/S/resourceGroups/g%d/providers/A.B/things/x", i%3),
				CorrelationID: fmt.Sprint("c", i), Status: Succeeded,
			}
			if err := testLog.Append(tx, e); err != nil {
				return err
			}
		}
		if err := testLog.Append(tx, Entry{ID: "other", Time: start.Add(3 * time.Hour), Resource: "/subscriptions/S2"}); err != nil {
			return err
		}
		if err := testLog.Append(tx, Entry{Resource: "/subscriptions/s"}); err == nil {
			t.Error("an entry without id and time was taken")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ids := func(q Query) (all []string) {
		for {
			var next string
			err := s.View(t.Context(), func(tx store.Tx) error {
				entries, n, err := List(tx, q)
				for _, e := range entries {
					all = append(all, e.ID)
				}
				next = n
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if next == "" {
				return all
			}
			q.After = next
		}
	}
	for _, c := range []struct {
		q    Query
		want []string
	}{
		{Query{}, []string{"5", "4", "3", "2", "1", "0"}},
		{Query{Limit: 2}, []string{"5", "4", "3", "2", "1", "0"}},
		{Query{Since: start.Add(2 * time.Hour), Until: start.Add(4 * time.Hour)}, []string{"4", "3", "2"}},
		{Query{ResourceGroup: "G1"}, []string{"4", "1"}},
		{Query{Caller: "USER0", Limit: 1}, []string{"4", "2", "0"}},
		{Query{CorrelationID: "c3"}, []string{"3"}},
		{Query{Resource: "/subscriptions/s/resourceGroups/g2/providers/A.B/things/x"}, []string{"5", "2"}},
		{Query{Provider: "a.b", Status: Failed}, nil},
	} {
		c.q.Subscription = "s"
		if diff := cmp.Diff(c.want, ids(c.q)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.q, diff)
		}
	}
	if err := testLog.Trim(t.Context(), s, start.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"5", "4", "3"}, ids(Query{Subscription: "s"})); diff != "" {
		t.Errorf("after trimming:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"other"}, ids(Query{Subscription: "s2"})); diff != "" {
		t.Errorf("of the other subscription: %s", diff)
	}
	if diff := cmp.Diff([]string{"4"}, ids(Query{Subscription: "s", Within: "/subscriptions/S/resourceGroups/G1"})); diff != "" {
		t.Errorf("of a group: %s", diff)
	}
	if got := ids(Query{Subscription: "s", Levels: []string{"Error", "Critical"}}); got != nil {
		t.Errorf("errors: %v", got)
	}
}
