package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unanswered is how long a probe waits before it says that nothing came back: $PROBE_WAIT, for what is
// expected to be dropped, and says so by a counter as well; else long enough for any machine.
func unanswered() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("PROBE_WAIT")); err == nil {
		return d
	}
	return patience / 4
}

// probeProgram makes one connection from the place where it runs and prints what came of it, in a word.
//
//	probe tcp HOST:PORT          answered, refused, dropped
//	probe udp HOST:PORT          the same; the other side is `probe serve`
//	probe serve                  answers TCP and UDP on a port each, which it prints; ends with its stdin
//	probe whence                 answers each TCP connection with who it is from and what it sent, in hex
//	probe hold HOST:PORT         prints the answer to each line of stdin over one connection
//	probe tls HOST:PORT SNI      sends stdin through TLS, prints what comes back
//	probe spoof SRC DST:PORT     sends a UDP packet from an address that is not its own
//	probe ping SRC DST           sends an ICMP echo request through a raw socket, waits for the reply
//	probe gate                   takes one connection: stdin goes to it, what comes from it is printed
//	probe late ADDR HOST PATH    connects when it reads a line, then asks HOST over TLS
//	probe address                the address of this place
//	probe dns ZONE ADDR          a DNS server on this place's port 53: names below ZONE are ADDR, all others are asked of
//	                             168.63.129.16; prints each question and who asks; ends with its stdin
//	probe ssh ADDR:PORT USER PASSWORD COMMAND
//	                             what a command says over SSH; forward:ADDR:PORT for a command asks TCP through the session
//	probe ask SERVER NAME        asks a DNS server for the addresses of a name: they, or the code
func probeProgram(args []string) int {
	args = append(args, "", "", "", "", "")
	var said string
	var err error
	switch args[0] {
	case "tcp", "udp":
		said, err = reach(args[0], args[1])
	case "serve":
		err = serveEcho()
	case "ssh":
		said, err = overSSH(args[1], args[2], args[3], args[4])
	case "whence":
		err = serveWhence()
	case "hold":
		err = hold(args[1])
	case "tls":
		said, err = rawTLS(args[1], args[2])
	case "spoof":
		err = spoof(args[1], args[2])
	case "ping":
		said, err = ping(args[1], args[2])
	case "gate":
		err = passOn()
	case "late":
		err = askLate(args[1], args[2], args[3])
	case "dns":
		err = serveNames(args[1], args[2])
	case "ask":
		said, err = askName(args[1], args[2])
	case "address":
		var a netip.Addr
		a, err = ownAddress()
		said = a.String()
	default:
		return 2
	}
	if said != "" {
		fmt.Println(said)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return 1
	}
	return 0
}

// outcome of a network operation, in a word.
func outcome(err error) (string, error) {
	switch {
	case err == nil:
		return "answered", nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused", nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "dropped", nil
	}
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return "dropped", nil
	}
	return "", err
}

func reach(network, addr string) (string, error) {
	c, err := net.DialTimeout(network, addr, unanswered())
	if err != nil {
		return outcome(err)
	}
	defer c.Close()
	if network == "udp" {
		if _, err = c.Write([]byte("ping")); err == nil {
			c.SetReadDeadline(time.Now().Add(unanswered()))
			_, err = c.Read(make([]byte, 64))
		}
	}
	return outcome(err)
}

// serveWhence prints its address, and is there until it is killed.
func serveWhence() error {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	a, err := ownAddress()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	fmt.Println(net.JoinHostPort(a.String(), port))
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var got []byte
			for !bytes.HasSuffix(got, []byte("hello\n")) {
				b := make([]byte, 512)
				n, err := c.Read(b)
				if err != nil {
					return
				}
				got = append(got, b[:n]...)
			}
			from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s %x\n", from, got)
		}()
	}
}

