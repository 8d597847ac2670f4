package explain

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/fabric"
)

// fixNetwork names what would take a refused packet further: the rule's own kind decides which change.
func fixNetwork(q Question, s situation, by string, e fabric.Explanation) []candidate {
	if e.By == (fabric.RuleRef{}) {
		return advise("the packet cannot be followed: %s", by)
	}
	if e.By.Direction == fabric.Routing {
		return fixUserRoute(s, q, e)
	}
	if e.By.Direction == fabric.Through {
		return fixFirewall(s, e)
	}
	if e.By.Owner != fabric.FabricOwner {
		return fixSecurityRule(s, e)
	}
	_, nic := at(s.topology, q.From)
	switch e.By.Rule {
	case fabric.RuleNoOutbound:
		return fixOutbound(s, nic, e)
	case fabric.RuleNoInbound:
		return fixInbound(s, e)
	case fabric.RuleNoRoute:
		return fixRoute(s, q, e)
	case fabric.RuleForwarded:
		return fixForwarded(s, e)
	case fabric.RulePeering:
		return advise("peerings lead to the peered virtual network only, not through it: peer the two networks with each other, or route by an appliance or a gateway in the one between")
	case fabric.RuleLoop:
		return advise("the routes lead the packet round in circles: look at the route tables on its way, each of which is a step above")
	case fabric.RuleNoBackend:
		return advise("the load balancer has no rule for port %d of %s, or no backend that its probe finds healthy", e.Flow.DstPort, e.Flow.Dst)
	case fabric.RuleHairpin:
		return advise("a backend that calls its own internal load balancer is sometimes given itself, and then gets no answer, as in Azure: call the other backends in another way")
	case fabric.RuleEndpointPort:
		return fixEndpointPort(s, e)
	case fabric.RulePlatform:
		return advise("%s is the platform's: DNS answers at port 53 of %s, metadata at port 80 of %s, and nothing else", e.Flow.Dst, fabric.WireServer, fabric.IMDS)
	case fabric.RuleProtocol:
		return advise("virtual networks carry TCP, UDP, ICMP, ESP and AH to one address, as Azure's do: no IP in IP, GRE or IGMP; put it into UDP")
	case fabric.RuleAntiSpoof:
		return advise("Azure drops packets whose source is not an address of the sending interface")
	}
	return advise("%s refuses it", e.By)
}

// Priorities that users may give (Microsoft.Network securityRules).
const (
	firstPriority = 100
	lastPriority  = 4096
)

// fixSecurityRule puts an allowing rule before the one that refused, as narrow as possible.
func fixSecurityRule(s situation, e fabric.Explanation) []candidate {
	group := s.topology.NSGs[e.By.Owner]
	if group == nil {
		return advise("network security group %s is missing", e.By.Owner)
	}
	priority := freePriority(group, e.By)
	if priority == 0 {
		return advise("no priority is left before rule %s of %s: change or delete that rule", e.By.Rule, e.By.Owner)
	}
	src, dst := e.Source, e.Flow.Dst
	if e.By.Direction == fabric.Inbound {
		_, dst = behind(s.topology, dst)
	}
	var out []candidate
	for _, peers := range [][2]string{{src.String(), platformTag(dst)}, {src.String(), "*"}, {"*", platformTag(dst)}, {"*", "*"}} {
		rule := fabric.Rule{
			Name: "Allow-" + ruleName(e.Flow), Priority: priority, Direction: e.By.Direction, Allow: true, Protocol: e.Flow.Protocol,
			Source: []string{peers[0]}, Destination: []string{peers[1]}, SourcePorts: []string{"*"}, DestinationPorts: []string{"*"},
		}
		if e.Flow.DstPort != 0 {
			rule.DestinationPorts = []string{strconv.Itoa(int(e.Flow.DstPort))}
		}
		t := *s.topology
		t.NSGs = maps.Clone(t.NSGs)
		t.NSGs[group.ID] = &fabric.NSG{ID: group.ID, Rules: append(slices.Clone(group.Rules), rule)}
		out = append(out, candidate{Fix{
			What: fmt.Sprintf("allow it in %s before rule %s (priority %d) refuses it", group.ID, e.By.Rule, priorityOf(group, e.By)),
			Commands: []string{fmt.Sprintf("az network nsg rule create %s -n %s --priority %d --direction %s --access Allow --protocol %s --source-address-prefixes %s --source-port-ranges '*' --destination-address-prefixes %s --destination-port-ranges %s",
				named("--nsg-name", group.ID), rule.Name, priority, rule.Direction, rule.Protocol, quote(peers[0]), quote(peers[1]), quote(rule.DestinationPorts[0]))},
		}, s.changed(&t)})
	}
	return out
}

