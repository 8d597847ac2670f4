package linux

import (
	"errors"
	"io/fs"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

const gatewayNIC = "gateway"

func tunnelTopology(names ...string) *fabric.Topology {
	t := testTopology()
	v := &t.VNets[0]
	n := fabric.NIC{ID: gatewayNIC, Subnet: "lone", Addrs: []netip.Addr{addr("10.0.4.9")}, Forwarding: true}
	for i, name := range names {
		n.Tunnels = append(n.Tunnels, fabric.Tunnel{Name: name, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20, byte(i), 0}), 24)}})
	}
	v.NICs = append(v.NICs, n)
	return t
}

func TestTunnels(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, tunnelTopology("one", "two")))
	golden := dump(t, d)

	f, err := d.OpenTunnel(gatewayNIC, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := d.OpenTunnel(gatewayNIC, "one"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a tunnel that is held: %v", err)
	}
	if _, err := d.OpenTunnel(gatewayNIC, "three"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tunnel that is not desired: %v", err)
	}
	if _, err := d.OpenTunnel("nobody", "one"); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("a NIC that is not desired: %v", err)
	}

	// A driver without memory leaves the device, and who holds it, alone.
	other := newTestDriver(t, Config{NetnsDir: d.dir})
	apply(t, other, compile(t, tunnelTopology("one", "two")))
	if diff := cmp.Diff(golden, dump(t, other)); diff != "" {
		t.Error(diff)
	}
	if _, err := d.OpenTunnel(gatewayNIC, "one"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the tunnel was made again: %v", err)
	}

	// One that is gone is noticed without being told; one that is not desired any more goes.
	s := d.space(fabric.NICNS(gatewayNIC))
	h, err := d.handle(s)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := deleteLink(h, fabric.TunnelInterface("two")); err != nil {
		t.Fatal(err)
	}
	apply(t, d, compile(t, tunnelTopology("one", "two")))
	if diff := cmp.Diff(golden, dump(t, d)); diff != "" {
		t.Error(diff)
	}
	apply(t, d, compile(t, tunnelTopology("one")))
	if _, err := d.OpenTunnel(gatewayNIC, "two"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tunnel that is no longer desired: %v", err)
	}
}
