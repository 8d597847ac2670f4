package audit

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/fabric"
)

// span is a range of ports, both ends included.
type span struct{ lo, hi uint16 }

// openPorts are the ports of a protocol that a flow from a place to an address passes with: every range that the
// rules on its way tell apart is tried once, so the answer is exact.
func openPorts(t *fabric.Topology, from fabric.Place, dst netip.Addr, protocol fabric.Protocol) []span {
	var out []span
	for _, s := range spans(t) {
		e := fabric.Explain(t, fabric.Flow{From: from, Dst: dst, Protocol: protocol, SrcPort: sourcePort, DstPort: s.lo})
		if e.Verdict != fabric.Allowed {
			continue
		}
		if n := len(out); n > 0 && out[n-1].hi+1 == s.lo {
			out[n-1].hi = s.hi
			continue
		}
		out = append(out, s)
	}
	return out
}

// sourcePort stands for one that a client's kernel chooses.
const sourcePort = 40000

// spans cuts the ports where some rule of the topology, a balancing rule or an endpoint tells them apart.
func spans(t *fabric.Topology) []span {
	cuts := map[int]bool{1: true}
	add := func(lo, hi int) { cuts[lo], cuts[hi+1] = true, true }
	for _, g := range t.NSGs {
		for _, r := range g.Rules {
			for _, text := range r.DestinationPorts {
				lo, hi, isRange := strings.Cut(text, "-")
				if !isRange {
					hi = lo
				}
				a, err1 := strconv.Atoi(lo)
				b, err2 := strconv.Atoi(hi)
				if err1 == nil && err2 == nil {
					add(a, b)
				}
			}
		}
	}
	for _, b := range t.LoadBalancers {
		for _, r := range b.Rules {
			add(int(r.Port), int(r.Port))
		}
		for _, r := range b.NATRules {
			add(int(r.Port), int(r.Port))
		}
	}
	for _, v := range t.VNets {
		for _, n := range v.NICs {
			if n.Service != nil {
				for _, p := range n.Service.Ports {
					add(int(p), int(p))
				}
			}
		}
	}
	starts := slices.DeleteFunc(slices.Sorted(maps.Keys(cuts)), func(p int) bool { return p < 1 || p > 65535 })
	var out []span
	for i, lo := range starts {
		hi := 65535
		if i+1 < len(starts) {
			hi = starts[i+1] - 1
		}
		out = append(out, span{uint16(lo), uint16(hi)})
	}
	return out
}

func (s span) String() string {
	if s.lo == s.hi {
		return strconv.Itoa(int(s.lo))
	}
	return fmt.Sprintf("%d-%d", s.lo, s.hi)
}

// describe is "every port", or the ranges.
func describe(all []span) string {
	if len(all) == 1 && all[0] == (span{1, 65535}) {
		return "every port"
	}
	var out []string
	for _, s := range all {
		out = append(out, s.String())
	}
	word := "ports "
	if len(out) == 1 && !strings.Contains(out[0], "-") {
		word = "port "
	}
	return word + strings.Join(out, ", ")
}

// favourite is the port of some ranges to try: the wanted one if it is among them.
func favourite(all []span, wanted uint16) uint16 {
	for _, s := range all {
		if s.lo <= wanted && wanted <= s.hi {
			return wanted
		}
	}
	return all[0].lo
}
