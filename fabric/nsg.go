package fabric

import (
	"fmt"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/diagram"
	"vauban.dev/fabric/internal/interval"
)

// Sets larger than inlineSet are declared once and shared; maps larger than inlineMap are declared.
const (
	inlineSet = 16
	inlineMap = 64
)

// otherProtocol stands for the protocols that no rule names: it is the number of none.
const otherProtocol Protocol = -2

// gate writes NSGs into a table: for each direction of an NSG a root chain that returns for what is
// allowed and drops the rest.
type gate struct {
	*table
	scope *scope
	build func([]diagram.Rule) *diagram.Node
}

// root writes one direction of an NSG and returns the name of its chain.
func (g *gate) root(n *NSG, d Direction) (string, error) {
	rules, err := g.scope.rules(n, d)
	if err != nil {
		return "", err
	}
	name := strings.ToLower(d.String()[:1]) + "_" + digest(10, n.ID)
	if g.scope.name != "" {
		name += "_" + g.scope.name
	}
	deny := g.deny("deny_"+name, rules)
	others := g.verdict(rules, otherProtocol, deny)
	var lines []string
	for _, p := range protocols(rules) {
		if then := g.verdict(rules, p, deny); then != others {
			lines = append(lines, fmt.Sprintf("meta l4proto %d %s", p, then))
		}
	}
	g.entry(name, append(lines, others)...) // else a rule would change all that leads here
	return name, nil
}

// protocols that get a diagram of their own: the common ones, of which nearly every packet is, then those that rules name.
func protocols(rules []resolved) []Protocol {
	list := []Protocol{TCP, UDP, ICMP}
	for i := range rules {
		if p := rules[i].proto; p != AnyProtocol && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	slices.Sort(list[3:])
	return list
}

// verdict writes the diagram of one protocol and returns the statement that enters it.
func (g *gate) verdict(rules []resolved, p Protocol, deny string) string {
	var list []diagram.Rule
	for i := range rules {
		if rules[i].appliesTo(p) && rules[i].canMatch() {
			list = append(list, diagram.Rule{Match: rules[i].match, Allow: rules[i].allow})
		}
	}
	w := diagramWriter{table: g.table, deny: "goto " + deny, done: map[*diagram.Node]string{}}
	return w.statement(g.build(list))
}

// denyPart is how many refusing rules stand in one chain: a change of one of them writes so many again.
const denyPart = 50

// deny writes the rules that refuse, in order, each with its counter. Whatever is sent there is refused
// already, so the first of them that matches is the rule that decided. The chain keeps its name while it changes:
// else every part of the diagrams, which all lead there, would change with it.
func (g *gate) deny(name string, rules []resolved) string {
	var lines, parts []string
	for i := range rules {
		if rules[i].allow {
			continue
		}
		drop := g.drop(rules[i].ref) // the counter of a rule that cannot match stays at 0
		if rules[i].canMatch() {
			lines = append(lines, g.linear(&rules[i], rules[i].match)+drop)
		}
	}
	for part := range slices.Chunk(lines, denyPart) {
		parts = append(parts, "jump "+g.list("d", part))
	}
	g.entry(name, parts...)
	return name
}

// platform writes the rules that name the platform's addresses and returns the name of their chain; ""
// if there are none.
func (g *gate) platform(n *NSG) (string, error) {
	rules, err := g.scope.rules(n, Outbound)
	if err != nil {
		return "", err
	}
	var lines []string
	for i := range rules {
		r := &rules[i]
		if r.platform == nil || !r.canMatch() {
			continue
		}
		then := "return"
		if !r.allow {
			then = g.drop(r.ref)
		}
		match := r.match
		match[diagram.Destination] = r.platform
		lines = append(lines, g.linear(r, match)+then)
	}
	if lines == nil {
		return "", nil
	}
	return g.list("p", lines), nil
}

// linear is a rule as one nft rule, without its verdict.
func (g *gate) linear(r *resolved, match diagram.Values) string {
	proto := ""
	switch {
	case r.proto != AnyProtocol:
		proto = fmt.Sprintf("meta l4proto %d ", r.proto)
	case r.hasPorts():
		proto = fmt.Sprintf("meta l4proto { %d, %d } ", TCP, UDP)
	}
	return proto + g.match(match)
}

// match writes the tests, those of single intervals first, which are cheap. No set is empty.
func (tb *table) match(v diagram.Values) string {
	var single, many strings.Builder
	for f, set := range v {
		f := diagram.Field(f)
		switch {
		case set == nil:
		case len(set) == 1:
			fmt.Fprintf(&single, "%s %s ", fieldText(f), intervalText(f, set[0]))
		default:
			fmt.Fprintf(&many, "%s %s ", fieldText(f), tb.setText(f, set))
		}
	}
	return single.String() + many.String()
}

func (tb *table) setText(f diagram.Field, set interval.Set) string {
	elements := make([]string, 0, len(set))
	for _, i := range set {
		elements = append(elements, intervalText(f, i))
	}
	if len(set) <= inlineSet {
		return "{ " + strings.Join(elements, ", ") + " }"
	}
	return "@" + tb.content(SetObject, "s", []string{"type " + fieldType(f), "flags interval"}, elements)
}

func fieldText(f diagram.Field) string {
	return [...]string{"ip saddr", "ip daddr", "th sport", "th dport"}[f]
}

func fieldType(f diagram.Field) string {
	return [...]string{"ipv4_addr", "ipv4_addr", "inet_service", "inet_service"}[f]
}

func intervalText(f diagram.Field, i interval.Interval) string {
	switch {
	case f == diagram.Source || f == diagram.Destination:
		return addressText(i)
	case i.Lo == i.Hi:
		return fmt.Sprint(i.Lo)
	}
	return fmt.Sprintf("%d-%d", i.Lo, i.Hi)
}

// diagramWriter writes the nodes of one diagram as chains that are named by content.
type diagramWriter struct {
	*table
	deny string // statement
	done map[*diagram.Node]string
}

// statement writes a node and returns the statement that enters it.
func (w *diagramWriter) statement(n *diagram.Node) string {
	switch {
	case n.Verdict == diagram.Allow:
		return "return"
	case n.Verdict == diagram.Deny:
		return w.deny
	case n.Rules == nil && len(n.Cases) == 0:
		return w.statement(n.Else)
	}
	s, ok := w.done[n]
	if !ok {
		s = "goto " + w.node(n)
		w.done[n] = s
	}
	return s
}

func (w *diagramWriter) node(n *diagram.Node) string {
	if n.Rules == nil {
		return w.list("x", append(w.lookup(n), w.statement(n.Else)))
	}
	lines := make([]string, 0, len(n.Rules))
	for _, l := range n.Rules {
		then := "return"
		switch {
		case l.Next != nil:
			then = w.statement(l.Next)
		case !l.Allow:
			then = w.deny
		}
		lines = append(lines, w.match(l.Match)+then)
	}
	return w.list("x", lines)
}

func (w *diagramWriter) lookup(n *diagram.Node) []string {
	ways := make([]way, 0, len(n.Cases))
	for _, c := range n.Cases {
		ways = append(ways, way{c.Interval, w.statement(c.Next)})
	}
	return w.table.lookup(n.Field, ways)
}
