package network_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

const (
	pls      = net0 + "privateLinkServices/pls"
	provided = net0 + "virtualNetworks/provided"
	stranger = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg/providers/Microsoft.Network/"
)

func plsBody(properties ...string) string {
	return `{"location":"westeurope","properties":{"loadBalancerFrontendIpConfigurations":[` + ref(lb+"/frontendIPConfigurations/f") + `],` + strings.Join(properties, ",") + `}}`
}

func plsConfigs(list ...string) string { return parts("ipConfigurations", list...) }

func plsConfig(name, subnet, more string) string {
	return part(name, `"subnet":`+ref(provided+"/subnets/"+subnet)+more)
}

func toService(list, service string) string {
	return `{"location":"westeurope","properties":{"subnet":` + ref(vnet+"/subnets/endpoints") + `,"` + list + `":[{"name":"c","properties":{"privateLinkServiceId":"` + service + `","requestMessage":"please"}}]}}`
}

// offered is a network with a load balancer to offer, beside the consumer's.
func offered(t *testing.T) *rig {
	r := newRig(t)
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("endpoints", "10.20.1.0/24", "")))
	r.put(provided, vnetBody("10.20.0.0/16", subnetBody("front", "10.20.1.0/24", ""), subnetBody("nat", "10.20.2.0/24", `,"privateLinkServiceNetworkPolicies":"Disabled"`)))
	r.put(lb, lbBody(
		parts("frontendIPConfigurations", part("f", `"subnet":`+ref(provided+"/subnets/front")), part("g", `"subnet":`+ref(provided+"/subnets/front"))),
		parts("backendAddressPools", part("p", "")),
		parts("loadBalancingRules", lbRule("r", "f", "p", 80, 8080, ""), lbRule("s", "g", "p", 443, 8443, `,"enableFloatingIP":false`)),
		parts("inboundNatRules", natRule("n", "g", 22, 22, "")),
	))
	return r
}

