package network_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// Whom each interface asks, and what it is called.
func TestNames(t *testing.T) {
	r := newRig(t)
	vnet := net0 + "virtualNetworks/v"
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"dhcpOptions":{"dnsServers":["10.0.0.200","10.0.0.201"]},
		"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
	nic := func(name, settings string) string {
		path := net0 + "networkInterfaces/" + name
		r.put(path, fmt.Sprintf(`{"location":"westeurope","properties":{"dnsSettings":{%s},"ipConfigurations":[{"name":"c","properties":{"subnet":%s}}]}}`, settings, ref(vnet+"/subnets/s")))
		return path
	}
	nic("plain", "")
	nic("own", `"dnsServers":["10.0.0.9"]`)
	nic("blank", `"dnsServers":[""]`)
	nic("azure", `"dnsServers":["AzureProvidedDNS"]`)
	named := nic("named", `"internalDnsNameLabel":"Jumpbox"`)
	err := r.engine.Update(t.Context(), func(tx *rp.Tx) error {
		for owner, kind := range map[string]string{"cluster/nodes/Node_1": network.NodeKind, "shell": network.ExecKind} {
			if _, err := r.AllocateNIC(tx, network.NICRequest{Subnet: arm.MustParseID(vnet + "/subnets/s"), Owner: owner, Kind: kind}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var names network.Names
	if err := r.engine.View(t.Context(), func(tx *rp.Tx) (err error) { names, err = r.Names(tx); return err }); err != nil {
		t.Fatal(err)
	}
	servers := map[string]string{}
	for id, n := range names.Resolvers {
		var list []string
		for _, s := range n.Servers {
			list = append(list, s.String())
		}
		servers[id[strings.LastIndexByte(id, '/')+1:]] = strings.Join(append(list, n.Search), " ")
	}
	suffix := names.Networks[0].Suffix
	want := map[string]string{
		"v": "10.0.0.200 10.0.0.201 reddog.microsoft.com", "plain": "10.0.0.200 10.0.0.201 reddog.microsoft.com", "blank": "10.0.0.200 10.0.0.201 reddog.microsoft.com", "own": "10.0.0.9 reddog.microsoft.com",
		"azure": suffix, "named": "10.0.0.200 10.0.0.201 reddog.microsoft.com", "Node_1": "10.0.0.200 10.0.0.201 reddog.microsoft.com", "shell": "10.0.0.200 10.0.0.201 reddog.microsoft.com",
	}
	if diff := cmp.Diff(want, servers); diff != "" {
		t.Errorf("resolvers (-want +got):\n%s", diff)
	}
	hosts := ""
	for _, h := range names.Networks[0].Hosts {
		hosts += fmt.Sprintf("%s %s; ", h.Name, h.Addrs[0])
	}
	if hosts != "jumpbox 10.0.0.8; node-1 10.0.0.9; " && hosts != "jumpbox 10.0.0.8; node-1 10.0.0.10; " {
		t.Errorf("hosts %q", hosts)
	}
	if !strings.HasSuffix(suffix, ".ax.internal.cloudapp.net") {
		t.Errorf("suffix %q", suffix)
	}
	got, err := r.do(http.MethodGet, named, latest, "")
	if err != nil {
		t.Fatal(err)
	}
	r.want(got, "properties.dnsSettings.internalFqdn", "jumpbox."+suffix)
	r.want(got, "properties.dnsSettings.internalDomainNameSuffix", suffix)
	a := r.resolve(vnet, "jumpbox."+suffix)
	if len(a.Records) != 1 || a.Records[0].Type != mdns.TypeA || a.Records[0].Addr.String() != "10.0.0.8" {
		t.Errorf("resolved %+v", a)
	}
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"dhcpOptions":{"dnsServers":[""]}}}`)
	if err := r.engine.View(t.Context(), func(tx *rp.Tx) (err error) { names, err = r.Names(tx); return err }); err != nil {
		t.Fatal(err)
	}
	if got := names.Resolvers[vnet]; len(got.Servers) != 0 || got.Search != suffix {
		t.Errorf("without custom servers: %+v", got)
	}
	for settings, code := range map[string]string{
		`"dnsServers":["ten"]`: "InvalidRequestFormat", `"dnsServers":["AzureProvidedDNS","10.0.0.9"]`: "InvalidRequestFormat",
		`"internalDnsNameLabel":"a.b"`: "InvalidDnsName", `"internalDnsNameLabel":"-a"`: "InvalidDnsName",
	} {
		r.refused(http.MethodPut, net0+"networkInterfaces/bad", fmt.Sprintf(`{"location":"westeurope","properties":{"dnsSettings":{%s},"ipConfigurations":[{"name":"c","properties":{"subnet":%s}}]}}`,
			settings, ref(vnet+"/subnets/s")), code)
	}
}
