package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// oracle evaluates a rule from its JSON as Microsoft's pages tell it, for the part of the language that the built-in definitions
// use. It shares no code with the package. It panics with unsupported for what it does not know.
type oracle struct {
	params   map[string]any
	res      *Resource // whose fields the conditions read
	subject  *Resource // whose fields field() reads
	request  *RequestContext
	elements []element // that enclosing counts are at
}

// element is what a count of an alias, in lower case, or of a value, by its name, is at.
type element struct {
	name  string
	value any
}

type unsupported string

// fault is the value of an expression that fails: in an argument of if that is not chosen it does no harm.
type fault string

// score is 1 where a node holds and 0 where it does not; between them for what holds in part, so that a search sees whether it
// comes closer.
func (o *oracle) score(n any) float64 {
	m := n.(map[string]any)
	for k, v := range m {
		switch strings.ToLower(k) {
		case "not":
			if o.score(v) == 1 {
				return 0
			}
			return 1
		case "allof":
			sum := 0.0
			for _, c := range v.([]any) {
				sum += o.score(c)
			}
			return sum / float64(len(v.([]any)))
		case "anyof":
			best := 0.0
			for _, c := range v.([]any) {
				best = max(best, o.score(c))
			}
			return best
		}
	}
	if o.leaf(m) {
		return 1
	}
	return 0
}

func (o *oracle) holds(n any) bool { return o.score(n) == 1 }

// parts of a leaf: what stands on its left, its operator in lower case and its target.
func parts(m map[string]any) (kind string, left any, op string, target any) {
	for k, v := range m {
		switch key := strings.ToLower(k); key {
		case "field", "value", "count":
			kind, left = key, v
		default:
			op, target = key, v
		}
	}
	return kind, left, op, target
}

func (o *oracle) leaf(m map[string]any) bool {
	kind, left, op, target := parts(m)
	want := o.eval(target)
	if f, failed := want.(fault); failed {
		panic(unsupported(f))
	}
	switch kind {
	case "count":
		return operate(op, float64(o.count(left.(map[string]any))), want)
	case "value":
		have := o.eval(left)
		if f, failed := have.(fault); failed {
			panic(unsupported(f))
		}
		return operate(op, have, want)
	}
	name := fmt.Sprint(o.eval(left))
	if strings.EqualFold(name, "location") {
		want = lowerLocations(want)
	}
	values, many := o.read(o.res, name)
	if !many {
		return operate(op, values[0], want)
	}
	for _, v := range values {
		if !operate(op, v, want) {
			return false
		}
	}
	return true
}

func lowerLocations(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ToLower(strings.ReplaceAll(v, " ", ""))
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, lowerLocations(e))
		}
		return out
	}
	return v
}

func (o *oracle) count(m map[string]any) int {
	var values []any
	name := "default"
	if alias, ok := m["field"].(string); ok {
		name = strings.ToLower(alias)
		values, _ = o.read(o.res, alias)
	} else {
		values, _ = o.eval(m["value"]).([]any)
		if s, ok := m["name"].(string); ok {
			name = strings.ToLower(s)
		}
	}
	where, ok := m["where"]
	if !ok {
		return len(values)
	}
	n := 0
	for _, v := range values {
		o.elements = append(o.elements, element{name, v})
		if o.holds(where) {
			n++
		}
		o.elements = o.elements[:len(o.elements)-1]
	}
	return n
}

// read is a field of a resource: one value, or those of a collection.
func (o *oracle) read(res *Resource, name string) (values []any, many bool) {
	key := strings.ToLower(name)
	switch key {
	case "type":
		return []any{res.Type}, false
	case "name":
		return []any{res.Name}, false
	case "fullname":
		return []any{res.FullName}, false
	case "id":
		return []any{res.ID}, false
	case "location":
		return []any{lowerLocations(res.Body["location"])}, false
	case "kind", "tags", "identity":
		return []any{res.Body[key]}, false
	case "identity.type":
		return []any{inside(res.Body["identity"], "type")}, false
	}
	if tag, ok := strings.CutPrefix(name, "tags["); ok {
		return []any{inside(res.Body["tags"], strings.Trim(tag, "'[]"))}, false
	}
	for i := len(o.elements) - 1; i >= 0; i-- {
		e := o.elements[i]
		if rest, ok := strings.CutPrefix(key, e.name); ok && strings.Contains(e.name, "/") && (rest == "" || rest[0] == '.') && res == o.res {
			return walk(e.value, strings.TrimPrefix(name[len(e.name):], "."), false)
		}
	}
	cut := strings.LastIndexByte(name, '/')
	if cut < 0 {
		panic(unsupported("the field " + name))
	}
	if !strings.EqualFold(name[:cut], res.Type) {
		if strings.Contains(name, "[*]") {
			return nil, true
		}
		return []any{nil}, false
	}
	path := pathOf(name)
	head, _, _ := strings.Cut(path, ".")
	from := res.Body["properties"]
	if inside(from, strings.TrimSuffix(head, "[*]")) == nil {
		from = res.Body
	}
	return walk(from, path, strings.Contains(path, "[*]"))
}

