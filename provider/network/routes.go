package network

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"vauban.dev/arm/rp"
)

// routes are the operations that are not on one stored resource.
func (p *Provider) routes() rp.Registration {
	return rp.Routes(
		rp.Route{
			Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + VNetType + "/{vnet}/CheckIPAddressAvailability",
			Permission: VNetType + "/checkIpAddressAvailability/read", Versions: versions, Do: checkAddress,
		},
		rp.Route{
			Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/CheckDnsNameAvailability",
			Permission: "Microsoft.Network/locations/checkDnsNameAvailability/read", Versions: versions, Do: checkLabel,
		},
	)
}

// checkAddress says whether an address of a virtual network is free, and names up to five that are.
func checkAddress(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	var text string
	for k, v := range query {
		if strings.EqualFold(k, "ipAddress") {
			text = v
		}
	}
	want, err := netip.ParseAddr(text)
	if err != nil {
		return nil, bad("InvalidIPAddressFormat", "IP address '%s' is not valid.", clip(text))
	}
	vnet, err := vnetOf(tx, path)
	if err != nil {
		return nil, err
	}
	subnets, err := rp.List[Subnet](tx, SubnetType, vnet.ID)
	if err != nil {
		return nil, err
	}
	for _, s := range subnets {
		answer, found, err := availability(tx, s, want)
		if err != nil || found {
			return answer, err
		}
	}
	return nil, bad("PrivateIPAddressNotInAnySubnet", "Private static IP address %s does not belong to the range of any subnet in the virtual network %s.", want, vnet.ID.Name())
}

func availability(tx *rp.Tx, s *rp.Resource[Subnet], want netip.Addr) (answer any, found bool, err error) {
	const suggestions = 5
	prefixes, err := parsePrefixes(s.Properties.prefixes(), s.ID)
	if err != nil {
		return nil, false, err
	}
	held, err := allocations(tx, s.ID)
	if err != nil {
		return nil, false, err
	}
	by := map[netip.Addr]bool{}
	for _, h := range held {
		by[h.Addr] = true
	}
	for _, pre := range prefixes {
		if !pre.Contains(want) {
			continue
		}
		platform := isReserved(pre, want)
		if !by[want] && !platform {
			return map[string]any{"available": true}, true, nil
		}
		free := []string{}
		for a := range usable(pre) {
			if len(free) == suggestions {
				break
			}
			if !by[a] {
				free = append(free, a.String())
			}
		}
		return map[string]any{"available": false, "availableIPAddresses": free, "isPlatformReserved": platform}, true, nil
	}
	return nil, false, nil
}

// checkLabel says whether a domain name label of a public address is free in a region.
func checkLabel(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	want := ""
	for k, v := range query {
		if strings.EqualFold(k, "domainNameLabel") {
			want = v
		}
	}
	if !label.MatchString(want) {
		return nil, badLabel(want)
	}
	ip, err := PublicIPByLabel(tx, want, normalLocation(path["location"]))
	return map[string]any{"available": ip == nil}, err
}
