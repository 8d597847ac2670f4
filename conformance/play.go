package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Region is where cases are replayed.
type Region struct {
	HTTP         *http.Client
	Token        func(ctx context.Context, resource string) (string, error) // an access token for https://management.azure.com or a data plane
	Subscription string
	Tenant       string
	Location     string // an Azure region that it has
	ObjectID     string // of the caller
}

// Result is what came of a case.
type Result struct {
	Case
	Differences []string // none: it was answered as Azure did
}

// patience is how long an asynchronous operation of the region may take.
const patience = 60 * time.Second

// answer of the region.
type answer struct {
	status int
	header http.Header
	body   any
}

func (a *answer) ok() bool { return a.status < 400 }

// code is the error code of a refusal.
func (a *answer) code() string {
	m, _ := a.body.(map[string]any)
	if e, ok := m["error"].(map[string]any); ok {
		m = e
	}
	code, _ := m["code"].(string)
	text, _ := m["message"].(string)
	if len(text) > 160 {
		text = text[:160] + "…"
	}
	return strings.TrimSuffix(code+": "+text, ": ")
}

// send asks as the region's caller.
func (r *Region) send(ctx context.Context, method, url string, body any) (*answer, error) {
	return r.ask(ctx, method, url, body, true)
}

func (r *Region) ask(ctx context.Context, method, url string, body any, named bool) (*answer, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return nil, err
	}
	if named {
		token, err := r.Token(ctx, audience(q.URL.Host))
		if err != nil {
			return nil, err
		}
		q.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.HTTP.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if len(bytes.TrimSpace(b)) > 0 && json.Unmarshal(b, &a.body) != nil {
		a.body = string(b)
	}
	return a, nil
}

// settle follows an operation to its end; why it failed, or "". result is what a GET at its Location had.
func (r *Region) settle(ctx context.Context, a *answer) (failure string, result *answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if at := a.header.Get("Azure-AsyncOperation"); at != "" {
		for done := false; !done; {
			o, err := r.send(ctx, http.MethodGet, at, nil)
			if err != nil {
				return "", nil, err
			}
			m, _ := o.body.(map[string]any)
			switch m["status"] {
			case "Failed", "Canceled":
				return fmt.Sprintf("the operation ended as %v: %s", m["status"], o.code()), nil, nil
			case "Succeeded":
				done = true
			}
			if !o.ok() {
				return fmt.Sprintf("the operation's status is %d", o.status), nil, nil
			}
		}
	}
	at := a.header.Get("Location")
	if at == "" || a.status != http.StatusAccepted {
		return "", nil, nil
	}
	for {
		o, err := r.send(ctx, http.MethodGet, at, nil)
		if err != nil {
			return "", nil, err
		}
		if o.status != http.StatusAccepted {
			return "", o, nil
		}
	}
}

// play sends a case and compares.
func (r *Region) play(ctx context.Context, w *world, c Case) (diffs []string, err error) {
	say := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	url, body := w.url("https://"+c.Host+c.Path), w.own(c.Request)
	if shown, _ := c.Response.(map[string]any); shown["location"] != nil && c.Method == http.MethodPut {
		body = w.located(body, strings.SplitN(c.Path, "?", 2)[0])
	}
	a, err := r.ask(ctx, c.Method, url, body, c.Status != http.StatusUnauthorized) // what Azure asked a token for had none
	if err != nil {
		return nil, err
	}
	if c.Recorded {
		w.learn(c.Response, a.body)
		for name, link := range c.Links {
			if own := a.header.Get(name); own != "" {
				w.note(link, own)
			}
		}
	}
	switch {
	case !c.Recorded && !a.ok():
		say("status %d (%s)", a.status, a.code())
		return diffs, nil
	case c.Recorded && a.status != c.Status:
		say("status %d, Azure's is %d (%s)", a.status, c.Status, a.code())
		if a.ok() != (c.Status < 400) {
			return diffs, nil
		}
	}
	for _, h := range c.Headers {
		if a.header.Get(h) == "" {
			say("header %s is missing", h)
		}
	}
	got := a.body
	if a.ok() {
		failure, result, err := r.settle(ctx, a)
		switch {
		case err != nil:
			return nil, err
		case failure != "":
			say("%s", failure)
			return diffs, nil
		case c.Recorded: // a recording has the first answer
		case result != nil && result.ok() && got == nil:
			got = result.body
		case c.Method == http.MethodPut || c.Method == http.MethodPatch: // an example has the last
			if last, err := r.send(ctx, http.MethodGet, url, nil); err == nil && last.ok() {
				got = last.body
			}
		}
	}
	return append(diffs, Compare(w.own(c.Response), got, body)...), nil
}
