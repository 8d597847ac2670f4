package network_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
)

const (
	gateway = net0 + "natGateways/nat"
	pip     = net0 + "publicIPAddresses/pip"
	prefix  = net0 + "publicIPPrefixes/pre"
)

const staticIP = `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"%s}}`

func standardIP(more string) string { return fmt.Sprintf(staticIP, more) }

func natBody(more string) string {
	return `{"location":"westeurope","sku":{"name":"Standard"},"properties":{` + more + `}}`
}

func TestPublicIPPrefix(t *testing.T) {
	r := newRig(t)
	r.put(net0+"publicIPAddresses/first", standardIP("")) // 20.61.0.4
	v := r.put(prefix, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"prefixLength":31}}`)
	r.want(v, "properties.ipPrefix", "20.61.0.6/31")
	r.want(v, "sku.tier", "Regional")
	r.want(v, "properties.publicIPAddressVersion", "IPv4")
	for i, want := range []string{"20.61.0.6", "20.61.0.7"} {
		v := r.put(fmt.Sprintf("%s%d", pip, i), standardIP(`,"publicIPPrefix":`+ref(prefix)))
		r.want(v, "properties.ipAddress", want)
	}
	r.refused(http.MethodPut, pip, standardIP(`,"publicIPPrefix":`+ref(prefix)), "PublicIpPrefixIsFull")
	r.want(r.get(prefix), "properties.publicIPAddresses.1.id", pip+"1")
	e := r.refused(http.MethodDelete, prefix, "", "InUsePublicIpPrefixCannotBeDeleted")
	if e.Status != 400 || !strings.Contains(e.Message, pip+"0") {
		t.Errorf("%d %s", e.Status, e.Message)
	}
	r.put(net0+"publicIPAddresses/second", standardIP("")) // the pool's last one outside the prefix: 20.61.0.5
	r.refused(http.MethodPut, net0+"publicIPAddresses/third", standardIP(""), "PublicIPCountLimitReached")
	r.delete(pip + "0")
	r.want(r.put(pip, standardIP(`,"publicIPPrefix":`+ref(prefix))), "properties.ipAddress", "20.61.0.6")
	r.delete(pip)
	r.delete(pip + "1")
	r.delete(prefix)
	r.want(r.put(prefix, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"prefixLength":31}}`), "properties.ipPrefix", "20.61.0.6/31")

	body := `{"location":"westeurope","sku":{"name":"Standard"},"properties":{%s}}`
	for _, c := range []struct{ path, body, code string }{
		{prefix, fmt.Sprintf(body, `"prefixLength":30`), "PrefixLengthCannotBeChanged"},
		{prefix + "2", fmt.Sprintf(body, `"prefixLength":24`), "InvalidPrefixLength"},
		{prefix + "2", fmt.Sprintf(body, `"prefixLength":29`), "PublicIPPrefixCountLimitReached"},
		{prefix + "2", fmt.Sprintf(body, ``), "PublicIPPrefixCountLimitReached"}, // /28
		{prefix + "2", fmt.Sprintf(body, `"publicIPAddressVersion":"IPv6"`), "NotImplemented"},
		{prefix + "2", strings.Replace(fmt.Sprintf(body, ``), "Standard", "Basic", 1), "InvalidRequestFormat"},
		{pip, strings.Replace(standardIP(`,"publicIPPrefix":`+ref(prefix)), "Standard", "Basic", 1), "PublicIpPrefixRequiresStandardSku"},
		{pip, standardIP(`,"publicIPPrefix":` + ref(prefix+"9")), "InvalidResourceReference"},
		{pip, standardIP(`,"publicIPPrefix":` + ref(vnet)), "InvalidReferenceId"},
		{net0 + "publicIPAddresses/first", standardIP(`,"publicIPPrefix":` + ref(prefix)), "PublicIpPrefixCannotBeChanged"},
	} {
		r.refused(http.MethodPut, c.path, c.body, c.code)
	}
}

func TestPublicDNS(t *testing.T) {
	r := newRig(t)
	v := r.put(pip, standardIP(`,"dnsSettings":{"domainNameLabel":"shop","fqdn":"lies.test"}`))
	r.want(v, "properties.dnsSettings.fqdn", "shop.westeurope.cloudapp.azure.com")
	e := r.refused(http.MethodPut, pip+"2", standardIP(`,"dnsSettings":{"domainNameLabel":"SHOP"}`), "InvalidDomainNameLabel")
	if e.Status != 400 {
		t.Errorf("status %d", e.Status)
	}
	e = r.refused(http.MethodPut, pip+"2", standardIP(`,"dnsSettings":{"domainNameLabel":"shop"}`), "DnsRecordInUse")
	if want := "DNS record shop.westeurope.cloudapp.azure.com is already used by another public IP."; e.Message != want {
		t.Errorf("message %q", e.Message)
	}
	r.put(pip+"2", strings.Replace(standardIP(`,"dnsSettings":{"domainNameLabel":"shop"}`), "westeurope", "northeurope", 1))
	r.put(pip, standardIP("")) // and keeps its name
	r.put(pip+"3", standardIP(`,"dnsSettings":{"domainNameLabel":"shop"}`))
}

