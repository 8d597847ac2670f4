package agent_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/agent"
	"vauban.dev/compute/batch"
	"vauban.dev/origin"
)

// storage is a blob service of one account in memory: what the agent uses of the protocol.
type storage struct {
	*httptest.Server
	mu     sync.Mutex
	blobs  map[string]string            // path → content
	staged map[string]map[string]string // path → block id → content
	tokens []string                     // Authorization headers seen
	lists  int                          // block lists committed
	change chan struct{}                // closed at each commit
}

func newStorage(t *testing.T) *storage {
	s := &storage{blobs: map[string]string{}, staged: map[string]map[string]string{}, change: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Server.Close)
	return s
}

func (s *storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	if a := r.Header.Get("Authorization"); a != "" {
		s.tokens = append(s.tokens, a)
	}
	if q.Get("sig") != "good" && r.Header.Get("Authorization") != "Bearer storage-token" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthorizationFailure</Code><Message>This request is not authorized to perform this operation.\nRequestId:1</Message></Error>")
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodGet && q.Get("comp") == "list":
		s.list(w, r.URL.Path, q.Get("prefix"), q.Get("marker"))
	case r.Method == http.MethodGet:
		b, ok := s.blobs[r.URL.Path]
		if !ok {
			w.Header().Set("x-ms-error-code", "BlobNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, b)
	case r.Method == http.MethodPut && q.Get("comp") == "block":
		if s.staged[r.URL.Path] == nil {
			s.staged[r.URL.Path] = map[string]string{}
		}
		s.staged[r.URL.Path][q.Get("blockid")] = string(body)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && q.Get("comp") == "blocklist":
		var x struct{ Latest []string }
		if err := xml.Unmarshal(body, &x); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var all strings.Builder
		for _, id := range x.Latest {
			b, ok := s.staged[r.URL.Path][id]
			if !ok {
				w.Header().Set("x-ms-error-code", "InvalidBlockList")
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			all.WriteString(b)
		}
		s.lists++
		s.commit(w, r.URL.Path, all.String())
	case r.Method == http.MethodPut && r.Header.Get("x-ms-blob-type") == "BlockBlob":
		s.commit(w, r.URL.Path, string(body))
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (s *storage) commit(w http.ResponseWriter, path, content string) {
	s.blobs[path] = content
	close(s.change)
	s.change = make(chan struct{})
	w.WriteHeader(http.StatusCreated)
}

// list gives one name a page.
func (s *storage) list(w io.Writer, container, prefix, marker string) {
	var names []string
	for p := range s.blobs {
		if n, ok := strings.CutPrefix(p, container+"/"); ok && strings.HasPrefix(n, prefix) && n > marker {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	next := ""
	if len(names) > 1 {
		names, next = names[:1], names[0]
	}
	fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>`)
	for _, n := range names {
		fmt.Fprintf(w, "<Blob><Name>%s</Name></Blob>", n)
	}
	fmt.Fprintf(w, "</Blobs><NextMarker>%s</NextMarker></EnumerationResults>", next)
}

func (s *storage) blob(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[path]
}

// until waits until a blob contains text.
func (s *storage) until(t *testing.T, path, text string) {
	t.Helper()
	for {
		s.mu.Lock()
		got, change := s.blobs[path], s.change
		s.mu.Unlock()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-change:
		case <-t.Context().Done():
			t.Fatalf("%s is %q", path, got)
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is still %q", path, got)
		}
	}
}

// imds answers as the metadata service.
func imds(t *testing.T) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata") != "true" || r.URL.Query().Get("resource") != "https://storage.azure.com/" || r.URL.Query().Get("client_id") != "me" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"access_token":"storage-token","expires_on":"%d"}`, time.Now().Add(time.Hour).Unix())
	}))
	t.Cleanup(srv.Close)
	return srv
}

const nic = "/subscriptions/s/nics/node1"

// queue is a batch.Queue for one node and any number of tasks, in memory.
type queue struct {
	mu      sync.Mutex
	node    batch.Node
	waiting []batch.Assignment
	leased  map[string]int // task → attempt
	signals []batch.Signal
	reports []compute.Report
	polls   int
	change  chan struct{}
}

func newQueue(token [32]byte) *queue {
	return &queue{node: batch.Node{ID: "node1", NIC: nic, TokenSHA256: token}, leased: map[string]int{}, change: make(chan struct{})}
}

func (q *queue) edit(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
	close(q.change)
	q.change = make(chan struct{})
}

func (q *queue) submit(t compute.Task) {
	q.edit(func() { q.waiting = append(q.waiting, batch.Assignment{Task: t, Attempt: 1}) })
}

func (q *queue) signal(s batch.Signal) { q.edit(func() { q.signals = append(q.signals, s) }) }

func (q *queue) Node(_ context.Context, id string) (batch.Node, error) {
	if id != q.node.ID {
		return batch.Node{}, batch.ErrNoNode
	}
	return q.node, nil
}

func (q *queue) Registered(context.Context, string, batch.Register) error { return nil }

func (q *queue) Polled(_ context.Context, _ string, p batch.Poll) (batch.Reply, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.polls++
	r := batch.Reply{Signals: slices.Clone(q.signals)}
	for _, h := range p.Held {
		if q.leased[h.Task] != h.Attempt {
			r.Lost = append(r.Lost, h)
		}
	}
	if p.State == compute.NodeIdle && len(q.waiting) > 0 {
		a := q.waiting[0]
		q.leased[a.Task.ID] = a.Attempt
		r.Assignment = &a
	}
	for _, h := range p.Held {
		q.waiting = slices.DeleteFunc(q.waiting, func(a batch.Assignment) bool { return a.Task.ID == h.Task })
	}
	return r, nil
}

func (q *queue) Changed(string) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.change
}

func (q *queue) Report(_ context.Context, _ string, r compute.Report) error {
	var err error
	q.edit(func() {
		if q.leased[r.Task] != r.Attempt {
			err = batch.ErrLost
			return
		}
		q.waiting = slices.DeleteFunc(q.waiting, func(a batch.Assignment) bool { return a.Task.ID == r.Task })
		q.reports = append(q.reports, r)
	})
	return err
}

// until waits for a report in a state and returns it.
func (q *queue) until(t *testing.T, task string, match func(compute.Report) bool) compute.Report {
	t.Helper()
	for {
		q.mu.Lock()
		seen, change := slices.Clone(q.reports), q.change
		q.mu.Unlock()
		for _, r := range seen {
			if r.Task == task && match(r) {
				return r
			}
		}
		select {
		case <-change:
		case <-time.After(30 * time.Second):
			t.Fatalf("no such report of %s: %+v", task, seen)
		}
	}
}

func final(r compute.Report) bool { return r.State.Final() }

func running(r compute.Report) bool { return r.State == compute.TaskRunning }

func (q *queue) states(task string) (out []compute.TaskState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.reports {
		if r.Task == task {
			out = append(out, r.State)
		}
	}
	return out
}

// service serves a queue; what it says of a connection's origin can be changed, and it can be absent.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	origin origin.Origin
	down   bool
}

