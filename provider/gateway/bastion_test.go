package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/provider/gateway"
)

const bst = net0 + "bastionHosts/bastion"

func bastionBody(sku, subnet, public, extra string) string {
	return `{"location":"westeurope","sku":{"name":"` + sku + `"},"properties":{"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":"` + subnet + `"},"publicIPAddress":{"id":"` + net0 + "publicIPAddresses/" + public + `"}}}]` + extra + `}}`
}

func TestBastion(t *testing.T) {
	r := newRig(t)
	made := r.Must(http.MethodPut, bst+version, bastionBody("Standard", vnet+"/subnets/AzureBastionSubnet", "one", `,"enableTunneling":true,"enableIpConnect":true`))
	dns := text(made, "properties.dnsName")
	label, ok := strings.CutSuffix(dns, "."+gateway.BastionSuffix)
	if !ok || !strings.HasPrefix(label, "bst-") {
		t.Errorf("dnsName %q", dns)
	}
	got := r.Must(http.MethodGet, bst+version, "")
	for path, want := range map[string]string{
		"sku.name":                           "Standard",
		"properties.provisioningState":       "Succeeded",
		"properties.dnsName":                 dns,
		"properties.ipConfigurations.0.id":   bst + "/bastionHostIpConfigurations/ip",
		"properties.ipConfigurations.0.type": "Microsoft.Network/bastionHosts/bastionHostIpConfigurations",
		"properties.ipConfigurations.0.properties.privateIPAllocationMethod": "Dynamic",
	} {
		if v := text(got, path); v != want {
			t.Errorf("%s is %q, want %q", path, v, want)
		}
	}
	top, _ := r.extended()
	nic := top.VNets[0].NICs[0]
	if nic.ID != bst+"/bastionHostIpConfigurations/ip" || !nic.Managed || nic.Forwarding || len(nic.Public) != 1 {
		t.Errorf("its interface is %+v", nic)
	}
	r.update(func(tx *rp.Tx) error {
		b, err := gateway.BastionByLabel(tx, strings.ToUpper(label))
		if err != nil || b == nil || b.Properties.Public != nic.Public[0].Public || gateway.BastionNIC(b) != nic.ID {
			t.Errorf("by its name: %+v %v", b, err)
		}
		return nil
	})
	r.refused(http.MethodPost, bst+"/createShareableLinks", `{}`, "NotImplemented")
	r.refused(http.MethodDelete, vnet+"/subnets/AzureBastionSubnet", "", "InUseSubnetCannotBeDeleted")
	r.refused(http.MethodPut, net0+"bastionHosts/second", bastionBody("Standard", vnet+"/subnets/AzureBastionSubnet", "two", ""), "BastionHostAlreadyExists")
	r.Must(http.MethodDelete, bst+version, "")
	r.Must(http.MethodDelete, vnet+"/subnets/AzureBastionSubnet"+version, "")
	r.Must(http.MethodDelete, net0+"publicIPAddresses/one"+version, "")
}

