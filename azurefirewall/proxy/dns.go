package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"vauban.dev/azurefirewall"
)

// Azure resolves the names of network rules every 15 seconds, and forgets an address 15 minutes after it was last
// in an answer.
// https://learn.microsoft.com/azure/firewall/fqdn-filtering-network-rules
const (
	refreshTime = 15 * time.Second
	learnedTime = 15 * time.Minute
	queryTime   = 4 * time.Second
)

// exchange asks the firewall's DNS servers, one after the other.
func (f *Firewall) exchange(ctx context.Context, m *dns.Msg, network string) (*dns.Msg, error) {
	rules := f.rules.Load()
	servers := []netip.AddrPort{f.cfg.DNS}
	if rules != nil && len(rules.Firewall().DNSServers) > 0 {
		servers = servers[:0]
		for _, a := range rules.Firewall().DNSServers {
			servers = append(servers, netip.AddrPortFrom(a, 53))
		}
	}
	var last error
	for _, s := range servers {
		answer, err := f.ask(ctx, m, network, s)
		if err == nil {
			return answer, nil
		}
		last = fmt.Errorf("DNS server %s does not answer: %w", s.Addr(), err)
	}
	return nil, last
}

func (f *Firewall) ask(ctx context.Context, m *dns.Msg, network string, server netip.AddrPort) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	c, err := f.cfg.Dial(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	conn := &dns.Conn{Conn: c, UDPSize: dns.MaxMsgSize}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // nobody waits for the answer any more
	defer stop()
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		answer, err := conn.ReadMsg()
		if err != nil {
			return nil, err
		}
		// Another answer than to this question is somebody's guess.
		if answer.Id == m.Id && answer.Response && len(answer.Question) == 1 && sameQuestion(answer.Question[0], m.Question[0]) {
			return answer, nil
		}
	}
}

func sameQuestion(a, b dns.Question) bool {
	return strings.EqualFold(a.Name, b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}

// resolve finds the IPv4 addresses of a name.
func (f *Firewall) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(strings.ToLower(host)), dns.TypeA)
	m.SetEdns0(1232, false)
	answer, err := f.exchange(ctx, m, "udp4")
	if err == nil && answer.Truncated {
		answer, err = f.exchange(ctx, m, "tcp4")
	}
	if err != nil {
		return nil, fmt.Errorf("the firewall cannot resolve %s: %w", host, err)
	}
	addrs := addresses(answer)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("the firewall cannot resolve %s: %s", host, dns.RcodeToString[answer.Rcode])
	}
	f.learn(host, addrs)
	return addrs, nil
}

func addresses(m *dns.Msg) (out []netip.Addr) {
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			if addr, ok := netip.AddrFromSlice(a.A.To4()); ok {
				out = append(out, addr)
			}
		}
	}
	return out
}

// learn lets the addresses of a name pass by the network rules that name it.
func (f *Firewall) learn(host string, addrs []netip.Addr) {
	rules := f.rules.Load()
	if rules == nil || len(addrs) == 0 {
		return
	}
	for _, list := range rules.Named(host) {
		if err := f.cfg.Learn(list, addrs, learnedTime); err != nil {
			f.cfg.Log.Error("firewall: addresses are not learned", "firewall", f.cfg.ID, "host", host, "error", err)
		}
	}
}

// Run resolves the names of network rules again and again, until ctx ends.
func (f *Firewall) Run(ctx context.Context) {
	tick := time.NewTicker(refreshTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.kick:
		}
		rules := f.rules.Load()
		if rules == nil {
			continue
		}
		for _, name := range rules.AllNames() {
			if _, err := f.resolve(ctx, name); err != nil && ctx.Err() == nil {
				f.cfg.Log.Debug("firewall", "id", f.cfg.ID, "error", err)
			}
		}
	}
}

// ServeDNS answers clients that have the firewall as their DNS server, by asking its own, until ctx ends. What it answers
// for names of network rules may be reached before the client knows it.
func (f *Firewall) ServeDNS(ctx context.Context, pc net.PacketConn, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { f.answer(ctx, w, m) })
	servers := []*dns.Server{{PacketConn: pc, Net: "udp", Handler: handler, UDPSize: 4096}, {Listener: l, Net: "tcp", Handler: handler}}
	errs := make(chan error, len(servers))
	var wg sync.WaitGroup
	var ready sync.WaitGroup
	for _, s := range servers {
		ready.Add(1)
		s.NotifyStartedFunc = ready.Done
		wg.Go(func() { errs <- s.ActivateAndServe() })
	}
	ready.Wait()
	var err error
	select {
	case <-ctx.Done():
	case err = <-errs:
	}
	cancel()
	for _, s := range servers {
		s.Shutdown()
	}
	wg.Wait()
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// answer forwards one question.
func (f *Firewall) answer(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	started := time.Now()
	rec := Record{Category: DNSQuery, ResourceID: f.cfg.ID, Protocol: strings.ToUpper(w.RemoteAddr().Network()), QueryID: m.Id}
	if a, err := netip.ParseAddrPort(w.RemoteAddr().String()); err == nil {
		rec.SourceIP, rec.SourcePort = a.Addr().Unmap().String(), a.Port()
	}
	reply := f.reply(ctx, m, w.RemoteAddr().Network(), &rec)
	rec.ResponseCode, rec.Duration = dns.RcodeToString[reply.Rcode], time.Since(started).Seconds()
	f.cfg.Records.Add(rec)
	w.WriteMsg(reply)
}

func (f *Firewall) reply(ctx context.Context, m *dns.Msg, network string, rec *Record) *dns.Msg {
	refuse := func(code int, why string) *dns.Msg {
		rec.ErrorMessage = why
		return new(dns.Msg).SetRcode(m, code)
	}
	if len(m.Question) != 1 || m.Opcode != dns.OpcodeQuery {
		return refuse(dns.RcodeNotImplemented, "not one plain question")
	}
	q := m.Question[0]
	rec.QueryName, rec.QueryType = q.Name, dns.TypeToString[q.Qtype]
	if q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		return refuse(dns.RcodeRefused, "zone transfers are refused")
	}
	select {
	case f.names <- struct{}{}:
		defer func() { <-f.names }()
	default:
		return refuse(dns.RcodeServerFailure, "too many questions at a time")
	}
	up := map[string]string{"udp": "udp4", "tcp": "tcp4"}[network]
	ask := m.Copy()
	ask.Id = dns.Id() // the client's is no secret of the firewall's
	answer, err := f.exchange(ctx, ask, up)
	if err != nil {
		return refuse(dns.RcodeServerFailure, err.Error())
	}
	answer.Id, answer.Compress = m.Id, true
	if network == "udp" {
		size := dns.MinMsgSize
		if o := m.IsEdns0(); o != nil {
			size = max(size, int(o.UDPSize()))
		}
		answer.Truncate(size)
	}
	if host, ok := azurefirewall.CanonicalHost(q.Name); ok && q.Qtype == dns.TypeA {
		f.learn(host, slices.Compact(addresses(answer)))
	}
	return answer
}
