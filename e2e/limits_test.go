package e2e

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// memory is the resident size of a process and its highest since the last call of resetPeak, in MiB.
func memory(t *testing.T, pid int) (now, peak int) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) int {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("no %s in /proc/%d/status", name, pid)
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n >> 10
	}
	return get("VmRSS"), get("VmHWM")
}

func resetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// TestLargeBodies: no body takes memory by its size: what is too large is refused before it is read, and what
// may be large goes to the disk as it comes. The collector lets a heap grow to twice what lives, so the server
// may take as much again as it has, and some room; 400 MiB that come are far from that.
func TestLargeBodies(t *testing.T) {
	const (
		size = 100 << 20
		room = 64 // MiB
	)
	g := newGround(t, nil)
	g.up()
	w := g.names()
	w.put(w.group, vResources, obj{"location": location})
	w.services("Enabled")
	pid := g.status().Server
	for name, c := range map[string]struct {
		method, url, contentType string
		status                   int
		code                     string
	}{
		"Resource Manager": {"PUT", w.vnet + "?api-version=" + vNetwork, "application/json", http.StatusRequestEntityTooLarge, "RequestContentTooLarge"},
		"vault":            {"PUT", "https://" + vaultName + ".vault.azure.net/secrets/s?api-version=7.4", "application/json", http.StatusRequestEntityTooLarge, ""},
		"sign-in":          {"POST", "https://login.microsoftonline.com/" + g.tenant + "/oauth2/v2.0/token", "application/x-www-form-urlencoded", http.StatusBadRequest, "invalid_request"},
		"workspace":        {"POST", "https://" + w.guid + ".workspace." + location + ".api.azureml.ms/mlflow/v2.0" + w.workspace + "/api/2.0/mlflow/runs/log-batch", "application/json", http.StatusRequestEntityTooLarge, ""},
		"blob":             {"PUT", "https://" + blobHost + "/data/large", "application/octet-stream", http.StatusCreated, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := memory(t, pid)
			resetPeak(t, pid)
			var wg sync.WaitGroup
			for i := range 4 {
				length := int64(size)
				if i%2 == 1 && c.status != http.StatusCreated {
					length = -1 // a body that does not say how long it is
				}
				wg.Go(func() {
					a, err := g.do(t.Context(), request{Method: c.method, URL: c.url, Header: http.Header{"Content-Type": {c.contentType}},
						Body: io.MultiReader(strings.NewReader(`{"x":"`), io.LimitReader(letters{}, size-6)), Length: length})
					if err != nil {
						t.Errorf("no answer: %v", err)
						return
					}
					if a.Status != c.status || c.code != "" && a.Code != c.code {
						t.Errorf("answer %s, want %d %s", a, c.status, c.code)
					}
				})
			}
			wg.Wait()
			if _, peak := memory(t, pid); peak-before > before+room {
				t.Errorf("the server grew from %d to %d MiB", before, peak)
			} else {
				t.Logf("%d MiB, at most %d", before, peak)
			}
		})
	}
}
