package network_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vauban.dev/fabric"
)

const (
	lb        = net0 + "loadBalancers/lb"
	lbAddress = net0 + "publicIPAddresses/lb"
)

// lbBody is a load balancer of SKU Standard with these properties.
func lbBody(properties ...string) string {
	return `{"location":"westeurope","sku":{"name":"Standard"},"properties":{` + strings.Join(properties, ",") + `}}`
}

// parts is a property of a load balancer: a list of parts.
func parts(property string, list ...string) string {
	return `"` + property + `":[` + strings.Join(list, ",") + "]"
}

func part(name, properties string) string {
	return fmt.Sprintf(`{"name":%q,"properties":{%s}}`, name, properties)
}

func own(property, kind, name string) string {
	return fmt.Sprintf(`%q:%s`, property, ref(lb+"/"+kind+"/"+name))
}

func privateFrontend(name, subnet, more string) string {
	return part(name, `"subnet":`+ref(vnet+"/subnets/"+subnet)+more)
}

func lbRule(name, frontend, pool string, front, back int, more string) string {
	return part(name, own("frontendIPConfiguration", "frontendIPConfigurations", frontend)+","+own("backendAddressPool", "backendAddressPools", pool)+
		fmt.Sprintf(`,"protocol":"tcp","frontendPort":%d,"backendPort":%d%s`, front, back, more))
}

func natRule(name, frontend string, front, back int, more string) string {
	return part(name, own("frontendIPConfiguration", "frontendIPConfigurations", frontend)+fmt.Sprintf(`,"protocol":"TCP","frontendPort":%d,"backendPort":%d%s`, front, back, more))
}

// balanced is a network with two interfaces, and a body of an internal load balancer with every part.
func balanced(t *testing.T) (*rig, []string) {
	r := newRig(t)
	r.put(vnet, vnetBody("10.20.0.0/16", subnetBody("front", "10.20.1.0/24", ""), subnetBody("back", "10.20.2.0/24", "")))
	return r, []string{
		parts("frontendIPConfigurations", privateFrontend("f", "front", "")),
		parts("backendAddressPools", part("p", "")),
		parts("loadBalancingRules", lbRule("r", "f", "p", 80, 8080, `,"loadDistribution":"sourceip",`+own("probe", "probes", "h"))),
		parts("probes", part("h", `"protocol":"http","port":8081,"requestPath":"/health","intervalInSeconds":5`)),
		parts("inboundNatRules", natRule("ssh", "f", 2222, 22, "")),
	}
}

func member(pools, rules string) string {
	more := ""
	if pools != "" {
		more += `,"loadBalancerBackendAddressPools":[` + ref(lb+"/backendAddressPools/"+pools) + "]"
	}
	if rules != "" {
		more += `,"loadBalancerInboundNatRules":[` + ref(lb+"/inboundNatRules/"+rules) + "]"
	}
	return nicBody("", config("ip", "back", more))
}

