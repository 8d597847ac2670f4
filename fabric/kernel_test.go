package fabric

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// kernel plays a State: routes by longest prefix, hooks in their order, nftables by the text of its
// rules. It knows the little that Compile writes, panics at anything else, and keeps no connections:
// every packet is the first of its flow.
type kernel struct {
	namespaces map[string]*table_
	peers      map[End]End
}

// table_ is a namespace with its ruleset by name.
type table_ struct {
	*Namespace
	own     map[netip.Addr]bool // all local addresses but Local
	ifaces  map[string][]netip.Prefix
	objects map[string]*Object
	fast    map[string]map[string]string // elements of exact sets and maps
}

// outcome of a packet: where it was dropped and by which counter, or where it arrived.
type outcome struct {
	namespace string
	counter   string // "" if it arrived, "policy" if only a policy dropped it
	src, dst  netip.Addr
}

func newKernel(s *State) *kernel {
	k := &kernel{namespaces: map[string]*table_{}, peers: map[End]End{}}
	for i := range s.Namespaces {
		n := &table_{Namespace: &s.Namespaces[i], own: map[netip.Addr]bool{}, ifaces: map[string][]netip.Prefix{}, objects: map[string]*Object{}, fast: map[string]map[string]string{}}
		for _, a := range n.Addrs {
			n.own[a.Addr()] = true
		}
		for j := range n.Objects {
			n.objects[n.Objects[j].Name] = &n.Objects[j]
		}
		k.namespaces[n.Name] = n
	}
	attach := func(e End, addrs []netip.Prefix) {
		n := k.namespaces[e.Namespace]
		n.ifaces[e.Interface] = addrs
		for _, a := range addrs {
			n.own[a.Addr()] = true
		}
	}
	for _, v := range s.Veths {
		k.peers[v.A], k.peers[v.B] = v.B, v.A
		attach(v.A, v.AddrA)
		attach(v.B, v.AddrB)
	}
	return k
}

// frame is a packet in one namespace.
type frame struct {
	Packet
	iif, oif string
	local    bool
	dnat     bool   // its destination was translated here
	mark     uint64 // of the packet
	conn     uint64 // of its connection
	ttl      int
	seen     map[string]bool // namespaces and packets: the flows that are known there
	known    bool            // the packet's flow has been here before: it is not translated again
}

func (k *kernel) send(from string, p Packet) outcome {
	n := k.namespaces[from]
	f := frame{Packet: p, iif: "", ttl: 64, seen: map[string]bool{}}
	f.oif, f.local = n.route(&f)
	if drop := n.hook("output", &f); drop != "" {
		return outcome{from, drop, p.Source, p.Destination}
	}
	if f.dnat { // routed again, after the hook, whose chains all see the first interface
		f.oif, f.local = n.route(&f)
	}
	if f.local {
		return outcome{namespace: from, src: p.Source, dst: p.Destination}
	}
	return k.transmit(n, f)
}

func (k *kernel) transmit(n *table_, f frame) outcome {
	for {
		if drop := n.hook("postrouting", &f); drop != "" {
			return outcome{n.Name, drop, f.Source, f.Destination}
		}
		to, ok := k.peers[End{n.Name, f.oif}]
		if !ok && slices.ContainsFunc(n.Tunnels, func(t TunnelDevice) bool { return t.Interface == f.oif }) {
			return outcome{namespace: n.Name, src: f.Source, dst: f.Destination}
		}
		if !ok {
			panic(fmt.Sprintf("%s has no link on interface %q for %s", n.Name, f.oif, f.Destination))
		}
		n = k.namespaces[to.Namespace]
		flow := fmt.Sprint(n.Name, f.Packet)
		f = frame{Packet: f.Packet, iif: to.Interface, ttl: f.ttl, seen: f.seen, known: f.seen[flow]}
		f.seen[flow] = true
		if drop := n.hook("prerouting", &f); drop != "" {
			return outcome{n.Name, drop, f.Source, f.Destination}
		}
		f.oif, f.local = n.route(&f)
		hook := "forward"
		if f.local {
			hook, f.oif = "input", ""
		}
		if drop := n.hook(hook, &f); drop != "" {
			return outcome{n.Name, drop, f.Source, f.Destination}
		}
		if f.local {
			return outcome{namespace: n.Name, src: f.Source, dst: f.Destination}
		}
		if f.ttl--; f.ttl == 0 {
			panic(fmt.Sprintf("the hop limit was reached in %s, where nobody counts", n.Name))
		}
	}
}

