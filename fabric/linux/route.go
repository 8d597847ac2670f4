package linux

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// routeProtocol marks the routes that a Driver made (rtm_protocol; the kernel and the known routing
// daemons use other numbers).
const routeProtocol = netlink.RouteProtocol(86)

// route is a route in comparable form. Two routes with the same slot replace each other.
type route struct {
	slot
	kind int
	via  netip.Addr
	link int
	src  netip.Addr
}

type slot struct {
	table int
	dst   netip.Prefix
}

// routing makes the routes and policy rules of a namespace what they should be, in an order that takes no
// packet past a table that is meant for it: the tables of policy rules are filled, then the rules lead to
// them, then the namespace's own routes are set, and stale ones go last, so that a destination that is
// reachable before and after is reachable in between.
func routing(h *netlink.Handle, want *desired) error {
	wanted, err := wantedRoutes(h, want)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", want.Name, err)
	}
	have, err := listRoutes(h)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", want.Name, err)
	}
	set := func(which func(route) bool) error {
		for _, r := range wanted {
			if !which(r) || have[r.slot] == r {
				continue
			}
			if err := h.RouteReplace(r.netlink()); err != nil {
				return fmt.Errorf("route %s of table %d of %s: %w", r.dst, r.table, want.Name, err)
			}
		}
		return nil
	}
	if err := set(route.policy); err != nil {
		return err
	}
	if err := policyRules(h, want); err != nil {
		return err
	}
	if err := set(func(r route) bool { return !r.policy() }); err != nil {
		return err
	}
	for _, r := range wanted {
		delete(have, r.slot)
	}
	for s, r := range have {
		if err := h.RouteDel(r.netlink()); err != nil && !gone(err) {
			return fmt.Errorf("delete route %s of table %d of %s: %w", s.dst, s.table, want.Name, err)
		}
	}
	return nil
}

// wantedRoutes lists each slot once, in the order in which they can be set: of several the last one wins.
func wantedRoutes(h *netlink.Handle, want *desired) ([]route, error) {
	index, err := linkIndexes(h)
	if err != nil {
		return nil, err
	}
	wanted := map[slot]route{}
	for _, p := range want.Local {
		r := route{slot: slot{unix.RT_TABLE_LOCAL, p.Masked()}, kind: unix.RTN_LOCAL, link: index[loopback]}
		wanted[r.slot] = r
	}
	for _, r := range want.Routes {
		kr, err := kernelRoute(r, index)
		if err != nil {
			return nil, err
		}
		wanted[kr.slot] = kr
	}
	return slices.SortedFunc(maps.Values(wanted), func(a, b route) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.table, b.table), a.dst.Addr().Compare(b.dst.Addr()), cmp.Compare(a.dst.Bits(), b.dst.Bits()))
	}), nil
}

// policy tells whether the route is in a table that only policy rules lead to.
func (r route) policy() bool { return r.table != unix.RT_TABLE_MAIN && r.table != unix.RT_TABLE_LOCAL }

// rank: local addresses first, some routes have them as their source; those through a gateway last, it must
// be reachable.
func rank(r route) int {
	switch {
	case r.kind == unix.RTN_LOCAL:
		return 0
	case !r.via.IsValid():
		return 1
	}
	return 2
}

func linkIndexes(h *netlink.Handle) (map[string]int, error) {
	list, err := retryDump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	m := make(map[string]int, len(list))
	for _, l := range list {
		m[l.Attrs().Name] = l.Attrs().Index
	}
	return m, nil
}

// kernelRoute is r with numbers for names.
func kernelRoute(r fabric.Route, index map[string]int) (route, error) {
	k := route{slot: slot{r.Table, r.Dst.Masked()}, via: r.Via, src: r.Src}
	if k.table == 0 {
		k.table = unix.RT_TABLE_MAIN
	}
	switch r.Type {
	case "blackhole":
		k.kind = unix.RTN_BLACKHOLE
		return k, nil
	case "unreachable":
		k.kind = unix.RTN_UNREACHABLE
		return k, nil
	case "throw":
		k.kind = unix.RTN_THROW
		return k, nil
	case "unicast", "":
		k.kind = unix.RTN_UNICAST
	case "local":
		k.kind = unix.RTN_LOCAL
	default:
		return k, fmt.Errorf("route %s: unknown type %q", r.Dst, r.Type)
	}
	if k.link = index[r.Dev]; k.link == 0 {
		return k, fmt.Errorf("route %s: no interface %q", r.Dst, r.Dev)
	}
	return k, nil
}

