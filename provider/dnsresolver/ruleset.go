package dnsresolver

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

// Ruleset is the properties of a DNS forwarding ruleset (DnsForwardingRulesetProperties).
type Ruleset struct {
	Endpoints    []Ref  `json:"dnsResolverOutboundEndpoints"`
	ResourceGUID string `json:"resourceGuid,omitempty" rp:"readonly"`
}

// uses tells whether the ruleset leaves by the outbound endpoint.
func (r *Ruleset) uses(endpoint arm.ID) bool {
	return slices.ContainsFunc(r.Endpoints, func(ref Ref) bool { return strings.EqualFold(ref.ID, endpoint.String()) })
}

// Rule is the properties of a forwarding rule (ForwardingRuleProperties).
type Rule struct {
	Domain   string            `json:"domainName"` // with its last dot
	Targets  []Target          `json:"targetDnsServers"`
	Metadata map[string]string `json:"metadata,omitempty"`
	State    string            `json:"forwardingRuleState,omitempty"` // Enabled or Disabled
	// Provisioning is always Succeeded: a PUT of a rule is answered when it is done.
	Provisioning string `json:"provisioningState,omitempty" rp:"readonly"`
}

// Target is a DNS server that is asked (TargetDnsServer).
type Target struct {
	Address string `json:"ipAddress"`
	Port    int    `json:"port"`
}

// Link is the properties of a ruleset's link to a virtual network (VirtualNetworkLinkProperties).
type Link struct {
	VirtualNetwork *Ref              `json:"virtualNetwork"`
	Metadata       map[string]string `json:"metadata,omitempty"`
}

func (p *Provider) rulesetType() rp.Registration {
	return rp.Of(rp.Type[Ruleset]{
		Name: RulesetType, Kind: rp.Tracked, Versions: rp.Versions[Ruleset](versions...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Validate: func(_ rp.Op, new, _ *rp.Resource[Ruleset]) error {
			if n := len(new.Properties.Endpoints); n == 0 || n > maxOutbound {
				return badRequest("The DNS forwarding ruleset '%s' names %d outbound endpoints in dnsResolverOutboundEndpoints; it must name 1 to %d.", new.ID.Name(), n, maxOutbound)
			}
			for i := range new.Properties.Endpoints {
				id, err := parseRef(&new.Properties.Endpoints[i], OutboundType, "dnsResolverOutboundEndpoints", new.ID)
				if err != nil {
					return err
				}
				if slices.ContainsFunc(new.Properties.Endpoints[:i], func(r Ref) bool { return strings.EqualFold(r.ID, id.String()) }) {
					return badRequest("The DNS forwarding ruleset '%s' names the outbound endpoint '%s' twice.", new.ID.Name(), id)
				}
			}
			return nil
		},
		Links: func(r *rp.Resource[Ruleset]) []rp.Link {
			var refs []*Ref
			for i := range r.Properties.Endpoints {
				refs = append(refs, &r.Properties.Endpoints[i])
			}
			return joins(OutboundType+"/join/action", refs...)
		},
		Admit:     admitRuleset,
		Reconcile: applied[Ruleset](p),
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Ruleset]) error {
			if n, err := nested[Link](tx, LinkType, r.ID); err != nil || n != nil {
				return cannotDelete(n, err)
			}
			return nil
		},
		Finalize: applied[Ruleset](p),
	})
}

func admitRuleset(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Ruleset]) error {
	if op == rp.Create {
		new.Properties.ResourceGUID = uuid.NewString()
	}
	others, err := live[Ruleset](tx, RulesetType, root)
	if err != nil {
		return err
	}
	for _, ref := range new.Properties.Endpoints {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		e, err := existing[Outbound](tx, id, new.ID)
		if err != nil {
			return err
		}
		if !strings.EqualFold(e.Location, new.Location) {
			return badRequest("The DNS forwarding ruleset '%s' is in '%s' and the outbound endpoint '%s' in '%s'; they must be in the same region.", new.ID.Name(), new.Location, id, e.Location)
		}
		n := 0
		for _, o := range others {
			if o.ID.Key() != new.ID.Key() && o.Properties.uses(id) {
				n++
			}
		}
		if n >= maxRulesets {
			return badRequest("The outbound endpoint '%s' is used by %d DNS forwarding rulesets; it can be used by no more.", id, n)
		}
	}
	return nil
}

func (p *Provider) ruleType() rp.Registration {
	return rp.Of(rp.Type[Rule]{
		Name: RuleType, Kind: rp.Proxy, Versions: rp.Versions[Rule](versions...), ShowETag: true,
		NamePattern: `^[a-zA-Z][a-zA-Z0-9_-]{0,79}$`, NameRule: "The name begins with a letter and has up to 80 letters, digits, '_' and '-'.",
		SyncDelete: true, StateProperty: "-",
		Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Rule]) error {
			r.Properties.Provisioning = string(arm.Succeeded)
			return nil
		},
		Default: func(_ string, r *rp.Resource[Rule]) {
			if r.Properties.State == "" {
				r.Properties.State = "Enabled"
			}
			for i := range r.Properties.Targets {
				if t := &r.Properties.Targets[i]; t.Port == 0 {
					t.Port = 53
				}
			}
		},
		Validate:  validateRule,
		Admit:     admitRule,
		Reconcile: applied[Rule](p),
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Rule]) error {
			tx.Wake(r.ID.Parent()) // the rule goes at once; the ruleset's Reconcile tells the resolvers
			return nil
		},
	})
}

