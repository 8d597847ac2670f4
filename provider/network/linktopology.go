package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/provider/privatelink"
)

// service is what answers behind an approved endpoint: HTTPS for the region's own services, the ports of the
// load balancer for a private link service; nil where nothing does.
func (b *builder) service(target arm.ID, group string) (*fabric.Service, error) {
	if !strings.EqualFold(target.Type().String(), LinkServiceType) {
		return &fabric.Service{Target: target.String(), GroupID: group, Ports: httpsPorts}, nil
	}
	s, err := privatelink.Live[LinkService](b.tx, target)
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	frontend, err := arm.ParseID(s.Properties.Frontends[0].ID)
	if err != nil {
		return nil, err
	}
	parts, err := siblings(b.tx, frontend)
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ports []uint16
	for _, r := range parts.rules {
		if v := &r.Properties; v.Frontend.is(frontend) && v.Protocol == "Tcp" {
			ports = append(ports, uint16(v.FrontendPort))
		}
	}
	if len(ports) == 0 {
		return nil, nil
	}
	slices.Sort(ports)
	return &fabric.Service{Target: s.ID.String(), Ports: ports}, nil
}

// Relay is how the connections to a private endpoint are carried to a private link service.
type Relay struct {
	Service       string // the service's id, as the topology has it
	ProxyProtocol bool   // a header tells the backend who calls
	LinkID        uint32 // of the endpoint's connection, for that header
}

// Relays are those of all endpoints with an approved connection to a private link service, by endpoint id.
func Relays(tx *rp.Tx) (map[string]Relay, error) {
	endpoints, err := staying[Endpoint](tx, EndpointType, root)
	if err != nil {
		return nil, err
	}
	out := map[string]Relay{}
	for _, e := range endpoints {
		target, err := e.Properties.target()
		if err != nil {
			return nil, err
		}
		if !strings.EqualFold(target.Type().String(), LinkServiceType) {
			continue
		}
		s, err := privatelink.Live[LinkService](tx, target)
		if notFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := rp.Get[privatelink.Connection](tx, target.Child("privateEndpointConnections", e.Properties.ConnectionName))
		if notFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		link, err := strconv.ParseUint(c.Properties.LinkID, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("stored link identifier of %s: %w", c.ID, err)
		}
		if c.Properties.State.Status == "Approved" {
			out[e.ID.String()] = Relay{Service: s.ID.String(), ProxyProtocol: s.Properties.ProxyProtocol, LinkID: uint32(link)}
		}
	}
	return out, nil
}

// linkServices translates the private link services whose load balancer is in the topology.
func (b *builder) linkServices() error {
	services, err := staying[LinkService](b.tx, LinkServiceType, root)
	if err != nil {
		return err
	}
	for _, s := range services {
		out := fabric.LinkService{ID: s.ID.String()}
		for i := range b.loadBalancers {
			for _, f := range b.loadBalancers[i].Frontends {
				if s.Properties.Frontends[0].isText(f.ID) {
					out.VNet, out.Frontend = b.loadBalancers[i].VNet, f.ID
				}
			}
		}
		if out.Frontend == "" {
			continue // its network is going
		}
		n := fabric.NIC{ID: out.ID, Kind: fabric.Endpoint}
		for _, c := range s.Properties.Configs {
			a, err := netip.ParseAddr(c.Properties.Address)
			if err != nil {
				return fmt.Errorf("stored address of %s: %w", linkConfigID(s.ID, c.Name), err)
			}
			n.Addrs = append(n.Addrs, a)
		}
		if err := b.attach(s.Properties.Configs[0].Properties.Subnet.ID, n); err != nil {
			return err
		}
		b.services = append(b.services, out)
	}
	return nil
}
