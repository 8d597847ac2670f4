package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"vauban.dev/arm/spec"
)

// envelope are members of a resource that Resource Manager itself knows.
var envelope = []string{"id", "name", "type", "apiVersion", "tags", "identity", "zones", "systemData", "etag"}

// writer numbers the nodes that are reachable.
type writer struct {
	out    *spec.Catalog
	number map[*node]int
	plain  map[string]int // nodes without members, by their JSON
}

func (m *merger) catalog() (spec.Namespace, *spec.Catalog) {
	var index spec.Namespace
	w := &writer{out: &spec.Catalog{}, number: map[*node]int{}, plain: map[string]int{}}
	versions := map[string]bool{}
	for _, r := range m.resources {
		maps.Copy(versions, r.versions)
	}
	index.Versions = slices.Sorted(maps.Keys(versions)) // services answer them of all of their types, more than the specification has of each
	for _, key := range slices.Sorted(maps.Keys(m.resources)) {
		r := m.resources[key]
		if r.body == nil {
			continue
		}
		body := r.body.root()
		form, t := spec.Form{}, spec.Type{Name: r.name, Scopes: r.scopes, Location: place(r.name, body)}
		if n := find(body, "name"); n != nil {
			at := w.node(n.to)
			form.NameOf = &at
			t.Always = strings.Count(r.name, "/") > 1 && n.to.root().Kind == spec.Enum && len(n.to.root().Values) == 1
		}
		if p := find(body, "properties"); p != nil {
			inner := p.to.root()
			t.State = find(inner, "provisioningState") != nil
			for _, m := range inner.members {
				t.Always = t.Always && (m.required < inner.seen || m.ro > 0)
			}
		}
		bare(body)
		form.Body = w.node(body)
		for _, f := range slices.Sorted(maps.Keys(r.functions)) {
			form.Lists = append(form.Lists, spec.List{Name: f, Answer: w.node(r.functions[f])})
		}
		index.Types, w.out.Forms = append(index.Types, t), append(w.out.Forms, form)
	}
	return index, w.out
}

// bare takes the members of the envelope out of a body, and out of its cases.
func bare(body *node) {
	for _, name := range envelope {
		delete(body.members, name)
	}
	for _, c := range body.cases {
		if c := c.root(); c.members != nil {
			bare(c)
		}
	}
}

func find(n *node, name string) *member {
	for have, m := range n.members {
		if strings.EqualFold(have, name) {
			return m
		}
	}
	return nil
}

// place says whether a resource has a location, and whether it must have one: Resource Manager asks it of all that are
// tracked, which the specification does not say of every child.
func place(name string, body *node) spec.Place {
	l := find(body, "location")
	switch {
	case l == nil || l.ro == l.seen:
		return spec.Nowhere
	case l.required == body.seen || find(body, "tags") != nil && !strings.Contains(name[strings.IndexByte(name, '/')+1:], "/"):
		return spec.Somewhere
	}
	return spec.Anywhere
}

func (w *writer) node(n *node) int {
	n = n.root()
	if i, ok := w.number[n]; ok {
		return i
	}
	out := n.Node
	out.Values = slices.Sorted(slices.Values(out.Values))
	if n.members == nil && n.item == nil {
		b, err := json.Marshal(out)
		if err != nil {
			panic(err) // a plain struct
		}
		i, ok := w.plain[string(b)]
		if !ok {
			i = w.add(out)
			w.plain[string(b)] = i
		}
		w.number[n] = i
		return i
	}
	i := w.add(out)
	w.number[n] = i
	if n.item != nil {
		item := w.node(n.item)
		out.Item = &item
	}
	for _, name := range slices.Sorted(maps.Keys(n.members)) {
		m := n.members[name]
		to := m.to.root()
		if to.Kind == spec.String && secret(name) {
			c := to.Node
			c.Secret = true
			to = &node{Node: c}
		}
		x := spec.Member{Name: name, Node: w.node(to)}
		if m.required == n.seen {
			x.Flags |= spec.Required
		}
		if m.ro == m.seen {
			x.Flags |= spec.ReadOnly
		}
		if m.wo == m.seen {
			x.Flags |= spec.WriteOnly
		}
		out.Members = append(out.Members, x)
	}
	for _, value := range slices.Sorted(maps.Keys(n.cases)) {
		out.Cases = append(out.Cases, spec.Case{Value: value, Node: w.node(n.cases[value])})
	}
	w.out.Nodes[i] = out
	return i
}

// secrets are how the names of secrets end of which the specification does not say that they are.
var secrets = []string{"password", "pwd", "clientsecret", "sharedkey", "accesskey", "accountkey", "primarykey", "secondarykey", "privatekey", "apikey", "secretkey", "sastoken", "connectionstring"}

func secret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secrets, func(end string) bool { return strings.HasSuffix(name, end) })
}

func (w *writer) add(n spec.Node) int {
	w.out.Nodes = append(w.out.Nodes, n)
	return len(w.out.Nodes) - 1
}