// route asks the policy rules in their order, then the table main, for the longest prefix.
func (n *table_) route(f *frame) (oif string, local bool) {
	early := slices.ContainsFunc(n.Rules, func(r PolicyRule) bool { return r.Table == LocalTable })
	if !early && n.isLocal(f.Destination) {
		return "lo", true
	}
	rules := slices.Clone(n.Rules)
	slices.SortFunc(rules, func(a, b PolicyRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range rules {
		switch {
		case r.Table == LocalTable && n.isLocal(f.Destination):
			return "lo", true
		case r.Table == LocalTable || r.IIF != "" && r.IIF != f.iif || f.mark&uint64(r.FwMask) != uint64(r.FwMark):
			continue
		}
		if best := n.longest(r.Table, f.Destination); best != nil && best.Type != "throw" {
			return best.Dev, best.Type == "local"
		}
	}
	if best := n.longest(0, f.Destination); best != nil {
		return best.Dev, false
	}
	return "", false
}

func (n *table_) isLocal(a netip.Addr) bool {
	return n.own[a] || inside(n.Local, a) || a.IsLoopback()
}

// longest is the route of a table with the longest prefix. The links' own are in the table main.
func (n *table_) longest(table int, dst netip.Addr) (best *Route) {
	try := func(r *Route) {
		if r.Table == table && r.Dst.Masked().Contains(dst) && (best == nil || r.Dst.Bits() > best.Dst.Bits()) {
			best = r
		}
	}
	for name, addrs := range n.ifaces {
		for _, p := range addrs {
			try(&Route{Dst: p, Dev: name})
		}
	}
	for i := range n.Routes {
		try(&n.Routes[i])
	}
	return best
}

// hook runs the base chains of a hook; "" if they let the packet pass.
func (n *table_) hook(name string, f *frame) string {
	type base struct {
		priority int
		o        *Object
	}
	var chains []base
	for i := range n.Objects {
		o := &n.Objects[i]
		if o.Kind != ChainObject || len(o.Spec) == 0 {
			continue
		}
		w := strings.Fields(strings.ReplaceAll(o.Spec[0], ";", ""))
		if w[3] == name && !(f.known && w[1] == "nat") {
			priority, _ := strconv.Atoi(w[5])
			chains = append(chains, base{priority, o})
		}
	}
	slices.SortFunc(chains, func(a, b base) int { return cmp.Compare(a.priority, b.priority) })
	for _, c := range chains {
		r := n.run(c.o, f)
		if r.verdict == "return" && strings.HasSuffix(c.o.Spec[0], "policy drop;") {
			return "policy"
		}
		if r.verdict == "drop" {
			return r.counter
		}
	}
	return ""
}

type result struct{ verdict, counter string }

// run returns accept, drop (with the counter), or return where a chain came to its end.
func (n *table_) run(chain *Object, f *frame) result {
	for _, line := range chain.Lines {
		r := n.line(line, f)
		verdict, target, _ := strings.Cut(r.verdict, " ")
		switch verdict {
		case "":
		case "goto":
			return n.run(n.objects[target], f)
		case "jump":
			if inner := n.run(n.objects[target], f); inner.verdict != "return" {
				return inner
			}
		default:
			return r
		}
	}
	return result{verdict: "return"}
}

// line is one rule; the verdict is "" where it does not match.
func (n *table_) line(line string, f *frame) (r result) {
	t := tokens{strings.Fields(line)}
	for len(t.left) > 0 {
		switch w := t.next(); w {
		case "accept", "drop", "return":
			r.verdict = w
			return r
		case "goto", "jump":
			r.verdict = w + " " + t.next()
			return r
		case "counter":
			t.skip("name")
			r.counter = strings.Trim(t.next(), `"`)
		case "log":
			t.take(6)
		case "add": // to a set of connections, which are never too many here
			return result{}
		case "dnat", "snat":
			t.skip("ip", "to")
			field := &f.Destination
			if w == "snat" {
				field = &f.Source
			}
			if to := t.next(); to != "ip" { // of a load balancer's backend
				f.Destination, f.dnat = addr(strings.Split(to, ":")[0]), true
				if _, port, ok := strings.Cut(to, ":"); ok {
					n, _ := strconv.ParseUint(port, 10, 16)
					f.DestinationPort = uint16(n)
				}
				r.verdict = "accept"
				return r
			}
			t.take(2) // the field's name, map
			if to, ok := n.element(t.next(), field.String()); ok {
				*field = addr(to)
				f.dnat = w == "dnat"
				r.verdict = "accept"
				return r
			}
		case "jhash":
			hash := fnv.New64a()
			for t.peek() != "mod" {
				word := t.next()
				if word == "." {
					continue
				}
				v, ok := f.value(word+" "+t.next(), n)
				if !ok {
					return result{}
				}
				hash.Write([]byte(v))
			}
			t.skip("mod")
			of := t.number()
			t.skip("seed")
			seed := t.number()
			t.skip("vmap")
			r.verdict, _ = n.lookup(t.operand(), fmt.Sprint((hash.Sum64()^seed)%of))
			return r
		case "ct":
			if !t.ct(f) {
				return result{}
			}
		case "meta":
			if t.peek() == "mark" && t.left[1] != "vmap" && t.left[2] != "iifname" && t.left[2] != "symhash" {
				t.next()
				if !t.mark(&f.mark, f.conn) {
					return result{}
				}
				continue
			}
			if !n.test(w, &t, f, &r) {
				return result{}
			}
			if r.verdict != "" {
				return r
			}
		default:
			if !n.test(w, &t, f, &r) {
				return result{}
			}
			if r.verdict != "" {
				return r
			}
		}
	}
	return result{}
}

// test is one match or verdict map.
func (n *table_) test(first string, t *tokens, f *frame, r *result) bool {
	if first == "meta" && len(t.left) > 2 && t.left[0] == "mark" && t.left[1] == "set" {
		return t.setMark(f, n)
	}
	key := t.key(first)
	values := make([]string, 0, len(key))
	for _, field := range key {
		v, ok := f.value(field, n)
		if !ok {
			return false
		}
		values = append(values, v)
	}
	value := strings.Join(values, " . ")
	not := false
	switch t.peek() {
	case "vmap":
		t.next()
		verdict, ok := n.lookup(t.operand(), value)
		r.verdict = verdict
		return ok || t.done()
	case "!=":
		t.next()
		not = true
	case "<":
		t.next()
		limit := t.number()
		return (&tokens{[]string{value}}).number() < limit
	}
	_, ok := n.lookup(t.operand(), value)
	return ok != not
}

// lookup finds a value in `@name`, `{ a, b : x }` or a single element.
func (n *table_) lookup(operand, value string) (string, bool) {
	if name, named := strings.CutPrefix(operand, "@"); named {
		return n.element("@"+name, value)
	}
	body := strings.TrimSpace(strings.Trim(operand, "{}"))
	for _, e := range strings.Split(body, ",") {
		if match, then := splitElement(e); contains(match, value) {
			return then, true
		}
	}
	return "", false
}

func (n *table_) element(name, value string) (string, bool) {
	o := n.objects[strings.TrimPrefix(name, "@")]
	if slices.Contains(o.Spec, "flags interval") {
		for _, e := range o.Lines {
			if match, then := splitElement(e); contains(match, value) {
				return then, true
			}
		}
		return "", false
	}
	if n.fast[o.Name] == nil {
		n.fast[o.Name] = map[string]string{}
		for _, e := range o.Lines {
			match, then := splitElement(e)
			n.fast[o.Name][match] = then
		}
	}
	then, ok := n.fast[o.Name][value]
	return then, ok
}

func splitElement(e string) (match, then string) {
	match, then, _ = strings.Cut(e, " : ")
	return strings.ReplaceAll(strings.TrimSpace(match), `"`, ""), strings.TrimSpace(then)
}

// contains: an element is a value, a range or a prefix.
func contains(element, value string) bool {
	if element == value {
		return true
	}
	if p, err := netip.ParsePrefix(element); err == nil {
		return p.Contains(addr(value))
	}
	lo, hi, isRange := strings.Cut(element, "-")
	if !isRange || strings.Contains(element, " . ") || value[0] < '0' || value[0] > '9' {
		return false
	}
	if a, err := netip.ParseAddr(value); err == nil {
		return addr(lo).Compare(a) <= 0 && a.Compare(addr(hi)) <= 0
	}
	x, _ := strconv.Atoi(value)
	from, err1 := strconv.Atoi(lo)
	to, err2 := strconv.Atoi(hi)
	if err1 != nil || err2 != nil {
		panic("element " + element)
	}
	return from <= x && x <= to
}

func (f *frame) value(field string, n *table_) (string, bool) {
	hasPorts := f.Protocol == TCP || f.Protocol == UDP
	switch field {
	case "iifname":
		return f.iif, f.iif != ""
	case "oifname":
		return f.oif, f.oif != ""
	case "ip saddr":
		return f.Source.String(), true
	case "ip daddr":
		return f.Destination.String(), true
	case "th sport":
		return fmt.Sprint(f.SourcePort), hasPorts
	case "th dport":
		return fmt.Sprint(f.DestinationPort), hasPorts
	case "tcp dport":
		return fmt.Sprint(f.DestinationPort), f.Protocol == TCP
	case "udp dport":
		return fmt.Sprint(f.DestinationPort), f.Protocol == UDP
	case "meta l4proto", "ip protocol":
		return fmt.Sprint(int16(f.Protocol)), true
	case "meta nfproto":
		return "ipv4", true
	case "ip ttl":
		return fmt.Sprint(f.ttl), true
	case "meta mark":
		return fmt.Sprintf("%#x", f.mark), true
	case "fib daddr":
		if n.isLocal(f.Destination) {
			return "local", true
		}
		return "unicast", true
	}
	panic("field " + field)
}

// tokens of one rule.
type tokens struct{ left []string }

func (t *tokens) next() string { return t.take(1)[0] }

func (t *tokens) peek() string { return t.left[0] }

func (t *tokens) done() bool { return len(t.left) == 0 }

func (t *tokens) take(n int) []string {
	out := t.left[:n]
	t.left = t.left[n:]
	return out
}

func (t *tokens) skip(words ...string) {
	if got := t.take(len(words)); !slices.Equal(got, words) {
		panic(fmt.Sprintf("%v instead of %v", got, words))
	}
}

// ct is a test or a change of the connection, of which there is none yet.
func (t *tokens) ct(f *frame) bool {
	switch w := t.next(); w {
	case "state":
		return t.next() == "new"
	case "direction":
		return t.next() == "original"
	case "status":
		return t.next() == "dnat" && f.dnat
	case "mark":
		return t.mark(&f.conn, f.conn)
	default:
		panic("ct " + w)
	}
}

// mark is a test of a mark, or sets more bits of it, or takes some of the connection's.
func (t *tokens) mark(m *uint64, conn uint64) bool {
	switch t.next() {
	case "set":
		from := *m
		if t.next() == "ct" {
			from = conn
		}
		t.skip("mark")
		if t.next() == "or" {
			*m = from | t.number()
		} else {
			*m = from & t.number()
		}
		return true
	case ">=":
		return *m >= t.number()
	}
	masked := *m & t.number()
	if cmp := t.next(); cmp == "!=" {
		return masked != t.number()
	}
	return masked == t.number()
}

func (t *tokens) number() uint64 {
	n, err := strconv.ParseUint(t.next(), 0, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// symmetric is a hash of the packet's flow, the same for both directions.
func (f *frame) symmetric() uint64 {
	ends := []string{fmt.Sprint(f.Source, f.SourcePort), fmt.Sprint(f.Destination, f.DestinationPort)}
	slices.Sort(ends)
	hash := fnv.New64a()
	fmt.Fprint(hash, ends, f.Protocol)
	return hash.Sum64() >> 7
}

// setMark is `meta mark set FIELD map @name`; it ends the rule where the map has no such element.
func (t *tokens) setMark(f *frame, n *table_) bool {
	t.skip("mark", "set")
	if t.peek() == "symhash" {
		t.skip("symhash", "mod")
		of := t.number()
		t.skip("map")
		to, _ := n.lookup(t.operand(), fmt.Sprint(f.symmetric()%of))
		f.mark = (&tokens{[]string{to}}).number()
		return true
	}
	value, ok := f.value(t.next(), n)
	t.skip("map")
	to, found := n.element(t.next(), value)
	if !ok || !found {
		return false
	}
	f.mark = (&tokens{[]string{to}}).number()
	return true
}

// key is the fields of a match: one, or several joined by dots.
func (t *tokens) key(first string) (out []string) {
	for {
		field := first
		if first == "ip" || first == "th" || first == "tcp" || first == "udp" || first == "meta" || first == "fib" {
			field += " " + t.next()
		}
		out = append(out, field)
		if field == "fib daddr" {
			t.skip("type")
		}
		if t.peek() != "." {
			return out
		}
		t.next()
		first = t.next()
	}
}

func (t *tokens) operand() string {
	if t.peek() != "{" {
		return strings.Trim(t.next(), `"`)
	}
	end := slices.Index(t.left, "}")
	return strings.Join(t.take(end+1), " ")
}
