package linux

import (
	"errors"
	"fmt"
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

// routes makes the routes of a namespace what they should be. Missing and changed ones are set before
// stale ones go, so a destination that is reachable before and after is reachable in between.
func routes(h *netlink.Handle, want *desired) error {
	index, err := linkIndexes(h)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", want.Name, err)
	}
	wanted := map[slot]route{}
	var order []slot
	add := func(r route) {
		if _, twice := wanted[r.slot]; !twice {
			order = append(order, r.slot)
		}
		wanted[r.slot] = r
	}
	for _, p := range want.Local {
		add(route{slot: slot{unix.RT_TABLE_LOCAL, p.Masked()}, kind: unix.RTN_LOCAL, link: index[loopback]})
	}
	for _, r := range want.Routes {
		kr, err := kernelRoute(r, index)
		if err != nil {
			return fmt.Errorf("routes of %s: %w", want.Name, err)
		}
		add(kr)
	}
	have, err := listRoutes(h)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", want.Name, err)
	}
	// A gateway must be reachable when the route through it is added.
	slices.SortStableFunc(order, func(a, b slot) int {
		return rank(wanted[a]) - rank(wanted[b])
	})
	for _, s := range order {
		if have[s] == wanted[s] {
			continue
		}
		if err := h.RouteReplace(wanted[s].netlink()); err != nil {
			return fmt.Errorf("route %s of table %d of %s: %w", s.dst, s.table, want.Name, err)
		}
	}
	for s, r := range have {
		if _, ok := wanted[s]; ok {
			continue
		}
		if err := h.RouteDel(r.netlink()); err != nil && !gone(err) {
			return fmt.Errorf("delete route %s of table %d of %s: %w", s.dst, s.table, want.Name, err)
		}
	}
	return nil
}

func rank(r route) int {
	if r.via.IsValid() {
		return 1
	}
	return 0
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
		if r.kind != unix.RTN_BLACKHOLE {
			r.link = n.LinkIndex
		}
		r.via, _ = netip.AddrFromSlice(n.Gw)
		r.src, _ = netip.AddrFromSlice(n.Src)
		r.via, r.src = r.via.Unmap(), r.src.Unmap()
		m[r.slot] = r
	}
	return m, nil
}

// The kernel's own policy rules: local, main and default.
var kernelRules = []int{0, 32766, 32767}

// policyRules makes the policy routing rules of a namespace what they should be.
func policyRules(h *netlink.Handle, want *desired) error {
	list, err := retryDump(func() ([]netlink.Rule, error) { return h.RuleList(netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("policy rules of %s: %w", want.Name, err)
	}
	have := map[fabric.PolicyRule]netlink.Rule{}
	for _, r := range list {
		if !slices.Contains(kernelRules, r.Priority) {
			have[fabric.PolicyRule{Priority: r.Priority, IIF: r.IifName, FwMark: r.Mark, FwMask: markMask(r), Table: r.Table}] = r
		}
	}
	for _, p := range want.Rules {
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

// markMask is the mask of a rule's mark as PolicyRule has it.
func markMask(r netlink.Rule) uint32 {
	if r.Mask == nil || *r.Mask == math.MaxUint32 {
		return 0
	}
	return *r.Mask
}
