package network

import (
	"context"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/quota"
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

// limited is a quota of resources of a type, which Azure refuses beyond it with a code of its own.
func limited(name, localized string, limit int, typ, code, what string) quota.Quota {
	return quota.Quota{Namespace: "Microsoft.Network", Name: name, Localized: localized, Limit: limit, Type: typ,
		Refuse: func(_, _ string, limit int) *arm.Error {
			return bad(code, "Cannot create more than %d %s for this subscription in this region.", limit, what)
		}}
}

// staticAddresses and standardAddresses are parts of the public addresses.
const staticAddresses, standardAddresses = "StaticPublicIPAddresses", "StandardSkuPublicIpAddresses"

// Quotas are Azure's default limits of a subscription in a region, in the order in which it lists them. What
// does not exist here is not listed.
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits
func Quotas() []quota.Quota {
	return []quota.Quota{
		limited("VirtualNetworks", "Virtual Networks", 1000, VNetType, "VnetCountLimitReached", "virtual networks"),
		{Namespace: "Microsoft.Network", Name: staticAddresses, Localized: "Static Public IP Addresses", Limit: 1000},
		limited("NetworkSecurityGroups", "Network Security Groups", 5000, NSGType, "NetworkSecurityGroupCountLimitReached", "network security groups"),
		limited("PublicIPAddresses", "Public IP Addresses", 1000, PublicIPType, "PublicIPCountLimitReached", "public IP addresses"),
		limited("PublicIpPrefixes", "Public Ip Prefixes", 2147483647, PublicIPPrefixType, "PublicIpPrefixCountLimitReached", "public IP prefixes"),
		limited("NatGateways", "Nat Gateways", 1000, NATGatewayType, "NatGatewayCountLimitReached", "NAT gateways"),
		limited("NetworkInterfaces", "Network Interfaces", 65536, NICType, "NetworkInterfaceCountLimitReached", "network interfaces"),
		limited("PrivateEndpoints", "Private Endpoints", 65536, EndpointType, "PrivateEndpointCountLimitReached", "private endpoints"),
		limited("LoadBalancers", "Load Balancers", 1000, LoadBalancerType, "LoadBalancerCountLimitReached", "load balancers"),
		limited("RouteTables", "Route Tables", 200, RouteTableType, "RouteTableCountLimitReached", "route tables"),
		limited("ApplicationSecurityGroups", "Application Security Groups.", 3000, ASGType, "ApplicationSecurityGroupCountLimitReached", "application security groups"),
		limited("ServiceEndpointPolicies", "Service Endpoint Policies.", 500, EndpointPolicyType, "ServiceEndpointPolicyCountLimitReached", "service endpoint policies"),
		{Namespace: "Microsoft.Network", Name: standardAddresses, Localized: "Public IPv4 Addresses - Standard", Limit: 1000},
	}
}

// Taken counts the public addresses of one of the quotas of a part of them.
func Taken(tx *rp.Tx, subscription arm.ID, location string, q quota.Quota) (int, error) {
	return addressesOf(tx, subscription, location, q, arm.ID{})
}

// addressesOf counts the public addresses of one of the quotas of a part of them.
func addressesOf(tx *rp.Tx, subscription arm.ID, location string, q quota.Quota, except arm.ID) (int, error) {
	all, err := rp.List[PublicIP](tx, PublicIPType, subscription)
	n := 0
	for _, r := range all {
		if r.Location == location && r.ID.Key() != except.Key() && partOf(q, r) {
			n++
		}
	}
	return n, err
}

func partOf(q quota.Quota, r *rp.Resource[PublicIP]) bool {
	if q.Name == standardAddresses {
		return isSKU(r.SKU, "Standard")
	}
	return r.Properties.Allocation == "Static"
}

// withinQuota refuses a public address of a part of which the subscription has all.
func withinQuota(tx *rp.Tx, r *rp.Resource[PublicIP]) error {
	subscription, err := arm.ParseID("/subscriptions/" + r.ID.Subscription())
	if err != nil {
		return err
	}
	for _, q := range Quotas() {
		if q.Type != "" || !partOf(q, r) {
			continue
		}
		limit, err := quota.Limit(tx, r.ID.Subscription(), r.Location, q)
		if err != nil {
			return err
		}
		used, err := addressesOf(tx, subscription, r.Location, q, r.ID)
		switch {
		case err != nil:
			return err
		case used < limit:
		case q.Name == staticAddresses:
			return bad("StaticPublicIPCountLimitReached", "Cannot create more than %d public IP addresses with static allocation method for this subscription in this region.", limit)
		default:
			return bad("StandardSkuPublicIpCountLimitReached", "Cannot create more than %d public IP addresses of the Standard SKU for this subscription in this region.", limit)
		}
	}
	return nil
}

// usages are what a subscription has of its limits in a location (Network REST: Usages, List).
func usages(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	subscription, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	location := normalLocation(path["location"])
	all, err := quota.Usages(tx, path["subscription"], location, Quotas(), func(q quota.Quota) (int, error) {
		return Taken(tx, subscription, location, q)
	})
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, u := range all {
		shown := u.Shown()
		shown["id"] = subscription.String() + "/providers/Microsoft.Network/locations/" + location + "/usages/" + u.Name
		value = append(value, shown)
	}
	return list(value), nil
}

// list is the answer of an operation that lists.
func list[T any](value []T) map[string]any {
	return map[string]any{"value": append([]T{}, value...)} // an empty list is none that is missing
}
