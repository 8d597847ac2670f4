package vpn

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
)

const (
	gatewayNIC = "gateway"
	site       = "client" // a host on the internet, which plays the machine at the other end
	p2s        = "p2s"
)

var (
	gatewayAddr = netip.MustParseAddr("10.0.255.4")
	siteAddr    = netip.MustParseAddr("198.51.100.7")
	pool        = netip.MustParsePrefix("172.20.0.0/24")
)

// rig is a gateway in a VNet.
type rig struct {
	*testing.T
	driver *linux.Driver
	engine *Engine
	client *Engine        // that joined last
	host   netip.AddrPort // the machine's socket
}

func topology(tunnels ...fabric.Tunnel) *fabric.Topology {
	return &fabric.Topology{
		Tags: noTags{}, NSGs: map[string]*fabric.NSG{},
		Internet: fabric.Internet{Hosts: []fabric.InternetHost{{Name: site, Addr: siteAddr}}},
		VNets: []fabric.VNet{{
			ID: "vnet", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
			Subnets: []fabric.Subnet{{ID: "GatewaySubnet", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.255.0/27")}}},
			NICs:    []fabric.NIC{{ID: gatewayNIC, Subnet: "GatewaySubnet", Addrs: []netip.Addr{gatewayAddr}, Forwarding: true, Tunnels: tunnels}},
		}},
	}
}

type noTags struct{}

func (noTags) Prefixes(string) ([]netip.Prefix, bool) { return nil, false }

func newRig(t *testing.T, tunnels ...fabric.Tunnel) *rig {
	t.Helper()
	d, err := linux.New(linux.Config{NetnsDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.CleanUp(context.Background()), d.Close()); err != nil {
			t.Error(err)
		}
	})
	r := &rig{T: t, driver: d, engine: New(d, slog.New(slog.DiscardHandler))}
	t.Cleanup(r.engine.Close)
	r.apply(tunnels...)
	c := r.socket()
	r.host = c.LocalAddr().(*net.UDPAddr).AddrPort()
	r.engine.Serve("", c)
	return r
}

func (r *rig) apply(tunnels ...fabric.Tunnel) {
	r.Helper()
	s, err := fabric.Compile(topology(tunnels...))
	if err == nil {
		err = r.driver.Apply(r.Context(), s)
	}
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) socket() net.PacketConn {
	r.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func (r *rig) set(list ...Tunnel) {
	r.Helper()
	if err := r.engine.Set(list); err != nil {
		r.Fatal(err)
	}
}

// deviceFile is a TUN device in the namespace of a host, as a client's own.
type deviceFile struct{ r *rig }

func (d deviceFile) OpenTunnel(nic, tunnel string) (*os.File, error) {
	return d.r.clientTUN(tunnel)
}

// count is how many packets a rule has refused.
func (r *rig) count(by fabric.RuleRef) uint64 {
	r.Helper()
	all, err := r.driver.Counters(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return all[by]
}

// everywhere lets the client send anything into its tunnel.
func (r *rig) everywhere(gateway PublicKey) error {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return r.client.tunnels["wg-"+r.Name()].device.IpcSet(fmt.Sprintf("public_key=%x\nallowed_ip=0.0.0.0/0\n", gateway[:]))
}

// join starts a client from the text of its profile, as wg-quick would, at the host.
func (r *rig) join(text string) *Engine {
	r.Helper()
	t, addrs := r.parse(text)
	e := New(deviceFile{r}, slog.New(slog.DiscardHandler))
	r.client = e
	r.Cleanup(e.Close)
	e.Serve("", r.socket())
	if err := e.Set([]Tunnel{t}); err != nil {
		r.Fatal(err)
	}
	r.configure(t.Name, addrs, t.Peers[0].Prefixes)
	return e
}

// parse reads what Profile.Text writes with the rules of wg(8), not with our own code.
func (r *rig) parse(text string) (t Tunnel, addrs []netip.Prefix) {
	r.Helper()
	t = Tunnel{Name: "wg-" + r.Name(), NIC: site, Peers: []Peer{{}}}
	p := &t.Peers[0]
	list := func(s string) (out []netip.Prefix) {
		for _, f := range strings.Split(s, ",") {
			out = append(out, netip.MustParsePrefix(strings.TrimSpace(f)))
		}
		return out
	}
	key := func(s string) (k [32]byte) {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) != 32 {
			r.Fatalf("key %q", s)
		}
		return [32]byte(b)
	}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " = ")
		switch name {
		case "PrivateKey":
			t.Private = key(value)
		case "Address":
			addrs = list(value)
		case "PublicKey":
			p.Public = key(value)
		case "PresharedKey":
			p.Preshared = key(value)
		case "Endpoint":
			p.Endpoint = Endpoint{Host: true, Addr: netip.MustParseAddrPort(value)}
		case "AllowedIPs":
			p.Prefixes = list(value)
		}
	}
	return t, addrs
}

