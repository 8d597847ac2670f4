package network_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

func TestRuleLimits(t *testing.T) {
	r := newRig(t)
	body := func(n int, more func(i int) string) string {
		var rules []string
		for i := range n {
			rules = append(rules, fmt.Sprintf(`{"name":"r%d",%s`, i, strings.Replace(ruleBody(100+i, "Inbound", ""), `"sourceAddressPrefix":"*"`, more(i), 1)[1:]))
		}
		return `{"location":"westeurope","properties":{"securityRules":[` + strings.Join(rules, ",") + `]}}`
	}
	any := func(int) string { return `"sourceAddressPrefix":"*"` }
	r.refused(http.MethodPut, nsg, body(1001, any), "SecurityRuleCountLimitReached")
	r.put(nsg, body(1000, any))
	r.refused(http.MethodPut, nsg+"/securityRules/more", ruleBody(100, "Outbound", ""), "SecurityRuleCountLimitReached")
	r.put(nsg+"/securityRules/r7", ruleBody(107, "Inbound", `,"description":"the same one again"`))

	long := func(i int) string {
		var list []string
		for k := range 401 {
			list = append(list, fmt.Sprintf(`"10.%d.%d.%d"`, i, k/256, k%256))
		}
		return `"sourceAddressPrefixes":[` + strings.Join(list, ",") + `]`
	}
	r.refused(http.MethodPut, nsg+"2", body(10, long), "SecurityRuleAddressPrefixCountLimitReached")
	r.put(nsg+"2", body(9, long))
	r.refused(http.MethodPut, nsg+"2", strings.Replace(body(2, any), `"name":"r1"`, `"name":"R0"`, 1), "DuplicateResourceName")
}

func TestASGsOfOneNetwork(t *testing.T) {
	const asg = net0 + "applicationSecurityGroups/"
	r := newRig(t)
	for _, name := range []string{"web", "db", "north"} {
		r.put(asg+name, strings.Replace(`{"location":"westeurope"}`, "westeurope", map[bool]string{true: "northeurope", false: "westeurope"}[name == "north"], 1))
	}
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
	r.put(vnet+"2", vnetBody("10.1.0.0/16", subnetBody("a", "10.1.0.0/24", "")))
	in := func(name string) string { return `,"applicationSecurityGroups":[` + ref(asg+name) + `]` }
	r.put(net0+"networkInterfaces/n1", nicBody("", config("ip", "a", in("web"))))
	other := strings.Replace(nicBody("", config("ip", "a", in("web"))), "/vnet/", "/vnet2/", 1)
	r.refused(http.MethodPut, net0+"networkInterfaces/n2", other, "ApplicationSecurityGroupsMustBeInSameVirtualNetwork")
	r.put(net0+"networkInterfaces/n2", strings.Replace(other, "Groups/web", "Groups/db", 1))
	r.refused(http.MethodPut, net0+"networkInterfaces/n2", strings.Replace(other, "Groups/web", "Groups/north", 1), "InvalidResourceReference")

	r.put(nsg, `{"location":"westeurope"}`)
	rule := strings.NewReplacer(`"sourceAddressPrefix":"*"`, `"sourceApplicationSecurityGroups":[`+ref(asg+"web")+`]`,
		`"destinationAddressPrefix":"VirtualNetwork"`, `"destinationApplicationSecurityGroups":[`+ref(asg+"db")+`]`).Replace(ruleBody(100, "Inbound", ""))
	r.refused(http.MethodPut, nsg+"/securityRules/r", rule, "ApplicationSecurityGroupsMustBeInSameVirtualNetwork")
	r.delete(net0 + "networkInterfaces/n2")
	r.put(nsg+"/securityRules/r", rule)
	r.refused(http.MethodDelete, asg+"db", "", "InUseApplicationSecurityGroupCannotBeDeleted")
}

