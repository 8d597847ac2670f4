package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Flow is a connection that somebody wants to make, or any packet that is not an answer.
type Flow struct {
	From Place
	// Source is the sender's address; zero for its primary one. Another one than it has is spoofed.
	Source netip.Addr
	Dst    netip.Addr
	// Protocol, and for TCP and UDP the ports. SrcPort is 0 where it does not matter.
	Protocol         Protocol
	SrcPort, DstPort uint16
	// Host is the name that the connection is for, which application rules of firewalls judge; "" if it is for an
	// address.
	Host string
}

// Verdict of a step or of the whole way. The zero value is Denied.
type Verdict uint8

const (
	Denied Verdict = iota
	Allowed
)

func (v Verdict) String() string {
	if v == Allowed {
		return "allowed"
	}
	return "denied"
}

// DestinationKind says what answers at the end of a flow.
type DestinationKind uint8

const (
	ToNothing  DestinationKind = iota // nothing: the flow was refused, if only because nobody has the address
	ToNIC                             // a guest NIC; ID is its id
	ToEndpoint                        // a private endpoint; ID is its id
	ToService                         // a public address of the region's services
	ToHost                            // a host on the internet; ID is its name
	ToPlatform                        // DNS or the metadata service
	ToTunnel                          // what a gateway is connected to; ID is the tunnel's name
)

func (k DestinationKind) String() string {
	return [...]string{"nothing", "NIC", "private endpoint", "service", "internet host", "platform", "tunnel"}[k]
}

// Destination is what answers.
type Destination struct {
	Kind    DestinationKind
	ID      string
	Addr    netip.Addr // after address translation
	Service *Service   // of a private endpoint
	// VNet is the one whose service endpoint led to a service; "" for a service reached over the internet.
	VNet string
}

// Step is one judgement on the way.
type Step struct {
	Where   string // a NIC, subnet, router …
	What    string // what was asked there
	Rule    RuleRef
	Verdict Verdict
	// Route is the one that was taken, where that is what the step is about.
	Route *EffectiveRoute
}

// Explanation is what becomes of a flow, and why. An allowed flow may still meet a closed port: the fabric
// does not know who listens.
type Explanation struct {
	Flow    Flow
	Verdict Verdict
	// By is the rule that refused; zero if none did.
	By RuleRef
	// Namespace is where its counter is; "" if the refusal leaves no trace in the kernel.
	Namespace string
	// Source is the sender's address as the destination sees it.
	Source      netip.Addr
	Steps       []Step
	Destination Destination
	// Linked: a private link service takes the connection, and begins another one for what follows.
	Linked bool
	// Either is what becomes of the flow at each backend that a load balancer may choose, where there are
	// several. The explanation itself is that of the first that refuses, else of the first.
	Either []Explanation
	// Reply is what becomes of the answer to an allowed flow, nil for others: its Flow begins where the flow ends.
	// Of an answer that arrives to TCP, Reply is what the sender says next, where that is refused.
	Reply *Explanation
}

// Refused is the first of the flow, its answer and what follows that is refused; nil if none is.
func (e *Explanation) Refused() *Explanation {
	for ; e != nil; e = e.Reply {
		if e.Verdict == Denied {
			return e
		}
	}
	return nil
}

// String is the explanation for people: the verdict, then every step on the way.
func (e Explanation) String() string {
	var b strings.Builder
	b.WriteString(e.headline())
	for i, s := range e.Steps {
		fmt.Fprintf(&b, "\n%3d. %-7s %s: %s", i+1, s.Verdict, s.Where, s.What)
		if s.Rule != (RuleRef{}) {
			fmt.Fprintf(&b, " (%s)", s.Rule)
		}
	}
	return b.String()
}

func (e Explanation) headline() string {
	from := NSName(e.Flow.From)
	if e.Source.IsValid() {
		from = e.Source.String()
	}
	what := fmt.Sprintf("%s from %s to %s", e.Flow.Protocol, from, e.Flow.target())
	switch {
	case e.By != (RuleRef{}) && len(e.Either) > 0:
		return fmt.Sprintf("%s is denied by %s at one of %d backends", what, e.By, len(e.Either))
	case e.By != (RuleRef{}):
		return fmt.Sprintf("%s is denied by %s", what, e.By)
	case e.Verdict == Denied:
		return what + " cannot be followed"
	case len(e.Either) > 0:
		return fmt.Sprintf("%s is allowed and reaches one of %d backends, such as %s %s", what, len(e.Either), e.Destination.Kind, e.Destination.ID)
	case e.Destination.ID != "":
		return fmt.Sprintf("%s is allowed and reaches %s %s", what, e.Destination.Kind, e.Destination.ID)
	}
	return fmt.Sprintf("%s is allowed and reaches the %s at %s", what, e.Destination.Kind, e.Destination.Addr)
}

