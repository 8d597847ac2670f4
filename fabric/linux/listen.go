package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// Socket names a listening socket: Network is "tcp" or "udp", Addr "address:port" with an IPv4 address.
type Socket struct {
	At      fabric.Place
	Network string
	Addr    string
}

// socketPrefix begins the names under which a Driver keeps sockets; the keeper may hold others.
const socketPrefix = "fabric:"

// keepName names a socket for the keeper: by the namespace itself, not by its name, so that a listener
// of a deleted namespace is never taken for one of its successor.
func keepName(inode uint64, network, addr string) string {
	return fmt.Sprintf("%s%d:%s:%s", socketPrefix, inode, network, addr)
}

func keptInode(name string) (uint64, bool) {
	rest, ok := strings.CutPrefix(name, socketPrefix)
	if !ok {
		return 0, false
	}
	ino, _, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseUint(ino, 10, 64)
	return n, err == nil
}

// Listen listens on a TCP address inside the namespace of a place. network is "tcp" or "tcp4", addr an
// IPv4 address and port. A listener that the keeper has is taken back with the connections that wait in it.
// The result is a *net.TCPListener. Closing it ends only this process's listening: the kept
// socket goes on queueing connections until CloseListener or ReleaseListeners.
//
// Errors: ErrNoNamespace; syscall.EADDRINUSE where the address is taken, also by an earlier Listen that is open.
func (d *Driver) Listen(ctx context.Context, at fabric.Place, network, addr string) (net.Listener, error) {
	if network != "tcp" && network != "tcp4" {
		return nil, fmt.Errorf("listen: network %q is not tcp", network)
	}
	l, err := socket(ctx, d, Socket{at, "tcp", addr}, tcpKind)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ListenTransparent is Listen on an address that is not the place's own (IP_TRANSPARENT): packets must be
// routed there, as those of service endpoints are in a VNet's router.
func (d *Driver) ListenTransparent(ctx context.Context, at fabric.Place, addr string) (net.Listener, error) {
	l, err := socket(ctx, d, Socket{at, "tcp", addr}, transparentKind)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ListenPacket is Listen for UDP. The result is a *net.UDPConn that reports the mark of each datagram
// (SO_RCVMARK), which tells the sender's NIC.
func (d *Driver) ListenPacket(ctx context.Context, at fabric.Place, addr string) (net.PacketConn, error) {
	c, err := socket(ctx, d, Socket{at, "udp", addr}, udpKind)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// kind is how a socket type is opened, and made from a kept descriptor.
type kind[T any] struct {
	open func(ctx context.Context, addr string) (T, error)
	file func(f *os.File) (T, error)
}

var (
	tcpKind = kind[*net.TCPListener]{
		open: func(ctx context.Context, addr string) (*net.TCPListener, error) {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp4", addr)
			return cast[*net.TCPListener](l, err)
		},
		file: func(f *os.File) (*net.TCPListener, error) {
			l, err := net.FileListener(f)
			return cast[*net.TCPListener](l, err)
		},
	}
	transparentKind = kind[*net.TCPListener]{
		open: func(ctx context.Context, addr string) (*net.TCPListener, error) {
			lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
				return control(c, func(fd int) error {
					return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
				})
			}}
			l, err := lc.Listen(ctx, "tcp4", addr)
			return cast[*net.TCPListener](l, err)
		},
		file: tcpKind.file,
	}
	udpKind = kind[*net.UDPConn]{
		open: func(ctx context.Context, addr string) (*net.UDPConn, error) {
			lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
				return control(c, func(fd int) error {
					return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVMARK, 1)
				})
			}}
			c, err := lc.ListenPacket(ctx, "udp4", addr)
			return cast[*net.UDPConn](c, err)
		},
		file: func(f *os.File) (*net.UDPConn, error) {
			c, err := net.FilePacketConn(f)
			return cast[*net.UDPConn](c, err)
		},
	}
)

func cast[T io.Closer](v any, err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	t, ok := v.(T)
	if !ok {
		return zero, fmt.Errorf("the socket is a %T", v)
	}
	return t, nil
}

// conn is what every socket of the net package can do.
type conn interface {
	io.Closer
	syscall.Conn
}

