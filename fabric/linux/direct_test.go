package linux

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"

	"vauban.dev/fabric"
)

// withoutNFT applies a state while there is no nft program.
func withoutNFT(t *testing.T, d *Driver, s *fabric.State) {
	t.Helper()
	nft := d.nft
	d.nft = "/nonexistent"
	defer func() { d.nft = nft }()
	apply(t, d, s)
}

// Security groups of every kind are put in place, changed and taken away without nft, which then lists what was wanted.
func TestGroupsChangeWithoutNFT(t *testing.T) {
	for _, kind := range []string{"tags-10", "tags-100", "narrow-100", "narrow-1000", "ports-1000", "adversarial-100"} {
		t.Run(kind, func(t *testing.T) {
			nsg, tags, err := benchRules(kind)
			if err != nil {
				t.Fatal(err)
			}
			d := newTestDriver(t, Config{})
			compile := func(nsg *fabric.NSG) *fabric.State {
				s, err := fabric.Compile(benchTopology(nsg, tags))
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			open := compile(&fabric.NSG{ID: nsg.ID})
			apply(t, d, open)
			before := dump(t, d)
			one := *nsg
			one.Rules = append([]fabric.Rule{{Name: "first", Priority: 100, Protocol: fabric.AnyProtocol, Source: []string{"*"}, SourcePorts: []string{"*"},
				Destination: []string{"0.0.0.0/1", "255.255.255.0/24"}, DestinationPorts: []string{"0-79", "65535"}}}, nsg.Rules...)
			for i := range one.Rules[1:] {
				one.Rules[i+1].Priority++
			}
			for _, g := range []*fabric.NSG{nsg, &one} {
				withoutNFT(t, d, compile(g))
				if err := d.Verify(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			withoutNFT(t, d, open)
			if after := dump(t, d); after != before {
				t.Errorf("what was taken away is not gone:\n%s", after)
			}
		})
	}
}

// Every form that is encoded here lists as what nft makes of it, and reads back as what was sent.
func TestEncodedForms(t *testing.T) {
	base := baseChain("forward", "forward", "accept")
	forms := []string{
		"ip saddr 10.0.0.1 return", "ip daddr 10.0.0.0/24 drop", "ip saddr 10.0.0.0-10.0.0.9 ip daddr 0.0.0.0-9.255.255.255 accept",
		"ip saddr 255.255.255.0-255.255.255.255 return", "th sport 0-79 th dport 65535 return", "meta l4proto 6 ip saddr 10.0.0.1 th dport 1-2 return",
		"meta l4proto { 6, 17 } th dport { 0, 5-7, 65535 } return", "ip saddr { 10.0.0.1, 10.0.0.7 } drop",
		"ip saddr { 0.0.0.0-9.255.255.255, 11.0.0.0-255.255.255.255 } drop", "ip saddr @one ip daddr @many goto x", "th dport @ports jump x",
		"ip saddr vmap { 10.0.0.1 : goto x, 10.0.0.2 : return }", "ip daddr vmap { 0.0.0.0-9.255.255.255 : drop, 10.0.0.0-10.0.0.255 : jump x, 255.0.0.0-255.255.255.255 : accept }",
		"th dport vmap { 80 : goto x, 81-65535 : return }", "th sport vmap @exact", "ip daddr vmap @spans",
		`counter name "k" log prefix "k" group 5 snaplen 128 drop`, "goto x", "return",
	}
	objects := []fabric.Object{
		counter("k"), chain("x", "return"),
		set(fabric.SetObject, "one", "type ipv4_addr; flags interval", "10.0.0.4"),
		set(fabric.SetObject, "many", "type ipv4_addr; flags interval", "0.0.0.0-0.0.0.255", "10.0.0.0-10.0.0.3", "10.0.0.5", "200.0.0.0-255.255.255.255"),
		set(fabric.SetObject, "ports", "type inet_service; flags interval", "0-1", "80", "1024-65535"),
		set(fabric.MapObject, "exact", "type inet_service : verdict; size 2", "80 : goto x", "81 : drop"),
		set(fabric.MapObject, "spans", "type ipv4_addr : verdict; flags interval", "0.0.0.0-9.255.255.255 : goto x", "10.0.0.0-10.0.0.255 : return", "255.255.255.255 : drop"),
		chain("forms", forms...),
	}
	d := newTestDriver(t, Config{})
	apply(t, d, oneSpace(append(objects, base)...))
	want := dump(t, d)
	apply(t, d, oneSpace(base))
	withoutNFT(t, d, oneSpace(append(objects, base)...))
	if got := dump(t, d); got != want {
		t.Errorf("encoded here:\n%s\nby nft:\n%s", got, want)
	}
	for _, line := range []string{"ip saddr != 10.0.0.1 drop", "ip saddr . ip daddr @pairs drop", "ip ttl < 4 drop", "meta mark 1 drop", "th dport 65536 drop",
		"ip saddr 80 drop", "th dport 10.0.0.1 drop", "ip saddr 10.0.0.9-10.0.0.1 drop", "return drop", "goto", "log prefix \"k\" drop", "ip saddr { 10.0.0.1-10.0.0.9, 10.0.0.5 } drop",
		"ip saddr vmap 10.0.0.1", "ip saddr { 10.0.0.1 : drop } accept", "ip", ""} {
		if e, err := encodeRule(line); err == nil && line != "" {
			t.Errorf("%q became %v", line, e)
		}
	}
}

// What differs from what was loaded is seen when it is read back.
func TestReadBackOfAChange(t *testing.T) {
	before := oneSpace(baseChain("forward", "forward", "accept"))
	after := oneSpace(counter("k"),
		set(fabric.SetObject, "s", "type ipv4_addr; flags interval", "10.0.0.4-10.0.0.9"),
		set(fabric.MapObject, "m", "type inet_service : verdict; size 100", "80 : drop", "81 : return"),
		chain("x", "ip saddr @s drop", "th dport { 80, 90-99 } accept", `counter name "k" log prefix "k" group 5 snaplen 128 drop`),
		chain("y", "th dport vmap @m"),
		baseChain("forward", "forward", "accept"))
	for name, spoil := range map[string]string{
		"":                     "",
		"a rule more":          "add rule {t} {x} accept",
		"a rule first":         "insert rule {t} {x} accept",
		"no rules":             "flush chain {t} {x}",
		"an element more":      "add element {t} {s} { 10.0.1.1 }",
		"no elements":          "flush set {t} {s}",
		"another verdict":      "delete element {t} {m} { 80 : drop }\nadd element {t} {m} { 80 : accept }",
		"another counter":      "add counter {t} other\nflush chain {t} {x}\nadd rule {t} {x} ip saddr @{s} drop\nadd rule {t} {x} th dport { 80, 90-99 } accept\nadd rule {t} {x} counter name other log prefix \"k\" group 5 snaplen 128 drop",
		"other ports":          "flush chain {t} {x}\nadd rule {t} {x} ip saddr @{s} drop\nadd rule {t} {x} th dport { 80, 90-98 } accept\nadd rule {t} {x} counter name k log prefix \"k\" group 5 snaplen 128 drop",
		"an interval for size": "flush chain {t} {y}\nadd map {t} other { type inet_service : verdict; flags interval; }\nadd rule {t} {y} th dport vmap @other",
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDriver(t, Config{})
			apply(t, d, before)
			all, err := collect(after)
			if err != nil {
				t.Fatal(err)
			}
			s, want := d.space(fabric.RouterNS("v")), all[fabric.RouterNS("v")]
			if err := want.stage(nil); err != nil {
				t.Fatal(err)
			}
			p, ok := newPlan(s.rules, want.rules, want.staged)
			x := newDirect(p)
			if !ok || x == nil {
				t.Fatal("the change is not encoded")
			}
			if err := d.changeDirectly(s, x, s.gen); err != nil {
				t.Fatal(err)
			}
			names := []string{"{t}", table}
			for _, o := range want.staged {
				if n, _, staged := strings.Cut(o.Name, "."); staged {
					names = append(names, "{"+n+"}", o.Name)
				}
			}
			text := strings.NewReplacer(names...).Replace(spoil) + "\n"
			if _, err := d.runNFT(t.Context(), s, text, "-f", "-"); err != nil {
				t.Fatal(err)
			}
			diff := ""
			err = d.withNetfilter(s, func(c *netlink.Conn) (err error) {
				diff, err = x.loaded.check(c)
				return err
			})
			if err != nil || (diff == "") != (spoil == "") {
				t.Fatalf("difference %q, %v", diff, err)
			}
		})
	}
}

// A change that meets another's is not taken for what is there.
func TestChangeMeetsAnother(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, oneSpace(baseChain("forward", "forward", "accept")))
	s := d.space(fabric.RouterNS("v"))
	x := &direct{loaded: newLoaded()}
	if err := d.changeDirectly(s, x, s.gen); err != nil {
		t.Fatal(err)
	}
	if _, err := d.runNFT(t.Context(), s, "add chain "+table+" foreign\n", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if err := d.changeDirectly(s, x, s.gen); err == nil {
		t.Fatal("the other change was not seen")
	}
	apply(t, d, oneSpace(chain("x", "return"), baseChain("forward", "forward", "accept")))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func FuzzEncodeRule(f *testing.F) {
	f.Add("ip saddr 10.0.0.1 th dport vmap { 80 : goto x, 81-90 : return }")
	f.Fuzz(func(t *testing.T, line string) {
		rule, err := encodeRule(line)
		if err == nil && len(rule) == 0 && strings.TrimSpace(strings.ReplaceAll(line, ";", "")) != "" {
			t.Fatal(fmt.Sprintf("%q became nothing", line))
		}
	})
}
