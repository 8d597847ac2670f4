package export

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// What may stand in a template beside JSON's values.
type (
	// parameter is the value of one.
	parameter struct{ name string }
	// reference is the id of an exported resource, or of something in it.
	reference struct {
		to   *item
		tail []string // type, name, …
	}
	// outside is an id that is no exported resource's.
	outside struct {
		parameter string
		tail      string // "/subnets/x"
	}
	// object is an object whose members have an order; a key is a string or one of the above.
	object []member
	member struct{ key, value any }
)

// item is a resource of the template.
type item struct {
	id      arm.ID
	info    rp.TypeInfo
	version string
	body    map[string]any
	name    []any // of its resource and those above it: texts or parameters
	parent  *item
	needs   map[*item]bool
	shown   object // location, tags … properties
}

// plain are the members of a resource's envelope that a template says, in Azure's order.
var envelope = []string{"location", "tags", "sku", "kind", "identity", "zones", "plan", "extendedLocation"}

// own are members that services give and no template says, wherever they stand in the properties.
var own = map[string]bool{"provisioningState": true, "etag": true, "resourceGuid": true, "systemData": true, "lastEnabledTime": true, "recordSets": true, "ipVersionType": true}

// back are references to who uses a resource: the user's template says them.
var back = map[string]map[string]bool{
	"microsoft.network/loadbalancers/backendaddresspools":      {"backendIPConfigurations": true, "loadBalancingRules": true, "outboundRules": true, "inboundNatRules": true},
	"microsoft.network/loadbalancers/frontendipconfigurations": {"loadBalancingRules": true, "outboundRules": true, "inboundNatRules": true, "inboundNatPools": true},
	"microsoft.network/loadbalancers/probes":                   {"loadBalancingRules": true},
	"microsoft.network/loadbalancers/inboundnatrules":          {"backendIPConfiguration": true},
	"microsoft.network/virtualnetworks/subnets":                {"ipConfigurations": true, "privateEndpoints": true, "serviceAssociationLinks": true, "resourceNavigationLinks": true, "purpose": true},
}

// stripped is a value of the properties of a type without what clients cannot write. at is its place there.
func (b *builder) stripped(v any, info rp.TypeInfo, at string, of *item) any {
	switch x := v.(type) {
	case map[string]any:
		if x["id"] != nil && x["name"] != nil && b.within(x["id"], of) { // an embedded resource: its id follows from its name
			x = maps.Clone(x)
			delete(x, "id")
			delete(x, "type")
		}
		out := object{}
		for _, k := range slices.Sorted(maps.Keys(x)) {
			path := strings.TrimPrefix(at+"."+k, ".")
			if own[k] || b.readOnly(info, path) || back[info.Name.Key()][k] || x[k] == nil {
				continue
			}
			if child, ok := b.inline(info, at, k); ok {
				if list := b.embedded(x[k], child, of); list != nil {
					out = append(out, member{k, list})
				}
				continue
			}
			if k == "loadBalancerBackendAddresses" { // those of interfaces come with the interfaces
				x[k] = withoutInterfaces(x[k])
			}
			out = append(out, member{k, b.stripped(x[k], info, path, of)})
		}
		return out
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = b.stripped(e, info, at+"[*]", of)
		}
		return list
	case string:
		return b.text(x, of)
	}
	return v
}

func withoutInterfaces(v any) any {
	list, _ := v.([]any)
	return slices.DeleteFunc(slices.Clone(list), func(e any) bool {
		m, _ := e.(map[string]any)
		p, _ := m["properties"].(map[string]any)
		return p["networkInterfaceIPConfiguration"] != nil
	})
}

// within says that an id is of something in the resource.
func (b *builder) within(id any, of *item) bool {
	s, _ := id.(string)
	return strings.HasPrefix(strings.ToLower(s), of.id.Key()+"/")
}

// inline finds the child type that a property embeds.
func (b *builder) inline(info rp.TypeInfo, at, property string) (rp.TypeInfo, bool) {
	if at != "" {
		return rp.TypeInfo{}, false
	}
	for name, child := range info.Inline {
		if strings.EqualFold(name, property) {
			found, ok := b.types[strings.ToLower(child)]
			return found, ok
		}
	}
	return rp.TypeInfo{}, false
}

