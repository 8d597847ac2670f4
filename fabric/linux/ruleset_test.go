package linux

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/fabric"
)

// newTestDriver returns a driver with a folder of its own, cleaned up after the test.
func newTestDriver(t testing.TB, c Config) *Driver {
	t.Helper()
	if c.NetnsDir == "" {
		c.NetnsDir = t.TempDir()
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.CleanUp(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		d.Close()
	})
	return d
}

func chain(name string, lines ...string) fabric.Object {
	return fabric.Object{Kind: fabric.ChainObject, Name: name, Lines: lines}
}

func baseChain(name, hook string, lines ...string) fabric.Object {
	o := chain(name, lines...)
	o.Spec = []string{"type filter hook " + hook + " priority 0; policy drop;"}
	return o
}

func set(kind fabric.ObjectKind, name, spec string, lines ...string) fabric.Object {
	return fabric.Object{Kind: kind, Name: name, Spec: strings.Split(spec, "; "), Lines: lines}
}

func counter(name string) fabric.Object {
	return fabric.Object{Kind: fabric.CounterObject, Name: name}
}

// oneSpace is a state with nothing but rules.
func oneSpace(objects ...fabric.Object) *fabric.State {
	return &fabric.State{Namespaces: []fabric.Namespace{{Name: fabric.RouterNS("v"), Objects: objects}}}
}

