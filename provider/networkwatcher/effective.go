package networkwatcher

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

// InterfaceActions are the actions of network interfaces that answer from the model.
func (p *Provider) InterfaceActions() map[string]rp.Action[network.Interface] {
	return map[string]rp.Action[network.Interface]{
		"effectiveNetworkSecurityGroups": p.ofInterface(effectiveGroups),
		"effectiveRouteTable":            p.ofInterface(effectiveRoutes),
	}
}

func (p *Provider) ofInterface(f func(explain.World, standing) any) rp.Action[network.Interface] {
	return rp.Action[network.Interface]{Async: func(_ context.Context, r *rp.Resource[network.Interface], _ []byte) (any, error) {
		w, ok := p.cfg.Model()
		if !ok {
			return nil, arm.Errorf(http.StatusServiceUnavailable, "ServerTimeout", "The network is not up yet.")
		}
		s, err := find(w.Topology, r.ID.String())
		if err != nil {
			return nil, err
		}
		return f(w, s), nil
	}}
}

// effectiveGroups is effectiveNetworkSecurityGroups (Network REST: EffectiveNetworkSecurityGroupListResult).
func effectiveGroups(w explain.World, s standing) any {
	out := []any{}
	for _, gate := range s.gates(fabric.Inbound) {
		g := w.Topology.NSGs[gate.nsg]
		if g == nil {
			continue
		}
		association := map[string]any{"subnet": map[string]any{"id": gate.appliedTo}}
		if gate.appliedTo == s.nic.ID {
			association = map[string]any{"networkInterface": map[string]any{"id": gate.appliedTo}}
		}
		out = append(out, map[string]any{
			"networkSecurityGroup": map[string]any{"id": g.ID}, "association": association,
			"effectiveSecurityRules": effectiveRules(w.Topology, s, g), "tagMap": tagMap(w.Topology, s, g),
		})
	}
	return map[string]any{"value": out}
}

// tagMap is the prefixes of each service tag that a group names, VirtualNetwork always.
func tagMap(t *fabric.Topology, s standing, g *fabric.NSG) map[string][]string {
	out := map[string][]string{}
	add := func(tags ...string) {
		for _, tag := range tags {
			if strings.EqualFold(tag, fabric.TagInternet) || strings.EqualFold(tag, fabric.TagLoadBalancer) {
				continue
			}
			for _, p := range tagPrefixes(t, s, tag) {
				out[tag] = append(out[tag], p.String())
			}
		}
	}
	add(fabric.TagVirtualNetwork)
	for _, r := range g.Rules {
		for _, tag := range append(append([]string{}, r.Source...), r.Destination...) {
			if _, done := out[tag]; !done {
				add(tag)
			}
		}
	}
	return out
}
