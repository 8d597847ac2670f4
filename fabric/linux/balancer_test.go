package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"vauban.dev/fabric"
)

// balancers gives every VNet a load balancer with internal and public frontends.
func (g *generator) balancers(topo *fabric.Topology) {
	for i := range topo.VNets {
		v := &topo.VNets[i]
		b := fabric.LoadBalancer{ID: v.ID + "-balancer", VNet: v.ID, Probes: []fabric.Probe{{ID: "probe", Port: 9000}}}
		backends := func(n int) (out []fabric.Backend) {
			for range n {
				if m := pick(g, v.NICs...); m.Kind == fabric.Guest {
					out = append(out, fabric.Backend{NIC: m.ID, Addr: m.Addrs[0], Down: g.chance(20)})
				}
			}
			return out
		}
		for f, at := range []fabric.Frontend{
			{Subnet: v.Subnets[0].ID, Addr: addr(fmt.Sprintf("10.%d.0.100", g.net(i)))}, {Subnet: v.Subnets[1].ID, Addr: addr(fmt.Sprintf("10.%d.1.100", g.net(i)))}, {Addr: addr(fmt.Sprintf("20.53.%d.1", i))},
		} {
			at.ID = fmt.Sprintf("%s/f%d", b.ID, f)
			b.Frontends = append(b.Frontends, at)
			floating := g.chance(40)
			for _, r := range []fabric.BalancingRule{{Protocol: fabric.TCP, Port: 443, BackendPort: 443}, {Protocol: fabric.UDP, Port: 53, BackendPort: 53}, {Protocol: fabric.AnyProtocol}} {
				if r.Port == 0 && f > 0 {
					continue
				}
				r.ID, r.Frontend, r.FloatingIP = fmt.Sprintf("%s/%d", at.ID, r.Port), at.ID, floating
				r.Affinity, r.Backends, r.Probe = pick(g, fabric.FiveTuple, fabric.SourceIP, fabric.SourceProtocol), backends(1+g.IntN(4)), pick(g, "", "probe")
				if !floating && r.Protocol == fabric.TCP {
					r.BackendPort = pick[uint16](g, 443, 8080)
				}
				b.Rules = append(b.Rules, r)
			}
			for _, m := range backends(1) {
				m.Down = false
				b.NATRules = append(b.NATRules, fabric.InboundNATRule{ID: at.ID + "/nat", Frontend: at.ID, Protocol: fabric.TCP, Port: 9000, BackendPort: 22, Backend: m})
			}
		}
		topo.LoadBalancers = append(topo.LoadBalancers, b)
	}
}

// floating are the frontends that a NIC has on lo.
func floating(topo *fabric.Topology, nic string) (out []netip.Addr) {
	for _, b := range topo.LoadBalancers {
		at := map[string]netip.Addr{}
		for _, f := range b.Frontends {
			at[f.ID] = f.Addr
		}
		for _, r := range b.Rules {
			for _, m := range r.Backends {
				if r.FloatingIP && m.NIC == nic {
					out = append(out, at[r.Frontend])
				}
			}
		}
	}
	return out
}

// balanced is the test network with an internal frontend 10.0.1.100:80 → 8080 before web-2 and data-1, one with
// floating IP at 10.0.1.101, and a public one at 20.53.0.1 before the NIC that NSGs open for 22.
func balanced(down ...string) *fabric.Topology {
	topo := testTopology()
	pool := []fabric.Backend{{NIC: web2, Addr: addr("10.0.1.5")}, {NIC: publicNIC, Addr: addr("10.0.5.4")}}
	for i := range pool {
		for _, d := range down {
			pool[i].Down = pool[i].Down || pool[i].NIC == d
		}
	}
	public := pool[1:]
	topo.LoadBalancers = []fabric.LoadBalancer{{
		ID: "lb", VNet: vnet1,
		Frontends: []fabric.Frontend{
			{ID: "in", Subnet: "web", Addr: addr("10.0.1.100")}, {ID: "float", Subnet: "web", Addr: addr("10.0.1.101")}, {ID: "out", Addr: addr("20.53.0.1")},
		},
		Rules: []fabric.BalancingRule{
			{ID: "web", Frontend: "in", Protocol: fabric.TCP, Port: 80, BackendPort: 8080, Backends: pool, Probe: "probe"},
			{ID: "float", Frontend: "float", Protocol: fabric.AnyProtocol, FloatingIP: true, Backends: pool[:1]},
			{ID: "public", Frontend: "out", Protocol: fabric.TCP, Port: 22, BackendPort: 22, Backends: public},
		},
		NATRules: []fabric.InboundNATRule{{ID: "ssh", Frontend: "out", Protocol: fabric.TCP, Port: 2222, BackendPort: 22, Backend: public[0]}},
		Probes:   []fabric.Probe{{ID: "probe", Port: 8080}},
	}}
	return topo
}

