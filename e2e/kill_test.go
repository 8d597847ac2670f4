package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/region"
)

// kill ends the server as a crash does.
func (g *ground) kill() {
	g.t.Helper()
	s := g.status()
	if s.State != region.Running {
		g.t.Fatalf("the region is %s", s.State)
	}
	if err := syscall.Kill(s.Server, syscall.SIGKILL); err != nil {
		g.t.Fatal(err)
	}
	g.eventually("the server is gone", func() bool { return g.status().State == region.Held })
	g.http.CloseIdleConnections()
}

// late is a program at a place that connects when it is told, and prints what the other side says.
type late struct {
	*exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func (g *ground) late(place, addr, host, target string) *late {
	g.t.Helper()
	l := &late{Cmd: g.at(place, "probe", "late", addr, host, target)}
	var err error
	if l.stdin, err = l.StdinPipe(); err != nil {
		g.t.Fatal(err)
	}
	l.lines = g.start(l.Cmd)
	l.expect(g.t, "ready")
	return l
}

func (l *late) expect(t testing.TB, want string) {
	t.Helper()
	if !l.lines.Scan() {
		t.Fatalf("no line %q from %v", want, l.Args)
	}
	if got := l.lines.Text(); !strings.Contains(got, want) {
		t.Fatalf("%v said %q, want %q", l.Args, got, want)
	}
}

// TestKill: the server is killed while a job runs. Namespaces, connections between NICs, counters and the job
// itself stand; who connects meanwhile is served afterwards; the job completes, also when it ends while nobody
// is there to be told.
func TestKill(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	blob := w.addressOf("hub/jumpbox", blobHost)
	first, second := w.gate(), w.gate()
	w.submit("first", first.command("mark-one"), nil)
	w.submit("second", second.command("mark-two"), nil)
	for gate, mark := range map[*gate]string{first: "mark-one", second: "mark-two"} {
		if got := gate.hear(); got != "here "+mark {
			t.Fatalf("the job says %q", got)
		}
	}
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")
	denied := ruleRef{w.group + "/providers/Microsoft.Network/networkSecurityGroups/training", "Outbound", "DenyInternet"}
	waiting := []*late{
		w.late("hub/jumpbox", blob+":443", blobHost, "/data?restype=container&comp=list"),
		w.late("hub/jumpbox", blobHost+":443", blobHost, "/data?restype=container&comp=list"), // asks DNS too
		w.late("hub/jumpbox", w.addressOf("hub/jumpbox", vaultName+".vault.azure.net")+":443", vaultName+".vault.azure.net", "/secrets?api-version=7.4"),
		w.late("internet", "management.azure.com:443", "management.azure.com", "/subscriptions?api-version="+vResources),
	}

	type stood struct {
		Namespaces map[string]string
		First      string
		Second     string
	}
	look := func() stood {
		return stood{g.namespaces(), fmt.Sprint(g.processOf("mark-one")), fmt.Sprint(g.processOf("mark-two"))}
	}
	before, drops, holder := look(), g.counters(), g.status().Holder
	if drops[denied] == 0 {
		t.Fatalf("no counter of %s in %v", denied, drops)
	}

	g.kill()
	if out, err := g.output(g.command("status")); exitCode(err) == 0 || !strings.Contains(out, "the server is away") {
		t.Errorf("status of a held region: %s", out)
	}
	for _, l := range waiting {
		fmt.Fprintln(l.stdin, "go")
	}
	waiting[0].expect(t, "connected")
	waiting[2].expect(t, "connected")
	first.say("anybody there")
	if got := first.hear(); got != "answer anybody there" {
		t.Errorf("through the connection that stands: %q", got)
	}
	second.say("end") // nobody is there whom the agent could tell
	if diff := cmp.Diff(before.Namespaces, g.namespaces()); diff != "" {
		t.Errorf("namespaces without a server:\n%s", diff)
	}

	out := g.vauban("up", "-d")
	if !strings.Contains(out, "as it stood") {
		t.Errorf("up says %s", out)
	}
	g.connect()
	waiting[1].expect(t, "connected")
	waiting[3].expect(t, "connected")
	waiting[0].expect(t, "HTTP/1.1 409") // served: storage knows anonymous callers, and refuses this one
	waiting[1].expect(t, "HTTP/1.1 409")
	waiting[2].expect(t, "HTTP/1.1 401")
	waiting[3].expect(t, "HTTP/1.1 401")

	if s := g.status(); s.Holder != holder {
		t.Errorf("another holder: %d, was %d", s.Holder, holder)
	}
	after := stood{g.namespaces(), fmt.Sprint(g.processOf("mark-one")), before.Second}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after the restart:\n%s", diff)
	}
	counted := g.counters()
	for r, n := range drops {
		if counted[r] < n {
			t.Errorf("the counter of %s was %d and is %d", r, n, counted[r])
		}
	}
	first.say("still there")
	if got := first.hear(); got != "answer still there" {
		t.Errorf("after the restart: %q", got)
	}
	w.completed("second")

	// Once more, and the job ends in the usual way.
	g.kill()
	g.up()
	if diff := cmp.Diff(before.First, fmt.Sprint(g.processOf("mark-one"))); diff != "" {
		t.Errorf("after the second restart:\n%s", diff)
	}
	first.say("end")
	w.completed("first")
	for job, mark := range map[string]string{"first": "mark-one", "second": "mark-two"} {
		if got := w.artifact(job, "outputs/result.txt"); got != "result of "+mark+"\n" {
			t.Errorf("the output of %s is %q", job, got)
		}
	}
	if log := w.artifact("first", "user_logs/std_log.txt"); !strings.Contains(log, "heard anybody there\n") || !strings.Contains(log, "heard still there\n") {
		t.Errorf("the log has gaps: %q", log)
	}
}

