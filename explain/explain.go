// Package explain says what would become of a connection the whole way: name resolution, every judgement of
// the network, the firewall of the service that answers, and the role of who asks. It puts together the
// models that the region itself runs by (fabric, fabric/dns, firewall, authz) and is as pure as they are: no
// socket, no kernel, no store. One Answer stands behind `vauban explain`, Network Watcher and the audits.
package explain

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/authz"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/firewall"
	"vauban.dev/origin"
	"vauban.dev/reach"
)

// Question is a connection that somebody wants to make.
type Question struct {
	From  fabric.Place
	Title string // of the place, for people
	Host  string // a name or an IPv4 address
	// Source is an address of the sender's that is not its first one: of a service on the internet.
	Source netip.Addr
	// Protocol, and for TCP and UDP the ports. SrcPort 0 stands for one of those that a client takes.
	Protocol      fabric.Protocol
	Port, SrcPort uint16
	// As is who would ask the service, nil to leave roles out.
	As *authz.Principal
}

// clientPort stands for the source port that a client's kernel chooses.
const clientPort = 40000

// World is the region as it was last applied.
type World struct {
	Topology *fabric.Topology
	// Resolve answers a name for A in a VNet, "" for the internet (dns.Model.Resolve).
	Resolve func(vnet, name string) dns.Answer
	// Servers are the custom DNS servers that a NIC's machine asks; none, or nil: Azure's resolver.
	Servers func(vnet, nic string) []netip.Addr
	// Inbound is the VNet whose names a DNS resolver's inbound endpoint answers at this NIC; "" of any other NIC.
	Inbound func(nic string) (vnet string)
	// Service is the resource behind a host name, nil if the name belongs to none that has rules of its own.
	Service func(ctx context.Context, host string) (*Service, error)
	// Roles decides what Question.As may do; needed only with it.
	Roles authz.Authorizer
	// Hidden tells resources of the platform's own, which no user can change; nil: there are none.
	Hidden func(id string) bool
}

// Service is the resource behind a host name, as far as its answers depend on who calls from where.
type Service struct {
	Kind  Kind
	ID    string // resource id
	Rules firewall.Rules
	// Action is what a caller of the service's data needs at Scope, Data whether it is a data action; Role is
	// a built-in role that has it, by name and id.
	Action string
	Data   bool
	Scope  string
	Role   string
	RoleID string
	// Policies replaces roles where the service has permissions of its own (a vault's access policies).
	Policies func(authz.Principal) authz.Decision
}

// Kind of a Service: its private link sub-resource.
type Kind string

const (
	Blob      Kind = "blob"
	File      Kind = "file"
	Queue     Kind = "queue"
	Table     Kind = "table"
	Vault     Kind = "vault"
	Workspace Kind = "amlworkspace"
)

// Layer is what refused a connection.
type Layer string

const (
	ByName    Layer = "name"    // it has no address there
	ByNetwork Layer = "network" // a security rule, a route, the fabric
	ByReply   Layer = "reply"   // the same, of the answer: what is asked arrives
	ByService Layer = "service" // the firewall of the service that answers
	ByRole    Layer = "role"    // no role grants the action
)

// Step is one judgement on the way.
type Step struct {
	Where   string      `json:"where"` // a NIC, subnet, VNet …
	What    string      `json:"what"`
	Rule    *reach.Rule `json:"rule,omitempty"`
	Route   *Route      `json:"route,omitempty"` // the one that was taken
	Allowed bool        `json:"allowed"`
}

// Route is a route that a packet took, as effectiveRouteTable has it.
type Route struct {
	Prefix string `json:"addressPrefix"`
	Source string `json:"source"` // Default, User, VirtualNetworkGateway
	Hop    string `json:"nextHopType"`
	Next   string `json:"nextHopIpAddress,omitempty"`
	Table  string `json:"routeTableId,omitempty"`
	Name   string `json:"name,omitempty"`
}

