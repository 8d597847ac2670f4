package compute_test

import (
	"encoding/json"
	"strings"
	"testing"

	"vauban.dev/arm/rp/rptest"
)

// array is an answer that is one.
func array(t *testing.T, a rptest.Answer) (out []any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// What az asks before it makes a machine: the sizes, the image behind an alias and its versions, the quota.
func TestWhatALocationHas(t *testing.T) {
	r := newRig(t)
	location := sub + "/providers/Microsoft.Compute/locations/westeurope"
	names := func(list any, field string) string {
		var out []string
		items, _ := list.([]any)
		for _, x := range items {
			name, _ := x.(map[string]any)[field].(string)
			out = append(out, name)
		}
		return " " + strings.Join(out, " ") + " "
	}
	sizes := names(r.Must("GET", location+"/vmSizes"+api, "").At("value"), "name")
	for _, s := range []string{"Standard_A0", "Standard_A2", "Standard_B1s", "Standard_D2s_v3", "Standard_DS2_v2", "Standard_D4s_v5", "Standard_E4s_v3", "Standard_F4s_v2"} {
		if !strings.Contains(sizes, " "+s+" ") {
			t.Errorf("no size %s", s)
		}
	}
	skus := r.Must("GET", sub+"/providers/Microsoft.Compute/skus?api-version=2021-07-01&$filter=location%20eq%20'westeurope'", "")
	if got := names(skus.At("value"), "name"); got != sizes {
		t.Errorf("skus %s", got)
	}
	ubuntu := location + "/publishers/Canonical/artifacttypes/vmimage/offers/0001-com-ubuntu-server-jammy/skus/22_04-lts-gen2/versions"
	newest := array(t, r.Must("GET", ubuntu+api+"&$top=1&$orderby=name%20desc", ""))
	if len(newest) != 1 {
		t.Fatalf("the newest: %v", newest)
	}
	version, _ := newest[0].(map[string]any)["name"].(string)
	for _, v := range []string{version, "latest"} {
		image := r.Must("GET", ubuntu+"/"+v+api, "")
		if image.String("properties", "osDiskImage", "operatingSystem") != "Linux" || image.String("properties", "hyperVGeneration") != "V2" || image.String("name") != version {
			t.Errorf("%s: %s", v, image.Text)
		}
		if want := "/Subscriptions/" + strings.TrimPrefix(sub, "/subscriptions/") + "/Providers/Microsoft.Compute/Locations/westeurope/Publishers/Canonical/ArtifactTypes/VMImage/Offers/0001-com-ubuntu-server-jammy/Skus/22_04-lts-gen2/Versions/" + version; image.String("id") != want {
			t.Errorf("id %s, want %s", image.String("id"), want)
		}
	}
	for path, code := range map[string]string{
		"/publishers/nobody/artifacttypes/vmimage/offers":                                        "NotFound",
		"/publishers/Canonical/artifacttypes/vmimage/offers/none/skus":                           "NotFound",
		"/publishers/Canonical/artifacttypes/vmimage/offers/none/skus/none/versions":             "NotFound",
		"/publishers/Canonical/artifacttypes/vmimage/offers/none/skus/none/versions/1":           "NotFound",
		"/publishers/Microsoft.Compute/artifacttypes/vmextension/types/None/versions":            "NotFound",
		"/publishers/Microsoft.Compute/artifacttypes/vmextension/types/VMAccessAgent/versions/9": "NotFound",
	} {
		if a := r.Request("GET", location+path+api, ""); a.Code() != code {
			t.Errorf("%s: %d %s", path, a.Status, a.Text)
		}
	}
	for _, query := range []string{"&$top=0", "&$top=x", "&$orderby=size"} {
		if a := r.Request("GET", ubuntu+api+query, ""); a.Code() != "InvalidParameter" {
			t.Errorf("%s: %d %s", query, a.Status, a.Text)
		}
	}
	if got := names(array(t, r.Must("GET", location+"/publishers/Microsoft.Compute/artifacttypes/vmextension/types"+api, "")), "name"); !strings.Contains(got, "VMAccessAgent") {
		t.Errorf("extensions %s", got)
	}
	all := names(array(t, r.Must("GET", location+"/publishers"+api, "")), "name")
	if n := len(strings.Fields(all)); n < 800 || !strings.Contains(all, " Canonical ") {
		t.Errorf("%d publishers", n)
	}
	if a := r.Must("GET", location+"/publishers/barracudanetworks/artifacttypes/vmimage/offers"+api, ""); len(array(t, a)) != 0 {
		t.Errorf("offers of a publisher without images: %s", a.Text)
	}
	used := func(name string) (n float64) {
		items, _ := r.Must("GET", location+"/usages"+api, "").At("value").([]any)
		for _, x := range items {
			if u := x.(map[string]any); u["name"].(map[string]any)["value"] == name {
				n, _ = u["currentValue"].(float64)
			}
		}
		return n
	}
	r.Must("PUT", vms+"jump"+api, machine("a"))
	if machines, cores, family := used("virtualMachines"), used("cores"), used("standardDSv2Family"); machines != 1 || cores != 2 || family != 2 {
		t.Errorf("used: %v machines, %v cores, %v of the family", machines, cores, family)
	}
}

// A generalized machine is for images: it is not started again, and no VHD is made of it.
func TestGeneralize(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vms+"jump"+api, machine("a"))
	refused := func(action, code string) {
		t.Helper()
		if a := r.Request("POST", vms+"jump/"+action+api, "{}"); a.Code() != code {
			t.Errorf("%s: %d %s", action, a.Status, a.Text)
		}
	}
	refused("generalize", "OperationNotAllowed")
	refused("capture", "OperationNotAllowed")
	r.Must("POST", vms+"jump/deallocate"+api, "")
	r.until("deallocated", func() bool { return r.power("jump") == "PowerState/deallocated" })
	r.Must("POST", vms+"jump/generalize"+api, "")
	refused("start", "OperationNotAllowed")
	refused("capture", "NotImplemented")
}

// The image says what runs, and what Compute chooses is shown.
func TestImage(t *testing.T) {
	r := newRig(t)
	made := r.Must("PUT", vms+"jump"+api, machine("a"))
	disk, os := made.At("properties", "storageProfile", "osDisk").(map[string]any), made.At("properties", "osProfile").(map[string]any)
	if disk["osType"] != "Linux" || disk["diskSizeGB"] != float64(30) || disk["caching"] != "ReadWrite" || disk["managedDisk"].(map[string]any)["storageAccountType"] != "Standard_LRS" {
		t.Errorf("the disk: %v", disk)
	}
	if os["allowExtensionOperations"] != true || os["requireGuestProvisionSignal"] != true || os["secrets"] == nil || os["linuxConfiguration"].(map[string]any)["provisionVMAgent"] != true {
		t.Errorf("the profile: %v", os)
	}
	for _, image := range []string{
		`"publisher":"MicrosoftWindowsServer","offer":"WindowsServer","sku":"2022-datacenter-g2"`,
		`"publisher":"MicrosoftWindowsDesktop","offer":"any","sku":"any"`,
	} {
		body := machine("b", `"publisher":"Canonical","offer":"ubuntu-24_04-lts","sku":"server"`, image)
		if a := r.Request("PUT", vms+"other"+api, body); a.Code() != "NotImplemented" {
			t.Errorf("%s: %d %s", image, a.Status, a.Text)
		}
	}
}
