package linux

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vauban.dev/fabric"
)

func TestSmoke(t *testing.T) {
	d, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := handState()
	if err := d.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t0 := time.Now()
	if err := d.Apply(t.Context(), handState()); err != nil {
		t.Fatal(err)
	}
	t.Log("second", time.Since(t0))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	drops := d.Drops(t.Context())
	at := fabric.Place{Kind: fabric.AtNIC, ID: "b"}
	l, err := d.Listen(t.Context(), at, "tcp", "10.0.0.5:80")
	if err != nil {
		t.Fatal(err)
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
	c, err := d.Dial(t.Context(), fabric.Place{Kind: fabric.AtNIC, ID: "a"}, "tcp", "10.0.0.5:80")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	var u net.Conn
	u, err = d.Dial(t.Context(), fabric.Place{Kind: fabric.AtNIC, ID: "a"}, "udp", "10.0.0.5:81")
	if err != nil {
		t.Fatal(err)
	}
	u.Write([]byte("x"))
	t.Log(<-drops)
	n, err := d.Counters(t.Context())
	t.Log(n, err)
	if err := d.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func handState() *fabric.State {
	ref := fabric.RuleRef{Owner: "nsg", Direction: fabric.Inbound, Rule: "DenyAll"}
	r := fabric.RouterNS("v")
	pfx := netip.MustParsePrefix
	s := &fabric.State{
		Namespaces: []fabric.Namespace{{
			Name:    r,
			Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.proxy_arp": "1", "net.ipv4.conf.default.proxy_arp": "1"},
			Addrs:   []netip.Prefix{netip.PrefixFrom(fabric.Gateway, 32), netip.PrefixFrom(fabric.IMDS, 32)},
			Local:   []netip.Prefix{pfx("20.0.0.0/16")},
			Rules:   []fabric.PolicyRule{{Priority: 100, IIF: fabric.NICNS("a"), Table: 100}, {Priority: 101, FwMark: 7, Table: 101}},
			Objects: []fabric.Object{
				{Kind: fabric.CounterObject, Name: ref.Counter()},
				{Kind: fabric.ChainObject, Name: "c_x", Content: true, Lines: []string{
					"tcp dport { 80, 443 } ct mark set 0x1 accept",
					`counter name "` + ref.Counter() + `" log prefix "` + ref.Counter() + `" group 5 drop`,
				}},
				{Kind: fabric.ChainObject, Name: "forward", Spec: []string{"type filter hook forward priority 0; policy drop;"}, Lines: []string{
					"ct state established,related accept", "goto c_x",
				}},
			},
		}},
	}
	for id, addr := range map[string]string{"a": "10.0.0.4", "b": "10.0.0.5"} {
		n := fabric.NICNS(id)
		s.Namespaces = append(s.Namespaces, fabric.Namespace{Name: n, Routes: []fabric.Route{
			{Type: "unicast", Dst: pfx("0.0.0.0/0"), Via: fabric.Gateway, Dev: "eth0"},
			{Type: "unicast", Dst: netip.PrefixFrom(fabric.Gateway, 32), Dev: "eth0"},
		}})
		s.Veths = append(s.Veths, fabric.Veth{A: fabric.End{Namespace: r, Interface: n}, B: fabric.End{Namespace: n, Interface: "eth0"},
			MAC: "12:34:56:78:9a:bc", MACB: fabric.NICMAC(id), AddrB: []netip.Prefix{pfx(addr + "/32")}})
		s.Namespaces[0].Routes = append(s.Namespaces[0].Routes, fabric.Route{Type: "unicast", Dst: pfx(addr + "/32"), Dev: n},
			fabric.Route{Type: "blackhole", Dst: pfx("9." + addr[3:] + "/32"), Table: 100})
	}
	s.Counters = map[string]fabric.RuleRef{ref.Counter(): ref}
	slices.SortFunc(s.Namespaces[0].Routes, func(a, b fabric.Route) int { return strings.Compare(a.Dst.String(), b.Dst.String()) })
	return s
}