func TestBastionRefusals(t *testing.T) {
	r := newRig(t)
	r.Must(http.MethodPut, net0+"publicIPAddresses/basic"+version, `{"location":"westeurope","properties":{}}`)
	r.Must(http.MethodPut, net0+"virtualNetworks/small"+version, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.9.0.0/16"]},"subnets":[{"name":"AzureBastionSubnet","properties":{"addressPrefix":"10.9.0.0/27"}}]}}`)
	ok := vnet + "/subnets/AzureBastionSubnet"
	two := strings.Replace(bastionBody("Standard", ok, "one", ""), `"ipConfigurations":[`, `"ipConfigurations":[{"name":"x","properties":{"subnet":{"id":"`+ok+`"},"publicIPAddress":{"id":"`+net0+`publicIPAddresses/two"}}},`, 1)
	for _, c := range []struct{ name, body, code string }{
		{"another subnet", bastionBody("Standard", vnet+"/subnets/default", "one", ""), "SubnetNameMustBeAzureBastionSubnet"},
		{"a small subnet", bastionBody("Standard", net0+"virtualNetworks/small/subnets/AzureBastionSubnet", "one", ""), "BastionHostSubnetTooSmall"},
		{"two configurations", two, "BastionHostMustHaveMaximumOneHostIpConfiguration"},
		{"a Basic address", bastionBody("Standard", ok, "basic", ""), "BastionHostPublicIpMustBeStandard"},
		{"tunnels of Basic", bastionBody("Basic", ok, "one", `,"enableTunneling":true`), "BastionHostFeatureNotSupportedForSku"},
		{"Developer", bastionBody("Developer", ok, "one", ""), "NotImplemented"},
		{"an unknown SKU", bastionBody("Gold", ok, "one", ""), "InvalidRequestFormat"},
		{"another region", strings.Replace(bastionBody("Standard", ok, "one", ""), "westeurope", "northeurope", 1), "InvalidResourceReference"},
		{"a bad client list", bastionBody("Standard", ok, "one", `,"networkAcls":{"ipRules":[{"addressPrefix":"here"}]}`), "InvalidAddressPrefixFormat"},
		{"recording", bastionBody("Premium", ok, "one", `,"enableSessionRecording":true`), "NotImplemented"},
	} {
		t.Run(c.name, func(t *testing.T) { r.refused(http.MethodPut, bst, c.body, c.code) })
	}
}

// bastionRules are Azure's, as documented for a network security group of AzureBastionSubnet.
var bastionRules = []string{
	`"direction":"Inbound","sourceAddressPrefix":"Internet","destinationAddressPrefix":"*","destinationPortRange":"443","protocol":"Tcp"`,
	`"direction":"Inbound","sourceAddressPrefix":"GatewayManager","destinationAddressPrefix":"*","destinationPortRange":"443","protocol":"Tcp"`,
	`"direction":"Inbound","sourceAddressPrefix":"AzureLoadBalancer","destinationAddressPrefix":"*","destinationPortRange":"443","protocol":"Tcp"`,
	`"direction":"Inbound","sourceAddressPrefix":"VirtualNetwork","destinationAddressPrefix":"VirtualNetwork","destinationPortRanges":["8080","5701"],"protocol":"*"`,
	`"direction":"Outbound","sourceAddressPrefix":"*","destinationAddressPrefix":"VirtualNetwork","destinationPortRanges":["22","3389"],"protocol":"*"`,
	`"direction":"Outbound","sourceAddressPrefix":"*","destinationAddressPrefix":"AzureCloud","destinationPortRange":"443","protocol":"Tcp"`,
	`"direction":"Outbound","sourceAddressPrefix":"VirtualNetwork","destinationAddressPrefix":"VirtualNetwork","destinationPortRanges":["8080","5701"],"protocol":"*"`,
	`"direction":"Outbound","sourceAddressPrefix":"*","destinationAddressPrefix":"Internet","destinationPortRange":"80","protocol":"*"`,
}

// Without any one of the rules Azure does not put the group on the subnet.
func TestBastionSecurityGroup(t *testing.T) {
	r := newRig(t)
	const nsg = net0 + "networkSecurityGroups/nsg"
	group := func(without int) string {
		var rules []string
		for i, rule := range bastionRules {
			if i != without {
				rules = append(rules, fmt.Sprintf(`{"name":"r%d","properties":{"priority":%d,"access":"Allow","sourcePortRange":"*",%s}}`, i, 100+i, rule))
			}
		}
		return `{"location":"westeurope","properties":{"securityRules":[` + strings.Join(rules, ",") + `]}}`
	}
	subnet := `{"properties":{"addressPrefix":"10.0.254.0/26","networkSecurityGroup":{"id":"` + nsg + `"}}}`
	for i := range bastionRules {
		r.Must(http.MethodPut, nsg+version, group(i))
		r.refused(http.MethodPut, vnet+"/subnets/AzureBastionSubnet", subnet, "NetworkSecurityGroupNotCompliantForAzureBastionSubnet")
	}
	r.Must(http.MethodPut, nsg+version, group(-1))
	r.Must(http.MethodPut, vnet+"/subnets/AzureBastionSubnet"+version, subnet)
}
