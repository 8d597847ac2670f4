// Package network is Microsoft.Network: virtual networks, security groups, interfaces, public addresses
// and private endpoints. It keeps who has which address (ipam.go) and translates the resources into the
// fabric's topology (topology.go). Private DNS zones are in provider/privatedns.
package network

import (
	"context"
	"net/netip"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/privatelink"
)

// The resource types.
const (
	VNetType                     = "Microsoft.Network/virtualNetworks"
	SubnetType                   = "Microsoft.Network/virtualNetworks/subnets"
	NSGType                      = "Microsoft.Network/networkSecurityGroups"
	RuleType                     = "Microsoft.Network/networkSecurityGroups/securityRules"
	ASGType                      = "Microsoft.Network/applicationSecurityGroups"
	NICType                      = "Microsoft.Network/networkInterfaces"
	PublicIPType                 = "Microsoft.Network/publicIPAddresses"
	EndpointType                 = "Microsoft.Network/privateEndpoints"
	ZoneGroupType                = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"
	RouteTableType               = "Microsoft.Network/routeTables"
	PeeringType                  = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings"
	EndpointPolicyType           = "Microsoft.Network/serviceEndpointPolicies"
	EndpointPolicyDefinitionType = "Microsoft.Network/serviceEndpointPolicies/serviceEndpointPolicyDefinitions"
	NATGatewayType               = "Microsoft.Network/natGateways"
	PublicIPPrefixType           = "Microsoft.Network/publicIPPrefixes"
	RouteType                    = "Microsoft.Network/routeTables/routes"
)

// Targets are the resources that can stand behind private endpoints (privatelink.Links).
type Targets interface {
	Connect(tx *rp.Tx, target arm.ID, groups []string, endpoint arm.ID, message string, manual bool) (privatelink.Link, error)
	Disconnect(tx *rp.Tx, target, endpoint arm.ID) error
	// Available are the resource types that can be targets, in order.
	Available() []string
}

// Syncer applies the desired state of the store to the running network: topology, listeners, DNS.
type Syncer interface {
	// Sync returns when what was committed before the call is applied. Many callers may wait at a time;
	// one pass may serve all of them.
	Sync(ctx context.Context) error
}

// Engine is what the provider needs of rp.Engine outside the functions of its types.
type Engine interface {
	View(ctx context.Context, f func(*rp.Tx) error) error
	Update(ctx context.Context, f func(*rp.Tx) error) error
}

// Config of a Provider.
type Config struct {
	Engine  Engine
	Targets Targets
	Sync    Syncer
	// Tags are the service tags that rules may name beside the computed ones.
	Tags fabric.TagSource
	// Prober runs the health probes of load balancers; nil when none run.
	Prober Prober
	// Watch is called in the transaction in which a virtual network of a location is written; nil: nothing is.
	Watch func(tx *rp.Tx, vnet arm.ID, location string) error
	// InterfaceActions are actions of network interfaces that answer from the running network.
	InterfaceActions map[string]rp.Action[Interface]
	// PublicPool is the prefix that public addresses are taken from.
	PublicPool netip.Prefix
}

// Provider of Microsoft.Network.
type Provider struct{ cfg Config }

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg: cfg} }

// Types are the registrations of all types and operations of the provider.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{
		p.vnetType(), p.subnetType(), p.nsgType(), p.ruleType(), p.asgType(), p.nicType(), p.publicIPType(),
		p.endpointType(), p.zoneGroupType(), p.routes(), p.linkRoutes(),
		p.peeringType(), p.routeTableType(), p.routeType(), p.natGatewayType(), p.publicPrefixType(),
		p.loadBalancerType(), p.frontendType(), p.poolType(), p.balancingRuleType(), p.probeType(), p.inboundNATRuleType(), p.outboundRuleType(),
		p.endpointPolicyType(), p.endpointPolicyDefinitionType(), rp.Routes(p.listings()...), defaultRuleRoutes(),
		p.linkServiceType(), linked(),
	}
}

// applied is the Reconcile of every type whose meaning is in the network alone.
func applied[T any](p *Provider) func(context.Context, *rp.Resource[T]) (rp.Result, error) {
	return func(ctx context.Context, _ *rp.Resource[T]) (rp.Result, error) {
		return rp.Result{}, p.cfg.Sync.Sync(ctx)
	}
}
