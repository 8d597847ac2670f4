// Package fabric is the network as a pure model: a Topology goes in; compiled rules, kernel state and
// explanations come out. It touches no kernel, no socket, no store and no ARM; fabric/linux applies
// what it compiles. Ids are opaque strings to it (provider/network passes ARM ids).
package fabric

import (
	"net/netip"
	"time"

	"vauban.dev/azurefirewall"
)

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
	// NSGs, RouteTables and NATGateways by id.
	NSGs          map[string]*NSG
	RouteTables   map[string]*RouteTable
	NATGateways   map[string]*NATGateway
	LoadBalancers []LoadBalancer
	LinkServices  []LinkService
	// Tags gives the prefixes of a service tag as it stands in a rule ("Storage.WestEurope"), in any
	// letter case; ok is false for a tag that does not exist. VirtualNetwork, Internet and
	// AzureLoadBalancer are computed and not asked.
	Tags TagSource
	// Names tells the addresses that a name has for a firewall's NIC; nil: no name has any. Explain asks it, Compile
	// does not: the kernel learns names while it runs.
	Names func(nic, name string) []netip.Addr
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
	// Peerings of this VNet that are connected: the other side has its own.
	Peerings []Peering
	// GatewayRoutes are what the VNet's gateway learned from what it is connected to.
	GatewayRoutes []GatewayRoute
}

// Subnet of a VNet.
type Subnet struct {
	ID         string
	Prefixes   []netip.Prefix
	NSG        string // id, "" for none
	RouteTable string // id, "" for none
	NATGateway string // id, "" for none
	// DefaultOutbound: NICs without a public address reach the internet by Azure's default outbound
	// access.
	DefaultOutbound bool
	// ServiceEndpoints are the services that the subnet reaches as itself.
	ServiceEndpoints []ServiceEndpoint
	// EndpointPolicies: does this subnet's NSG judge traffic to its private endpoints
	// (privateEndpointNetworkPolicies Enabled or NetworkSecurityGroupEnabled).
	EndpointPolicies bool
	// EndpointRoutes: do routes broader than /32 reach its private endpoints' addresses
	// (privateEndpointNetworkPolicies Enabled or RouteTableEnabled).
	EndpointRoutes bool
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
	Public  []PublicAddress
	ASGs    []string // application security groups
	Service *Service // Endpoint: what answers behind it
	// Bridge is a network of the guest's own that hides the same addresses elsewhere: packets there never leave.
	// Zero: none.
	Bridge netip.Prefix
	// Forwarding: it may send and take packets of others (enableIPForwarding), and its namespace passes
	// them on.
	Forwarding bool
	// Tunnels of a forwarding NIC: what a gateway is connected to.
	Tunnels []Tunnel
	// Firewall judges what a Forwarding NIC's namespace takes in; nil: it passes everything on.
	Firewall *azurefirewall.Firewall
	// Managed: a machine of the platform's (a gateway, a bastion). Its public address is open where no NSG
	// stands before it: Azure guards it.
	Managed bool
}

// PublicAddress is a public address of a NIC's ip configuration, and the private one that it stands for.
type PublicAddress struct{ Private, Public netip.Addr }

// Service is what a private endpoint leads to.
type Service struct {
	Target  string   // resource id
	GroupID string   // blob, vault, amlworkspace …
	Ports   []uint16 // TCP ports that listen, usually 443
}

// HopType is where a route leads (Microsoft.Network routes, nextHopType).
type HopType uint8

const (
	HopNone      HopType = iota // packets are dropped
	HopVNet                     // VnetLocal: the VNet's own space
	HopPeering                  // VNetPeering, VNetGlobalPeering
	HopGateway                  // VirtualNetworkGateway
	HopInternet                 // Internet
	HopAppliance                // VirtualAppliance: the NIC that has UserRoute.Appliance
	HopService                  // VirtualNetworkServiceEndpoint
	HopEndpoint                 // InterfaceEndpoint: a private endpoint's address
)

// RouteTable holds user-defined routes of the subnets that name it.
type RouteTable struct {
	ID     string
	Routes []UserRoute
	// IgnoreGateway: routes learned by a gateway do not reach the table's subnets
	// (disableBgpRoutePropagation).
	IgnoreGateway bool
}

// UserRoute of a RouteTable.
type UserRoute struct {
	Name   string
	Prefix string // a CIDR or a service tag
	Hop    HopType
	// Appliance is the next hop's address where Hop is HopAppliance.
	Appliance netip.Addr
}