func quote(s string) string {
	if s == "*" {
		return "'*'"
	}
	return s
}

func ruleName(f fabric.Flow) string {
	name := f.Protocol.String() + "-" + strings.ReplaceAll(f.Dst.String(), ".", "-")
	if f.DstPort != 0 {
		name += "-" + strconv.Itoa(int(f.DstPort))
	}
	return name
}

// platformTag: rules reach the platform's addresses by their tags alone.
func platformTag(a netip.Addr) string {
	switch a {
	case fabric.WireServer:
		return fabric.TagPlatformDNS
	case fabric.IMDS:
		return fabric.TagPlatformIMDS
	}
	return a.String()
}

// behind is the NIC that has a public address, and the private one that security rules see instead; nil if
// no NIC has it.
func behind(t *fabric.Topology, public netip.Addr) (*fabric.NIC, netip.Addr) {
	for i := range t.VNets {
		for j := range t.VNets[i].NICs {
			n := &t.VNets[i].NICs[j]
			for _, p := range n.Public {
				if p.Public == public {
					return n, p.Private
				}
			}
		}
	}
	return nil, public
}

func priorityOf(g *fabric.NSG, ref fabric.RuleRef) int {
	for _, r := range slices.Concat(g.Rules, fabric.DefaultRules()) {
		if r.Name == ref.Rule && r.Direction == ref.Direction {
			return r.Priority
		}
	}
	return 0
}

// freePriority is the highest one before a rule that no other rule of its direction has; 0 if there is none.
func freePriority(g *fabric.NSG, ref fabric.RuleRef) int {
	taken := map[int]bool{}
	for _, r := range g.Rules {
		taken[r.Priority] = taken[r.Priority] || r.Direction == ref.Direction
	}
	for p := min(priorityOf(g, ref)-1, lastPriority); p >= firstPriority; p-- {
		if !taken[p] {
			return p
		}
	}
	return 0
}

// withSubnet is a copy of the topology with a changed subnet.
func withSubnet(t *fabric.Topology, id string, change func(*fabric.Subnet)) *fabric.Topology {
	out := *t
	out.VNets = slices.Clone(t.VNets)
	for i := range out.VNets {
		for j := range out.VNets[i].Subnets {
			if out.VNets[i].Subnets[j].ID == id {
				out.VNets[i].Subnets = slices.Clone(out.VNets[i].Subnets)
				change(&out.VNets[i].Subnets[j])
			}
		}
	}
	return &out
}

// fixOutbound gives a subnet a way to the internet: a NAT gateway, whose effect on this connection is that of
// default outbound access.
func fixOutbound(s situation, nic fabric.NIC, e fabric.Explanation) []candidate {
	if e.Flow.Protocol != fabric.TCP && e.Flow.Protocol != fabric.UDP {
		return advise("only TCP and UDP leave by an address that interfaces share: give the interface a public address of its own")
	}
	t := withSubnet(s.topology, nic.Subnet, func(sub *fabric.Subnet) { sub.DefaultOutbound = true })
	id, err := arm.ParseID(nic.Subnet)
	if err != nil {
		return advise("subnet %s has no way out", nic.Subnet)
	}
	name := "nat-" + id.Name()
	scope := fmt.Sprintf("--subscription %s -g %s", id.Subscription(), id.ResourceGroup())
	return []candidate{{Fix{
		What: fmt.Sprintf("nothing leaves subnet %s: it has neither default outbound access nor a NAT gateway, and the interface no public address", nic.Subnet),
		Commands: []string{
			fmt.Sprintf("az network public-ip create %s -n %s --sku Standard --allocation-method Static", scope, name),
			fmt.Sprintf("az network nat gateway create %s -n %s --public-ip-addresses %s", scope, name, name),
			fmt.Sprintf("az network vnet subnet update %s --nat-gateway %s", namedSubnet(nic.Subnet), name),
		},
	}, s.changed(t)}}
}

