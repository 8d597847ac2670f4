package network

import (
	"context"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// usageName is the name of a usage, for programs and for people.
func usageName(value, localized string) map[string]string {
	return map[string]string{"value": value, "localizedValue": localized}
}

// vnetUsages says of each subnet how many addresses it has and how many are taken (Network REST: Virtual
// Networks, List Usage).
func vnetUsages(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	vnet, err := vnetOf(tx, path)
	if err != nil {
		return nil, err
	}
	subnets, err := rp.List[Subnet](tx, SubnetType, vnet.ID)
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, s := range subnets {
		used, limit, err := space(tx, s)
		if err != nil {
			return nil, err
		}
		value = append(value, map[string]any{
			"id": s.ID.String(), "name": usageName("SubnetSpace", "Subnet size and usage"), "unit": "Count", "currentValue": used, "limit": limit,
		})
	}
	return list(value), nil
}

// space is how many addresses of a subnet are taken, and how many it gives in all.
func space(tx *rp.Tx, s *rp.Resource[Subnet]) (used, limit int, err error) {
	prefixes, err := parsePrefixes(s.Properties.prefixes(), s.ID)
	if err != nil {
		return 0, 0, err
	}
	for _, p := range prefixes {
		limit += 1<<(32-p.Bits()) - reserved - 1
	}
	held, err := allocations(tx, s.ID)
	return len(held), limit, err
}

// quotas are Azure's default limits of a subscription in a region, in the order in which it lists them. What
// does not exist here is not listed.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits
var quotas = []struct {
	name, localized string
	limit           int
	count           func(*rp.Tx, arm.ID, string) (int, error)
}{
	{"VirtualNetworks", "Virtual Networks", 1000, counted[VNet](VNetType, nil)},
	{"StaticPublicIPAddresses", "Static Public IP Addresses", 1000, counted(PublicIPType, func(r *rp.Resource[PublicIP]) bool { return r.Properties.Allocation == "Static" })},
	{"NetworkSecurityGroups", "Network Security Groups", 5000, counted[NSG](NSGType, nil)},
	{"PublicIPAddresses", "Public IP Addresses", 1000, counted[PublicIP](PublicIPType, nil)},
	{"PublicIpPrefixes", "Public Ip Prefixes", 2147483647, counted[PublicIPPrefix](PublicIPPrefixType, nil)},
	{"NatGateways", "Nat Gateways", 1000, counted[NATGateway](NATGatewayType, nil)},
	{"NetworkInterfaces", "Network Interfaces", 65536, counted[Interface](NICType, nil)},
	{"PrivateEndpoints", "Private Endpoints", 65536, counted[Endpoint](EndpointType, nil)},
	{"RouteTables", "Route Tables", 200, counted[RouteTable](RouteTableType, nil)},
	{"ApplicationSecurityGroups", "Application Security Groups.", 3000, counted[ASG](ASGType, nil)},
	{"ServiceEndpointPolicies", "Service Endpoint Policies.", 500, counted[EndpointPolicy](EndpointPolicyType, nil)},
	{"StandardSkuPublicIpAddresses", "Public IPv4 Addresses - Standard", 1000, counted(PublicIPType, func(r *rp.Resource[PublicIP]) bool { return isSKU(r.SKU, "Standard") })},
}

// counted counts the resources of a type in a location of a subscription.
func counted[T any](typ string, which func(*rp.Resource[T]) bool) func(*rp.Tx, arm.ID, string) (int, error) {
	return func(tx *rp.Tx, subscription arm.ID, location string) (int, error) {
		all, err := rp.List[T](tx, typ, subscription)
		n := 0
		for _, r := range all {
			if r.Location == location && (which == nil || which(r)) {
				n++
			}
		}
		return n, err
	}
}

// usages are what a subscription has of its limits in a location (Network REST: Usages, List).
func usages(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	subscription, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	location := normalLocation(path["location"])
	value := []any{}
	for _, q := range quotas {
		n, err := q.count(tx, subscription, location)
		if err != nil {
			return nil, err
		}
		value = append(value, map[string]any{
			"id":           subscription.String() + "/providers/Microsoft.Network/locations/" + location + "/usages/" + q.name,
			"currentValue": n, "limit": q.limit, "name": usageName(q.name, q.localized), "unit": "Count",
		})
	}
	return list(value), nil
}

// list is the answer of an operation that lists.
func list[T any](value []T) map[string]any {
	return map[string]any{"value": slices.Concat([]T{}, value)}
}
