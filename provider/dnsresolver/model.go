package dnsresolver

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/dns"
	"vauban.dev/provider/network"
)

// InboundEndpoint is an address that answers for a virtual network.
type InboundEndpoint struct {
	NIC  string // id in the topology
	VNet string // id, as the topology has it
	Addr netip.Addr
}

// Model is what the resolvers of the region run by.
type Model struct {
	Inbound  []InboundEndpoint
	Rulesets []dns.Ruleset
}

// Read reads it. vnets are the ids of the topology's virtual networks; what refers to others is left out.
func Read(tx *rp.Tx, vnets []string) (Model, error) {
	ids := make(map[string]string, len(vnets))
	for _, v := range vnets {
		ids[strings.ToLower(v)] = v
	}
	var m Model
	inbound, err := live[Inbound](tx, InboundType, root)
	if err != nil {
		return m, err
	}
	for _, r := range inbound {
		c := r.Properties.IPConfigurations[0]
		subnet, err := arm.ParseID(c.Subnet.ID)
		if err != nil {
			return m, err
		}
		a, err := netip.ParseAddr(c.Address)
		if err != nil {
			return m, err
		}
		if vnet, ok := ids[subnet.Parent().Key()]; ok {
			m.Inbound = append(m.Inbound, InboundEndpoint{NIC: r.ID.String(), VNet: vnet, Addr: a})
		}
	}
	m.Rulesets, err = rulesets(tx, ids)
	return m, err
}

func rulesets(tx *rp.Tx, vnets map[string]string) ([]dns.Ruleset, error) {
	stored, err := live[Ruleset](tx, RulesetType, root)
	if err != nil {
		return nil, err
	}
	var list []dns.Ruleset
	for _, s := range stored {
		out := dns.Ruleset{ID: s.ID.String()}
		for _, ref := range s.Properties.Endpoints {
			id, err := arm.ParseID(ref.ID)
			if err != nil {
				return nil, err
			}
			e, err := rp.Get[Outbound](tx, id)
			if notFound(err) || (err == nil && e.State == arm.Deleting) {
				continue
			}
			if err != nil {
				return nil, err
			}
			out.Endpoints = append(out.Endpoints, e.ID.String())
		}
		links, err := live[Link](tx, LinkType, s.ID)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if vnet, ok := vnets[strings.ToLower(l.Properties.VirtualNetwork.ID)]; ok {
				out.VNets = append(out.VNets, vnet)
			}
		}
		rules, err := live[Rule](tx, RuleType, s.ID)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if r.Properties.State != "Enabled" {
				continue
			}
			rule := dns.Rule{ID: r.ID.String(), Domain: r.Properties.Domain}
			for _, t := range r.Properties.Targets {
				a, err := netip.ParseAddr(t.Address)
				if err != nil {
					return nil, err
				}
				rule.Servers = append(rule.Servers, netip.AddrPortFrom(a, uint16(t.Port)))
			}
			out.Rules = append(out.Rules, rule)
		}
		list = append(list, out)
	}
	return list, nil
}

// listings are POST virtualNetworks/{name}/listDnsResolvers and listDnsForwardingRulesets.
func listings() rp.Registration {
	const pattern = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + network.VNetType + "/{vnet}/"
	route := func(name string, list func(tx *rp.Tx, vnet arm.ID) ([]any, error)) rp.Route {
		return rp.Route{
			Method: http.MethodPost, Pattern: pattern + name, Permission: network.VNetType + "/" + name + "/action", Versions: versions,
			Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
				id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + network.VNetType + "/" + path["vnet"])
				if err != nil {
					return nil, err
				}
				if _, err := rp.Get[network.VNet](tx, id); err != nil {
					return nil, err
				}
				value, err := list(tx, id)
				return map[string]any{"value": value}, err
			},
		}
	}
	return rp.Routes(
		route("listDnsResolvers", func(tx *rp.Tx, vnet arm.ID) ([]any, error) {
			out := []any{}
			all, err := live[Resolver](tx, Type, root)
			for _, r := range all {
				if strings.EqualFold(r.Properties.VirtualNetwork.ID, vnet.String()) {
					out = append(out, map[string]any{"id": r.ID.String()})
				}
			}
			return out, err
		}),
		route("listDnsForwardingRulesets", func(tx *rp.Tx, vnet arm.ID) ([]any, error) {
			out := []any{}
			all, err := live[Link](tx, LinkType, root)
			for _, l := range all {
				if strings.EqualFold(l.Properties.VirtualNetwork.ID, vnet.String()) {
					out = append(out, map[string]any{"id": l.ID.Parent().String(),
						"properties": map[string]any{"virtualNetworkLink": map[string]any{"id": l.ID.String()}}})
				}
			}
			return out, err
		}),
	)
}
