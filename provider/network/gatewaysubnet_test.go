package network_test

import (
	"net/http"
	"strings"
	"testing"
)

// Interfaces do not stand where gateways do.
func TestGatewaySubnetIsForGateways(t *testing.T) {
	r := newRig(t)
	r.put(net0+"virtualNetworks/hub", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"GatewaySubnet","properties":{"addressPrefix":"10.0.255.0/27"}}]}}`)
	r.refused(http.MethodPut, net0+"networkInterfaces/n", `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":"`+net0+`virtualNetworks/hub/subnets/GatewaySubnet"}}}]}}`, "GatewaySubnet")
}

// The subnet of gateways has no network security group, however it is written, as in Azure
// (https://github.com/Azure-Terraform/terraform-azurerm-virtual-network/issues/18 has Azure's words).
func TestGatewaySubnetHasNoGroup(t *testing.T) {
	r := newRig(t)
	const code = "NetworkSecurityGroupCannotBeAttachedToGatewaySubnet"
	r.put(net0+"networkSecurityGroups/nsg", `{"location":"westeurope"}`)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("GatewaySubnet", "10.0.255.0/27", "")))
	grouped := subnetBody("gatewaysubnet", "10.0.255.0/27", `,"networkSecurityGroup":{"id":"`+net0+`networkSecurityGroups/nsg"}`)
	e := r.refused(http.MethodPut, vnet+"/subnets/gatewaysubnet", grouped, code)
	if !strings.HasPrefix(e.Message, "The operation failed because the network security group nsg can not be associated to the GatewaySubnet.") {
		t.Error(e.Message)
	}
	r.refused(http.MethodPut, vnet, vnetBody("10.0.0.0/16", grouped), code)
	r.refused(http.MethodPut, net0+"virtualNetworks/new", vnetBody("10.1.0.0/16", strings.Replace(grouped, "10.0.255", "10.1.255", 1)), code)
	r.put(vnet+"/subnets/a", subnetBody("a", "10.0.1.0/24", `,"networkSecurityGroup":{"id":"`+net0+`networkSecurityGroups/nsg"}`))
}
