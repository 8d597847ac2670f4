package azurefirewall

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	model "vauban.dev/azurefirewall"
	"vauban.dev/provider/network"
)

// Types of rules and of collections of a policy.
const (
	natRule         = "NatRule"
	networkRule     = "NetworkRule"
	applicationRule = "ApplicationRule"

	natCollection    = "FirewallPolicyNatRuleCollection"
	filterCollection = "FirewallPolicyFilterRuleCollection"
)

// Rule is a rule of a policy, of any of the three types (Network REST: NatRule, NetworkRule, ApplicationRule), or of
// a firewall itself, where the type follows from the collection.
type Rule struct {
	RuleType    string `json:"ruleType,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`

	SourceAddresses []string `json:"sourceAddresses"`
	SourceIPGroups  []string `json:"sourceIpGroups"`

	// Of network and NAT rules. Classic ones call the protocols "protocols".
	IPProtocols          []string `json:"ipProtocols"`
	DestinationAddresses []string `json:"destinationAddresses"`
	DestinationPorts     []string `json:"destinationPorts"`
	// Of network rules.
	DestinationIPGroups []string `json:"destinationIpGroups"`
	DestinationFQDNs    []string `json:"destinationFqdns"`
	// Of NAT rules.
	TranslatedAddress string `json:"translatedAddress,omitempty"`
	TranslatedFQDN    string `json:"translatedFqdn,omitempty"`
	TranslatedPort    string `json:"translatedPort,omitempty"`
	// Of application rules.
	Protocols     []ApplicationProtocol `json:"protocols"`
	TargetFQDNs   []string              `json:"targetFqdns"`
	TargetURLs    []string              `json:"targetUrls"`
	FQDNTags      []string              `json:"fqdnTags"`
	WebCategories []string              `json:"webCategories"`
	TerminateTLS  bool                  `json:"terminateTLS"`
	Headers       []Header              `json:"httpHeadersToInsert"`
}

// ApplicationProtocol of an application rule.
type ApplicationProtocol struct {
	Type string `json:"protocolType"`
	Port int    `json:"port"`
}