// Every form of statement that rules are written in reads back as what it was.
func TestReadBack(t *testing.T) {
	d := newTestDriver(t, Config{})
	s := oneSpace(
		counter("k"),
		chain("x", "accept"),
		chain("y", `counter name "k" log prefix "k" group 5 drop`, `log prefix "a b { c" group 5`),
		set(fabric.SetObject, "merged", "type ipv4_addr; flags interval", "10.1.0.0/16", "10.0.0.0/16", "10.2.0.0-10.2.0.7"),
		set(fabric.SetObject, "pairs", "type ifname . ipv4_addr", `"n1" . 10.0.0.4`, `"n-2" . 10.0.0.5`),
		set(fabric.SetObject, "ports", "type inet_service; flags interval", "80", "443", "1000-2000"),
		set(fabric.MapObject, "gotos", "type ifname : verdict", `"n1" : goto x`, `"n2" : jump y`, `"n3" : drop`),
		set(fabric.MapObject, "spans", "type ipv4_addr : verdict; flags interval", "0.0.0.0-9.255.255.255 : goto x", "10.0.0.0/8 : goto y", "11.0.0.0-255.255.255.255 : drop"),
		set(fabric.MapObject, "marks", "type ifname : mark", `"n1" : 0x101`, `"n2" : 258`),
		chain("forms",
			"ct state established,related accept", "ct state { new, untracked } accept", "ct state invalid drop", "ct state new accept",
			"ct mark 0x1 accept", "ct mark set meta mark", "meta mark set 0x101", "meta mark set iifname map @marks", "meta mark set symhash mod 2 map { 0 : 0x12, 1 : 0x13 } accept", "ip ttl < 4 drop", "ct state new iifname vmap @gotos", "ct mark set ct mark | 0x10000", "ct mark set ct mark or 0x1 accept", "ct mark and 0x1 == 0x1 accept", "meta l4proto 6 ip saddr 10.0.0.1 ip daddr 10.0.0.0/24 th sport 1-2 th dport { 3, 4-6 } accept", "meta l4proto 6 ip saddr 10.0.0.1 ip daddr 10.0.0.2 th sport 1 th dport 3 accept", "meta l4proto 1 ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept",
			"ip saddr 10.0.0.0/24 ip daddr 10.0.1.0/24 accept", "ip saddr 10.0.0.0-10.0.0.255 ip daddr 10.0.1.0-10.0.1.255 accept", "ip saddr 0.0.0.0-127.255.255.255 accept", `counter name "k" log prefix "k" group 5 snaplen 128 drop`, `iifname "lo" accept`, `oifname "lo" fib daddr type != local accept`,
			"meta mark & 0xff == 0x1 accept", "ct direction reply accept", "ct status dnat accept",
			"iifname . ip saddr @pairs accept", `iifname . ip saddr != @pairs counter name "k" drop`,
			"ip saddr @merged accept", "ip daddr != @merged drop", "ip saddr 10.0.0.0/8 accept", "ip saddr 10.0.0.4/32 accept", "ip daddr 10.0.0.0-10.0.0.9 drop",
			"ip saddr { 10.0.0.4, 10.0.0.6-10.0.0.7, 10.8.0.0/16 } accept", "ip saddr { 10.0.0.4 } accept",
			"tcp dport 443 accept", "tcp dport { 80, 443, 1000-2000 } accept", "udp dport @ports accept", "tcp sport 1-1024 drop",
			"meta l4proto tcp accept", "meta l4proto { tcp, udp } accept", "meta l4proto 50 accept", "ip protocol icmp accept",
			"meta l4proto tcp tcp dport 80 accept", "meta l4proto { tcp, udp } th dport 53 accept", "icmp type echo-request accept", "meta nfproto ipv4 ip saddr 10.0.0.4 accept", "meta nfproto ipv4 accept",
			"iifname vmap @gotos", `iifname "n1" accept`, `iifname { "n1", "n2" } accept`, `oifname "uplink" goto y`, "ip daddr vmap @spans", `oifname != "n9" drop`,
			"ip daddr vmap { 10.0.0.4 : goto x, 10.0.0.5 : goto y }", "meta l4proto vmap { tcp : goto x, udp : goto y, 1 : accept }", "ip saddr vmap { 0.0.0.0-9.255.255.255 : goto x, 10.0.0.0/8 : drop, 11.0.0.0-255.255.255.255 : goto y }",
			"tcp dport vmap { 0-79 : goto x, 80 : accept, 81-65535 : goto y }", "th dport vmap { 0-79 : goto x, 80-65535 : goto y }", "th sport 80 th dport 443 accept", "meta l4proto { 6, 17 } th sport 80 th dport 443 accept", "tcp sport 80 tcp dport 443 accept",
			"limit rate 10/second accept", "limit rate 10/second burst 5 packets accept", "limit rate over 10/second burst 7 packets drop", "fib daddr type local accept", "fib saddr . iif oif missing drop",
			"jump x", "goto y", "return", "reject",
		),
		baseChain("forward", "forward", "goto forms"),
		fabric.Object{Kind: fabric.ChainObject, Name: "pre", Spec: []string{"type filter hook prerouting priority raw; policy accept;"}},
		fabric.Object{Kind: fabric.ChainObject, Name: "nat", Spec: []string{"type nat hook postrouting priority srcnat; policy accept;"},
			Lines: []string{`oifname "uplink" ip saddr 10.0.0.0/8 snat ip to 20.0.0.1`, `oifname "uplink" snat ip to ip saddr map { 10.0.0.4 : 20.0.0.1, 10.0.0.5 : 20.0.0.2 }`}},
		fabric.Object{Kind: fabric.ChainObject, Name: "out", Spec: []string{"type route hook output priority mangle; policy accept;"}, Lines: []string{"meta mark set ct mark"}},
	)
	// One rule at a time, so that a failure names it.
	forms := s.Namespaces[0].Objects[9]
	for i := range forms.Lines {
		o := append([]fabric.Object{}, s.Namespaces[0].Objects[:9]...)
		if err := d.Apply(t.Context(), oneSpace(append(o, chain("forms", forms.Lines[i]))...)); err != nil {
			t.Errorf("%s: %v", forms.Lines[i], err)
		}
	}
	if t.Failed() {
		return
	}
	if err := d.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTooManyFields(t *testing.T) {
	_, err := newRuleset([]fabric.Object{set(fabric.SetObject, "s", "type ipv4_addr . ipv4_addr . inet_service . inet_service . mark . mark")}, nil)
	if err == nil {
		t.Fatal("a concatenation of six fields was accepted")
	}
	_, err = newRuleset([]fabric.Object{chain("c", "iifname . ip saddr @a tcp dport . ip daddr @b meta mark . ip saddr . ip daddr . tcp sport . tcp dport @c accept")}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// stagedName is the name that an object was given in the kernel.
func stagedName(t testing.TB, d *Driver, ns, name string) string {
	t.Helper()
	for _, o := range d.space(ns).has.staged {
		if strings.HasPrefix(o.Name, name+".") {
			return o.Name
		}
	}
	t.Fatalf("%s has no object %s", ns, name)
	return ""
}

// A ruleset far beyond one netlink message is loaded and changed in pieces.
func TestLargeRuleset(t *testing.T) {
	d := newTestDriver(t, Config{})
	large := func(seed, rules, elems int) *fabric.State {
		var objects []fabric.Object
		var jumps []string
		for c := range 4 {
			var lines []string
			for i := range rules / 4 {
				lines = append(lines, fmt.Sprintf("ip saddr 10.%d.%d.%d tcp dport { 80, %d } accept", seed, i/250, i%250, 1000+i))
			}
			name := fmt.Sprintf("c_%d_%d", seed, c)
			objects = append(objects, chain(name, lines...))
			jumps = append(jumps, "jump "+name)
		}
		var lines []string
		for i := range elems {
			lines = append(lines, fmt.Sprintf("10.%d.%d.%d : goto c_%d_%d", seed, i/250, i%250, seed, i%4))
		}
		objects = append(objects, set(fabric.MapObject, fmt.Sprintf("m_%d", seed), "type ipv4_addr : verdict", lines...))
		return oneSpace(append(objects, baseChain("forward", "forward", append(jumps, fmt.Sprintf("ip saddr vmap @m_%d", seed))...))...)
	}
	for i, s := range []*fabric.State{large(1, 2000, 5000), large(2, 2000, 5000), large(3, 40, 100)} {
		if err := d.Apply(t.Context(), s); err != nil {
			t.Fatalf("state %d: %v", i, err)
		}
	}
	// The flip itself does not fit: one base chain with all the rules.
	var lines []string
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("ip saddr 10.9.%d.%d tcp dport { 80, %d } accept", i/250, i%250, 1000+i))
	}
	if err := d.Apply(t.Context(), oneSpace(baseChain("forward", "forward", lines...))); err != nil {
		t.Fatal(err)
	}
	tables, err := d.tables(d.space(fabric.RouterNS("v")))
	if err != nil || tables[gate] || !tables[table] {
		t.Fatalf("tables %v, %v: the gate must be gone", tables, err)
	}
}

// Somebody else's change of a rule is found, closes the namespace, and the next Apply repairs it.
func TestVerifyFindsDifference(t *testing.T) {
	d := newTestDriver(t, Config{})
	s := oneSpace(chain("x", "tcp dport 80 accept"), baseChain("forward", "forward", "goto x"))
	if err := d.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	sp := d.space(fabric.RouterNS("v"))
	if _, err := d.runNFT(t.Context(), sp, "add rule "+table+" "+stagedName(t, d, sp.name, "x")+" accept\n", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context()); err == nil {
		t.Fatal("a foreign rule was not found")
	}
	if tables, err := d.tables(sp); err != nil || !tables[gate] {
		t.Fatalf("tables %v, %v: want the closed gate", tables, err)
	}
	if err := d.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if tables, err := d.tables(sp); err != nil || tables[gate] {
		t.Fatalf("tables %v, %v: want the gate gone", tables, err)
	}
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}
