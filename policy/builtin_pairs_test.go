package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// world is what a rule is asked about, as a search varies it: names of fields, and of what is around the resource, to values.
type world map[string]any

// keys of a world that are no fields.
const (
	aroundIdentity = "@identity"
	aroundVersion  = "@apiVersion"
	aroundGroup    = "@resourceGroup"
)

// hunt looks for worlds in which a condition holds, and in which it does not, by changing one value after the other and keeping
// what brings the oracle closer. The order of its choices is fixed.
type hunt struct {
	o      *oracle
	cond   any
	pool   map[string][]any // values to try, by the name in the world
	lists  map[string]bool  // names of fields with [*]
	random *rand.Rand
	seen   func(world)
}

func newHunt(o *oracle, cond any) *hunt {
	h := &hunt{o: o, cond: cond, pool: map[string][]any{}, lists: map[string]bool{}, random: rand.New(rand.NewPCG(1, 2))}
	h.gather(cond)
	return h
}

func (h *hunt) add(name string, values ...any) {
	if strings.EqualFold(name, "fullName") || strings.HasPrefix(strings.ToLower(name), "current") {
		return
	}
	if strings.Contains(name, "[*]") {
		h.lists[name] = true
	}
	if h.pool[name] == nil {
		h.pool[name] = []any{}
	}
	for _, v := range values {
		if !slices.ContainsFunc(h.pool[name], func(have any) bool { return fmt.Sprintf("%T%v", have, have) == fmt.Sprintf("%T%v", v, v) }) {
			h.pool[name] = append(h.pool[name], v)
		}
	}
}

// gather finds the fields of a condition and, for each, values on both sides of its operators.
func (h *hunt) gather(n any) {
	m, ok := n.(map[string]any)
	if !ok {
		return
	}
	for k, v := range m {
		switch strings.ToLower(k) {
		case "not":
			h.gather(v)
			return
		case "allof", "anyof":
			for _, c := range v.([]any) {
				h.gather(c)
			}
			return
		}
	}
	kind, left, op, target := parts(m)
	var want any
	func() {
		defer func() { _ = recover() }() // a target that only an element of a count gives
		want = h.o.eval(target)
	}()
	switch kind {
	case "field":
		h.add(fmt.Sprint(h.o.eval(left)), around(op, want)...)
		h.expression(target)
	case "count":
		c := left.(map[string]any)
		if alias, ok := c["field"].(string); ok {
			h.add(alias)
		}
		h.expression(c["value"])
		h.gather(c["where"])
	case "value":
		h.expression(left, around(op, want)...)
		h.expression(target)
	}
}

