package networkwatcher

import (
	"context"
	"net/netip"
	"slices"

	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// hopQuestion is the body of nextHop (Network REST: NextHopParameters).
type hopQuestion struct {
	Target      string `json:"targetResourceId"`
	Interface   string `json:"targetNicResourceId"`
	Source      string `json:"sourceIPAddress"`
	Destination string `json:"destinationIPAddress"`
}

func (q *hopQuestion) check(tx *rp.Tx, w *rp.Resource[Watcher]) error {
	var err error
	if q.Interface, err = eitherInterface(tx, w, q.Target, q.Interface); err != nil {
		return err
	}
	if _, err := parseAddr("sourceIPAddress", q.Source); err != nil {
		return err
	}
	_, err = parseAddr("destinationIPAddress", q.Destination)
	return err
}

// systemRoute is what Network Watcher writes for the table of a route that no user made.
const systemRoute = "System Route"

// nextHop tells where an interface's packets to an address go next (Network REST: NextHopResult).
func (p *Provider) nextHop(_ context.Context, w explain.World, q *hopQuestion) (any, error) {
	s, err := find(w.Topology, firstOf(q.Interface, q.Target))
	if err != nil {
		return nil, err
	}
	dst, err := parseAddr("destinationIPAddress", q.Destination)
	if err != nil {
		return nil, err
	}
	if src, err := parseAddr("sourceIPAddress", q.Source); err != nil || !slices.Contains(s.nic.Addrs, src) {
		return nil, bad("InvalidRequestFormat", "The property 'sourceIPAddress' is '%s', which is no address of %s.", q.Source, s.nic.ID)
	}
	answer := map[string]any{"nextHopType": fabric.HopNone.String(), "routeTableId": systemRoute}
	var best *fabric.EffectiveRoute
	for _, r := range fabric.EffectiveRoutes(w.Topology, s.subnet.ID) {
		if r.Active && r.Prefix.Contains(dst) && (best == nil || r.Prefix.Bits() > best.Prefix.Bits()) {
			best = &r
		}
	}
	if best == nil {
		return answer, nil
	}
	answer["nextHopType"] = best.Hop.String()
	if best.Appliance.IsValid() {
		answer["nextHopIpAddress"] = best.Appliance.String()
	}
	if best.Table != "" {
		answer["routeTableId"] = best.Table
	}
	return answer, nil
}

// effectiveRoute is one line of effectiveRouteTable (Network REST: EffectiveRoute).
type effectiveRoute struct {
	Name       string   `json:"name,omitempty"`
	IgnoreBGP  bool     `json:"disableBgpRoutePropagation"`
	Source     string   `json:"source"`
	State      string   `json:"state"`
	Prefixes   []string `json:"addressPrefix"`
	Appliances []string `json:"nextHopIpAddress"`
	Hop        string   `json:"nextHopType"`
}

// effectiveRoutes is effectiveRouteTable: the routes of the interface's subnet in the order of their prefixes. The
// prefixes of one service tag, or of one service endpoint, make one line.
func effectiveRoutes(w explain.World, s standing) any {
	table := w.Topology.RouteTables[s.subnet.RouteTable]
	out := []effectiveRoute{}
	for _, r := range fabric.EffectiveRoutes(w.Topology, s.subnet.ID) {
		if r.Prefix == netip.PrefixFrom(fabric.WireServer, 32) || r.Prefix == netip.PrefixFrom(fabric.IMDS, 32) {
			continue
		}
		line := effectiveRoute{
			Name: r.Name, IgnoreBGP: table != nil && table.IgnoreGateway, Source: r.Source.String(), State: "Active", Hop: r.Hop.String(),
			Prefixes: []string{r.Prefix.String()}, Appliances: []string{},
		}
		if !r.Active {
			line.State = "Invalid"
		}
		if r.Appliance.IsValid() {
			line.Appliances = []string{r.Appliance.String()}
		}
		i := slices.IndexFunc(out, func(o effectiveRoute) bool {
			return o.Name == line.Name && o.Source == line.Source && o.State == line.State && o.Hop == line.Hop && (r.Tag != "" || r.Hop == fabric.HopService)
		})
		if i >= 0 {
			out[i].Prefixes = append(out[i].Prefixes, r.Prefix.String())
			continue
		}
		out = append(out, line)
	}
	return map[string]any{"value": out}
}
