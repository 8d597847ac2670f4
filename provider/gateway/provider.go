// Package gateway is the part of Microsoft.Network that connects virtual networks to elsewhere: virtual
// network gateways (VPN and ExpressRoute), local network gateways, connections, ExpressRoute circuits, and
// bastions. It adds to the fabric's topology what the gateways know (topology.go), and says which
// tunnels run (fabric/vpn).
package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/network"
)

// The resource types.
const (
	Type           = "Microsoft.Network/virtualNetworkGateways"
	LocalType      = "Microsoft.Network/localNetworkGateways"
	ConnectionType = "Microsoft.Network/connections"
)

// SubnetName is the name of the subnet that gateways stand in.
const SubnetName = "GatewaySubnet"

// Network gives gateways their interfaces (network.Provider).
type Network interface {
	AllocateNIC(tx *rp.Tx, r network.NICRequest) (network.NIC, error)
	ReleaseNIC(tx *rp.Tx, owner string) error
}

// Wire is the state of the running tunnels (vpn.Engine).
type Wire interface {
	// Peers are those of a tunnel; nil for one that does not run.
	Peers(tunnel string) ([]vpn.PeerState, error)
	// Restart ends the sessions of a tunnel.
	Restart(tunnel string) error
	// Circuit is the state of a circuit's wire, Session that of its BGP; zero for what does not run.
	Circuit(name string) vpn.CircuitState
	Session(name string) bgp.State
	// Far opens the device at the other end of a circuit.
	Far(circuit arm.ID) (*os.File, error)
}

// Config of a Provider.
type Config struct {
	Network Network
	Sync    network.Syncer
	Wire    Wire
}

// Provider of the gateways.
type Provider struct {
	cfg Config

	mu   sync.Mutex
	keys map[siteKey]vpn.SiteKeys // deriving them is slow by design
}

type siteKey struct {
	shared        string
	local, remote netip.Addr
}

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg: cfg, keys: map[siteKey]vpn.SiteKeys{}} }

// Types are the registrations of all types and operations of the provider.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{p.gatewayType(), p.localType(), p.connectionType(), p.bastionType(), p.routes(),
		p.circuitType(), p.peeringType(), p.authorizationType(),
		rp.Operations(rp.Actions(Type+"/join/action", LocalType+"/join/action", CircuitType+"/join/action")...),
	}
}

// Ref is a reference to another resource.
type Ref = network.Ref

// AddressSpace is a list of prefixes.
type AddressSpace = network.AddressSpace

var root = arm.MustParseID("/")

const (
	namePattern = `^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`
	nameRule    = "The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."
)

func bad(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

// parseRef reads a reference that must be a resource of one type; nil is an error.
func parseRef(ref *Ref, typ, property string, of arm.ID) (arm.ID, error) {
	text := ""
	if ref != nil {
		text = ref.ID
	}
	id, err := arm.ParseID(text)
	if err != nil || !strings.EqualFold(id.Type().String(), typ) {
		return arm.ID{}, bad("InvalidReferenceId", "Value for reference id is not valid. Property %s of resource %s is '%s', which is not the id of a %s.", property, of, clip(text), typ)
	}
	return id, nil
}

// live is the resource that a well-formed reference names; what does not exist or is being deleted is
// InvalidResourceReference.
func live[T any](tx *rp.Tx, ref *Ref, of arm.ID) (*rp.Resource[T], error) {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[T](tx, id)
	if (err != nil && arm.AsError(err).Status == http.StatusNotFound) || (err == nil && r.State == arm.Deleting) {
		return nil, bad("InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, of)
	}
	return r, err
}

func is(ref *Ref, id arm.ID) bool {
	return ref != nil && strings.EqualFold(strings.TrimSuffix(ref.ID, "/"), id.String())
}

// link is what the caller needs on a referenced resource; nothing for what Validate refuses.
func link(list []rp.Link, action string, ref *Ref) []rp.Link {
	if ref == nil {
		return list
	}
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return list
	}
	return append(list, rp.Link{Action: id.Type().String() + "/" + action, ID: id})
}

// prefixes reads address spaces, in which host bits are no error, as Azure's gateways take them.
func prefixes(s *AddressSpace, property string, of arm.ID) ([]netip.Prefix, error) {
	if s == nil {
		return nil, nil
	}
	var list []netip.Prefix
	for _, text := range s.AddressPrefixes {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, bad("InvalidAddressPrefixFormat", "Address prefix %s of resource %s (%s) is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.", clip(text), of, property)
		}
		if !p.Addr().Is4() {
			return nil, arm.NotImplemented("Address prefix %s of resource %s (%s): IPv6 is not implemented.", p, of, property)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// distinct refuses prefixes that overlap.
func distinct(list []netip.Prefix, property string, of arm.ID) error {
	for i, a := range list {
		for _, b := range list[:i] {
			if a.Overlaps(b) {
				return bad("InvalidRequestFormat", "Address prefixes %s and %s in %s of resource %s overlap.", b, a, property, of)
			}
		}
	}
	return nil
}

// applied is the Reconcile of every type whose meaning is in the network alone.
func applied[T any](p *Provider) func(context.Context, *rp.Resource[T]) (rp.Result, error) {
	return func(ctx context.Context, _ *rp.Resource[T]) (rp.Result, error) {
		return rp.Result{}, p.cfg.Sync.Sync(ctx)
	}
}
