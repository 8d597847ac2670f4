package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/dataplane/bastion"
	"vauban.dev/entra"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/fabric/linux"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/gateway"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/network"
)

// bastionNames are the DNS names of the bastions by their interfaces.
func bastionNames(tx *rp.Tx) (map[string]string, error) {
	all, err := rp.List[gateway.Bastion](tx, gateway.BastionType, arm.MustParseID("/"))
	m := map[string]string{}
	for _, b := range all {
		if b.State != arm.Deleting {
			m[gateway.BastionNIC(b)] = b.Properties.DNSName
		}
	}
	return m, err
}

// bastions are the names of bastions, which have the public addresses that they were given.
func (p *publicNames) bastions() dns.Service {
	known := rp.NewMemo(p.engine, func(tx *rp.Tx, label string) (netip.Addr, error) {
		b, err := gateway.BastionByLabel(tx, label)
		if b == nil || err != nil {
			return netip.Addr{}, err
		}
		return b.Properties.Public, nil
	})
	get := func(label string) netip.Addr {
		a, err := known.Get(context.Background(), strings.ToLower(label))
		if err != nil {
			return netip.Addr{}
		}
		return a
	}
	return dns.Service{
		Suffix: gateway.BastionSuffix,
		Lookup: func(label string) (exists, private bool) { return get(label).IsValid(), false },
		Own:    func(label string) (string, []netip.Addr) { return "", []netip.Addr{get(label)} },
	}
}

// serveBastions listens at each bastion's own address, for its own name: what reaches it has passed the rules of
// AzureBastionSubnet.
func (s *netSync) serveBastions(ctx context.Context, view *netView, want map[linux.Socket]bool, fronts map[string]bool) error {
	for _, v := range view.topology.VNets {
		for _, n := range v.NICs {
			if view.bastions[n.ID] == "" {
				continue
			}
			l := httpx.Listener{TLS: true, Origin: func(c net.Conn) origin.Origin {
				return origin.Origin{Kind: origin.Internet, Source: remote(c), Target: n.ID}
			}}
			l.Serves = func(host string, _ netip.Addr) bool { return host == s.current.Load().bastions[n.ID] }
			if err := s.serveFront(ctx, fabric.Place{Kind: fabric.AtNIC, ID: n.ID}, netip.AddrPortFrom(n.Addrs[0], 443), l, want, fronts); err != nil {
				return err
			}
		}
	}
	return nil
}

// bastionRegion is what bastions ask of the region.
type bastionRegion struct {
	w     *world
	hosts *rp.Memo[bastion.Host]
}

func newBastionRegion(w *world) bastionRegion {
	return bastionRegion{w, rp.NewMemo(w.engine, func(tx *rp.Tx, label string) (bastion.Host, error) {
		b, err := gateway.BastionByLabel(tx, label)
		if b == nil || err != nil {
			return bastion.Host{}, err
		}
		v := &b.Properties
		subnet, err := arm.ParseID(v.IPConfigurations[0].Properties.Subnet.ID)
		return bastion.Host{
			ID: b.ID.String(), NIC: gateway.BastionNIC(b), VNet: subnet.Parent().String(), Tunneling: v.Tunneling, IPConnect: v.IPConnect, Allowed: v.ACLs.Prefixes(),
		}, err
	})}
}

func (r bastionRegion) Bastion(ctx context.Context, name string) (bastion.Host, bool, error) {
	label, ok := strings.CutSuffix(name, "."+gateway.BastionSuffix)
	if !ok {
		return bastion.Host{}, false, nil
	}
	h, err := r.hosts.Get(ctx, label)
	return h, h.ID != "", err
}

// Target finds an interface, that of a virtual machine, or the first node of a compute. It must be in the bastion's network or in one that
// is peered with it: elsewhere its address is another machine's.
func (r bastionRegion) Target(ctx context.Context, h bastion.Host, id string) (bastion.Target, error) {
	target, err := arm.ParseID(id)
	if err != nil {
		return bastion.Target{}, arm.Errorf(http.StatusBadRequest, "InvalidResourceId", "%q is not a resource id.", id)
	}
	t := bastion.Target{Reads: []authz.Request{{Action: target.Type().String() + "/read", Scope: target.String()}}}
	nic := ""
	switch {
	case strings.EqualFold(target.Type().String(), network.NICType):
		nic = target.String()
	case strings.EqualFold(target.Type().String(), machinelearning.ComputeType):
		nodes, err := r.w.ml.Nodes(ctx)
		if err != nil {
			return t, err
		}
		i := slices.IndexFunc(nodes, func(n machinelearning.NodeInfo) bool { return strings.EqualFold(n.Cluster, target.String()) })
		if i < 0 {
			return t, arm.Errorf(http.StatusNotFound, "TargetNotFound", "%s does not exist or has no node.", target)
		}
		nic = nodes[i].NIC
	case strings.EqualFold(target.Type().String(), compute.Type):
		err := r.w.engine.View(ctx, func(tx *rp.Tx) error {
			id, err := compute.NICOf(tx, target)
			nic = id.String()
			return err
		})
		if err != nil {
			return t, err
		}
	default:
		return t, arm.NotImplemented("Bastion leads to virtual machines, network interfaces and compute clusters; %s is none of them.", target)
	}
	for _, v := range r.w.sync.current.Load().topology.VNets {
		for _, n := range v.NICs {
			if !strings.EqualFold(n.ID, nic) || n.Kind != fabric.Guest {
				continue
			}
			if !strings.EqualFold(v.ID, h.VNet) && !slices.ContainsFunc(v.Peerings, func(p fabric.Peering) bool { return strings.EqualFold(p.Remote, h.VNet) }) {
				return t, arm.Errorf(http.StatusBadRequest, "TargetNotReachable", "%s is in %s, which is neither the bastion's network %s nor peered with it.", target, v.ID, h.VNet)
			}
			t.Addr = n.Addrs[0]
			return t, nil
		}
	}
	return t, arm.NotFound(target)
}

// Reached accepts what came to the bastion's own address. The loopback proxy stands for the internet's client: the
// model says whether that one would get there.
func (r bastionRegion) Reached(o origin.Origin, h bastion.Host) (why string, ok bool) {
	switch {
	case o.Kind == origin.Internet && o.Target == h.NIC:
		return "", true
	case o.Kind != origin.Loopback:
		return "the connection came to another address", false
	}
	v := r.w.sync.current.Load()
	for _, n := range v.nics[h.VNet] {
		if n.ID != h.NIC || len(n.Public) == 0 {
			continue
		}
		e := fabric.Explain(v.topology, fabric.Flow{From: fabric.Place{Kind: fabric.AtHost, ID: clientHost}, Dst: n.Public[0].Public, Protocol: fabric.TCP, SrcPort: 40000, DstPort: 443})
		if refused := e.Refused(); refused != nil {
			return fmt.Sprint(refused.By), false
		}
		return "", true
	}
	return "its network is not there yet", false
}

func (r bastionRegion) Dial(ctx context.Context, h bastion.Host, to netip.AddrPort) (net.Conn, error) {
	return r.w.driver.Dial(ctx, fabric.Place{Kind: fabric.AtNIC, ID: h.NIC}, "tcp", to.String())
}

func (r bastionRegion) Verify(ctx context.Context, token string) (authz.Principal, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return authz.Principal{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return r.w.entra.Bearer(entra.AudienceARM, entra.AudienceARMClassic)(req)
}
