package azurefirewall

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	model "vauban.dev/azurefirewall"
	"vauban.dev/provider/network"
)

// Group is the properties of a rule collection group (Network REST:
// FirewallPolicyRuleCollectionGroupProperties).
type Group struct {
	Priority    int          `json:"priority"`
	Collections []Collection `json:"ruleCollections"`
	Size        string       `json:"size,omitempty" rp:"readonly"`
}

// Collection of rules of a policy.
type Collection struct {
	Type     string `json:"ruleCollectionType"`
	Name     string `json:"name"`
	Priority int    `json:"priority"`
	Action   Action `json:"action"`
	Rules    []Rule `json:"rules"`
}

// Action of a collection.
type Action struct {
	Type string `json:"type"` // Allow, Deny, DNAT
}

// The bounds of priorities, of groups and of collections.
const (
	minPriority = 100
	maxPriority = 65000
)

func (p *Provider) groupType() rp.Registration {
	return rp.Of(rp.Type[Group]{
		Name: GroupType, Kind: rp.Proxy, Versions: rp.Versions[Group](network.VersionsSince("2020-05-01")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultGroup,
		Validate:  p.validateGroup,
		Admit:     admitGroup,
		Links:     groupLinks,
		Reconcile: applied[Group](p),
		Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Group]) (err error) {
			r.Properties.Size, err = megabytes(r.Properties)
			return err
		},
		Finalize: applied[Group](p),
	})
}

// megabytes is the size of properties as the service says it.
func megabytes(properties any) (string, error) {
	b, err := json.Marshal(properties)
	return fmt.Sprintf("%.4fMB", float64(len(b))/(1<<20)), err
}

func defaultGroup(_ string, r *rp.Resource[Group]) {
	if r.Properties.Collections == nil {
		r.Properties.Collections = []Collection{}
	}
	for i := range r.Properties.Collections {
		if r.Properties.Collections[i].Rules == nil {
			r.Properties.Collections[i].Rules = []Rule{}
		}
	}
}

func (p *Provider) validateGroup(_ rp.Op, new, _ *rp.Resource[Group]) error {
	g := &new.Properties
	if g.Priority < minPriority || g.Priority > maxPriority {
		return bad("FirewallPolicyRuleCollectionGroupInvalidPriorityValue", "Invalid priority %d of Rule Collection Group %s: it must be between %d and %d.", g.Priority, new.ID, minPriority, maxPriority)
	}
	c := checker{of: new.ID, tags: p.cfg.Tags, kind: "FirewallPolicyRule"}
	names, priorities := map[string]bool{}, map[int]string{}
	for i := range g.Collections {
		x := &g.Collections[i]
		key := strings.ToLower(x.Name)
		switch {
		case x.Name == "" || names[key]:
			return bad("FirewallPolicyRuleCollectionDuplicateName", "Rule Collection Group %s has a rule collection without a name, or two of the name '%s'.", new.ID, clip(x.Name))
		case x.Priority < minPriority || x.Priority > maxPriority:
			return bad("FirewallPolicyRuleCollectionInvalidPriorityValue", "Invalid priority %d of Rule Collection %s of %s: it must be between %d and %d.", x.Priority, clip(x.Name), new.ID, minPriority, maxPriority)
		case priorities[x.Priority] != "":
			return bad("FirewallPolicyRuleCollectionInvalidPriorityValue", "Rule Collections %s and %s of %s have the same priority %d.", clip(priorities[x.Priority]), clip(x.Name), new.ID, x.Priority)
		}
		names[key], priorities[x.Priority] = true, x.Name
		if err := c.collection(x); err != nil {
			return err
		}
	}
	return nil
}