func (r route) netlink() *netlink.Route {
	n := &netlink.Route{
		Family: netlink.FAMILY_V4, Table: r.table, Type: r.kind, Protocol: routeProtocol,
		LinkIndex: r.link, Dst: ipNet(r.dst),
	}
	switch {
	case r.kind == unix.RTN_LOCAL:
		n.Scope = netlink.SCOPE_HOST
	case r.kind == unix.RTN_UNICAST && !r.via.IsValid():
		n.Scope = netlink.SCOPE_LINK
	}
	if r.via.IsValid() {
		n.Gw = r.via.AsSlice()
		if r.policy() {
			n.Flags = int(netlink.FLAG_ONLINK)
		}
	}
	if r.src.IsValid() {
		n.Src = r.src.AsSlice()
	}
	return n
}

// listRoutes reads the IPv4 routes that a Driver made, of all tables.
func listRoutes(h *netlink.Handle) (map[slot]route, error) {
	list, err := retryDump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_V4,
			&netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: routeProtocol},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	m := make(map[slot]route, len(list))
	for _, n := range list {
		if n.Protocol != routeProtocol {
			continue
		}
		dst, ok := prefix(n.Dst)
		if !ok {
			dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		r := route{slot: slot{n.Table, dst}, kind: n.Type}
		if r.kind == unix.RTN_UNICAST || r.kind == unix.RTN_LOCAL {
			r.link = n.LinkIndex
		}
		r.via, _ = netip.AddrFromSlice(n.Gw)
		r.src, _ = netip.AddrFromSlice(n.Src)
		r.via, r.src = r.via.Unmap(), r.src.Unmap()
		m[r.slot] = r
	}
	return m, nil
}

// The kernel's own policy rules: local, main and default. Local is the first, unless a wanted rule takes its
// place.
var kernelRules = []int{0, 32766, 32767}

// policyRules makes the policy routing rules of a namespace what they should be. Missing ones are added before
// stale ones go: of two with the same preference the older one is asked first, so the change is at once.
func policyRules(h *netlink.Handle, want *desired) error {
	list, err := retryDump(func() ([]netlink.Rule, error) { return h.RuleList(netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("policy rules of %s: %w", want.Name, err)
	}
	have := map[fabric.PolicyRule]netlink.Rule{}
	for _, r := range list {
		if r.Priority == 0 || !slices.Contains(kernelRules, r.Priority) {
			have[policyRule(r)] = r
		}
	}
	wanted := slices.Clone(want.Rules)
	if !slices.ContainsFunc(wanted, func(p fabric.PolicyRule) bool { return p.Table == fabric.LocalTable }) {
		wanted = append(wanted, fabric.PolicyRule{Table: fabric.LocalTable})
	}
	for _, p := range wanted {
		if p.FwMark != 0 && p.FwMask == 0 {
			p.FwMask = math.MaxUint32
		}
		if _, ok := have[p]; ok {
			delete(have, p)
			continue
		}
		r := netlink.NewRule()
		r.Family, r.Priority, r.IifName, r.Mark, r.Table = netlink.FAMILY_V4, p.Priority, p.IIF, p.FwMark, p.Table
		if p.FwMask != 0 {
			r.Mask = &p.FwMask
		}
		if err := h.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("policy rule %d of %s: %w", p.Priority, want.Name, err)
		}
	}
	for p, r := range have {
		if err := h.RuleDel(&r); err != nil && !gone(err) {
			return fmt.Errorf("delete policy rule %d of %s: %w", p.Priority, want.Name, err)
		}
	}
	return nil
}

// policyRule is a kernel's rule in comparable form.
func policyRule(r netlink.Rule) fabric.PolicyRule {
	p := fabric.PolicyRule{Priority: r.Priority, IIF: r.IifName, FwMark: r.Mark, Table: r.Table}
	if r.Mask != nil && r.Mark != 0 {
		p.FwMask = *r.Mask
	}
	return p
}