// Reply is the way of the answer, which may be another than the way there: security rules let it pass, routes do not know it.
type Reply struct {
	From    string `json:"from"` // the address that answers, as it is there
	Allowed bool   `json:"allowed"`
	Steps   []Step `json:"steps"`
	// After are the steps of what the caller says next, by TCP, where that is refused: on the way there somebody has
	// seen the connection begin, and the answer has not come by.
	After []Step `json:"after,omitempty"`
}

// Permission is what a principal may do at the service.
type Permission struct {
	Principal string `json:"principal"` // name, else object id
	ObjectID  string `json:"objectId"`
	Action    string `json:"action"`
	Data      bool   `json:"isDataAction"`
	Scope     string `json:"scope"`
	Allowed   bool   `json:"allowed"`
	By        string `json:"by"` // the assignment that grants, or what is lacking
}

// Answer is what becomes of a connection, and why.
type Answer struct {
	From     string   `json:"from"`
	Host     string   `json:"host"`
	Port     uint16   `json:"port,omitempty"`
	Protocol string   `json:"protocol"`              // Tcp, Udp, Icmp
	Names    []string `json:"names,omitempty"`       // how the name was resolved, step by step
	Unknown  bool     `json:"nameUnknown,omitempty"` // a DNS server that is no part of the region answers for the name
	Address  string   `json:"address,omitempty"`
	Source   string   `json:"source,omitempty"` // as the destination sees it
	Allowed  bool     `json:"allowed"`
	Refused  Layer    `json:"refusedBy,omitempty"`
	// By is the rule or firewall that refuses, in words; Rule and Counter are those of a network rule.
	By          string      `json:"by,omitempty"`
	Rule        *reach.Rule `json:"rule,omitempty"`
	Counter     string      `json:"counter,omitempty"`
	Steps       []Step      `json:"steps,omitempty"`
	Reply       *Reply      `json:"reply,omitempty"` // of what arrives and crosses a network
	Destination string      `json:"destination,omitempty"`
	Linked      bool        `json:"linked,omitempty"` // a private link service takes the connection before that
	// Service is what the service's own firewall says, Resource the id of what it protects.
	Service    string      `json:"service,omitempty"`
	Resource   string      `json:"resource,omitempty"`
	Permission *Permission `json:"permission,omitempty"`
	// Fixes are what to change, in order; after all of them the model allows the connection if Fixed.
	Fixes []Fix `json:"fixes,omitempty"`
	Fixed bool  `json:"fixed,omitempty"`
	Live  *Live `json:"live,omitempty"` // what a real packet did, if one was asked for

	flow fabric.Explanation
}

// Flow is the network's part of the answer, the way there; zero if the name has no address.
func (a *Answer) Flow() fabric.Explanation { return a.flow }

// Refusal is the packet that the network refuses: what is asked, its answer, or what follows; nil if it refuses none.
func (a *Answer) Refusal() *fabric.Explanation {
	if a.Address == "" {
		return nil
	}
	return a.flow.Refused()
}

// Arrives reports whether what is asked arrives, even if the answer does not.
func (a *Answer) Arrives() bool { return a.Allowed || a.Refused == ByReply }

// Explain answers a question, and says what to change if the answer is no. The error is that of a check
// that could not be made.
func (w World) Explain(ctx context.Context, q Question) (Answer, error) {
	s := situation{topology: w.Topology}
	var err error
	if w.Service != nil {
		if s.service, err = w.Service(ctx, q.Host); err != nil {
			return Answer{}, err
		}
	}
	a, err := w.answer(ctx, q, s)
	if err != nil || a.Allowed {
		return a, err
	}
	a.Fixes, a.Fixed, err = w.repair(ctx, q, s, a)
	return a, err
}

// situation is what an answer depends on and a fix changes.
type situation struct {
	topology *fabric.Topology
	service  *Service
	addr     netip.Addr // what the name resolves to after a fix; zero as the resolver says
	granted  bool       // a fix has granted the action
}