// collection checks a collection of a policy: its action, and that its rules are of one kind.
func (c checker) collection(x *Collection) error {
	if err := oneOf(&x.Type, c.of, "ruleCollectionType of "+x.Name, natCollection, filterCollection); err != nil {
		return err
	}
	actions := []string{"Allow", "Deny"}
	if x.Type == natCollection {
		actions = []string{"DNAT"}
	}
	if err := oneOf(&x.Action.Type, c.of, "action.type of "+x.Name, actions...); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range x.Rules {
		r := &x.Rules[i]
		switch {
		case seen[strings.ToLower(r.Name)]:
			return c.bad(r, "DuplicateName", "Rule Collection %s has two rules of this name.", clip(x.Name))
		case (r.RuleType == natRule) != (x.Type == natCollection), r.RuleType != x.Rules[0].RuleType:
			return c.bad(r, "TypeMismatch", "a %s cannot stand in Rule Collection %s, whose rules must be of one type.", clip(r.RuleType), clip(x.Name))
		}
		seen[strings.ToLower(r.Name)] = true
		if err := c.rule(r); err != nil {
			return err
		}
	}
	return nil
}

func groupLinks(r *rp.Resource[Group]) (links []rp.Link) {
	for _, id := range r.Properties.ipGroups() {
		links = append(links, joins(IPGroupType, &network.Ref{ID: id})...)
	}
	return links
}

// ipGroups that the rules name.
func (g *Group) ipGroups() (list []string) {
	for _, c := range g.Collections {
		for _, r := range c.Rules {
			list = append(append(list, r.SourceIPGroups...), r.DestinationIPGroups...)
		}
	}
	return dedupe(list)
}

func (g *Group) names(id arm.ID) bool {
	return slices.ContainsFunc(g.ipGroups(), func(s string) bool { return strings.EqualFold(s, id.String()) })
}

func admitGroup(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Group]) error {
	policy, err := rp.Get[Policy](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	siblings, err := rp.List[Group](tx, GroupType, policy.ID)
	if err != nil {
		return err
	}
	for _, s := range siblings {
		if s.ID.Key() != new.ID.Key() && s.State != arm.Deleting && s.Properties.Priority == new.Properties.Priority {
			return bad("FirewallPolicyRuleCollectionGroupInvalidPriorityValue", "Rule Collection Groups %s and %s have the same priority %d.", s.ID, new.ID, s.Properties.Priority)
		}
	}
	for _, id := range new.Properties.ipGroups() {
		if _, err := live[IPGroup](tx, &network.Ref{ID: id}, new.ID); err != nil {
			return err
		}
	}
	return fitsPolicy(tx, policy, new)
}

// fitsPolicy refuses what the policy's tier or settings do not allow in rules.
func fitsPolicy(tx *rp.Tx, policy *rp.Resource[Policy], g *rp.Resource[Group]) error {
	dns, err := dnsOf(tx, policy)
	if err != nil {
		return err
	}
	for _, c := range g.Properties.Collections {
		for i := range c.Rules {
			r := &c.Rules[i]
			if what := r.premium(); what != "" && policy.Properties.tier() != premium {
				return bad("FirewallPolicyHigherTierOnlyProperties", "Firewall Policy %s contains higher tier only properties - %s of rule %s in Rule Collection %s of %s.", policy.ID.Name(), what, r.Name, c.Name, g.ID.Name())
			}
			if len(r.DestinationFQDNs) > 0 && !dns.EnableProxy {
				return bad("FirewallPolicyDNSProxyMustBeEnabled", "In order to use DestinationFqdns in Network Rules, DNS Proxy must be enabled. See rule %s in Rule Collection %s of %s.", r.Name, c.Name, g.ID)
			}
		}
	}
	return nil
}

// compile is the group as the model has it.
func (g *Group) compile(id arm.ID, level int, e expand) (model.Group, error) {
	out := model.Group{Policy: id.Parent().String(), Level: level, Name: id.Name(), Priority: g.Priority}
	for _, c := range g.Collections {
		to := model.Collection{Name: c.Name, Priority: c.Priority, Deny: c.Action.Type == "Deny"}
		for i := range c.Rules {
			if err := c.Rules[i].compile(&to, e); err != nil {
				return out, err
			}
		}
		out.Collections = append(out.Collections, to)
	}
	return out, nil
}