func (f Flow) target() string {
	if f.Protocol == TCP || f.Protocol == UDP {
		return netip.AddrPortFrom(f.Dst, f.DstPort).String()
	}
	return f.Dst.String()
}

// String is the protocol's name as security rules have it, or its number.
func (p Protocol) String() string {
	switch p {
	case AnyProtocol:
		return "*"
	case ICMP:
		return "Icmp"
	case TCP:
		return "Tcp"
	case UDP:
		return "Udp"
	case ESP:
		return "Esp"
	case AH:
		return "Ah"
	}
	return fmt.Sprintf("protocol %d", int16(p))
}

// Explain follows a flow through the topology. It asks no kernel and no socket: it walks the same model
// that Compile turns into rules, but judges each NSG by Evaluate and not by what was compiled. What
// cannot be followed (an unknown place, an invalid topology) is denied, with a step that says why.
func Explain(t *Topology, f Flow) Explanation {
	w := walk{t: t, e: Explanation{Flow: f, Source: f.Source}, ttl: 64, passed: map[string]bool{}, crossed: map[string]bool{}}
	if err := validate(t); err != nil {
		w.stop("topology", err.Error())
		return w.e
	}
	p, err := newPlan(t)
	if err != nil {
		w.stop("topology", err.Error())
		return w.e
	}
	w.plan = p
	if !f.Dst.Is4() {
		w.stop("flow", "the destination is no IPv4 address")
		return w.e
	}
	w.p = Packet{Source: f.Source, Destination: f.Dst, Protocol: f.Protocol, SourcePort: f.SrcPort, DestinationPort: f.DstPort}
	w.begin()
	w.finish()
	return w.e
}

// finish ends a walk: what has arrived is answered.
func (w *walk) finish() {
	if w.e.Either != nil {
		return
	}
	w.e.Source = w.p.Source
	if w.answers == nil && w.e.Verdict == Allowed {
		w.e.Reply = w.answer()
	}
}

// walk is one flow under way. Its methods return false once it has been refused or has arrived.
type walk struct {
	t       *Topology
	plan    *plan
	p       Packet
	ns      string // whose counters count
	e       Explanation
	ttl     int             // hops left
	passed  map[string]bool // forwarding NICs that have passed it on
	crossed map[string]bool // VNets that it has left, for a NIC that passes it on or another VNet
	again   int             // how many steps there were when one got it again
	linked  bool            // a private link service has begun it again
	memory                  // what connection tracking keeps of the flow
}

func (w *walk) step(where, what string, rule RuleRef, v Verdict) {
	w.e.Steps = append(w.e.Steps, Step{Where: where, What: what, Rule: rule, Verdict: v})
}

// stop ends a walk that cannot be followed.
func (w *walk) stop(where, why string) { w.step(where, why, RuleRef{}, Denied) }

func (w *walk) deny(where, what string, rule RuleRef) bool {
	w.step(where, what, rule, Denied)
	w.e.By, w.e.Namespace = rule, w.ns
	return false
}

func (w *walk) arrive(where string, d Destination) bool {
	if w.answers != nil {
		return w.arriveBack(where, d)
	}
	w.e.Verdict, w.e.Destination = Allowed, d
	what := "the " + d.Kind.String() + " answers"
	if d.Kind == ToTunnel {
		what = "leaves by the tunnel " + d.ID
	}
	w.step(where, what, RuleRef{}, Allowed)
	return false
}

func (w *walk) begin() {
	if w.answers != nil {
		w.beginBack()
		return
	}
	switch f := w.e.Flow; f.From.Kind {
	case AtNIC:
		for i := range w.t.VNets {
			v := &w.t.VNets[i]
			j := slices.IndexFunc(v.NICs, func(n NIC) bool { return n.ID == f.From.ID && n.Kind == Guest })
			if j >= 0 {
				w.fromFirewall(&v.NICs[j])
				w.fromNIC(v, &v.NICs[j])
				return
			}
		}
		w.stop(f.From.ID, "there is no such NIC with a namespace of its own")
	case AtHost:
		for _, h := range w.t.Internet.Hosts {
			if h.Name == f.From.ID {
				w.fromHost(h)
				return
			}
		}
		w.stop(f.From.ID, "there is no such host on the internet")
	case AtRouter:
		w.fromRouter(f.From.ID)
	case AtInternet:
		w.fromServices()
	default:
		w.stop("flow", "unknown kind of place")
	}
}

