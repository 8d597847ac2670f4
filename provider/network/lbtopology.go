package network

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// balancers translates the load balancers. One without frontends, or in no virtual network yet, does nothing.
func (b *builder) balancers() error {
	lbs, err := staying[LoadBalancer](b.tx, LoadBalancerType, root)
	if err != nil {
		return err
	}
	for _, lb := range lbs {
		parts, err := balancerOf(b.tx, lb)
		if err != nil {
			return err
		}
		vnet, err := parts.network(b.tx, "")
		if err != nil {
			return err
		}
		v := b.vnets[vnet.Key()]
		if len(parts.frontends) == 0 || v == nil {
			continue
		}
		t := lbTranslation{b: b, parts: parts, v: v, out: fabric.LoadBalancer{ID: lb.ID.String(), VNet: v.ID}}
		if err := t.run(); err != nil {
			return fmt.Errorf("load balancer %s: %w", lb.ID, err)
		}
		b.loadBalancers = append(b.loadBalancers, t.out)
	}
	return nil
}

// lbTranslation is one load balancer on its way into the topology.
type lbTranslation struct {
	b     *builder
	parts *balancer
	v     *fabric.VNet
	out   fabric.LoadBalancer
}

func (t *lbTranslation) run() error {
	t.probes()
	for _, step := range []func() error{t.frontends, t.rules, t.nat, t.outbound} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (t *lbTranslation) frontends() error {
	for _, f := range t.parts.frontends {
		out := fabric.Frontend{ID: f.ID.String()}
		var err error
		if f.Properties.Prefix != nil {
			if err := t.prefixFrontend(f); err != nil {
				return err
			}
			continue
		}
		if f.Properties.PublicIP != nil {
			out.Addr, err = t.b.public(f.Properties.PublicIP.ID)
		} else {
			var subnet arm.ID
			if subnet, err = arm.ParseID(f.Properties.Subnet.ID); err != nil {
				return err
			}
			out.Subnet = t.b.subnets[subnet.Key()]
			out.Addr, err = netip.ParseAddr(f.Properties.Address)
		}
		if err != nil {
			return err
		}
		t.out.Frontends = append(t.out.Frontends, out)
	}
	return nil
}

// prefixFrontend is a frontend for each address of the prefix.
func (t *lbTranslation) prefixFrontend(f *rp.Resource[Frontend]) error {
	list, err := prefixAddresses(t.b.tx, f.Properties.Prefix)
	for _, a := range list {
		t.out.Frontends = append(t.out.Frontends, fabric.Frontend{ID: f.ID.String() + "/" + a.String(), Addr: a})
	}
	return err
}

// outboundFrontends are the ids of a referenced frontend as the topology has it: of each address of a prefix.
func (t *lbTranslation) outboundFrontends(ref *Ref) (list []string) {
	id := t.frontend(ref)
	for _, f := range t.out.Frontends {
		if f.ID == id || strings.HasPrefix(f.ID, id+"/") {
			list = append(list, f.ID)
		}
	}
	return list
}

var probeProtocols = map[string]fabric.ProbeProtocol{"Http": fabric.ProbeHTTP, "Https": fabric.ProbeHTTPS}

func (t *lbTranslation) probes() {
	for _, p := range t.parts.probes {
		v := &p.Properties
		t.out.Probes = append(t.out.Probes, fabric.Probe{
			ID: p.ID.String(), Protocol: probeProtocols[v.Protocol], Port: uint16(v.Port), Path: v.Path,
			Interval: time.Duration(v.Interval) * time.Second, Threshold: max(v.Threshold, 1),
		})
	}
}

// probe is the id of a referenced probe as the topology has it.
func (t *lbTranslation) probe(ref *Ref) string {
	if p := byRef(t.parts.probes, ref); p != nil {
		return p.ID.String()
	}
	return ""
}

// frontend is the id of a referenced frontend as the topology has it.
func (t *lbTranslation) frontend(ref *Ref) string {
	if f := byRef(t.parts.frontends, ref); f != nil {
		return f.ID.String()
	}
	return ""
}

// backends are the members of a pool that are there: nothing stands at an address that no interface has.
func (t *lbTranslation) backends(ref *Ref) ([]fabric.Backend, error) {
	pool := byRef(t.parts.pools, ref)
	if pool == nil {
		return nil, nil
	}
	members, err := t.parts.members(t.b.tx, pool)
	if err != nil {
		return nil, err
	}
	var list []fabric.Backend
	for _, m := range members {
		if nic := t.nicAt(m); nic != "" {
			list = append(list, fabric.Backend{NIC: nic, Addr: m.addr, Down: m.down})
		}
	}
	return list, nil
}

// nicAt is the id of the guest that has a backend's address.
func (t *lbTranslation) nicAt(m backend) string {
	for _, n := range t.v.NICs {
		for _, a := range n.Addrs {
			if a == m.addr && n.Kind == fabric.Guest {
				return n.ID
			}
		}
	}
	return ""
}

var lbProtocol = map[string]fabric.Protocol{"Tcp": fabric.TCP, "Udp": fabric.UDP, "All": fabric.AnyProtocol}

var affinities = map[string]fabric.Affinity{"SourceIP": fabric.SourceIP, "SourceIPProtocol": fabric.SourceProtocol}

func (t *lbTranslation) rules() error {
	for _, r := range t.parts.rules {
		v := &r.Properties
		backends, err := t.backends(v.Pool)
		if err != nil {
			return err
		}
		t.out.Rules = append(t.out.Rules, fabric.BalancingRule{
			ID: r.ID.String(), Frontend: t.frontend(v.Frontend), Protocol: lbProtocol[v.Protocol], Port: uint16(v.FrontendPort), BackendPort: uint16(v.BackendPort),
			FloatingIP: v.FloatingIP, Affinity: affinities[v.Distribution], Backends: backends, ImplicitOutbound: !v.DisableOutboundSNAT && !t.parts.internal(),
			Probe: t.probe(v.Probe),
		})
	}
	return nil
}

// nat translates the inbound NAT rules: that of a pool is one for each member, in the order of the members.
func (t *lbTranslation) nat() error {
	for _, r := range t.parts.nat {
		v := &r.Properties
		one := fabric.InboundNATRule{ID: r.ID.String(), Frontend: t.frontend(v.Frontend), Protocol: lbProtocol[v.Protocol], Port: uint16(v.FrontendPort), BackendPort: uint16(v.BackendPort), FloatingIP: v.FloatingIP}
		if v.Pool == nil {
			m, err := natMember(t.b.tx, r.ID)
			if err != nil {
				return err
			}
			if m == nil {
				if n := t.b.entered[r.ID.Key()]; n != nil && strings.EqualFold(n.VNet, t.v.ID) {
					one.Backend = fabric.Backend{NIC: n.ID, Addr: n.Addr}
					t.out.NATRules = append(t.out.NATRules, one)
				}
				continue // else it leads nowhere
			}
			to, err := m.backend()
			if err != nil {
				return err
			}
			if nic := t.nicAt(to); nic != "" {
				one.Backend = fabric.Backend{NIC: nic, Addr: to.addr}
				t.out.NATRules = append(t.out.NATRules, one)
			}
			continue
		}
		members, err := t.parts.members(t.b.tx, byRef(t.parts.pools, v.Pool))
		if err != nil {
			return err
		}
		for i, m := range members {
			nic := t.nicAt(m)
			if nic == "" || v.RangeStart+i > v.RangeEnd {
				continue
			}
			one := one
			one.ID += fmt.Sprintf("/%d", v.RangeStart+i)
			one.Port, one.Backend = uint16(v.RangeStart+i), fabric.Backend{NIC: nic, Addr: m.addr}
			t.out.NATRules = append(t.out.NATRules, one)
		}
	}
	return nil
}

func (t *lbTranslation) outbound() error {
	for _, r := range t.parts.outbound {
		backends, err := t.backends(r.Properties.Pool)
		if err != nil {
			return err
		}
		out := fabric.OutboundRule{ID: r.ID.String(), Protocol: lbProtocol[r.Properties.Protocol], Backends: backends}
		for i := range r.Properties.Frontends {
			out.Frontends = append(out.Frontends, t.outboundFrontends(&r.Properties.Frontends[i])...)
		}
		t.out.Outbound = append(t.out.Outbound, out)
	}
	return nil
}
