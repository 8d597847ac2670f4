package directory

import (
	"context"
	"errors"
	"slices"
	"strings"

	"vauban.dev/store"
)

// edge leads from a member to what it is a member of.
type edge struct {
	to   string // object id
	kind Type   // of the container: group or directoryRole
}

// Ref names a directory object and its type.
type Ref struct {
	ID   string
	Type Type
}

// ErrMember is returned for a membership or an ownership that is there already; ErrNotMember for one that is not.
var (
	ErrMember    = errors.New("directory: one or more added object references already exist")
	ErrNotMember = errors.New("directory: the object is no member or owner")
)

// reverse is the kind in which the edges of a member are kept by member: those between groups have one of their
// own, so that a person who joins a group leaves what is known of nesting as it is.
func reverse(member Type) string {
	if member == TypeGroup {
		return kindNested
	}
	return kindMemberOf
}

// AddMember makes a member of a group or of a directory role; ErrNotFound, ErrMember, *Invalid.
func (o *Objects) AddMember(tx store.Tx, container, member string) error {
	in, err := o.container(tx, container)
	if err != nil {
		return err
	}
	who, err := o.Find(tx, member, TypeUser, TypeGroup, TypeServicePrincipal)
	if err != nil {
		return err
	}
	if err := o.mayBeMember(tx, in, who); err != nil {
		return err
	}
	switch _, err := tx.Put(kindMember, in.ID+"/"+who.ID, []byte(who.Type), store.None); {
	case errors.Is(err, store.ErrConflict):
		return ErrMember
	case err != nil:
		return err
	}
	_, err = tx.Put(reverse(who.Type), who.ID+"/"+in.ID, []byte(in.Type), store.Any)
	return err
}

func (o *Objects) container(tx store.Tx, id string) (Ref, error) {
	if role, err := o.ActiveRole(tx, id); err == nil {
		return Ref{role.ID, TypeRole}, nil
	} else if !errors.Is(err, ErrNotFound) {
		return Ref{}, err
	}
	g, err := o.Group(tx, id)
	return Ref{g.ID, TypeGroup}, err
}

// mayBeMember holds the rules of role-assignable groups ("Use Microsoft Entra groups to manage role
// assignments"), a group in itself, and tenants that must not mix.
func (o *Objects) mayBeMember(tx store.Tx, in, who Ref) error {
	if in.ID == who.ID {
		return &Invalid{"members", "a group cannot be added as a member of itself"}
	}
	a, err := o.tenantOfObject(tx, in)
	if err != nil {
		return err
	}
	b, err := o.tenantOfObject(tx, who)
	if err != nil {
		return err
	}
	if a != b {
		return ErrNotFound // to one tenant, another's objects do not exist
	}
	if who.Type != TypeGroup {
		return nil
	}
	if in.Type == TypeRole {
		g, err := o.Group(tx, who.ID)
		if err == nil && !g.IsAssignableToRole {
			err = &Invalid{"members", "only a group with isAssignableToRole true can hold a directory role"}
		}
		return err
	}
	g, err := o.Group(tx, in.ID)
	if err == nil && g.IsAssignableToRole {
		err = &Invalid{"members", "a group with isAssignableToRole true takes no groups as members"}
	}
	return err
}

// RemoveMember ends a membership; ErrNotMember.
func (o *Objects) RemoveMember(tx store.Tx, container, member string) error {
	container, member = guid(container), guid(member)
	doc, err := tx.Get(kindMember, container+"/"+member)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotMember
	}
	if err != nil {
		return err
	}
	return errors.Join(tx.Delete(kindMember, doc.Key, store.Any), tx.Delete(reverse(Type(doc.Value)), member+"/"+container, store.Any))
}

// AddOwner makes a user or a service principal an owner of a group, an application or a service principal;
// ErrNotFound, ErrMember.
func (o *Objects) AddOwner(tx store.Tx, object, owner string) error {
	of, err := o.Find(tx, object, TypeGroup, TypeApplication, TypeServicePrincipal)
	if err != nil {
		return err
	}
	who, err := o.Find(tx, owner, TypeUser, TypeServicePrincipal)
	if err != nil {
		return err
	}
	switch _, err := tx.Put(kindOwner, of.ID+"/"+who.ID, []byte(who.Type), store.None); {
	case errors.Is(err, store.ErrConflict):
		return ErrMember
	case err != nil:
		return err
	}
	_, err = tx.Put(kindOwned, who.ID+"/"+of.ID, []byte(of.Type), store.Any)
	return err
}

// RemoveOwner ends an ownership; ErrNotMember.
func (o *Objects) RemoveOwner(tx store.Tx, object, owner string) error {
	object, owner = guid(object), guid(owner)
	err := tx.Delete(kindOwner, object+"/"+owner, store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotMember
	}
	return errors.Join(err, tx.Delete(kindOwned, owner+"/"+object, store.Any))
}

// Members, MemberOf, Owners and Owned list one step of the edges, in order of the ids.
func (o *Objects) Members(tx store.Tx, container string) ([]Ref, error) {
	return refs(tx, kindMember, container)
}

