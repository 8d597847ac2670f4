package spec

import (
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:embed catalog/*.json.gz
var files embed.FS

// Types are all types, in the order of their names.
func Types() []*Type { return read().list }

// Lookup is the type of that name, in which case does not count; nil if there is none.
func Lookup(name string) *Type { return read().byName[strings.ToLower(name)] }

type index struct {
	byName map[string]*Type
	list   []*Type
}

// namespace is a Namespace in use: its catalog is read when it is first asked for.
type namespace struct {
	Namespace
	read  sync.Once
	forms map[string]*Form // by lower-case name of the type
	nodes []Node
	kinds map[string]bool // the members that tell forms apart, in lower case
}

// read decodes the index. It and the catalogs are part of the program: one that cannot be read is a mistake in it.
var read = sync.OnceValue(func() index {
	x := index{byName: map[string]*Type{}}
	var all []Namespace
	decode("index", &all)
	for i := range all {
		in := &namespace{Namespace: all[i]}
		for j := range in.Types {
			t := &in.Types[j]
			t.in = in
			x.byName[strings.ToLower(t.Name)] = t
		}
	}
	for _, key := range slices.Sorted(maps.Keys(x.byName)) {
		x.list = append(x.list, x.byName[key])
	}
	return x
})

func decode(name string, to any) {
	f, err := files.Open("catalog/" + name + ".json.gz")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(z).Decode(to)
	}
	if err != nil {
		panic(fmt.Errorf("arm/spec: catalog %s: %w", name, err))
	}
}

// Versions are the api-versions of the type, oldest first.
func (t *Type) Versions() []string { return t.in.Versions }

func (t *Type) form() *Form {
	t.in.read.Do(func() {
		var c Catalog
		decode(t.in.Name, &c)
		t.in.nodes, t.in.forms, t.in.kinds = c.Nodes, map[string]*Form{}, map[string]bool{}
		for i := range c.Nodes {
			t.in.kinds[strings.ToLower(c.Nodes[i].Discriminator)] = true
		}
		for i := range c.Forms {
			t.in.forms[strings.ToLower(t.in.Types[i].Name)] = &c.Forms[i]
		}
	})
	return t.in.forms[strings.ToLower(t.Name)]
}

func (t *Type) node(i int) *Node {
	t.form()
	return &t.in.nodes[i]
}

func (t *Type) body() *Node { return t.node(t.form().Body) }

// Lists are the actions that answer what the service has made.
func (t *Type) Lists() []List { return t.form().Lists }

// NameForm is the form of the type's names; an unbounded string if nothing is said of them.
func (t *Type) NameForm() Node {
	body := t.body()
	switch {
	case t.form().NameOf != nil:
		return *t.node(*t.form().NameOf)
	case strings.EqualFold(body.Discriminator, "name"):
		n := Node{Kind: Enum}
		for _, c := range body.Cases {
			n.Values = append(n.Values, c.Value)
		}
		return n
	}
	return Node{Kind: String}
}

// Has reports whether a body of the type has the member at a path of names below its root.
func (t *Type) Has(path ...string) bool {
	n := t.body()
	for _, name := range path {
		m := n.member(name)
		if m == nil {
			return false
		}
		n = t.node(m.Node)
	}
	return true
}

// ReadOnly are the names of the members of properties that the service says.
func (t *Type) ReadOnly() (names []string) {
	p := t.body().member("properties")
	if p == nil {
		return nil
	}
	for _, m := range t.node(p.Node).Members {
		if m.Flags&ReadOnly != 0 {
			names = append(names, m.Name)
		}
	}
	return names
}

// Requires reports whether properties must be sent.
func (t *Type) Requires() bool {
	p := t.body().member("properties")
	return p != nil && slices.ContainsFunc(t.node(p.Node).Members, func(m Member) bool { return m.Flags&Required != 0 && m.Flags&ReadOnly == 0 })
}

// member is the member of that name, in which case does not count.
func (n *Node) member(name string) *Member {
	for i := range n.Members {
		if strings.EqualFold(n.Members[i].Name, name) {
			return &n.Members[i]
		}
	}
	return nil
}

// Make is an answer of a list action, of which text makes the values: of strings that it makes empty there are none.
// Arrays have one element.
func (t *Type) Make(l List, text func(path string) string) any {
	return t.make(t.node(l.Answer), "", 0, text)
}

// maxMade bounds answers whose form holds itself.
const maxMade = 6

func (t *Type) make(n *Node, path string, depth int, text func(path string) string) any {
	switch n.Kind {
	case String:
		if s := text(path); s != "" {
			return s
		}
	case Enum:
		if len(n.Values) > 0 {
			return n.Values[0]
		}
	case Array:
		if n.Item != nil && depth < maxMade {
			if e := t.make(t.node(*n.Item), path, depth+1, text); e != nil {
				return []any{e}
			}
		}
		return []any{}
	case Object:
		out := map[string]any{}
		for _, m := range n.Members {
			if depth >= maxMade {
				break
			}
			if v := t.make(t.node(m.Node), path+"."+m.Name, depth+1, text); v != nil {
				out[m.Name] = v
			}
		}
		return out
	}
	return nil
}