func TestNATGateway(t *testing.T) {
	r := newRig(t)
	r.put(pip, standardIP(""))
	r.put(prefix, `{"location":"westeurope","properties":{"prefixLength":31}}`)
	v := r.put(gateway, natBody(`"publicIpAddresses":[`+ref(pip)+`],"publicIpPrefixes":[`+ref(prefix)+`]`))
	r.want(v, "properties.idleTimeoutInMinutes", 4.0)
	r.want(r.get(pip), "properties.natGateway.id", gateway)
	r.want(r.get(prefix), "properties.natGateway.id", gateway)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", `,"natGateway":`+ref(gateway)), subnetBody("b", "10.0.1.0/24", "")))
	r.want(r.get(gateway), "properties.subnets.0.id", vnet+"/subnets/a")
	addresses := func() (got []netip.Addr, subnet string) {
		r.view(func(tx *rp.Tx) error {
			top, err := r.Topology(tx)
			if err != nil {
				return err
			}
			if g := top.NATGateways[gateway]; g != nil {
				got = g.Addresses
			}
			subnet = top.VNets[0].Subnets[0].NATGateway
			return nil
		})
		return got, subnet
	}
	want := []netip.Addr{netip.MustParseAddr("20.61.0.4"), netip.MustParseAddr("20.61.0.6"), netip.MustParseAddr("20.61.0.7")}
	if got, subnet := addresses(); !slices.Equal(got, want) || subnet != gateway {
		t.Errorf("addresses %v of %q", got, subnet)
	}
	e := r.refused(http.MethodDelete, gateway, "", "CannotDeleteNatGatewayAssociatedToSubnet")
	if want := "NAT Gateway " + gateway + " is still configured on 1 subnets. Remove NAT Gateway from all referenced subnets and then delete NAT Gateway."; e.Message != want {
		t.Errorf("message %q", e.Message)
	}
	r.refused(http.MethodDelete, pip, "", "PublicIPAddressCannotBeDeleted")
	r.refused(http.MethodDelete, prefix, "", "InUsePublicIpPrefixCannotBeDeleted")
	r.refused(http.MethodPut, pip+"2", standardIP(`,"publicIPPrefix":`+ref(prefix)), "PublicIpPrefixInUse")
	r.refused(http.MethodPut, net0+"networkInterfaces/n", nicBody("", config("ip", "b", `,"publicIPAddress":`+ref(pip))), "PublicIPAddressInUse")

	// without an address it does nothing
	r.put(gateway, natBody(""))
	r.want(r.get(pip), "properties.natGateway", nil)
	if got, subnet := addresses(); got != nil || subnet != "" {
		t.Errorf("addresses %v of %q", got, subnet)
	}
	r.put(vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", ""))
	r.delete(gateway)
	r.delete(pip)
	r.delete(prefix)
}

func TestNATGatewayRefusals(t *testing.T) {
	r := newRig(t)
	basic := strings.Replace(standardIP(""), "Standard", "Basic", 1)
	r.put(pip, standardIP(""))
	r.put(pip+"basic", basic)
	r.put(gateway, natBody(`"publicIpAddresses":[`+ref(pip)+`]`))
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""), subnetBody("n", "10.0.1.0/24", `,"natGateway":`+ref(gateway))))
	r.put(vnet+"2", vnetBody("10.0.0.0/16"))
	r.put(net0+"networkInterfaces/n", nicBody("", config("ip", "a", `,"publicIPAddress":`+ref(pip+"basic"))))
	north := strings.Replace(natBody(""), "westeurope", "northeurope", 1)
	r.put(gateway+"north", north)
	for _, c := range []struct{ path, body, code string }{
		{gateway + "2", natBody(`"publicIpAddresses":[` + ref(pip) + `]`), "PublicIPAddressInUse"},
		{gateway + "2", natBody(`"publicIpAddresses":[` + ref(pip+"basic") + `]`), "NatGatewayPublicIpAddressMustBeStandardSku"},
		{gateway + "2", natBody(`"publicIpAddresses":[` + ref(pip+"9") + `]`), "InvalidResourceReference"},
		{gateway + "2", natBody(`"publicIpAddresses":[` + ref(vnet) + `]`), "InvalidReferenceId"},
		{gateway + "2", natBody(`"idleTimeoutInMinutes":121`), "InvalidIdleTimeoutInMinutes"},
		{gateway + "2", strings.Replace(natBody(""), "Standard", "StandardV2", 1), "NotImplemented"},
		{gateway + "2", strings.Replace(natBody(""), "Standard", "Basic", 1), "InvalidRequestFormat"},
		{gateway + "north", strings.Replace(natBody(`"publicIpAddresses":[`+ref(pip)+`]`), "westeurope", "northeurope", 1), "InvalidResourceReference"},
		{vnet + "/subnets/a", subnetBody("a", "10.0.0.0/24", `,"natGateway":`+ref(gateway)), "SubnetWithNatGatewayAndBasicSkuResourceNotAllowed"},
		{net0 + "networkInterfaces/n", nicBody("", config("ip", "n", `,"publicIPAddress":`+ref(pip+"basic"))), "SubnetWithNatGatewayAndBasicSkuResourceNotAllowed"},
		{vnet + "2/subnets/a", subnetBody("a", "10.0.0.0/24", `,"natGateway":`+ref(gateway)), "NatGatewayCannotSpanVirtualNetworks"},
		{vnet + "/subnets/x", subnetBody("x", "10.0.2.0/24", `,"natGateway":`+ref(gateway+"north")), "InvalidResourceReference"},
		{vnet + "/subnets/GatewaySubnet", subnetBody("GatewaySubnet", "10.0.2.0/24", `,"natGateway":`+ref(gateway)), "GatewaySubnetCannotHaveNatGateway"},
	} {
		r.refused(http.MethodPut, c.path, c.body, c.code)
	}
	r.denied = "Microsoft.Network/natGateways/join/action"
	r.refused(http.MethodPut, vnet+"/subnets/x", subnetBody("x", "10.0.2.0/24", `,"natGateway":`+ref(gateway)), "LinkedAuthorizationFailed")
	r.denied = "Microsoft.Network/publicIPAddresses/join/action"
	r.refused(http.MethodPut, gateway, natBody(`"publicIpAddresses":[`+ref(pip)+`]`), "LinkedAuthorizationFailed")
}
