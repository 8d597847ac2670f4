package fabric

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// InternetNS is the namespace of the services' public addresses.
const InternetNS = "internet"

// Interfaces that have the same name in every namespace: a guest's or host's only one, and the
// router's way to the internet namespace.
const (
	GuestInterface  = "eth0"
	UplinkInterface = "uplink"
)

// RouterNS names the namespace that routes a VNet, and the internet's interface towards it.
func RouterNS(vnetID string) string { return "r-" + digest(10, vnetID) }

// NICNS names the namespace behind a guest NIC, and the router's interface towards it.
func NICNS(nicID string) string { return "n-" + digest(10, nicID) }

// HostNS names the namespace of a host on the internet, and the internet's interface towards it.
func HostNS(name string) string { return "h-" + digest(10, name) }

// NSName returns the namespace that a place stands for.
func NSName(p Place) string {
	switch p.Kind {
	case AtRouter:
		return RouterNS(p.ID)
	case AtNIC:
		return NICNS(p.ID)
	case AtHost:
		return HostNS(p.ID)
	default:
		return InternetNS
	}
}

// NICMAC is the hardware address that a NIC has for its whole life, under Microsoft's prefix as on
// Azure.
func NICMAC(nicID string) string {
	d := digest(6, nicID)
	return fmt.Sprintf("00:0d:3a:%s:%s:%s", d[0:2], d[2:4], d[4:6])
}

// Counter names the nft counter, and the log prefix, of the packets that the rule refused: a valid nft
// identifier of at most 31 characters that depends on nothing but the rule.
func (r RuleRef) Counter() string {
	return "c_" + digest(20, r.Owner, r.Direction.String(), r.Rule)
}

// String is how refusals name the rule.
func (r RuleRef) String() string {
	switch {
	case r.Owner == FabricOwner:
		return r.Owner + "/" + r.Rule
	case r.Direction == Routing:
		return r.Owner + " route " + r.Rule
	case r.Direction == Through:
		return r.Owner + " rule " + r.Rule
	}
	return fmt.Sprintf("%s %s rule %s", r.Owner, r.Direction, r.Rule)
}

// FabricOwner owns the rules that no NSG has.
const FabricOwner = "fabric"

// Rules of the fabric that refuse packets.
const (
	RuleAntiSpoof    = "anti-spoof"    // the source is not an address of the sender
	RuleNoRoute      = "no-route"      // Azure's system route to None, or an address that no NIC has
	RuleNoOutbound   = "no-outbound"   // no NAT gateway, public address, outbound rule or default outbound access
	RuleNoInbound    = "no-inbound"    // a public address is closed where no NSG opens it
	RuleEndpointPort = "endpoint-port" // the private endpoint does not listen there
	RulePlatform     = "platform"      // the platform's addresses answer on DNS's and HTTP's port only
	RulePeering      = "peering"       // a peering leads to the peered VNet only
	RuleForwarded    = "forwarded"     // the peering takes no traffic that the peered VNet did not begin
	RuleConnections  = "connections"   // the NIC has as many connections as it may have
	RuleLoop         = "loop"          // the routes lead round in circles
	RuleInvalid      = "invalid"       // belongs to no connection and can begin none
	RuleNoBackend    = "no-backend"    // a frontend has no rule for the port, or no healthy backend
	RuleHairpin      = "hairpin"       // a backend was chosen for its own call of an internal frontend
	RuleRouter       = "router"        // a router begins no connection
	RuleProtocol     = "protocol"      // a NIC sends TCP, UDP, ICMP, ESP and AH, and nothing else
)

// FabricRule is the reference to a rule of the fabric.
func FabricRule(name string) RuleRef { return RuleRef{Owner: FabricOwner, Rule: name} }

// digest is n hexadecimal characters that stand for the parts.
func digest(n int, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:n]
}
