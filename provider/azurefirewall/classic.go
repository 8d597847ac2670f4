package azurefirewall

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	model "vauban.dev/azurefirewall"
)

// ClassicCollection is a collection of rules in a firewall itself (Network REST:
// AzureFirewallNetworkRuleCollection and its like).
type ClassicCollection struct {
	Name       string        `json:"name"`
	ID         string        `json:"id,omitempty"`
	ETag       string        `json:"etag,omitempty"`
	Properties ClassicFields `json:"properties"`
}

// ClassicFields are the properties of a ClassicCollection.
type ClassicFields struct {
	State    string        `json:"provisioningState,omitempty"`
	Priority int           `json:"priority"`
	Action   Action        `json:"action"`
	Rules    []ClassicRule `json:"rules"`
}

// ClassicRule is a Rule in the spelling of classic rules, where "protocols" are packets' protocols too.
type ClassicRule struct{ Rule }

// UnmarshalJSON reads protocols of either kind.
func (r *ClassicRule) UnmarshalJSON(b []byte) error {
	var words struct {
		Protocols json.RawMessage `json:"protocols"`
	}
	if err := json.Unmarshal(b, &words); err != nil {
		return err
	}
	var packets []string
	if json.Unmarshal(words.Protocols, &packets) != nil {
		return json.Unmarshal(b, &r.Rule)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for name := range all {
		if strings.EqualFold(name, "protocols") {
			delete(all, name)
		}
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return err
	}
	err = json.Unmarshal(rest, &r.Rule)
	r.IPProtocols = packets
	return err
}

// MarshalJSON shows what of a Rule was sent, in the spelling of classic rules.
func (r ClassicRule) MarshalJSON() ([]byte, error) {
	plain := r.Rule
	plain.RuleType = ""
	b, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	delete(all, "terminateTLS")
	delete(all, "httpHeadersToInsert")
	if p, ok := all["ipProtocols"]; ok {
		all["protocols"] = p
		delete(all, "ipProtocols")
	}
	return json.Marshal(all)
}

// classic are the firewall's collections with the type that their rules are of and the actions that they may have.
func (v *Firewall) classic(yield func(kind string, actions []string, list []ClassicCollection) bool) {
	_ = yield(natRule, []string{"Dnat", "Snat"}, v.NAT) &&
		yield(networkRule, []string{"Allow", "Deny"}, v.Network) &&
		yield(applicationRule, []string{"Allow", "Deny"}, v.Application)
}

func (p *Provider) validateClassic(r *rp.Resource[Firewall]) error {
	c := checker{of: r.ID, tags: p.cfg.Tags, kind: "AzureFirewallRule"}
	names := map[string]bool{}
	var problem error
	r.Properties.classic(func(kind string, actions []string, list []ClassicCollection) bool {
		priorities := map[int]bool{}
		for i := range list {
			if problem = c.classic(&list[i], kind, actions, names, priorities); problem != nil {
				return false
			}
		}
		return true
	})
	if problem != nil {
		return problem
	}
	return r.Properties.validateSettings(r.ID)
}

func (c checker) classic(x *ClassicCollection, kind string, actions []string, names map[string]bool, priorities map[int]bool) error {
	f := &x.Properties
	key := strings.ToLower(x.Name)
	switch {
	case x.Name == "" || names[key]:
		return invalid("Azure Firewall %s has a rule collection without a name, or two of the name '%s'.", c.of, clip(x.Name))
	case f.Priority < minPriority || f.Priority > maxPriority || priorities[f.Priority]:
		return invalid("Azure Firewall %s: rule collection %s needs a priority of its own between %d and %d, not %d.", c.of, clip(x.Name), minPriority, maxPriority, f.Priority)
	}
	names[key], priorities[f.Priority] = true, true
	if err := oneOf(&f.Action.Type, c.of, "action.type of "+x.Name, actions...); err != nil {
		return err
	}
	if f.Action.Type == "Snat" {
		return arm.NotImplemented("Azure Firewall %s: action Snat of NAT rule collection %s is not implemented.", c.of, clip(x.Name))
	}
	for i := range f.Rules {
		r := &f.Rules[i].Rule
		r.RuleType = kind
		if err := c.rule(r); err != nil {
			return err
		}
		if r.premium() != "" {
			return invalid("Azure Firewall %s: rule %s has %s, which classic rules do not.", c.of, r.Name, r.premium())
		}
	}
	return nil
}

// Keys of additionalProperties.
const (
	dnsProxyKey   = "Network.DNS.EnableProxy"
	dnsServersKey = "Network.DNS.Servers"
	snatKey       = "Network.SNAT.PrivateRanges"
)

// setting is a value of additionalProperties, in any letter case of its key.
func (v *Firewall) setting(key string) string {
	for k, s := range v.Additional {
		if strings.EqualFold(k, key) {
			return s
		}
	}
	return ""
}

func list(text string) (out []string) {
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (v *Firewall) validateSettings(of arm.ID) error {
	for _, s := range list(v.setting(dnsServersKey)) {
		if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
			return invalid("Azure Firewall %s: %s of %s is no IPv4 address.", of, clip(s), dnsServersKey)
		}
	}
	if _, err := privateRanges(list(v.setting(snatKey))); err != nil {
		return invalid("Azure Firewall %s: %s: %s.", of, snatKey, err)
	}
	for _, c := range v.Network {
		for i := range c.Properties.Rules {
			if r := &c.Properties.Rules[i]; len(r.DestinationFQDNs) > 0 && !strings.EqualFold(v.setting(dnsProxyKey), "true") {
				return bad("AzureFirewallDNSProxyMustBeEnabled", "DNS Proxy must be enabled in order to use DestinationFqdns in Network Rules. See rule %s in network rule collection %s of %s.", r.Name, c.Name, of)
			}
		}
	}
	return nil
}

// ipGroups that classic rules name.
func (v *Firewall) ipGroups() (out []string) {
	v.classic(func(_ string, _ []string, list []ClassicCollection) bool {
		for _, c := range list {
			for _, r := range c.Properties.Rules {
				out = append(append(out, r.SourceIPGroups...), r.DestinationIPGroups...)
			}
		}
		return true
	})
	return dedupe(out)
}

func (v *Firewall) names(id arm.ID) bool {
	return slices.ContainsFunc(v.ipGroups(), func(s string) bool { return strings.EqualFold(s, id.String()) })
}

// compileClassic is the firewall's own rules as the model has them.
func (v *Firewall) compileClassic(id arm.ID, e expand) (g model.Group, err error) {
	g.Policy = id.String()
	v.classic(func(kind string, _ []string, list []ClassicCollection) bool {
		for _, c := range list {
			to := model.Collection{Name: c.Name, Priority: c.Properties.Priority, Deny: c.Properties.Action.Type == "Deny"}
			for i := range c.Properties.Rules {
				r := c.Properties.Rules[i].Rule
				r.RuleType = kind
				if err = r.compile(&to, e); err != nil {
					return false
				}
			}
			g.Collections = append(g.Collections, to)
		}
		return true
	})
	return g, err
}
