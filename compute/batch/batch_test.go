package batch_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type one struct {
	node  batch.Node
	mu    sync.Mutex
	reply batch.Reply
	err   error
	c     chan struct{}
	asked chan struct{}
}

func (q *one) Node(_ context.Context, id string) (batch.Node, error) {
	if id == "broken" {
		return batch.Node{}, errors.New("the disk is full of secrets")
	}
	if id != q.node.ID {
		return batch.Node{}, batch.ErrNoNode
	}
	return q.node, nil
}
func (q *one) Registered(context.Context, string, batch.Register) error { return q.err }
func (q *one) Polled(context.Context, string, batch.Poll) (batch.Reply, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case q.asked <- struct{}{}:
	default:
	}
	return q.reply, nil
}
func (q *one) Changed(string) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.c
}
func (q *one) Report(context.Context, string, compute.Report) error { return q.err }

func (q *one) set(r batch.Reply) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reply = r
	close(q.c)
	q.c = make(chan struct{})
}

func serve(t *testing.T, q batch.Queue, o origin.Origin) *httptest.Server {
	h := batch.NewHandler(q, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(origin.NewContext(r.Context(), o)))
	}))
	t.Cleanup(s.Close)
	return s
}

func newOne() (*one, string) {
	token, sum := batch.MintToken()
	return &one{node: batch.Node{ID: "n", NIC: "nic1", Source: netip.MustParseAddr("20.1.2.3"), TokenSHA256: sum}, c: make(chan struct{}), asked: make(chan struct{}, 1)}, token
}

func TestWhoMayCall(t *testing.T) {
	q, token := newOne()
	good := origin.Origin{Kind: origin.PrivateEndpoint, NIC: "nic1"}
	for name, c := range map[string]struct {
		node, token string
		from        origin.Origin
		want        error
	}{
		"its NIC":                {"n", token, good, nil},
		"its public address":     {"n", token, origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("20.1.2.3")}, nil},
		"another NIC":            {"n", token, origin.Origin{Kind: origin.Internet, NIC: "nic2", Source: netip.MustParseAddr("20.1.2.3")}, batch.ErrUnauthorized},
		"another public address": {"n", token, origin.Origin{Kind: origin.Internet, Source: netip.MustParseAddr("20.1.2.4")}, batch.ErrUnauthorized},
		"unknown origin":         {"n", token, origin.Origin{}, batch.ErrUnauthorized},
		"unknown node":           {"m", token, good, batch.ErrUnauthorized},
		"wrong token":            {"n", token + "x", good, batch.ErrUnauthorized},
		"no token":               {"n", "", good, batch.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, q, c.from)
			_, err := batch.NewClient(s.URL, c.node, c.token, s.Client()).Register(t.Context(), batch.Register{})
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestPollWaitsForChange(t *testing.T) {
	q, token := newOne()
	q.reply = batch.Reply{Signals: []batch.Signal{{ID: "known", Kind: batch.Cancel, Task: "x"}}}
	s := serve(t, q, origin.Origin{Kind: origin.Internet, NIC: "nic1"})
	c := batch.NewClient(s.URL, "n", token, s.Client())
	type answer struct {
		r   batch.Reply
		err error
	}
	got := make(chan answer, 1)
	go func() {
		r, err := c.Poll(t.Context(), batch.Poll{Known: []string{"known"}, WaitSeconds: 50})
		got <- answer{r, err}
	}()
	<-q.asked
	want := batch.Reply{Assignment: &batch.Assignment{Task: compute.Task{ID: "t", Command: "true"}, Attempt: 1}}
	q.set(want)
	if a := <-got; a.err != nil || cmp.Diff(want, a.r) != "" {
		t.Error(a.err, cmp.Diff(want, a.r))
	}
	q.set(batch.Reply{})
	if r, err := c.Poll(t.Context(), batch.Poll{}); err != nil || r.Assignment != nil {
		t.Errorf("without a wait: %+v, %v", r, err)
	}
}

func TestErrors(t *testing.T) {
	q, token := newOne()
	s := serve(t, q, origin.Origin{Kind: origin.Internet, NIC: "nic1"})
	post := func(path, body string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	report := `{"task":"t","attempt":1,"seq":1,"state":"running"}`
	for _, c := range []struct {
		name, path, body string
		err              error
		status           int
		text             string
	}{
		{"ok", "/nodes/n/reports", report, nil, 204, ""},
		{"lost", "/nodes/n/reports", report, batch.ErrLost, 409, "TaskLeaseLost"},
		{"internal", "/nodes/n/reports", report, errors.New("the disk is full of secrets"), 500, `{"code":"InternalError","message":{"lang":"en-US","value":"Server encountered an internal error."}}`},
		{"internal before", "/nodes/broken/reports", report, nil, 500, "InternalError"},
		{"not JSON", "/nodes/n/poll", "{", nil, 400, "InvalidInput"},
		{"negative wait", "/nodes/n/poll", `{"waitSeconds":-1}`, nil, 400, "waitSeconds"},
		{"empty report", "/nodes/n/reports", `{}`, nil, 400, "InvalidPropertyValue"},
		{"too large", "/nodes/n/poll", `{"state":"` + strings.Repeat("x", batch.MaxBody) + `"}`, nil, 413, "RequestBodyTooLarge"},
	} {
		q.err = c.err
		status, text := post(c.path, c.body)
		if status != c.status || !strings.Contains(text, c.text) || strings.Contains(text, "secrets") {
			t.Errorf("%s: %d %s", c.name, status, text)
		}
	}
}

func FuzzHandler(f *testing.F) {
	q, token := newOne()
	h := batch.NewHandler(q, slog.New(slog.DiscardHandler))
	f.Add("/nodes/n/poll", `{"state":"idle","held":[{"task":"a","attempt":1}],"waitSeconds":0}`)
	f.Add("/nodes/n/reports", `{"task":"t","attempt":1,"seq":1,"state":"failed","exitCode":1,"time":"2026-01-01T00:00:00Z"}`)
	f.Add("/nodes/n/register", `{"isolation":["a"]}`)
	f.Fuzz(func(t *testing.T, path, body string) {
		if strings.Contains(body, "waitSeconds") && !strings.Contains(body, `"waitSeconds":0`) {
			return // it would wait
		}
		ctx, cancel := context.WithCancel(origin.NewContext(t.Context(), origin.Origin{Kind: origin.Internet, NIC: "nic1"}))
		cancel() // no wait either way
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
		r.URL.Path = path
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %q: %d", path, body, w.Code)
		}
	})
}