func TestLoadBalancer(t *testing.T) {
	r, body := balanced(t)
	m := r.put(lb, lbBody(body...))
	r.want(m, "sku.name", "Standard")
	r.want(m, "sku.tier", "Regional")
	for path, want := range map[string]any{
		"frontendIPConfigurations.0.id":                                   lb + "/frontendIPConfigurations/f",
		"frontendIPConfigurations.0.type":                                 "Microsoft.Network/loadBalancers/frontendIPConfigurations",
		"frontendIPConfigurations.0.properties.privateIPAddress":          "10.20.1.4",
		"frontendIPConfigurations.0.properties.privateIPAllocationMethod": "Dynamic",
		"frontendIPConfigurations.0.properties.loadBalancingRules.0.id":   lb + "/loadBalancingRules/r",
		"frontendIPConfigurations.0.properties.inboundNatRules.0.id":      lb + "/inboundNatRules/ssh",
		"backendAddressPools.0.properties.loadBalancingRules.0.id":        lb + "/loadBalancingRules/r",
		"probes.0.properties.loadBalancingRules.0.id":                     lb + "/loadBalancingRules/r",
		"probes.0.properties.protocol":                                    "Http",
		"probes.0.properties.probeThreshold":                              1.0,
		"loadBalancingRules.0.properties.protocol":                        "Tcp",
		"loadBalancingRules.0.properties.loadDistribution":                "SourceIP",
		"loadBalancingRules.0.properties.idleTimeoutInMinutes":            4.0,
		"loadBalancingRules.0.properties.disableOutboundSnat":             false,
		"loadBalancingRules.0.properties.backendAddressPools.0.id":        lb + "/backendAddressPools/p",
		"inboundNatRules.0.properties.protocol":                           "Tcp",
		"inboundNatRules.0.properties.backendIPConfiguration":             nil,
		"outboundRules.0": nil,
	} {
		r.want(r.get(lb), "properties."+path, want)
	}
	r.want(r.get(vnet+"/subnets/front"), "properties.ipConfigurations.0.id", lb+"/frontendIPConfigurations/f")
	r.refused(http.MethodDelete, vnet, "", "InUseSubnetCannotBeDeleted")
	r.refused(http.MethodPut, lb+"/frontendIPConfigurations/f", privateFrontend("f", "front", ""), "MethodNotAllowed")

	r.put(net0+"networkInterfaces/a", member("p", "ssh"))
	r.put(net0+"networkInterfaces/b", member("p", ""))
	r.refused(http.MethodPut, net0+"networkInterfaces/b", member("p", "ssh"), "InboundNatRuleInUse")
	r.want(r.get(lb+"/backendAddressPools/p"), "properties.backendIPConfigurations.1.id", net0+"networkInterfaces/b/ipConfigurations/ip")
	r.want(r.get(lb+"/inboundNatRules/ssh"), "properties.backendIPConfiguration.id", net0+"networkInterfaces/a/ipConfigurations/ip")
	nics := r.get(lb + "/networkInterfaces")
	r.want(nics, "value.1.id", net0+"networkInterfaces/b")

	want := []fabric.LoadBalancer{{
		ID: lb, VNet: vnet,
		Frontends: []fabric.Frontend{{ID: lb + "/frontendIPConfigurations/f", Subnet: vnet + "/subnets/front", Addr: addr("10.20.1.4")}},
		Rules: []fabric.BalancingRule{{
			ID: lb + "/loadBalancingRules/r", Frontend: lb + "/frontendIPConfigurations/f", Protocol: fabric.TCP, Port: 80, BackendPort: 8080, Affinity: fabric.SourceIP,
			Backends: []fabric.Backend{{NIC: net0 + "networkInterfaces/a", Addr: addr("10.20.2.4")}, {NIC: net0 + "networkInterfaces/b", Addr: addr("10.20.2.5")}},
			Probe:    lb + "/probes/h",
		}},
		Probes: []fabric.Probe{{ID: lb + "/probes/h", Protocol: fabric.ProbeHTTP, Port: 8081, Path: "/health", Interval: 5 * time.Second, Threshold: 1}},
		NATRules: []fabric.InboundNATRule{{
			ID: lb + "/inboundNatRules/ssh", Frontend: lb + "/frontendIPConfigurations/f", Protocol: fabric.TCP, Port: 2222, BackendPort: 22,
			Backend: fabric.Backend{NIC: net0 + "networkInterfaces/a", Addr: addr("10.20.2.4")},
		}},
	}}
	if diff := cmp.Diff(want, r.topology().LoadBalancers, cmp.Comparer(equalAddr), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}

	// what is shown can be written back, and keeps the address
	shown := strings.ReplaceAll(r.json(r.get(lb)), "networkInterfaceIPConfiguration", "readOnly") // as az leaves it out
	r.want(r.put(lb, shown), "properties.frontendIPConfigurations.0.properties.privateIPAddress", "10.20.1.4")
	r.want(r.get(lb+"/backendAddressPools/p"), "properties.backendIPConfigurations.0.id", net0+"networkInterfaces/a/ipConfigurations/ip")

	r.delete(lb)
	r.want(r.get(net0+"networkInterfaces/a"), "properties.ipConfigurations.0.properties.loadBalancerBackendAddressPools", nil)
	r.want(r.get(vnet+"/subnets/front"), "properties.ipConfigurations", nil)
	if n := len(r.topology().LoadBalancers); n != 0 {
		t.Errorf("%d load balancers are left in the topology", n)
	}
}