// own checks that the sender has the source address, or gives it its first one.
func (w *walk) own(where string, addrs []netip.Addr) bool {
	if !w.p.Source.IsValid() {
		w.p.Source = addrs[0]
	}
	if !slices.Contains(addrs, w.p.Source) {
		return w.deny(where, fmt.Sprintf("%s is not one of its addresses", w.p.Source), FabricRule(RuleAntiSpoof))
	}
	w.step(where, fmt.Sprintf("%s is its own address", w.p.Source), RuleRef{}, Allowed)
	return true
}

// carriedProtocol checks that virtual networks carry the packet's protocol.
func (w *walk) carriedProtocol(n *NIC) bool {
	if w.p.Protocol.carried() {
		return true
	}
	return w.deny(n.ID, fmt.Sprintf("%s is none of Tcp, Udp, Icmp, Esp and Ah, and virtual networks carry nothing else", w.p.Protocol), FabricRule(RuleProtocol))
}

func (w *walk) fromNIC(v *VNet, n *NIC) bool {
	w.ns = RouterNS(v.ID)
	if slices.Contains(n.Addrs, w.p.Destination) || w.p.Destination.IsLoopback() || w.floats(v, n, w.p.Destination) {
		return w.arrive(n.ID, Destination{Kind: ToNIC, ID: n.ID, Addr: w.p.Destination})
	}
	if w.intoTunnel(v, n, false) {
		return false
	}
	if n.Forwarding && w.p.Source.IsValid() && !slices.Contains(n.Addrs, w.p.Source) && !w.floats(v, n, w.p.Source) {
		if n.Firewall != nil {
			return w.firewall(v, n)
		}
		return w.carried(v, n)
	}
	if w.floats(v, n, w.p.Source) && !w.carriedProtocol(n) { // before it is asked what the frontend's address is for
		return false
	}
	addrs := n.Addrs
	if w.answers != nil && w.floats(v, n, w.p.Source) {
		addrs = append(slices.Clone(addrs), w.p.Source) // as a frontend it answers only
	}
	if !w.own(n.ID, addrs) || !w.leaves(n, w.p.Destination, "a packet") || !w.carriedProtocol(n) {
		return false
	}
	w.enter(RouterNS(v.ID), v.ID)
	w.began()
	switch {
	case w.answers != nil && !w.known && !w.invalid && !slices.Contains(n.Addrs, w.p.Source):
		return w.deny(n.ID, fmt.Sprintf("%s is a frontend's address, which only answers", w.p.Source), FabricRule(RuleAntiSpoof))
	case w.known && w.p.Destination == WireServer:
		return w.arrive(v.ID, Destination{Kind: ToPlatform, Addr: w.p.Destination})
	case w.p.Destination == WireServer, w.p.Destination == IMDS:
		return w.toPlatform(v, n)
	case w.p.Destination == Gateway, w.routerHas(v, w.p.Destination):
		return w.deny(v.ID, "the router itself answers nobody", FabricRule(RulePlatform))
	}
	return w.egress(v, n) && w.route(v, n)
}

// judge asks one NSG; none has nothing against it.
func (w *walk) judge(where, nsg, subnet string, d Direction) bool {
	if nsg == "" {
		return true
	}
	rule, allow := w.t.Evaluate(nsg, subnet, d, w.p)
	what := strings.ToLower(d.String()) + " security rules"
	if !allow {
		return w.deny(where, what, rule)
	}
	w.step(where, what, rule, Allowed)
	return true
}

func (w *walk) egress(v *VNet, n *NIC) bool {
	if w.known || w.invalid {
		return true
	}
	return w.judgeOut(v, n)
}

func (w *walk) judgeOut(v *VNet, n *NIC) bool {
	return w.judge(n.ID, n.NSG, n.Subnet, Outbound) && w.judge(n.Subnet, v.subnet(n.Subnet).NSG, n.Subnet, Outbound)
}

func (w *walk) ingress(v *VNet, n *NIC) bool {
	if w.known && !w.unjudged() {
		return true
	}
	return w.judgeIn(v, n)
}

func (w *walk) judgeIn(v *VNet, n *NIC) bool {
	return w.judge(n.Subnet, v.subnet(n.Subnet).NSG, n.Subnet, Inbound) && w.judge(n.ID, n.NSG, n.Subnet, Inbound)
}