// expression adds what an expression reads: general values, those of its literals, and those around its target.
func (h *hunt) expression(v any, more ...any) {
	s, ok := v.(string)
	if !ok || !strings.HasPrefix(s, "[") {
		return
	}
	general := append([]any{nil, "x", 22.0, "22", "20-30", "0.00:30:00", "9.01:01:01", "2020-01-01T00:00:00Z", "10.0.0.0/30", "200.0.0.1/32",
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkWatchers/w/flowLogs/f"}, more...)
	for i, literal := range strings.Split(s, "'") {
		if i%2 == 0 {
			continue
		}
		before := strings.Split(s, "'")[i-1]
		if strings.HasSuffix(strings.ToLower(before), "field(") || strings.HasSuffix(strings.ToLower(before), "current(") && strings.Contains(literal, "/") {
			h.add(literal, general...)
		}
	}
	lower := strings.ToLower(s)
	if strings.Contains(lower, "requestcontext().identity") {
		h.add(aroundIdentity, map[string]any{"idtyp": "user", "acrs": "", "http://schemas.microsoft.com/claims/authnmethodsreferences": "pwd"}, map[string]any{"idtyp": "app", "acrs": "", "http://schemas.microsoft.com/claims/authnmethodsreferences": ""},
			map[string]any{"idtyp": "user", "acrs": "p1,urn:user:registersecurityinfo", "http://schemas.microsoft.com/claims/authnmethodsreferences": "pwd,mfa"})
	}
	if strings.Contains(lower, "requestcontext().apiversion") {
		h.add(aroundVersion, append(more, "2014-01-01", "2030-01-01")...)
	}
	if strings.Contains(lower, "resourcegroup()") || strings.Contains(lower, "subscription().tags") {
		for _, tag := range []any{nil, "t"} {
			for _, by := range []any{nil, "m"} {
				h.add(aroundGroup, map[string]any{"name": "g", "id": "/subscriptions/s/resourceGroups/g", "location": "westeurope", "managedBy": by, "tags": map[string]any{"x": tag}})
			}
		}
	}
}

// around are values for which an operator holds and for which it does not.
func around(op string, want any) []any {
	op = strings.TrimPrefix(op, "not")
	out := []any{nil}
	switch w := want.(type) {
	case []any:
		out = append(append(out, w...), "another")
	case bool:
		out = append(out, w, !w)
	case float64:
		out = append(out, w-1, w, w+1)
	case string:
		out = append(out, w, "another")
		switch op {
		case "like":
			out = append(out, strings.ReplaceAll(w, "*", "z"))
		case "contains":
			out = append(out, "before "+w, []any{w}, []any{"another"})
		case "exists":
			out = append(out, "x", map[string]any{"x": "x"})
		case "containskey":
			out = append(out, map[string]any{w: "x"}, map[string]any{"another": "x"})
		case "less", "lessorequals", "greater", "greaterorequals":
			out = append(out, "0", "~", 0.0, 1e9)
		}
	}
	if op == "exists" {
		out = append(out, "x")
	}
	return out
}

// find returns a world in which the condition holds or not, as wanted; keep are names that may not differ from from.
func (h *hunt) find(want bool, from world, keep ...string) world {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(h.pool)), func(n string) bool { return slices.Contains(keep, n) })
	reached := func(score float64) bool { return want && score == 1 || !want && score >= 0 && score < 1 }
	for range 40 {
		at := maps.Clone(from)
		for _, n := range names {
			h.vary(at, n)
		}
		score := h.score(at)
		for range 150 {
			if reached(score) {
				return at
			}
			if len(names) == 0 {
				return nil
			}
			next := maps.Clone(at)
			h.vary(next, names[h.random.IntN(len(names))])
			if s := h.score(next); s >= 0 && (s >= score || reached(s)) {
				at, score = next, s
			}
		}
	}
	return nil
}

// vary gives a name another value; one of a collection none, one or two.
func (h *hunt) vary(w world, name string) {
	pool := h.pool[name]
	pick := func() any {
		if len(pool) == 0 {
			return map[string]any{}
		}
		return pool[h.random.IntN(len(pool))]
	}
	if !h.lists[name] {
		w[name] = pick()
		return
	}
	list := []any{}
	for range h.random.IntN(3) {
		list = append(list, pick())
	}
	w[name] = list
}

// score is the oracle's; -1 where it cannot tell.
func (h *hunt) score(w world) (s float64) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(unsupported); !ok {
				panic(r)
			}
			s = -1
		}
	}()
	res, rc := w.resource()
	o := *h.o
	o.res, o.request = res, rc
	if h.o.subject == nil {
		o.subject = res
	}
	s = o.score(h.cond)
	if h.seen != nil {
		h.seen(w)
	}
	return s
}

// envelope are the members of a resource that stand beside its properties, and so do their aliases.
var envelope = []string{"sku", "zones", "identity", "kind", "tags", "location", "managedBy", "plan"}

// resource makes what the world says.
func (w world) resource() (*Resource, *RequestContext) {
	rc := asked()
	typ, _ := w["type"].(string)
	name, ok := w["name"].(string)
	if !ok {
		name = "x"
	}
	res := &Resource{Type: typ, Name: name, FullName: name, Tracked: true, ID: "/subscriptions/s/resourceGroups/g/providers/" + typ + "/" + name,
		Body: map[string]any{"location": "westeurope", "properties": map[string]any{}}}
	fields := slices.SortedFunc(maps.Keys(w), func(a, b string) int { // arrays before what passes them without saying so
		return cmp.Or(strings.Count(b, "[*]")-strings.Count(a, "[*]"), strings.Compare(a, b))
	})
	for _, field := range fields {
		v := w[field]
		switch {
		case field == aroundIdentity:
			rc.Identity = v.(map[string]any)
		case field == aroundVersion:
			rc.APIVersion, _ = v.(string)
		case field == aroundGroup:
			rc.ResourceGroup = func() map[string]any { return v.(map[string]any) }
			rc.Subscription = func() map[string]any {
				return map[string]any{"subscriptionId": "s", "id": "/subscriptions/s", "tags": v.(map[string]any)["tags"]}
			}
		case v == nil || field == "type" || field == "name":
		case field == "id":
			res.ID = str(v)
		case strings.HasPrefix(field, "tags["):
			put(res.Body, "tags."+strings.Trim(field[len("tags"):], "'[]"), v)
		case !strings.Contains(field, "/"):
			put(res.Body, field, v)
		default:
			cut := strings.LastIndexByte(field, '/')
			if !strings.EqualFold(field[:cut], typ) {
				continue
			}
			path := pathOf(field)
			head, _, _ := strings.Cut(path, ".")
			if slices.Contains(envelope, strings.TrimSuffix(head, "[*]")) {
				put(res.Body, path, v)
			} else {
				put(res.Body["properties"].(map[string]any), path, v)
			}
		}
	}
	return res, rc
}