// fixInbound opens a public address that no security group opens.
func fixInbound(s situation, e fabric.Explanation) []candidate {
	n, private := behind(s.topology, e.Flow.Dst)
	if n == nil {
		return advise("%s is an address to leave by: it takes no connections. Give the target a public address or a load balancer of its own", e.Flow.Dst)
	}
	id, err := arm.ParseID(n.Subnet)
	if err != nil {
		return advise("no network security group opens %s", e.Flow.Dst)
	}
	name, port := "nsg-"+id.Name(), "*"
	if e.Flow.DstPort != 0 {
		port = strconv.Itoa(int(e.Flow.DstPort))
	}
	group := &fabric.NSG{ID: id.Parent().String() + "/" + name, Rules: []fabric.Rule{{
		Name: "Allow-" + ruleName(e.Flow), Priority: firstPriority, Allow: true, Protocol: e.Flow.Protocol, Source: []string{e.Source.String()},
		Destination: []string{private.String()}, SourcePorts: []string{"*"}, DestinationPorts: []string{port},
	}}}
	t := withSubnet(s.topology, n.Subnet, func(sub *fabric.Subnet) { sub.NSG = group.ID })
	t.NSGs = map[string]*fabric.NSG{group.ID: group}
	maps.Copy(t.NSGs, s.topology.NSGs)
	scope := fmt.Sprintf("--subscription %s -g %s", id.Subscription(), id.ResourceGroup())
	return []candidate{{Fix{
		What: fmt.Sprintf("a standard public address is closed until a network security group opens it: give subnet %s one", n.Subnet),
		Commands: []string{
			fmt.Sprintf("az network nsg create %s -n %s", scope, name),
			fmt.Sprintf("az network nsg rule create %s --nsg-name %s -n Allow-%s --priority %d --direction Inbound --access Allow --protocol %s --source-address-prefixes %s --destination-address-prefixes %s --destination-port-ranges %s",
				scope, name, ruleName(e.Flow), firstPriority, e.Flow.Protocol, e.Source, private, quote(port)),
			fmt.Sprintf("az network vnet subnet update %s --network-security-group %s", namedSubnet(n.Subnet), name),
		},
	}, s.changed(t)}}
}

// fixUserRoute goes round a user route that drops the packet: by a route for the one address, where Azure's own routes lead there, or
// without it.
func fixUserRoute(s situation, q Question, e fabric.Explanation) []candidate {
	table := s.topology.RouteTables[e.By.Owner]
	if table == nil {
		return advise("route table %s is missing", e.By.Owner)
	}
	changed := func(routes []fabric.UserRoute) *situation {
		t := *s.topology
		t.RouteTables = maps.Clone(t.RouteTables)
		copied := *table
		copied.Routes = routes
		t.RouteTables[table.ID] = &copied
		return s.changed(&t)
	}
	name, prefix := "to-"+strings.ReplaceAll(e.Flow.Dst.String(), ".", "-"), one(e.Flow.Dst).String()
	var out []candidate
	around := func(hop fabric.HopType) {
		out = append(out, candidate{Fix{
			What: fmt.Sprintf("route %s of %s drops it: a route for the one address takes precedence", e.By.Rule, table.ID),
			Commands: []string{fmt.Sprintf("az network route-table route create %s -n %s --address-prefix %s --next-hop-type %s",
				named("--route-table-name", table.ID), name, prefix, hop)},
		}, changed(append(slices.Clone(table.Routes), fabric.UserRoute{Name: name, Prefix: prefix, Hop: hop}))})
	}
	switch vnet, _ := at(s.topology, q.From); {
	case !e.Flow.Dst.IsPrivate():
		around(fabric.HopInternet)
	case inReach(s.topology, vnet, e.Flow.Dst):
		around(fabric.HopVNet)
	} // else a route for the one address would lead nowhere either
	return append(out, candidate{Fix{
		What:     fmt.Sprintf("route %s of %s leads nowhere: delete it, or give it a next hop that forwards", e.By.Rule, table.ID),
		Commands: []string{fmt.Sprintf("az network route-table route delete %s -n %s", named("--route-table-name", table.ID), e.By.Rule)},
	}, changed(slices.DeleteFunc(slices.Clone(table.Routes), func(r fabric.UserRoute) bool { return r.Name == e.By.Rule }))})
}