// routerHas tells whether an address is one of the router's own on its links.
func (w *walk) routerHas(v *VNet, a netip.Addr) bool {
	if a == w.plan.transfer[v.ID].router {
		return true
	}
	for i := range w.t.VNets {
		u := &w.t.VNets[i]
		link := w.plan.links[PeeringInterface(v.ID, u.ID)]
		if v.ID < u.ID && a == link.from || v.ID > u.ID && a == link.to {
			return true
		}
		for j := range u.NICs {
			if a == w.plan.links[ApplianceInterface(v.ID, u.NICs[j].ID)].from {
				return true
			}
		}
		for j := range v.NICs {
			if a == w.plan.links[ApplianceInterface(u.ID, v.NICs[j].ID)].to {
				return true
			}
		}
	}
	return false
}

func (w *walk) toPlatform(v *VNet, n *NIC) bool {
	for _, x := range []struct{ where, nsg string }{{n.ID, n.NSG}, {n.Subnet, v.subnet(n.Subnet).NSG}} {
		if x.nsg == "" {
			continue
		}
		rule, allow := w.t.evaluatePlatform(x.nsg, n.Subnet, w.p)
		if !allow {
			return w.deny(x.where, "rules that name the platform's address", rule)
		}
		if rule != (RuleRef{}) {
			w.step(x.where, "rules that name the platform's address", rule, Allowed)
		}
	}
	open := w.p.DestinationPort == 80 && w.p.Protocol == TCP
	if w.p.Destination == WireServer && w.p.DestinationPort == 53 {
		open = w.p.Protocol == TCP || w.p.Protocol == UDP
	}
	if !open {
		return w.deny(v.ID, "the platform's address does not answer there", FabricRule(RulePlatform))
	}
	return w.arrive(v.ID, Destination{Kind: ToPlatform, Addr: w.p.Destination})
}

func (w *walk) toEndpoint(v *VNet, to *NIC) bool {
	if v.subnet(to.Subnet).EndpointPolicies {
		if !w.ingress(v, to) {
			return false
		}
	} else {
		w.step(to.Subnet, "no network policies for private endpoints", RuleRef{}, Allowed)
	}
	if to.Service == nil || w.p.Protocol != TCP || !slices.Contains(to.Service.Ports, w.p.DestinationPort) {
		return w.deny(to.ID, "the private endpoint does not listen there", FabricRule(RuleEndpointPort))
	}
	if s := w.t.linkService(to.Service.Target); s != nil {
		n, _, _ := w.t.link(s)
		w.legs = append(w.legs, leg{Destination{Kind: ToEndpoint, ID: s.ID}, w.p, func(back *walk) bool { return back.fromRouterBack(v) }})
		return w.throughLink(s, n.Addrs[0])
	}
	return w.arrive(to.ID, Destination{Kind: ToEndpoint, ID: to.ID, Addr: w.p.Destination, Service: to.Service})
}

func (w *walk) toNIC(v *VNet, to *NIC) bool {
	if slices.Contains(to.Addrs, w.p.Source) {
		return w.loop(to.ID, "nobody takes packets from himself")
	}
	if !w.ingress(v, to) {
		return false
	}
	w.restored()
	if to.Firewall != nil {
		return w.firewall(v, to)
	}
	if w.answers != nil {
		return w.arrive(to.ID, Destination{Kind: ToNIC, ID: to.ID, Addr: w.p.Destination})
	}
	return w.leaves(to, w.p.Source, "the answer") && w.arrive(to.ID, Destination{Kind: ToNIC, ID: to.ID, Addr: w.p.Destination})
}

// byServiceEndpoint is the way to a service as a NIC of the VNet.
func (w *walk) byServiceEndpoint(v *VNet) bool {
	if !inside(localPrefixes(w.t, w.plan), w.p.Destination) {
		return w.deny(v.ID, "no service has this address", FabricRule(RuleNoRoute))
	}
	return w.arrive(v.ID, Destination{Kind: ToService, Addr: w.p.Destination, VNet: v.ID})
}

// leave is the way from a NIC out of its VNet.
func (w *walk) leave(v *VNet, n *NIC) bool {
	if w.known && !w.carrying {
		return w.leaveBack(v)
	}
	switch {
	case v.has(w.p.Destination):
		return w.deny(v.ID, "no NIC of the VNet has this address", FabricRule(RuleNoRoute))
	case !isPublic(w.p.Destination):
		return w.deny(v.ID, "the system route for this address is None", FabricRule(RuleNoRoute))
	}
	if !slices.Contains(n.Addrs, w.p.Source) {
		return w.deny(n.ID, "an appliance reaches the internet by its own addresses only", FabricRule(RuleNoOutbound))
	}
	public, how := w.exit(v, n)
	if !public.IsValid() {
		return w.deny(n.Subnet, how, FabricRule(RuleNoOutbound))
	}
	w.step(n.Subnet, fmt.Sprintf("%s %s", how, public), RuleRef{}, Allowed)
	w.p.Source = public
	w.translated()
	return w.acrossInternet()
}

