package linux

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"vauban.dev/fabric"
)

// withEndpoint gives the subnet of web-1 and web-2 a service endpoint for 20.60.0.0/16.
func withEndpoint(on bool) *fabric.Topology {
	topo := testTopology()
	if on {
		topo.VNets[0].Subnets[0].ServiceEndpoints = []fabric.ServiceEndpoint{{Service: "Microsoft.Storage", Prefixes: []netip.Prefix{pfx("20.60.0.0/16")}}}
	}
	return topo
}

// sources accepts connections, echoes lines on them, and says where they came from.
func sources(t testing.TB, l net.Listener) (<-chan netip.Addr, net.Listener) {
	seen := make(chan netip.Addr, 1000)
	return seen, &noted{l, seen}
}

type noted struct {
	net.Listener
	seen chan<- netip.Addr
}

func (n *noted) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.seen <- netip.MustParseAddrPort(c.RemoteAddr().String()).Addr()
	}
	return c, err
}

// A service endpoint is switched on and off while connections run and new ones are made: none is lost, new
// ones come by the new path, and those that stand go on by the one that they began on.
func TestServiceEndpointUnderLoad(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, withEndpoint(false)))
	const service = "20.60.1.1:443"
	outside, l := sources(t, listen(t, d, fabric.Place{Kind: fabric.AtInternet}, service))
	echo(t, l)
	inside, err := d.ListenTransparent(t.Context(), router(vnet1), service)
	if err != nil {
		t.Fatal(err)
	}
	within, l := sources(t, inside)
	echo(t, l)
	own := addr("10.0.1.4")
	connect := func(seen <-chan netip.Addr, private bool) net.Conn {
		t.Helper()
		c, err := patient(t, d, nic(web1), service)
		if err != nil {
			t.Fatal(err)
		}
		if err := say(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if from := <-seen; (from == own) != private {
			t.Errorf("seen from %s", from)
		}
		return c
	}
	old := connect(outside, false)
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := dialWithin(t, d, nic(web2), service, 20*time.Second)
			if err == nil {
				err = say(c, "load")
				c.Close()
			}
			if err != nil {
				t.Error(err)
				return
			}
			select { // where it came from does not matter
			case <-outside:
			case <-within:
			}
		}
	})
	apply(t, d, compile(t, withEndpoint(true)))
	for range 5 {
		apply(t, d, compile(t, withEndpoint(false)))
		apply(t, d, compile(t, withEndpoint(true)))
	}
	close(stop)
	load.Wait()
	if err := say(old, "the old path"); err != nil {
		t.Error(err)
	}
	by := connect(within, true)
	// Another subnet has no endpoint, and the other VNet with equal addresses has none.
	for _, n := range []string{data1, twin1} {
		c, err := quick(t, d, nic(n), service)
		if err == nil {
			c.Close()
		}
		if from := fabric.Explain(withEndpoint(true), fabric.Flow{From: nic(n), Dst: addr("20.60.1.1"), Protocol: fabric.TCP, DstPort: 443}); (from.Verdict == fabric.Allowed) != (err == nil) {
			t.Errorf("%s: %v, but the model says %v", n, err, from)
		}
	}
	apply(t, d, compile(t, withEndpoint(false)))
	if err := say(by, "still by the endpoint"); err != nil {
		t.Error(err)
	}
	for len(outside) > 0 {
		<-outside
	}
	connect(outside, false)
	if err := d.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}