func (o *Objects) MemberOf(tx store.Tx, member string) ([]Ref, error) {
	direct, err := refs(tx, kindMemberOf, member)
	if err != nil {
		return nil, err
	}
	nested, err := refs(tx, kindNested, member)
	return append(direct, nested...), err
}

func (o *Objects) Owners(tx store.Tx, object string) ([]Ref, error) {
	return refs(tx, kindOwner, object)
}
func (o *Objects) Owned(tx store.Tx, owner string) ([]Ref, error) { return refs(tx, kindOwned, owner) }

// IsMember and IsOwner report one step.
func (o *Objects) IsMember(tx store.Tx, container, member string) (bool, error) {
	return has(tx, kindMember, container, member)
}

func (o *Objects) IsOwner(tx store.Tx, object, owner string) (bool, error) {
	return has(tx, kindOwner, object, owner)
}

func has(tx store.Tx, kind, a, b string) (bool, error) {
	_, err := tx.Get(kind, guid(a)+"/"+guid(b))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func refs(tx store.Tx, kind, id string) (out []Ref, err error) {
	prefix := guid(id)
	if prefix == "" {
		return nil, nil
	}
	prefix += "/"
	err = tx.Scan(kind, prefix, "", func(d store.Doc) bool {
		out = append(out, Ref{strings.TrimPrefix(d.Key, prefix), Type(d.Value)})
		return true
	})
	return out, err
}

// TransitiveMembers returns the members of a group and of the groups in it, each once.
func (o *Objects) TransitiveMembers(tx store.Tx, group string) ([]Ref, error) {
	return walk(guid(group), func(id string) ([]Ref, error) { return refs(tx, kindMember, id) })
}

// TransitiveMemberOf returns the groups and directory roles that an object is in, through groups too.
func (o *Objects) TransitiveMemberOf(tx store.Tx, member string) ([]Ref, error) {
	return walk(guid(member), func(id string) ([]Ref, error) { return o.MemberOf(tx, id) })
}

// walk follows next from start through groups, and returns what it meets, each once and never start.
func walk(start string, next func(id string) ([]Ref, error)) (out []Ref, err error) {
	seen := map[string]bool{start: true}
	queue := []string{start}
	for len(queue) > 0 {
		step, err := next(queue[0])
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		for _, r := range step {
			if seen[r.ID] {
				continue
			}
			seen[r.ID] = true
			out = append(out, r)
			if r.Type == TypeGroup {
				queue = append(queue, r.ID)
			}
		}
	}
	return out, nil
}

// readNesting reads all edges between groups and from groups to roles, by the group.
func (o *Objects) readNesting(_ context.Context, tx store.Tx, _ string) (map[string][]edge, error) {
	up := map[string][]edge{}
	err := tx.Scan(kindNested, "", "", func(d store.Doc) bool {
		member, to, _ := strings.Cut(d.Key, "/")
		up[member] = append(up[member], edge{to, Type(d.Value)})
		return true
	})
	return up, err
}

// memberships returns the groups and the directory roles that an object is in, through groups too, in the
// order of their ids. up is the nesting of groups.
func memberships(tx store.Tx, member string, up map[string][]edge) (groups, roles []string, err error) {
	direct, err := refs(tx, kindMemberOf, member)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{member: true}
	queue := make([]edge, 0, len(direct))
	for _, r := range direct {
		queue = append(queue, edge{r.ID, r.Type})
	}
	for len(queue) > 0 {
		e := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[e.to] {
			continue
		}
		seen[e.to] = true
		if e.kind == TypeRole {
			roles = append(roles, e.to)
			continue
		}
		groups = append(groups, e.to)
		queue = append(queue, up[e.to]...)
	}
	slices.Sort(groups)
	slices.Sort(roles)
	return groups, roles, nil
}

// cutEdges takes an object out of everything that it is in, and everything out of it, and returns what was cut.
func (o *Objects) cutEdges(tx store.Tx, id string) (cut Edges, err error) {
	if cut.Members, err = o.Members(tx, id); err != nil {
		return cut, err
	}
	if cut.MemberOf, err = o.MemberOf(tx, id); err != nil {
		return cut, err
	}
	if cut.Owners, err = o.Owners(tx, id); err != nil {
		return cut, err
	}
	if cut.Owned, err = o.Owned(tx, id); err != nil {
		return cut, err
	}
	for _, m := range cut.Members {
		err = errors.Join(err, o.RemoveMember(tx, id, m.ID))
	}
	for _, g := range cut.MemberOf {
		err = errors.Join(err, o.RemoveMember(tx, g.ID, id))
	}
	for _, w := range cut.Owners {
		err = errors.Join(err, o.RemoveOwner(tx, id, w.ID))
	}
	for _, w := range cut.Owned {
		err = errors.Join(err, o.RemoveOwner(tx, w.ID, id))
	}
	return cut, err
}

// Edges are all memberships and ownerships of an object.
type Edges struct{ Members, MemberOf, Owners, Owned []Ref }