func TestLoadBalancerRefusals(t *testing.T) {
	r, body := balanced(t)
	r.put(lbAddress, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	r.put(net0+"publicIPAddresses/basic", `{"location":"westeurope","properties":{}}`)
	r.put(prefix, `{"location":"westeurope","properties":{"prefixLength":31}}`)
	front, pools := body[0], body[1]
	prefixFront := parts("frontendIPConfigurations", part("f", `"publicIPPrefix":`+ref(prefix)))
	publicFront := parts("frontendIPConfigurations", part("f", `"publicIPAddress":`+ref(lbAddress)))
	outbound := func(name, protocol, more string) string {
		return part(name, `"frontendIPConfigurations":[`+ref(lb+"/frontendIPConfigurations/f")+`],`+own("backendAddressPool", "backendAddressPools", "p")+`,"protocol":"`+protocol+`"`+more)
	}
	for name, c := range map[string]struct{ body, code string }{
		"no frontend":        {lbBody(parts("backendAddressPools", part("p", ""))), "LoadBalancerWithoutFrontendIPCantHaveChildResources"},
		"neither":            {lbBody(parts("frontendIPConfigurations", part("f", ""))), "FrontendIPConfigHasNoSubnetOrPublicIP"},
		"both":               {lbBody(parts("frontendIPConfigurations", privateFrontend("f", "front", `,"publicIPAddress":`+ref(lbAddress)))), "FrontendIPConfigHasBothSubnetAndPublicIP"},
		"mixed":              {lbBody(parts("frontendIPConfigurations", privateFrontend("f", "front", ""), part("g", `"publicIPAddress":`+ref(lbAddress)))), "InvalidRequestFormat"},
		"basic address":      {lbBody(parts("frontendIPConfigurations", part("f", `"publicIPAddress":`+ref(net0+"publicIPAddresses/basic")))), "PublicIPAndLBSkuDoNotMatch"},
		"gateway sku":        {strings.Replace(lbBody(front), "Standard", "Gateway", 1), "NotImplemented"},
		"unknown sku":        {strings.Replace(lbBody(front), "Standard", "Premium", 1), "InvalidRequestFormat"},
		"global tier":        {strings.Replace(lbBody(front), `"Standard"`, `"Standard","tier":"Global"`, 1), "NotImplemented"},
		"nat pools":          {lbBody(front, parts("inboundNatPools", part("n", ""))), "NotImplemented"},
		"no prefix":          {lbBody(parts("frontendIPConfigurations", part("f", `"publicIPPrefix":`+ref(net0+"publicIPPrefixes/none")))), "InvalidResourceReference"},
		"address and prefix": {lbBody(parts("frontendIPConfigurations", part("f", `"publicIPAddress":`+ref(lbAddress)+`,"publicIPPrefix":`+ref(prefix)))), "InvalidRequestFormat"},
		"basic and prefix":   {strings.Replace(lbBody(prefixFront), "Standard", "Basic", 1), "PublicIPAndLBSkuDoNotMatch"},
		"rule of a prefix":   {lbBody(prefixFront, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, ""))), "InvalidRequestFormat"},
		"NAT of a prefix":    {lbBody(prefixFront, parts("inboundNatRules", natRule("n", "f", 80, 22, ""))), "InvalidRequestFormat"},
		"prefix ports":       {lbBody(prefixFront, pools, parts("outboundRules", outbound("o", "All", `,"allocatedOutboundPorts":1024008`))), "SpecifiedAllocatedOutboundPortsForOutboundRuleExceedsTotalNumberOfAllowedPortsPerRule"},
		"static without":     {lbBody(parts("frontendIPConfigurations", privateFrontend("f", "front", `,"privateIPAllocationMethod":"Static"`))), "InvalidIPAddressFormat"},
		"static elsewhere":   {lbBody(parts("frontendIPConfigurations", privateFrontend("f", "front", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.20.2.9"`))), "PrivateIPAddressNotInSubnet"},
		"unknown pool":       {lbBody(front, parts("loadBalancingRules", lbRule("r", "f", "none", 80, 80, ""))), "InvalidResourceReference"},
		"unknown frontend":   {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "g", "p", 80, 80, ""))), "InvalidResourceReference"},
		"unknown probe":      {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, ","+own("probe", "probes", "none")))), "InvalidResourceReference"},
		"same backend":       {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, ""), lbRule("s", "f", "p", 81, 80, ""))), "RulesUseSameBackendPortProtocolAndPool"},
		"same floating":      {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, `,"enableFloatingIP":true`), lbRule("s", "f", "p", 80, 80, `,"enableFloatingIP":true`))), "RulesUseSameBackendPortProtocolAndPoolAndFrontendIPWithFloatingIPEnabled"},
		"same frontend port": {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, "")), parts("inboundNatRules", natRule("n", "f", 80, 22, ""))), "InvalidRequestFormat"},
		"protocol":           {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, `,"protocol":"icmp"`))), "InvalidRequestFormat"},
		"port 0":             {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 0, 80, ""))), "InvalidRequestFormat"},
		"floating ports":     {lbBody(front, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 81, `,"enableFloatingIP":true`))), "InvalidRequestFormat"},
		"two pools":          {lbBody(front, parts("backendAddressPools", part("p", ""), part("q", "")), parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, `,"backendAddressPools":[`+ref(lb+"/backendAddressPools/p")+","+ref(lb+"/backendAddressPools/q")+"]"))), "InvalidRequestFormat"},
		"public HA ports":    {lbBody(publicFront, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 0, 0, `,"protocol":"All"`))), "InvalidRequestFormat"},
		"probe path":         {lbBody(front, parts("probes", part("h", `"protocol":"Http","port":80`))), "InvalidRequestFormat"},
		"probe path of tcp":  {lbBody(front, parts("probes", part("h", `"protocol":"Tcp","port":80,"requestPath":"/"`))), "InvalidRequestFormat"},
		"probe interval":     {lbBody(front, parts("probes", part("h", `"protocol":"Tcp","port":80,"intervalInSeconds":4`))), "InvalidRequestFormat"},
		"internal outbound":  {lbBody(front, pools, parts("outboundRules", outbound("o", "All", ""))), "InvalidRequestFormat"},
		"two outbound":       {lbBody(publicFront, pools, parts("outboundRules", outbound("o", "All", ""), outbound("q", "Tcp", ""))), "MoreThanOneOutboundRuleUsingSameFrontendIPConfigurationAndProtocolIsNotSupported"},
		"outbound and SNAT":  {lbBody(publicFront, pools, parts("loadBalancingRules", lbRule("r", "f", "p", 80, 80, "")), parts("outboundRules", outbound("o", "All", ""))), "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule"},
		"outbound ports":     {lbBody(publicFront, pools, parts("outboundRules", outbound("o", "All", `,"allocatedOutboundPorts":7`))), "SpecifiedAllocatedOutboundPortsForOutboundRuleIsNotAMultipleOfEight"},
		"too many ports":     {lbBody(publicFront, pools, parts("outboundRules", outbound("o", "All", `,"allocatedOutboundPorts":64008`))), "SpecifiedAllocatedOutboundPortsForOutboundRuleExceedsTotalNumberOfAllowedPortsPerRule"},
		"nat range":          {lbBody(front, parts("inboundNatRules", natRule("n", "f", 0, 22, `,"frontendPortRangeStart":1000,"frontendPortRangeEnd":1009`))), "InvalidRequestFormat"},
		"nat rule for all":   {lbBody(front, parts("inboundNatRules", natRule("n", "f", 1000, 22, `,"protocol":"All"`))), "InvalidRequestFormat"},
		"address outside":    {lbBody(front, parts("backendAddressPools", part("p", `"loadBalancerBackendAddresses":[`+part("a", `"ipAddress":"10.99.0.4","virtualNetwork":`+ref(vnet))+"]"))), "InvalidRequestFormat"},
		"address of nobody":  {lbBody(front, parts("backendAddressPools", part("p", `"loadBalancerBackendAddresses":[`+part("a", `"ipAddress":"10.20.2.4"`)+"]"))), "InvalidRequestFormat"},
	} {
		t.Run(name, func(t *testing.T) { r.refused(http.MethodPut, lb, c.body, c.code) })
	}
	r.want(r.get(vnet+"/subnets/front"), "properties.ipConfigurations", nil)
	r.want(r.get(lbAddress), "properties.ipConfiguration", nil)

	r.put(lb, lbBody(body...))
	r.refused(http.MethodPut, lb, strings.Replace(lbBody(body...), "Standard", "Basic", 1), "PropertyChangeNotAllowed")
	r.refused(http.MethodDelete, lb+"/backendAddressPools/p", "", "InvalidResourceReference")
	r.refused(http.MethodPut, lb+"/inboundNatRules/other", natRule("other", "f", 80, 23, ""), "InvalidRequestFormat")
	r.refused(http.MethodPut, lb+"/inboundNatRules/other", natRule("other", "g", 82, 23, ""), "InvalidResourceReference")
	// a rule and the pool that it needs go together
	r.put(lb, lbBody(front, parts("backendAddressPools"), parts("loadBalancingRules"), parts("probes")))
	r.refused(http.MethodGet, lb+"/backendAddressPools/p", "", "ResourceNotFound")
	r.want(r.get(lb), "properties.inboundNatRules.0.name", "ssh")
}

