package audit

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// internetPlace is where public audits begin.
func (w *World) internetPlace() Place {
	return Place{At: w.Internet, From: "internet", Title: "the internet"}
}

// Public lists everything that the internet reaches: public addresses of interfaces and load balancers, and the
// data planes of resources.
func Public(ctx context.Context, w *World) (*Report, error) {
	r := &Report{Audit: "public", Subject: "the region"}
	for _, x := range publicAddresses(w.Topology) {
		for _, protocol := range []fabric.Protocol{fabric.TCP, fabric.UDP, fabric.ICMP} {
			item, err := w.publicAddress(ctx, x.of, x.addr, protocol)
			if err != nil {
				return nil, err
			}
			if item != nil {
				r.Items = append(r.Items, *item)
			}
		}
	}
	for _, s := range w.Services {
		a, err := w.ask(ctx, w.internetPlace(), s.Host, fabric.TCP, 443)
		if err != nil {
			return nil, err
		}
		item := Item{Level: Passed, Kind: KindResource, What: fmt.Sprintf("%s %s takes no connections from the internet", planeName(s.Kind), s.ID), From: "internet", Answer: bare(a)}
		if a.Arrives() {
			item.Level, item.What = Finding, fmt.Sprintf("%s %s takes connections from the internet: %s", planeName(s.Kind), s.ID, a.Service)
		}
		r.Items = append(r.Items, item)
	}
	return r, nil
}

type publicAddress struct {
	of   string
	addr netip.Addr
}

func publicAddresses(t *fabric.Topology) (out []publicAddress) {
	for _, v := range t.VNets {
		for _, n := range v.NICs {
			for _, a := range n.Public {
				out = append(out, publicAddress{n.ID, a.Public})
			}
		}
	}
	for _, b := range t.LoadBalancers {
		for _, f := range b.Frontends {
			if f.Subnet == "" {
				out = append(out, publicAddress{f.ID, f.Addr})
			}
		}
	}
	return out
}

func (w *World) publicAddress(ctx context.Context, of string, addr netip.Addr, protocol fabric.Protocol) (*Item, error) {
	open, port := []span(nil), uint16(0)
	if protocol != fabric.ICMP {
		if open = openPorts(w.Topology, w.Internet, addr, protocol); len(open) == 0 {
			return nil, nil
		}
		port = favourite(open, 22)
	}
	a, err := w.ask(ctx, w.internetPlace(), addr.String(), protocol, port)
	if err != nil || !a.Arrives() {
		return nil, err
	}
	text := strings.ToUpper(protocol.String())
	if len(open) > 0 {
		text += " at " + describe(open)
	}
	return &Item{Level: Finding, Kind: KindPublicIP, What: fmt.Sprintf("%s of %s takes %s from any host of the internet that its rules do not tell apart", addr, of, text), From: "internet", Answer: &a}, nil
}

// Exposure tells, plane by plane, what stays readable in public beside a private endpoint: Resource Manager, a
// workspace's own hosts, its storage and its vault.
func Exposure(ctx context.Context, w *World) (*Report, error) {
	r := &Report{Audit: "exposure", Subject: "resources with private endpoints"}
	private := map[string]bool{}
	for _, v := range w.Topology.VNets {
		for _, n := range v.NICs {
			if n.Service != nil {
				private[strings.ToLower(n.Service.Target)] = true
			}
		}
	}
	behind := map[string]string{} // resources that a private workspace stands on
	for _, s := range w.Services {
		if private[strings.ToLower(s.ID)] {
			r.Items = append(r.Items, Item{Level: Note, Kind: "arm",
				What: fmt.Sprintf("Resource Manager shows %s %s, and what belongs to it, to whoever has a role, from anywhere: no private endpoint closes it", planeName(s.Kind), s.ID)})
			for _, id := range s.Uses {
				behind[id] = s.ID
			}
		}
	}
	for _, s := range w.Services {
		key := strings.ToLower(s.ID)
		if !private[key] && behind[key] == "" {
			continue
		}
		a, err := w.ask(ctx, w.internetPlace(), s.Host, fabric.TCP, 443)
		if err != nil {
			return nil, err
		}
		why := "has a private endpoint"
		if !private[key] {
			why = "belongs to private workspace " + behind[key] + ", has no private endpoint itself"
		}
		item := Item{Level: Passed, Kind: kindName(s.Kind), What: fmt.Sprintf("%s %s %s, and the internet does not reach it", planeName(s.Kind), s.ID, why), From: "internet", Answer: bare(a)}
		if a.Arrives() {
			item.Level, item.What = Finding, fmt.Sprintf("%s %s %s, and takes connections from the internet all the same: %s", planeName(s.Kind), s.ID, why, a.Service)
			item.Fixes = []explain.Fix{closing(s)}
		}
		r.Items = append(r.Items, item)
	}
	return r, nil
}

func kindName(k explain.Kind) string {
	return map[explain.Kind]string{explain.Blob: "storage", explain.Vault: "vault", explain.Workspace: "workspace"}[k]
}

// closing is how public access to a resource is closed.
func closing(s Service) explain.Fix {
	command := map[explain.Kind]string{
		explain.Blob:      "az storage account update --ids %s --public-network-access Disabled",
		explain.Vault:     "az resource update --ids %s --set properties.publicNetworkAccess=Disabled",
		explain.Workspace: "az resource update --ids %s --set properties.publicNetworkAccess=Disabled",
	}[s.Kind]
	return explain.Fix{What: "close the public path", Commands: []string{fmt.Sprintf(command, s.ID)}}
}
