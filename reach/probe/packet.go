package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"vauban.dev/reach"
)

// Packet makes a TCP connection and closes it, or sends one datagram or ICMP echo to an address and waits for
// what comes back. It works on the calling thread alone, so that it can be called in a network namespace; an echo needs CAP_NET_RAW there.
// A datagram to port 53 is a question for the root's name servers, which every resolver answers.
func Packet(ctx context.Context, kind reach.Kind, to netip.AddrPort, timeout time.Duration) reach.Result {
	began := time.Now()
	out := reach.Result{Connect: reach.ConnectFailed, Address: to.String()}
	var err error
	switch {
	case !to.Addr().Is4():
		err = errors.New("the address is no IPv4 address")
	case kind == reach.TCP:
		var c net.Conn
		if c, out.Sent, out.Connect, err = dial(ctx, to, timeout); err == nil {
			err = c.Close()
		}
	default:
		err = send(ctx, kind, to, timeout, &out)
	}
	if err != nil {
		out.Error = err.Error()
	}
	out.TookMS = time.Since(began).Milliseconds()
	return out
}

func send(ctx context.Context, kind reach.Kind, to netip.AddrPort, timeout time.Duration, out *reach.Result) error {
	var fd int
	var err error
	var payload []byte
	switch kind {
	case reach.UDP:
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		payload = datagram(to.Port())
	case reach.ICMP:
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		payload = echo(uint16(os.Getpid()))
	default:
		return fmt.Errorf("%q is no kind of packet: tcp, udp, icmp", kind)
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		out.Connect = classify(err)
		return os.NewSyscallError("connect", err)
	}
	if _, err := unix.Write(fd, payload); err != nil {
		out.Connect = classify(err)
		return os.NewSyscallError("send", err)
	}
	out.Sent = 1
	err = answer(ctx, fd, kind, payload, timeout)
	switch {
	case err == nil:
		out.Connect, out.Sent = reach.Connected, 0
	case errors.Is(err, unix.ETIMEDOUT):
		out.Connect = reach.ConnectTimeout
		return fmt.Errorf("no answer from %s in %s", to, timeout)
	default:
		out.Connect = classify(err)
	}
	return err
}

// answer waits for a datagram, or for the reply to the echo request.
func answer(ctx context.Context, fd int, kind reach.Kind, sent []byte, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	buf := make([]byte, 1500)
	for ctx.Err() == nil {
		left := time.Until(deadline)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, int((min(left, pollStep)+time.Millisecond-1)/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case kind == reach.UDP || isReply(buf[:n], sent):
			return nil
		}
	}
	return ctx.Err()
}

func datagram(port uint16) []byte {
	if port == 53 {
		q := new(mdns.Msg)
		q.SetQuestion(".", mdns.TypeNS)
		if b, err := q.Pack(); err == nil {
			return b
		}
	}
	return []byte("vauban\n")
}

// echo is an ICMP echo request (RFC 792).
func echo(id uint16) []byte {
	b := append([]byte{8, 0, 0, 0, 0, 0, 0, 1}, "vauban"...)
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// isReply reports whether an IPv4 packet is the echo reply to a request.
func isReply(packet, request []byte) bool {
	if len(packet) < 20 {
		return false
	}
	head := int(packet[0]&0x0f) * 4
	if head < 20 || len(packet) < head+len(request) {
		return false
	}
	icmp := packet[head:]
	return icmp[0] == 0 && string(icmp[4:len(request)]) == string(request[4:])
}