func socket[T conn](ctx context.Context, d *Driver, s Socket, k kind[T]) (T, error) {
	var zero T
	if _, err := netip.ParseAddrPort(s.Addr); err != nil {
		return zero, fmt.Errorf("listen: %w", err)
	}
	ns, err := d.open(fabric.NSName(s.At))
	if err != nil {
		return zero, fmt.Errorf("listen on %s: %w", s.Addr, err)
	}
	defer ns.Close()
	ino, err := inode(ns)
	if err != nil {
		return zero, err
	}
	name := keepName(ino, s.Network, s.Addr)
	c, err := takeBack(ctx, d, name, k)
	if err != nil {
		return zero, err
	}
	if c == nil {
		err = d.enter(ns, func() error {
			opened, err := k.open(ctx, s.Addr)
			c = &opened
			return err
		})
		if err != nil {
			return zero, err
		}
		if err := d.keep(ctx, name, *c); err != nil {
			(*c).Close()
			return zero, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sockets[name] = *c
	return *c, nil
}

// takeBack returns the kept socket of that name, nil if there is none.
func takeBack[T conn](ctx context.Context, d *Driver, name string, k kind[T]) (*T, error) {
	if d.keeper == nil {
		return nil, nil
	}
	f, err := d.keeper.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && f == nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("take listener %s back: %w", name, err)
	}
	defer f.Close()
	c, err := k.file(f)
	if err != nil {
		return nil, fmt.Errorf("take listener %s back: %w", name, err)
	}
	return &c, nil
}

// keep hands a duplicate of the socket to the keeper.
func (d *Driver) keep(ctx context.Context, name string, c conn) error {
	if d.keeper == nil {
		return nil
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var f *os.File
	err = control(rc, func(fd int) error {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			f = os.NewFile(uintptr(dup), name)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("duplicate listener: %w", err)
	}
	defer f.Close()
	if err := d.keeper.Put(ctx, name, f); err != nil {
		return fmt.Errorf("keep listener %s: %w", name, err)
	}
	// Both descriptors share the blocking mode, and asking a file for its descriptor sets it.
	return control(rc, func(fd int) error { return unix.SetNonblock(fd, true) })
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var ferr error
	if err := c.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// CloseListener closes a socket for good: it is dropped from the keeper, and connections that wait in
// it are reset. One that is not open is no error.
func (d *Driver) CloseListener(ctx context.Context, s Socket) error {
	ns, err := d.open(fabric.NSName(s.At))
	if errors.Is(err, ErrNoNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	ino, err := inode(ns)
	if err != nil {
		return err
	}
	return d.release(ctx, keepName(ino, s.Network, s.Addr))
}

// ReleaseListeners closes every socket of this driver, and of drivers before it, that is not in
// except. Open sockets hold their namespace, so listeners that are not desired must go.
func (d *Driver) ReleaseListeners(ctx context.Context, except map[Socket]bool) error {
	stay := map[string]bool{}
	for s, ok := range except {
		if !ok {
			continue
		}
		ns, err := d.open(fabric.NSName(s.At))
		if errors.Is(err, ErrNoNamespace) {
			continue
		}
		if err != nil {
			return err
		}
		ino, err := inode(ns)
		ns.Close()
		if err != nil {
			return err
		}
		stay[keepName(ino, s.Network, s.Addr)] = true
	}
	return d.releaseWhere(ctx, func(name string) bool { return !stay[name] })
}

// releaseIn closes the sockets of some namespaces.
func (d *Driver) releaseIn(ctx context.Context, inodes map[uint64]bool) error {
	return d.releaseWhere(ctx, func(name string) bool {
		n, ok := keptInode(name)
		return ok && inodes[n]
	})
}

func (d *Driver) releaseWhere(ctx context.Context, which func(name string) bool) error {
	names := map[string]bool{}
	d.mu.Lock()
	for name := range d.sockets {
		names[name] = true
	}
	d.mu.Unlock()
	if d.keeper != nil {
		kept, err := d.keeper.List(ctx)
		if err != nil {
			return fmt.Errorf("list the kept listeners: %w", err)
		}
		for _, name := range kept {
			if _, ok := keptInode(name); ok {
				names[name] = true
			}
		}
	}
	var errs []error
	for name := range names {
		if which(name) {
			errs = append(errs, d.release(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func (d *Driver) release(ctx context.Context, name string) error {
	d.mu.Lock()
	c := d.sockets[name]
	delete(d.sockets, name)
	d.mu.Unlock()
	if c != nil {
		c.Close() // may be closed already
	}
	if d.keeper == nil {
		return nil
	}
	if err := d.keeper.Drop(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop listener %s: %w", name, err)
	}
	return nil
}

// Dial connects from the namespace of a place. addr is an address and port: names are not resolved, for
// the answer would be this process's and not the place's.
func (d *Driver) Dial(ctx context.Context, at fabric.Place, network, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	var c net.Conn
	err := d.Do(at, func() (err error) {
		// One literal address is dialed on the calling goroutine, thus on this thread.
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}