// embedded are child resources in a property of their parent: what clients write of them is their name and properties.
// Where one refers to another resource of its parent's type (a peering) they would tie two resources to each other: they
// become resources of their own, and the property is nil.
func (b *builder) embedded(v any, info rp.TypeInfo, of *item) []any {
	list, _ := v.([]any)
	apart := slices.ContainsFunc(list, func(e any) bool { return b.entangles(e, of) })
	out := []any{}
	for _, e := range list {
		child, ok := e.(map[string]any)
		name, _ := child["name"].(string)
		properties, _ := child["properties"].(map[string]any)
		if !ok || name == "" {
			continue
		}
		if apart {
			id, err := arm.ParseID(of.id.String() + "/" + info.Name.Types[len(info.Name.Types)-1] + "/" + name)
			if err == nil {
				b.apart = append(b.apart, &item{id: id, info: info, version: of.version, body: map[string]any{"properties": properties}, parent: of})
			}
			continue
		}
		o := object{{"name", name}}
		for _, k := range []string{"sku", "zones", "tags"} {
			if child[k] != nil {
				o = append(o, member{k, b.stripped(child[k], rp.TypeInfo{}, k, of)})
			}
		}
		out = append(out, append(o, member{"properties", b.stripped(properties, info, "", of)}))
	}
	if apart {
		return nil
	}
	return out
}

// entangles says that a tree refers to another resource of the same type.
func (b *builder) entangles(v any, of *item) bool {
	switch x := v.(type) {
	case map[string]any:
		for _, e := range x {
			if b.entangles(e, of) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, func(e any) bool { return b.entangles(e, of) })
	case string:
		to := b.find(x)
		return to != nil && to != of && to.info.Name.Key() == of.info.Name.Key()
	}
	return false
}

func (b *builder) readOnly(info rp.TypeInfo, path string) bool {
	fields := b.fields[info.Name.Key()]
	if fields == nil {
		fields = map[string]bool{}
		for _, f := range info.Fields {
			if f.ReadOnly || f.Secret {
				fields[strings.ToLower(f.Path)] = true
			}
		}
		b.fields[info.Name.Key()] = fields
	}
	return fields[strings.ToLower(path)]
}

// find is the exported resource that an id is of, or in.
func (b *builder) find(s string) *item {
	if !strings.HasPrefix(s, "/subscriptions/") {
		return nil
	}
	for key := strings.ToLower(s); strings.Count(key, "/") >= 8; key = key[:strings.LastIndexByte(key, '/')] {
		if to := b.byID[key]; to != nil {
			return to
		}
	}
	return nil
}

// text is a text of a body: an id becomes a reference.
func (b *builder) text(s string, of *item) any {
	id, err := arm.ParseID(s)
	if !strings.HasPrefix(strings.ToLower(s), "/subscriptions/") || err != nil || id.Namespace() == "" {
		return s
	}
	if to := b.find(s); to != nil {
		rest := strings.Trim(s[len(to.id.String()):], "/")
		r := reference{to: to}
		if rest != "" {
			r.tail = strings.Split(rest, "/")
		}
		if len(r.tail)%2 != 0 {
			return s
		}
		if to != of {
			of.needs[to] = true
		}
		return r
	}
	if b.options.literal || strings.EqualFold(id.Namespace(), "Microsoft.Authorization") {
		return s
	}
	root := rootOf(id)
	name := b.parameterName(root, "externalid")
	b.define(name, "String", root.String(), true)
	return outside{name, s[len(root.String()):]}
}

// rootOf is the resource at the top of another.
func rootOf(id arm.ID) arm.ID {
	for id.Parent().Namespace() == id.Namespace() && len(id.Names()) > 1 {
		id = id.Parent()
	}
	return id
}

// sorted orders items so that each comes after what it needs, and reports those that need each other.
func sorted(all []*item) (list []*item, circles []*item) {
	slices.SortStableFunc(all, func(a, b *item) int { return cmp.Compare(a.id.Key(), b.id.Key()) })
	state := map[*item]int{}
	var visit func(x *item)
	visit = func(x *item) {
		state[x] = 1
		needs := slices.SortedFunc(maps.Keys(x.needs), func(a, b *item) int { return cmp.Compare(a.id.Key(), b.id.Key()) })
		for _, n := range needs {
			switch state[n] {
			case 0:
				visit(n)
			case 1:
				delete(x.needs, n)
				circles = append(circles, x)
			}
		}
		state[x] = 2
		list = append(list, x)
	}
	for _, x := range all {
		if state[x] == 0 {
			visit(x)
		}
	}
	return list, circles
}
