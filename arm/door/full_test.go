package door

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/internal/testkit/smalldisk"
)

// TestFullDisk: a write for which there is no room answers 507 and leaves nothing; reads go on, and writes when there is
// room again.
func TestFullDisk(t *testing.T) {
	const size, query = 3 << 20, "?api-version=2024-01-01"
	smalldisk.Run(t, size, func(t *testing.T, disk *smalldisk.Disk) {
		d := openIn(t, disk.Dir, fakes{})
		put := func(i int) int {
			t.Helper()
			w := do(d, "PUT", fmt.Sprint(things, i, query), `{"properties":{"kept":"`+strings.Repeat("x", 20_000)+`"}}`, "t")
			if w.Code == http.StatusInsufficientStorage && code(t, w) != "InsufficientStorage" {
				t.Errorf("answers %s", w.Body)
			}
			return w.Code
		}
		n := 0
		for ; n < 10_000; n++ {
			if status := put(n); status != http.StatusCreated {
				if status != http.StatusInsufficientStorage {
					t.Fatalf("on a full disk: %d", status)
				}
				break
			}
		}
		for i := range n + 1 {
			want := http.StatusOK
			if i == n {
				want = http.StatusNotFound
			}
			if w := do(d, "GET", fmt.Sprint(things, i, query), "", "t"); w.Code != want {
				t.Errorf("number %d of %d: %d %s, want %d", i, n, w.Code, w.Body, want)
			}
		}
		disk.Resize(t, 2*size)
		if status := put(n); status != http.StatusCreated {
			t.Errorf("with room again: %d", status)
		}
	})
}