// acrossInternet finds who has a public address.
func (w *walk) acrossInternet() bool {
	dst := w.p.Destination
	if v, to, private, what := w.owner(dst); v != nil {
		return w.fromUplink(v, to, private, what)
	}
	for _, h := range w.t.Internet.Hosts {
		if dst == h.Addr {
			return w.arrive("the internet", Destination{Kind: ToHost, ID: h.Name, Addr: dst})
		}
	}
	if inside(w.t.Internet.ServicePrefixes, dst) {
		return w.arrive("the internet", Destination{Kind: ToService, Addr: dst})
	}
	w.ns = InternetNS
	return w.deny("the internet", "nobody has this address", FabricRule(RuleNoRoute))
}

// fromUplink is the way from the internet to a NIC with a public address; to is nil for an address that is
// for going out only.
func (w *walk) fromUplink(v *VNet, to *NIC, private netip.Addr, what string) bool {
	b, f := w.frontend(v, false)
	w.ns = RouterNS(v.ID)
	if !isPublic(w.p.Source) || v.has(w.p.Source) {
		return w.deny(v.ID, "such an address is not on the internet", FabricRule(RuleAntiSpoof))
	}
	w.enter(RouterNS(v.ID), v.ID)
	w.began()
	switch {
	case w.invalid:
		return w.unknown(v.ID)
	case w.known:
		return w.toNIC(v, v.nicAt(w.p.Destination))
	case b != nil:
		return w.balance(v, b, f)
	case to == nil:
		return w.deny(v.ID, what+" takes no connections", FabricRule(RuleNoInbound))
	case to.Firewall == nil && !to.Managed && to.NSG == "" && v.subnet(to.Subnet).NSG == "":
		return w.deny(to.ID, "a public address without a network security group is closed", FabricRule(RuleNoInbound))
	}
	w.step(v.ID, fmt.Sprintf("%s is translated to %s", w.p.Destination, private), RuleRef{}, Allowed)
	w.p.Destination = private
	w.translated()
	return w.toNIC(v, to)
}

func (w *walk) fromHost(h InternetHost) bool {
	w.ns = InternetNS
	if w.p.Destination == h.Addr || w.p.Destination.IsLoopback() {
		return w.arrive(h.Name, Destination{Kind: ToHost, ID: h.Name, Addr: h.Addr})
	}
	if !w.own(h.Name, []netip.Addr{h.Addr}) {
		return false
	}
	return w.onInternet()
}

// fromServices is a flow that the region's services begin.
func (w *walk) fromServices() bool {
	w.ns = InternetNS
	if !w.p.Source.IsValid() {
		w.p.Source = internetSource(localPrefixes(w.t, w.plan))
	}
	return w.onInternet()
}

func (w *walk) onInternet() bool {
	switch {
	case w.p.Destination == WireServer:
		return w.arrive("the internet", Destination{Kind: ToPlatform, Addr: WireServer})
	case !isPublic(w.p.Destination):
		return w.deny("the internet", "such an address is not on the internet", FabricRule(RuleNoRoute))
	}
	return w.acrossInternet()
}

// fromRouter: a router answers and begins nothing, but for itself.
func (w *walk) fromRouter(id string) bool {
	v := w.t.vnet(id)
	if v.ID == "" {
		w.stop(id, "there is no such VNet")
		return false
	}
	w.ns = RouterNS(id)
	to := v.nicAt(w.p.Destination)
	switch {
	case slices.Contains([]netip.Addr{WireServer, IMDS, Gateway}, w.p.Destination), w.routerHas(v, w.p.Destination):
		return w.arrive(id, Destination{Kind: ToPlatform, Addr: w.p.Destination})
	case to != nil && to.Kind == Guest && (!w.p.Source.IsValid() || w.p.Source == WireServer) && w.probed(v):
		w.p.Source = WireServer
		w.enter(w.ns, id)
		w.began()
		w.step(id, "a load balancer's probe", RuleRef{}, Allowed)
		return w.toNIC(v, to)
	case w.linkFrom(v) != nil:
		return w.throughLink(w.linkFrom(v), w.p.Source)
	case to != nil && to.Kind == Endpoint:
		return w.arrive(id, Destination{Kind: ToEndpoint, ID: to.ID, Addr: w.p.Destination, Service: to.Service})
	}
	return w.deny(id, "a router begins no connection", FabricRule(RuleRouter))
}
