package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/dns"
	"vauban.dev/fabric/linux"
	"vauban.dev/fabric/probe"
	"vauban.dev/fabric/vpn"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
	"vauban.dev/provider/dnsresolver"
	"vauban.dev/provider/gateway"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatedns"
	"vauban.dev/provider/privatelink"
)

// netSync takes the network from the store to the kernel: topology, rules, listeners and names. One pass
// serves everybody who asked before it began.
type netSync struct {
	engine   *rp.Engine
	network  *network.Provider
	zones    *privatedns.Provider
	driver   *linux.Driver
	front    *httpx.Front
	links    *privatelink.Links
	public   *publicZone
	world    fabric.Internet // of the pass; outside() brings it up to date
	imds     listenerSpec
	log      *slog.Logger
	gateways *gateway.Provider
	vpn      *vpn.Engine
	bgp      *bgp.Speaker

	firewalls *firewalls

	compiler *fabric.Compiler
	current  atomic.Pointer[netView]

	mu      sync.Mutex
	waiting []chan error
	moved   []netip.Prefix // addresses that services got, for the next pass
	wake    chan struct{}

	servers   map[string]*served       // DNS servers by socket and VNet
	relays    map[linux.Socket]*served // of private endpoints to private link services
	forwarder *dns.Forwarder
	asked     asked
	sockets   map[linux.Socket]bool
	prober    *probe.Prober
}

// netView is the network as it was last applied: what listeners, explain and places read.
type netView struct {
	topology *fabric.Topology
	model    *dns.Model
	nics     map[string]map[netip.Addr]fabric.NIC // by VNet id and address
	relays   map[string]network.Relay             // by private endpoint: the private link service that it leads to
	names    map[string][]string                  // by private endpoint: the hosts that it leads to
	dns      dnsresolver.Model
	zones    []dns.Zone // of the model
	// resolvers say whom the machines behind NICs ask for names: by NIC, and by VNet for all others.
	resolvers map[string]network.Resolver
	gateways  gateway.Plan
	bastions  map[string]string // by the bastion\'s NIC: its DNS name
}

// resolver is what a NIC's machine is told about names.
func (v *netView) resolver(vnet, nic string) network.Resolver {
	if r, ok := v.resolvers[nic]; ok {
		return r
	}
	return v.resolvers[vnet]
}

// served is something that runs on a socket until it is stopped.
type served struct {
	stop context.CancelFunc
	done chan struct{}
}

// Sync returns when what was committed before the call is applied.
func (s *netSync) Sync(ctx context.Context) error {
	done := make(chan error, 1)
	s.mu.Lock()
	s.waiting = append(s.waiting, done)
	s.mu.Unlock()
	s.again()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run applies until ctx ends, then stops what it serves; sockets stay open in the holder.
func (s *netSync) run(ctx context.Context) {
	defer s.firewalls.close()
	defer s.stopServers(func(string) bool { return true })
	defer s.prober.Close()
	defer s.stopLinks(nil)
	for {
		select {
		case <-ctx.Done():
			s.answer(ctx.Err())
			return
		case <-s.wake:
		}
		s.mu.Lock()
		waiting := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		err := s.apply(ctx)
		if err != nil {
			s.log.Error("the network was not applied", "error", err)
		}
		for _, w := range waiting {
			w <- err
		}
	}
}

func (s *netSync) answer(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiting {
		w <- err
	}
	s.waiting = nil
}

// apply is one pass. A network that cannot be compiled or verified is not brought up (it fails closed).
func (s *netSync) apply(ctx context.Context) error {
	view := &netView{nics: map[string]map[netip.Addr]fabric.NIC{}, names: map[string][]string{}}
	if err := s.network.TendZones(ctx, s.zones); err != nil {
		return err
	}
	var names network.Names
	err := s.engine.View(ctx, func(tx *rp.Tx) (err error) {
		if view.topology, err = s.network.Topology(tx); err != nil {
			return err
		}
		if view.gateways, err = s.gateways.Extend(tx, view.topology); err != nil {
			return err
		}
		if err := s.firewalls.provider.Extend(tx, view.topology); err != nil {
			return err
		}
		if view.bastions, err = bastionNames(tx); err != nil {
			return err
		}
		if err := s.endpointNames(tx, view); err != nil {
			return err
		}
		if view.relays, err = network.Relays(tx); err != nil {
			return err
		}
		if names, err = s.network.Names(tx); err != nil {
			return err
		}
		var vnets []string
		for _, v := range view.topology.VNets {
			vnets = append(vnets, v.ID)
		}
		view.dns, err = dnsresolver.Read(tx, vnets)
		return err
	})
	if err != nil {
		return err
	}
	view.topology.Internet = s.outside()
	view.resolvers, view.zones = names.Resolvers, names.Zones
	view.model, err = dns.NewModel(dns.Config{Public: s.public, PublicZones: names.Public, Zones: names.Zones, Links: names.Links, Networks: names.Networks, Rulesets: view.dns.Rulesets})
	if err != nil {
		return err
	}
	for _, v := range view.topology.VNets {
		at := map[netip.Addr]fabric.NIC{}
		for _, n := range v.NICs {
			for _, a := range n.Addrs {
				at[a] = n
			}
		}
		view.nics[v.ID] = at
	}
	view.topology.Names = func(nic, name string) []netip.Addr { return view.resolution().FirewallNames(view.topology, nic, name) }
	s.setProbes(view.topology)
	state, err := s.compiler.Compile(view.topology)
	if err != nil {
		return fmt.Errorf("compile the network: %w", err)
	}
	if err := s.openEndpoints(ctx, view); err != nil {
		return err
	}
	if err := s.driver.Apply(ctx, state); err != nil {
		return fmt.Errorf("apply the network: %w", err)
	}
	s.prober.Start()
	s.current.Store(view)
	return s.listen(ctx, view)
}

// endpointNames notes what each private endpoint leads to: its target's hosts and nothing else, or it would
// be a way around the rules to every other service.
func (s *netSync) endpointNames(tx *rp.Tx, view *netView) error {
	for _, v := range view.topology.VNets {
		for _, n := range v.NICs {
			if n.Service == nil {
				continue
			}
			target, err := arm.ParseID(n.Service.Target)
			if err != nil {
				return err
			}
			if view.names[n.ID], err = s.links.Names(tx, target, n.Service.GroupID); err != nil {
				return err
			}
		}
	}
	return nil
}

// leadsTo reports whether host is one of names; "*.x" is any name below x.
func leadsTo(names []string, host string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		if suffix, ok := strings.CutPrefix(n, "*"); ok {
			return strings.HasSuffix(host, suffix)
		}
		return n == host
	})
}

