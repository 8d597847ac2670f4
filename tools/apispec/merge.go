package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"vauban.dev/arm/spec"
)

// bicep is one element of a types.json.
type bicep struct {
	Kind          string                 `json:"$type"`
	Name          string                 `json:"name"`
	Value         string                 `json:"value"`
	Properties    map[string]bicepMember `json:"properties"`
	Base          map[string]bicepMember `json:"baseProperties"`
	Additional    *ref                   `json:"additionalProperties"`
	Discriminator string                 `json:"discriminator"`
	Elements      json.RawMessage        `json:"elements"` // a list of a union, a map of a discriminated object
	Item          *ref                   `json:"itemType"`
	Body          *ref                   `json:"body"`
	Output        *ref                   `json:"output"`
	ResourceType  string                 `json:"resourceType"`
	Writable      int                    `json:"writableScopes"`
	Sensitive     bool                   `json:"sensitive"`
	Pattern       string                 `json:"pattern"`
	MinLength     *int                   `json:"minLength"`
	MaxLength     *int                   `json:"maxLength"`
	MinValue      *int                   `json:"minValue"`
	MaxValue      *int                   `json:"maxValue"`
}

type bicepMember struct {
	Type  ref `json:"type"`
	Flags int `json:"flags"`
}

type ref struct {
	To string `json:"$ref"` // #/12
}

func (to ref) index() (int, error) { return strconv.Atoi(strings.TrimPrefix(to.To, "#/")) }

// Flags of a member in Bicep's types.
const (
	required = 1 << iota
	readOnly
	writeOnly
)

// node is a merged type.
type node struct {
	spec.Node
	same    *node // it was merged into this one
	seen    int   // versions that have it
	members map[string]*member
	cases   map[string]*node
	item    *node // of an array, of additional members
	name    string
	parts   map[*node]int // of an object that stands for several of other names: how often each was seen when it came in
}

// member is a member of a merged object: in how many versions it was, was required, read-only, write-only.
type member struct {
	to                     *node
	seen, required, ro, wo int
}

func (n *node) root() *node {
	for n.same != nil {
		n = n.same
	}
	return n
}

type resource struct {
	name      string
	versions  map[string]bool
	scopes    int
	body      *node
	functions map[string]*node
}

type merger struct {
	named     map[string]*node // objects by service and name
	eithers   map[string]*node // objects that stand for several, by the names of these
	resources map[string]*resource
}

func newMerger() *merger {
	return &merger{named: map[string]*node{}, eithers: map[string]*node{}, resources: map[string]*resource{}}
}

func (m *merger) file(f file) error {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	var all []bicep
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	r := &reader{m: m, service: f.service, all: all, done: map[int]*node{}, cases: map[int]string{}}
	for i := range all {
		switch t := &all[i]; t.Kind {
		case "ResourceType":
			if name, _, _ := strings.Cut(t.Name, "@"); t.Writable != 0 {
				res := m.resource(name)
				res.versions[f.version] = true
				res.scopes |= t.Writable
				res.body = m.merge(res.body, r.at(*t.Body))
			}
		case "ResourceFunctionType":
			if t.Output != nil && strings.HasPrefix(t.Name, "list") {
				res := m.resource(t.ResourceType)
				res.functions[t.Name] = m.merge(res.functions[t.Name], r.at(*t.Output))
			}
		}
	}
	return nil
}

// resource is the type of that name, of whose spellings the one with the most capitals is kept.
func (m *merger) resource(name string) *resource {
	key := strings.ToLower(name)
	res := m.resources[key]
	if res == nil {
		res = &resource{name: name, versions: map[string]bool{}, functions: map[string]*node{}}
		m.resources[key] = res
	}
	if capitals(name) > capitals(res.name) {
		res.name = name
	}
	return res
}

func capitals(s string) (n int) {
	for _, r := range s {
		if unicode.IsUpper(r) {
			n++
		}
	}
	return n
}

// reader makes the nodes of one file.
type reader struct {
	m       *merger
	service string
	all     []bicep
	done    map[int]*node
	cases   map[int]string // names of the cases of discriminated objects
}

func (r *reader) at(to ref) *node {
	i, err := to.index()
	if err != nil || i >= len(r.all) {
		return &node{Node: spec.Node{Kind: spec.Any}, seen: 1}
	}
	if n := r.done[i]; n != nil {
		return n.root()
	}
	t := &r.all[i]
	n := &node{seen: 1}
	r.done[i] = n
	switch t.Kind {
	case "StringType":
		n.Node = spec.Node{Kind: spec.String, Pattern: t.Pattern, Min: t.MinLength, Max: t.MaxLength, Secret: t.Sensitive}
	case "StringLiteralType":
		n.Node = spec.Node{Kind: spec.Enum, Values: []string{t.Value}}
	case "IntegerType":
		n.Node = spec.Node{Kind: spec.Integer, Min: t.MinValue, Max: t.MaxValue}
	case "BooleanType":
		n.Kind = spec.Boolean
	case "ArrayType":
		n.Node = spec.Node{Kind: spec.Array, Min: t.MinLength, Max: t.MaxLength}
		n.item = r.at(*t.Item)
	case "UnionType":
		r.union(n, t)
	case "ObjectType", "DiscriminatedObjectType":
		return r.object(i, n, t)
	default:
		n.Kind = spec.Any
	}
	return n
}

// union is an enumeration, open to other texts or not, or anything.
func (r *reader) union(n *node, t *bicep) {
	var list []ref
	_ = json.Unmarshal(t.Elements, &list) // another form leaves it empty, which is Any
	n.Kind = spec.Enum
	for _, e := range list {
		switch v := r.at(e); v.Kind {
		case spec.Enum:
			n.Values = append(n.Values, v.Values...)
			n.Open = n.Open || v.Open
		case spec.String:
			n.Open = true
		default:
			n.Node = spec.Node{Kind: spec.Any}
			return
		}
	}
	if len(list) == 0 {
		n.Kind = spec.Any
	}
}

