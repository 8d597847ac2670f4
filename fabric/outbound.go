package fabric

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// This file is the way out of a VNet: which public address a flow has on the internet. In Azure's order: the
// subnet's NAT gateway, the public address of the sender's ip configuration, a load balancer's outbound
// rule, a load balancer's rule that allows it, default outbound access, none.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-outbound-connections
// https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource

// exits are the kinds of protocol that leave by different addresses: only a public address of the sender's
// own translates anything but TCP and UDP.
var exits = []struct {
	name  string
	proto Protocol
	match string
}{
	{"tcp", TCP, fmt.Sprintf("meta l4proto %d", TCP)},
	{"udp", UDP, fmt.Sprintf("meta l4proto %d", UDP)},
	{"other", otherProtocol, fmt.Sprintf("meta l4proto != { %d, %d }", TCP, UDP)},
}

// outbound writes who leaves by which address. The interface is part of the sets: what an appliance
// passes on does not leave in the sender's name.
func (r *router) outbound() {
	for _, x := range exits {
		var from, to []string
		for i := range r.v.NICs {
			n := &r.v.NICs[i]
			if n.Kind != Guest {
				continue
			}
			for _, a := range n.Addrs {
				if public := r.exit(n, a, x.proto); public.IsValid() {
					from = append(from, fmt.Sprintf("%q . %s", NICNS(n.ID), a))
					to = append(to, fmt.Sprintf("%s : %s", a, public))
				}
			}
		}
		if from == nil {
			continue
		}
		r.ways = append(r.ways, x.name)
		r.set("out_"+x.name, "ifname . ipv4_addr", from)
		r.mapping("snat_"+x.name, "ipv4_addr : ipv4_addr", to)
	}
}

// exit is the address that a NIC's address reaches the internet by, zero if it does not.
func (r *router) exit(n *NIC, a netip.Addr, p Protocol) netip.Addr {
	translated := p == TCP || p == UDP
	subnet := r.subnets[n.Subnet]
	if g := r.t.NATGateways[subnet.NATGateway]; g != nil && len(g.Addresses) > 0 {
		if !translated {
			return netip.Addr{}
		}
		return spread(a, g.Addresses)
	}
	for _, x := range n.Public {
		if x.Private == a {
			return x.Public
		}
	}
	if !translated {
		return netip.Addr{}
	}
	var ruled, implied []netip.Addr
	pooled := false
	for i := range r.t.LoadBalancers {
		b := &r.t.LoadBalancers[i]
		if b.VNet != r.v.ID {
			continue
		}
		for j := range b.Outbound {
			o := &b.Outbound[j]
			if o.Protocol == AnyProtocol || o.Protocol == p {
				ruled = append(ruled, b.publicOf(o.Backends, n.ID, a, o.Frontends...)...)
			}
		}
		for j := range b.Rules {
			o := &b.Rules[j]
			if o.ImplicitOutbound && (o.Protocol == AnyProtocol || o.Protocol == p) {
				implied = append(implied, b.publicOf(o.Backends, n.ID, a, o.Frontend)...)
			}
		}
		pooled = pooled || b.has(n.ID)
	}
	switch {
	case len(ruled) > 0:
		return spread(a, ruled)
	case len(implied) > 0:
		return spread(a, implied)
	case subnet.DefaultOutbound && len(n.Public) == 0 && !pooled:
		return r.plan.outbound[r.v.ID]
	}
	return netip.Addr{}
}

// publicOf are the public ones among some frontends if the NIC's address is a backend.
func (b *LoadBalancer) publicOf(backends []Backend, nic string, a netip.Addr, frontends ...string) (out []netip.Addr) {
	if !slices.ContainsFunc(backends, func(m Backend) bool { return m.NIC == nic && m.Addr == a }) {
		return nil
	}
	for _, f := range b.Frontends {
		if f.Subnet == "" && slices.Contains(frontends, f.ID) {
			out = append(out, f.Addr)
		}
	}
	return out
}

// has tells whether the NIC is in a pool of the load balancer.
func (b *LoadBalancer) has(nic string) bool {
	for m := range b.members() {
		if m.NIC == nic {
			return true
		}
	}
	return false
}

// members are the backends of all rules; one may come several times.
func (b *LoadBalancer) members() iter.Seq[Backend] {
	return func(yield func(Backend) bool) {
		for i := range b.Rules {
			for _, m := range b.Rules[i].Backends {
				if !yield(m) {
					return
				}
			}
		}
		for i := range b.NATRules {
			if !yield(b.NATRules[i].Backend) {
				return
			}
		}
		for i := range b.Outbound {
			for _, m := range b.Outbound[i].Backends {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// spread chooses one of several public addresses for a private one. It stays the same while others come
// and go, unless the chosen one goes or a new one is chosen (rendezvous hashing).
func spread(a netip.Addr, over []netip.Addr) (best netip.Addr) {
	var high [32]byte
	for _, o := range over {
		sum := sha256.Sum256([]byte(a.String() + " " + o.String()))
		if !best.IsValid() || slices.Compare(sum[:], high[:]) > 0 {
			best, high = o, sum
		}
	}
	return best
}

// mayLeave passes the senders that have a way out.
func (r *router) mayLeave() (lines []string) {
	for _, x := range exits {
		if slices.Contains(r.ways, x.name) {
			lines = append(lines, x.match+" iifname . ip saddr @out_"+x.name+" goto pass")
		}
	}
	return append(lines, r.drop(FabricRule(RuleNoOutbound)))
}

// leaveBy translates what leaves.
func (r *router) leaveBy() (lines []string) {
	for _, x := range exits {
		if slices.Contains(r.ways, x.name) {
			lines = append(lines, `oifname "`+UplinkInterface+`" `+x.match+" snat ip to ip saddr map @snat_"+x.name)
		}
	}
	return lines
}

// publicAddresses are those by which the internet namespace routes to the VNet: of NICs, of the NAT
// gateways of its subnets, and public frontends.
func (v *VNet) publicAddresses(t *Topology) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		var all []netip.Addr
		for _, n := range v.NICs {
			for _, a := range n.Public {
				all = append(all, a.Public)
			}
		}
		for _, s := range v.Subnets {
			if g := t.NATGateways[s.NATGateway]; g != nil {
				all = append(all, g.Addresses...)
			}
		}
		for _, b := range t.LoadBalancers {
			for _, f := range b.Frontends {
				if b.VNet == v.ID && f.Subnet == "" {
					all = append(all, f.Addr)
				}
			}
		}
		for _, a := range all {
			if !yield(a) {
				return
			}
		}
	}
}

// outbound checks what packets leave by: a NAT gateway serves one VNet, and every address has one owner.
func (v *validator) outbound(t *Topology) error {
	at := map[string]string{} // the gateway's VNet
	for i := range t.VNets {
		n := &t.VNets[i]
		for _, s := range n.Subnets {
			g := s.NATGateway
			switch {
			case g == "":
			case t.NATGateways[g] == nil:
				return invalid(s.ID, "there is no NAT gateway %q", g)
			case at[g] != "" && at[g] != n.ID:
				return invalid(g, "it has subnets in %s and in %s", at[g], n.ID)
			default:
				at[g] = n.ID
			}
		}
	}
	for id, g := range t.NATGateways {
		for _, a := range g.Addresses {
			if err := v.publicAddress(id, a); err != nil {
				return err
			}
		}
	}
	return nil
}