func validateRule(op rp.Op, new, old *rp.Resource[Rule]) error {
	v, name := &new.Properties, new.ID.Name()
	if !domain(v.Domain) {
		return badRequest("The domainName '%s' of forwarding rule '%s' is not valid. It ends with a dot and has 2 to 34 labels, or is '.' alone.", clip(v.Domain), name)
	}
	if op == rp.Update && !strings.EqualFold(v.Domain, old.Properties.Domain) {
		return badRequest("The domainName of forwarding rule '%s' cannot be changed.", name)
	}
	if v.State != "Enabled" && v.State != "Disabled" {
		return badRequest("The forwardingRuleState '%s' of forwarding rule '%s' is not valid. Valid values: Enabled, Disabled.", clip(v.State), name)
	}
	if n := len(v.Targets); n == 0 || n > maxTargets {
		return badRequest("The forwarding rule '%s' has %d targetDnsServers; it must have 1 to %d.", name, n, maxTargets)
	}
	for i, t := range v.Targets {
		a, err := netip.ParseAddr(t.Address)
		switch {
		case err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
			return badRequest("The ipAddress '%s' in targetDnsServers of forwarding rule '%s' is no IPv4 address of a server.", clip(t.Address), name)
		case a == fabric.WireServer:
			return badRequest("The address %s of Azure DNS cannot be a target of forwarding rule '%s'.", a, name)
		case t.Port < 1 || t.Port > 65535:
			return badRequest("The port %d in targetDnsServers of forwarding rule '%s' is not between 1 and 65535.", t.Port, name)
		case slices.Contains(v.Targets[:i], t):
			return badRequest("The forwarding rule '%s' has the target %s:%d twice.", name, a, t.Port)
		}
	}
	return nil
}

// domain reports whether name is a dot-terminated domain of 2 to 34 labels, or the root.
func domain(name string) bool {
	if name == "." {
		return true
	}
	rest, ok := strings.CutSuffix(name, ".")
	if !ok || len(rest) > 253 {
		return false
	}
	labels := strings.Split(rest, ".")
	if len(labels) < 2 || len(labels) > 34 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
			return false
		}
		for _, c := range l {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}

func admitRule(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Rule]) error {
	if op == rp.Update {
		return nil
	}
	others, err := live[Rule](tx, RuleType, new.ID.Parent())
	if err != nil {
		return err
	}
	if len(others) >= maxRules {
		return badRequest("The DNS forwarding ruleset '%s' has %d rules; it can have no more.", new.ID.Parent().Name(), len(others))
	}
	for _, o := range others {
		if o.ID.Key() != new.ID.Key() && strings.EqualFold(o.Properties.Domain, new.Properties.Domain) {
			return conflict("The forwarding rule '%s' of the ruleset has the domainName '%s' already.", o.ID.Name(), new.Properties.Domain)
		}
	}
	return nil
}

func (p *Provider) linkType() rp.Registration {
	return rp.Of(rp.Type[Link]{
		Name: LinkType, Kind: rp.Proxy, Versions: rp.Versions[Link](versions...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Validate: func(op rp.Op, new, old *rp.Resource[Link]) error {
			id, err := parseRef(new.Properties.VirtualNetwork, network.VNetType, "virtualNetwork", new.ID)
			if err != nil {
				return err
			}
			if op == rp.Update && !strings.EqualFold(old.Properties.VirtualNetwork.ID, id.String()) {
				return conflict("The virtual network of link '%s' cannot be changed.", new.ID.Name())
			}
			return nil
		},
		Links: func(r *rp.Resource[Link]) []rp.Link {
			return joins(network.VNetType+"/join/action", r.Properties.VirtualNetwork)
		},
		Admit:     admitLink,
		Reconcile: applied[Link](p),
		Finalize:  applied[Link](p),
	})
}

func admitLink(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Link]) error {
	if op == rp.Update {
		return nil
	}
	id, err := arm.ParseID(new.Properties.VirtualNetwork.ID)
	if err != nil {
		return err
	}
	vnet, err := existing[network.VNet](tx, id, new.ID)
	if err != nil {
		return err
	}
	ruleset, err := rp.Get[Ruleset](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if !strings.EqualFold(vnet.Location, ruleset.Location) {
		return badRequest("The DNS forwarding ruleset '%s' is in '%s' and the virtual network '%s' in '%s'; they must be in the same region.", ruleset.ID.Name(), ruleset.Location, id, vnet.Location)
	}
	all, err := live[Link](tx, LinkType, root)
	if err != nil {
		return err
	}
	n := 0
	for _, l := range all {
		if l.ID.Key() == new.ID.Key() {
			continue
		}
		if l.ID.Parent().Key() == ruleset.ID.Key() {
			n++
		}
		if strings.EqualFold(l.Properties.VirtualNetwork.ID, id.String()) {
			return conflict("The virtual network '%s' is already linked to the DNS forwarding ruleset '%s'; it can be linked to one.", id, l.ID.Parent())
		}
	}
	if n >= maxLinks {
		return badRequest("The DNS forwarding ruleset '%s' has %d virtual network links; it can have no more.", ruleset.ID.Name(), n)
	}
	return nil
}
