package main

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric/servicetags"
	"vauban.dev/store/sqlite"
)

// Every location has fronts of its storage and vaults, at addresses of that region's service tag.
func TestFrontsOfLocations(t *testing.T) {
	tags, err := servicetags.Load()
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p := &publicNames{tags: tags, engine: rp.New(rp.Config{Store: db}), location: "westeurope"}
	z, err := p.zone()
	if err != nil {
		t.Fatal(err)
	}
	for name, tag := range map[string]string{
		"blob.ams01prdstr01a.store.core.windows.net":         "Storage.WestEurope",
		"blob.northeuropeprdstr01a.store.core.windows.net":   "Storage.NorthEurope",
		"file.francecentralprdstr01a.store.core.windows.net": "Storage.FranceCentral",
		"data-prod-northeurope.vaultcore.azure.net":          "AzureKeyVault.NorthEurope",
		"data-prod-swedencentral.vaultcore.azure.net":        "AzureKeyVault",        // not in the list of 2021
		"westeurope.api.azureml.ms":                          "AzureMachineLearning", // which has no regions in the list
		"northeurope.api.azureml.ms":                         "AzureMachineLearning",
		"azureml.northeurope.batch.azure.com":                "BatchNodeManagement.NorthEurope",
	} {
		r, ok := z.Lookup(name)
		prefixes, _ := tags.Prefixes(tag)
		if !ok || len(r) != 1 || !slices.ContainsFunc(prefixes, func(q netip.Prefix) bool { return q.Contains(r[0].Addr) }) {
			t.Errorf("%s: %+v is not in %s", name, r, tag)
		} else if !slices.Contains(p.prefixes, netip.PrefixFrom(r[0].Addr, 32)) {
			t.Errorf("nobody answers at %s, %s", r[0].Addr, name)
		}
	}
}

func TestLocations(t *testing.T) {
	l := locations("northeurope")
	if l[0] != "northeurope" || l[len(l)-1] != "global" || !slices.Contains(l, "westeurope") || len(l) < 50 {
		t.Errorf("%v", l)
	}
	if err := (&settings{Location: "westeurope"}).change(t.TempDir(), "atlantis", "", nil); err == nil {
		t.Error("a region may be in Atlantis")
	}
}
