package fabric

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"vauban.dev/fabric/internal/diagram"
	"vauban.dev/fabric/internal/interval"
)

// Compile turns a topology into the kernel state that enforces it. It is a pure function: equal
// topologies give equal states, whatever the order of their parts. The error is a *TopologyError.
func Compile(t *Topology) (*State, error) { return NewCompiler().Compile(t) }

// Compiler compiles one version of a topology after another and keeps the diagrams of rule lists that
// did not change, which is where the time goes. It is not safe for concurrent use.
type Compiler struct {
	build    func([]diagram.Rule) *diagram.Node
	diagrams map[[32]byte]*diagram.Node
}

// NewCompiler returns a compiler that knows no diagram yet.
func NewCompiler() *Compiler {
	return &Compiler{build: diagram.NewBuilder().Build, diagrams: map[[32]byte]*diagram.Node{}}
}

// Compile is the package's Compile. What this call did not use is forgotten after it.
func (c *Compiler) Compile(t *Topology) (*State, error) {
	if err := validate(t); err != nil {
		return nil, err
	}
	p, err := newPlan(t)
	if err != nil {
		return nil, err
	}
	used := map[[32]byte]*diagram.Node{}
	build := func(rules []diagram.Rule) *diagram.Node {
		key := listHash(rules)
		if used[key] == nil {
			used[key] = c.diagrams[key]
		}
		if used[key] == nil {
			used[key] = c.build(rules)
		}
		return used[key]
	}
	s := &State{Counters: map[string]RuleRef{}}
	ns, refused := internet(t, p)
	s.Namespaces = append(s.Namespaces, ns)
	maps.Copy(s.Counters, refused)
	for i := range t.VNets {
		if err := s.vnet(t, &t.VNets[i], p, build); err != nil {
			return nil, err
		}
	}
	for _, h := range t.Internet.Hosts {
		s.host(h)
	}
	s.sort()
	c.diagrams = used
	return s, nil
}

// vnet adds a router, its way to the internet, and its guests.
func (s *State) vnet(t *Topology, v *VNet, p *plan, build func([]diagram.Rule) *diagram.Node) error {
	r := newRouter(t, v, p, build)
	ns, err := r.namespace()
	if err != nil {
		return err
	}
	s.Namespaces = append(s.Namespaces, ns)
	maps.Copy(s.Counters, r.refused)
	link := p.transfer[v.ID]
	s.Veths = append(s.Veths, Veth{
		A: End{InternetNS, RouterNS(v.ID)}, B: End{ns.Name, UplinkInterface},
		MAC: gatewayMAC, MACB: NICMAC(v.ID),
		AddrA: []netip.Prefix{netip.PrefixFrom(link.internet, 31)}, AddrB: []netip.Prefix{netip.PrefixFrom(link.router, 31)},
	})
	floating, neighbours := t.floatingOf(v.ID), t.neighbours(v)
	s.peeringVeths(t, v, p)
	for _, n := range v.NICs {
		if n.Kind != Guest {
			continue
		}
		name := NICNS(n.ID)
		inside := guest(name, n.Addrs[0])
		if n.Forwarding {
			inside.passesOn()
		}
		inside.Addrs = append(inside.Addrs, hosts(floating[n.ID])...)
		inside.tunnels(&n, neighbours)
		inside.bridge(&n)
		if n.Firewall != nil {
			refused, err := inside.firewall(&n, r.at(r.subnets[n.Subnet]).scope)
			if err != nil {
				return err
			}
			maps.Copy(s.Counters, refused)
		}
		s.Namespaces = append(s.Namespaces, inside)
		s.Veths = append(s.Veths, Veth{
			A: End{ns.Name, name}, B: End{name, GuestInterface},
			MAC: gatewayMAC, MACB: NICMAC(n.ID), AddrB: hosts(n.Addrs),
		})
	}
	return nil
}

func (s *State) host(h InternetHost) {
	name := HostNS(h.Name)
	s.Namespaces = append(s.Namespaces, guest(name, h.Addr))
	s.Veths = append(s.Veths, Veth{
		A: End{InternetNS, name}, B: End{name, GuestInterface},
		MAC: gatewayMAC, MACB: NICMAC(h.Name), AddrB: []netip.Prefix{host(h.Addr)},
	})
}

func (s *State) sort() {
	slices.SortFunc(s.Namespaces, func(a, b Namespace) int { return compareText(a.Name, b.Name) })
	slices.SortFunc(s.Veths, func(a, b Veth) int {
		return compareText(a.A.Namespace+" "+a.A.Interface, b.A.Namespace+" "+b.A.Interface)
	})
}

// listHash is equal for equal lists.
func listHash(rules []diagram.Rule) [32]byte {
	var b []byte
	for _, r := range rules {
		for _, set := range r.Match {
			b = appendSet(b, set)
		}
		if r.Allow {
			b = append(b, 1)
		}
		b = append(b, '\n')
	}
	return sha256.Sum256(b)
}

func appendSet(b []byte, set interval.Set) []byte {
	if set == nil {
		return append(b, 'a')
	}
	b = binary.BigEndian.AppendUint32(append(b, 's'), uint32(len(set)))
	for _, i := range set {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, i.Lo), i.Hi)
	}
	return b
}