// serve tells whoever connects to the gateway's own address where he comes from.
func (r *rig) serve(addr string) { r.serveAt(gatewayNIC, addr) }

func (r *rig) serveAt(nic, addr string) { r.listen(fabric.Place{Kind: fabric.AtNIC, ID: nic}, addr) }

func (r *rig) listen(at fabric.Place, addr string) {
	r.Helper()
	l, err := r.driver.Listen(r.Context(), at, "tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s\n", c.RemoteAddr())
			c.Close()
		}
	}()
	r.Cleanup(func() { l.Close(); <-done })
}

// call connects from the host, and returns the source address that the other end saw.
func (r *rig) call(addr string, patience time.Duration) (string, error) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	c, err := r.driver.Dial(ctx, fabric.Place{Kind: fabric.AtHost, ID: site}, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(c).ReadString('\n')
	host, _, _ := strings.Cut(line, ":")
	return host, err
}

const patient, quick = 20 * time.Second, 700 * time.Millisecond

func client(k PrivateKey, addr string) Peer {
	return Peer{Public: k.Public(), Prefixes: []netip.Prefix{netip.MustParsePrefix(addr + "/32")}}
}

func (r *rig) profile(gateway, k PrivateKey, addr string) string {
	p := Profile{Private: k, Addresses: []netip.Prefix{netip.MustParsePrefix(addr + "/32")}, Peer: gateway.Public(), Endpoint: r.host,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Comment: []string{"a client"}}
	return p.Text()
}

