package network

import (
	"slices"
	"strings"

	"vauban.dev/arm"
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
