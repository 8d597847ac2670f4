package main

import (
	"context"
	"net/netip"
	"os"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns/doctor"
	"vauban.dev/provider/network"
	"vauban.dev/region"
)

// resolvConf writes the file that a place finds at /etc/resolv.conf: what Azure's DHCP would tell a machine
// there now. Programs that run there already see the change, as machines do when their lease is renewed.
func (w *world) resolvConf(at fabric.Place) (path string, err error) {
	var r network.Resolver
	if at.Kind == fabric.AtNIC {
		r = w.sync.resolverOf(at.ID)
	}
	path = w.path("exec", fabric.NSName(at)+".resolv.conf")
	text := []byte(resolvText(r))
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return path, nil
	}
	return path, os.WriteFile(path, text, 0o644) // in place: the file is bound where programs run
}

// resolverOf is what a NIC's machine is told about names, by the network as it was applied last.
func (s *netSync) resolverOf(nic string) network.Resolver {
	v := s.current.Load()
	if v == nil {
		return network.Resolver{}
	}
	for _, n := range v.topology.VNets {
		for i := range n.NICs {
			if n.NICs[i].ID == nic {
				return v.resolver(n.ID, nic)
			}
		}
	}
	return network.Resolver{}
}

// resolvText is the resolver in resolv.conf(5).
func resolvText(r network.Resolver) string {
	servers := r.Servers
	if len(servers) == 0 {
		servers = append(servers, fabric.WireServer)
	}
	var b strings.Builder
	for _, s := range servers {
		b.WriteString("nameserver " + s.String() + "\n")
	}
	if r.Search != "" {
		b.WriteString("search " + r.Search + "\n")
	}
	return b.String()
}

// doctorParams are a question by the control socket.
type doctorParams struct {
	VNet string `json:"vnet,omitempty"`
}

// doctor examines the names of the network, with all that was written before it was asked.
func (w *world) doctor(ctx context.Context, r region.Request) (region.Reply, error) {
	var p doctorParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	if err := w.sync.Sync(ctx); err != nil {
		return region.Reply{}, err
	}
	report, err := w.examineNames(ctx)
	if err != nil {
		return region.Reply{}, err
	}
	if p.VNet != "" {
		id, err := w.sync.current.Load().vnet(p.VNet)
		if err != nil {
			return region.Reply{}, err
		}
		report = report.Of(id)
	}
	return region.Reply{Result: report}, nil
}

// examineNames examines the names of the network as it was last applied.
func (w *world) examineNames(ctx context.Context) (doctor.Report, error) {
	v := w.sync.current.Load()
	in := doctor.Region{
		Topology: v.topology, Zones: v.zones,
		Servers: func(vnet string) []netip.Addr { return v.resolvers[vnet].Servers },
		Resolve: v.resolution().Resolve,
		Explain: func(f fabric.Flow) fabric.Explanation { return fabric.Explain(v.topology, f) },
	}
	for _, e := range v.dns.Inbound {
		in.Inbound = append(in.Inbound, doctor.Inbound{NIC: e.NIC, VNet: e.VNet, Addr: e.Addr})
	}
	err := w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		in.Endpoints, in.Links, err = w.network.NameNeeds(tx)
		return err
	})
	if err != nil {
		return doctor.Report{}, err
	}
	return doctor.Examine(in), nil
}

// vnet finds a virtual network by name, GROUP/NAME or id.
func (v *netView) vnet(name string) (string, error) {
	var found []string
	for _, n := range v.topology.VNets {
		id, err := arm.ParseID(n.ID)
		if err != nil {
			return "", err
		}
		if strings.EqualFold(n.ID, name) || strings.EqualFold(id.Name(), name) || strings.EqualFold(id.ResourceGroup()+"/"+id.Name(), name) {
			found = append(found, n.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", notFound("there is no virtual network %q", name)
	}
	return "", notFound("%d virtual networks are called %q: write GROUP/NAME", len(found), name)
}
