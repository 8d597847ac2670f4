package servicetags

import (
	"net/netip"
	"testing"

	"vauban.dev/fabric"
)

var _ fabric.TagSource = (*Tags)(nil)

func load(t *testing.T) *Tags {
	t.Helper()
	tags, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return tags
}

func TestPrefixes(t *testing.T) {
	tags := load(t)
	if n := len(tags.Names()); n != 1031 {
		t.Errorf("%d tags", n)
	}
	upper, ok := tags.Prefixes("STORAGE.WESTEUROPE")
	lower, _ := tags.Prefixes("storage.westeurope")
	if !ok || len(upper) == 0 || len(upper) != len(lower) {
		t.Errorf("letter case matters: %d and %d prefixes", len(upper), len(lower))
	}
	if _, ok := tags.Prefixes("Storage.Atlantis"); ok {
		t.Error("an unknown tag has prefixes")
	}
}

func TestAddress(t *testing.T) {
	tags := load(t)
	a := tags.Address("Storage.WestEurope", "acct.blob.core.windows.net")
	if a != tags.Address("storage.westeurope", "ACCT.blob.core.windows.net") {
		t.Error("the address is not stable")
	}
	if a == tags.Address("Storage.WestEurope", "other.blob.core.windows.net") {
		t.Error("two hosts have one address")
	}
	all, err := tags.AllServicePrefixes("Storage.WestEurope", "AzureKeyVault.WestEurope")
	if err != nil {
		t.Fatal(err)
	}
	if !in(all, a) || !in(all, tags.Address("AzureKeyVault.WestEurope", "v")) {
		t.Errorf("%s is not in %v", a, all)
	}
	if tags.Address("Nothing", "x").IsValid() {
		t.Error("an unknown tag has an address")
	}
	if _, err := tags.AllServicePrefixes("Storage", "Nothing"); err == nil {
		t.Error("an unknown tag has prefixes")
	}
}

func TestOutboundPoolIsNobodys(t *testing.T) {
	tags := load(t)
	pool, err := tags.OutboundPool("westeurope")
	if err != nil || len(pool) == 0 {
		t.Fatal(pool, err)
	}
	if p, err := tags.OutboundPool("francecentral"); err != nil || len(p) == 0 {
		t.Errorf("francecentral, centralfrance in the list: %v, %v", p, err)
	}
	storage := tags.Address("Storage.WestEurope", "x")
	if in(pool, storage) {
		t.Errorf("%s is a service's", storage)
	}
	if _, err := tags.OutboundPool("atlantis"); err == nil {
		t.Error("an unknown region has a pool")
	}
	for _, p := range fabric.DefaultOutboundPool() {
		for _, name := range tags.Names() {
			prefixes, _ := tags.Prefixes(name)
			for _, q := range prefixes {
				if q.Overlaps(p) && name[:min(10, len(name))] != "AzureCloud" {
					t.Errorf("the default pool is in %s", name)
				}
			}
		}
	}
}

func in(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(); err != nil {
			b.Fatal(err)
		}
	}
}
