package blob

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"testing"

	"vauban.dev/internal/testkit/smalldisk"
)

// TestFullDisk: an upload for which there is no room answers 507 and leaves no file; what was uploaded is read, what is
// deleted makes room, and uploads go on without a restart.
func TestFullDisk(t *testing.T) {
	const size = 4 << 20
	smalldisk.Run(t, size, func(t *testing.T, disk *smalldisk.Disk) {
		f := newFixtureIn(t, disk.Dir)
		f.container("con1")
		b := make([]byte, 300_000)
		rand.Read(b)
		body := string(b)
		upload := func(i int) int {
			w := f.do(call{method: "PUT", path: fmt.Sprintf("/con1/%d", i), body: body, header: []string{"x-ms-blob-type", "BlockBlob"}})
			if w.Code == http.StatusInsufficientStorage && w.Header().Get("x-ms-error-code") != "InsufficientStorage" {
				t.Errorf("answers %s", w.Body)
			}
			return w.Code
		}
		n := 0
		for ; n < 100; n++ {
			if status := upload(n); status != http.StatusCreated {
				if status != http.StatusInsufficientStorage {
					t.Fatalf("on a full disk: %d", status)
				}
				break
			}
		}
		if n < 3 || n == 100 {
			t.Fatalf("%d uploads had room", n)
		}
		if got := f.payloads(); got != n {
			t.Errorf("%d payloads are on disk after %d uploads", got, n)
		}
		for i := range n {
			if f.read("con1", fmt.Sprint(i)) != body {
				t.Errorf("upload %d is another one", i)
			}
		}
		f.want(call{method: "DELETE", path: "/con1/0"}, http.StatusAccepted, "")
		if status := upload(n); status != http.StatusCreated {
			t.Errorf("with the room of a deleted blob: %d", status)
		}
		disk.Resize(t, 2*size)
		if status := upload(n + 1); status != http.StatusCreated {
			t.Errorf("with room again: %d", status)
		}
	})
}