func (w World) answer(ctx context.Context, q Question, s situation) (Answer, error) {
	a := Answer{From: q.Title, Host: q.Host, Port: q.Port, Protocol: q.Protocol.String()}
	vnet, nic := at(s.topology, q.From)
	dst := s.addr
	if !dst.IsValid() {
		l := w.Lookup(s.topology, q.From, q.Host)
		a.Names, a.Unknown, dst = l.Steps, l.Unknown, l.Addr
		if !dst.IsValid() {
			a.Refused, a.By = ByName, "name resolution: "+q.Host+" has no address here"
			if l.Unknown {
				a.By = "name resolution: a DNS server of your own answers for " + q.Host + ", and the region does not know what"
			}
			return a, nil
		}
	}
	a.Address = dst.String()
	flow := fabric.Flow{From: q.From, Source: q.Source, Dst: dst, Protocol: q.Protocol, SrcPort: q.SrcPort, DstPort: q.Port}
	if _, err := netip.ParseAddr(q.Host); err != nil {
		flow.Host = q.Host
	}
	if flow.SrcPort == 0 && (q.Protocol == fabric.TCP || q.Protocol == fabric.UDP) {
		flow.SrcPort = clientPort
	}
	e := fabric.Explain(s.topology, flow)
	a.flow, a.Steps, a.Destination, a.Linked = e, steps(e), destination(e.Destination), e.Linked
	if e.Source.IsValid() {
		a.Source = e.Source.String()
	}
	a.Reply = reply(&e)
	if refused := e.Refused(); refused != nil {
		a.refuse(refused)
		return a, nil
	}
	a.Allowed = true
	if k := e.Destination.Kind; s.service == nil || k != fabric.ToService && k != fabric.ToEndpoint {
		return a, nil // a record may lead the service's name to anybody, whom its firewall does not guard
	}
	a.judge(s.service, originOf(vnet, nic, e), q.As)
	if err := w.permit(ctx, &a, q.As, s); err != nil {
		return Answer{}, err
	}
	return a, nil
}

// reply is the way of the answer to a flow, nil if there is none.
func reply(e *fabric.Explanation) *Reply {
	back := e.Reply
	if back == nil {
		return nil
	}
	r := &Reply{From: back.Flow.Source.String(), Allowed: back.Verdict == fabric.Allowed, Steps: steps(*back)}
	if back.Reply != nil {
		r.After = steps(*back.Reply)
	}
	return r
}

// refuse names what the network refuses the connection by.
func (a *Answer) refuse(refused *fabric.Explanation) {
	a.Refused = ByNetwork
	if a.flow.Verdict == fabric.Allowed {
		a.Refused = ByReply
	}
	if refused.By == (fabric.RuleRef{}) { // it could not be followed: the last step says why
		a.By = refused.Steps[len(refused.Steps)-1].What
		return
	}
	rule := NameRule(refused.By)
	a.By, a.Rule = refused.By.String(), &rule
	if refused.Namespace != "" { // what a firewall's proxy refuses is in its log alone
		a.Counter = refused.By.Counter()
	}
}

// judge asks the service's firewall, which may let an identity in from where nobody else gets in.
func (a *Answer) judge(s *Service, o origin.Origin, as *authz.Principal) {
	var tenant, resource string
	if as != nil {
		tenant, resource = as.TenantID, as.Resource
	}
	d := firewall.DecideCaller(s.Rules, o, tenant, resource)
	a.Service, a.Resource = d.Rule, s.ID
	if !d.Allowed {
		a.Allowed, a.Refused, a.By = false, ByService, "the service's firewall: "+d.Rule
	}
}

