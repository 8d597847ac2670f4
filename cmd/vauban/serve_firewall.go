package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vauban.dev/azurefirewall"
	"vauban.dev/azurefirewall/proxy"
	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	fwprovider "vauban.dev/provider/azurefirewall"
	"vauban.dev/region"
)

// logRecords is how many records of its firewalls' logs the region keeps.
const logRecords = 10000

// firewalls are the region's Azure Firewalls: the kernel judges their packets, what they read is read here. They are
// run by netSync's passes alone.
type firewalls struct {
	provider *fwprovider.Provider
	records  *proxy.Log
	driver   *linux.Driver
	secrets  vaultReader
	roots    *x509.CertPool
	log      *slog.Logger

	running map[string]*runningFirewall                 // by NIC
	byNS    atomic.Pointer[map[string]*runningFirewall] // for the reading of packets' logs
	stop    func()                                      // ends it; nil while there are no firewalls
}

// runningFirewall is one of them, and the rules that it has.
type runningFirewall struct {
	*proxy.Firewall
	model *azurefirewall.Firewall
	rules map[string]loggedRule // by the counter's name
}

// loggedRule is what a packet's log line stands for.
type loggedRule struct {
	ref    azurefirewall.Ref
	action string // Allow, Deny, DNAT
	to     netip.AddrPort
}

func newFirewalls(w *world) *firewalls {
	f := &firewalls{records: proxy.NewLog(logRecords, w.clock.Now), log: w.log, running: map[string]*runningFirewall{}}
	f.records.Tell(w.resourceLogs.firewall)
	f.provider = fwprovider.New(fwprovider.Config{Network: w.network, Sync: w.sync, Tags: w.tags.Prefixes})
	f.secrets = vaultReader{w}
	f.roots = x509.NewCertPool()
	f.roots.AppendCertsFromPEM(w.authority.PEM())
	return f
}

// serveFirewalls brings the firewalls of a view into force: their rules, their transparent proxies and DNS proxies.
func (s *netSync) serveFirewalls(ctx context.Context, view *netView, want map[linux.Socket]bool, names map[string]bool) error {
	f := s.firewalls
	stay := map[string]bool{}
	var errs []error
	for _, v := range view.topology.VNets {
		for i := range v.NICs {
			n := &v.NICs[i]
			if n.Firewall == nil {
				continue
			}
			stay[n.ID] = true
			run, err := f.update(n, view.topology.Tags.Prefixes)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, s.serveFirewall(ctx, n, run, want, names))
		}
	}
	for id := range f.running {
		if !stay[id] {
			delete(f.running, id)
		}
	}
	f.follow(ctx)
	return errors.Join(errs...)
}

// update gives a firewall its rules, and makes it when it is new.
func (f *firewalls) update(n *fabric.NIC, tags azurefirewall.TagSource) (*runningFirewall, error) {
	run := f.running[n.ID]
	if run != nil && reflect.DeepEqual(run.model, n.Firewall) {
		return run, nil
	}
	rules, err := azurefirewall.New(n.Firewall, tags)
	if err != nil {
		return nil, err
	}
	if run == nil {
		run = &runningFirewall{Firewall: proxy.New(f.config(n))}
	}
	f.running[n.ID] = &runningFirewall{Firewall: run.Firewall, model: n.Firewall, rules: loggedRules(n.Firewall)}
	run.Update(rules)
	return f.running[n.ID], nil
}

func (f *firewalls) config(n *fabric.NIC) proxy.Config {
	at := fabric.Place{Kind: fabric.AtNIC, ID: n.ID}
	return proxy.Config{
		ID: n.Firewall.ID, DNS: netip.AddrPortFrom(fabric.WireServer, 53), Roots: f.roots, Records: f.records, Log: f.log,
		Authority: f.secrets.authority(n.Firewall.ID),
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return f.driver.Dial(ctx, at, network, addr)
		},
		Learn: func(fqdns []string, addrs []netip.Addr, keep time.Duration) error {
			return f.driver.Learn(at, fabric.LearnedSet(fqdns), addrs, keep)
		},
	}
}

// loggedRules are the rules that the kernel logs in a firewall's name.
func loggedRules(f *azurefirewall.Firewall) map[string]loggedRule {
	out := map[string]loggedRule{fabric.FirewallRule(f.ID, azurefirewall.Ref{}).Counter(): {action: "Deny"}}
	for _, r := range f.NATRules() {
		out[fabric.FirewallRule(f.ID, r.Ref).Counter()] = loggedRule{r.Ref, "DNAT", netip.AddrPortFrom(r.Rule.Address, r.Rule.Port)}
	}
	for _, r := range f.NetworkRules() {
		action := "Allow"
		if r.Deny {
			action = "Deny"
		}
		out[fabric.FirewallRule(f.ID, r.Ref).Counter()] = loggedRule{r.Ref, action, netip.AddrPort{}}
	}
	return out
}

