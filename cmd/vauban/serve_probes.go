package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"vauban.dev/fabric"
	"vauban.dev/fabric/probe"
)

// This file wires the health probes of load balancers: a pass of netSync says whom to ask, what they find
// makes another pass.

// dialProbe connects as the platform does, from 168.63.129.16 in the VNet's router.
func (s *netSync) dialProbe(ctx context.Context, vnet string, to netip.AddrPort) (net.Conn, error) {
	return s.driver.DialFrom(ctx, fabric.Place{Kind: fabric.AtRouter, ID: vnet}, fabric.WireServer, to)
}

// again makes a pass that nobody waits for.
func (s *netSync) again() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// setProbes tells the prober whom to ask, and the topology who is down.
func (s *netSync) setProbes(t *fabric.Topology) {
	var targets []probe.Target
	each := func(do func(vnet string, p fabric.Probe, m *fabric.Backend)) {
		for i := range t.LoadBalancers {
			b := &t.LoadBalancers[i]
			for j := range b.Rules {
				x := &b.Rules[j]
				at := slices.IndexFunc(b.Probes, func(p fabric.Probe) bool { return p.ID == x.Probe })
				for k := range x.Backends {
					if at >= 0 {
						do(b.VNet, b.Probes[at], &x.Backends[k])
					}
				}
			}
		}
	}
	each(func(vnet string, p fabric.Probe, m *fabric.Backend) {
		targets = append(targets, probe.Target{VNet: vnet, Probe: p, Addr: m.Addr})
	})
	s.prober.Set(targets)
	each(func(vnet string, p fabric.Probe, m *fabric.Backend) {
		m.Down = m.Down || s.prober.Down(p.ID, vnet, m.Addr)
	})
}

// unhealthy says in words which backends get no connections.
func (s *netSync) unhealthy() (out []string) {
	for t, why := range s.prober.Unhealthy() {
		reason := "it has not answered yet"
		if why != nil {
			reason = why.Error()
		}
		out = append(out, fmt.Sprintf("backend %s is down by probe %s: %s", t.Addr, t.Probe.ID, reason))
	}
	slices.Sort(out)
	return out
}
