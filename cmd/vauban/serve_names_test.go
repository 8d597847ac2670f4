package main

import (
	"net/netip"
	"testing"

	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

func TestResolvText(t *testing.T) {
	servers := []netip.Addr{netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("10.0.0.5")}
	for want, r := range map[string]network.Resolver{
		"nameserver 168.63.129.16\n":                                              {},
		"nameserver 168.63.129.16\nsearch x.ax.internal.cloudapp.net\n":           {Search: "x.ax.internal.cloudapp.net"},
		"nameserver 10.0.0.4\nnameserver 10.0.0.5\nsearch reddog.microsoft.com\n": {Servers: servers, Search: "reddog.microsoft.com"},
	} {
		if got := resolvText(r); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

// TestNetViewVNet: virtual networks are found by name, group and name, or id, and never by guess.
func TestNetViewVNet(t *testing.T) {
	id := func(group, name string) string {
		return "/subscriptions/s/resourceGroups/" + group + "/providers/Microsoft.Network/virtualNetworks/" + name
	}
	v := viewOf(id("a", "hub"), id("b", "hub"), id("a", "spoke"))
	for name, want := range map[string]string{"Spoke": id("a", "spoke"), "b/hub": id("b", "hub"), id("a", "HUB"): id("a", "hub"), "hub": "", "none": ""} {
		if got, err := v.vnet(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v, want %q", name, got, err, want)
		}
	}
}

func viewOf(vnets ...string) *netView {
	v := &netView{topology: &fabric.Topology{}}
	for _, id := range vnets {
		v.topology.VNets = append(v.topology.VNets, fabric.VNet{ID: id})
	}
	return v
}
