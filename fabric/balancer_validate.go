package fabric

import (
	"net/netip"
	"slices"
)

// maxBackends of a rule: the choice is one element of a map each.
const maxBackends = 1000

// balancers checks the load balancers: what they name exists in their VNet, and no two rules answer for the
// same port.
func (v *validator) balancers(t *Topology) error {
	taken := map[netip.Addr]string{} // internal frontends; two VNets may have equal ones
	for i := range t.LoadBalancers {
		b := &t.LoadBalancers[i]
		vnet := t.vnet(b.VNet)
		if vnet.ID == "" {
			return invalid(b.ID, "there is no VNet %q", b.VNet)
		}
		x := balancerCheck{validator: v, vnet: vnet, b: b, taken: taken, frontends: map[string]*Frontend{}, ports: map[portKey]string{}}
		if err := x.check(); err != nil {
			return err
		}
		if len(t.floatingOf(vnet.ID)) > MaxFloating {
			return invalid(b.ID, "more than %d members of VNet %s have a floating IP", MaxFloating, vnet.ID)
		}
	}
	return nil
}

type portKey struct {
	frontend string
	protocol Protocol
	port     uint16
}

type balancerCheck struct {
	*validator
	vnet      *VNet
	b         *LoadBalancer
	taken     map[netip.Addr]string
	frontends map[string]*Frontend
	ports     map[portKey]string
}

func (c *balancerCheck) check() error {
	for i := range c.b.Frontends {
		if err := c.frontend(&c.b.Frontends[i]); err != nil {
			return err
		}
	}
	for i := range c.b.Rules {
		if err := c.rule(&c.b.Rules[i]); err != nil {
			return err
		}
	}
	for i := range c.b.NATRules {
		if err := c.rule(c.b.NATRules[i].asRule()); err != nil {
			return err
		}
	}
	for _, o := range c.b.Outbound {
		if err := c.backends(o.ID, o.Backends); err != nil {
			return err
		}
	}
	return nil
}

func (c *balancerCheck) frontend(f *Frontend) error {
	if c.frontends[f.ID] != nil {
		return invalid(f.ID, "two frontends of %s have this id", c.b.ID)
	}
	c.frontends[f.ID] = f
	if f.Subnet == "" {
		return c.publicAddress(f.ID, f.Addr)
	}
	if !f.Addr.Is4() || !inside(c.vnet.subnet(f.Subnet).Prefixes, f.Addr) {
		return invalid(f.ID, "%s is no IPv4 address of subnet %s of %s", f.Addr, f.Subnet, c.vnet.ID)
	}
	if n := c.vnet.nicAt(f.Addr); n != nil {
		return invalid(f.ID, "the address %s belongs to %s", f.Addr, n.ID)
	}
	for other := range c.taken {
		if other == f.Addr && c.taken[other] == c.vnet.ID {
			return invalid(f.ID, "another frontend has the address %s", f.Addr)
		}
	}
	c.taken[f.Addr] = c.vnet.ID
	return nil
}

func (c *balancerCheck) rule(x *BalancingRule) error {
	f := c.frontends[x.Frontend]
	switch {
	case f == nil:
		return invalid(x.ID, "%s has no frontend %q", c.b.ID, x.Frontend)
	case x.Protocol != TCP && x.Protocol != UDP && (x.Protocol != AnyProtocol || x.Port != 0):
		return invalid(x.ID, "a rule is for TCP, for UDP, or for all ports of both")
	case (x.Port == 0) != (x.Protocol == AnyProtocol) || (x.BackendPort == 0) != (x.Port == 0):
		return invalid(x.ID, "port %d and backend port %d: only a rule for all ports has none", x.Port, x.BackendPort)
	case x.Port == 0 && f.Subnet == "":
		return invalid(x.ID, "only internal frontends have rules for all ports")
	case x.FloatingIP && x.BackendPort != x.Port:
		return invalid(x.ID, "with a floating IP the backend port is the frontend's")
	case x.Probe != "" && !slices.ContainsFunc(c.b.Probes, func(p Probe) bool { return p.ID == x.Probe }):
		return invalid(x.ID, "%s has no probe %q", c.b.ID, x.Probe)
	}
	key := portKey{x.Frontend, x.Protocol, x.Port}
	if other := c.ports[key]; other != "" {
		return invalid(x.ID, "%s is for the same port of the frontend", other)
	}
	c.ports[key] = x.ID
	return c.backends(x.ID, x.Backends)
}

func (c *balancerCheck) backends(owner string, list []Backend) error {
	if len(list) > maxBackends {
		return invalid(owner, "it has more than %d backends", maxBackends)
	}
	for _, m := range list {
		n := c.vnet.nicAt(m.Addr)
		if n == nil || n.ID != m.NIC || n.Kind != Guest {
			return invalid(owner, "backend %s: no NIC %s of %s has the address", m.Addr, m.NIC, c.vnet.ID)
		}
	}
	return nil
}