// UnmarshalJSON takes a port that is written as a text too, as Azure does.
func (p *ApplicationProtocol) UnmarshalJSON(b []byte) error {
	var v struct {
		Type string `json:"protocolType"`
		Port any    `json:"port"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*p = ApplicationProtocol{Type: v.Type}
	switch port := v.Port.(type) {
	case nil:
	case float64:
		p.Port = int(port)
	case string:
		n, err := strconv.Atoi(port)
		if err != nil {
			n = -1 // refused as out of range
		}
		p.Port = n
	default:
		p.Port = -1
	}
	return nil
}

// Header that is set in requests.
type Header struct {
	Name  string `json:"headerName"`
	Value string `json:"headerValue"`
}

// members of a rule's JSON by its type: the API shows those alone, empty lists too.
var members = map[string][]string{
	natRule: {"ruleType", "name", "description", "sourceAddresses", "sourceIpGroups", "ipProtocols", "destinationAddresses", "destinationPorts",
		"translatedAddress", "translatedFqdn", "translatedPort"},
	networkRule: {"ruleType", "name", "description", "sourceAddresses", "sourceIpGroups", "ipProtocols", "destinationAddresses", "destinationPorts",
		"destinationIpGroups", "destinationFqdns"},
	applicationRule: {"ruleType", "name", "description", "sourceAddresses", "sourceIpGroups", "destinationAddresses", "protocols", "targetFqdns",
		"targetUrls", "fqdnTags", "webCategories", "terminateTLS", "httpHeadersToInsert"},
}

// MarshalJSON shows the members of the rule's type.
func (r Rule) MarshalJSON() ([]byte, error) {
	type plain Rule
	b, err := json.Marshal(plain(r))
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	show, known := members[r.RuleType]
	for name, v := range all {
		switch {
		case known && !slices.Contains(show, name), !known && string(v) == "null":
			delete(all, name)
		case string(v) == "null":
			all[name] = json.RawMessage("[]")
		}
	}
	return json.Marshal(all)
}

// checker validates the rules of one collection: of a policy's group, or of a firewall.
type checker struct {
	of   arm.ID // the group or firewall
	tags func(string) ([]netip.Prefix, bool)
	// kind is how codes begin: FirewallPolicyRule or AzureFirewallRule.
	kind string
}

func (c checker) bad(rule *Rule, code, format string, args ...any) error {
	return bad(c.kind+code, "%s %s: "+format, append([]any{c.kind, rule.Name}, args...)...)
}

// rule checks one rule and brings its words into the API's spelling.
func (c checker) rule(r *Rule) error {
	if r.Name == "" {
		return bad("InvalidRequestFormat", "A rule of %s has no name.", c.of)
	}
	if err := c.sources(r); err != nil {
		return err
	}
	switch r.RuleType {
	case natRule:
		return c.nat(r)
	case networkRule:
		return c.network(r)
	case applicationRule:
		return c.application(r)
	}
	return bad("InvalidRequestFormat", "ruleType of rule %s of %s is '%s'; it must be one of NatRule, NetworkRule, ApplicationRule.", clip(r.Name), c.of, clip(r.RuleType))
}

func (c checker) sources(r *Rule) error {
	if len(r.SourceAddresses) == 0 && len(r.SourceIPGroups) == 0 {
		return c.bad(r, "SourceNotSpecified", "one of sourceAddresses or sourceIpGroups must be specified.")
	}
	if err := c.addresses(r, r.SourceAddresses, false); err != nil {
		return err
	}
	return c.ipGroups(r, r.SourceIPGroups)
}

func (c checker) addresses(r *Rule, texts []string, tags bool) error {
	for _, text := range texts {
		if text == "*" {
			continue
		}
		_, _, err := model.ParseAddress(text)
		if err != nil && tags && c.tags != nil {
			if _, known := c.tags(text); known {
				continue
			}
		}
		if err != nil {
			return c.bad(r, "InvalidIpAddressOrRangeFormat", "Invalid IP address value or range or Service Tag %s.", clip(text))
		}
	}
	return nil
}

func (c checker) ipGroups(r *Rule, list []string) error {
	for _, id := range list {
		if _, err := parseRef(&network.Ref{ID: id}, IPGroupType, "ipGroups of rule "+r.Name, c.of); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) ports(r *Rule) error {
	if len(r.DestinationPorts) == 0 {
		return c.bad(r, "InvalidPortRange", "destinationPorts must be specified.")
	}
	for _, text := range r.DestinationPorts {
		if _, _, err := model.ParsePort(text); err != nil && text != "*" {
			return c.bad(r, "InvalidPortRange", "%s is no port or range of ports.", clip(text))
		}
	}
	return nil
}

func (c checker) protocols(r *Rule, allowed ...string) error {
	if len(r.IPProtocols) == 0 {
		return c.bad(r, "InvalidProtocol", "a protocol must be specified.")
	}
	for i := range r.IPProtocols {
		if err := oneOf(&r.IPProtocols[i], c.of, "a protocol of rule "+r.Name, allowed...); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) nat(r *Rule) error {
	if err := c.protocols(r, "TCP", "UDP", "Any"); err != nil {
		return err
	}
	if err := c.ports(r); err != nil {
		return err
	}
	if len(r.DestinationAddresses) == 0 {
		return c.bad(r, "InvalidDestinationAddress", "destinationAddresses must name an address of the firewall.")
	}
	for _, text := range r.DestinationAddresses {
		if a, err := netip.ParseAddr(text); err != nil || !a.Is4() {
			return c.bad(r, "InvalidIpAddressOrRangeFormat", "destination %s is no IPv4 address of the firewall.", clip(text))
		}
	}
	if slices.Contains(r.DestinationPorts, "*") {
		return c.bad(r, "InvalidPortRange", "a NAT rule cannot translate all ports.")
	}
	if r.TranslatedFQDN != "" {
		return arm.NotImplemented("translatedFqdn of rule %s of %s is not implemented: use translatedAddress.", clip(r.Name), c.of)
	}
	a, err := netip.ParseAddr(r.TranslatedAddress)
	switch port, perr := strconv.ParseUint(r.TranslatedPort, 10, 16); {
	case err != nil || !a.Is4():
		return c.bad(r, "InvalidTranslatedAddress", "translatedAddress %s is no IPv4 address.", clip(r.TranslatedAddress))
	case perr != nil || port == 0:
		return c.bad(r, "InvalidTranslatedPort", "translatedPort %s is no port.", clip(r.TranslatedPort))
	}
	return nil
}

func (c checker) network(r *Rule) error {
	if err := c.protocols(r, "TCP", "UDP", "ICMP", "Any"); err != nil {
		return err
	}
	if err := c.ports(r); err != nil {
		return err
	}
	kinds := 0
	for _, list := range [][]string{r.DestinationAddresses, r.DestinationIPGroups, r.DestinationFQDNs} {
		if len(list) > 0 {
			kinds++
		}
	}
	if kinds == 0 {
		return c.bad(r, "DestinationNotSpecified", "one of destinationAddresses, destinationIpGroups or destinationFqdns must be specified.")
	}
	if len(r.DestinationFQDNs) > 0 && kinds > 1 {
		return c.bad(r, "MultipleDestinationTypes", "destinationFqdns cannot stand beside destinationAddresses or destinationIpGroups.")
	}
	if err := c.addresses(r, r.DestinationAddresses, true); err != nil {
		return err
	}
	for _, name := range r.DestinationFQDNs {
		if _, ok := model.CanonicalHost(name); !ok {
			return c.bad(r, "InvalidFqdnFormat", "Invalid FQDN %s; network rules take no wildcards.", clip(name))
		}
	}
	return c.ipGroups(r, r.DestinationIPGroups)
}

func (c checker) application(r *Rule) error {
	if len(r.WebCategories) > 0 {
		return arm.NotImplemented("Web categories are not implemented: nobody publishes which hosts are in them. Rule %s of %s names %s.", clip(r.Name), c.of, clip(strings.Join(r.WebCategories, ", ")))
	}
	if len(r.TargetFQDNs) == 0 && len(r.TargetURLs) == 0 && len(r.FQDNTags) == 0 {
		return c.bad(r, "TargetNotSpecified", "one of targetFqdns, targetUrls, fqdnTags or webCategories must be specified.")
	}
	if len(r.FQDNTags) > 0 && len(r.TargetFQDNs)+len(r.TargetURLs) > 0 {
		return c.bad(r, "InvalidTarget", "fqdnTags cannot stand beside targetFqdns or targetUrls.")
	}
	for _, name := range r.TargetFQDNs {
		if err := model.ParseFQDN(name); err != nil {
			return c.bad(r, "InvalidFqdnFormat", "Invalid FQDN %s: an asterisk may stand at its left end only.", clip(name))
		}
	}
	for _, text := range r.TargetURLs {
		if err := model.ParseURL(text); err != nil {
			return c.bad(r, "InvalidUrlFormat", "%s.", clip(err.Error()))
		}
	}
	for i, name := range r.FQDNTags {
		tag, ok, unpublished := model.LookupFQDNTag(name)
		switch {
		case ok:
			r.FQDNTags[i] = tag.Name
		case unpublished:
			return arm.NotImplemented("FQDN tag %s of rule %s of %s: Microsoft does not publish what is in it.", clip(name), clip(r.Name), c.of)
		default:
			return c.bad(r, "InvalidFqdnTag", "there is no FQDN tag %s.", clip(name))
		}
	}
	if len(r.DestinationAddresses) > 0 && !slices.Equal(r.DestinationAddresses, []string{"*"}) {
		return arm.NotImplemented("destinationAddresses of application rule %s of %s: the firewall dials the address that the name resolves to, so another one would never be reached.", clip(r.Name), c.of)
	}
	for _, h := range r.Headers {
		if !isToken(h.Name) || strings.ContainsAny(h.Value, "\r\n\x00") {
			return c.bad(r, "InvalidHttpHeader", "%q is no header of an HTTP request.", clip(h.Name+": "+h.Value))
		}
	}
	return c.applicationProtocols(r)
}

func (c checker) applicationProtocols(r *Rule) error {
	if len(r.Protocols) == 0 {
		return c.bad(r, "InvalidProtocol", "a protocol must be specified.")
	}
	for i := range r.Protocols {
		x := &r.Protocols[i]
		if strings.EqualFold(x.Type, "Mssql") {
			return arm.NotImplemented("Protocol Mssql of application rule %s of %s: use a network rule with destinationFqdns for TDS.", clip(r.Name), c.of)
		}
		if err := oneOf(&x.Type, c.of, "a protocol of rule "+r.Name, model.HTTP, model.HTTPS); err != nil {
			return err
		}
		if x.Port == 0 {
			x.Port = map[string]int{model.HTTP: 80, model.HTTPS: 443}[x.Type]
		}
		// Azure's own limit.
		if x.Port < 0 || x.Port > 64000 {
			return c.bad(r, "InvalidPort", "port %d of protocol %s is not between 0 and 64000.", x.Port, x.Type)
		}
	}
	return nil
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c)
	})
}

// names tells whether the rule names an IP group.
func (r *Rule) names(id arm.ID) bool {
	return slices.ContainsFunc(slices.Concat(r.SourceIPGroups, r.DestinationIPGroups), func(g string) bool { return strings.EqualFold(g, id.String()) })
}

// premium names what in the rule only the Premium tier has, "" for nothing.
func (r *Rule) premium() string {
	switch {
	case len(r.TargetURLs) > 0:
		return "TargetUrls"
	case r.TerminateTLS:
		return "TerminateTLS"
	case len(r.Headers) > 0:
		return "HttpHeadersToInsert"
	}
	return ""
}

// expand makes addresses of addresses and IP groups.
type expand func(id string) ([]string, error)

func (e expand) all(addresses, groups []string) ([]string, error) {
	out := slices.Clone(addresses)
	for _, g := range groups {
		more, err := e(g)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

func protocolsOf(list []string) (out []model.Protocol) {
	for _, p := range list {
		out = append(out, model.Protocol(p))
	}
	return out
}

// compile adds the rule to a collection of the model.
func (r *Rule) compile(to *model.Collection, e expand) error {
	sources, err := e.all(r.SourceAddresses, r.SourceIPGroups)
	if err != nil {
		return err
	}
	destinations, err := e.all(r.DestinationAddresses, r.DestinationIPGroups)
	if err != nil {
		return err
	}
	switch r.RuleType {
	case natRule:
		port, err := strconv.ParseUint(r.TranslatedPort, 10, 16)
		if err != nil {
			return fmt.Errorf("stored translatedPort of %s: %w", r.Name, err)
		}
		a, err := netip.ParseAddr(r.TranslatedAddress)
		if err != nil {
			return fmt.Errorf("stored translatedAddress of %s: %w", r.Name, err)
		}
		to.NAT = append(to.NAT, model.NATRule{Name: r.Name, Protocols: protocolsOf(r.IPProtocols), Sources: sources, Destinations: destinations,
			Ports: r.DestinationPorts, Address: a, Port: uint16(port)})
	case networkRule:
		to.Network = append(to.Network, model.NetworkRule{Name: r.Name, Protocols: protocolsOf(r.IPProtocols), Sources: sources,
			Destinations: destinations, Ports: r.DestinationPorts, FQDNs: r.DestinationFQDNs})
	case applicationRule:
		a := model.ApplicationRule{Name: r.Name, Sources: sources, FQDNs: slices.Clone(r.TargetFQDNs), URLs: r.TargetURLs, TerminateTLS: r.TerminateTLS}
		for _, x := range r.Protocols {
			a.Protocols = append(a.Protocols, model.ApplicationProtocol{Type: x.Type, Port: uint16(x.Port)})
		}
		for _, name := range r.FQDNTags {
			tag, _, _ := model.LookupFQDNTag(name)
			a.FQDNs = append(a.FQDNs, tag.FQDNs...)
		}
		for _, h := range r.Headers {
			a.Headers = append(a.Headers, model.Header{Name: h.Name, Value: h.Value})
		}
		to.Application = append(to.Application, a)
	}
	return nil
}
