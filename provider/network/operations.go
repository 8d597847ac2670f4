package network

import "vauban.dev/arm/rp"

// linked are the operations that Links of this package and of others ask for: attaching something to what is here
// (https://learn.microsoft.com/azure/role-based-access-control/permissions/networking).
func linked() rp.Registration {
	var names []string
	for _, typ := range []string{
		VNetType, SubnetType, NSGType, RouteTableType, NATGatewayType, EndpointPolicyType, PublicIPType, PublicIPPrefixType, NICType,
		FrontendType, PoolType, InboundNATRuleType,
	} {
		names = append(names, typ+"/join/action")
	}
	return rp.Operations(rp.Actions(append(names,
		VNetType+"/peer/action", VNetType+"/joinLoadBalancer/action", SubnetType+"/joinLoadBalancer/action", SubnetType+"/joinViaServiceEndpoint/action",
		ASGType+"/joinIpConfiguration/action", ASGType+"/joinNetworkSecurityRule/action", LinkServiceType+"/PrivateEndpointConnectionsApproval/action")...)...)
}