func TestClientJoinsAndIsCutOff(t *testing.T) {
	r := newRig(t, fabric.Tunnel{Name: p2s, Prefixes: []netip.Prefix{pool}})
	r.serve(gatewayAddr.String() + ":80")
	gateway, alice, bob := NewPrivateKey(), NewPrivateKey(), NewPrivateKey()
	r.set(Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway, Peers: []Peer{client(alice, "172.20.0.2"), client(bob, "172.20.0.3")}})
	r.join(r.profile(gateway, alice, "172.20.0.2"))

	got, err := r.call("10.0.255.4:80", patient)
	if err != nil || got != "172.20.0.2" {
		t.Fatalf("the gateway saw %q, %v", got, err)
	}
	peers, err := r.engine.Peers(p2s)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		if is := p.Public == alice.Public(); p.Connected(time.Now()) != is || (p.Received > 0) != is || p.Endpoint.IsValid() != is {
			t.Errorf("peer %v, alice's is %v", p, alice.Public())
		}
	}
	// Another's address is not taken from her.
	r.configure("wg-"+t.Name(), []netip.Prefix{netip.MustParsePrefix("172.20.0.3/32")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")})
	if got, err := r.call("10.0.255.4:80", quick); err == nil {
		t.Errorf("alice was taken for %s", got)
	}
	r.configure("wg-"+t.Name(), []netip.Prefix{netip.MustParsePrefix("172.20.0.2/32")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")})
	if _, err := r.call("10.0.255.4:80", patient); err != nil {
		t.Fatal(err)
	}
	// Revoked, she is cut off before Set returns; set again, a new profile is not needed.
	r.set(Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway, Peers: []Peer{client(bob, "172.20.0.3")}})
	if _, err := r.call("10.0.255.4:80", quick); err == nil {
		t.Error("a revoked client still got through")
	}
}

func TestStrangerIsNotHeard(t *testing.T) {
	r := newRig(t, fabric.Tunnel{Name: p2s, Prefixes: []netip.Prefix{pool}})
	r.serve(gatewayAddr.String() + ":80")
	gateway := NewPrivateKey()
	r.set(Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway})
	r.join(r.profile(gateway, NewPrivateKey(), "172.20.0.2"))
	if _, err := r.call("10.0.255.4:80", quick); err == nil {
		t.Error("a key that nobody registered got through")
	}
}

// Two tunnels share the machine's socket: each message finds its own.
func TestTunnelsShareASocket(t *testing.T) {
	other := netip.MustParsePrefix("172.21.0.0/24")
	r := newRig(t, fabric.Tunnel{Name: p2s, Prefixes: []netip.Prefix{pool}}, fabric.Tunnel{Name: "s2s", Prefixes: []netip.Prefix{other}})
	r.serve(gatewayAddr.String() + ":80")
	first, alice := NewPrivateKey(), NewPrivateKey()
	local, remote := netip.MustParseAddr("203.0.113.130"), netip.MustParseAddr("198.51.100.7")
	ours, err := DeriveSiteKeys("shared", local, remote)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := DeriveSiteKeys("shared", remote, local)
	if err != nil {
		t.Fatal(err)
	}
	if ours.Peer != theirs.Private.Public() || theirs.Peer != ours.Private.Public() || ours.Preshared != theirs.Preshared {
		t.Fatal("the two ends do not know each other")
	}
	r.set(
		Tunnel{Name: p2s, NIC: gatewayNIC, Private: first, Peers: []Peer{client(alice, "172.20.0.2")}},
		Tunnel{Name: "s2s", NIC: gatewayNIC, Private: ours.Private, Peers: []Peer{{Public: ours.Peer, Preshared: ours.Preshared, Prefixes: []netip.Prefix{other}}}},
	)
	site := Profile{Private: theirs.Private, Preshared: theirs.Preshared, Peer: theirs.Peer, Endpoint: r.host,
		Addresses: []netip.Prefix{netip.MustParsePrefix("172.21.0.9/32")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	e := r.join(site.Text())
	if got, err := r.call("10.0.255.4:80", patient); err != nil || got != "172.21.0.9" {
		t.Fatalf("site: saw %q, %v", got, err)
	}
	e.Close()
	r.join(r.profile(first, alice, "172.20.0.2"))
	if got, err := r.call("10.0.255.4:80", patient); err != nil || got != "172.20.0.2" {
		t.Fatalf("client: saw %q, %v", got, err)
	}
}

// The device stays when the engine goes; another engine takes it up.
func TestEngineIsStartedAgain(t *testing.T) {
	r := newRig(t, fabric.Tunnel{Name: p2s, Prefixes: []netip.Prefix{pool}})
	r.serve(gatewayAddr.String() + ":80")
	gateway, alice := NewPrivateKey(), NewPrivateKey()
	tunnel := Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway, Peers: []Peer{client(alice, "172.20.0.2")}}
	r.set(tunnel)
	r.engine.Close()
	r.engine = New(r.driver, slog.New(slog.DiscardHandler))
	t.Cleanup(r.engine.Close)
	c := r.socket()
	r.host = c.LocalAddr().(*net.UDPAddr).AddrPort()
	r.engine.Serve("", c)
	r.set(tunnel)
	r.join(r.profile(gateway, alice, "172.20.0.2"))
	if _, err := r.call("10.0.255.4:80", patient); err != nil {
		t.Fatal(err)
	}
	r.set()
	if err := r.engine.Set([]Tunnel{{Name: "none", NIC: gatewayNIC}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tunnel that the network lacks: %v", err)
	}
}

func TestSiteKeysDiffer(t *testing.T) {
	a, b, c := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3")
	k := func(shared string, l, r netip.Addr) SiteKeys {
		k, err := DeriveSiteKeys(shared, l, r)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one := k("secret", a, b)
	if again := k("secret", a, b); again != one {
		t.Error("the same inputs give other keys")
	}
	for name, other := range map[string]SiteKeys{"another key": k("Secret", a, b), "another peer": k("secret", a, c)} {
		if other.Private == one.Private || other.Peer == one.Peer || other.Preshared == one.Preshared {
			t.Errorf("%s: a key is the same", name)
		}
	}
	for _, bad := range []struct {
		shared string
		l, r   netip.Addr
	}{{"", a, b}, {"secret", a, a}} {
		if _, err := DeriveSiteKeys(bad.shared, bad.l, bad.r); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	k := NewPrivateKey()
	text := fmt.Sprintf("%v %+v %#v %s", k, Tunnel{Private: k}, Tunnel{Private: k}, PresharedKey(k))
	if strings.Contains(text, k.Text()) || strings.Contains(text, hex.EncodeToString(k[:8])) || strings.Contains(text, fmt.Sprintf("%d, %d", k[0], k[1])) || strings.Contains(text, fmt.Sprintf("%d %d", k[0], k[1])) {
		t.Errorf("a key is in %q", text)
	}
}

// Whatever arrives is nobody's or some tunnel's; nothing panics.
func FuzzOwner(f *testing.F) {
	key := NewPrivateKey().Public()
	f.Add([]byte{1, 0, 0, 0})
	f.Add(make([]byte, initiationSize))
	f.Add(append([]byte{4, 0, 0, 0}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, msg []byte) {
		m := newMux()
		b := m.bind("nic", key)
		if got := m.owner("nic", msg); got != nil {
			t.Errorf("%x was taken for a message to a tunnel that sent nothing", msg)
		}
		m.drop(b)
	})
}