// A subnet keeps the prefixes in which somebody has an address; the others come and go.
func TestSubnetPrefixesInUse(t *testing.T) {
	r := newRig(t)
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.1.0.0/16"]}}}`)
	prefixes := func(list ...string) string {
		return `{"properties":{"addressPrefixes":["` + strings.Join(list, `","`) + `"]}}`
	}
	r.put(vnet+"/subnets/a", prefixes("10.0.0.0/24"))
	r.put(net0+"networkInterfaces/n", nicBody("", config("ip", "a", "")))
	r.put(vnet+"/subnets/a", prefixes("10.0.0.0/24", "10.1.0.0/24"))
	r.put(vnet+"/subnets/a", prefixes("10.0.0.0/24", "10.1.8.0/24"))
	e := r.refused(http.MethodPut, vnet+"/subnets/a", prefixes("10.0.0.0/23"), "InUsePrefixCannotBeDeleted")
	if want := "IpPrefix 10.0.0.0/24 on Subnet a has active allocations and cannot be deleted. 10.0.0.4 is held by " + net0 + "networkInterfaces/n/ipConfigurations/ip."; e.Message != want {
		t.Errorf("message %q", e.Message)
	}
	r.refused(http.MethodPut, vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`, "NetcfgSubnetRangeOutsideVnet")
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.1.0.0/16","192.168.0.0/24"]}}}`)
	r.put(vnet+"/subnets/a", prefixes("10.0.0.0/24"))
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`)
	r.delete(net0 + "networkInterfaces/n")
	// what stands there for exec holds no prefix, and what a job has does
	owners := map[string]string{network.ExecKind: vnet + "/subnets/a/exec", network.NodeKind: "cluster/nodes/one"}
	allocate := func(kind string) {
		r.update(func(tx *rp.Tx) error {
			_, err := r.AllocateNIC(tx, network.NICRequest{Subnet: arm.MustParseID(vnet + "/subnets/a"), Owner: owners[kind], Kind: kind})
			return err
		})
	}
	allocate(network.ExecKind)
	allocate(network.NodeKind)
	if e := r.refused(http.MethodPut, vnet+"/subnets/a", prefixes("10.0.0.0/25"), "InUsePrefixCannotBeDeleted"); !strings.HasSuffix(e.Message, "10.0.0.5 is held by cluster/nodes/one.") {
		t.Error(e.Message)
	}
	r.update(func(tx *rp.Tx) error { return r.ReleaseNIC(tx, owners[network.NodeKind]) })
	r.put(vnet+"/subnets/a", prefixes("10.0.0.128/25"))
	allocate(network.ExecKind)
	r.view(func(tx *rp.Tx) error {
		nics, err := network.HiddenNICs(tx)
		if err == nil && (len(nics) != 1 || nics[0].Addr.String() != "10.0.0.132") {
			t.Errorf("%+v", nics)
		}
		return err
	})
	r.put(vnet+"/subnets/a", prefixes("10.0.0.0/23"))
	r.view(func(tx *rp.Tx) error {
		s, err := rp.Get[network.Subnet](tx, arm.MustParseID(vnet+"/subnets/a"))
		if err == nil && s.Properties.AddressPrefixes[0] != "10.0.0.0/23" {
			t.Errorf("%v", s.Properties.AddressPrefixes)
		}
		return err
	})
}

// While an operation runs on a virtual network, its subnets take no other: of two overlapping writes one is
// refused, says when to come again, and no subnet is lost.
func TestAnotherOperationInProgress(t *testing.T) {
	for _, c := range []struct{ what, first, second, secondBody string }{
		{"two writes of one network", vnet, vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""), subnetBody("c", "10.0.2.0/24", ""))},
		{"a network and a subnet of it", vnet, vnet + "/subnets/c", subnetBody("c", "10.0.2.0/24", "")},
		{"two subnets of a network", vnet + "/subnets/b", vnet + "/subnets/c", subnetBody("c", "10.0.2.0/24", "")},
		{"a subnet and its network", vnet + "/subnets/b", vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""), subnetBody("b", "10.0.1.0/24", ""))},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := newRig(t)
			r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", "")))
			firstBody := subnetBody("b", "10.0.1.0/24", "")
			if c.first == vnet {
				firstBody = vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""), subnetBody("b", "10.0.1.0/24", ""))
			}
			open := r.hold()
			resp, err := r.send(http.MethodPut, c.first, latest, firstBody)
			if err != nil || resp.Status/100 != 2 {
				t.Fatal(resp, err)
			}
			_, err = r.send(http.MethodPut, c.second, latest, c.secondBody)
			e := arm.AsError(err)
			if e == nil || e.Code != "AnotherOperationInProgress" || (e.Status != 409 && e.Status != 429) || e.Header["Retry-After"] == "" {
				t.Errorf("the second write: %v", err)
			}
			open()
			r.ended(resp)
			if c.second != vnet { // it comes again
				r.put(c.second, c.secondBody)
				r.want(r.get(vnet), "properties.subnets.2.name", "c")
			}
			r.want(r.get(vnet), "properties.subnets.1.name", "b")
		})
	}
}

// Many writers at once: each is refused or does what it says, and what was acknowledged is there.
func TestWritersOfOneNetwork(t *testing.T) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.0.0.0/16"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := map[string]bool{}
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("s%d", i)
			_, err := r.send(http.MethodPut, vnet+"/subnets/"+name, latest, subnetBody(name, fmt.Sprintf("10.0.%d.0/24", i), ""))
			if e := arm.AsError(err); e != nil && e.Code != "AnotherOperationInProgress" || err != nil && e == nil {
				t.Errorf("%s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			made[name] = err == nil
		})
	}
	wg.Wait()
	subnets, _ := at(r.get(vnet), "properties.subnets").([]any)
	count := 0
	for _, ok := range made {
		if ok {
			count++
		}
	}
	if count == 0 || count != len(subnets) {
		t.Errorf("%d writes were acknowledged, %d subnets are there", count, len(subnets))
	}
}
