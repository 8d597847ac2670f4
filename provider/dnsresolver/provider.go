// Package dnsresolver is the DNS private resolver of Microsoft.Network: dnsResolvers with their inbound and
// outbound endpoints, and dnsForwardingRulesets with rules and links to virtual networks. Endpoints are
// interfaces in delegated subnets; Endpoints and Rulesets are what the resolvers of the region run by.
package dnsresolver

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// The resource types.
const (
	Type         = "Microsoft.Network/dnsResolvers"
	InboundType  = Type + "/inboundEndpoints"
	OutboundType = Type + "/outboundEndpoints"
	RulesetType  = "Microsoft.Network/dnsForwardingRulesets"
	RuleType     = RulesetType + "/forwardingRules"
	LinkType     = RulesetType + "/virtualNetworkLinks"
)

var versions = []string{"2020-04-01-preview", "2022-07-01", "2023-07-01-preview", "2025-05-01"}

// Network is where endpoints stand (network.Provider).
type Network interface {
	AllocateNIC(tx *rp.Tx, r network.NICRequest) (network.NIC, error)
	ReleaseNIC(tx *rp.Tx, owner string) error
}

// Config of a Provider.
type Config struct {
	Network Network
	Sync    network.Syncer
}

// Provider of DNS private resolvers.
type Provider struct{ cfg Config }

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg: cfg} }

// Types are the registrations of all types and operations of the provider.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{p.resolverType(), p.inboundType(), p.outboundType(), p.rulesetType(), p.ruleType(), p.linkType(), listings(),
		rp.Operations(rp.Actions(OutboundType + "/join/action")...)}
}

// Ref is a reference to another resource.
type Ref = network.Ref

var root = arm.MustParseID("/")

const (
	namePattern = `^[a-zA-Z0-9]([a-zA-Z0-9_-]{0,78}[a-zA-Z0-9_])?$`
	nameRule    = "The name can be up to 80 characters long: letters, digits, '_' and '-'. It begins with a letter or digit and does not end with '-'."
)

// Limits of the service.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits#dns-private-resolver
const (
	maxEndpoints = 5 // of each kind, of a resolver
	maxOutbound  = 2 // of a ruleset
	maxRulesets  = 2 // of an outbound endpoint
	maxRules     = 1000
	maxLinks     = 500
	maxTargets   = 6
)

func badRequest(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
}

func conflict(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusConflict, "Conflict", format, args...)
}

func notFound(err error) bool {
	e := arm.AsError(err)
	return e != nil && e.Status == http.StatusNotFound
}

// clip keeps a client's text in messages short.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// parseRef checks that a reference names a resource of the type.
func parseRef(ref *Ref, typeName, property string, of arm.ID) (arm.ID, error) {
	if ref == nil || ref.ID == "" {
		return arm.ID{}, badRequest("The property '%s' of resource '%s' is required.", property, of)
	}
	id, err := arm.ParseID(ref.ID)
	if err != nil || !strings.EqualFold(id.Type().String(), typeName) {
		return arm.ID{}, badRequest("The property '%s' of resource '%s' is '%s', which is no id of a %s.", property, of, clip(ref.ID), typeName)
	}
	return id, nil
}

// existing is a referenced resource that is there.
func existing[T any](tx *rp.Tx, id, of arm.ID) (*rp.Resource[T], error) {
	r, err := rp.Get[T](tx, id)
	if notFound(err) || (err == nil && r.State == arm.Deleting) {
		return nil, badRequest("Resource '%s', which resource '%s' refers to, was not found.", id, of)
	}
	return r, err
}

// live are the stored resources of a type that are not being deleted.
func live[T any](tx *rp.Tx, typeName string, under arm.ID) ([]*rp.Resource[T], error) {
	list, err := rp.List[T](tx, typeName, under)
	return slices.DeleteFunc(list, func(r *rp.Resource[T]) bool { return r.State == arm.Deleting }), err
}

// applied is the Reconcile of a type whose meaning is in the network alone.
func applied[T any](p *Provider) func(context.Context, *rp.Resource[T]) (rp.Result, error) {
	return func(ctx context.Context, _ *rp.Resource[T]) (rp.Result, error) {
		return rp.Result{}, p.cfg.Sync.Sync(ctx)
	}
}

func joins(action string, refs ...*Ref) (links []rp.Link) {
	for _, ref := range refs {
		if ref == nil {
			continue
		}
		if id, err := arm.ParseID(ref.ID); err == nil { // Validate has its say
			links = append(links, rp.Link{Action: action, ID: id})
		}
	}
	return links
}

// unusable are the prefixes that subnets of endpoints cannot overlap: the service's own.
// https://learn.microsoft.com/azure/dns/dns-private-resolver-overview#subnet-restrictions
var unusable = func() (list []netip.Prefix) {
	for i := range 16 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 0}), 24))
	}
	return list
}()
