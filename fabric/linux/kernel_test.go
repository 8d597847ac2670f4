package linux

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"vauban.dev/fabric"
)

// dump reads everything that a driver is to make, as text that is equal for equal networks.
func dump(t testing.TB, d *Driver) string {
	t.Helper()
	var out []string
	names := d.names()
	slices.Sort(names)
	for _, name := range names {
		s := d.space(name)
		var lines []string
		add := func(format string, a ...any) { lines = append(lines, name+" "+fmt.Sprintf(format, a...)) }
		h, err := d.handle(s)
		if err != nil {
			t.Fatal(err)
		}
		list, err := h.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		link := map[int]string{}
		for _, l := range list {
			a := l.Attrs()
			link[a.Index] = a.Name
			add("link %s %s %s up=%v", a.Name, l.Type(), a.HardwareAddr, up(l))
			addrs, err := listAddresses(h, l)
			if err != nil {
				t.Fatal(err)
			}
			for p := range addrs {
				add("addr %s %s", a.Name, p)
			}
		}
		rs, err := listRoutes(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			add("route %d %d %s via %v dev %s src %v", r.table, r.kind, r.dst, r.via, link[r.link], r.src)
		}
		policy, err := h.RuleList(netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range policy {
			p := policyRule(r)
			add("rule %d iif %s mark %d/%#x table %d", p.Priority, p.IIF, p.FwMark, p.FwMask, p.Table)
		}
		h.Close()
		have, err := d.list(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, o := range have {
			add("%s %s { %s | %s }", k.kind, k.name, o.spec, strings.Join(o.lines, "; "))
		}
		tables, err := d.tables(s)
		if err != nil {
			t.Fatal(err)
		}
		add("tables %v", slices.Sorted(maps.Keys(tables)))
		sort.Strings(lines)
		out = append(out, lines...)
	}
	return strings.Join(out, "\n")
}

func apply(t testing.TB, d *Driver, s *fabric.State) {
	t.Helper()
	if err := d.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func nic(id string) fabric.Place { return fabric.Place{Kind: fabric.AtNIC, ID: id} }

func router(id string) fabric.Place { return fabric.Place{Kind: fabric.AtRouter, ID: id} }

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
