package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/reach"
)

// pollStep is how long dial is deaf to its context.
const pollStep = 100 * time.Millisecond

// dial connects by TCP over IPv4. Of a connection that nobody answers it tells how many packets the kernel
// has sent for it: net.Dialer closes the socket before one can ask.
func dial(ctx context.Context, to netip.AddrPort, timeout time.Duration) (net.Conn, uint64, reach.Connect, error) {
	if !to.Addr().Is4() {
		return nil, 0, reach.ConnectFailed, fmt.Errorf("%s is no IPv4 address", to.Addr())
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, reach.ConnectFailed, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), to.String())
	defer f.Close()
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if errors.Is(err, unix.EINPROGRESS) {
		err = await(ctx, fd, timeout)
	}
	switch {
	case errors.Is(err, unix.ETIMEDOUT):
		sent, infoErr := packetsSent(fd)
		return nil, sent, reach.ConnectTimeout, errors.Join(fmt.Errorf("connect %s: no answer in %s", to, timeout), infoErr)
	case err != nil:
		return nil, 0, classify(err), os.NewSyscallError("connect", err)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, 0, reach.ConnectFailed, err
	}
	return c, 0, reach.Connected, nil
}

// await waits for a connection to stand or fail; it fails with ETIMEDOUT when nobody answers in time.
func await(ctx context.Context, fd int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for ctx.Err() == nil {
		left := time.Until(deadline)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(ready, int((min(left, pollStep)+time.Millisecond-1)/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err != nil || code == 0 {
				return err
			}
			return unix.Errno(code)
		}
	}
	return ctx.Err()
}

// packetsSent counts the SYNs of a connection that nobody answered: the first, and its repetitions.
func packetsSent(fd int) (uint64, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt TCP_INFO", err)
	}
	return 1 + uint64(info.Total_retrans), nil
}

func classify(err error) reach.Connect {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return reach.ConnectRefused
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return reach.ConnectNoWay
	}
	return reach.ConnectFailed
}
