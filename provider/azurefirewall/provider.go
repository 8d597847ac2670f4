// Package azurefirewall is Microsoft.Network's Azure Firewall: azureFirewalls, firewallPolicies with their rule
// collection groups, ipGroups and the list of FQDN tags. Extend puts the firewalls into the fabric's topology.
package azurefirewall

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
	FirewallType = "Microsoft.Network/azureFirewalls"
	PolicyType   = "Microsoft.Network/firewallPolicies"
	GroupType    = PolicyType + "/ruleCollectionGroups"
	IPGroupType  = "Microsoft.Network/ipGroups"
)

// Network is what the provider needs of the one of virtual networks.
type Network interface {
	AssociatePublicIP(tx *rp.Tx, ref *network.Ref, owner string, of arm.ID) (netip.Addr, error)
}

// Config of a Provider.
type Config struct {
	Network Network
	Sync    network.Syncer
	// Tags gives the prefixes of a service tag, in any letter case.
	Tags func(tag string) ([]netip.Prefix, bool)
}

// Provider of Azure Firewall.
type Provider struct{ cfg Config }

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg: cfg} }

// Types are the registrations of all types and operations of the provider.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{p.firewallType(), p.policyType(), p.groupType(), p.ipGroupType(), p.fqdnTags(),
		rp.Operations(rp.Actions(PolicyType+"/join/action", IPGroupType+"/join/action")...)}
}

const (
	namePattern = `^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?$`
	nameRule    = "up to 80 letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with a letter, digit or underscore"
)

var root = arm.MustParseID("/")

// applied is the Reconcile of every type: it is done when the network has it.
func applied[T any](p *Provider) func(context.Context, *rp.Resource[T]) (rp.Result, error) {
	return func(ctx context.Context, _ *rp.Resource[T]) (rp.Result, error) {
		return rp.Result{}, p.cfg.Sync.Sync(ctx)
	}
}

func bad(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}

// clip keeps a client's text short in a message.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

func notFound(err error) bool {
	e := arm.AsError(err)
	return e != nil && e.Status == http.StatusNotFound
}

// oneOf finds a value among those that a property may have, in any letter case, in the API's own spelling.
func oneOf(value *string, of arm.ID, property string, allowed ...string) error {
	for _, a := range allowed {
		if strings.EqualFold(*value, a) {
			*value = a
			return nil
		}
	}
	return bad("InvalidRequestFormat", "%s of %s is '%s'; it must be one of %s.", property, of, clip(*value), strings.Join(allowed, ", "))
}

// parseRef reads a reference that must be a resource of one type.
func parseRef(ref *network.Ref, typ, property string, of arm.ID) (arm.ID, error) {
	if ref.ID == "" {
		return arm.ID{}, bad("InvalidRequestFormat", "Cannot parse the request: Value for reference id is missing. Path properties.%s of %s.", property, of)
	}
	id, err := arm.ParseID(ref.ID)
	if err != nil || !strings.EqualFold(id.Type().String(), typ) {
		return arm.ID{}, bad("InvalidReferenceId", "Value for reference id is not valid. Property %s of resource %s is '%s', which is not the id of a %s.", property, of, clip(ref.ID), typ)
	}
	return id, nil
}

// live is the resource that a well-formed reference names: InvalidResourceReference where there is none.
func live[T any](tx *rp.Tx, ref *network.Ref, of arm.ID) (*rp.Resource[T], error) {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[T](tx, id)
	if notFound(err) || err == nil && r.State == arm.Deleting {
		return nil, bad("InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, of)
	}
	return r, err
}

func is(ref *network.Ref, id arm.ID) bool {
	return ref != nil && strings.EqualFold(ref.ID, id.String())
}

// referring lists the live resources of a type that refer to something.
func referring[T any](tx *rp.Tx, typ string, refers func(*rp.Resource[T]) bool) (refs []network.Ref, err error) {
	all, err := rp.List[T](tx, typ, root)
	if err != nil {
		return nil, err
	}
	refs = []network.Ref{}
	for _, r := range all {
		if r.State != arm.Deleting && refers(r) {
			refs = append(refs, network.Ref{ID: r.ID.String()})
		}
	}
	return refs, nil
}

func ids(refs []network.Ref) string {
	texts := make([]string, len(refs))
	for i, r := range refs {
		texts[i] = r.ID
	}
	return strings.Join(texts, ", ")
}

// joins are the permissions that references need: {type}/join/action on each.
func joins(typ string, refs ...*network.Ref) (links []rp.Link) {
	for _, ref := range refs {
		if ref == nil {
			continue
		}
		if id, err := arm.ParseID(ref.ID); err == nil { // else Validate has its say
			links = append(links, rp.Link{Action: typ + "/join/action", ID: id})
		}
	}
	return links
}

// dedupe keeps the first of equal ids, in any letter case.
func dedupe(list []string) (out []string) {
	for _, s := range list {
		if !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, s) }) {
			out = append(out, s)
		}
	}
	return out
}