// serveFirewall opens a firewall's sockets and serves what comes to them.
func (s *netSync) serveFirewall(ctx context.Context, n *fabric.NIC, run *runningFirewall, want map[linux.Socket]bool, names map[string]bool) error {
	at := fabric.Place{Kind: fabric.AtNIC, ID: n.ID}
	id, addr := "firewall "+n.ID, fabric.FirewallProxy.String()
	want[linux.Socket{At: at, Network: "tcp", Addr: addr}], names[id] = true, true
	if s.servers[id] == nil {
		l, err := s.driver.ListenTransparent(ctx, at, addr)
		if err != nil {
			return err
		}
		s.begin(ctx, id, func(ctx context.Context) error {
			var wg sync.WaitGroup
			wg.Go(func() { run.Run(ctx) })
			defer wg.Wait()
			return run.Serve(ctx, l)
		})
	}
	if !n.Firewall.DNSProxy {
		return nil
	}
	addr = netip.AddrPortFrom(n.Addrs[0], 53).String()
	id = "firewall DNS " + n.ID + " " + addr
	want[linux.Socket{At: at, Network: "udp", Addr: addr}], want[linux.Socket{At: at, Network: "tcp", Addr: addr}], names[id] = true, true, true
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
	s.begin(ctx, id, func(ctx context.Context) error { return run.ServeDNS(ctx, pc, l) })
	return nil
}

// begin runs f until stopServers ends it by its id.
func (s *netSync) begin(ctx context.Context, id string, f func(context.Context) error) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	run := &served{stop: stop, done: make(chan struct{})}
	s.servers[id] = run
	go func() {
		defer close(run.done)
		if err := f(serving); err != nil {
			s.log.Error(id, "error", err)
		}
	}()
}

// follow reads the packets that the kernel logs in firewalls' names, while there are firewalls.
func (f *firewalls) follow(ctx context.Context) {
	byNS := map[string]*runningFirewall{}
	for nic, run := range f.running {
		byNS[fabric.NICNS(nic)] = run
	}
	f.byNS.Store(&byNS)
	switch {
	case len(byNS) == 0:
		f.close()
	case f.stop == nil:
		reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
		var wg sync.WaitGroup
		for _, packets := range []<-chan linux.Drop{f.driver.Passed(reading), f.driver.Drops(reading)} {
			wg.Go(func() {
				for p := range packets {
					if run := (*f.byNS.Load())[p.Namespace]; run != nil {
						run.packet(f.records, p)
					}
				}
			})
		}
		f.stop = func() {
			cancel()
			wg.Wait()
		}
	}
}

// close ends the reading of packets' logs.
func (f *firewalls) close() {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// publicOf is the address that a firewall is seen with outside; zero if it has none.
func (s *netSync) publicOf(firewall string) netip.Addr {
	view := s.current.Load()
	if view == nil {
		return netip.Addr{}
	}
	for _, v := range view.topology.VNets {
		for _, n := range v.NICs {
			if n.Firewall != nil && n.Firewall.ID == firewall && len(n.Public) > 0 {
				return n.Public[0].Public
			}
		}
	}
	return netip.Addr{}
}

// packet writes the log record of a packet.
func (r *runningFirewall) packet(log *proxy.Log, p linux.Drop) {
	rule, ok := r.rules[p.Prefix]
	if !ok {
		return
	}
	rec := proxy.Record{Category: proxy.NetworkRule, ResourceID: r.model.ID, Protocol: strings.ToUpper(p.Protocol.String())}
	rec.From(p.Src, p.Dst)
	rec.By(rule.ref, rule.action, "")
	if rule.to.IsValid() {
		rec.Category, rec.TranslatedIP, rec.TranslatedPort = proxy.NATRule, rule.to.Addr().String(), rule.to.Port()
		for _, a := range r.model.Publics {
			if a.Private == p.Dst.Addr() {
				rec.DestinationIP = a.Public.String()
			}
		}
	}
	log.Add(rec)
}

// methodFirewallLog gives the last records of firewalls' logs.
const methodFirewallLog = "firewall-log" // firewallLogParams → []proxy.Record

type firewallLogParams struct {
	Firewall string `json:"firewall,omitempty"` // name, GROUP/NAME or id; "" for all
	Lines    int    `json:"lines"`
}

func (w *world) firewallLog(_ context.Context, r region.Request) (region.Reply, error) {
	var p firewallLogParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	if p.Lines <= 0 || p.Lines > logRecords {
		return region.Reply{}, badRequest("lines must be between 1 and %d", logRecords)
	}
	out := []proxy.Record{}
	for _, rec := range w.sync.firewalls.records.Last(logRecords, "") {
		if p.Firewall == "" || meansResource(p.Firewall, rec.ResourceID) {
			out = append(out, rec)
		}
	}
	return region.Reply{Result: out[max(0, len(out)-p.Lines):]}, nil
}

// meansResource tells whether a name, GROUP/NAME or id is that of a resource.
func meansResource(text, id string) bool {
	parts := strings.Split(id, "/")
	name := parts[len(parts)-1]
	return strings.EqualFold(text, id) || strings.EqualFold(text, name) || len(parts) > 4 && strings.EqualFold(text, parts[4]+"/"+name)
}
