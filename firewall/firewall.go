// Package firewall decides whether a service's network rules admit a connection: public network access,
// IP rules, virtual network rules and private endpoints, as Azure Storage, Key Vault and Machine Learning
// apply them ("Configure Azure Storage firewalls and virtual networks", "Network security for Key Vault").
// It is pure: rules and an origin in, a decision out. The services and `explain` ask the same function.
package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/origin"
)

// Values of properties.publicNetworkAccess.
const (
	Enabled            = "Enabled"
	Disabled           = "Disabled"
	SecuredByPerimeter = "SecuredByPerimeter"
)

// Values of networkAcls.defaultAction.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// Rules are the network rules of one resource, as its ARM document states them. The zero value is Azure's
// default for a resource without rules: public access enabled, default action Allow. A value that Azure does
// not know refuses: a rule that cannot be read is no permission.
type Rules struct {
	// ResourceID is the ARM id of the resource that the rules protect.
	ResourceID string
	// GroupIDs are the sub-resources (private link group ids) that the asking service answers for: "blob",
	// "vault", "amlworkspace" …. A private endpoint of any other group, or an empty list, is refused.
	GroupIDs []string
	// PublicNetworkAccess is Enabled, Disabled or SecuredByPerimeter; "" counts as Enabled.
	PublicNetworkAccess string
	// DefaultAction is Allow or Deny for callers that no rule names; "" counts as Allow.
	DefaultAction string
	// IPRules admit callers from the internet by their public address.
	IPRules []netip.Prefix
	// SubnetRules admit callers through the service endpoint of a subnet, by the subnet's ARM id.
	SubnetRules []string
	// ResourceInstances admit calls by the managed identity of an Azure resource; see DecideInstance.
	ResourceInstances []ResourceInstance
	// Policies are the service endpoint policies of the subnet from which a caller comes by a service endpoint;
	// nil: no subnet has any. An error refuses.
	Policies func(subnet string) ([]EndpointPolicy, error)
	// Bypass is networkAcls.bypass: a comma-separated list of AzureServices, Logging, Metrics, or None.
	Bypass string
}

// ResourceInstance is one networkAcls.resourceAccessRules entry. A segment of ResourceID may be "*".
type ResourceInstance struct {
	TenantID   string
	ResourceID string
}

// Code says what kind of rule decided, for the service's error code.
type Code uint8

const (
	Admitted             Code = iota
	UnknownOrigin             // the connection's origin is not known: refused
	WrongPrivateEndpoint      // the endpoint leads to another resource or sub-resource
	PublicAccessDisabled      // publicNetworkAccess closes every public path
	NotInRules                // default action Deny and no rule names the caller
	BadRules                  // the rules hold a value that has no meaning: refused
	NotInPolicy               // the caller's subnet has service endpoint policies, and none lets it reach the resource
)

func (c Code) String() string {
	names := [...]string{"Admitted", "UnknownOrigin", "WrongPrivateEndpoint", "PublicAccessDisabled", "NotInRules", "BadRules", "NotInPolicy"}
	if int(c) < len(names) {
		return names[c]
	}
	return "Code(" + fmt.Sprint(uint8(c)) + ")"
}

// Decision is the answer. Rule names the rule that decided, in words for a message.
type Decision struct {
	Allowed bool
	Rule    string
	Code    Code
}

// Decide answers whether r admits a connection from o.
//
//   - a private endpoint is admitted when it leads to this very resource and one of its sub-resources,
//     whatever publicNetworkAccess says;
//   - every other path is public: Disabled and SecuredByPerimeter close it, Allow opens it;
//   - under Deny a service endpoint needs a subnet rule, anyone else an IP rule. IP rules say nothing of
//     callers by a service endpoint: these arrive with a private address;
//   - a service endpoint of a subnet with policies needs one that names the resource, before anything else;
//   - a connection of unknown origin is refused.
func Decide(r Rules, o origin.Origin) Decision {
	switch o.Kind {
	case origin.PrivateEndpoint:
		return decidePrivate(r, o)
	case origin.Internet, origin.ServiceEndpoint, origin.Loopback:
		return decidePublic(r, o)
	}
	return refuse(UnknownOrigin, "the origin of the connection is not known")
}

func decidePrivate(r Rules, o origin.Origin) Decision {
	if r.ResourceID == "" || !strings.EqualFold(o.Target, r.ResourceID) {
		return refuse(WrongPrivateEndpoint, "private endpoint %s leads to %s, not to this resource", o.Endpoint, orNone(o.Target))
	}
	if !slices.ContainsFunc(r.GroupIDs, func(g string) bool { return strings.EqualFold(g, o.GroupID) }) {
		return refuse(WrongPrivateEndpoint, "private endpoint %s leads to sub-resource '%s'; this service is %s",
			o.Endpoint, o.GroupID, orNone(strings.Join(r.GroupIDs, ", ")))
	}
	return admit("private endpoint %s leads to this resource", o.Endpoint)
}

