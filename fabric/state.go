package fabric

import "net/netip"

// State is what the kernel is to hold for a Topology: the whole of it, in a canonical order, so that
// equal topologies give equal text. fabric/linux applies it and reads it back.
type State struct {
	Namespaces []Namespace
	Veths      []Veth
}

// Namespace is one network namespace. Names are stable: they are derived from the id of what lives in
// it (RouterNS, NICNS, HostNS), never from an order.
type Namespace struct {
	Name    string
	Sysctls map[string]string // net.ipv4.… = value
	// Addrs are on lo: the platform's addresses, private endpoints, service addresses.
	Addrs []netip.Prefix
	// Local are prefixes answered as local ("AnyIP": ip route add local P dev lo).
	Local  []netip.Prefix
	Routes []Route
	Rules  []PolicyRule
	// NFT is the complete ruleset of the table `table inet vauban` of this namespace, as `nft -f -`
	// takes it; "" for none. Counters are declared by name (see RuleRef.Counter).
	NFT string
}

// Veth is a pair: A and B name (namespace, interface) ends. MAC is the fixed address of end A.
type Veth struct {
	A, B  End
	AddrB []netip.Prefix // addresses on end B
	AddrA []netip.Prefix
}

// End of a veth pair.
type End struct{ Namespace, Interface string }

// Route is `ip route`: Type is unicast or blackhole; Table 0 is main.
type Route struct {
	Type  string
	Dst   netip.Prefix
	Via   netip.Addr // zero: on-link
	Dev   string
	Src   netip.Addr
	Table int
}

// PolicyRule is `ip rule`.
type PolicyRule struct {
	Priority int
	IIF      string
	FwMark   uint32
	Table    int
}

// RuleRef names one rule that can refuse a packet: a rule of an NSG (Owner is its id, Rule a name,
// default rules included), or a rule of the fabric itself (Owner "fabric": Rule "anti-spoof",
// "no-route", "no-outbound", "endpoint-port", "platform").
type RuleRef struct {
	Owner     string
	Direction Direction
	Rule      string
}

// Place is where a probe, a listener or a process stands.
type Place struct {
	Kind PlaceKind
	ID   string // VNet id, NIC id or host name; "" for Internet
}

// PlaceKind of a Place.
type PlaceKind uint8

const (
	AtRouter   PlaceKind = iota // the router namespace of a VNet
	AtNIC                       // the namespace behind a NIC
	AtInternet                  // the namespace of the services' public addresses
	AtHost                      // a host on the internet
)
