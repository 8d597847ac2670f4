package network

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// Rule is the properties of a security rule (Network REST: SecurityRulePropertiesFormat).
type Rule struct {
	Description                string   `json:"description,omitempty"`
	Protocol                   string   `json:"protocol"`
	SourcePortRange            string   `json:"sourcePortRange,omitempty"`
	DestinationPortRange       string   `json:"destinationPortRange,omitempty"`
	SourceAddressPrefix        string   `json:"sourceAddressPrefix,omitempty"`
	DestinationAddressPrefix   string   `json:"destinationAddressPrefix,omitempty"`
	Access                     string   `json:"access"`
	Priority                   int      `json:"priority"`
	Direction                  string   `json:"direction"`
	SourcePortRanges           []string `json:"sourcePortRanges"`
	DestinationPortRanges      []string `json:"destinationPortRanges"`
	SourceAddressPrefixes      []string `json:"sourceAddressPrefixes"`
	DestinationAddressPrefixes []string `json:"destinationAddressPrefixes"`
	SourceASGs                 []Ref    `json:"sourceApplicationSecurityGroups,omitempty"`
	DestinationASGs            []Ref    `json:"destinationApplicationSecurityGroups,omitempty"`
}

// fillLists makes absent lists empty ones, as Azure shows them.
func (r *Rule) fillLists() {
	for _, l := range []*[]string{&r.SourcePortRanges, &r.DestinationPortRanges, &r.SourceAddressPrefixes, &r.DestinationAddressPrefixes} {
		if *l == nil {
			*l = []string{}
		}
	}
}