func decidePublic(r Rules, o origin.Origin) Decision {
	if d := decidePolicies(r, o); !d.Allowed {
		return d
	}
	switch {
	case r.PublicNetworkAccess == "" || strings.EqualFold(r.PublicNetworkAccess, Enabled):
	case strings.EqualFold(r.PublicNetworkAccess, Disabled):
		return refuse(PublicAccessDisabled, "publicNetworkAccess is Disabled: only private endpoints may connect")
	case strings.EqualFold(r.PublicNetworkAccess, SecuredByPerimeter):
		return refuse(PublicAccessDisabled, "publicNetworkAccess is SecuredByPerimeter and no perimeter admits the caller")
	default:
		return refuse(BadRules, "publicNetworkAccess '%s' has no meaning", r.PublicNetworkAccess)
	}
	switch {
	case r.DefaultAction == "" || strings.EqualFold(r.DefaultAction, Allow):
		return admit("public network access is enabled from all networks (defaultAction Allow)")
	case strings.EqualFold(r.DefaultAction, Deny):
	default:
		return refuse(BadRules, "networkAcls.defaultAction '%s' has no meaning", r.DefaultAction)
	}
	if o.Kind == origin.ServiceEndpoint {
		return decideSubnet(r, o)
	}
	return decideAddress(r, o)
}

func decideSubnet(r Rules, o origin.Origin) Decision {
	for _, s := range r.SubnetRules {
		if o.Subnet != "" && strings.EqualFold(s, o.Subnet) {
			return admit("virtual network rule for subnet %s", s)
		}
	}
	return refuse(NotInRules, "defaultAction is Deny and none of the %d virtual network rules names subnet %s", len(r.SubnetRules), orNone(o.Subnet))
}

func decideAddress(r Rules, o origin.Origin) Decision {
	a := o.Source.Unmap()
	for _, p := range r.IPRules {
		if a.IsValid() && p.Contains(a) {
			return admit("IP rule %s", p)
		}
	}
	return refuse(NotInRules, "defaultAction is Deny and none of the %d IP rules holds %s", len(r.IPRules), a)
}

// DecideInstance answers whether r admits a call that the platform itself makes for resource (an ARM id)
// of tenant, over the platform's own path: by a resource instance rule, or by networkAcls.bypass
// AzureServices when trusted says that the caller is one of Azure's trusted services for this kind of
// resource. Both hold with publicNetworkAccess Disabled too. The caller vouches for the identity: no header does.
func DecideInstance(r Rules, tenant, resource string, trusted bool) Decision {
	if i, ok := r.instance(tenant, resource); ok {
		return admit("resource instance rule %s", i.ResourceID)
	}
	if trusted && r.bypasses("AzureServices") {
		return admit("networkAcls.bypass AzureServices admits the trusted service of %s", resource)
	}
	if pub := decidePublic(r, origin.Origin{}); pub.Allowed {
		return pub
	}
	return refuse(NotInRules, "no resource instance rule names %s and networkAcls.bypass is %s", orNone(resource), orNone(r.Bypass))
}

// DecideCaller answers whether r admits a call that comes from o and proves, by a token that was verified, to be of the
// managed identity of resource (an ARM id, "" for anybody else) in tenant. Resource instance rules admit the identity
// from wherever it calls on a public path, with publicNetworkAccess Disabled too ("Grant access from Azure resource
// instances"); they open no other resource's private endpoint and lift no service endpoint policy.
func DecideCaller(r Rules, o origin.Origin, tenant, resource string) Decision {
	d := Decide(r, o)
	if d.Allowed || d.Code != NotInRules && d.Code != PublicAccessDisabled {
		return d
	}
	if i, ok := r.instance(tenant, resource); ok {
		return admit("resource instance rule %s", i.ResourceID)
	}
	return d
}

// instance is the resource instance rule that names a resource.
func (r Rules) instance(tenant, resource string) (ResourceInstance, bool) {
	for _, i := range r.ResourceInstances {
		if strings.EqualFold(i.TenantID, tenant) && matchID(i.ResourceID, resource) {
			return i, true
		}
	}
	return ResourceInstance{}, false
}

func (r Rules) bypasses(service string) bool {
	for s := range strings.SplitSeq(r.Bypass, ",") {
		if strings.EqualFold(strings.TrimSpace(s), service) {
			return true
		}
	}
	return false
}

// matchID compares ARM ids segment by segment; "*" in the pattern stands for one segment.
func matchID(pattern, id string) bool {
	ps, is := strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(strings.Trim(id, "/"), "/")
	if id == "" || len(ps) != len(is) {
		return false
	}
	for i, p := range ps {
		if p != "*" && !strings.EqualFold(p, is[i]) {
			return false
		}
	}
	return true
}

func admit(format string, args ...any) Decision {
	return Decision{Allowed: true, Rule: fmt.Sprintf(format, args...)}
}

func refuse(c Code, format string, args ...any) Decision {
	return Decision{Rule: fmt.Sprintf(format, args...), Code: c}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
