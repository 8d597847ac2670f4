package network

import (
	"context"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// Route is the properties of a route (Network REST: RoutePropertiesFormat).
type Route struct {
	AddressPrefix  string `json:"addressPrefix,omitempty"`
	NextHopType    string `json:"nextHopType"`
	NextHopAddress string `json:"nextHopIpAddress,omitempty"`
	// HasBGPOverride says that a route of a gateway has the same prefix and loses against this one.
	HasBGPOverride bool `json:"hasBgpOverride" rp:"readonly"`
}

// bgpOverride is the first version that shows hasBgpOverride.
const bgpOverride = "2020-07-01"

const (
	appliance     = "VirtualAppliance"
	applianceECMP = "VirtualApplianceEcmp"
)

// hops are the values of nextHopType, in Azure's spelling.
var hops = map[string]fabric.HopType{
	"VirtualNetworkGateway": fabric.HopGateway, "VnetLocal": fabric.HopVNet, "Internet": fabric.HopInternet,
	appliance: fabric.HopAppliance, "None": fabric.HopNone,
}

func (p *Provider) routeType() rp.Registration {
	list := make([]rp.Version[Route], len(versions))
	for i, name := range versions {
		list[i].Name = name
		if name < bgpOverride {
			list[i].Encode = encodeOldRoute
		}
	}
	return rp.Of(rp.Type[Route]{
		Name: RouteType, Kind: rp.Proxy, Versions: list, ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   func(_ string, r *rp.Resource[Route]) { r.Properties.normalise() },
		Validate:  func(_ rp.Op, new, _ *rp.Resource[Route]) error { return p.validateRoute(new) },
		Admit:     admitRoute,
		Reconcile: applied[Route](p),
		Finalize:  applied[Route](p),
	})
}

func encodeOldRoute(r *Route) (map[string]any, error) {
	m, err := tree(r)
	delete(m, "hasBgpOverride")
	return m, err
}

// normalise brings the type of the next hop into Azure's spelling.
func (r *Route) normalise() {
	for name := range hops {
		if strings.EqualFold(r.NextHopType, name) {
			r.NextHopType = name
		}
	}
}

func (p *Provider) validateRoute(r *rp.Resource[Route]) error {
	v := &r.Properties
	if strings.EqualFold(v.NextHopType, applianceECMP) {
		return arm.NotImplemented("Route %s: nextHopType %s is not implemented.", r.ID, applianceECMP)
	}
	if _, ok := hops[v.NextHopType]; !ok {
		return bad("InvalidRequestFormat", "Cannot parse the request: nextHopType of route %s is '%s'; it must be VirtualNetworkGateway, VnetLocal, Internet, VirtualAppliance or None.", r.ID, clip(v.NextHopType))
	}
	if err := p.validateDestination(v.AddressPrefix, r.ID); err != nil {
		return err
	}
	return validateNextHop(r)
}

// validateDestination takes an IPv4 prefix or a service tag.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#service-tags-for-user-defined-routes
func (p *Provider) validateDestination(text string, of arm.ID) error {
	if text == "" {
		return bad("AddressPrefixStringCannotBeNullOrEmpty", "Address prefix string for resource %s cannot be null or empty.", of)
	}
	if !strings.Contains(text, "/") && p.cfg.Tags != nil {
		if _, ok := p.cfg.Tags.Prefixes(text); ok {
			return nil
		}
	}
	_, err := parsePrefix(text, of)
	return err
}

func validateNextHop(r *rp.Resource[Route]) error {
	v := &r.Properties
	switch {
	case v.NextHopType == appliance && v.NextHopAddress == "":
		return bad("MissingNextHopIpAddress", "NextHopIpAddress cannot be Null or Empty in route %s when NextHopType is VirtualAppliance.", r.ID.Name())
	case v.NextHopType == appliance:
		if a, err := netip.ParseAddr(v.NextHopAddress); err != nil || !a.Is4() {
			return bad("InvalidIPAddressFormat", "NextHopIpAddress '%s' of route %s is not an IPv4 address.", clip(v.NextHopAddress), r.ID.Name())
		}
	case v.NextHopAddress != "":
		return bad("NextHopIpAddressNotAllowed", "NextHopIpAddress of route %s is %s: it is only allowed when NextHopType is VirtualAppliance, not %s.", r.ID.Name(), clip(v.NextHopAddress), v.NextHopType)
	}
	return nil
}

func admitRoute(ctx context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Route]) error {
	if rp.Embedded(ctx) { // the table's own admission checks all routes together
		return nil
	}
	siblings, err := rp.List[Route](tx, RouteType, new.ID.Parent())
	if err != nil {
		return err
	}
	return routeFits(new, siblings)
}

// routeFits refuses a route to where another one of the table leads, and one too many.
func routeFits(r *rp.Resource[Route], others []*rp.Resource[Route]) error {
	count := 1
	for _, o := range others {
		if o.ID.Key() == r.ID.Key() || o.State == arm.Deleting {
			continue
		}
		count++
		if strings.EqualFold(o.Properties.AddressPrefix, r.Properties.AddressPrefix) {
			return bad("RouteConflict", "Route: %s conflicts with Route: %s. Routes cannot have the same AddressPrefix.", r.ID.Name(), o.ID.Name())
		}
	}
	if count > maxRoutes {
		return bad("RouteCountLimitReached", "Route table %s cannot have more than %d routes.", r.ID.Parent(), maxRoutes)
	}
	return nil
}

// compile is the route as the fabric has it.
func (r *Route) compile(name string) fabric.UserRoute {
	u := fabric.UserRoute{Name: name, Prefix: r.AddressPrefix, Hop: hops[r.NextHopType]}
	if a, err := netip.ParseAddr(r.NextHopAddress); err == nil {
		u.Appliance = a
	}
	return u
}