// permit asks for the principal's permission, whatever the firewall said.
func (w World) permit(ctx context.Context, a *Answer, as *authz.Principal, s situation) error {
	if as == nil || s.service.Action == "" {
		return nil
	}
	d := authz.Decision{Allowed: true, By: "the fix above"}
	var err error
	switch {
	case s.granted:
	case s.service.Policies != nil:
		d = s.service.Policies(*as)
	case w.Roles == nil:
		return fmt.Errorf("explain: nobody decides about roles")
	default:
		d, err = w.Roles.Check(ctx, *as, authz.Request{Action: s.service.Action, Data: s.service.Data, Scope: s.service.Scope})
	}
	if err != nil {
		return err
	}
	name := as.Name
	if name == "" {
		name = as.ObjectID
	}
	a.Permission = &Permission{Principal: name, ObjectID: as.ObjectID, Action: s.service.Action, Data: s.service.Data,
		Scope: s.service.Scope, Allowed: d.Allowed, By: d.By}
	if !d.Allowed && a.Allowed {
		a.Allowed, a.Refused, a.By = false, ByRole, "the roles of "+name+": "+d.By
	}
	return nil
}

// at is the VNet and NIC of a place; the VNet is "" and the NIC zero on the internet.
func at(t *fabric.Topology, p fabric.Place) (vnet string, nic fabric.NIC) {
	for _, v := range t.VNets {
		if p.Kind == fabric.AtRouter && v.ID == p.ID {
			return v.ID, fabric.NIC{}
		}
		for _, n := range v.NICs {
			if p.Kind == fabric.AtNIC && n.ID == p.ID {
				return v.ID, n
			}
		}
	}
	return "", fabric.NIC{}
}

// originOf is the origin that the destination of an explained flow sees.
func originOf(vnet string, nic fabric.NIC, e fabric.Explanation) origin.Origin {
	o := origin.Origin{Kind: origin.Internet, Source: e.Source}
	d := e.Destination
	switch {
	case d.Kind == fabric.ToEndpoint && d.Service != nil:
		o.Kind, o.VNet, o.NIC, o.Subnet = origin.PrivateEndpoint, vnet, nic.ID, nic.Subnet
		o.Endpoint, o.Target, o.GroupID = d.ID, d.Service.Target, d.Service.GroupID
	case d.Kind == fabric.ToService && d.VNet != "":
		o.Kind, o.VNet, o.NIC, o.Subnet = origin.ServiceEndpoint, vnet, nic.ID, nic.Subnet
	}
	return o
}

func steps(e fabric.Explanation) (out []Step) {
	for _, s := range e.Steps {
		step := Step{Where: s.Where, What: s.What, Allowed: s.Verdict == fabric.Allowed}
		if s.Rule != (fabric.RuleRef{}) {
			r := NameRule(s.Rule)
			step.Rule = &r
		}
		if r := s.Route; r != nil {
			step.Route = &Route{Prefix: r.Prefix.String(), Source: r.Source.String(), Hop: r.Hop.String(), Table: r.Table, Name: r.Name}
			if r.Appliance.IsValid() {
				step.Route.Next = r.Appliance.String()
			}
		}
		out = append(out, step)
	}
	return out
}

// NameRule is a rule under the name that counters and reach tables have for it. The fabric's own rules have
// no direction.
func NameRule(r fabric.RuleRef) reach.Rule {
	n := reach.Rule{Owner: r.Owner, Name: r.Rule}
	if r.Owner != fabric.FabricOwner {
		n.Direction = r.Direction.String()
	}
	return n
}

// destination says what answers, "" if nothing does.
func destination(d fabric.Destination) string {
	switch {
	case d.Kind == fabric.ToNothing:
		return ""
	case d.Service != nil:
		return fmt.Sprintf("%s %s, which leads to %s (%s)", d.Kind, d.ID, d.Service.Target, d.Service.GroupID)
	case d.ID != "":
		return fmt.Sprintf("%s %s", d.Kind, d.ID)
	}
	return fmt.Sprintf("%s at %s", d.Kind, d.Addr)
}

// ParseProtocol reads tcp, udp or icmp, in any letter case.
func ParseProtocol(s string) (fabric.Protocol, error) {
	for _, p := range []fabric.Protocol{fabric.TCP, fabric.UDP, fabric.ICMP} {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("protocol %q: tcp, udp or icmp", s)
}