// What interfaces ask of load balancers.
func TestLoadBalancerMembers(t *testing.T) {
	r, body := balanced(t)
	r.put(net0+"virtualNetworks/far", vnetBody("10.30.0.0/16", subnetBody("back", "10.30.2.0/24", "")))
	r.put(lb, lbBody(body...))
	nic := net0 + "networkInterfaces/n"
	r.refused(http.MethodPut, nic, member("none", ""), "InvalidResourceReference")
	r.refused(http.MethodPut, nic, strings.ReplaceAll(member("p", ""), "virtualNetworks/vnet/", "virtualNetworks/far/"), "NetworkInterfaceAndInternalLoadBalancerMustUseSameVnet")
	r.denied = "Microsoft.Network/loadBalancers/backendAddressPools/join/action"
	r.refused(http.MethodPut, nic, member("p", ""), "LinkedAuthorizationFailed")
	r.denied = ""

	r.put(lb+"/inboundNatRules/web", natRule("web", "f", 8081, 8080, ""))
	r.refused(http.MethodPut, nic, member("p", "web"), "RulesUseSameBackendPortProtocolAndIPConfig")
	r.put(nic, member("", "web"))
	r.delete(lb + "/inboundNatRules/web")
	r.want(r.get(nic), "properties.ipConfigurations.0.properties.loadBalancerInboundNatRules", nil)
	r.put(nic, member("p", "ssh"))
	// a rule that would reach the member where another one does
	r.refused(http.MethodPut, lb, lbBody(append(body[:4:4], parts("inboundNatRules", natRule("ssh", "f", 2222, 8080, "")))...), "RulesUseSameBackendPortProtocolAndIPConfig")

	other := strings.ReplaceAll(lbBody(body...), "loadBalancers/lb/", "loadBalancers/lb2/")
	r.put(net0+"loadBalancers/lb2", other)
	r.refused(http.MethodPut, nic, nicBody("", config("ip", "back", `,"loadBalancerBackendAddressPools":[`+ref(lb+"/backendAddressPools/p")+","+ref(net0+"loadBalancers/lb2/backendAddressPools/p")+"]")), "AnotherInternalLoadBalancerExists")
	r.refused(http.MethodPut, lb+"/backendAddressPools/p", part("p", `"loadBalancerBackendAddresses":[`+part("a", `"ipAddress":"10.20.2.9","virtualNetwork":`+ref(vnet))+"]"), "InvalidRequestFormat")
	r.delete(nic)
	r.want(r.get(lb+"/backendAddressPools/p"), "properties.backendIPConfigurations", nil)
}