// serveEcho answers lines with lines and packets with packets.
func serveEcho() error {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p, err := net.ListenPacket("udp4", "0.0.0.0:"+port)
	if err != nil {
		return err
	}
	a, err := ownAddress()
	if err != nil {
		return err
	}
	fmt.Println(net.JoinHostPort(a.String(), port))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			fmt.Printf("packet from %s\n", from)
			p.WriteTo(b[:n], from)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// hold keeps one connection for as long as stdin has lines.
func hold(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in, back := bufio.NewScanner(os.Stdin), bufio.NewReader(c)
	for in.Scan() {
		if _, err := fmt.Fprintln(c, in.Text()); err != nil {
			return err
		}
		line, err := back.ReadString('\n')
		if err != nil {
			return err
		}
		fmt.Print(line)
	}
	return in.Err()
}

// passOn prints its address, takes one connection and joins it with stdin and stdout.
func passOn() error {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	a, err := ownAddress()
	if err != nil {
		return err
	}
	fmt.Println(netip.AddrPortFrom(a, uint16(l.Addr().(*net.TCPAddr).Port)))
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	go io.Copy(c, os.Stdin)
	_, err = io.Copy(os.Stdout, c)
	return err
}

// askLate is told when to begin, and says how far it has come.
func askLate(addr, host, target string) error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("connected")
	t := tls.Client(c, &tls.Config{ServerName: host, NextProtos: []string{"http/1.1"}})
	if _, err := fmt.Fprintf(t, "GET %s HTTP/1.1\r\nHost: %s\r\nx-ms-version: 2023-11-03\r\nConnection: close\r\n\r\n", target, host); err != nil {
		return err
	}
	b, err := io.ReadAll(t)
	fmt.Println(string(b))
	return err
}

// rawTLS says exactly what stdin has.
func rawTLS(addr, sni string) (string, error) {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return "", err
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: unanswered()}, "tcp", addr, &tls.Config{ServerName: sni, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return "no handshake: " + err.Error(), nil
	}
	defer c.Close()
	if _, err := c.Write(text); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c)
	if w, err := outcome(err); err != nil || w == "dropped" && len(b) == 0 {
		return "", fmt.Errorf("%s %w", w, err)
	}
	return string(b), nil
}

func ownAddress() (netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("this place has no address")
}

// packet is an IPv4 packet; the kernel fills in length and checksum of the header.
func packet(src, dst netip.Addr, protocol byte, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, protocol
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	return append(b, payload...)
}

func rawSend(dst netip.Addr, b []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: dst.As4()})
}

func spoof(src, dst string) error {
	s, err := netip.ParseAddr(src)
	if err != nil {
		return err
	}
	d, err := netip.ParseAddrPort(dst)
	if err != nil {
		return err
	}
	udp := make([]byte, 8, 13)
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], d.Port())
	binary.BigEndian.PutUint16(udp[4:], 13)
	return rawSend(d.Addr(), packet(s, d.Addr(), unix.IPPROTO_UDP, append(udp, "spoof"...)))
}

func ping(src, dst string) (string, error) {
	s, err := netip.ParseAddr(src)
	if err != nil {
		return "", err
	}
	d, err := netip.ParseAddr(dst)
	if err != nil {
		return "", err
	}
	in, err := net.ListenPacket("ip4:icmp", src)
	if err != nil {
		return "", err
	}
	defer in.Close()
	echo := []byte{8, 0, 0, 0, 0x76, 0x61, 0, 1}
	var sum uint32
	for i := 0; i < len(echo); i += 2 {
		sum += uint32(echo[i])<<8 | uint32(echo[i+1])
	}
	binary.BigEndian.PutUint16(echo[2:], ^uint16(sum+sum>>16))
	if err := rawSend(d, packet(s, d, unix.IPPROTO_ICMP, echo)); err != nil {
		return "", err
	}
	in.SetReadDeadline(time.Now().Add(unanswered()))
	b := make([]byte, 1500)
	for {
		n, from, err := in.ReadFrom(b)
		if err != nil {
			return outcome(err)
		}
		if n >= 8 && b[0] == 0 && strings.HasPrefix(from.String(), dst) {
			return "answered", nil
		}
	}
}
