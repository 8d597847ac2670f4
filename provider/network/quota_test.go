package network_test

import (
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
	"vauban.dev/provider/quota"
)

// TestQuotas: what is beyond a limit is refused with Azure's code, and counted in the usages.
func TestQuotas(t *testing.T) {
	r := newRig(t)
	quota.Enforce(r.engine, network.Quotas())
	const subscription = "11111111-1111-1111-1111-111111111111"
	set := func(name string, limit int) {
		t.Helper()
		q, err := quota.Find(network.Quotas(), "Microsoft.Network/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.update(func(tx *rp.Tx) error { return quota.Set(tx, subscription, "", q, limit) }); err != nil {
			t.Fatal(err)
		}
	}
	ip := func(name, allocation, sku string) (path, body string) {
		return net0 + "publicIPAddresses/" + name, `{"location":"westeurope","sku":{"name":"` + sku + `"},"properties":{"publicIPAllocationMethod":"` + allocation + `"}}`
	}
	put := func(path, body string) { r.put(path, body) }
	set("VirtualNetworks", 1)
	put(vnet, vnetBody("10.20.0.0/16"))
	e := r.refused("PUT", vnet+"2", vnetBody("10.30.0.0/16"), "VnetCountLimitReached")
	if e.Message != "Cannot create more than 1 virtual networks for this subscription in this region." {
		t.Error(e.Message)
	}
	put(ip("a", "Static", "Standard"))
	set("PublicIPAddresses", 1)
	path, body := ip("b", "Static", "Standard")
	r.refused("PUT", path, body, "PublicIPCountLimitReached")
	set("PublicIPAddresses", -1)
	set("StaticPublicIPAddresses", 1)
	r.refused("PUT", path, body, "StaticPublicIPCountLimitReached")
	put(ip("b", "Dynamic", "Basic"))
	usages := r.get("/subscriptions/" + subscription + "/providers/Microsoft.Network/locations/westeurope/usages")
	r.want(usages, "value.0.currentValue", 1.0)
	r.want(usages, "value.0.limit", 1.0)
	r.want(usages, "value.1.currentValue", 1.0)
	r.want(usages, "value.3.currentValue", 2.0)
}