// TestAcknowledged: what was acknowledged before the server was killed is there afterwards, on every plane.
func TestAcknowledged(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.names()
	w.put(w.group, vResources, obj{"location": location})
	w.services("Enabled")
	for _, host := range []string{"https://management.azure.com", "https://storage.azure.com", "https://vault.azure.net"} {
		if _, err := g.token(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	planes := []struct {
		most int // writes of one worker: networks are made in the kernel too
		url  func(key string) string
		body func(key string) string
		find func(key string) string // what the answer to a GET must hold
	}{
		{
			1 << 20, func(k string) string {
				return w.group + "/providers/Microsoft.Network/networkSecurityGroups/" + k + "?api-version=" + vNetwork
			},
			func(k string) string { return `{"location":"westeurope","tags":{"key":"` + k + `"}}` },
			func(k string) string { return `"key":"` + k + `"` },
		},
		{
			5, func(k string) string {
				return path.Dir(w.vnet) + "/" + k + "?api-version=" + vNetwork
			},
			func(k string) string {
				return `{"location":"westeurope","tags":{"key":"` + k + `"},"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`
			},
			func(k string) string { return `"key":"` + k + `"` },
		},
		{
			1 << 20, func(k string) string { return "https://" + blobHost + "/data/" + k },
			func(k string) string { return strings.Repeat(k, 100) },
			func(k string) string { return strings.Repeat(k, 100) },
		},
		{
			1 << 20, func(k string) string {
				return "https://" + vaultName + ".vault.azure.net/secrets/" + k + "?api-version=7.4"
			},
			func(k string) string { return `{"value":"of ` + k + `"}` },
			func(k string) string { return `"of ` + k + `"` },
		},
	}
	var mu sync.Mutex
	acknowledged := map[string]int{} // key → plane
	deleted := map[string]int{}
	total := 0
	for round := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for worker := range 2 * len(planes) {
			plane := worker % len(planes)
			wg.Go(func() {
				for i := 0; ctx.Err() == nil && i < planes[plane].most; i++ {
					key := fmt.Sprintf("k%d-%d-%d", round, worker, i)
					a, err := g.do(ctx, request{Method: "PUT", URL: planes[plane].url(key), Body: strings.NewReader(planes[plane].body(key))})
					if err != nil {
						return // killed
					}
					if !a.ok() {
						t.Errorf("PUT %s: %s", key, a)
						return
					}
					mu.Lock()
					acknowledged[key] = plane
					mu.Unlock()
					if i%5 != 4 {
						continue
					}
					if a, err = g.do(ctx, request{Method: "DELETE", URL: planes[plane].url(key)}); err != nil {
						mu.Lock()
						delete(acknowledged, key) // both are right
						mu.Unlock()
						return
					}
					if !a.ok() {
						t.Errorf("DELETE %s: %s", key, a)
						return
					}
					mu.Lock()
					delete(acknowledged, key)
					deleted[key] = plane
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond) // somewhere in the midst of it
		g.kill()
		cancel()
		wg.Wait()
		g.up()
		for key, plane := range acknowledged {
			a := g.send(request{Method: "GET", URL: planes[plane].url(key)})
			if !a.ok() || !strings.Contains(string(a.Body), planes[plane].find(key)) {
				t.Errorf("round %d: %s was acknowledged and is %s", round, key, a)
			}
		}
		for key, plane := range acknowledged {
			if plane == 1 { // what was begun is ended
				g.settled(path.Dir(w.vnet)+"/"+key, vNetwork)
			}
		}
		for key, plane := range deleted {
			g.eventually(key+" is gone", func() bool {
				return g.send(request{Method: "GET", URL: planes[plane].url(key)}).Status == http.StatusNotFound
			})
		}
		total += len(acknowledged) + len(deleted)
		clear(acknowledged)
		clear(deleted)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d acknowledged writes", total)
	if total < 100 {
		t.Errorf("only %d writes were acknowledged", total)
	}
}

// TestKillAnywhere: the server is killed again and again while the whole scenario is made, by a client that only
// repeats what was not answered. In the end everything stands as if nothing had happened.
func TestKillAnywhere(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	g.stubborn = true
	made := make(chan struct{})
	var wg sync.WaitGroup
	kills := 0
	wg.Go(func() {
		for {
			select {
			case <-made:
				return
			case <-time.After(time.Duration(30+rand.IntN(170)) * time.Millisecond): // anywhere
			}
			var s region.Status
			out, _ := g.output(g.command("status", "--json")) // a status of 3 says that it is away
			if err := json.Unmarshal([]byte(out), &s); err != nil || s.Server == 0 {
				continue
			}
			if syscall.Kill(s.Server, syscall.SIGKILL) == nil {
				kills++
			}
			for range 100 { // at first the lock of the one that dies is in the way
				if _, err := g.output(g.command("up", "-d")); err == nil {
					break
				}
			}
		}
	})
	w := g.network()
	w.services("Disabled")
	w.endpoints()
	w.nodes(0, 2)
	w.environment()
	close(made)
	wg.Wait()
	t.Logf("killed %d times", kills)
	if kills < 3 {
		t.Errorf("killed only %d times", kills)
	}
	w.submit("job", "mkdir -p outputs; echo done >outputs/x.txt", nil)
	w.completed("job")
	if got := w.artifact("job", "outputs/x.txt"); got != "done\n" {
		t.Errorf("the job's output: %q", got)
	}
	a, err := w.sendFrom("internet", "GET", "https://"+blobHost+"/data?restype=container&comp=list")
	if err != nil {
		t.Fatal(err)
	}
	refused(t, a, http.StatusForbidden, "AuthorizationFailure", "publicNetworkAccess is Disabled")
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")
}
