package azurefirewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// span is an inclusive range of IPv4 addresses.
type span struct{ lo, hi netip.Addr }

// ParseAddress reads what a rule or an IP group may have as an address: an IPv4 address, a CIDR or a range
// "a-b".
func ParseAddress(text string) (lo, hi netip.Addr, err error) {
	if a, b, ok := strings.Cut(text, "-"); ok {
		if lo, err = netip.ParseAddr(strings.TrimSpace(a)); err == nil {
			hi, err = netip.ParseAddr(strings.TrimSpace(b))
		}
		if err != nil || !lo.Is4() || !hi.Is4() || hi.Less(lo) {
			return lo, hi, fmt.Errorf("%q is no range of IPv4 addresses", text)
		}
		return lo, hi, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return a, a, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return lo, hi, fmt.Errorf("%q is no IPv4 address, CIDR or range", text)
	}
	return p.Masked().Addr(), last(p), nil
}

func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// addresses is a set of addresses; any stands for all of them.
type addresses struct {
	any   bool
	spans []span // sorted, disjoint
}

// TagSource gives the prefixes of a service tag, in any letter case; false for one that does not exist.
type TagSource func(tag string) ([]netip.Prefix, bool)

func parseAddresses(texts []string, tags TagSource) (a addresses, err error) {
	for _, t := range texts {
		if t == "*" {
			a.any = true
			continue
		}
		lo, hi, err := ParseAddress(t)
		if err == nil {
			a.spans = append(a.spans, span{lo, hi})
			continue
		}
		var prefixes []netip.Prefix
		known := false
		if tags != nil {
			prefixes, known = tags(t)
		}
		if !known {
			return a, err
		}
		for _, p := range prefixes {
			if p.Addr().Is4() {
				a.spans = append(a.spans, span{p.Masked().Addr(), last(p)})
			}
		}
	}
	a.join()
	return a, nil
}

func spansOf(prefixes []netip.Prefix) (a addresses) {
	for _, p := range prefixes {
		a.spans = append(a.spans, span{p.Masked().Addr(), last(p)})
	}
	a.join()
	return a
}

// join sorts the spans and makes overlapping ones one.
func (a *addresses) join() {
	slices.SortFunc(a.spans, func(x, y span) int { return x.lo.Compare(y.lo) })
	var out []span
	for _, s := range a.spans {
		if n := len(out); n > 0 && !out[n-1].hi.Less(s.lo) {
			if out[n-1].hi.Less(s.hi) {
				out[n-1].hi = s.hi
			}
			continue
		}
		out = append(out, s)
	}
	a.spans = out
}

func (a *addresses) contains(x netip.Addr) bool {
	if a.any {
		return true
	}
	i, found := slices.BinarySearchFunc(a.spans, x, func(s span, x netip.Addr) int { return s.lo.Compare(x) })
	return found || i > 0 && !a.spans[i-1].hi.Less(x)
}

// ports is a set of ports; any stands for all of them, and for packets that have none.
type ports struct {
	any    bool
	ranges [][2]uint16
}

// ParsePort reads "443" or "100-200".
func ParsePort(text string) (lo, hi uint16, err error) {
	first, second, ranged := strings.Cut(text, "-")
	if !ranged {
		second = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(second, 10, 16)
	if err1 != nil || err2 != nil || a > b {
		return 0, 0, fmt.Errorf("%q is no port or range of ports", text)
	}
	return uint16(a), uint16(b), nil
}

func parsePorts(texts []string) (p ports, err error) {
	for _, t := range texts {
		if t == "*" {
			p.any = true
			continue
		}
		lo, hi, err := ParsePort(t)
		if err != nil {
			return p, err
		}
		p.any = p.any || lo == 0 && hi == 65535
		p.ranges = append(p.ranges, [2]uint16{lo, hi})
	}
	return p, nil
}

func (p *ports) contains(x uint16) bool {
	return p.any || slices.ContainsFunc(p.ranges, func(r [2]uint16) bool { return r[0] <= x && x <= r[1] })
}

// has says whether a rule's protocols are spoken by a packet of this one.
func has(list []Protocol, p Protocol) bool {
	return slices.ContainsFunc(list, func(x Protocol) bool {
		return strings.EqualFold(string(x), string(Any)) || strings.EqualFold(string(x), string(p))
	})
}