// listenerSpec is how one kind of platform listener is served.
type listenerSpec = httpx.Listener

// listen opens what the topology asks for and closes what it does not: DNS and IMDS in every VNet, and
// each private endpoint's addresses.
func (s *netSync) listen(ctx context.Context, view *netView) error {
	want := map[linux.Socket]bool{}
	fronts := map[string]bool{}
	names := map[string]bool{}
	var errs []error
	for _, v := range view.topology.VNets {
		router := fabric.Place{Kind: fabric.AtRouter, ID: v.ID}
		errs = append(errs, s.serveDNS(ctx, router, fabric.WireServer, v.ID, want, names))
		imds := s.imds
		imds.Origin = s.originIn(v.ID, nil)
		errs = append(errs, s.serveFront(ctx, router, netip.AddrPortFrom(fabric.IMDS, 80), imds, want, fronts))
		errs = append(errs, s.serveEndpoints(ctx, &v, want, fronts))
		for _, n := range v.NICs {
			if n.Kind != fabric.Endpoint || n.Service == nil {
				continue
			}
			if _, ok := view.relays[n.ID]; ok {
				errs = append(errs, s.serveLink(ctx, router, &n, want))
				continue
			}
			for _, a := range n.Addrs {
				for _, port := range n.Service.Ports {
					l := httpx.Listener{TLS: port != 80, Origin: s.originIn(v.ID, &n)}
					l.Serves = func(host string, _ netip.Addr) bool { return leadsTo(s.current.Load().names[n.ID], host) }
					errs = append(errs, s.serveFront(ctx, router, netip.AddrPortFrom(a, port), l, want, fronts))
				}
			}
		}
	}
	errs = append(errs, s.serveVPN(ctx, view, want), s.serveCircuits(ctx, view, want), s.serveFirewalls(ctx, view, want, names), s.serveBastions(ctx, view, want, fronts))
	inet := fabric.Place{Kind: fabric.AtInternet}
	errs = append(errs, s.serveDNS(ctx, inet, fabric.WireServer, "", want, names))
	for _, e := range view.dns.Inbound {
		errs = append(errs, s.serveDNS(ctx, fabric.Place{Kind: fabric.AtNIC, ID: e.NIC}, e.Addr, e.VNet, want, names))
	}
	for _, port := range []uint16{443, 80} {
		l := httpx.Listener{TLS: port == 443, Origin: fromInternet, Serves: s.public.leads}
		errs = append(errs, s.serveFront(ctx, inet, netip.AddrPortFrom(netip.IPv4Unspecified(), port), l, want, fronts))
	}
	for _, h := range s.world.Hosts {
		if handler := strangers[h.Name]; handler != nil {
			at := fabric.Place{Kind: fabric.AtHost, ID: h.Name}
			l := httpx.Listener{TLS: true, Origin: fromInternet, Handler: handler}
			errs = append(errs, s.serveFront(ctx, at, netip.AddrPortFrom(h.Addr, 443), l, want, fronts))
		}
	}
	for _, id := range s.front.Listeners() {
		if !fronts[id] && id != loopbackID {
			s.front.Remove(id)
			// Else a pass after a failed one would take it for served.
			maps.DeleteFunc(s.sockets, func(sock linux.Socket, _ bool) bool { return fmt.Sprint(sock) == id })
		}
	}
	s.stopServers(func(id string) bool { return !names[id] })
	s.stopLinks(want)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.sockets = want
	return s.driver.ReleaseListeners(ctx, want)
}

