package linux

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/fabric"
	"vauban.dev/fabric/internal/interval"
)

// BenchmarkKinds are the security groups that MeasureTCPSetup knows: a way to write rules, and how many.
//   - tags: rules as people write them; addresses are service tags of up to 400 prefixes, the VNet, subnets, hosts or
//     anything.
//   - narrow: prefixes of 24 to 32 bits, most rules with a single port.
//   - ports: anything to anything, on a port of its own.
//   - adversarial: random halves of the address space and of the ports, which all overlap.
var BenchmarkKinds = [...]string{"tags-10", "tags-100", "tags-300", "narrow-100", "narrow-1000", "ports-1000", "adversarial-100", "adversarial-300"}

// benchTags are made-up service tags.
type benchTags map[string][]netip.Prefix

func (t benchTags) Prefixes(tag string) ([]netip.Prefix, bool) {
	p, ok := t[tag]
	return p, ok
}

// benchRules makes the NSG of a kind: the same for every run. Its last rule is the first that matches
// the measured connection.
func benchRules(kind string) (*fabric.NSG, fabric.TagSource, error) {
	g := &ruleGenerator{Rand: rand.New(rand.NewPCG(1, 2)), tags: benchTags{}}
	way, count, _ := strings.Cut(kind, "-")
	next := map[string]func() fabric.Rule{"tags": g.tagged, "narrow": g.narrow, "ports": g.port, "adversarial": g.adversarial}[way]
	n, err := strconv.Atoi(count)
	if next == nil || err != nil || !slices.Contains(BenchmarkKinds[:], kind) {
		return nil, nil, fmt.Errorf("unknown kind of security group %q: want one of %v", kind, BenchmarkKinds)
	}
	nsg := &fabric.NSG{ID: "bench-" + kind}
	for _, d := range []fabric.Direction{fabric.Inbound, fabric.Outbound} {
		for i := 0; i < n-1; {
			r := next()
			r.Name, r.Priority, r.Direction, r.Protocol = fmt.Sprintf("rule-%d", i), 100+i, d, fabric.TCP
			r.SourcePorts = []string{"*"}
			if !matchesBench(&r) {
				nsg.Rules = append(nsg.Rules, r)
				i++
			}
		}
		nsg.Rules = append(nsg.Rules, fabric.Rule{
			Name: "the-connection", Priority: 100 + n, Direction: d, Allow: true, Protocol: fabric.TCP,
			Source: []string{benchClient.String()}, Destination: []string{benchServer.String()},
			SourcePorts: []string{"*"}, DestinationPorts: []string{fmt.Sprint(benchPort)},
		})
	}
	return nsg, g.tags, nil
}

// matchesBench tells whether a generated rule would decide about the measured connection.
func matchesBench(r *fabric.Rule) bool {
	has := func(list []string, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(s string) bool {
			p, err := netip.ParsePrefix(s)
			return s == "*" || s == "VirtualNetwork" || s == a.String() || (err == nil && p.Contains(a))
		})
	}
	port := slices.ContainsFunc(r.DestinationPorts, func(s string) bool {
		var lo, hi int
		n, _ := fmt.Sscanf(s, "%d-%d", &lo, &hi)
		return s == "*" || (n == 1 && lo == benchPort) || (n == 2 && lo <= benchPort && benchPort <= hi)
	})
	return port && has(r.Source, benchClient) && has(r.Destination, benchServer)
}

type ruleGenerator struct {
	*rand.Rand
	tags    benchTags
	ordinal int
}

// narrow is like a firewall's list: a prefix of its own on each side, and a port.
func (g *ruleGenerator) narrow() fabric.Rule {
	addr := func() string {
		if g.IntN(20) == 0 {
			return "*"
		}
		return g.prefix(10, [...]int{24, 28, 32, 32}[g.IntN(4)])
	}
	r := fabric.Rule{Allow: g.IntN(2) == 0, Source: []string{addr()}, Destination: []string{addr()}, DestinationPorts: g.ports()}
	if g.IntN(2) == 0 {
		r.DestinationPorts = []string{fmt.Sprint(1 + g.IntN(65535))}
	}
	return r
}

// port is a rule for one port, whoever speaks to whomever. Each has its own: they cannot be put together.
func (g *ruleGenerator) port() fabric.Rule {
	g.ordinal++
	return fabric.Rule{Allow: g.ordinal%2 == 0, Source: []string{"*"}, Destination: []string{"*"}, DestinationPorts: []string{fmt.Sprint(10000 + 7*g.ordinal)}}
}

// adversarial is a rule for a random part of everything: what cuts best is different for each pair of rules.
func (g *ruleGenerator) adversarial() fabric.Rule {
	span := func(end uint32) interval.Set {
		a, b := g.Uint32N(end), g.Uint32N(end)
		return interval.New(interval.Interval{Lo: min(a, b), Hi: max(a, b)})
	}
	addrs := func() (out []string) {
		for _, p := range span(interval.Max).Prefixes() {
			out = append(out, p.String())
		}
		return out
	}
	ports := span(1 << 16)[0]
	return fabric.Rule{Allow: g.IntN(2) == 0, Source: addrs(), Destination: addrs(), DestinationPorts: []string{fmt.Sprintf("%d-%d", ports.Lo, ports.Hi)}}
}

// tagged is a rule with any kind of address that the portal offers.
func (g *ruleGenerator) tagged() fabric.Rule {
	addrs := func() []string {
		switch g.IntN(10) {
		case 0, 1, 2:
			return []string{"*"}
		case 3, 4:
			return []string{"VirtualNetwork"}
		case 5, 6:
			return []string{fmt.Sprintf("10.200.%d.0/24", g.IntN(16))}
		case 7:
			return []string{g.tag()}
		case 8:
			return []string{fmt.Sprintf("10.200.%d.%d", g.IntN(16), g.IntN(256))}
		}
		var list []string
		for range 1 + g.IntN(5) {
			list = append(list, g.prefix(1+g.IntN(200), 16+g.IntN(17)))
		}
		return list
	}
	return fabric.Rule{Allow: g.IntN(2) == 0, Source: addrs(), Destination: addrs(), DestinationPorts: g.ports()}
}

// tagSizes are the numbers of prefixes of the tags.
var tagSizes = [...]int{5, 10, 20, 40, 60, 100, 200, 400}

func (g *ruleGenerator) tag() string {
	i := g.IntN(len(tagSizes))
	name := fmt.Sprintf("Tag%d", tagSizes[i])
	for len(g.tags[name]) < tagSizes[i] {
		g.tags[name] = append(g.tags[name], netip.MustParsePrefix(g.prefix(20+g.IntN(30), 14+g.IntN(15))))
	}
	return name
}

func (g *ruleGenerator) ports() []string {
	common := [...]string{"22", "80", "443", "445", "1433", "3389", "5432", "8080", "8443", "8787", "18881", "44224", "29876"}
	switch g.IntN(8) {
	case 0, 1:
		return []string{"*"}
	case 2:
		lo := g.IntN(60000)
		return []string{fmt.Sprintf("%d-%d", lo, lo+g.IntN(5000))}
	case 3:
		return []string{common[g.IntN(13)], common[g.IntN(13)], common[g.IntN(13)]}
	}
	return []string{common[g.IntN(13)]}
}

// prefix is a random one under the first byte.
func (g *ruleGenerator) prefix(first, bits int) string {
	a := netip.AddrFrom4([4]byte{byte(first), byte(g.IntN(256)), byte(g.IntN(256)), byte(g.IntN(256))})
	return netip.PrefixFrom(a, bits).Masked().String()
}
