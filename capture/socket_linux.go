package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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

// Read gives the packets of a socket of Open to f until f has enough (true), or ctx ends. The socket is closed.
func Read(ctx context.Context, socket *os.File, f func(Packet) (bool, error)) error {
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	defer socket.Close()
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, MaxPacket)
	for {
		var n int
		var got error
		err := conn.Read(func(fd uintptr) bool {
			n, _, got = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			return !errors.Is(got, unix.EAGAIN)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return err
		case errors.Is(got, unix.EINTR), errors.Is(got, unix.ENOBUFS):
			continue
		case got != nil:
			return fmt.Errorf("receive: %w", got)
		}
		full, err := f(Packet{Time: time.Now(), Data: buf[:min(n, len(buf))], Length: n})
		if full || err != nil {
			return err
		}
	}
}
