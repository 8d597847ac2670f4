package conditionalaccess

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Invalid is a policy or a location that cannot be taken: a field and the rule that it breaks.
type Invalid struct{ Field, Rule string }

func (e *Invalid) Error() string { return e.Field + ": " + e.Rule }

// Unsupported is a part of a policy that a region cannot hold anybody to. A policy that would be half enforced is
// refused as a whole.
type Unsupported struct{ Field, Value string }

func (e *Unsupported) Error() string {
	return fmt.Sprintf("this region does not enforce %s %s, so the policy is refused: half a policy protects nothing", e.Field, e.Value)
}

// unsupportedConditions are conditions of Graph that need what a region has not: devices, risk, platforms.
var unsupportedConditions = []string{"platforms", "devices", "deviceStates", "signInRiskLevels", "userRiskLevels", "servicePrincipalRiskLevels",
	"insiderRiskLevels", "clientApplications", "authenticationFlows", "times"}

// Parse reads a policy in Graph's JSON over an older one (PATCH: what is not named stays); *Invalid, *Unsupported.
func Parse(body []byte, old Policy) (Policy, error) {
	var raw struct {
		Conditions map[string]json.RawMessage
		Grant      map[string]json.RawMessage `json:"grantControls"`
		Session    map[string]json.RawMessage `json:"sessionControls"`
	}
	p := old
	if err := json.Unmarshal(body, &raw); err != nil {
		return old, &Invalid{"body", "it must be a conditionalAccessPolicy as JSON"}
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return old, &Invalid{"body", "a property has the wrong type"}
	}
	p.ID, p.Created, p.Modified = old.ID, old.Created, old.Modified
	for _, field := range unsupportedConditions {
		if set(raw.Conditions[field]) {
			return old, &Unsupported{"conditions." + field, string(raw.Conditions[field])}
		}
	}
	for field, v := range raw.Grant {
		if !slices.Contains([]string{"operator", "builtInControls", "@odata.type", "authenticationStrength@odata.context"}, field) && set(v) {
			return old, &Unsupported{"grantControls." + field, string(v)}
		}
	}
	for field, v := range raw.Session {
		if field != "signInFrequency" && !strings.HasPrefix(field, "@") && set(v) {
			return old, &Unsupported{"sessionControls." + field, string(v)}
		}
	}
	return p, p.check()
}

func set(v json.RawMessage) bool {
	s := strings.TrimSpace(string(v))
	return s != "" && s != "null" && s != "[]" && s != "{}" && s != "false"
}

func (p Policy) check() error {
	switch {
	case strings.TrimSpace(p.DisplayName) == "" || len(p.DisplayName) > 256:
		return &Invalid{"displayName", "1 to 256 characters"}
	case !slices.Contains([]State{Enabled, Disabled, ReportOnly}, p.State):
		return &Invalid{"state", "enabled, disabled or enabledForReportingButNotEnforced"}
	case len(p.Conditions.Users.IncludeUsers)+len(p.Conditions.Users.IncludeGroups)+len(p.Conditions.Users.IncludeRoles) == 0:
		return &Invalid{"conditions.users", "it names nobody: set includeUsers, includeGroups or includeRoles"}
	case len(p.Conditions.Applications.Include) == 0:
		return &Invalid{"conditions.applications.includeApplications", "it names no application"}
	case p.Grant == nil && p.Session == nil:
		return &Invalid{"grantControls", "a policy has grant controls or session controls"}
	}
	for _, t := range p.Conditions.ClientAppTypes {
		if !slices.Contains([]string{"all", "browser", "mobileAppsAndDesktopClients", "exchangeActiveSync", "other"}, t) {
			return &Invalid{"conditions.clientAppTypes", "all, browser, mobileAppsAndDesktopClients, exchangeActiveSync, other"}
		}
	}
	if g := p.Grant; g != nil {
		if g.Operator != "OR" && g.Operator != "AND" {
			return &Invalid{"grantControls.operator", "OR or AND"}
		}
		if len(g.BuiltIn) == 0 {
			return &Invalid{"grantControls.builtInControls", "it names no control"}
		}
		for _, c := range g.BuiltIn {
			if c != "block" && c != "mfa" {
				return &Unsupported{"grantControls.builtInControls", c}
			}
		}
		if len(g.BuiltIn) > 1 {
			return &Invalid{"grantControls.builtInControls", "block stands alone"}
		}
	}
	if s := p.Session; s != nil && s.Frequency != nil && s.Frequency.Enabled && s.Frequency.Interval != "everyTime" {
		if f := s.Frequency; f.Type == "hours" && (f.Value < 1 || f.Value > 23) || f.Type == "days" && (f.Value < 1 || f.Value > 365) || f.Type != "hours" && f.Type != "days" {
			return &Invalid{"sessionControls.signInFrequency", "1 to 23 hours or 1 to 365 days"}
		}
	}
	return nil
}