// put writes a value at an alias' path; of the values of a collection each goes into an element of its own.
func put(m map[string]any, path string, v any) {
	name, rest, deeper := strings.Cut(path, ".")
	name, star := strings.CutSuffix(name, "[*]")
	if star {
		list, _ := m[name].([]any)
		for i, e := range v.([]any) {
			if !deeper {
				if i < len(list) {
					continue // elements that another alias made
				}
				list = append(list, e)
				continue
			}
			if i == len(list) {
				list = append(list, map[string]any{})
			}
			if inner, ok := list[i].(map[string]any); ok && e != nil {
				if strings.Contains(rest, "[*]") {
					e = []any{e, e}
				}
				put(inner, rest, e)
			}
		}
		m[name] = list
		return
	}
	if list, there := m[name].([]any); there {
		for _, e := range list {
			if inner, ok := e.(map[string]any); ok && deeper && v != nil {
				put(inner, rest, v)
			}
		}
		return
	}
	if !deeper {
		if _, there := m[name]; !there || v != nil {
			m[name] = v
		}
		return
	}
	inner, ok := m[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		m[name] = inner
	}
	put(inner, rest, v)
}

// TestBuiltinPairs finds, for every built-in definition of Resource Manager's modes, a resource that it finds compliant and one that
// it does not, by an evaluator that shares no code with the package: both must agree, also on everything that the search tried.
func TestBuiltinPairs(t *testing.T) {
	tried, pairs, elsewhere := 0, 0, map[string]int{}
	for _, b := range Builtins() {
		if !b.Properties.ResourceMode() {
			elsewhere[b.Properties.Mode]++ // of a data plane: not assigned, 501
			continue
		}
		var rule struct {
			If   any
			Then struct {
				Effect  string
				Details struct {
					Type, Name         any
					ExistenceCondition any
				}
			}
		}
		if err := plain(b.Properties.Rule, &rule); err != nil {
			// details of append is an array, which has no existence condition
			var short struct {
				If   any
				Then struct{ Effect string }
			}
			if err := plain(b.Properties.Rule, &short); err != nil {
				t.Fatal(err)
			}
			rule.If, rule.Then.Effect = short.If, short.Then.Effect
		}
		x, args := pairIndex(t, b)
		bound := x.All()[0]
		o := &oracle{params: args, request: asked()}
		effect := strings.ToLower(fmt.Sprint(o.eval(rule.Then.Effect)))
		h := newHunt(o, rule.If)
		h.add("type", "Microsoft.Storage/storageAccounts")
		agree := 0
		h.seen = func(w world) {
			if agree++; agree > 25 {
				return
			}
			res, rc := w.resource()
			p := *o
			p.res, p.subject, p.request = res, res, rc
			want := p.holds(rule.If)
			if got, err := bound.Definition.rule.cond.holds(newRun(bound, rc, res)); err != nil || got != want {
				t.Errorf("%s %s: %v: holds %v, %v; the oracle says %v", b.Name, b.Properties.DisplayName, w, got, err, want)
			}
			tried++
		}
		bad := h.find(true, world{})
		if bad == nil {
			t.Errorf("%s %s: no resource found that it concerns", b.Name, b.Properties.DisplayName)
			continue
		}
		var related *Resource // that satisfies an existence condition
		good := bad
		if effect == AuditIfNotExists || effect == DeployIfNotExists {
			if related = findRelated(o, bad, rule.Then.Details.Type, rule.Then.Details.ExistenceCondition); related == nil {
				t.Errorf("%s %s: nothing found that satisfies it", b.Name, b.Properties.DisplayName)
				continue
			}
		} else if good = h.find(false, bad, "type", "name", "kind"); good == nil {
			if good = h.find(false, bad); good == nil {
				t.Errorf("%s %s: it concerns every resource", b.Name, b.Properties.DisplayName)
			}
		}
		if good != nil {
			checkPair(t, b, x, effect, bad, good, related)
			pairs++
		}
	}
	t.Logf("%d pairs, %d resources tried beside them; of data planes: %v", pairs, tried, elsewhere)
}