func (p *Provider) ruleType() rp.Registration {
	return rp.Of(rp.Type[Rule]{
		Name: RuleType, Kind: rp.Proxy, Versions: rp.Versions[Rule](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   func(_ string, r *rp.Resource[Rule]) { r.Properties.normalise() },
		Validate:  func(_ rp.Op, new, _ *rp.Resource[Rule]) error { return p.validateRule(new) },
		Admit:     admitRule,
		Links:     ruleLinks,
		Reconcile: applied[Rule](p),
		Finalize:  applied[Rule](p),
	})
}

// protocols are the values of a rule's protocol, in Azure's spelling.
var protocols = map[string]fabric.Protocol{
	"*": fabric.AnyProtocol, "Tcp": fabric.TCP, "Udp": fabric.UDP, "Icmp": fabric.ICMP, "Esp": fabric.ESP, "Ah": fabric.AH,
}

// normalise brings enumerated values into Azure's spelling and makes absent lists empty.
func (r *Rule) normalise() {
	spell := func(v *string, values ...string) {
		for _, s := range values {
			if strings.EqualFold(*v, s) {
				*v = s
			}
		}
	}
	for _, port := range []*string{&r.SourcePortRange, &r.DestinationPortRange} {
		*port = strings.TrimSpace(*port)
	}
	for _, list := range [][]string{r.SourcePortRanges, r.DestinationPortRanges} {
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
	}
	spell(&r.Protocol, "*", "Tcp", "Udp", "Icmp", "Esp", "Ah")
	spell(&r.Access, "Allow", "Deny")
	spell(&r.Direction, "Inbound", "Outbound")
	r.fillLists()
}

func (p *Provider) validateRule(r *rp.Resource[Rule]) error {
	v := &r.Properties
	if _, ok := protocols[v.Protocol]; !ok {
		return bad("SecurityRuleInvalidProtocol", "Security rule has invalid Protocol. Value provided: %s. Allowed values: Tcp, Udp, Icmp, Esp, Ah, *.", clip(v.Protocol))
	}
	if v.Access != "Allow" && v.Access != "Deny" {
		return bad("SecurityRuleInvalidAccess", "Security rule has invalid Access. Value provided: %s. Allowed values: Allow, Deny.", clip(v.Access))
	}
	if v.Direction != "Inbound" && v.Direction != "Outbound" {
		return bad("SecurityRuleInvalidDirection", "Security rule has invalid Direction. Value provided: %s. Allowed values: Inbound, Outbound.", clip(v.Direction))
	}
	if v.Priority < 100 || v.Priority > 4096 {
		return bad("SecurityRuleInvalidPriority", "Security rule has invalid Priority. Value provided: %d Allowed range 100-4096.", v.Priority)
	}
	for _, side := range []struct {
		what string
		one  string
		many []string
	}{{"SourcePortRange", v.SourcePortRange, v.SourcePortRanges}, {"DestinationPortRange", v.DestinationPortRange, v.DestinationPortRanges}} {
		texts, err := oneOrMany(side.what, side.one, side.many, nil, r.ID)
		if err != nil {
			return err
		}
		for _, t := range texts {
			if !validPorts(t) {
				return bad("SecurityRuleInvalidPortRange", "Security rule has invalid Port range. Value provided: %s. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535.", clip(t))
			}
		}
	}
	for _, side := range []struct {
		what string
		one  string
		many []string
		asgs []Ref
	}{{"SourceAddressPrefix", v.SourceAddressPrefix, v.SourceAddressPrefixes, v.SourceASGs}, {"DestinationAddressPrefix", v.DestinationAddressPrefix, v.DestinationAddressPrefixes, v.DestinationASGs}} {
		texts, err := oneOrMany(side.what, side.one, side.many, side.asgs, r.ID)
		if err != nil {
			return err
		}
		for _, t := range texts {
			if !p.validPeer(t) {
				return bad("SecurityRuleInvalidAddressPrefix", "Security rule has invalid Address prefix. Value provided: %s", clip(t))
			}
		}
		for _, ref := range side.asgs {
			if _, err := parseRef(&ref, ASGType, side.what, r.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// oneOrMany is the values of a property that has a singular and a plural form, of which one may be given.
func oneOrMany(what, one string, many []string, asgs []Ref, id arm.ID) ([]string, error) {
	given := len(many)
	if one != "" {
		given++
	}
	switch {
	case one != "" && len(many) > 0:
		return nil, bad("SecurityRuleParameterContainsUnsupportedValue", "Security rule parameter %s for rule with Id %s cannot be specified together with the list of the same name.", what, id)
	case given > 0 && len(asgs) > 0:
		return nil, bad("SecurityRuleCannotHaveBothAddressPrefixAndApplicationSecurityGroup", "Security rule %s has both %s and application security groups.", id, what)
	case given == 0 && len(asgs) == 0:
		return nil, bad("SecurityRuleParameterCannotBeNullOrEmpty", "Required security rule parameters are missing for security rule with Id: %s. Security rule must specify either %s or its list.", id, what)
	}
	if len(many) > 1 && slices.Contains(many, "*") {
		return nil, bad("SecurityRuleParameterContainsUnsupportedValue", "Security rule parameter %s for rule with Id %s: '*' cannot stand in a list with other values.", what, id)
	}
	if one != "" {
		many = []string{one}
	}
	return many, nil
}

func validPorts(text string) bool {
	if text == "*" {
		return true
	}
	lo, hi, isRange := strings.Cut(text, "-")
	a, err := strconv.ParseUint(lo, 10, 16)
	if err != nil {
		return false
	}
	if !isRange {
		return true
	}
	b, err := strconv.ParseUint(hi, 10, 16)
	return err == nil && a <= b
}

// validPeer accepts "*", an address, a prefix without host bits, or a service tag that exists.
func (p *Provider) validPeer(text string) bool {
	if text == "*" {
		return true
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	if pre, err := netip.ParsePrefix(text); err == nil {
		return pre.Masked() == pre
	}
	for _, tag := range computedTags {
		if strings.EqualFold(text, tag) {
			return true
		}
	}
	if p.cfg.Tags == nil {
		return false
	}
	_, ok := p.cfg.Tags.Prefixes(text)
	return ok
}

var computedTags = []string{
	fabric.TagVirtualNetwork, fabric.TagInternet, fabric.TagLoadBalancer,
	fabric.TagPlatformDNS, fabric.TagPlatformIMDS, fabric.TagPlatformLKM,
}

func ruleLinks(r *rp.Resource[Rule]) []rp.Link {
	var links []rp.Link
	for _, ref := range slices.Concat(r.Properties.SourceASGs, r.Properties.DestinationASGs) {
		if id, err := arm.ParseID(ref.ID); err == nil {
			links = append(links, rp.Link{Action: ASGType + "/joinNetworkSecurityRule/action", ID: id})
		}
	}
	return links
}

func admitRule(ctx context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Rule]) error {
	v := &new.Properties
	asgs := slices.Concat(v.SourceASGs, v.DestinationASGs)
	if len(asgs) > 0 {
		group, err := rp.Get[NSG](tx, new.ID.Parent())
		if err != nil {
			return err
		}
		for _, ref := range asgs {
			if err := inRegion[ASG](tx, &ref, group.Location, new.ID); err != nil {
				return err
			}
		}
	}
	if err := oneNetwork(tx, new.ID, arm.ID{}, arm.ID{}, asgs); err != nil {
		return err
	}
	if rp.Embedded(ctx) { // the group's own admission checks all rules together
		return nil
	}
	siblings, err := rp.List[Rule](tx, RuleType, new.ID.Parent())
	if err != nil {
		return err
	}
	if err := noConflict(new, siblings); err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(siblings), func(r *rp.Resource[Rule]) bool { return r.ID.Key() == new.ID.Key() })
	return withinLimits(new.ID.Parent(), append(others, new))
}

// noConflict refuses a rule that has the priority and direction of another one.
func noConflict(r *rp.Resource[Rule], others []*rp.Resource[Rule]) error {
	for _, o := range others {
		if o.ID.Key() != r.ID.Key() && o.State != arm.Deleting && o.Properties.Priority == r.Properties.Priority && o.Properties.Direction == r.Properties.Direction {
			return bad("SecurityRuleConflict", "Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction. To learn more, see aka.ms/nsgrules.", r.ID.Name(), o.ID.Name())
		}
	}
	return nil
}

// compile is the rule as the fabric has it. ok is false for a rule that no IPv4 packet matches, since
// all its sources or destinations are IPv6.
func (r *Rule) compile(name string) (rule fabric.Rule, ok bool) {
	rule = fabric.Rule{
		Name: name, Priority: r.Priority, Allow: r.Access == "Allow", Protocol: protocols[r.Protocol],
		Source: peers(r.SourceAddressPrefix, r.SourceAddressPrefixes), Destination: peers(r.DestinationAddressPrefix, r.DestinationAddressPrefixes),
		SourceASGs: keys(r.SourceASGs), DestinationASGs: keys(r.DestinationASGs),
		SourcePorts: join(r.SourcePortRange, r.SourcePortRanges), DestinationPorts: join(r.DestinationPortRange, r.DestinationPortRanges),
	}
	if r.Direction == "Outbound" {
		rule.Direction = fabric.Outbound
	}
	return rule, len(rule.Source)+len(rule.SourceASGs) > 0 && len(rule.Destination)+len(rule.DestinationASGs) > 0
}

func join(one string, many []string) []string {
	if one != "" {
		return append([]string{one}, many...)
	}
	return many
}

// peers leaves out IPv6: the fabric is IPv4.
func peers(one string, many []string) []string {
	return slices.DeleteFunc(slices.Clone(join(one, many)), func(t string) bool {
		if a, err := netip.ParseAddr(t); err == nil {
			return !a.Is4()
		}
		pre, err := netip.ParsePrefix(t)
		return err == nil && !pre.Addr().Is4()
	})
}

// keys are the lower-case ids of references.
func keys(refs []Ref) []string {
	var list []string
	for _, r := range refs {
		list = append(list, strings.ToLower(r.ID))
	}
	return list
}
