package fabric

import (
	"fmt"
	"net/netip"
	"slices"

	"vauban.dev/fabric/internal/diagram"
)

// judged marks flows that the NSGs have let through: a change of rules touches new flows only, and
// unreplied UDP, which never becomes established, walks the rules once.
const judged = "0x1"

// router compiles one VNet to its router namespace.
type router struct {
	gate
	t          *Topology
	v          *VNet
	plan       *plan
	subnets    map[string]*Subnet
	roots      map[rootKey]string
	scopes     map[string]*scope // by subnet
	peers      []peer
	toPeers    []string                    // interfaces to peered VNets, quoted
	inbound    bool                        // public addresses of NICs
	ways       []string                    // kinds of protocol that some NIC leaves by
	endpointed bool                        // some NIC's subnet has a service endpoint
	effective  map[string][]EffectiveRoute // by subnet, once asked for
	routed     []*routed                   // subnets with other routes than Azure's own
	passing    bool                        // some NIC passes on the packets of others
	separated  bool                        // the chain of ownFlows is written
	arriving   bool                        // links lead to NICs of this VNet, whatever the destination
	lb         balancer
	limited    bool // the set of connectionLimit is declared
	linked     bool // some private link service sends here
	errors     bool // the chain of related is written
}

type rootKey struct {
	nsg   string
	dir   Direction
	scope string
}

func (r *router) namespace() (Namespace, error) {
	link := r.plan.transfer[r.v.ID]
	ns := Namespace{
		Name:    RouterNS(r.v.ID),
		Sysctls: forwarding(),
		Addrs:   []netip.Prefix{host(WireServer), host(IMDS), host(Gateway)},
		Routes:  []Route{{Type: "unicast", Dst: anywhere, Via: link.internet, Dev: UplinkInterface}},
	}
	for _, n := range r.v.NICs {
		for _, a := range n.Addrs {
			if n.Kind == Endpoint {
				ns.Addrs = append(ns.Addrs, host(a))
				continue
			}
			ns.Routes = append(ns.Routes, Route{Type: "unicast", Dst: host(a), Dev: NICNS(n.ID)})
		}
	}
	routeServices(&ns)
	r.peerings(&ns)
	r.routes()
	r.routeTables(&ns)
	r.routeMembers(&ns)
	sortPrefixes(ns.Addrs)
	sortRoutes(ns.Routes)
	if err := r.rules(); err != nil {
		return Namespace{}, err
	}
	ns.Objects = r.finish()
	ns.NFT = ruleset(ns.Objects)
	return ns, nil
}

// rules writes the whole table: what the chains look up, then the chains.
func (r *router) rules() error {
	r.balancers()
	r.addresses()
	if err := r.gates(); err != nil {
		return err
	}
	if err := r.platformGates(); err != nil {
		return err
	}
	r.forwarders()
	r.raw(r.routeMarking())
	r.serviceEndpoints()
	r.balanceEgress()
	r.nat()
	if err := r.links(); err != nil {
		return err
	}
	r.chain("pass", r.connectionLimit(), "ct mark set ct mark or "+judged+" accept")
	r.input()
	r.forward()
	return nil
}

// addresses writes who may send, what is routed nowhere, and what is translated to what.
func (r *router) addresses() {
	var sources, dnat, closed, endpoints, ports []string
	for i := range r.v.NICs {
		n := &r.v.NICs[i]
		if n.Kind == Endpoint {
			endpoints = append(endpoints, addrTexts(n.Addrs)...)
			ports = append(ports, listens(n)...)
			continue
		}
		for _, a := range n.Addrs {
			sources = append(sources, fmt.Sprintf("%q . %s", NICNS(n.ID), a))
		}
		for _, a := range r.lb.own[n.ID] {
			sources = append(sources, fmt.Sprintf("%q . %s", NICNS(n.ID), a))
		}
		for _, a := range n.Public {
			dnat = append(dnat, fmt.Sprintf("%s : %s", a.Public, a.Private))
		}
		if n.Firewall == nil && !n.Managed && n.NSG == "" && r.subnets[n.Subnet].NSG == "" {
			closed = append(closed, fmt.Sprintf("%q", NICNS(n.ID)))
		}
	}
	r.inbound = len(dnat) > 0
	r.set("sources", "ifname . ipv4_addr", sources)
	r.set("closed", "ifname", closed)
	r.outbound()
	r.mapping("dnat_to", "ipv4_addr : ipv4_addr", dnat)
	r.set("endpoints", "ipv4_addr", endpoints)
	r.set("endpoint_ports", "ipv4_addr . inet_service", ports)
	r.intervals("public", texts(r.plan.public[r.v.ID]))
	r.intervals("private", texts(neverPublic().Union(r.scope.space)))
}