// checkPair asks the package about both of a pair, as a scan and as a write.
func checkPair(t *testing.T, b *Builtin, x *Index, effect string, bad, good world, related *Resource) {
	t.Helper()
	for want, w := range map[string]world{NonCompliant: bad, Compliant: good} {
		res, rc := w.resource()
		if effect == DenyAction || effect == AuditAction {
			d := x.Delete(rc, []string{"/"}, res, false)
			if (len(d.Denied)+len(d.Audited) > 0) != (want == NonCompliant) {
				t.Errorf("%s %s: deletion of %v: %+v, want %s", b.Name, b.Properties.DisplayName, w, d, want)
			}
			continue
		}
		found := func(Query) ([]*Resource, error) {
			if related != nil && want == Compliant {
				return []*Resource{related}, nil
			}
			return nil, nil
		}
		states := x.Scan(rc, []string{"/"}, res, found, func(*Bound, *Resource) string { return "" })
		none := len(states) == 0 && want == Compliant // another type, name or kind: it does not apply
		if !none && (len(states) != 1 || states[0].Err != nil || states[0].Compliance != want) {
			t.Errorf("%s %s: %v: %d states, want %s", b.Name, b.Properties.DisplayName, w, len(states), want)
			for _, s := range states {
				t.Errorf("it is %s: %v", s.Compliance, s.Err)
			}
		}
		d := x.Write(rc, []string{"/"}, res, false)
		concerned := len(d.Denied)+len(d.Audited)+len(d.Modified)+len(d.After) > 0
		if changes := effect == Modify || effect == Append; !changes && related == nil && concerned != (want == NonCompliant) {
			t.Errorf("%s %s: write of %v: %+v, want %s", b.Name, b.Properties.DisplayName, w, d, want)
		} else if changes && want == Compliant && concerned {
			t.Errorf("%s %s: it changes what complies: %v", b.Name, b.Properties.DisplayName, w)
		}
	}
}

func findRelated(o *oracle, subject world, typ, condition any) *Resource {
	res, rc := subject.resource()
	p := *o
	p.res, p.subject, p.request = res, res, rc
	if condition == nil {
		condition = map[string]any{"allOf": []any{map[string]any{"field": "location", "exists": true}}}
	}
	h := newHunt(&p, condition)
	h.add("type", p.eval(typ))
	w := h.find(true, world{"type": p.eval(typ)}, "type")
	if w == nil {
		return nil
	}
	found, _ := w.resource()
	return found
}

// plain reads JSON with numbers as float64.
func plain(raw []byte, into any) error { return json.Unmarshal(raw, into) }

// pairIndex assigns a definition with an effect other than Disabled; it returns what its parameters are.
func pairIndex(t *testing.T, b *Builtin) (*Index, map[string]any) {
	t.Helper()
	given := ""
	for name, p := range b.Properties.Parameters {
		if !strings.EqualFold(name, "effect") || !strings.EqualFold(str(p.DefaultValue), Disabled) {
			continue
		}
		i := slices.IndexFunc(p.AllowedValues, func(v any) bool { return !strings.EqualFold(str(v), Disabled) })
		given = fmt.Sprintf(`{%q:%q}`, name, p.AllowedValues[i])
	}
	x := builtinIndex(t, b, given)
	args := map[string]any{}
	for name, p := range b.Properties.Parameters {
		v := p.DefaultValue
		if have, ok := x.All()[0].Assignment.Parameters[name]; ok {
			v = have.Value
		}
		raw, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(raw, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		args[name] = v
	}
	return x, args
}