// pathOf is where an alias stands in a resource: at its own words, but for these.
func pathOf(alias string) string {
	switch strings.ToLower(alias) {
	case "microsoft.storage/storageaccounts/enableblobencryption":
		return "encryption.services.blob.enabled"
	case "microsoft.storage/storageaccounts/enablefileencryption":
		return "encryption.services.file.enabled"
	}
	return alias[strings.LastIndexByte(alias, '/')+1:]
}

func walk(v any, path string, many bool) ([]any, bool) {
	many = many || strings.Contains(path, "[*]")
	at := []any{v}
	for seg := range strings.SplitSeq(path, ".") {
		if seg == "" {
			continue
		}
		name, star := strings.CutSuffix(seg, "[*]")
		var next, each []any
		for _, v := range at { // an alias of old passes arrays without saying so
			if list, ok := v.([]any); ok {
				each, many = append(each, list...), true
			} else {
				each = append(each, v)
			}
		}
		for _, v := range each {
			in := inside(v, name)
			if !star {
				next = append(next, in)
				continue
			}
			list, _ := in.([]any)
			next = append(next, list...)
		}
		at = next
	}
	return at, many
}

// inside is a member, also one behind the "properties" that aliases leave out.
func inside(v any, name string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	for k, e := range m {
		if strings.EqualFold(k, name) {
			return e
		}
	}
	return inside(m["properties"], name)
}

func operate(op string, have, want any) bool {
	if positive, ok := strings.CutPrefix(op, "not"); ok {
		return !operate(positive, have, want)
	}
	switch op {
	case "equals":
		return same(have, want)
	case "in":
		for _, w := range want.([]any) {
			if same(have, w) {
				return true
			}
		}
		return false
	case "exists":
		return (have != nil) == same(want, true)
	case "contains":
		if list, ok := have.([]any); ok {
			return operate("in", want, list)
		}
		return have != nil && strings.Contains(strings.ToLower(str(have)), strings.ToLower(str(want)))
	case "containskey":
		m, _ := have.(map[string]any)
		for k := range m {
			if strings.EqualFold(k, str(want)) {
				return true
			}
		}
		return false
	case "like":
		before, after, star := strings.Cut(strings.ToLower(str(want)), "*")
		s := strings.ToLower(str(have))
		if !star {
			return have != nil && s == before
		}
		return have != nil && len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
	case "less":
		return have != nil && ordered(have, want) < 0
	case "lessorequals":
		return have != nil && ordered(have, want) <= 0
	case "greater":
		return have != nil && ordered(have, want) > 0
	case "greaterorequals":
		return have != nil && ordered(have, want) >= 0
	}
	panic(unsupported("the operator " + op))
}

func str(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func whole(v any) int {
	n, err := strconv.Atoi(str(v))
	if err != nil {
		panic(unsupported("a number: " + str(v)))
	}
	return n
}

func same(a, b any) bool {
	if _, ok := a.([]any); ok {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return strings.EqualFold(string(x), string(y))
	}
	if _, ok := a.(map[string]any); ok {
		return false
	}
	if _, ok := b.([]any); ok {
		return false
	}
	return strings.EqualFold(str(a), str(b))
}

func ordered(a, b any) int {
	x, err := strconv.ParseFloat(str(a), 64)
	y, err2 := strconv.ParseFloat(str(b), 64)
	_, text := a.(string)
	_, textToo := b.(string)
	switch {
	case err == nil && err2 == nil && !(text && textToo) && x < y:
		return -1
	case err == nil && err2 == nil && !(text && textToo) && x > y:
		return 1
	case err == nil && err2 == nil && !(text && textToo):
		return 0
	case !text || !textToo:
		panic(unsupported("the order of a text and a number"))
	}
	return strings.Compare(strings.ToLower(str(a)), strings.ToLower(str(b)))
}

// eval evaluates a value of a rule: what is not an expression is itself.
func (o *oracle) eval(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "[[") {
			return v[1:]
		}
		if !strings.HasPrefix(v, "[") || !strings.HasSuffix(v, "]") {
			return v
		}
		p := &reader{text: v[1 : len(v)-1], o: o}
		return p.expression()
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = o.eval(e)
		}
		return out
	}
	return v
}

// reader evaluates an expression while it reads it; arguments of if are all evaluated.
type reader struct {
	text string
	at   int
	o    *oracle
}

func (p *reader) space() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

func (p *reader) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *reader) expression() any {
	p.space()
	var v any
	switch c := p.text[p.at]; {
	case c == '\'':
		end := p.at + 1 + strings.IndexByte(p.text[p.at+1:], '\'')
		v, p.at = p.text[p.at+1:end], end+1
	case c >= '0' && c <= '9' || c == '-':
		end := p.at + 1
		for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
			end++
		}
		n, _ := strconv.ParseFloat(p.text[p.at:end], 64)
		v, p.at = n, end
	default:
		end := p.at
		for end < len(p.text) && (unicode.IsLetter(rune(p.text[end])) || unicode.IsDigit(rune(p.text[end]))) {
			end++
		}
		name := p.text[p.at:end]
		if p.at = end; !p.take('(') {
			panic(unsupported("the word " + name))
		}
		var args []any
		for !p.take(')') {
			args = append(args, p.expression())
			p.take(',')
		}
		v = p.o.call(strings.ToLower(name), args)
	}
	for {
		switch {
		case p.take('['):
			i := p.expression()
			p.take(']')
			v = index(v, i)
		case p.take('.'):
			end := p.at
			for end < len(p.text) && unicode.IsLetter(rune(p.text[end])) {
				end++
			}
			v, p.at = inside(v, p.text[p.at:end]), end
		default:
			return v
		}
	}
}

