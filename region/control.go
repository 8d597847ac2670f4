package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Request is one call on a region's socket. The files are the handler's to keep or to close.
type Request struct {
	Method string
	Params json.RawMessage
	Files  []*os.File
	Peer   Peer
}

// Decode puts the parameters into v.
func (r Request) Decode(v any) error {
	if len(r.Params) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Params, v); err != nil {
		return &CallError{Code: CodeBadRequest, Message: fmt.Sprintf("%s: parameters: %v", r.Method, err)}
	}
	return nil
}

// Peer is the process at the other end, as the kernel tells it (SO_PEERCRED), in this process's
// namespaces.
type Peer struct{ PID, UID, GID int }

// Reply is the answer to a Request. Control closes the files after they were sent.
type Reply struct {
	Result any
	Files  []*os.File
}

// Handler answers a method. ctx ends when the caller hangs up or the server stops. An error that is a
// *CallError reaches the caller with its code, any other with CodeFailed and its text.
type Handler func(ctx context.Context, r Request) (Reply, error)

// Codes of a CallError.
const (
	CodeBadRequest = "BadRequest"
	CodeNotFound   = "NotFound"
	CodeForbidden  = "Forbidden"
	CodeNoMethod   = "NoMethod"
	CodeNotReady   = "NotReady"
	CodeFailed     = "Failed"
)

// CallError is the refusal of a call, the same on both sides of the socket.
type CallError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *CallError) Error() string { return e.Message }

// Limits of a Control: a same-user peer may be broken, and must not be able to hurt.
const (
	requestTimeout = 10 * time.Second // to send the whole request
	maxConns       = 64
)

type wireRequest struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

type wireReply struct {
	Error  *CallError      `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Control answers calls on a unix socket: one request and one reply a connection. Only processes of
// the region's own user, or root, are heard. Methods may be added while it serves.
type Control struct {
	Log *slog.Logger // nil: silent

	mu      sync.RWMutex
	methods map[string]Handler
}

// Handle sets the handler of a method.
func (c *Control) Handle(method string, h Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.methods == nil {
		c.methods = map[string]Handler{}
	}
	c.methods[method] = h
}

// Serve answers on l until ctx ends, then closes l and waits for the calls that run.
func (c *Control) Serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			c.warn("accept", err) // out of descriptors: the peers' turn ends, ours does not
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			if err := c.answer(ctx, conn); err != nil {
				c.warn("call", err)
			}
		})
	}
}

func (c *Control) warn(what string, err error) {
	if c.Log != nil {
		c.Log.Warn("control socket", "doing", what, "error", err)
	}
}

func (c *Control) answer(ctx context.Context, conn *net.UnixConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peer, err := peerOf(conn)
	if err != nil {
		return err
	}
	if err := admit(peer); err != nil {
		return errors.Join(err, reply(conn, Reply{}, err))
	}
	if err := conn.SetReadDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	var w wireRequest
	files, err := readFrame(conn, maxRequest, &w)
	stop()
	if errors.Is(err, io.EOF) && !errors.Is(err, errFrame) {
		return nil // looked whether somebody is there
	}
	if err != nil {
		return errors.Join(err, reply(conn, Reply{}, &CallError{Code: CodeBadRequest, Message: err.Error()}))
	}
	c.mu.RLock()
	h := c.methods[w.Method]
	c.mu.RUnlock()
	if h == nil {
		closeAll(files)
		return reply(conn, Reply{}, &CallError{Code: CodeNoMethod, Message: fmt.Sprintf("this region does not know %q: it runs another version of vauban", w.Method)})
	}

	// The caller sends nothing more: whatever the socket says next is its end.
	conn.SetReadDeadline(time.Time{})
	var watch sync.WaitGroup
	watch.Go(func() {
		conn.Read(make([]byte, 1))
		cancel()
	})
	r, err := call(ctx, h, Request{w.Method, w.Params, files, peer})
	err = reply(conn, r, err)
	conn.SetReadDeadline(time.Now())
	watch.Wait()
	return err
}

// call runs a handler; its panic is the failure of this call and of nothing else.
func call(ctx context.Context, h Handler, r Request) (out Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = Reply{}, fmt.Errorf("%s: internal error: %v", r.Method, p)
		}
	}()
	return h(ctx, r)
}

func reply(conn *net.UnixConn, r Reply, err error) error {
	defer closeAll(r.Files)
	var w wireReply
	switch {
	case err != nil:
		if !errors.As(err, &w.Error) {
			w.Error = &CallError{Code: CodeFailed, Message: err.Error()}
		}
		r.Files = nil
	case r.Result != nil:
		if w.Result, err = json.Marshal(r.Result); err != nil {
			return err
		}
	}
	if err := conn.SetWriteDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	return writeFrame(conn, w, r.Files)
}

// admit lets in the user that this process runs as, and root.
func admit(p Peer) error {
	if p.UID == os.Geteuid() || p.UID == 0 {
		return nil
	}
	return &CallError{Code: CodeForbidden, Message: "this region belongs to another user"}
}

func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return Peer{}, err
	}
	return Peer{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid)}, nil
}