func TestLinkService(t *testing.T) {
	r := offered(t)
	s := r.put(pls, plsBody(plsConfigs(plsConfig("a", "nat", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.20.2.9"`), plsConfig("b", "nat", "")), `"fqdns":["db.corp.example"]`))
	r.want(s, "properties.ipConfigurations.0.properties.primary", true)
	r.want(s, "properties.ipConfigurations.0.properties.privateIPAddress", "10.20.2.9")
	r.want(s, "properties.ipConfigurations.1.properties.privateIPAddress", "10.20.2.4")
	r.want(s, "properties.ipConfigurations.1.id", pls+"/ipConfigurations/b")
	r.want(s, "properties.enableProxyProtocol", false)
	r.want(s, "properties.visibility.subscriptions.0", nil)
	alias, _ := at(s, "properties.alias").(string)
	if !regexp.MustCompile(`^pls\.[0-9a-f-]{36}\.westeurope\.azure\.privatelinkservice$`).MatchString(alias) {
		t.Errorf("alias %q", alias)
	}
	nic, _ := at(s, "properties.networkInterfaces.0.id").(string)
	n := r.get(nic)
	r.want(n, "properties.privateLinkService.id", pls)
	r.want(n, "properties.ipConfigurations.1.properties.privateIPAddress", "10.20.2.4")
	r.refused(http.MethodDelete, nic, "", "NicInUseWithPrivateLinkService")
	r.refused(http.MethodPut, nic, nicBody("", config("ip", "endpoints", "")), "CannotModifyNicAttachedToPrivateLinkService")
	r.refused(http.MethodDelete, lb, "", "CannotDeleteLoadBalancerWithPrivateLinkService")
	r.refused(http.MethodDelete, provided, "", "InUseSubnetCannotBeDeleted")

	// an update keeps alias and addresses
	s = r.put(pls, plsBody(plsConfigs(plsConfig("b", "nat", "")), `"enableProxyProtocol":true`))
	r.want(s, "properties.alias", alias)
	r.want(s, "properties.ipConfigurations.0.properties.privateIPAddress", "10.20.2.4")
	r.want(r.get(provided+"/subnets/nat"), "properties.ipConfigurations.1", nil)
	r.want(r.get(nic), "properties.ipConfigurations.1", nil)

	r.delete(pls)
	for until := time.Now().Add(20 * time.Second); ; { // its record goes after the last sync
		if _, err := r.do(http.MethodGet, nic, latest, ""); err != nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the interface stays")
		}
	}
	r.want(r.get(provided+"/subnets/nat"), "properties.ipConfigurations", nil)
	r.delete(lb)
}

func TestLinkServiceRefusals(t *testing.T) {
	r := offered(t)
	one := plsConfigs(plsConfig("a", "nat", ""))
	other := func(from, to string) string { return strings.Replace(plsBody(one), from, to, 1) }
	for name, c := range map[string]struct{ body, code string }{
		"no address":       {plsBody(plsConfigs()), "InvalidRequestFormat"},
		"two primaries":    {plsBody(plsConfigs(plsConfig("a", "nat", `,"primary":true`), plsConfig("b", "nat", `,"primary":true`))), "InvalidRequestFormat"},
		"one name":         {plsBody(plsConfigs(plsConfig("a", "nat", ""), plsConfig("A", "nat", ""))), "DuplicateResourceName"},
		"network policies": {plsBody(plsConfigs(plsConfig("a", "front", ""))), "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled"},
		"other network":    {plsBody(plsConfigs(part("a", `"subnet":`+ref(vnet+"/subnets/endpoints")))), "InvalidRequestFormat"},
		"no frontend":      {other("frontendIPConfigurations/f", "frontendIPConfigurations/none"), "InvalidResourceReference"},
		"nat rules":        {other("frontendIPConfigurations/f", "frontendIPConfigurations/g"), "InvalidRequestFormat"},
		"no load balancer": {other(ref(lb+"/frontendIPConfigurations/f"), ""), "InvalidRequestFormat"},
		"two subnets":      {plsBody(plsConfigs(plsConfig("a", "nat", ""), plsConfig("b", "front", ""))), "NotImplemented"},
		"IPv6":             {plsBody(plsConfigs(plsConfig("a", "nat", `,"privateIPAddressVersion":"IPv6"`))), "NotImplemented"},
		"destination":      {plsBody(one, `"destinationIPAddress":"10.20.1.9"`), "NotImplemented"},
	} {
		t.Run(name, func(t *testing.T) { r.refused(http.MethodPut, pls, c.body, c.code) })
	}
	r.put(pls, plsBody(one))
	r.refused(http.MethodPut, pls+"2", plsBody(one), "InvalidRequestFormat") // the frontend is taken
	r.refused(http.MethodPut, lb+"/inboundNatRules/m", natRule("m", "f", 2222, 2222, ""), "InvalidRequestFormat")
	r.refused(http.MethodPut, provided+"/subnets/nat", `{"properties":{"addressPrefix":"10.20.2.0/24","privateLinkServiceNetworkPolicies":"Enabled"}}`, "PrivateLinkServiceNetworkPoliciesCannotBeEnabledOnPrivateLinkServiceSubnet")
}

// Who may connect, by id and by alias, and who must wait for the owner.
func TestLinkServiceConnections(t *testing.T) {
	r := offered(t)
	body := func(more ...string) string { return plsBody(append(more, plsConfigs(plsConfig("a", "nat", "")))...) }
	s := r.put(pls, body(`"fqdns":["db.corp.example"]`))
	alias, _ := at(s, "properties.alias").(string)
	const auto, manual = "privateLinkServiceConnections", "manualPrivateLinkServiceConnections"
	state := func(e map[string]any, list string) any {
		return at(e, "properties."+list+".0.properties.privateLinkServiceConnectionState.status")
	}

	// its own subscription, with the right to approve
	e := r.put(endpoint, toService(auto, pls))
	if got := state(e, auto); got != "Approved" {
		t.Errorf("automatic: %v", got)
	}
	r.want(e, "properties.customDnsConfigs.0.fqdn", "db.corp.example")
	c := r.get(pls)
	r.want(c, "properties.privateEndpointConnections.0.properties.privateEndpoint.id", endpoint)
	if id, _ := at(c, "properties.privateEndpointConnections.0.properties.linkIdentifier").(string); !regexp.MustCompile(`^\d+$`).MatchString(id) {
		t.Errorf("linkIdentifier %q", id)
	}
	r.refused(http.MethodDelete, pls, "", "PrivateLinkServiceWithPrivateEndpointConnectionsCannotBeDeleted")
	r.denied = "Microsoft.Network/privateLinkServices/PrivateEndpointConnectionsApproval/action"
	r.refused(http.MethodPut, endpoint+"2", toService(auto, pls), "LinkedAuthorizationFailed")

	// a stranger does not see it, then sees it and waits, then is let in without asking
	far := stranger + "privateEndpoints/far"
	r.refused(http.MethodPut, far, toService(manual, pls), "InvalidResourceReference")
	r.refused(http.MethodPut, far, toService(manual, alias), "InvalidResourceReference")
	r.want(r.visible(alias), "visible", false)
	r.denied = ""
	r.put(pls, body(`"visibility":{"subscriptions":["22222222-2222-2222-2222-222222222222"]}`))
	r.want(r.visible(alias), "visible", true)
	e = r.put(far, toService(manual, alias))
	if got := state(e, manual); got != "Pending" {
		t.Errorf("manual: %v", got)
	}
	r.want(e, "properties.manualPrivateLinkServiceConnections.0.properties.privateLinkServiceId", alias)
	connection, _ := at(r.get(pls), "properties.privateEndpointConnections.0.id").(string)
	if !strings.Contains(connection, "/far.") {
		connection, _ = at(r.get(pls), "properties.privateEndpointConnections.1.id").(string)
	}
	for _, status := range []string{"Approved", "Rejected"} {
		r.put(connection, `{"properties":{"privateLinkServiceConnectionState":{"status":"`+status+`","description":"so be it"}}}`)
		if got := state(r.get(far), manual); got != status {
			t.Errorf("%s: %v", status, got)
		}
	}
	r.delete(connection)
	if got := state(r.get(far), manual); got != "Disconnected" {
		t.Errorf("removed: %v", got)
	}
	r.delete(far)
	r.put(pls, body(`"visibility":{"subscriptions":["*"]},"autoApproval":{"subscriptions":["22222222-2222-2222-2222-222222222222"]}`))
	if got := state(r.put(far, toService(manual, alias)), manual); got != "Approved" {
		t.Errorf("auto-approved: %v", got)
	}
	list, err := r.do(http.MethodGet, "/subscriptions/22222222-2222-2222-2222-222222222222/providers/Microsoft.Network/locations/westeurope/autoApprovedPrivateLinkServices", latest, "")
	if err != nil {
		t.Fatal(err)
	}
	r.want(list, "value.0.privateLinkService", pls)
	r.delete(far)
	r.delete(endpoint)
	r.delete(pls)
}

// The topology has the service, its addresses and what its endpoints listen on; a relay knows who called.
func TestLinkServiceTopology(t *testing.T) {
	r := offered(t)
	r.put(pls, plsBody(plsConfigs(plsConfig("a", "nat", ""), plsConfig("b", "nat", "")), `"enableProxyProtocol":true`))
	r.put(endpoint, toService("manualPrivateLinkServiceConnections", pls))
	nics := func() map[string]fabric.NIC {
		all := map[string]fabric.NIC{}
		top := r.topology()
		if _, err := fabric.Compile(top); err != nil {
			t.Fatalf("the fabric refuses the topology: %v", err)
		}
		for _, v := range top.VNets {
			for _, n := range v.NICs {
				all[n.ID] = n
			}
		}
		return all
	}
	if n := nics()[endpoint]; n.Service != nil {
		t.Errorf("a pending endpoint listens: %+v", n.Service)
	}
	connection, _ := at(r.get(pls), "properties.privateEndpointConnections.0.id").(string)
	link, _ := at(r.get(pls), "properties.privateEndpointConnections.0.properties.linkIdentifier").(string)
	r.put(connection, `{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}`)
	all := nics()
	if n := all[endpoint]; n.Service == nil || n.Service.Target != pls || len(n.Service.Ports) != 1 || n.Service.Ports[0] != 80 {
		t.Errorf("endpoint %+v", n)
	}
	if n := all[pls]; n.Kind != fabric.Endpoint || n.Service != nil || len(n.Addrs) != 2 || n.Subnet != provided+"/subnets/nat" {
		t.Errorf("service %+v", n)
	}
	way, ok := r.topology().LinkWay(pls)
	if !ok || way.VNet != provided || way.Frontend != addr("10.20.1.4") || len(way.Sources) != 2 {
		t.Errorf("way %+v", way)
	}
	r.view(func(tx *rp.Tx) error {
		relays, err := network.Relays(tx)
		if got := relays[endpoint]; got.Service != pls || !got.ProxyProtocol || fmt.Sprint(got.LinkID) != link {
			t.Errorf("relay %+v, link identifier %s", got, link)
		}
		return err
	})
}

// visible asks as the stranger whether there is a service of this alias.
func (r *rig) visible(alias string) map[string]any {
	r.t.Helper()
	answer, err := r.do(http.MethodPost, "/subscriptions/22222222-2222-2222-2222-222222222222/providers/Microsoft.Network/locations/westeurope/checkPrivateLinkServiceVisibility", latest, `{"privateLinkServiceAlias":"`+alias+`"}`)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}
