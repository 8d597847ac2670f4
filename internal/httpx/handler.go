package httpx

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"vauban.dev/origin"
)

// handler is what every request passes: log and panic barrier, body deadline, host dispatch.
func (f *Front) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		var body *pacedBody
		if r.Body != nil && r.Body != http.NoBody {
			body = &pacedBody{ReadCloser: r.Body, ctl: http.NewResponseController(w), idle: f.cfg.Limits.BodyIdle}
			if err := body.arm(); err != nil {
				f.cfg.Log.DebugContext(r.Context(), "no read deadline", "err", err) // the connection is closing
			}
			// In a copy: net/http looks at its own request's body to tell who still waits to be asked for it.
			r = r.WithContext(r.Context())
			r.Body = body
		}
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				f.cfg.Log.ErrorContext(r.Context(), "handler panicked", "method", r.Method, "host", r.Host, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					WriteError(rec, http.StatusInternalServerError, "InternalServerError", "The server encountered an internal error. Please retry the request.")
					p = nil
				} else {
					p = http.ErrAbortHandler // the client must not take a cut answer for a whole one
				}
			}
			f.logRequest(r, rec, time.Since(start))
			if p != nil {
				panic(p)
			}
		}()
		f.dispatch(rec, r)
		if body != nil && r.ProtoMajor == 1 {
			body.drain(r.Header.Get("Expect") != "")
		}
	})
}

func (f *Front) dispatch(w http.ResponseWriter, r *http.Request) {
	l := listenerFrom(r.Context())
	if l == nil {
		WriteError(w, http.StatusMisdirectedRequest, "MisdirectedRequest", "The connection was not accepted by a listener of this region.")
		return
	}
	if l.Handler != nil {
		l.Handler.ServeHTTP(w, r)
		return
	}
	host := CanonicalHost(r.Host)
	if r.TLS != nil && CanonicalHost(r.TLS.ServerName) != host && !(r.TLS.ServerName == "" && isLocal(r, host)) {
		WriteError(w, http.StatusMisdirectedRequest, "MisdirectedRequest", "The Host header does not name the host that the TLS handshake asked for.")
		return
	}
	if l.Serves != nil && !l.Serves(host, localAddr(r)) {
		WriteError(w, http.StatusMisdirectedRequest, "MisdirectedRequest", "The host "+quote(host)+" is not served at this address ("+origin.FromContext(r.Context()).Kind.String()+").")
		return
	}
	h := f.cfg.Hosts.Lookup(host)
	if h == nil {
		WriteError(w, http.StatusNotFound, "HostNotFound", "No service of this region answers for the host "+quote(host)+".")
		return
	}
	h.ServeHTTP(w, r)
}

// isLocal reports whether host is the address that the client connected to: a client that calls an
// address sends no server name.
func isLocal(r *http.Request, host string) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string })
	return ok && CanonicalHost(a.String()) == host
}

// localAddr is the address that the client connected to; zero if that is none of an IP connection.
func localAddr(r *http.Request) netip.Addr {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

func (f *Front) logRequest(r *http.Request, rec *recorder, d time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK // net/http's answer for a handler that wrote nothing
	}
	f.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", r.Method), slog.String("host", r.Host), slog.String("path", r.URL.Path),
		slog.String("query", redact(r.URL.RawQuery)), slog.Int("status", status), slog.Int64("bytes", rec.bytes),
		slog.Duration("took", d), slog.String("origin", origin.FromContext(r.Context()).String()))
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

func (w *recorder) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		if w.status == 0 {
			w.status = http.StatusOK
		}
		f.Flush()
	}
}

// Unwrap serves http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// What is read of a body that no handler wanted.
const (
	drainBytes = 128 << 20
	drainTime  = 30 * time.Second
)

// pacedBody gives a client BodyIdle for each piece of its body, so that a slow upload may take long but
// a silent one ends. At the body's end the deadline goes: net/http then reads the connection to see
// whether the client is still there, for as long as the handler works. Before it, the deadline also
// bounds what net/http reads to discard a body that the handler did not want.
type pacedBody struct {
	io.ReadCloser
	ctl   *http.ResponseController
	idle  time.Duration
	until time.Time // zero: no end to all pieces together
	begun bool      // read at least once
	ended bool      // read to its end, or to an error
}

func (b *pacedBody) arm() error {
	at := time.Now().Add(b.idle)
	if !b.until.IsZero() && b.until.Before(at) {
		at = b.until
	}
	return b.ctl.SetReadDeadline(at)
}

func (b *pacedBody) Read(p []byte) (int, error) {
	b.begun = true
	if err := b.arm(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.ended = err != nil
	if err == io.EOF {
		if err := b.ctl.SetReadDeadline(time.Time{}); err != nil {
			return n, err
		}
	}
	return n, err
}

// drain reads what the handler left. Most HTTP/1.1 clients send a whole body before they look at the answer:
// on a connection that is closed under them they see a reset instead of the refusal, and try again. net/http
// itself reads 256 KiB. A client that expects to be asked for its body, and was not, sends none.
func (b *pacedBody) drain(expects bool) {
	if b.ended || expects && !b.begun {
		return
	}
	b.until = time.Now().Add(drainTime)
	_, _ = io.CopyN(io.Discard, b, drainBytes) // the answer is the handler's, whatever comes of this
}