// GatewayRoute is a prefix that lies behind a gateway of the VNet.
type GatewayRoute struct {
	Prefix netip.Prefix
	NIC    string // the gateway's NIC, of kind Guest and Forwarding
}

// Peering is one side of two peered VNets (Microsoft.Network virtualNetworkPeerings), both connected.
type Peering struct {
	ID     string
	Remote string // id of the other VNet
	// Prefixes are the other's address space as this side knows it: it is taken over when the peering is
	// made or synchronised.
	Prefixes       []netip.Prefix
	Access         bool // allowVirtualNetworkAccess: the other's space is in VirtualNetwork
	Forwarded      bool // allowForwardedTraffic: takes packets that the other did not begin
	GatewayTransit bool // allowGatewayTransit: the other may use this VNet's gateway
	RemoteGateways bool // useRemoteGateways: this VNet uses the other's gateway
}

// NATGateway gives its subnets public addresses to leave by.
type NATGateway struct {
	ID string
	// Addresses that flows leave by. A gateway without any does nothing.
	Addresses []netip.Addr
}

// ServiceEndpoint of a subnet: packets to Prefixes reach the region's services with their private source.
type ServiceEndpoint struct {
	Service  string // Microsoft.Storage, Microsoft.KeyVault …
	Prefixes []netip.Prefix
}

// LoadBalancer of SKU Standard (Microsoft.Network loadBalancers).
type LoadBalancer struct {
	ID        string
	VNet      string // id of the VNet that has its backends and private frontends
	Frontends []Frontend
	Rules     []BalancingRule
	NATRules  []InboundNATRule
	Outbound  []OutboundRule
	Probes    []Probe
}

// Frontend of a load balancer: a private address in a subnet, or a public one.
type Frontend struct {
	ID     string
	Subnet string // id; "" for a public frontend
	Addr   netip.Addr
}

// Backend is one member of a pool.
type Backend struct {
	NIC  string
	Addr netip.Addr // one of the NIC's
	// Down: the rule's probe found it unhealthy.
	Down bool
}

// BalancingRule spreads a frontend's connections over backends.
type BalancingRule struct {
	ID       string
	Frontend string   // id
	Protocol Protocol // TCP, UDP, or AnyProtocol with port 0: HA ports
	Port     uint16
	// BackendPort; equal to Port for a floating IP, where the destination stays the frontend.
	BackendPort uint16
	FloatingIP  bool
	Affinity    Affinity
	Backends    []Backend
	Probe       string // id of the one that tells Backend.Down, "" for none
	// ImplicitOutbound: backends leave by the frontend (disableOutboundSnat false), if it is public.
	ImplicitOutbound bool
}

// Probe tells which backends are healthy (Microsoft.Network loadBalancers/probes). It comes from
// 168.63.129.16 to each backend of the rules that name it.
type Probe struct {
	ID       string
	Protocol ProbeProtocol
	Port     uint16
	Path     string        // of ProbeHTTP and ProbeHTTPS: "/health"
	Interval time.Duration // between two connections
	// Threshold is how many results in a row, all good or all bad, change a backend's state
	// (probeThreshold); 0 counts as 1.
	Threshold int
}

// ProbeProtocol is how a Probe asks: a TCP connection that is accepted, or a GET that is answered 200.
type ProbeProtocol uint8

const (
	ProbeTCP ProbeProtocol = iota
	ProbeHTTP
	ProbeHTTPS
)

// Affinity is a rule's loadDistribution: what of a connection chooses its backend.
type Affinity uint8

const (
	FiveTuple      Affinity = iota // Default
	SourceIP                       // SourceIP: source and destination address
	SourceProtocol                 // SourceIPProtocol: and the protocol
)

// InboundNATRule leads one port of a frontend to one backend.
type InboundNATRule struct {
	ID          string
	Frontend    string // id
	Protocol    Protocol
	Port        uint16
	BackendPort uint16
	FloatingIP  bool
	Backend     Backend
}

// OutboundRule lets backends leave by public frontends.
type OutboundRule struct {
	ID        string
	Frontends []string // ids
	Protocol  Protocol // TCP, UDP or AnyProtocol
	Backends  []Backend
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
	// Routing is no direction of a security rule: a RuleRef has it whose rule is a route of a route table.
	Routing
	// Through is none either: the rule is one of an Azure Firewall, and judges what passes it.
	Through
)

func (d Direction) String() string {
	switch d {
	case Inbound:
		return "Inbound"
	case Routing:
		return "Routing"
	case Through:
		return "Through"
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
