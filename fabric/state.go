package fabric

import (
	"net/netip"
	"slices"
	"strings"
)

// State is what the kernel is to hold for a Topology: the whole of it, in a canonical order, so that
// equal topologies give equal text. fabric/linux applies it and reads it back.
type State struct {
	Namespaces []Namespace // by name
	Veths      []Veth      // by end A
	// Counters tells which rule a named nft counter belongs to. The same name stands in each
	// namespace whose table has the rule; the log prefix of a dropped packet (group LogGroup) is the
	// same name again.
	Counters map[string]RuleRef
}

// Namespace returns the namespace of that name, nil if there is none.
func (s *State) Namespace(name string) *Namespace {
	i, ok := slices.BinarySearchFunc(s.Namespaces, name, func(n Namespace, name string) int {
		return strings.Compare(n.Name, name)
	})
	if !ok {
		return nil
	}
	return &s.Namespaces[i]
}

// Namespace is one network namespace. Names are stable: they are derived from the id of what lives in
// it (RouterNS, NICNS, HostNS), never from an order.
type Namespace struct {
	Name string
	// Sysctls of the namespace: "net.ipv4.ip_forward" = "1". None names an interface, so they can be
	// set before there is any; new interfaces inherit them. A net.ipv6 key may be absent in a kernel
	// without IPv6.
	Sysctls map[string]string
	// Addrs are on lo: the platform's addresses, private endpoints, service addresses.
	Addrs []netip.Prefix
	// Local are prefixes answered as local ("AnyIP": ip route add local P dev lo).
	Local  []netip.Prefix
	Routes []Route
	Rules  []PolicyRule
	// Tunnels are TUN devices; they stay when the process at their other end goes.
	Tunnels []TunnelDevice
	// NFT is the complete ruleset of the table `table inet vauban` of this namespace, as `nft -f -`
	// takes it; "" for none. Counters are declared by name (see RuleRef.Counter).
	NFT string
	// Objects are the same ruleset in pieces, in an order in which nothing refers to what follows:
	// for a driver that loads it in several transactions and keeps counters across changes.
	Objects []Object
}

// Object is one named thing of `table inet vauban`.
type Object struct {
	Kind ObjectKind
	Name string
	// Spec are declaration lines: "type ifname . ipv4_addr", "flags interval", or a base chain's
	// "type filter hook forward priority 0; policy drop;". None for counters and plain chains.
	Spec []string
	// Lines are the elements of a set or map, or the rules of a chain, in order.
	Lines []string
	// Learned says that the elements of a set come and go with what names resolve to: they are none of the state's, and
	// stay while it changes.
	Learned bool
	// Content says that the name is a hash of everything that the object says: it never changes
	// under its name, and nothing reaches it before a root refers to it.
	Content bool
	// Entry says of a chain that what refers to it need not change with it: as with a base chain, the driver may put
	// other rules under its name.
	Entry bool
}

// ObjectKind is nft's word for an object: counter, set, map or chain.
type ObjectKind string

const (
	CounterObject ObjectKind = "counter"
	SetObject     ObjectKind = "set"
	MapObject     ObjectKind = "map"
	ChainObject   ObjectKind = "chain"
)

// TableName is the one nft table of a namespace, of family inet.
const TableName = "vauban"

// LogGroup is the nflog group that dropped packets are logged to, with their counter's name as prefix.
const LogGroup = 5

// Veth is a pair: A and B name (namespace, interface) ends. MAC is the fixed address of end A, the
// router's or the internet's; MACB that of end B.
type Veth struct {
	A, B  End
	MAC   string         // aa:bb:cc:dd:ee:ff
	MACB  string         // the same form
	AddrB []netip.Prefix // addresses on end B
	AddrA []netip.Prefix
}

// End of a veth pair.
type End struct{ Namespace, Interface string }

// Route is `ip route`: Type is unicast, blackhole, throw (the next table decides) or local (Dev lo: what is
// routed by it ends here); Table 0 is main. In other tables Via is taken to be on the link of Dev.
type Route struct {
	Type  string
	Dst   netip.Prefix
	Via   netip.Addr // zero: on-link
	Dev   string
	Src   netip.Addr
	Table int
}

// PolicyRule is `ip rule`. One whose table is LocalTable takes the place of the kernel's own, which is
// before all others: what comes before it is asked even for the namespace's own addresses.
type PolicyRule struct {
	Priority int
	IIF      string
	FwMark   uint32
	FwMask   uint32 // bits of the mark that count; 0 for all
	Table    int
}

// LocalTable is the kernel's table of a namespace's own addresses.
const LocalTable = 255

// RuleRef names one rule that can refuse a packet: a rule of an NSG (Owner is its id, Rule a name,
// default rules included), a route of a route table (Owner is its id, Direction Routing), a rule of an Azure
// Firewall (Owner is its id, Rule GROUP/COLLECTION/RULE, Direction Through), or a rule of
// the fabric itself (Owner FabricOwner, one of the Rule… constants, Direction zero).
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
