package rp_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
)

type shelf struct {
	Size  int      `json:"size"`
	Books []string `json:"books,omitempty" rp:"readonly"`
}

// TestKeptAnswers: an answer to a GET is made once and again when what it shows was written, also other resources that
// Present reads; that of a type whose Present asks what is not stored is made every time.
func TestKeptAnswers(t *testing.T) {
	made := map[string]int{}
	shelves := func(kept bool, name string) rp.Registration {
		return rp.Of(rp.Type[shelf]{Name: "Microsoft.Test/" + name, Versions: rp.Versions[shelf]("2024-01-01", "2025-01-01"), Kept: kept,
			Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[shelf]) error {
				made[name]++
				books, err := rp.List[shelf](tx, "Microsoft.Test/books", r.ID.Parent())
				for _, b := range books {
					r.Properties.Books = append(r.Properties.Books, fmt.Sprint(b.ID.Name(), b.Properties.Size))
				}
				return err
			}})
	}
	r := rptest.New(t, rp.Config{}, shelves(true, "shelves"), shelves(false, "live"),
		rp.Of(rp.Type[shelf]{Name: "Microsoft.Test/books", Versions: rp.Versions[shelf]("2024-01-01")}))
	const at = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Test/"
	put := func(name string, size int) {
		t.Helper()
		r.Must(http.MethodPut, at+name+"?api-version=2024-01-01", fmt.Sprintf(`{"location":"x","properties":{"size":%d}}`, size))
	}
	get := func(name, version string) string {
		t.Helper()
		return fmt.Sprint(r.Must(http.MethodGet, at+name+"?api-version="+version, "").At("properties"))
	}
	want := func(name, version, says string, n int) {
		t.Helper()
		kind, _, _ := strings.Cut(name, "/")
		before := made[kind]
		for range 2 {
			if got := get(name, version); !strings.Contains(got, says) {
				t.Errorf("%s shows %s, want %q", name, got, says)
			}
		}
		if got := made[kind] - before; got != n {
			t.Errorf("%s was made %d times for two GETs, want %d", name, got, n)
		}
	}
	put("shelves/a", 1)
	put("live/a", 1)
	want("shelves/a", "2024-01-01", "size:1", 1)
	want("shelves/a", "2025-01-01", "size:1", 1)
	want("live/a", "2024-01-01", "size:1", 2)
	put("shelves/a", 2)
	want("shelves/a", "2024-01-01", "size:2", 1)
	put("books/b", 7) // the first of its kind
	want("shelves/a", "2024-01-01", "books:[b7]", 1)
	put("books/b", 8)
	want("shelves/a", "2024-01-01", "books:[b8]", 1)
	put("live/b", 1) // of a kind that was not read
	want("shelves/a", "2024-01-01", "books:[b8]", 0)
	r.Must(http.MethodDelete, at+"shelves/a?api-version=2024-01-01", "")
	if a := r.Request(http.MethodGet, at+"shelves/A?api-version=2024-01-01", ""); a.Status != http.StatusNotFound || !strings.Contains(a.String("error", "message"), "shelves/A") {
		t.Errorf("deleted: %d %s", a.Status, a.String("error", "message"))
	}
}
