package fabric

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A compiler that gets the ways in and out of a VNet wrong must not pass the comparison with the model: here each
// of its mistakes is played, as another topology that it compiles or as other text that it writes.
func TestMutatedWaysAreCaught(t *testing.T) {
	for name, m := range map[string]struct {
		topology func(*Topology)
		text     func(o *Object)
	}{
		"a NAT gateway is forgotten": {topology: eachSubnet(func(s *Subnet) { s.NATGateway = "" })},
		"NAT gateways have one address": {topology: func(t *Topology) {
			for _, g := range t.NATGateways {
				g.Addresses = g.Addresses[:min(1, len(g.Addresses))]
			}
		}},
		"outbound rules are for all protocols": {topology: eachBalancer(func(b *LoadBalancer) {
			for i := range b.Outbound {
				b.Outbound[i].Protocol = AnyProtocol
			}
		})},
		"rules let backends out that must not":        {topology: eachRule(func(r *BalancingRule) { r.ImplicitOutbound = true })},
		"all leave that have default outbound access": {topology: eachSubnet(func(s *Subnet) { s.DefaultOutbound = true })},
		"nobody is asked for a way out":               {text: line("goto pass", func(l string) string { return replaceMatch(l, "iifname . ip saddr @out_", "goto pass") })},
		"ICMP leaves as TCP does":                     {text: line("@out_tcp", func(l string) string { return strings.Replace(l, "meta l4proto 6 ", "", 1) })},
		"service endpoints are forgotten":             {topology: eachSubnet(func(s *Subnet) { s.ServiceEndpoints = nil })},
		"a service endpoint has a prefix less":        {topology: eachSubnet(func(s *Subnet) { s.ServiceEndpoints = s.ServiceEndpoints[:len(s.ServiceEndpoints)/2] })},
		"nobody judges what goes by service endpoint": {text: chain("to_service", func(l []string) []string { return l[2:] })},
		"service endpoints lead to anybody":           {text: chain("to_service", func(l []string) []string { return append(l[:2], l[3:]...) })},
		"backends that are down get connections": {topology: eachRule(func(r *BalancingRule) {
			for i := range r.Backends {
				r.Backends[i].Down = false
			}
		})},
		"a backend is forgotten":               {topology: eachRule(func(r *BalancingRule) { r.Backends = r.Backends[:len(r.Backends)/2] })},
		"the backend's port is the frontend's": {topology: eachRule(func(r *BalancingRule) { r.BackendPort = r.Port })},
		"there are no floating IPs":            {topology: eachRule(func(r *BalancingRule) { r.FloatingIP = false })},
		"rules for all ports are forgotten": {topology: eachBalancer(func(b *LoadBalancer) {
			b.Rules = slices.DeleteFunc(b.Rules, func(r BalancingRule) bool { return r.Port == 0 })
		})},
		"inbound NAT rules are forgotten":          {topology: eachBalancer(func(b *LoadBalancer) { b.NATRules = nil })},
		"probes are forgotten":                     {topology: eachRule(func(r *BalancingRule) { r.Probe = "" })},
		"the sender is not judged at a frontend":   {text: chain("to_frontend", func(l []string) []string { return append(l[:1], l[3:]...) })},
		"the sender is judged behind a frontend":   {text: chain("prerouting_frontends", func([]string) []string { return nil })},
		"probes pass the backend's groups":         {text: chain("probe", func(l []string) []string { return l[2:] })},
		"a backend may speak as its floating IP":   {text: line("@floating", func(string) string { return "ct state invalid drop" })},
		"routes to frontends elsewhere are lost":   {text: line("@elsewhere", func(string) string { return "ct state invalid accept" })},
		"a backend answers its own call":           {text: line(FabricRule(RuleHairpin).Counter(), func(string) string { return "ct state invalid drop" })},
		"public frontends are reached from inside": {text: line("public_rules", func(l string) string { return strings.TrimPrefix(l, `iifname "uplink" `) })},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(12) {
				if mutantCaught(t, seed, m.topology, m.text) {
					return
				}
			}
			t.Error("nothing was seen")
		})
	}
}

func mutantCaught(t *testing.T, seed uint64, spoil func(*Topology), rewrite func(*Object)) bool {
	c := newChance(seed)
	topology := c.topology()
	wrong := newChance(seed).topology() // the same again
	if spoil != nil {
		spoil(wrong)
	}
	state, err := Compile(wrong)
	if err != nil {
		t.Fatal(err)
	}
	if rewrite != nil {
		for i := range state.Namespaces {
			for j := range state.Namespaces[i].Objects {
				rewrite(&state.Namespaces[i].Objects[j])
			}
		}
	}
	k := newKernel(state)
	for range 2000 {
		f := c.flow(topology)
		c.aim(topology, &f)
		if disagreement(k, state, topology, f) != "" {
			return true
		}
	}
	return false
}

// aim makes more flows those of load balancers: to frontends, from them, and of probes.
func (c *chance) aim(t *Topology, f *Flow) {
	b := t.LoadBalancers[c.IntN(len(t.LoadBalancers))]
	frontend := b.Frontends[c.IntN(len(b.Frontends))].Addr
	switch c.IntN(6) {
	case 0, 1:
		f.Dst, f.DstPort = frontend, pick[uint16](c, 22, 53, 80, 443, 8080)
	case 2:
		f.Source = frontend
	case 3:
		f.From, f.Protocol, f.Source, f.SrcPort, f.DstPort = Place{AtRouter, b.VNet}, TCP, netip.Addr{}, 0, pick[uint16](c, 80, 8080)
	}
}

func eachSubnet(do func(*Subnet)) func(*Topology) {
	return func(t *Topology) {
		for i := range t.VNets {
			for j := range t.VNets[i].Subnets {
				do(&t.VNets[i].Subnets[j])
			}
		}
	}
}

func eachBalancer(do func(*LoadBalancer)) func(*Topology) {
	return func(t *Topology) {
		for i := range t.LoadBalancers {
			do(&t.LoadBalancers[i])
		}
	}
}

func eachRule(do func(*BalancingRule)) func(*Topology) {
	return eachBalancer(func(b *LoadBalancer) {
		for i := range b.Rules {
			do(&b.Rules[i])
		}
	})
}

// line rewrites the rules that have a text.
func line(with string, to func(string) string) func(*Object) {
	return func(o *Object) {
		for i, l := range o.Lines {
			if o.Kind == ChainObject && strings.Contains(l, with) {
				o.Lines[i] = to(l)
			}
		}
	}
}

// chain rewrites the rules of a chain.
func chain(name string, to func([]string) []string) func(*Object) {
	return func(o *Object) {
		if o.Kind == ChainObject && o.Name == name {
			o.Lines = to(slices.Clone(o.Lines))
		}
	}
}

// replaceMatch leaves the verdict of a rule that has the match.
func replaceMatch(l, match, verdict string) string {
	if strings.Contains(l, match) {
		return verdict
	}
	return l
}