func (s *netSync) serveFront(ctx context.Context, at fabric.Place, addr netip.AddrPort, l httpx.Listener, want map[linux.Socket]bool, fronts map[string]bool) error {
	return s.serveOn(at, addr, l, want, fronts, func() (net.Listener, error) {
		return s.driver.Listen(ctx, at, "tcp4", addr.String())
	})
}

// serveOn serves what open listens on, unless it is served already.
func (s *netSync) serveOn(at fabric.Place, addr netip.AddrPort, l httpx.Listener, want map[linux.Socket]bool, fronts map[string]bool, open func() (net.Listener, error)) error {
	sock := linux.Socket{At: at, Network: "tcp", Addr: addr.String()}
	l.ID = fmt.Sprint(sock)
	want[sock], fronts[l.ID] = true, true
	if s.sockets[sock] {
		return nil
	}
	n, err := open()
	if err != nil {
		return err
	}
	l.Net = n
	if err := s.front.Add(l); err != nil {
		return err
	}
	s.sockets[sock] = true
	return nil
}

// serveDNS serves the names of a VNet ("" = the internet) at an address of a place, by UDP and TCP: the
// platform's in its router, and those of inbound endpoints.
func (s *netSync) serveDNS(ctx context.Context, at fabric.Place, a netip.Addr, vnet string, want map[linux.Socket]bool, serving map[string]bool) error {
	addr := netip.AddrPortFrom(a, 53).String()
	udp, tcp := linux.Socket{At: at, Network: "udp", Addr: addr}, linux.Socket{At: at, Network: "tcp", Addr: addr}
	want[udp], want[tcp] = true, true
	id := fmt.Sprint(udp, " ", vnet)
	serving[id] = true
	if s.servers[id] != nil {
		return nil
	}
	pc, err := s.driver.ListenPacket(ctx, at, addr)
	if err != nil {
		return err
	}
	l, err := s.driver.Listen(ctx, at, "tcp4", addr)
	if err != nil {
		pc.Close()
		return err
	}
	until, stop := context.WithCancel(context.WithoutCancel(ctx))
	run := &served{stop: stop, done: make(chan struct{})}
	s.servers[id] = run
	go func() {
		defer close(run.done)
		from := dns.Source{
			Resolve: func(name string, qtype uint16) dns.Answer { return s.current.Load().model.Resolve(vnet, name, qtype) },
			Forward: func(ctx context.Context, a dns.Answer, qtype uint16) dns.Answer {
				return s.forwarder.Complete(ctx, s.current.Load().model, vnet, a, qtype)
			},
			Answered: func(client net.Addr, name string, a dns.Answer) { s.asked.note(vnet, client, name, a) },
		}
		if err := dns.Serve(until, pc, l, from); err != nil {
			s.log.Error("DNS", "at", id, "error", err)
		}
	}()
	return nil
}

// dialDNS opens a socket at an outbound endpoint's interface.
func (s *netSync) dialDNS(ctx context.Context, endpoint, network string, server netip.AddrPort) (net.Conn, error) {
	return s.driver.Dial(ctx, fabric.Place{Kind: fabric.AtNIC, ID: endpoint}, network+"4", server.String())
}

func (s *netSync) stopServers(which func(id string) bool) {
	for id, run := range s.servers {
		if which(id) {
			run.stop()
			<-run.done
			delete(s.servers, id)
		}
	}
}

// fromInternet is the origin of what reaches a public address.
func fromInternet(c net.Conn) origin.Origin {
	return origin.Origin{Kind: origin.Internet, Source: remote(c)}
}

func remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// originIn is the origin of what reaches a listener in a VNet's router: anti-spoofing makes the source
// address that of one NIC. endpoint is nil for the platform's own addresses.
func (s *netSync) originIn(vnet string, endpoint *fabric.NIC) func(net.Conn) origin.Origin {
	return func(c net.Conn) origin.Origin {
		o := origin.Origin{Kind: origin.Platform, Source: remote(c), VNet: vnet}
		if n, ok := s.current.Load().nics[vnet][o.Source]; ok {
			o.NIC, o.Subnet = n.ID, n.Subnet
		}
		if endpoint != nil {
			o.Kind = origin.PrivateEndpoint
			o.Endpoint, o.Target, o.GroupID = endpoint.ID, endpoint.Service.Target, endpoint.Service.GroupID
		}
		return o
	}
}
