package linux

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A guest's own network hides addresses of the virtual network from it, in the kernel as in the model: packets there
// never leave, and answers to there neither.
func TestBridgeHidesAddresses(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := testTopology()
	apply(t, d, compile(t, topo))
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	echo(t, listen(t, d, nic(web1), "10.0.1.4:80"))
	if c, err := patient(t, d, nic(web1), "10.0.4.4:80"); err != nil {
		t.Fatal(err)
	} else {
		c.Close()
	}
	for i := range topo.VNets[0].NICs {
		if n := &topo.VNets[0].NICs[i]; n.ID == web1 {
			n.Bridge = netip.MustParsePrefix("10.0.4.0/24")
		}
	}
	apply(t, d, compile(t, topo))
	if _, err := patient(t, d, nic(web1), "10.0.4.4:80"); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("a packet to the bridge: %v", err)
	}
	for i := range topo.VNets[0].NICs {
		if n := &topo.VNets[0].NICs[i]; n.ID == web1 {
			if _, err := dialWithin(t, d, nic(lone1), netip.AddrPortFrom(n.Addrs[0], 80).String(), time.Second); err == nil {
				t.Error("an answer left the bridge")
			}
			n.Bridge = netip.Prefix{}
		}
	}
	apply(t, d, compile(t, topo))
	if c, err := patient(t, d, nic(web1), "10.0.4.4:80"); err != nil {
		t.Errorf("without a bridge: %v", err)
	} else {
		c.Close()
	}
}