// object is the merged object of that name.
func (r *reader) object(i int, n *node, t *bicep) *node {
	n.Kind, n.members = spec.Object, map[string]*member{}
	n.Secret = t.Sensitive
	key := cmp.Or(r.cases[i], r.service+"/"+t.Kind+"/"+t.Name)
	n.name = key
	known := r.m.named[key]
	if known == nil {
		r.m.named[key] = n
	}
	r.fill(n, t.Properties)
	r.fill(n, t.Base)
	if t.Additional != nil {
		n.item = r.at(*t.Additional)
	}
	if t.Kind == "DiscriminatedObjectType" {
		n.Discriminator, n.cases = t.Discriminator, map[string]*node{}
		var elements map[string]ref
		_ = json.Unmarshal(t.Elements, &elements) // always of this form
		for value, e := range elements {
			if at, err := e.index(); err == nil && r.cases[at] == "" {
				r.cases[at] = key + "/" + value // all cases of a resource have its name
			}
			n.cases[value] = r.at(e)
		}
	}
	if known == nil {
		return n
	}
	n = r.m.merge(known, n)
	r.done[i] = n
	return n
}

func (r *reader) fill(n *node, properties map[string]bicepMember) {
	for name, p := range properties {
		n.members[name] = &member{to: r.at(p.Type), seen: 1, required: p.Flags & required, ro: p.Flags & readOnly / readOnly, wo: p.Flags & writeOnly / writeOnly}
	}
}

// merge makes one type that takes what either takes. Of two objects one becomes the other, which ends the recursion of
// those that hold themselves; all else is shared within a file and stays what it is.
func (m *merger) merge(a, b *node) *node {
	if a == nil {
		return b.root()
	}
	if b == nil {
		return a.root()
	}
	a, b = a.root(), b.root()
	switch {
	case a == b:
		return a
	case a.Kind == spec.Object && b.Kind == spec.Object && a.name == b.name && a.parts == nil && b.parts == nil:
		b.same = a
		m.mergeObjects(a, b)
		return a
	case a.Kind == spec.Object && b.Kind == spec.Object:
		return m.either(a, b)
	case text(a) && text(b) && a.Kind != b.Kind:
		return &node{Node: spec.Node{Kind: spec.Enum, Open: true, Values: values(a, b), Secret: a.Secret || b.Secret}}
	case a.Kind != b.Kind:
		return &node{Node: spec.Node{Kind: spec.Any, Secret: a.Secret || b.Secret}}
	}
	n := &node{Node: a.Node}
	if a.Pattern != b.Pattern {
		n.Pattern = ""
	}
	n.Min, n.Max = bound(a.Min, b.Min, -1), bound(a.Max, b.Max, 1)
	n.Open, n.Secret, n.Values = a.Open || b.Open, a.Secret || b.Secret, values(a, b)
	if a.item != nil {
		n.item = m.merge(a.item, b.item)
	}
	return n
}

// either is an object that a member is in one version and an object of another name in the next. Both stay what they are
// elsewhere.
func (m *merger) either(a, b *node) *node {
	names := slices.Concat(namesOf(a), namesOf(b))
	slices.Sort(names)
	key := strings.Join(slices.Compact(names), "\x00")
	n := m.eithers[key]
	if n == nil {
		n = &node{Node: spec.Node{Kind: spec.Object}, members: map[string]*member{}, name: key, parts: map[*node]int{}}
		m.eithers[key] = n
	}
	for _, part := range []*node{a, b} {
		if part != n && n.parts[part] != part.seen {
			first := len(n.parts) == 0
			n.parts[part] = part.seen
			if first {
				n.Discriminator, n.cases = part.Discriminator, maps.Clone(part.cases)
			}
			m.mergeObjects(n, part)
		}
	}
	return n
}

func namesOf(n *node) []string {
	if n.parts == nil {
		return []string{n.name}
	}
	return strings.Split(n.name, "\x00")
}

func (m *merger) mergeObjects(a, b *node) {
	a.seen += b.seen
	a.Secret = a.Secret || b.Secret
	if a.item != nil || b.item != nil {
		a.item = m.merge(a.item, b.item)
	}
	if a.Discriminator != b.Discriminator {
		a.Discriminator, a.cases = "", nil
	}
	for value, c := range b.cases {
		if a.cases != nil {
			a.cases[value] = m.merge(a.cases[value], c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.members)) {
		m.mergeMember(a, name, b.members[name])
	}
}

func values(a, b *node) []string {
	var all []string
	for _, v := range slices.Concat(a.Values, b.Values) {
		if !slices.ContainsFunc(all, func(have string) bool { return strings.EqualFold(have, v) }) {
			all = append(all, v)
		}
	}
	return all
}

func (m *merger) mergeMember(a *node, name string, b *member) {
	for have, old := range a.members {
		if strings.EqualFold(have, name) {
			old.seen, old.required, old.ro, old.wo = old.seen+b.seen, old.required+b.required, old.ro+b.ro, old.wo+b.wo
			old.to = m.merge(old.to, b.to)
			return
		}
	}
	c := *b
	a.members[name] = &c
}

func text(n *node) bool { return n.Kind == spec.String || n.Kind == spec.Enum }

// bound is the wider of two bounds; none where one has none.
func bound(a, b *int, sign int) *int {
	switch {
	case a == nil || b == nil:
		return nil
	case (*b-*a)*sign > 0:
		return b
	}
	return a
}
