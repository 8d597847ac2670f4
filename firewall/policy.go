package firewall

import (
	"slices"
	"strings"

	"vauban.dev/origin"
)

// EndpointPolicy is a service endpoint policy of a subnet: which resources its service endpoints reach. One without
// any reaches none.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-service-endpoint-policies-overview
type EndpointPolicy struct {
	ID string
	// Resources are ids of resources, and of resource groups and subscriptions that hold them.
	Resources []string
}

// decidePolicies asks the policies of the caller's subnet. They judge service endpoints only: other ways out of the
// subnet are for its rules and routes.
func decidePolicies(r Rules, o origin.Origin) Decision {
	if o.Kind != origin.ServiceEndpoint || r.Policies == nil {
		return admit("no service endpoint policy applies")
	}
	policies, err := r.Policies(o.Subnet)
	if err != nil {
		return refuse(NotInPolicy, "the service endpoint policies of subnet %s cannot be read", o.Subnet)
	}
	if len(policies) == 0 {
		return admit("subnet %s has no service endpoint policy", o.Subnet)
	}
	ids := make([]string, len(policies))
	for i, p := range policies {
		if slices.ContainsFunc(p.Resources, func(scope string) bool { return within(r.ResourceID, scope) }) {
			return admit("service endpoint policy %s of subnet %s names the resource", p.ID, o.Subnet)
		}
		ids[i] = p.ID
	}
	return refuse(NotInPolicy, "no definition of the service endpoint policies of subnet %s (%s) names the resource", o.Subnet, strings.Join(ids, ", "))
}

// within reports whether id is scope or lies under it.
func within(id, scope string) bool {
	id, scope = strings.ToLower(strings.Trim(id, "/")), strings.ToLower(strings.Trim(scope, "/"))
	return scope != "" && (id == scope || strings.HasPrefix(id, scope+"/"))
}