func index(v, i any) any {
	if n, ok := i.(float64); ok {
		if list, ok := v.([]any); ok && int(n) < len(list) {
			return list[int(n)]
		}
		return nil
	}
	return inside(v, str(i))
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func (o *oracle) call(name string, a []any) any {
	field := func(res *Resource, name string) any {
		values, many := o.read(res, name)
		if !many {
			return values[0]
		}
		return append([]any{}, values...)
	}
	switch name {
	case "parameters":
		for name, v := range o.params {
			if strings.EqualFold(name, str(a[0])) {
				return v
			}
		}
		panic(unsupported("the parameter " + str(a[0])))
	case "field":
		return field(o.subject, str(a[0]))
	case "current":
		if len(a) == 0 {
			return o.elements[len(o.elements)-1].value
		}
		for i := len(o.elements) - 1; i >= 0; i-- {
			if strings.EqualFold(o.elements[i].name, str(a[0])) {
				return o.elements[i].value
			}
		}
		list, _ := field(o.res, str(a[0])).([]any)
		if len(list) == 1 {
			return list[0]
		}
		values, _ := o.read(o.res, str(a[0]))
		return values[0]
	case "subscription":
		return o.request.Subscription()
	case "resourcegroup":
		return o.request.ResourceGroup()
	case "requestcontext":
		return map[string]any{"apiVersion": o.request.APIVersion, "identity": o.request.Identity}
	case "utcnow":
		return o.request.Now.UTC().Format("2006-01-02T15:04:05.0000000Z")
	case "adddays":
		at, err := time.Parse(time.RFC3339, str(a[0]))
		days, ok := a[1].(float64)
		if err != nil || !ok {
			return fault("a date: " + str(a[0]))
		}
		return at.AddDate(0, 0, int(days)).UTC().Format("2006-01-02T15:04:05.0000000Z")
	case "concat":
		s := ""
		for _, e := range a {
			s += str(e)
		}
		return s
	case "uniquestring": // a hash, which is not what is tried here
		v, err := newValue("[uniqueString('" + str(a[0]) + "')]")
		if err != nil {
			panic(unsupported(err.Error()))
		}
		h, _ := v.get(newRun(&Bound{}, o.request, o.res))
		return h
	case "tolower":
		return strings.ToLower(str(a[0]))
	case "string":
		return str(a[0])
	case "int":
		n, err := strconv.ParseFloat(str(a[0]), 64)
		if err != nil {
			return fault("int of " + str(a[0]))
		}
		return n
	case "padleft":
		s := str(a[0])
		return strings.Repeat(str(a[2]), max(0, whole(a[1])-len(s))) + s
	case "createarray":
		return append([]any{}, a...)
	case "length":
		if list, ok := a[0].([]any); ok {
			return float64(len(list))
		}
		return float64(len(str(a[0])))
	case "split":
		by := []any{a[1]}
		if list, ok := a[1].([]any); ok {
			by = list
		}
		s := str(a[0])
		for _, b := range by[1:] {
			s = strings.ReplaceAll(s, str(b), str(by[0]))
		}
		out := []any{}
		for _, e := range strings.Split(s, str(by[0])) {
			out = append(out, e)
		}
		return out
	case "first", "last":
		if list, ok := a[0].([]any); ok {
			switch {
			case len(list) == 0:
				return nil
			case name == "first":
				return list[0]
			}
			return list[len(list)-1]
		}
		panic(unsupported(name + " of a text"))
	case "empty":
		return empty(a[0])
	case "coalesce":
		for _, e := range a {
			if e != nil {
				return e
			}
		}
		return nil
	case "if":
		if same(a[0], true) {
			return a[1]
		}
		return a[2]
	case "not":
		return !same(a[0], true)
	case "and":
		for _, e := range a {
			if !same(e, true) {
				return false
			}
		}
		return true
	case "equals":
		return same(a[0], a[1])
	case "contains":
		if m, ok := a[0].(map[string]any); ok {
			return operate("containskey", m, a[1])
		}
		return operate("contains", a[0], a[1])
	case "lessorequals":
		return ordered(a[0], a[1]) <= 0
	case "greaterorequals":
		return ordered(a[0], a[1]) >= 0
	case "tryget":
		return inside(a[0], str(a[1]))
	case "iprangecontains":
		outer, err := netip.ParsePrefix(str(a[0]))
		inner, err2 := netip.ParsePrefix(str(a[1]))
		if err != nil || err2 != nil {
			panic(unsupported("an address range"))
		}
		return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
	}
	panic(unsupported("the function " + name))
}
