package directory

import (
	"errors"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// Find says which object has this id, if it is of one of the types (none = all); ErrNotFound.
func (o *Objects) Find(tx store.Tx, id string, types ...Type) (Ref, error) {
	key := guid(id)
	if key == "" {
		return Ref{}, ErrNotFound
	}
	for _, k := range []struct {
		kind string
		t    Type
	}{{kindUser, TypeUser}, {kindPrincipal, TypeServicePrincipal}, {kindGroup, TypeGroup}, {kindApplication, TypeApplication}, {kindRole, TypeRole}} {
		if len(types) > 0 && !slices.Contains(types, k.t) {
			continue
		}
		switch _, err := tx.Get(k.kind, key); {
		case err == nil:
			return Ref{key, k.t}, nil
		case !errors.Is(err, store.ErrNotFound):
			return Ref{}, err
		}
	}
	if len(types) == 0 || slices.Contains(types, TypeServicePrincipal) {
		if p, ok := o.firstParty(key); ok {
			return Ref{p.ObjectID, TypeServicePrincipal}, nil
		}
	}
	return Ref{}, ErrNotFound
}

// tenantOfObject is the tenant that an object is in.
func (o *Objects) tenantOfObject(tx store.Tx, r Ref) (string, error) {
	var tenant string
	var err error
	switch r.Type {
	case TypeUser:
		var u User
		u, err = o.User(tx, r.ID)
		tenant = u.TenantID
	case TypeGroup:
		var g Group
		g, err = o.Group(tx, r.ID)
		tenant = g.TenantID
	case TypeApplication:
		var a Application
		a, err = o.Application(tx, r.ID)
		tenant = a.TenantID
	case TypeServicePrincipal:
		var p ServicePrincipal
		p, err = o.ByObjectID(tx, r.ID)
		tenant = p.TenantID
	case TypeRole:
		var role Role
		role, err = o.ActiveRole(tx, r.ID)
		tenant = role.TenantID
	}
	return o.tenantOf(tenant), err
}

// Named returns the users, groups and service principals of the home tenant that a person may mean by a word: an
// object id, a client id, a user principal name, the id of a resource with an identity, else a display name.
func (o *Objects) Named(tx store.Tx, word string) (found []Ref, err error) {
	id := word
	if p, err := o.ByAppID(tx, word); err == nil {
		id = p.ObjectID
	} else if u, err := o.UserByName(tx, word); err == nil {
		id = u.ID
	}
	if r, err := o.Find(tx, id, TypeUser, TypeGroup, TypeServicePrincipal); !errors.Is(err, ErrNotFound) {
		return []Ref{r}, err
	}
	if id, err := arm.ParseID(word); err == nil {
		p, err := o.ByResource(tx, id)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return []Ref{{p.ObjectID, TypeServicePrincipal}}, err
	}
	add := func(name string, r Ref) bool {
		if strings.EqualFold(name, word) {
			found = append(found, r)
		}
		return true
	}
	return found, errors.Join(
		o.Users(tx, o.home.ID, "", func(u User) bool { return add(u.DisplayName, Ref{u.ID, TypeUser}) }),
		o.Groups(tx, o.home.ID, "", func(g Group) bool { return add(g.DisplayName, Ref{g.ID, TypeGroup}) }),
		o.Principals(tx, o.home.ID, "", func(p ServicePrincipal) bool { return add(p.DisplayName, Ref{p.ObjectID, TypeServicePrincipal}) }))
}