// A public load balancer with members by address, a range of ports for each of them, and an outbound rule.
func TestPublicLoadBalancer(t *testing.T) {
	r, _ := balanced(t)
	r.put(lbAddress, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	r.put(net0+"networkInterfaces/a", member("", ""))
	address := func(name, ip, more string) string {
		return part(name, `"ipAddress":"`+ip+`","virtualNetwork":`+ref(vnet)+more)
	}
	inSubnet := part("x", `"ipAddress":"10.20.2.4","subnet":`+ref(vnet+"/subnets/back"))
	for action, pool := range map[string]string{
		"virtualNetworks/joinLoadBalancer/action":         `"loadBalancerBackendAddresses":[` + address("x", "10.20.2.4", "") + "]",
		"virtualNetworks/subnets/joinLoadBalancer/action": `"loadBalancerBackendAddresses":[` + inSubnet + "]",
	} {
		r.denied = "Microsoft.Network/" + action
		r.refused(http.MethodPut, lb, lbBody(parts("frontendIPConfigurations", part("f", `"publicIPAddress":`+ref(lbAddress))), parts("backendAddressPools", part("p", pool))), "LinkedAuthorizationFailed")
	}
	r.denied = "Microsoft.Network/virtualNetworks/joinLoadBalancer/action"
	r.refused(http.MethodPut, lb, lbBody(parts("backendAddressPools", part("p", `"virtualNetwork":`+ref(vnet)))), "LinkedAuthorizationFailed")
	r.denied = ""
	r.put(lb, lbBody(
		parts("frontendIPConfigurations", part("f", `"publicIPAddress":`+ref(lbAddress))),
		parts("backendAddressPools", part("p", `"loadBalancerBackendAddresses":[`+address("x", "10.20.2.4", "")+","+address("y", "10.20.2.77", "")+"]")),
		parts("loadBalancingRules", lbRule("r", "f", "p", 443, 443, `,"enableFloatingIP":true,"disableOutboundSnat":true`)),
		parts("inboundNatRules", natRule("n", "f", 0, 22, `,"frontendPortRangeStart":1000,"frontendPortRangeEnd":1009,`+own("backendAddressPool", "backendAddressPools", "p"))),
		parts("outboundRules", part("o", `"frontendIPConfigurations":[`+ref(lb+"/frontendIPConfigurations/f")+`],`+own("backendAddressPool", "backendAddressPools", "p")+`,"protocol":"All","allocatedOutboundPorts":1024`)),
	))
	r.want(r.get(lbAddress), "properties.ipConfiguration.id", lb+"/frontendIPConfigurations/f")
	r.refused(http.MethodDelete, lbAddress, "", "PublicIPAddressCannotBeDeleted")
	r.want(r.get(lb), "properties.frontendIPConfigurations.0.properties.outboundRules.0.id", lb+"/outboundRules/o")
	r.want(r.get(lb+"/backendAddressPools/p"), "properties.loadBalancerBackendAddresses.1.properties.ipAddress", "10.20.2.77")
	mapped, err := r.do(http.MethodPost, lb+"/backendAddressPools/p/queryInboundNatRulePortMapping", latest, `{"ipAddress":"10.20.2.77"}`)
	if err != nil {
		t.Fatal(err)
	}
	r.want(mapped, "inboundNatRulePortMappings.0.frontendPort", 1001.0)

	f, back := lb+"/frontendIPConfigurations/f", []fabric.Backend{{NIC: net0 + "networkInterfaces/a", Addr: addr("10.20.2.4")}}
	want := []fabric.LoadBalancer{{
		ID: lb, VNet: vnet, Frontends: []fabric.Frontend{{ID: f, Addr: addr("20.61.0.4")}},
		Rules:    []fabric.BalancingRule{{ID: lb + "/loadBalancingRules/r", Frontend: f, Protocol: fabric.TCP, Port: 443, BackendPort: 443, FloatingIP: true, Backends: back}},
		NATRules: []fabric.InboundNATRule{{ID: lb + "/inboundNatRules/n/1000", Frontend: f, Protocol: fabric.TCP, Port: 1000, BackendPort: 22, Backend: back[0]}},
		Outbound: []fabric.OutboundRule{{ID: lb + "/outboundRules/o", Frontends: []string{f}, Protocol: fabric.AnyProtocol, Backends: back}},
	}}
	if diff := cmp.Diff(want, r.topology().LoadBalancers, cmp.Comparer(equalAddr), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
	// who is taken out of service gets no new connections
	r.put(lb+"/backendAddressPools/p", part("p", `"loadBalancerBackendAddresses":[`+address("x", "10.20.2.4", `,"adminState":"Down"`)+"]"))
	if b := r.topology().LoadBalancers[0].Rules[0].Backends; len(b) != 1 || !b[0].Down {
		t.Errorf("backends %+v", b)
	}
	r.delete(lb)
	r.delete(lbAddress)
}

// A frontend of a prefix is all of its addresses, and nobody else has one of them.
func TestLoadBalancerPrefix(t *testing.T) {
	r, _ := balanced(t)
	r.put(prefix, `{"location":"westeurope","properties":{"prefixLength":31}}`)
	r.put(net0+"networkInterfaces/a", member("", ""))
	of := func(name string) string {
		return lbBody(parts("frontendIPConfigurations", part(name, `"publicIPPrefix":`+ref(prefix))),
			parts("backendAddressPools", part("p", `"loadBalancerBackendAddresses":[`+part("x", `"ipAddress":"10.20.2.4","virtualNetwork":`+ref(vnet))+"]")),
			parts("outboundRules", part("o", `"frontendIPConfigurations":[`+ref(lb+"/frontendIPConfigurations/"+name)+`],`+own("backendAddressPool", "backendAddressPools", "p")+`,"protocol":"All","allocatedOutboundPorts":64008`)))
	}
	address := `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static","publicIPPrefix":` + ref(prefix) + `}}`
	r.put(lbAddress, address)
	r.refused(http.MethodPut, lb, of("f"), "PublicIpPrefixInUse")
	r.delete(lbAddress)
	r.denied = "Microsoft.Network/publicIPPrefixes/join/action"
	r.refused(http.MethodPut, lb, of("f"), "LinkedAuthorizationFailed")
	r.denied = ""
	r.put(lb, of("f"))
	r.put(lb, of("f"))
	r.want(r.get(prefix), "properties.loadBalancerFrontendIpConfiguration.id", lb+"/frontendIPConfigurations/f")
	r.refused(http.MethodPut, lbAddress, address, "PublicIpPrefixInUse")
	r.refused(http.MethodPut, net0+"natGateways/g", `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIpPrefixes":[`+ref(prefix)+`]}}`, "PublicIpPrefixInUse")
	r.refused(http.MethodDelete, prefix, "", "InUsePublicIpPrefixCannotBeDeleted")

	b := r.topology().LoadBalancers[0]
	if len(b.Frontends) != 2 || len(b.Outbound) != 1 || len(b.Outbound[0].Frontends) != 2 || b.Frontends[0].Addr == b.Frontends[1].Addr {
		t.Errorf("translated to %+v", b)
	}
	if _, err := fabric.Compile(r.topology()); err != nil {
		t.Error(err)
	}
	r.delete(lb)
	r.want(r.get(prefix), "properties.loadBalancerFrontendIpConfiguration", nil)
	r.delete(prefix)
}
