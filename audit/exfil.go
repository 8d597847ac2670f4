package audit

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// Kinds of items of Exfil and Public.
const (
	KindInternet = "internet"
	KindResource = "resource"        // an account, vault or workspace of another subscription
	KindEndpoint = "serviceEndpoint" // any account of the service behind a service endpoint
	KindDNS      = "dns"
	KindPeering  = "peering"
	KindPrivate  = "privateEndpoint" // an endpoint that leads into another subscription
	KindGateway  = "gateway"
	KindPublicIP = "publicAddress"
)

// Exfil lists every way by which data can leave a subnet, from an interface in it.
func Exfil(ctx context.Context, w *World, p Place) (*Report, error) {
	e := &exfil{w: w, p: p, r: &Report{Audit: "exfil", Subject: p.Title}}
	v, nic := standing(w.Topology, p.At)
	if v == nil {
		return nil, fmt.Errorf("audit: the network has no interface %s", p.At.ID)
	}
	e.v, e.nic = v, nic
	for _, f := range []func(context.Context) error{e.internet, e.resources, e.serviceEndpoints, e.dns, e.neighbours, e.privateEndpoints, e.gateways} {
		if err := f(ctx); err != nil {
			return nil, err
		}
	}
	return e.r, nil
}

type exfil struct {
	w   *World
	p   Place
	v   *fabric.VNet
	nic fabric.NIC
	r   *Report
}

func standing(t *fabric.Topology, at fabric.Place) (*fabric.VNet, fabric.NIC) {
	for i := range t.VNets {
		for _, n := range t.VNets[i].NICs {
			if at.Kind == fabric.AtNIC && n.ID == at.ID {
				return &t.VNets[i], n
			}
		}
	}
	return nil, fabric.NIC{}
}

func (e *exfil) found(kind, what string, a explain.Answer) {
	e.r.Items = append(e.r.Items, Item{Level: Finding, Kind: kind, What: what, From: e.p.From, Answer: &a})
}

func (e *exfil) internet(ctx context.Context) error {
	stranger, err := netip.ParseAddr(e.w.Stranger)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	for _, protocol := range []fabric.Protocol{fabric.TCP, fabric.UDP, fabric.ICMP} {
		open, port := openPorts(e.w.Topology, e.p.At, stranger, protocol), e.w.StrangerPort
		if protocol == fabric.ICMP {
			open, port = nil, 0
		} else if len(open) > 0 {
			port = favourite(open, port)
		}
		a, err := e.w.ask(ctx, e.p, e.w.Stranger, protocol, port)
		if err != nil {
			return err
		}
		text := "by " + strings.ToUpper(protocol.String())
		switch {
		case a.Arrives() && len(open) > 0:
			text += " at " + describe(open)
		case !a.Arrives():
			e.r.Items = append(e.r.Items, Item{Level: Passed, Kind: KindInternet, What: "no host of the internet is reached " + text, From: e.p.From, Answer: bare(a)})
			continue
		}
		e.found(KindInternet, "any host of the internet is reached "+text+", as "+a.Source, a)
	}
	return nil
}

// bare is an answer without what would make it pass: here refusals are what is wanted.
func bare(a explain.Answer) *explain.Answer {
	a.Fixes, a.Fixed = nil, false
	return &a
}

// resources of other subscriptions whose firewall admits the subnet.
func (e *exfil) resources(ctx context.Context) error {
	for _, s := range e.w.Services {
		if subscription(s.ID) == subscription(e.nic.Subnet) {
			continue
		}
		a, err := e.w.ask(ctx, e.p, s.Host, fabric.TCP, 443)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%s %s, which is of another subscription", planeName(s.Kind), s.ID)
		if a.Arrives() {
			e.found(KindResource, what+", takes connections: "+a.Service, a)
			continue
		}
		e.r.Items = append(e.r.Items, Item{Level: Passed, Kind: KindResource, What: what + ", is not reached", From: e.p.From, Answer: bare(a)})
	}
	return nil
}

