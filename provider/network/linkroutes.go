package network

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm/rp"
)

// linkRoutes are the operations of Private Link that are not on one stored resource (Network REST: Available
// Private Endpoint Types, Private Link Services), in a subscription and in a group of it.
func (p *Provider) linkRoutes() rp.Registration {
	var routes []rp.Route
	for _, scope := range []string{"/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{group}"} {
		at := scope + "/providers/Microsoft.Network/locations/{location}/"
		routes = append(routes, rp.Route{
			Method: http.MethodGet, Pattern: at + "availablePrivateEndpointTypes",
			Permission: "Microsoft.Network/locations/availablePrivateEndpointTypes/read", Versions: since("2019-04-01"), Do: p.endpointTypes,
		}, rp.Route{
			Method: http.MethodGet, Pattern: at + "autoApprovedPrivateLinkServices",
			Permission: "Microsoft.Network/locations/autoApprovedPrivateLinkServices/read", Versions: since("2019-04-01"), Do: autoApproved,
		}, rp.Route{
			Method: http.MethodPost, Pattern: at + "checkPrivateLinkServiceVisibility",
			Permission: "Microsoft.Network/locations/checkPrivateLinkServiceVisibility/action", Versions: since("2019-04-01"), Do: checkVisibility,
		})
	}
	return rp.Routes(routes...)
}

// endpointTypes lists the resource types that a private endpoint can lead to.
func (p *Provider) endpointTypes(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	type available struct {
		Name         string `json:"name"`
		ID           string `json:"id"`
		Type         string `json:"type"`
		ResourceName string `json:"resourceName"`
		DisplayName  string `json:"displayName"`
	}
	const kind = "Microsoft.Network/availablePrivateEndpointTypes"
	value := []available{}
	for _, t := range p.cfg.Targets.Available() {
		if t == LinkServiceType { // users' own, each to be named
			continue
		}
		name := strings.ReplaceAll(t, "/", ".")
		value = append(value, available{
			Name: name, ID: "/subscriptions/" + path["subscription"] + "/providers/" + kind + "/" + name, Type: kind, ResourceName: t, DisplayName: t,
		})
	}
	return map[string]any{"value": value}, nil
}
