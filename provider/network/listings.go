package network

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// listings are what the provider tells of a location, of a virtual network's use and of a subnet's services.
func (p *Provider) listings() []rp.Route {
	const (
		location  = "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/"
		grouped   = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network/locations/{location}/"
		vnet      = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + VNetType + "/{vnet}/"
		subnet    = vnet + "subnets/{subnet}/"
		perm      = "Microsoft.Network/locations/"
		endpoints = "virtualNetworkAvailableEndpointServices"
		aliases   = "availableServiceAliases"
		delegated = "availableDelegations"
	)
	get := func(pattern, permission string, do func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error)) rp.Route {
		return rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: permission, Versions: versions, Do: do}
	}
	return []rp.Route{
		get(location+endpoints, perm+endpoints+"/read", listEndpointServices),
		get(location+aliases, perm+aliases+"/read", listAliases),
		get(grouped+aliases, perm+aliases+"/read", listAliases),
		get(location+delegated, perm+delegated+"/read", listDelegations),
		get(grouped+delegated, perm+delegated+"/read", listDelegations),
		get(location+"usages", perm+"usages/read", usages),
		get(location+"serviceTags", perm+"serviceTags/read", p.listTags),
		get(location+"serviceTagDetails", perm+"serviceTagDetails/read", p.tagDetails),
		get(vnet+"usages", VNetType+"/usages/read", vnetUsages),
		get(subnet+"ResourceNavigationLinks", SubnetType+"/resourceNavigationLinks/read", listNavigationLinks),
		get(subnet+"ServiceAssociationLinks", SubnetType+"/serviceAssociationLinks/read", listServiceLinks),
	}
}

// normalLocation is a location as resources spell it: "West Europe" is westeurope.
func normalLocation(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, " ", ""))
}

// offer is an entry of a list of what the namespace offers.
func offer(subscription, typ, name string) map[string]any {
	return map[string]any{"id": "/subscriptions/" + subscription + "/providers/Microsoft.Network/" + typ + "/" + name, "name": name, "type": "Microsoft.Network/" + typ}
}

func listEndpointServices(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	value := []any{}
	for _, e := range endpointServices {
		value = append(value, offer(path["subscription"], "virtualNetworkEndpointServices", e.name))
	}
	return list(value), nil
}

func listAliases(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	value := []any{}
	for _, a := range serviceAliases {
		o := offer(path["subscription"], "AvailableServiceAliases", strings.ReplaceAll(strings.TrimPrefix(a, "/"), "/", ""))
		o["resourceName"] = a
		value = append(value, o)
	}
	return list(value), nil
}

func listDelegations(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	value := []any{}
	for _, service := range slices.Sorted(maps.Keys(delegable)) {
		o := offer(path["subscription"], "availableDelegations", strings.ReplaceAll(service, "/", "."))
		o["serviceName"], o["actions"] = service, delegable[service]
		value = append(value, o)
	}
	return list(value), nil
}

// vnetOf and subnetOf are the resources of a route's path.
func vnetOf(tx *rp.Tx, path map[string]string) (*rp.Resource[VNet], error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + VNetType + "/" + path["vnet"])
	if err != nil {
		return nil, err
	}
	return rp.Get[VNet](tx, id)
}

func subnetOf(tx *rp.Tx, path map[string]string) (*rp.Resource[Subnet], error) {
	vnet, err := vnetOf(tx, path)
	if err != nil {
		return nil, err
	}
	return rp.Get[Subnet](tx, vnet.ID.Child("subnets", path["subnet"]))
}

// listNavigationLinks: no service that stands here makes such links; those that do are of the time before
// delegation.
func listNavigationLinks(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	_, err := subnetOf(tx, path)
	return list([]any{}), err
}

func listServiceLinks(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	s, err := subnetOf(tx, path)
	if err != nil {
		return nil, err
	}
	links, err := shownLinks(tx, s)
	return list(links), err
}
