package fabric

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/fabric/internal/diagram"
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
	for seed := range uint64(25) {
		c := newChance(seed)
		topology := c.topology()
		state, err := Compile(topology)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		k := newKernel(state)
		for range 1500 {
			f := c.flow(topology)
			if d := disagreement(k, state, topology, f); d != "" {
				t.Fatalf("seed %d, %+v: %s", seed, f, d)
			}
		}
	}
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
