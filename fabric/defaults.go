package fabric

// Service tags that are computed from the topology, and those of the platform, which the published
// list does not have.
const (
	TagVirtualNetwork = "VirtualNetwork"
	TagInternet       = "Internet"
	TagLoadBalancer   = "AzureLoadBalancer"
	TagPlatformDNS    = "AzurePlatformDNS"
	TagPlatformIMDS   = "AzurePlatformIMDS"
	TagPlatformLKM    = "AzurePlatformLKM"
)

// DefaultRules are the rules that every NSG has, under Azure's names and priorities.
// https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview#default-security-rules
func DefaultRules() []Rule {
	rule := func(name string, priority int, d Direction, allow bool, from, to string) Rule {
		any := []string{"*"}
		return Rule{
			Name: name, Priority: priority, Direction: d, Allow: allow, Protocol: AnyProtocol,
			Source: []string{from}, Destination: []string{to}, SourcePorts: any, DestinationPorts: any,
		}
	}
	return []Rule{
		rule("AllowVnetInBound", 65000, Inbound, true, TagVirtualNetwork, TagVirtualNetwork),
		rule("AllowAzureLoadBalancerInBound", 65001, Inbound, true, TagLoadBalancer, "*"),
		rule("DenyAllInBound", 65500, Inbound, false, "*", "*"),
		rule("AllowVnetOutBound", 65000, Outbound, true, TagVirtualNetwork, TagVirtualNetwork),
		rule("AllowInternetOutBound", 65001, Outbound, true, "*", TagInternet),
		rule("DenyAllOutBound", 65500, Outbound, false, "*", "*"),
	}
}
