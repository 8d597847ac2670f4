package fabric

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vauban.dev/fabric/internal/diagram"
	"vauban.dev/internal/testkit/shrink"
)

// disagreement sends the flow through the compiled state and compares what becomes of it with what
// Explain says; "" if they agree.
func disagreement(k *kernel, s *State, t *Topology, f Flow) string {
	e := Explain(t, f)
	p := Packet{Source: f.Source, Destination: f.Dst, Protocol: f.Protocol, SourcePort: f.SrcPort, DestinationPort: f.DstPort}
	if !p.Source.IsValid() {
		p.Source = primary(t, f.From)
	}
	got := k.send(NSName(f.From), p)
	if f.From.Kind != AtRouter { // what a router sends to itself ends there
		got = k.through(t, p, got)
	}
	if len(e.Either) == 0 {
		return differs(s, t, f, e, got)
	}
	var all string
	for _, one := range e.Either {
		d := differs(s, t, f, one, got)
		if d == "" {
			return ""
		}
		all += "either: " + d + "\n"
	}
	return all
}

func differs(s *State, t *Topology, f Flow, e Explanation, got outcome) string {
	switch {
	case e.Verdict == Allowed && got.counter != "":
		return fmt.Sprintf("dropped in %s by %s\n%s", got.namespace, s.Counters[got.counter], e)
	case e.Verdict == Allowed && (got.namespace != where(t, e.Destination, f) || got.dst != e.Destination.Addr):
		return fmt.Sprintf("arrived in %s at %s\n%s", got.namespace, got.dst, e)
	case e.Verdict == Allowed && e.Source.IsValid() && got.src != e.Source:
		return fmt.Sprintf("arrived as %s\n%s", got.src, e)
	case e.Verdict == Denied && (got.counter != e.By.Counter() || got.namespace != e.Namespace || s.Counters[got.counter] != e.By):
		return fmt.Sprintf("counted in %s by %q %s\n%s", got.namespace, got.counter, s.Counters[got.counter], e)
	}
	return ""
}

// where is the namespace that a destination listens in.
func where(t *Topology, d Destination, f Flow) string {
	switch d.Kind {
	case ToNIC:
		return NICNS(d.ID)
	case ToHost:
		return HostNS(d.ID)
	case ToService:
		if d.VNet != "" {
			return RouterNS(d.VNet)
		}
		return InternetNS
	case ToTunnel:
		for _, v := range t.VNets {
			for _, n := range v.NICs {
				if slices.ContainsFunc(n.Tunnels, func(x Tunnel) bool { return x.Name == d.ID }) {
					return NICNS(n.ID)
				}
			}
		}
	case ToPlatform, ToEndpoint:
		at := d.ID
		if at == "" {
			at = f.From.ID
		}
		for _, v := range t.VNets {
			for _, n := range v.NICs {
				if n.ID == at || v.ID == at {
					return RouterNS(v.ID)
				}
			}
		}
	}
	return InternetNS
}

func primary(t *Topology, p Place) (a netip.Addr) {
	for _, v := range t.VNets {
		for _, n := range v.NICs {
			if p.Kind == AtNIC && n.ID == p.ID {
				return n.Addrs[0]
			}
		}
	}
	for _, h := range t.Internet.Hosts {
		if p.Kind == AtHost && h.Name == p.ID {
			return h.Addr
		}
	}
	if plan, err := newPlan(t); err == nil && p.Kind == AtInternet {
		return internetSource(localPrefixes(t, plan))
	}
	return WireServer
}

// The model is the kernel: random topologies, random flows, and no disagreement about verdict, place
// and counter.
func TestModelIsKernel(t *testing.T) {
	const flows = 1500
	for seed := range max(25, soak(t)/flows) {
		c := newChance(seed)
		topology := c.topology()
		state, err := Compile(topology)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		k := newKernel(state)
		for range flows {
			f := c.flow(topology)
			if d := disagreement(k, state, topology, f); d != "" {
				t.Fatalf("seed %d, %+v: %s\nin %s", seed, f, d, smallest(topology, f))
			}
		}
	}
}

// soak is how many flows `make soak` asks for, VAUBAN_SOAK; 0 for an ordinary test.
func soak(t *testing.T) uint64 {
	text := os.Getenv("VAUBAN_SOAK")
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("VAUBAN_SOAK: %v", err)
	}
	return n
}

// smallest is what is left of a topology when all is taken out that the disagreement does not need.
func smallest(topology *Topology, f Flow) string {
	shrink.Value(topology, 3000, func() bool {
		state, err := Compile(topology)
		return err == nil && state.Namespace(NSName(f.From)) != nil && disagreement(newKernel(state), state, topology, f) != ""
	})
	text, err := json.MarshalIndent([]any{topology.VNets, topology.NSGs, topology.RouteTables, topology.NATGateways, topology.LoadBalancers}, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestScenarioModelIsKernel(t *testing.T) {
	topology := scenario()
	state, err := Compile(topology)
	if err != nil {
		t.Fatal(err)
	}
	k, c := newKernel(state), newChance(1)
	for range 5000 {
		f := c.flow(topology)
		if d := disagreement(k, state, topology, f); d != "" {
			t.Fatalf("%+v: %s", f, d)
		}
	}
}

// A mutated compiler must not pass the test above.
func TestMutatedCompilerIsCaught(t *testing.T) {
	mutations := map[string]func([]diagram.Rule) []diagram.Rule{
		"the first rule is forgotten": func(l []diagram.Rule) []diagram.Rule { return l[min(1, len(l)-1):] },
		"denies become allows": func(l []diagram.Rule) []diagram.Rule {
			l[0].Allow = true
			return l
		},
		"destination ports are forgotten": func(l []diagram.Rule) []diagram.Rule {
			for i := range l {
				l[i].Match[diagram.DestinationPort] = nil
			}
			return l
		},
		"source and destination are exchanged": func(l []diagram.Rule) []diagram.Rule {
			for i := range l {
				m := &l[i].Match
				m[diagram.Source], m[diagram.Destination] = m[diagram.Destination], m[diagram.Source]
			}
			return l
		},
		"the last of two rules wins": func(l []diagram.Rule) []diagram.Rule {
			if n := len(l); n > 2 {
				l[0], l[n-2] = l[n-2], l[0]
			}
			return l
		},
	}
	for name, mutate := range mutations {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) {
				if caughtBy(t, seed, mutate) {
					return
				}
			}
			t.Error("nothing was seen")
		})
	}
}

