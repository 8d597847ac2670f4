//go:build soak

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vauban.dev/region"
)

var (
	soakKills = flag.Int("kills", 1000, "how often the server is killed, with the rounds before that the directory remembers")
	soakSeed  = flag.Uint64("seed", 0, "of the moments at which it is killed; 0: a new one")
	soakDir   = flag.String("soak-dir", "", "where the region and its progress stay, to go on later; empty: a new one, removed at the end")
)

// soakState is what the harness knows across its own restarts: what was acknowledged.
type soakState struct {
	Seed  uint64            `json:"seed"`
	Kills int               `json:"kills"`
	Want  map[string]string `json:"want"` // id → the tag that was acknowledged; "" = gone
}

// soakWriter writes resources of its own, one request after the other: what is not answered may be there or not.
type soakWriter struct {
	mu    sync.Mutex
	acked map[string]string
	open  map[string]string // the request under way when the server went
	polls []string          // operations that were accepted
}

// TestSoakKills kills the server at random moments under concurrent writers. After each restart every acknowledged
// write is there as it was acknowledged, what was under way is there whole or not at all, and accepted operations end.
// At the end the activity log verifies. The seed is printed; -soak-dir goes on where an earlier run ended.
func TestSoakKills(t *testing.T) {
	g := newGround(t, nil)
	progress := ""
	s := soakState{Seed: *soakSeed, Want: map[string]string{}}
	if *soakDir != "" {
		if err := os.MkdirAll(*soakDir, 0o700); err != nil {
			t.Fatal(err)
		}
		g.dir, progress = filepath.Join(*soakDir, "d"), filepath.Join(*soakDir, "progress.json")
		if b, err := os.ReadFile(progress); err == nil {
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.Seed == 0 {
		s.Seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d, %d kills so far", s.Seed, s.Kills)
	random := rand.New(rand.NewPCG(s.Seed, uint64(s.Kills)))
	g.up()
	group := "/subscriptions/" + g.sub + "/resourceGroups/soak"
	g.put(group, vResources, obj{"location": "westeurope"})
	for ; s.Kills < *soakKills && !t.Failed(); s.Kills++ {
		// The writers know the failures: the server is meant to be away.
		writers := make([]*soakWriter, 4)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range writers {
			w := &soakWriter{acked: map[string]string{}, open: map[string]string{}}
			writers[i] = w
			running.Go(func() { w.write(ctx, g, fmt.Sprintf("%s/providers/Microsoft.Network/", group), i, s.Kills) })
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // the moment is what is random here
		st := g.status()
		if st.State != region.Running {
			t.Fatalf("the region is %s", st.State)
		}
		if err := syscall.Kill(st.Server, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		stop()
		running.Wait()
		g.eventually("the server is gone", func() bool { return g.status().State == region.Held })
		g.http.CloseIdleConnections()
		g.vauban("up", "-d")
		g.connect()
		for _, w := range writers {
			w.check(g, s.Want)
		}
		if s.Kills%50 == 49 {
			for id, tag := range s.Want {
				look(g, id, tag)
			}
			t.Logf("%d kills, %d resources; %s", s.Kills+1, len(s.Want), strings.TrimSpace(g.vauban("audit", "verify")))
		}
		if progress != "" {
			b, err := json.Marshal(soakState{s.Seed, s.Kills + 1, s.Want})
			if err == nil {
				err = os.WriteFile(progress, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("seed %d: %d kills, %d resources known", s.Seed, s.Kills, len(s.Want))
	t.Log(g.vauban("audit", "verify"))
}

// write puts, changes and deletes resources until the server is away.
func (w *soakWriter) write(ctx context.Context, g *ground, at string, writer, round int) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%srouteTables/r%d-%d-%d", at, writer, round%20, n%6)
		tag, method := fmt.Sprintf("%d-%d", round, n), http.MethodPut
		if n%5 == 4 {
			tag, method = "", http.MethodDelete
		}
		w.mu.Lock()
		w.open = map[string]string{id: tag}
		w.mu.Unlock()
		body := ""
		if method == http.MethodPut {
			body = fmt.Sprintf(`{"location":"westeurope","tags":{"n":%q},"properties":{"routes":[{"name":"a","properties":{"addressPrefix":"10.%d.0.0/16","nextHopType":"None"}}]}}`, tag, n%250)
		}
		a, err := g.do(ctx, request{Method: method, URL: "https://management.azure.com" + id + "?api-version=" + vNetwork, Body: strings.NewReader(body)})
		if err != nil || a.Status >= 500 {
			return
		}
		w.mu.Lock()
		if a.Status < 300 {
			w.acked[id] = tag
			if p := a.Header.Get("Azure-AsyncOperation"); p != "" {
				w.polls = append(w.polls, p)
			}
		}
		clear(w.open)
		w.mu.Unlock()
	}
}

// check looks for what the writer was told, and ends what it was told of.
func (w *soakWriter) check(g *ground, want map[string]string) {
	g.t.Helper()
	for _, p := range w.polls {
		g.eventually("operation "+p+" ends", func() bool {
			a, err := g.do(g.t.Context(), request{Method: http.MethodGet, URL: p})
			return err == nil && a.Status == http.StatusOK && (strings.Contains(string(a.Body), `"Succeeded"`) || strings.Contains(string(a.Body), `"Failed"`) || strings.Contains(string(a.Body), `"Canceled"`))
		})
	}
	maps.Copy(want, w.acked)
	for id, tag := range w.open {
		had := want[id]
		got := tagOf(g, id)
		if got != tag && got != had {
			g.t.Errorf("%s: tag %q, neither the acknowledged %q nor the unanswered %q", id, got, had, tag)
		}
		want[id] = got
		delete(w.acked, id)
	}
	for id, tag := range w.acked {
		look(g, id, tag)
	}
}

func look(g *ground, id, tag string) {
	g.t.Helper()
	if got := tagOf(g, id); got != tag {
		g.t.Errorf("%s: tag %q, %q was acknowledged", id, got, tag)
	}
}

// tagOf is what a resource says once it stands still; "" when there is none.
func tagOf(g *ground, id string) (tag string) {
	g.t.Helper()
	g.eventually(id+" stands still", func() bool {
		a, err := g.do(g.t.Context(), request{Method: http.MethodGet, URL: "https://management.azure.com" + id + "?api-version=" + vNetwork})
		if err != nil {
			return false
		}
		if a.Status == http.StatusNotFound {
			tag = ""
			return true
		}
		var r struct {
			Tags       map[string]string
			Properties struct {
				ProvisioningState string
				Routes            []any
			}
		}
		if a.Status != http.StatusOK || json.Unmarshal([]byte(a.Body), &r) != nil || r.Properties.ProvisioningState != "Succeeded" {
			return false
		}
		if len(r.Properties.Routes) != 1 {
			g.t.Errorf("%s is half done: %s", id, a.Body)
		}
		tag = r.Tags["n"]
		return true
	})
	return tag
}
