package linux

import (
	"net"
	"net/netip"
	"testing"

	"vauban.dev/azurefirewall"
	"vauban.dev/fabric"
)

const spokeWork = "spoke-work"

// hubAndSpoke is a hub with a firewall, and a peered VNet whose subnet sends everything to it.
func hubAndSpoke(collections ...azurefirewall.Collection) *fabric.Topology {
	topo := firewalled(collections...)
	hub := &topo.VNets[0]
	spoke := fabric.VNet{
		ID: vnet2, Prefixes: []netip.Prefix{pfx("10.1.0.0/16")},
		Subnets: []fabric.Subnet{{ID: "spoke-net", Prefixes: []netip.Prefix{pfx("10.1.1.0/24")}, RouteTable: "out"}},
		NICs:    []fabric.NIC{{ID: spokeWork, Subnet: "spoke-net", Addrs: []netip.Addr{addr("10.1.1.4")}}},
	}
	hub.Peerings = []fabric.Peering{{ID: "hub-spoke", Remote: vnet2, Prefixes: spoke.Prefixes, Access: true, Forwarded: true}}
	spoke.Peerings = []fabric.Peering{{ID: "spoke-hub", Remote: vnet1, Prefixes: hub.Prefixes, Access: true, Forwarded: true}}
	topo.VNets = append(topo.VNets, spoke)
	return topo
}

// A spoke's traffic leaves by the firewall in its hub: allowed flows by the firewall's public address, and what application
// rules speak of ends in the proxy, with the client's own destination.
func TestFirewallInHub(t *testing.T) {
	d := newTestDriver(t, Config{})
	apps := azurefirewall.Collection{Name: "app", Priority: 200, Application: []azurefirewall.ApplicationRule{{Name: "a", Protocols: []azurefirewall.ApplicationProtocol{{Type: azurefirewall.HTTPS, Port: 443}},
		Sources: []string{"10.1.0.0/16"}, FQDNs: []string{"*"}}}}
	topo := hubAndSpoke(netRules("net", 100, false, tcp("web", "20.60.1.1", "8080")), apps)
	apply(t, d, compile(t, topo))
	seen, l := sources(t, listen(t, d, fabric.Place{Kind: fabric.AtInternet}, "20.60.1.1:8080"))
	echo(t, l)
	c, err := patient(t, d, nic(spokeWork), "20.60.1.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := say(c, "out"); err != nil {
		t.Fatal(err)
	}
	if a := <-seen; a != addr("20.50.0.9") {
		t.Errorf("the service sees %s", a)
	}
	proxy, err := d.ListenTransparent(t.Context(), nic(fwNIC), fabric.FirewallProxy.String())
	if err != nil {
		t.Fatal(err)
	}
	went := make(chan string, 1)
	echo(t, &listenerFunc{proxy, func(c net.Conn) { went <- c.RemoteAddr().(*net.TCPAddr).IP.String() + " to " + c.LocalAddr().String() }})
	captured, err := patient(t, d, nic(spokeWork), "20.60.77.7:443")
	if err != nil {
		t.Fatal(err)
	}
	defer captured.Close()
	if err := say(captured, "read me"); err != nil {
		t.Fatal(err)
	}
	if got := <-went; got != "10.1.1.4 to 20.60.77.7:443" {
		t.Errorf("the proxy sees %s", got)
	}
	// A source that no application rule names is not captured.
	if c, err := quick(t, d, nic(workNIC), "20.60.77.7:443"); err == nil {
		c.Close()
		t.Error("another source is captured")
	}
	if c, err := quick(t, d, nic(spokeWork), fabric.FirewallProxy.String()); err == nil {
		c.Close()
		t.Error("the proxy's own address is reached")
	}
	if c, err := quick(t, d, nic(spokeWork), "10.0.9.4:15443"); err == nil {
		c.Close()
		t.Error("the proxy is reached at the firewall's address")
	}
}

// listenerFunc tells of each connection.
type listenerFunc struct {
	net.Listener
	tell func(net.Conn)
}

func (l *listenerFunc) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.tell(c)
	}
	return c, err
}