// What the router forgets of routes and peerings is seen as well: the kernel plays another topology than
// the one that is explained.
func TestForgottenRoutingIsCaught(t *testing.T) {
	peerings := func(change func(*Peering)) func(*Topology) {
		return func(t *Topology) {
			for i := range t.VNets {
				for j := range t.VNets[i].Peerings {
					change(&t.VNets[i].Peerings[j])
				}
			}
		}
	}
	tables := func(change func(*RouteTable)) func(*Topology) {
		return func(t *Topology) {
			for _, table := range t.RouteTables {
				change(table)
			}
		}
	}
	for name, forget := range map[string]func(*Topology){
		"forwarded traffic is always taken": peerings(func(p *Peering) { p.Forwarded = true }),
		"access is always granted":          peerings(func(p *Peering) { p.Access = true }),
		"gateways need no consent":          peerings(func(p *Peering) { p.GatewayTransit, p.RemoteGateways = true, true }),
		"peerings lead nowhere":             peerings(func(p *Peering) { p.Prefixes = nil }),
		"propagation is never off":          tables(func(r *RouteTable) { r.IgnoreGateway = false }),
		"the last route is forgotten": tables(func(r *RouteTable) {
			r.Routes = r.Routes[:max(0, len(r.Routes)-1)]
		}),
		"None is the internet": tables(func(r *RouteTable) {
			for i := range r.Routes {
				if r.Routes[i].Hop == HopNone {
					r.Routes[i].Hop = HopInternet
				}
			}
		}),
		"tags have no prefixes": tables(func(r *RouteTable) {
			r.Routes = slices.DeleteFunc(r.Routes, func(u UserRoute) bool { return strings.HasPrefix(u.Prefix, "Tag") })
		}),
		"no route overrides an endpoint's": func(t *Topology) {
			for i := range t.VNets {
				for j := range t.VNets[i].Subnets {
					t.VNets[i].Subnets[j].EndpointRoutes = false
				}
			}
		},
		"appliances keep what they get": func(t *Topology) {
			for i := range t.VNets {
				for j := range t.VNets[i].NICs {
					t.VNets[i].NICs[j].Forwarding = false
				}
			}
		},
		"gateways learn nothing": func(t *Topology) {
			for i := range t.VNets {
				t.VNets[i].GatewayRoutes = nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				c, topology, mutant := newChance(seed), newChance(seed).topology(), newChance(seed).topology()
				forget(mutant)
				state, err := Compile(mutant)
				if err != nil {
					t.Fatal(err)
				}
				k := newKernel(state)
				for range 600 {
					f := c.flow(topology)
					if f.From.Kind == AtNIC && disagreement(k, state, topology, f) != "" {
						return
					}
				}
			}
			t.Error("nothing was seen")
		})
	}
}

func caughtBy(t *testing.T, seed uint64, mutate func([]diagram.Rule) []diagram.Rule) bool {
	c := newChance(seed)
	topology := c.topology()
	compiler := NewCompiler()
	compiler.build = func(l []diagram.Rule) *diagram.Node {
		return diagram.Build(mutate(append([]diagram.Rule(nil), l...)))
	}
	state, err := compiler.Compile(topology)
	if err != nil {
		t.Fatal(err)
	}
	k := newKernel(state)
	for range 3000 {
		if disagreement(k, state, topology, c.flow(topology)) != "" {
			return true
		}
	}
	return false
}

// One rule of one NSG more, and all that is named by content and does not depend on it stays.
func TestContentIsIncremental(t *testing.T) {
	topology := scenario()
	before, err := Compile(topology)
	if err != nil {
		t.Fatal(err)
	}
	g := topology.NSGs["nsg-jumpbox"]
	g.Rules = append(g.Rules, rule("new", 300, Inbound, true, TCP, "10.20.4.0/24", "*", "8089"))
	after, err := Compile(topology)
	if err != nil {
		t.Fatal(err)
	}
	old, changed := map[string]string{}, []string{}
	for _, o := range before.Namespace(RouterNS("hub")).Objects {
		old[o.Name] = objectText(o)
	}
	for _, o := range after.Namespace(RouterNS("hub")).Objects {
		text, had := old[o.Name]
		if had && o.Content && text != objectText(o) {
			t.Errorf("%s says something else under its name", o.Name)
		}
		if text != objectText(o) && !o.Content {
			changed = append(changed, o.Name)
		}
	}
	if want := "i_" + digest(10, "nsg-jumpbox"); strings.Join(changed, " ") != want {
		t.Errorf("changed %v, want %s only", changed, want)
	}
}

func objectText(o Object) string {
	var b strings.Builder
	o.write(&b)
	return b.String()
}
