package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens a socket that sees every packet of an interface of the calling thread's network namespace. It needs
// CAP_NET_RAW there; whoever has the file needs nothing.
func Open(name string) (*os.File, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	all := uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00) // in the order of the network
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packets of "+name), nil
}

// maxLeft is how many packets that wait are read after the end: an interface may never be silent.
const maxLeft = 100_000

// Read gives the packets of a socket of Open to f until f has enough (true), or ctx ends, with those that had come by
// then. The socket is closed.
func Read(ctx context.Context, socket *os.File, f func(Packet) (bool, error)) error {
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.SetReadDeadline(time.Unix(1, 0)) })()
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	r := &reader{buf: make([]byte, MaxPacket), f: f}
	for {
		err := conn.Read(func(fd uintptr) bool {
			r.receive(fd)
			return !errors.Is(r.got, unix.EAGAIN)
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return r.left(conn)
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		if full, err := r.give(); full || err != nil {
			return err
		}
	}
}

// reader holds one packet at a time.
type reader struct {
	buf []byte
	n   int
	got error
	f   func(Packet) (bool, error)
}

func (r *reader) receive(fd uintptr) {
	r.n, _, r.got = unix.Recvfrom(int(fd), r.buf, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
}

func (r *reader) give() (full bool, err error) {
	switch {
	case errors.Is(r.got, unix.EINTR), errors.Is(r.got, unix.ENOBUFS):
		return false, nil
	case r.got != nil:
		return false, fmt.Errorf("receive: %w", r.got)
	}
	return r.f(Packet{Time: time.Now(), Data: r.buf[:min(r.n, len(r.buf))], Length: r.n})
}

// left reads what waits.
func (r *reader) left(conn syscall.RawConn) error {
	for range maxLeft {
		if err := conn.Control(r.receive); err != nil || errors.Is(r.got, unix.EAGAIN) || errors.Is(r.got, unix.ENETDOWN) {
			return err
		}
		if full, err := r.give(); full || err != nil {
			return err
		}
	}
	return nil
}
