// Package fabric is the network as a pure model: a Topology goes in; compiled rules, kernel state and
// explanations come out. It touches no kernel, no socket, no store and no ARM; fabric/linux applies
// what it compiles. Ids are opaque strings to it (provider/network passes ARM ids).
package fabric

import "net/netip"

// Platform addresses: DNS and the load balancer's probe, the instance metadata service, and the
// gateway that every NIC sees as its next hop (not an Azure address: on-link in every subnet).
var (
	WireServer = netip.MustParseAddr("168.63.129.16")
	IMDS       = netip.MustParseAddr("169.254.169.254")
	Gateway    = netip.MustParseAddr("169.254.1.1")
)

// Topology is the whole desired network of a region. Compile and Explain are functions of it alone.
type Topology struct {
	VNets []VNet
	// NSGs by id.
	NSGs map[string]*NSG
	// Tags gives the prefixes of a service tag as it stands in a rule ("Storage.WestEurope"), in any
	// letter case; ok is false for a tag that does not exist. VirtualNetwork, Internet and
	// AzureLoadBalancer are computed and not asked.
	Tags TagSource
	// Internet is the part of the world outside the VNets that this region plays.
	Internet Internet
}

// TagSource resolves service tags.
type TagSource interface {
	Prefixes(tag string) (p []netip.Prefix, ok bool)
}

// VNet is one virtual network: one router namespace.
type VNet struct {
	ID       string
	Prefixes []netip.Prefix // address space
	Subnets  []Subnet
	NICs     []NIC
}

// Subnet of a VNet.
type Subnet struct {
	ID       string
	Prefixes []netip.Prefix
	NSG      string // id, "" for none
	// DefaultOutbound: NICs without a public address reach the internet by Azure's default outbound
	// access.
	DefaultOutbound bool
	// EndpointPolicies: does this subnet's NSG judge traffic to its private endpoints
	// (privateEndpointNetworkPolicies Enabled or NetworkSecurityGroupEnabled).
	EndpointPolicies bool
}

// NICKind tells what has the address.
type NICKind uint8

const (
	Guest    NICKind = iota // a namespace of its own behind a veth pair
	Endpoint                // a private endpoint: its addresses end in the router namespace
)

// NIC is anything with an address in a VNet.
type NIC struct {
	ID      string
	Kind    NICKind
	Subnet  string       // id
	Addrs   []netip.Addr // IPv4; the first is the primary one
	NSG     string       // id, "" for none
	Public  netip.Addr   // its public address, zero for none
	ASGs    []string     // application security groups
	Service *Service     // Endpoint: what answers behind it
}

// Service is what a private endpoint leads to.
type Service struct {
	Target  string   // resource id
	GroupID string   // blob, vault, amlworkspace …
	Ports   []uint16 // TCP ports that listen, usually 443
}

// Internet is the outside that the region plays: the public prefixes of its services, the places that
// `exec --from internet` and probes stand at, and hosts that are nobody's service.
type Internet struct {
	// ServicePrefixes are answered by the region's services (AnyIP in the internet namespace).
	ServicePrefixes []netip.Prefix
	// Hosts are namespaces with one public address each, beside the services.
	Hosts []InternetHost
	// OutboundPool are public prefixes that nobody's service uses: each VNet with default outbound
	// access takes its address from here. Empty: DefaultOutboundPool.
	OutboundPool []netip.Prefix
}

// InternetHost is a machine on the internet: a client, or a server that belongs to nobody here.
type InternetHost struct {
	Name string
	Addr netip.Addr
}

// NSG is a network security group; the default rules are implied.
type NSG struct {
	ID    string
	Rules []Rule
}

// Direction of a rule.
type Direction uint8

const (
	Inbound Direction = iota
	Outbound
)

func (d Direction) String() string {
	if d == Inbound {
		return "Inbound"
	}
	return "Outbound"
}

// Rule is one security rule, as Azure has it (Microsoft.Network securityRules): lower priorities win,
// 100–4096 for users, 65000–65500 for the defaults.
type Rule struct {
	Name      string
	Priority  int
	Direction Direction
	Allow     bool
	Protocol  Protocol
	// Peers: "*", an address, a CIDR, or a service tag, any number of each. Ports: "*", "80", "80-90".
	Source, Destination           []string
	SourceASGs, DestinationASGs   []string // application security group ids
	SourcePorts, DestinationPorts []string
}

// Protocol of a rule or flow: an IP protocol number, or AnyProtocol.
type Protocol int16

const (
	AnyProtocol Protocol = -1
	ICMP        Protocol = 1
	TCP         Protocol = 6
	UDP         Protocol = 17
	ESP         Protocol = 50
	AH          Protocol = 51
)
