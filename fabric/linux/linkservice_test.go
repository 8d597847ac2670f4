package linux

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"vauban.dev/fabric"
	"vauban.dev/internal/relay"
)

// offered is the test network with a private link service before the internal frontend, whose only healthy
// backend is web-2, and an endpoint of the other VNet that leads to it.
func offered() *fabric.Topology {
	topo := balanced(publicNIC)
	topo.VNets[0].NICs = append(topo.VNets[0].NICs, fabric.NIC{ID: "pls", Kind: fabric.Endpoint, Subnet: "lone", Addrs: []netip.Addr{addr("10.0.4.9")}})
	topo.VNets[1].NICs = append(topo.VNets[1].NICs, fabric.NIC{ID: "offer", Kind: fabric.Endpoint, Subnet: "twin", Addrs: []netip.Addr{addr("10.0.2.9")},
		Service: &fabric.Service{Target: "pls", Ports: []uint16{80}}})
	topo.LinkServices = []fabric.LinkService{{ID: "pls", VNet: vnet1, Frontend: "in"}}
	return topo
}

// By a private endpoint a client of one VNet reaches a backend in another, which has the same addresses. The
// backend sees the service's address, its security group judges it, and the service reaches nothing else.
func TestLinkService(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := offered()
	apply(t, d, compile(t, topo))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen, l := sources(t, listen(t, d, nic(web2), "10.0.1.5:8080"))
	echo(t, l)
	way, ok := topo.LinkWay("pls")
	if !ok {
		t.Fatal("the service has no way")
	}
	dial := func(to string, patience time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return d.DialFrom(ctx, router(way.VNet), way.Sources[0], netip.MustParseAddrPort(to))
	}
	r := relay.Relay{Listener: listen(t, d, router(vnet2), "10.0.2.9:80"), Log: slog.New(slog.DiscardHandler),
		Dial: func(context.Context) (net.Conn, error) {
			return dial(netip.AddrPortFrom(way.Frontend, 80).String(), time.Second)
		}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ask := func() error {
		c, err := patient(t, d, nic(twin1), "10.0.2.9:80")
		if err != nil {
			return err
		}
		defer c.Close()
		return say(c, "hello")
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if from := <-seen; from != addr("10.0.4.9") {
		t.Errorf("the backend sees %s", from)
	}
	for _, to := range []string{"10.0.1.5:8080", "10.0.1.4:22", "10.0.1.101:80", "10.0.1.100:81", "20.60.0.1:443"} {
		if c, err := dial(to, 200*time.Millisecond); err == nil {
			c.Close()
			t.Errorf("the service reaches %s", to)
		}
	}
	if _, err := quick(t, d, nic(web1), "10.0.4.9:80"); err == nil {
		t.Error("something answers at the service's own address")
	}

	web := topo.NSGs["nsg-web"]
	web.Rules = append(web.Rules, rule("no-link", 90, fabric.Inbound, false, fabric.TCP, "10.0.4.9", "*", "8080"))
	apply(t, d, compile(t, topo))
	if err := ask(); err == nil {
		t.Error("the backend's security group does not judge")
	}
	refused, err := d.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := fabric.Explain(topo, fabric.Flow{From: nic(twin1), Dst: addr("10.0.2.9"), Protocol: fabric.TCP, SrcPort: 40000, DstPort: 80})
	if e.By.Rule != "no-link" || refused[e.By] == 0 {
		t.Errorf("%s; that rule refused %d packets", e, refused[e.By])
	}
}
