package e2e

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric/vpn"
)

// vpnClient is a machine outside of the region, in a network of its own, that has joined by a profile.
type vpnClient struct {
	t   testing.TB
	in  *os.File
	out *bufio.Scanner
}

// joinVPN starts a client from the text that `vauban vpn profile` printed. addr is its own, where the profile
// has none. Its UDP socket is on this machine's loopback; else it has no network.
func (g *ground) joinVPN(t testing.TB, profile, addr string) *vpnClient {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	f, err := socket.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(bin+"/vpnclient", addr)
	cmd.Env = append(os.Environ(), "VPN_PROFILE="+profile, "PROBE_WAIT=2s")
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = r, os.Stderr, []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	c := &vpnClient{t: t, in: w, out: g.with(t).start(cmd)}
	t.Cleanup(func() { w.Close() })
	if !c.out.Scan() || c.out.Text() != "ready" {
		t.Fatalf("the VPN client: %q %v", c.out.Text(), c.out.Err())
	}
	return c
}

// reach is what becomes of a TCP connection from the client: answered, refused, dropped.
func (c *vpnClient) reach(addr string) string { return c.do(addr) }

// asked is what a DNS server says to the client of a name's address.
func (c *vpnClient) asked(server, name string) string { return c.do("ask " + server + " " + name) }

// serves has the client take an address for its own, and answer TCP there: ADDRESS:PORT.
func (c *vpnClient) serves(addr string) string { return c.do("serve " + addr) }

func (c *vpnClient) do(line string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
	if !c.out.Scan() {
		c.t.Fatalf("the VPN client ended: %v", c.out.Err())
	}
	return c.out.Text()
}

// vpnClientProgram is the client: a TUN device and WireGuard behind the socket of descriptor 3.
func vpnClientProgram(args []string) int {
	err := func() error {
		t, addrs, err := parseProfile(os.Getenv("VPN_PROFILE"))
		if err != nil {
			return err
		}
		if len(args) > 0 && args[0] != "" {
			addrs = []string{args[0]}
		}
		socket, err := net.FilePacketConn(os.NewFile(3, "socket"))
		if err != nil {
			return err
		}
		e := vpn.New(ownTUN{}, slog.New(slog.DiscardHandler))
		defer e.Close()
		e.Serve("", socket)
		if err := e.Set([]vpn.Tunnel{t}); err != nil {
			return err
		}
		if err := configureTUN(addrs, t.Peers[0].Prefixes); err != nil {
			return err
		}
		fmt.Println("ready")
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			said, err := "", error(nil)
			switch f := strings.Fields(s.Text()); {
			case len(f) == 3 && f[0] == "ask":
				said, err = askName(f[1], f[2])
			case len(f) == 2 && f[0] == "serve":
				said, err = serveAt(f[1])
			default:
				said, err = reach("tcp", s.Text())
			}
			if err != nil {
				said = err.Error()
			}
			fmt.Println(said)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vpnclient:", err)
		return 1
	}
	return 0
}

const tunName = "wg0"

// serveAt answers connections at one more address of the device, until the process ends.
func serveAt(addr string) (string, error) {
	if err := configureTUN([]string{addr + "/32"}, nil); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp4", addr+":0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l.Addr().String(), nil
}

// ownTUN makes a device where the process is.
type ownTUN struct{}

func (ownTUN) OpenTunnel(_, _ string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	ifr, err := unix.NewIfreq(tunName)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	return os.NewFile(uintptr(fd), tunName), err
}

func configureTUN(addrs []string, routes []netip.Prefix) error {
	l, err := netlink.LinkByName(tunName)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err == nil {
			err = netlink.AddrAdd(l, addr)
		}
		if err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	for _, p := range routes {
		dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst}); err != nil {
			return err
		}
	}
	return nil
}

// parseProfile reads a profile by the rules of wg(8) and wg-quick(8).
func parseProfile(text string) (t vpn.Tunnel, addrs []string, err error) {
	t = vpn.Tunnel{Name: tunName, Peers: []vpn.Peer{{}}}
	p := &t.Peers[0]
	key := func(s string) (k [32]byte) {
		b, e := base64.StdEncoding.DecodeString(s)
		if e != nil || len(b) != len(k) {
			err = errors.Join(err, fmt.Errorf("a key is %q", s))
			return k
		}
		return [32]byte(b)
	}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " = ")
		switch name {
		case "PrivateKey":
			t.Private = key(value)
		case "PublicKey":
			p.Public = key(value)
		case "PresharedKey":
			p.Preshared = key(value)
		case "Address":
			addrs = strings.Split(value, ", ")
		case "Endpoint":
			a, e := netip.ParseAddrPort(value)
			p.Endpoint, err = vpn.Endpoint{Host: true, Addr: a}, errors.Join(err, e)
		case "AllowedIPs":
			for _, v := range strings.Split(value, ", ") {
				a, e := netip.ParsePrefix(v)
				p.Prefixes, err = append(p.Prefixes, a), errors.Join(err, e)
			}
		}
	}
	return t, addrs, err
}