// Types of named locations in Graph's JSON. The second is the region's own.
const (
	ipLocationType      = "#microsoft.graph.ipNamedLocation"
	networkLocationType = "#vauban.virtualNetworkNamedLocation"
)

// locationJSON is a named location on the wire.
type locationJSON struct {
	Type        string `json:"@odata.type"`
	DisplayName string `json:"displayName"`
	Trusted     bool   `json:"isTrusted"`
	Ranges      []struct {
		Type string `json:"@odata.type"`
		CIDR string `json:"cidrAddress"`
	} `json:"ipRanges"`
	Networks []string `json:"virtualNetworks"`
}

// ParseLocation reads a named location in Graph's JSON; *Invalid, *Unsupported. networkType
// "#vauban.virtualNetworkNamedLocation" has virtualNetworks, the ids of virtual networks and subnets.
func ParseLocation(body []byte, old Location) (Location, error) {
	var in locationJSON
	if err := json.Unmarshal(body, &in); err != nil {
		return old, &Invalid{"body", "it must be a namedLocation as JSON"}
	}
	l := old
	var named map[string]json.RawMessage
	_ = json.Unmarshal(body, &named) // it has been read above
	if _, ok := named["displayName"]; ok || old.ID == "" {
		l.DisplayName = in.DisplayName
	}
	if _, ok := named["isTrusted"]; ok {
		l.Trusted = in.Trusted
	}
	kind := in.Type
	if kind == "" && old.ID != "" {
		kind = old.Type()
	}
	switch kind {
	case ipLocationType:
		if err := l.setRanges(in, named); err != nil {
			return old, err
		}
	case networkLocationType:
		if _, ok := named["virtualNetworks"]; ok || old.ID == "" {
			l.Networks = in.Networks
		}
		for _, n := range l.Networks {
			if !strings.Contains(strings.ToLower(n), "/providers/microsoft.network/virtualnetworks/") {
				return old, &Invalid{"virtualNetworks", "resource ids of virtual networks or subnets"}
			}
		}
		if len(l.Networks) == 0 {
			return old, &Invalid{"virtualNetworks", "it names no network"}
		}
	case "#microsoft.graph.countryNamedLocation":
		return old, &Unsupported{"@odata.type", kind}
	default:
		return old, &Invalid{"@odata.type", ipLocationType + " or " + networkLocationType}
	}
	if strings.TrimSpace(l.DisplayName) == "" || len(l.DisplayName) > 256 {
		return old, &Invalid{"displayName", "1 to 256 characters"}
	}
	return l, nil
}

func (l *Location) setRanges(in locationJSON, named map[string]json.RawMessage) error {
	if _, ok := named["ipRanges"]; !ok && l.ID != "" {
		return nil
	}
	if len(in.Ranges) == 0 || len(in.Ranges) > 2000 {
		return &Invalid{"ipRanges", "1 to 2000 ranges"}
	}
	l.Ranges = nil
	for _, r := range in.Ranges {
		p, err := netip.ParsePrefix(r.CIDR)
		if err != nil || p.Masked() != p || p.Bits() == 0 {
			return &Invalid{"ipRanges.cidrAddress", "a range such as 203.0.113.0/24, its host bits zero, not all addresses"}
		}
		l.Ranges = append(l.Ranges, p)
	}
	return nil
}

// Type is the location's type in Graph's JSON.
func (l Location) Type() string {
	if len(l.Networks) > 0 {
		return networkLocationType
	}
	return ipLocationType
}

// Graph is the location as Graph shows it.
func (l Location) Graph() map[string]any {
	out := map[string]any{"@odata.type": l.Type(), "id": l.ID, "displayName": l.DisplayName, "createdDateTime": l.Created, "modifiedDateTime": l.Modified, "isTrusted": l.Trusted}
	if len(l.Networks) > 0 {
		out["virtualNetworks"] = l.Networks
		return out
	}
	ranges := make([]map[string]string, len(l.Ranges))
	for i, r := range l.Ranges {
		t := "#microsoft.graph.iPv4CidrRange"
		if r.Addr().Is6() {
			t = "#microsoft.graph.iPv6CidrRange"
		}
		ranges[i] = map[string]string{"@odata.type": t, "cidrAddress": r.String()}
	}
	out["ipRanges"] = ranges
	return out
}
