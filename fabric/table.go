package fabric

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// table collects the objects of one `table inet vauban`, in an order in which nothing refers to what
// follows.
type table struct {
	objects []Object
	have    map[string]bool
	refused map[string]RuleRef // counters by name
}

func newTable() *table { return &table{have: map[string]bool{}, refused: map[string]RuleRef{}} }

// add declares an object with a name that stays while what it says changes.
func (tb *table) add(kind ObjectKind, name string, spec, lines []string) {
	tb.objects = append(tb.objects, Object{Kind: kind, Name: name, Spec: spec, Lines: lines})
}

func (tb *table) set(name, of string, elements []string) {
	tb.add(SetObject, name, []string{"type " + of}, elements)
}

func (tb *table) intervals(name string, elements []string) {
	tb.add(SetObject, name, []string{"type ipv4_addr", "flags interval"}, elements)
}

func (tb *table) mapping(name, of string, elements []string) {
	tb.add(MapObject, name, []string{"type " + of}, elements)
}

func (tb *table) chain(name string, lines ...string) { tb.add(ChainObject, name, nil, lines) }

// entry declares a chain that a driver may change in place: whoever is on the way there finds the old or the new.
func (tb *table) entry(name string, lines ...string) {
	tb.objects = append(tb.objects, Object{Kind: ChainObject, Name: name, Lines: lines, Entry: true})
}

func (tb *table) base(name, hook string, lines ...string) {
	tb.add(ChainObject, name, []string{"type " + hook}, lines)
}

// content declares an object that is named by what it says and returns the name: equal ones are one.
func (tb *table) content(kind ObjectKind, letter string, spec, lines []string) string {
	name := letter + "_" + digest(12, append(append([]string{string(kind)}, spec...), lines...)...)
	if !tb.have[name] {
		tb.have[name] = true
		tb.objects = append(tb.objects, Object{Kind: kind, Name: name, Spec: spec, Lines: lines, Content: true})
	}
	return name
}

// chainLimit splits long lists: nft loads so many rules in one transaction without privileges.
const chainLimit = 200

// list declares a chain of any number of rules, named by content.
func (tb *table) list(letter string, lines []string) string {
	if len(lines) <= chainLimit {
		return tb.content(ChainObject, letter, nil, lines)
	}
	rest := tb.list(letter, lines[chainLimit:])
	return tb.content(ChainObject, letter, nil, append(slices.Clone(lines[:chainLimit]), "goto "+rest))
}

// drop is the statement that refuses a packet in the rule's name.
func (tb *table) drop(ref RuleRef) string {
	name := ref.Counter()
	tb.refused[name] = ref
	return fmt.Sprintf("counter name %q log prefix %[1]q group %d snaplen 128 drop", name, LogGroup)
}

// finish returns all objects, counters first.
func (tb *table) finish() []Object {
	out := make([]Object, 0, len(tb.refused)+len(tb.objects))
	for name := range tb.refused {
		out = append(out, Object{Kind: CounterObject, Name: name})
	}
	slices.SortFunc(out, func(a, b Object) int { return cmp.Compare(a.Name, b.Name) })
	return append(out, tb.objects...)
}

// ruleset is the text that `nft -f -` takes.
func ruleset(objects []Object) string {
	var b strings.Builder
	b.WriteString("table inet " + TableName + " {\n")
	for _, o := range objects {
		o.write(&b)
	}
	b.WriteString("}\n")
	return b.String()
}

func (o Object) write(b *strings.Builder) {
	fmt.Fprintf(b, "\t%s %s {\n", o.Kind, o.Name)
	for _, s := range o.Spec {
		fmt.Fprintf(b, "\t\t%s\n", s)
	}
	switch {
	case o.Kind == ChainObject:
		for _, l := range o.Lines {
			fmt.Fprintf(b, "\t\t%s\n", l)
		}
	case len(o.Lines) > 0:
		fmt.Fprintf(b, "\t\telements = {\n\t\t\t%s\n\t\t}\n", strings.Join(o.Lines, ",\n\t\t\t"))
	}
	b.WriteString("\t}\n")
}