// inReach reports whether an address is in the space of a virtual network or of one that it is peered with.
func inReach(t *fabric.Topology, vnet string, addr netip.Addr) bool {
	in := func(prefixes []netip.Prefix) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	i := slices.IndexFunc(t.VNets, func(v fabric.VNet) bool { return v.ID == vnet })
	return i >= 0 && (in(t.VNets[i].Prefixes) || slices.ContainsFunc(t.VNets[i].Peerings, func(p fabric.Peering) bool { return in(p.Prefixes) }))
}

// fixRoute peers the VNet with the one that has the address.
func fixRoute(s situation, q Question, e fabric.Explanation) []candidate {
	here, _ := at(s.topology, q.From)
	var there string
	for _, v := range s.topology.VNets {
		if slices.ContainsFunc(v.Prefixes, func(p netip.Prefix) bool { return p.Contains(e.Flow.Dst) }) {
			there = v.ID
		}
	}
	switch {
	case there == "" || there == here:
		return advise("nobody has the address %s where the connection begins: check the address, and whether its interface exists", e.Flow.Dst)
	case here == "":
		return advise("%s is a private address of %s: from the internet it is reached through a gateway, a Bastion host or a public address", e.Flow.Dst, there)
	}
	t := *s.topology
	t.VNets = slices.Clone(t.VNets)
	for i := range t.VNets {
		v := &t.VNets[i]
		remote := map[string]string{here: there, there: here}[v.ID]
		if remote == "" || slices.ContainsFunc(v.Peerings, func(p fabric.Peering) bool { return p.Remote == remote }) {
			continue
		}
		j := slices.IndexFunc(t.VNets, func(o fabric.VNet) bool { return o.ID == remote })
		v.Peerings = append(slices.Clone(v.Peerings), fabric.Peering{ID: v.ID + "/virtualNetworkPeerings/fix", Remote: remote, Prefixes: t.VNets[j].Prefixes, Access: true})
	}
	peer := func(of, with string) string {
		id, err := arm.ParseID(with)
		if err != nil {
			return ""
		}
		return fmt.Sprintf("az network vnet peering create %s -n to-%s --remote-vnet %s --allow-vnet-access", named("--vnet-name", of), id.Name(), with)
	}
	return []candidate{{Fix{
		What:     fmt.Sprintf("%s is in %s, which is not peered with %s: peer both ways", e.Flow.Dst, there, here),
		Commands: []string{peer(here, there), peer(there, here)},
	}, s.changed(&t)}}
}

// fixForwarded lets a peering take what the peered network did not begin.
func fixForwarded(s situation, e fabric.Explanation) []candidate {
	at := e.Steps[len(e.Steps)-1].Where // the peering that refused
	t := *s.topology
	t.VNets = slices.Clone(t.VNets)
	for i := range t.VNets {
		t.VNets[i].Peerings = slices.Clone(t.VNets[i].Peerings)
		for j := range t.VNets[i].Peerings {
			p := &t.VNets[i].Peerings[j]
			if p.ID != at {
				continue
			}
			p.Forwarded = true
			id, err := arm.ParseID(p.ID)
			if err != nil {
				return advise("peering %s takes no forwarded traffic", p.ID)
			}
			return []candidate{{Fix{
				What: fmt.Sprintf("peering %s takes only what the peered network began: let it take forwarded traffic", p.ID),
				Commands: []string{fmt.Sprintf("az network vnet peering update --subscription %s -g %s --vnet-name %s -n %s --set allowForwardedTraffic=true",
					id.Subscription(), id.ResourceGroup(), id.Parent().Name(), id.Name())},
			}, s.changed(&t)}}
		}
	}
	return advise("the peering takes no forwarded traffic")
}

func fixEndpointPort(s situation, e fabric.Explanation) []candidate {
	for _, v := range s.topology.VNets {
		for _, n := range v.NICs {
			if n.Kind == fabric.Endpoint && slices.Contains(n.Addrs, e.Flow.Dst) {
				if n.Service == nil {
					return advise("the connection of private endpoint %s is not approved: its target's owner has to approve it", n.ID)
				}
				return advise("private endpoint %s takes TCP at port %s only", n.ID, strings.Trim(fmt.Sprint(n.Service.Ports), "[]"))
			}
		}
	}
	return advise("the private endpoint does not listen there")
}
