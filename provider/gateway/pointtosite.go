package gateway

import (
	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// ClientConfig is the point-to-site part (VpnClientConfiguration).
type ClientConfig struct {
	Pool         *AddressSpace `json:"vpnClientAddressPool,omitempty"`
	Protocols    []string      `json:"vpnClientProtocols,omitempty"`
	AuthTypes    []string      `json:"vpnAuthenticationTypes,omitempty"`
	Roots        []any         `json:"vpnClientRootCertificates"`
	Revoked      []Revoked     `json:"vpnClientRevokedCertificates"`
	RadiusSecret string        `json:"radiusServerSecret,omitempty" rp:"secret"`
}

// Revoked is a client that may not connect any more: by its name or its thumbprint.
type Revoked struct {
	ID         string `json:"id,omitempty"`
	Name       string `json:"name"`
	Properties struct {
		Thumbprint string `json:"thumbprint"`
		State      string `json:"provisioningState,omitempty"`
	} `json:"properties"`
}

func (v *Gateway) validateClients(of arm.ID) error {
	c := v.Clients
	if c == nil {
		return nil
	}
	if v.GatewayType != "Vpn" {
		return bad("InvalidRequestFormat", "vpnClientConfiguration of %s: an ExpressRoute gateway has no VPN clients.", of)
	}
	pool, err := prefixes(c.Pool, "vpnClientAddressPool", of)
	switch {
	case err != nil:
		return err
	case len(pool) == 0:
		return bad("VpnClientAddressPoolNotSpecified", "Vpn client addresspool is not specified for gateway %s.", of)
	}
	for _, p := range pool {
		if p.Bits() > 29 {
			return bad("InvalidRequestFormat", "Address prefix %s in vpnClientAddressPool of %s is smaller than /29.", p, of)
		}
	}
	return distinct(pool, "vpnClientAddressPool", of)
}

// poolIsApart refuses a client address pool inside the network that the clients are to reach.
func (v *Gateway) poolIsApart(vnet *rp.Resource[network.VNet], of arm.ID) error {
	if v.Clients == nil {
		return nil
	}
	pool, err := prefixes(v.Clients.Pool, "vpnClientAddressPool", of)
	if err != nil {
		return err
	}
	space, err := prefixes(&vnet.Properties.AddressSpace, "addressSpace", vnet.ID)
	if err != nil {
		return err
	}
	for _, a := range pool {
		for _, b := range space {
			if a.Overlaps(b) {
				return bad("VpnClientAddressPoolOverlapsWithVnetAddressSpace", "The virtual network gateway's VPN client address pool overlaps with the virtual network's address space. The overlapping address space prefixes are %s and %s.", a, b)
			}
		}
	}
	return nil
}