func listens(n *NIC) (out []string) {
	if n.Service == nil {
		return nil
	}
	for _, a := range n.Addrs {
		for _, p := range n.Service.Ports {
			out = append(out, fmt.Sprintf("%s . %d", a, p))
		}
	}
	return out
}

// gates writes which NSG judges what: by NIC and by subnet, where traffic leaves and where it enters.
// They are separate lookups, so that what one allows the next still judges.
func (r *router) gates() error {
	g := map[string][]string{}
	attach := func(name, key, nsg string, s *Subnet, d Direction) error {
		if nsg == "" {
			return nil
		}
		root, err := r.rootOf(nsg, s, d)
		g[name] = append(g[name], key+" : jump "+root)
		return err
	}
	for i := range r.v.NICs {
		n := &r.v.NICs[i]
		subnet := r.subnets[n.Subnet]
		if n.Kind == Endpoint {
			if !subnet.EndpointPolicies {
				continue
			}
			for _, a := range n.Addrs {
				if err := attach("endpoint_subnet", a.String(), subnet.NSG, subnet, Inbound); err != nil {
					return err
				}
				if err := attach("endpoint_nic", a.String(), n.NSG, subnet, Inbound); err != nil {
					return err
				}
			}
			continue
		}
		for _, x := range []struct {
			name, nsg string
			d         Direction
		}{
			{"egress_nic", n.NSG, Outbound}, {"egress_subnet", subnet.NSG, Outbound},
			{"ingress_subnet", subnet.NSG, Inbound}, {"ingress_nic", n.NSG, Inbound},
		} {
			if err := attach(x.name, fmt.Sprintf("%q", NICNS(n.ID)), x.nsg, subnet, x.d); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"egress_nic", "egress_subnet", "ingress_subnet", "ingress_nic"} {
		r.mapping(name, "ifname : verdict", g[name])
	}
	for _, name := range []string{"endpoint_subnet", "endpoint_nic"} {
		r.mapping(name, "ipv4_addr : verdict", g[name])
	}
	return nil
}

// rootOf is the chain of an NSG's direction as it is meant at a subnet.
func (r *router) rootOf(nsg string, s *Subnet, d Direction) (string, error) {
	at := r.at(s)
	key := rootKey{nsg, d, at.scope.name}
	if name, ok := r.roots[key]; ok {
		return name, nil
	}
	name, err := at.root(r.t.NSGs[nsg], d)
	if err != nil {
		return "", err
	}
	r.roots[key] = name
	return name, nil
}

// at is the gate of a subnet.
func (r *router) at(s *Subnet) *gate {
	if r.scopes[s.ID] == nil {
		r.scopes[s.ID] = r.scope.at(r.t, r.v, s)
	}
	return &gate{table: r.table, scope: r.scopes[s.ID], build: r.build}
}

// platformGates writes which rules may refuse packets to the platform's addresses: those only that name
// them by AzurePlatformDNS or AzurePlatformIMDS.
func (r *router) platformGates() error {
	g, chains := map[string][]string{}, map[rootKey]string{}
	attach := func(name, nsg string, n *NIC) error {
		if nsg == "" {
			return nil
		}
		at := r.at(r.subnets[n.Subnet])
		key := rootKey{nsg, Outbound, at.scope.name}
		if _, ok := chains[key]; !ok {
			chain, err := at.platform(r.t.NSGs[nsg])
			if err != nil {
				return err
			}
			chains[key] = chain
		}
		if chains[key] != "" {
			g[name] = append(g[name], fmt.Sprintf("%q : jump %s", NICNS(n.ID), chains[key]))
		}
		return nil
	}
	for i := range r.v.NICs {
		n := &r.v.NICs[i]
		if n.Kind == Endpoint {
			continue
		}
		if err := attach("platform_nic", n.NSG, n); err != nil {
			return err
		}
		if err := attach("platform_subnet", r.subnets[n.Subnet].NSG, n); err != nil {
			return err
		}
	}
	r.mapping("platform_nic", "ifname : verdict", g["platform_nic"])
	r.mapping("platform_subnet", "ifname : verdict", g["platform_subnet"])
	return nil
}

// raw is before connection tracking: nobody sends what is not his. Admit is the statement for what is.
func (r *router) raw(admit string) {
	r.chain("from_uplink",
		"ip saddr @private "+r.drop(FabricRule(RuleAntiSpoof)),
		"ip daddr @public accept",
		r.drop(FabricRule(RuleNoInbound)))
	r.base("prerouting_raw", "filter hook prerouting priority -300; policy drop;", slices.Concat(r.fromPeers(admit), []string{
		fmt.Sprintf("meta l4proto %d iifname . ip saddr @sources %s", TCP, admit), // nearly every packet
		fmt.Sprintf("meta l4proto { %d, %d, %d, %d } iifname . ip saddr @sources %s", ICMP, UDP, ESP, AH, admit),
		"iifname . ip saddr @sources " + r.drop(FabricRule(RuleProtocol)),
		`iifname "lo" accept`,
		`meta nfproto ipv4 iifname "` + UplinkInterface + `" goto from_uplink`,
	}, r.fromForwarder(admit), []string{
		r.drop(FabricRule(RuleAntiSpoof)),
	})...)
}

// nat translates public addresses. Its hooks cost every connection of the router, also within the VNet, so
// they stand only where there is one.
func (r *router) nat() {
	lines := r.balanceNAT()
	if r.inbound {
		lines = append(lines, `iifname "`+UplinkInterface+`" dnat ip to ip daddr map @dnat_to`)
	}
	if len(lines) > 0 {
		r.base("prerouting_nat", "nat hook prerouting priority -100; policy accept;", lines...)
	}
	if r.inbound || len(r.ways) > 0 {
		r.base("postrouting_nat", "nat hook postrouting priority 100; policy accept;", r.leaveBy()...)
	}
}

// input is what ends in the router itself: private endpoints and the platform. It never passes the
// forward hook, so the same gates stand here.
func (r *router) input() {
	r.chain("to_endpoint",
		"iifname vmap @egress_nic",
		"iifname vmap @egress_subnet",
		"ip daddr vmap @endpoint_subnet",
		"ip daddr vmap @endpoint_nic",
		"ip daddr . tcp dport @endpoint_ports goto "+r.passEndpoint(),
		r.drop(FabricRule(RuleEndpointPort)))
	r.chain("to_platform",
		"iifname vmap @platform_nic",
		"iifname vmap @platform_subnet",
		fmt.Sprintf("ip daddr %s udp dport 53 goto pass", WireServer),
		fmt.Sprintf("ip daddr %s tcp dport { 53, 80 } goto pass", WireServer),
		fmt.Sprintf("ip daddr %s tcp dport 80 goto pass", IMDS),
		r.drop(FabricRule(RulePlatform)))
	r.base("input", "filter hook input priority 0; policy drop;", slices.Concat([]string{`iifname "lo" accept`}, r.fromPeersIn(), r.carriedIn(), r.ownFlows("iifname . ip saddr @sources "), r.known(), r.notFloating(""), r.toService(), []string{
		"ip daddr @endpoints goto to_endpoint",
		"goto to_platform"})...)
	r.base("output", "filter hook output priority 0; policy drop;", slices.Concat([]string{
		`oifname "lo" accept`,
		`oifname "` + UplinkInterface + `" ct direction reply ct state established,related ` + r.drop(FabricRule(RuleNoRoute)), // answers to nobody's address
		"ct state established,related accept",
	}, r.probing(), r.linking(), []string{r.drop(FabricRule(RuleRouter))})...)
}

// maxConnections is how many connections a NIC may have at a time. The kernel has room for some 262,000 in each
// router (nf_conntrack_max, which is the host's): none takes it all.
const maxConnections = 50_000

// connectionLimit refuses what the NSGs let pass when its sender has too many connections already.
func (r *router) connectionLimit() string {
	const set = "connections"
	if !r.limited {
		r.limited = true
		r.add(SetObject, set, []string{"type ifname", "size 65535", "flags dynamic"}, nil)
	}
	return fmt.Sprintf(`iifname != "%s" ct state new add @%s { iifname ct count over %d } %s`, UplinkInterface, set, maxConnections, r.drop(FabricRule(RuleConnections)))
}

// carried reports whether virtual networks carry a protocol, as Azure's do.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
func (p Protocol) carried() bool {
	return p == ICMP || p == TCP || p == UDP || p == ESP || p == AH
}

// related passes errors about a flow (ICMP) that one of its ends sends, or a router outside this network: a third
// NIC, which no group lets pass, would reach the flow's ends and break the flow.
func (r *router) related() string {
	const name = "related"
	if !r.errors {
		r.errors = true
		lines := []string{
			"iifname . ct original ip saddr @sources accept",
			"iifname . ct original ip daddr @sources accept",
			"iifname . ct reply ip saddr @sources accept",
			`iifname "` + UplinkInterface + `" accept`,
		}
		if r.passing { // it is a router itself
			lines = append(lines, "iifname @forwarders accept")
		}
		r.chain(name, append(append(lines, r.onLink("iifname", "accept")...), r.drop(FabricRule(RuleInvalid)))...)
	}
	return "ct state related goto " + name
}

// known passes what belongs to a flow that was judged before.
func (r *router) known() []string {
	return []string{
		"ct state established accept",
		r.related(),
		"ct mark and " + judged + " == " + judged + " accept",
		"ct state invalid " + r.drop(FabricRule(RuleInvalid)),
	}
}

// forward is what crosses the router: out of a NIC, then into a NIC or out to the internet.
func (r *router) forward() {
	r.chain("leave", slices.Concat(r.noBackend(), []string{
		`iifname "` + UplinkInterface + `" ` + r.drop(FabricRule(RuleNoInbound)),
		"ip daddr @private " + r.drop(FabricRule(RuleNoRoute)),
	}, r.notBeyond(), r.mayLeave())...)
	// What goes on to an address that has no way there any more: a peering was deleted, a gateway's route is gone.
	first := []string{`oifname "` + UplinkInterface + `" ct state established,related ip daddr @private ` + r.drop(FabricRule(RuleNoRoute))}
	if len(r.routed) > 0 {
		r.nowhere()
		first = append(first, `oifname "`+loopback+`" goto nowhere`)
	}
	r.base("forward", "filter hook forward priority 0; policy drop;", slices.Concat(first, r.passOn(), r.crossPeerings(), r.ownFlows(""), r.known(), r.notFloating(""), r.egressGates(), []string{
		`oifname "` + UplinkInterface + `" goto leave`,
		`iifname "` + UplinkInterface + `" oifname @closed ` + r.drop(FabricRule(RuleNoInbound)),
		"oifname vmap @ingress_subnet",
		"oifname vmap @ingress_nic",
		"goto pass"})...)
}

func addrTexts(addrs []netip.Addr) (out []string) {
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// newRouter prepares a VNet whose NICs are in the order of their ids.
func newRouter(t *Topology, v *VNet, p *plan, build func([]diagram.Rule) *diagram.Node) *router {
	sorted := *v
	sorted.NICs = slices.SortedFunc(slices.Values(v.NICs), func(a, b NIC) int { return compareText(a.ID, b.ID) })
	r := &router{t: t, v: &sorted, plan: p, subnets: map[string]*Subnet{}, roots: map[rootKey]string{}, scopes: map[string]*scope{}, effective: map[string][]EffectiveRoute{}, peers: t.peersOf(v)}
	r.gate = gate{table: newTable(), scope: newScope(t, v), build: build}
	for i := range v.Subnets {
		r.subnets[v.Subnets[i].ID] = &v.Subnets[i]
	}
	return r
}