func newService(t *testing.T, q batch.Queue) *service {
	s := &service{origin: origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("10.20.1.4"), NIC: nic}}
	h := batch.NewHandler(q, slog.New(slog.DiscardHandler))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		o, down := s.origin, s.down
		s.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r.WithContext(origin.NewContext(r.Context(), o)))
	}))
	t.Cleanup(s.Server.Close)
	return s
}

func (s *service) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
	if down {
		s.Server.CloseClientConnections()
	}
}

// startAgent runs an agent in this process; end is the node's power switch.
func startAgent(t *testing.T, c agent.Config) (end func(), done <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		ch <- agent.Run(ctx, c, slog.New(slog.NewTextHandler(testWriter{t}, nil)))
		close(finished)
	}()
	end = func() { cancel(); <-finished }
	t.Cleanup(end)
	return end, ch
}

// agentConfig is the variable with which the test binary is an agent and nothing else.
const agentConfig = "VAUBAN_TEST_AGENT"

// spawnAgent runs an agent in a process of its own; kill kills it as no process can refuse.
func spawnAgent(t *testing.T, c agent.Config) (kill func()) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "agent.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), agentConfig+"="+file)
	cmd.Stderr = testWriter{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(kill)
	return kill
}

func runSpawned(file string) int {
	c, err := agent.ReadConfig(file)
	if err == nil {
		err = agent.Run(context.Background(), c, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}
