package relay_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/internal/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that sends back what it gets, in capitals, when it has all of it.
func echo(t *testing.T) net.Listener {
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, err := io.ReadAll(c)
				if err == nil {
					c.Write(bytes.ToUpper(b))
				}
			}()
		}
	}()
	return l
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve runs a relay and returns its address and what stops it.
func serve(t *testing.T, r *relay.Relay) (addr string, stop func()) {
	t.Helper()
	if r.Listener == nil {
		r.Listener = listen(t)
	}
	r.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return r.Listener.Addr().String(), stop
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// readAll reads what comes from an address. A reset may also come before the dial returns.
func readAll(addr string) ([]byte, error) {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

// poor is a listener whose process has no file descriptor left, for a while.
type poor struct {
	net.Listener
	fails int
}

func (l *poor) Accept() (net.Conn, error) {
	if l.fails--; l.fails >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func to(l net.Listener) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", l.Addr().String())
	}
}

func TestCarries(t *testing.T) {
	addr, _ := serve(t, &relay.Relay{Dial: to(echo(t)), Header: func(net.Conn) []byte { return []byte("head ") }})
	c := dial(t, addr)
	big := strings.Repeat("data ", 200_000)
	go func() {
		io.WriteString(c, big)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "HEAD "+strings.ToUpper(big) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Who is refused behind the relay sees a reset, never an end.
// A shortage passes, and those who waited meanwhile are served.
func TestShortage(t *testing.T) {
	addr, _ := serve(t, &relay.Relay{Listener: &poor{listen(t), 2}, Dial: to(echo(t))})
	c := dial(t, addr)
	c.Write([]byte("later"))
	c.CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "LATER" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

func TestRefused(t *testing.T) {
	addr, _ := serve(t, &relay.Relay{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no way") }})
	if _, err := readAll(addr); err == nil {
		t.Error("an end")
	}
}

func TestBreaks(t *testing.T) {
	l := listen(t)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, "half")
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}()
	addr, _ := serve(t, &relay.Relay{Dial: to(l)})
	if _, err := readAll(addr); err == nil {
		t.Error("a broken message looks whole")
	}
}

// Stopping ends the connections: the endpoint leads nowhere any more.
func TestStops(t *testing.T) {
	r := &relay.Relay{Dial: to(echo(t))}
	addr, stop := serve(t, r)
	c := dial(t, addr)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	stop()
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("answered %q", b)
	}
	if _, err := r.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the relay still listens: %v", err)
	}
}

func TestProxyHeader(t *testing.T) {
	got := relay.ProxyHeader(netip.MustParseAddrPort("10.1.2.3:40000"), netip.MustParseAddrPort("10.1.0.5:443"), 0x04030201)
	const want = "0d0a0d0a000d0a515549540a" + "21" + "11" + "0014" + "0a010203" + "0a010005" + "9c40" + "01bb" + "ee" + "0005" + "01" + "01020304"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s", got, want)
	}
}
