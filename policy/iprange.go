package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// rangeContains says whether an address range holds another: an address, a prefix, or first-last.
func rangeContains(outer, inner string) (bool, error) {
	a, b, err := parseRange(outer)
	if err != nil {
		return false, err
	}
	c, d, err := parseRange(inner)
	if err != nil {
		return false, err
	}
	if a.Is4() != c.Is4() {
		return false, fmt.Errorf("the ranges '%s' and '%s' are of different address families", shorten(outer), shorten(inner))
	}
	return a.Compare(c) <= 0 && d.Compare(b) <= 0, nil
}

func parseRange(s string) (first, last netip.Addr, err error) {
	bad := fmt.Errorf("'%s' is not a range of addresses", shorten(s))
	s = strings.TrimSpace(s)
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().Addr(), lastOf(p), nil
	}
	from, to, between := strings.Cut(s, "-")
	if first, err = netip.ParseAddr(strings.TrimSpace(from)); err != nil || first.Zone() != "" {
		return first, last, bad
	}
	if !between {
		return first, first, nil
	}
	last, err = netip.ParseAddr(strings.TrimSpace(to))
	if err != nil || last.Zone() != "" || first.Is4() != last.Is4() || last.Less(first) {
		return first, last, bad
	}
	return first, last, nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