// By a load balancer both backends get connections, which keep theirs; one that is down gets no new ones. The
// client sees the frontend, the backend the client.
func TestLoadBalancer(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, balanced()))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	serve := func(id, at string) <-chan netip.Addr {
		seen, l := sources(t, listen(t, d, nic(id), at))
		echo(t, l)
		return seen
	}
	one, two := serve(web2, "10.0.1.5:8080"), serve(publicNIC, "10.0.5.4:8080")
	ssh, floating := serve(publicNIC, "10.0.5.4:22"), serve(web2, "10.0.1.101:80")
	connect := func(from fabric.Place, to string) net.Conn {
		t.Helper()
		c, err := patient(t, d, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if err := say(c, "hello"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var open []net.Conn
	for len(one) == 0 || len(two) == 0 {
		if open = append(open, connect(nic(web1), "10.0.1.100:80")); len(open) > 40 {
			t.Fatalf("%d connections went to one backend, %d to the other", len(one), len(two))
		}
	}
	if from := <-one; from != addr("10.0.1.4") {
		t.Errorf("the backend sees %s", from)
	}
	connect(nic(web1), "10.0.1.101:80")
	if from := <-floating; from != addr("10.0.1.4") {
		t.Errorf("the backend with the floating IP sees %s", from)
	}
	host := fabric.Place{Kind: fabric.AtHost, ID: attacker}
	for _, to := range []string{"20.53.0.1:22", "20.53.0.1:2222"} {
		connect(host, to)
		if from := <-ssh; from != addr("198.51.100.7") {
			t.Errorf("the public backend sees %s", from)
		}
	}
	if _, err := quick(t, d, host, "20.53.0.1:80"); err == nil {
		t.Error("a frontend answers on a port without a rule")
	}

	apply(t, d, compile(t, balanced(web2)))
	for _, c := range open {
		if err := say(c, "still there"); err != nil {
			t.Error("a connection that stood:", err)
		}
	}
	before := len(one)
	for range 5 {
		connect(nic(web1), "10.0.1.100:80")
	}
	if len(one) != before {
		t.Error("a backend that is down got a connection")
	}
	apply(t, d, compile(t, balanced(web2, publicNIC)))
	if _, err := quick(t, d, nic(web1), "10.0.1.100:80"); err == nil {
		t.Error("a frontend without healthy backends answers")
	}
	refused, err := d.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if refused[fabric.FabricRule(fabric.RuleNoBackend)] == 0 {
		t.Error("no counter says that there is no backend")
	}
}

// The router probes its backends through their own groups: one that refuses AzureLoadBalancer looks down.
func TestLoadBalancerProbe(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := balanced()
	apply(t, d, compile(t, topo))
	echo(t, listen(t, d, nic(web2), "10.0.1.5:8080"))
	probe := func(to string, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := d.DialFrom(ctx, router(vnet1), fabric.WireServer, netip.MustParseAddrPort(to))
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := probe("10.0.1.5:8080", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := probe("10.0.5.4:8080", 20*time.Second); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a backend without a listener: %v, want it refused", err)
	}
	web := topo.NSGs["nsg-web"]
	web.Rules = append(web.Rules, rule("no-probes", 90, fabric.Inbound, false, fabric.AnyProtocol, "AzureLoadBalancer", "*", "*"))
	apply(t, d, compile(t, topo))
	if err := probe("10.0.1.5:8080", 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("a probe passed a group that refuses it")
	}
	if err := probe("10.0.1.5:22", 300*time.Millisecond); err == nil {
		t.Error("the router reached a port that no probe asks")
	}
}
