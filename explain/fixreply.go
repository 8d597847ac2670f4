package explain

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/fabric"
)

// fixReply names what would bring the answer back. Most often it takes another way than what it answers, past a
// firewall that takes it for invalid, or what follows it: so one of the two ways has to change.
// https://learn.microsoft.com/azure/firewall/integrate-lb#asymmetric-routing
func fixReply(q Question, s situation, a Answer, e fabric.Explanation) []candidate {
	if e.By != fabric.FabricRule(fabric.RuleInvalid) {
		return fixNetwork(q, s, a.By, e)
	}
	back := a.flow.Reply
	to := back.Flow.Dst
	if r := userRoute(back.Steps); r != nil && !a.Reply.Allowed {
		return answerPast(s, r, to)
	}
	r := userRoute(a.flow.Steps)
	if r == nil {
		return advise("the answer takes another way than the connection, past %s, which has seen it begin", e.Namespace)
	}
	var out []candidate
	if back.Flow.From.Kind == fabric.AtNIC && r.Appliance.IsValid() {
		out = answerBy(s, back.Flow.From.ID, to, r)
	}
	// Or the connection goes straight there, as its answer comes.
	out = append(out, routeTo(s, r, a.flow.Flow.Dst, "", fabric.HopVNet)...)
	return append(out, advise("the way there leads by %s, and the answer does not: let the appliance translate the source (Azure Firewall does it in application rules), or route both ways alike", r.Appliance)...)
}

// userRoute is the first route of a route table that a packet took; nil if none did.
func userRoute(steps []fabric.Step) *fabric.EffectiveRoute {
	for _, s := range steps {
		if s.Route != nil && s.Route.Source == fabric.UserRouted {
			return s.Route
		}
	}
	return nil
}

// answerPast leads answers past the appliance that has not seen what they answer: those for the service whose tag has
// the caller, since its addresses change, those for the one address, or all.
func answerPast(s situation, r *fabric.EffectiveRoute, to netip.Addr) (out []candidate) {
	hop, tag := fabric.HopVNet, ""
	if !to.IsPrivate() {
		hop = fabric.HopInternet
		if in, ok := s.topology.Tags.Prefixes(machineLearning); ok && slices.ContainsFunc(in, func(p netip.Prefix) bool { return p.Contains(to) }) {
			tag = machineLearning
		}
	}
	if tag != "" {
		out = routeTo(s, r, to, tag, hop)
	}
	return append(out, append(routeTo(s, r, to, "", hop), withoutRoute(s, r)...)...)
}

// machineLearning is the tag of the service that calls nodes with a public address.
const machineLearning = "AzureMachineLearning"

// routeTo adds a route for one address, or for a tag, to the table that has another one.
func routeTo(s situation, r *fabric.EffectiveRoute, to netip.Addr, tag string, hop fabric.HopType) []candidate {
	table := s.topology.RouteTables[r.Table]
	if table == nil {
		return nil
	}
	u := fabric.UserRoute{Name: "to-" + strings.ReplaceAll(to.String(), ".", "-"), Prefix: one(to).String(), Hop: hop}
	if tag != "" {
		u.Name, u.Prefix = tag, tag
	}
	return []candidate{{Fix{
		What: fmt.Sprintf("route %s of %s leads past who has seen the connection: a route for %s takes precedence", r.Name, table.ID, u.Prefix),
		Commands: []string{fmt.Sprintf("az network route-table route create %s -n %s --address-prefix %s --next-hop-type %s",
			named("--route-table-name", table.ID), u.Name, u.Prefix, u.Hop)},
	}, s.withRoutes(table, append(slices.Clone(table.Routes), u))}}
}

func withoutRoute(s situation, r *fabric.EffectiveRoute) []candidate {
	table := s.topology.RouteTables[r.Table]
	if table == nil {
		return nil
	}
	return []candidate{{Fix{
		What:     fmt.Sprintf("route %s of %s leads the answer to an appliance that has not seen what it answers: delete it", r.Name, table.ID),
		Commands: []string{fmt.Sprintf("az network route-table route delete %s -n %s", named("--route-table-name", table.ID), r.Name)},
	}, s.withRoutes(table, slices.DeleteFunc(slices.Clone(table.Routes), func(u fabric.UserRoute) bool { return u.Name == r.Name }))}}
}

// withRoutes is the situation with other routes in a table.
func (s situation) withRoutes(table *fabric.RouteTable, routes []fabric.UserRoute) *situation {
	t := *s.topology
	t.RouteTables = maps.Clone(t.RouteTables)
	changed := *table
	changed.Routes = routes
	t.RouteTables[table.ID] = &changed
	return s.changed(&t)
}

// answerBy leads the answers of a NIC's subnet by the appliance that the way there has passed.
func answerBy(s situation, nicID string, to netip.Addr, r *fabric.EffectiveRoute) []candidate {
	_, nic := at(s.topology, fabric.Place{Kind: fabric.AtNIC, ID: nicID})
	id, err := arm.ParseID(nic.Subnet)
	if err != nil {
		return nil
	}
	u := fabric.UserRoute{Name: "to-" + strings.ReplaceAll(to.String(), ".", "-"), Prefix: one(to).String(), Hop: fabric.HopAppliance, Appliance: r.Appliance}
	var commands []string
	var subnet *fabric.Subnet
	t := withSubnet(s.topology, nic.Subnet, func(sub *fabric.Subnet) { subnet = sub })
	table := t.RouteTables[subnet.RouteTable]
	if table == nil {
		name := "rt-" + id.Name()
		scope := fmt.Sprintf("--subscription %s -g %s", id.Subscription(), id.ResourceGroup())
		table = &fabric.RouteTable{ID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/routeTables/%s", id.Subscription(), id.ResourceGroup(), name)}
		subnet.RouteTable = table.ID
		commands = append(commands, fmt.Sprintf("az network route-table create %s -n %s", scope, name),
			fmt.Sprintf("az network vnet subnet update %s --route-table %s", namedSubnet(nic.Subnet), name))
	}
	commands = append(commands, fmt.Sprintf("az network route-table route create %s -n %s --address-prefix %s --next-hop-type VirtualAppliance --next-hop-ip-address %s",
		named("--route-table-name", table.ID), u.Name, u.Prefix, r.Appliance))
	return []candidate{{Fix{
		What:     fmt.Sprintf("the way there leads by %s, and the answer of subnet %s past it: route answers back by it", r.Appliance, nic.Subnet),
		Commands: commands,
	}, s.changed(t).withRoutes(table, append(slices.Clone(table.Routes), u))}}
}
