package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// DialFrom connects by TCP from one of a place's addresses. Only the socket is made in the place: however many
// wait for an answer, they hold no thread. The error of a ctx that ends is its own.
func (d *Driver) DialFrom(ctx context.Context, at fabric.Place, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var fd int
	err := d.Do(at, func() (err error) {
		fd, err = connecting(from, to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	f := os.NewFile(uintptr(fd), to.String())
	defer f.Close() // the connection has a descriptor of its own
	stop := context.AfterFunc(ctx, func() { f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := connected(f); err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, errors.Join(ctx.Err(), err))
	}
	return net.FileConn(f)
}

// connecting begins a connection in the namespace of the calling thread.
func connecting(from netip.Addr, to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connected waits for the end of a connection's beginning.
func connected(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Write(func(fd uintptr) bool {
		var n int
		if n, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); failed != nil {
			return true
		}
		if n != 0 {
			failed = unix.Errno(n)
			return true
		}
		_, err := unix.Getpeername(int(fd))
		return !errors.Is(err, unix.ENOTCONN)
	})
	return errors.Join(err, failed)
}
