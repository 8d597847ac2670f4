package network_test

import (
	"net/http"
	"testing"
)

// Interfaces do not stand where gateways do.
func TestGatewaySubnetIsForGateways(t *testing.T) {
	r := newRig(t)
	r.put(net0+"virtualNetworks/hub", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"GatewaySubnet","properties":{"addressPrefix":"10.0.255.0/27"}}]}}`)
	r.refused(http.MethodPut, net0+"networkInterfaces/n", `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":"`+net0+`virtualNetworks/hub/subnets/GatewaySubnet"}}}]}}`, "GatewaySubnet")
}