// serviceEndpoints without a policy lead to every account of the service, whoever owns it.
func (e *exfil) serviceEndpoints(context.Context) error {
	for _, s := range e.v.Subnets {
		if s.ID != e.nic.Subnet {
			continue
		}
		for _, x := range s.ServiceEndpoints {
			item := Item{Level: Finding, Kind: KindEndpoint, What: fmt.Sprintf("the service endpoint for %s leads to every resource of the service, of any owner", x.Service)}
			if strings.HasPrefix(strings.ToLower(x.Service), "microsoft.storage") {
				named, err := e.policies(s.ID)
				if err != nil {
					return err
				}
				if named != "" {
					e.r.Items = append(e.r.Items, Item{Level: Passed, Kind: KindEndpoint, What: fmt.Sprintf("the service endpoint for %s leads to what %s names, and to nothing else", x.Service, named)})
					continue
				}
				item.Fixes = []explain.Fix{{What: "name the accounts that may be reached in a service endpoint policy of the subnet"}}
			}
			e.r.Items = append(e.r.Items, item)
		}
	}
	return nil
}

// policies are the ids of a subnet's service endpoint policies, "" for none.
func (e *exfil) policies(subnet string) (string, error) {
	if e.w.Policies == nil {
		return "", nil
	}
	all, err := e.w.Policies(subnet)
	var ids []string
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	return strings.Join(ids, ", "), err
}

func (e *exfil) dns(ctx context.Context) error {
	a, err := e.w.ask(ctx, e.p, fabric.WireServer.String(), fabric.UDP, 53)
	if err != nil {
		return err
	}
	if !a.Arrives() {
		e.r.Items = append(e.r.Items, Item{Level: Passed, Kind: KindDNS, What: "Azure's resolver is not reached", From: e.p.From, Answer: bare(a)})
		return nil
	}
	e.found(KindDNS, "Azure's resolver answers, and asks the internet for public names: data leave in the names that are asked for", a)
	return nil
}

// neighbours are interfaces in other virtual networks.
func (e *exfil) neighbours(ctx context.Context) error {
	for i := range e.w.Topology.VNets {
		v := &e.w.Topology.VNets[i]
		if v.ID == e.v.ID {
			continue
		}
		reached := 0
		var first *fabric.NIC
		var open []span
		for j := range v.NICs {
			n := &v.NICs[j]
			if n.Kind != fabric.Guest || len(n.Addrs) == 0 {
				continue
			}
			if ports := openPorts(e.w.Topology, e.p.At, n.Addrs[0], fabric.TCP); len(ports) > 0 {
				if reached++; first == nil {
					first, open = n, ports
				}
			}
		}
		if first == nil {
			continue
		}
		a, err := e.w.ask(ctx, e.p, first.Addrs[0].String(), fabric.TCP, favourite(open, 443))
		if err != nil {
			return err
		}
		e.found(KindPeering, fmt.Sprintf("%d interfaces of virtual network %s are reached by TCP: %s at %s", reached, v.ID, first.ID, describe(open)), a)
	}
	return nil
}

// privateEndpoints that lead into other subscriptions.
func (e *exfil) privateEndpoints(ctx context.Context) error {
	for _, v := range e.w.Topology.VNets {
		for _, n := range v.NICs {
			if n.Service == nil || len(n.Addrs) == 0 || subscription(n.Service.Target) == subscription(e.nic.Subnet) {
				continue
			}
			for _, port := range n.Service.Ports { // a private link service has a port for each rule of its load balancer
				a, err := e.w.ask(ctx, e.p, n.Addrs[0].String(), fabric.TCP, port)
				if err != nil {
					return err
				}
				if a.Arrives() {
					e.found(KindPrivate, fmt.Sprintf("private endpoint %s leads to %s, which is of another subscription", n.ID, n.Service.Target), a)
					break
				}
			}
		}
	}
	return nil
}

// gateways lead to networks that Azure does not see.
func (e *exfil) gateways(ctx context.Context) error {
	for _, g := range e.v.GatewayRoutes {
		i := slices.IndexFunc(e.v.NICs, func(n fabric.NIC) bool { return n.ID == g.NIC })
		if i < 0 {
			continue
		}
		somebody := g.Prefix.Masked().Addr().Next()
		if g.Prefix.Bits() == 0 { // nobody has 0.0.0.1
			var err error
			if somebody, err = netip.ParseAddr(e.w.Stranger); err != nil {
				return fmt.Errorf("audit: %w", err)
			}
		}
		open := openPorts(e.w.Topology, e.p.At, somebody, fabric.TCP)
		if len(open) == 0 {
			continue
		}
		a, err := e.w.ask(ctx, e.p, somebody.String(), fabric.TCP, favourite(open, 443))
		if err != nil {
			return err
		}
		e.r.Items = append(e.r.Items, Item{Level: Finding, Kind: KindGateway, What: fmt.Sprintf("%s lies behind the gateway and is reached by TCP at %s", g.Prefix, describe(open)), Answer: &a})
	}
	return nil
}
