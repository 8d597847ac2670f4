// Package arm is the vocabulary of Azure Resource Manager: resource ids, type names, errors and the
// envelope of a resource. It imports the standard library only; everything above speaks it.
package arm

import (
	"fmt"
	"strings"
)

// ID is a parsed Azure resource id or scope: the root "/", a management group, a subscription, a
// resource group, a resource, a child resource or an extension resource on any of them.
//
// Resource ids are case-insensitive and case-preserving (Azure "Resource naming rules"): String
// returns what the caller wrote, Key the lower-case form that is compared and stored.
type ID struct {
	raw             string
	managementGroup string
	subscription    string
	resourceGroup   string
	namespace       string   // provider of the last /providers/ segment, "" for a scope
	types           []string // type segments after the namespace
	names           []string // one name for each type
	scope           string   // raw text before the last /providers/ segment
}

// ParseID parses an absolute resource id. It returns an *Error with code InvalidResourceID and
// status 400 when s does not have the form of one; a collection (a type without a name) is refused.
func ParseID(s string) (ID, error) {
	id, err := parse(s)
	if err != nil {
		return ID{}, err
	}
	if len(id.types) != len(id.names) {
		return ID{}, invalidID(s, "a resource type without a name")
	}
	return id, nil
}

// MustParseID is ParseID for ids written in the source; it panics on a bad one.
func MustParseID(s string) ID {
	id, err := ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// ParseCollection parses the path of a list request: a scope followed by /providers/NS/type, a resource
// followed by a child type, /subscriptions, or a subscription followed by /resourceGroups. It returns the
// parent (scope or resource) and the type listed.
func ParseCollection(s string) (parent ID, typ TypeName, err error) {
	if head, ok := cutLast(s, "/subscriptions"); ok && head == "" {
		return ID{raw: "/"}, TypeName{Namespace: "Microsoft.Resources", Types: []string{"subscriptions"}}, nil
	}
	if head, ok := cutLast(s, "/resourceGroups"); ok {
		if parent, err := ParseID(head); err == nil && parent.namespace == "" && parent.subscription != "" && parent.resourceGroup == "" {
			return parent, TypeName{Namespace: "Microsoft.Resources", Types: []string{"resourceGroups"}}, nil
		}
	}
	id, err := parse(s)
	if err != nil {
		return ID{}, TypeName{}, err
	}
	if id.namespace == "" || len(id.types) != len(id.names)+1 {
		return ID{}, TypeName{}, invalidID(s, "not a collection of resources")
	}
	typ = TypeName{Namespace: id.namespace, Types: id.types}
	if len(id.names) == 0 {
		parent, err = ParseID(id.scope)
		return parent, typ, err
	}
	cut := strings.LastIndexByte(strings.TrimSuffix(s, "/"), '/')
	parent, err = ParseID(s[:cut])
	return parent, typ, err
}

// isWord compares a segment with a word of the syntax, without the case of ASCII letters only: "ſ" and the
// Kelvin sign fold to s and k, but Key would not make them the same.
func isWord(segment, word string) bool {
	return len(segment) == len(word) && strings.EqualFold(segment, word)
}

// cutLast cuts the last segment, which is compared without case, and a trailing slash off a path.
func cutLast(s, segment string) (head string, ok bool) {
	s = strings.TrimSuffix(s, "/")
	cut := len(s) - len(segment)
	if cut < 0 || !isWord(s[cut:], segment) {
		return s, false
	}
	return s[:cut], true
}

func invalidID(s, why string) *Error {
	if len(s) > 256 {
		s = s[:256] + "…"
	}
	return &Error{Status: 400, Code: "InvalidResourceID", Message: fmt.Sprintf("The resource id %q is not valid: %s.", s, why)}
}

func parse(s string) (ID, error) {
	if len(s) > 4096 {
		return ID{}, invalidID(s, "longer than 4096 characters")
	}
	if !strings.HasPrefix(s, "/") {
		return ID{}, invalidID(s, "it does not start with /")
	}
	id := ID{raw: strings.TrimSuffix(s, "/")}
	if id.raw == "" {
		id.raw = "/"
		return id, nil
	}
	segs := strings.Split(id.raw[1:], "/")
	for _, g := range segs {
		if g == "" {
			return ID{}, invalidID(s, "an empty segment")
		}
	}
	at := 0
	take := func(word string) (string, bool) {
		if at+1 < len(segs) && isWord(segs[at], word) {
			at += 2
			return segs[at-1], true
		}
		return "", false
	}
	if v, ok := take("subscriptions"); ok {
		id.subscription = v
		if v, ok := take("resourceGroups"); ok {
			id.resourceGroup = v
		}
	}
	pos := func(n int) int { // offset in raw of segment n
		p := 0
		for _, g := range segs[:n] {
			p += 1 + len(g)
		}
		return p
	}
	for at < len(segs) {
		if !isWord(segs[at], "providers") {
			return ID{}, invalidID(s, fmt.Sprintf("%q stands where /providers/ is expected", segs[at]))
		}
		if at+1 >= len(segs) {
			return ID{}, invalidID(s, "/providers/ without a namespace")
		}
		id.scope = id.raw[:pos(at)]
		if id.scope == "" {
			id.scope = "/"
		}
		id.namespace, id.types, id.names = segs[at+1], nil, nil
		at += 2
		for at < len(segs) && !isWord(segs[at], "providers") {
			id.types = append(id.types, segs[at])
			at++
			if at < len(segs) {
				id.names = append(id.names, segs[at])
				at++
			}
		}
		if len(id.types) == 0 {
			return ID{}, invalidID(s, "a provider without a resource type")
		}
		if len(id.types) != len(id.names) && at < len(segs) {
			return ID{}, invalidID(s, "a resource type without a name")
		}
		// a management group is a scope written as a resource of Microsoft.Management
		if strings.EqualFold(id.namespace, "Microsoft.Management") && len(id.names) == 1 && strings.EqualFold(id.types[0], "managementGroups") {
			id.managementGroup = id.names[0]
		}
	}
	return id, nil
}

func (id ID) String() string          { return id.raw }
func (id ID) Key() string             { return strings.ToLower(id.raw) }
func (id ID) IsZero() bool            { return id.raw == "" }
func (id ID) ManagementGroup() string { return id.managementGroup }
func (id ID) Subscription() string    { return id.subscription }
func (id ID) ResourceGroup() string   { return id.resourceGroup }
func (id ID) Namespace() string       { return id.namespace }

// Name is the last name of the id: of the resource, the group, the subscription; "" for the root.
func (id ID) Name() string {
	switch {
	case len(id.names) > 0:
		return id.names[len(id.names)-1]
	case id.resourceGroup != "":
		return id.resourceGroup
	}
	return id.subscription
}

// Names are the names of the resource and of its parents, outermost first.
func (id ID) Names() []string { return id.names }

// Type is the resource type. Subscriptions and resource groups have the types that Azure gives them,
// Microsoft.Resources/subscriptions and Microsoft.Resources/resourceGroups.
func (id ID) Type() TypeName {
	switch {
	case id.namespace != "":
		return TypeName{Namespace: id.namespace, Types: id.types}
	case id.resourceGroup != "":
		return TypeName{Namespace: "Microsoft.Resources", Types: []string{"resourceGroups"}}
	case id.subscription != "":
		return TypeName{Namespace: "Microsoft.Resources", Types: []string{"subscriptions"}}
	}
	return TypeName{}
}

// Parent is the enclosing resource or scope; the parent of the root is the zero ID.
func (id ID) Parent() ID {
	var p string
	switch {
	case id.raw == "/" || id.raw == "":
		return ID{}
	case len(id.names) > 1:
		p = id.raw
		for range 2 {
			p = p[:strings.LastIndexByte(p, '/')]
		}
	case id.namespace != "":
		p = id.scope
	case id.resourceGroup != "":
		p = id.raw[:len("/subscriptions/")+len(id.subscription)]
	default:
		p = "/"
	}
	parent, err := ParseID(p)
	if err != nil { // a prefix of a valid id, cut at its segments, is valid
		return ID{}
	}
	return parent
}

// Scope is what an extension resource is attached to, and the resource group (or subscription) of any
// other resource: the text before the last /providers/.
func (id ID) Scope() ID {
	if id.namespace == "" {
		return id
	}
	s, err := ParseID(id.scope)
	if err != nil {
		return ID{}
	}
	return s
}

// Child is the id of a child resource; the zero ID when typ or name cannot be one segment of an id.
func (id ID) Child(typ, name string) ID {
	if strings.ContainsRune(typ, '/') || strings.ContainsRune(name, '/') {
		return ID{}
	}
	c, err := ParseID(strings.TrimSuffix(id.raw, "/") + "/" + typ + "/" + name)
	if err != nil {
		return ID{}
	}
	return c
}

// Within reports whether id is scope or lies under it.
func (id ID) Within(scope ID) bool {
	s, k := scope.Key(), id.Key()
	return s == "/" || k == s || strings.HasPrefix(k, s+"/")
}

// TypeName is a resource type such as Microsoft.Network/virtualNetworks/subnets.
type TypeName struct {
	Namespace string
	Types     []string
}

// ParseTypeName parses "Namespace/type[/childType…]"; it panics on anything else, since type names
// are written in the source.
func ParseTypeName(s string) TypeName {
	p := strings.Split(s, "/")
	if len(p) < 2 {
		panic("arm: bad type name " + s)
	}
	return TypeName{Namespace: p[0], Types: p[1:]}
}

func (t TypeName) String() string {
	if t.Namespace == "" {
		return ""
	}
	return t.Namespace + "/" + strings.Join(t.Types, "/")
}

// Key is the lower-case form, for comparison.
func (t TypeName) Key() string { return strings.ToLower(t.String()) }

// IsZero reports whether the type name is empty: that of the root.
func (t TypeName) IsZero() bool { return t.Namespace == "" }
