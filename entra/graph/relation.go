package graph

import (
	"errors"
	"net/http"
	"slices"
	"sort"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// objectKind is what collections of mixed objects hold queries against.
var objectKind = kind{name: "directoryObject", set: "directoryObjects", sample: everything()}

// everything is all properties of all kinds, since a collection may hold them all.
func everything() object {
	all := object{}
	for _, k := range []kind{userKind, groupKind, applicationKind, principalKind, roleKind} {
		for name, v := range k.sample {
			all[name] = v
		}
	}
	return all
}

// entity is the object of a reference in a mixed collection, nil when it is not there (any more) or another tenant's.
func (c *Call) entity(tx store.Tx, r directory.Ref) (object, error) {
	var o object
	var err error
	tenant := ""
	switch r.Type {
	case directory.TypeUser:
		var u directory.User
		u, err = c.dir.User(tx, r.ID)
		o, tenant = userKind.project(userObject(u), nil), u.TenantID
	case directory.TypeGroup:
		var g directory.Group
		g, err = c.dir.Group(tx, r.ID)
		o, tenant = groupObject(g), g.TenantID
	case directory.TypeApplication:
		var a directory.Application
		a, err = c.dir.Application(tx, r.ID)
		o, tenant = applicationObject(a), a.TenantID
	case directory.TypeServicePrincipal:
		var p directory.ServicePrincipal
		p, err = c.dir.ByObjectID(tx, r.ID)
		o, tenant = principalObject(p), p.TenantID
	case directory.TypeRole:
		var role directory.Role
		role, err = c.dir.ActiveRole(tx, r.ID)
		o, tenant = roleObject(role), role.TenantID
	}
	if errors.Is(err, directory.ErrNotFound) || err == nil && tenant != c.tenant() {
		return nil, nil
	}
	return o, err
}

// related answers a collection of references. cast keeps one type: members/microsoft.graph.user.
func (c *Call) related(refs func(tx store.Tx) ([]directory.Ref, error)) error {
	cast, last := "", c.segments[len(c.segments)-1]
	switch {
	case strings.HasPrefix(strings.ToLower(last), "microsoft.graph."):
		cast = "#" + last
	case strings.EqualFold(last, "$ref"):
		return notServed("GET …/$ref")
	}
	from := func(tx store.Tx, after string, yield func(object) bool) error {
		all, err := refs(tx)
		if err != nil {
			return err
		}
		sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
		for _, r := range all {
			if r.ID <= after {
				continue
			}
			o, err := c.entity(tx, r)
			if err != nil {
				return err
			}
			if o == nil || cast != "" && !strings.EqualFold(o["@odata.type"].(string), cast) {
				continue
			}
			if !yield(o) {
				return nil
			}
		}
		return nil
	}
	if strings.EqualFold(last, "$count") {
		return c.number(objectKind, from)
	}
	return c.list(objectKind, from)
}

// holder finds the object at {id} of the kind that the first segment of the path names.
func (c *Call) holder(tx store.Tx) (directory.Ref, error) {
	switch strings.ToLower(c.segments[0]) {
	case "users", "me":
		u, err := c.person(tx)
		return directory.Ref{ID: u.ID, Type: directory.TypeUser}, err
	case "groups":
		g, err := c.group(tx, c.Vars[0])
		return directory.Ref{ID: g.ID, Type: directory.TypeGroup}, err
	case "applications":
		a, err := c.application(tx, c.Vars[0])
		return directory.Ref{ID: a.ID, Type: directory.TypeApplication}, err
	case "serviceprincipals":
		p, err := c.principal(tx, c.Vars[0])
		return directory.Ref{ID: p.ObjectID, Type: directory.TypeServicePrincipal}, err
	case "directoryroles":
		r, err := c.role(tx, c.Vars[0])
		return directory.Ref{ID: r.ID, Type: directory.TypeRole}, err
	}
	return c.thing(tx, c.Vars[0])
}

// thing finds any object of the caller's tenant.
func (c *Call) thing(tx store.Tx, id string) (directory.Ref, error) {
	r, err := c.dir.Find(tx, id)
	if errors.Is(err, directory.ErrNotFound) {
		return r, notFound(id)
	}
	if err != nil {
		return r, err
	}
	o, err := c.entity(tx, r)
	if err == nil && o == nil {
		err = notFound(id)
	}
	return r, err
}

// relation answers a relation of the object at {id}. A guest sees those of himself only.
func (c *Call) relation(of func(store.Tx, string) ([]directory.Ref, error)) func() error {
	return func() error {
		var who directory.Ref
		if err := c.View(func(tx store.Tx) (err error) {
			who, err = c.holder(tx)
			return err
		}); err != nil {
			return err
		}
		if c.can.guest && who.ID != c.Caller.ObjectID {
			if err := c.Demand(readGroups); err != nil {
				return err
			}
		}
		return c.related(func(tx store.Tx) ([]directory.Ref, error) { return of(tx, who.ID) })
	}
}

// reference is the body of …/$ref.
func (c *Call) reference() (string, error) {
	var body struct {
		ID string `json:"@odata.id"`
	}
	if err := c.Body(&body); err != nil {
		return "", err
	}
	return linked(body.ID)
}

func (c *Call) addMember(tx store.Tx, container, member string) error {
	if _, err := c.thing(tx, member); err != nil {
		return err
	}
	return c.dir.AddMember(tx, container, member)
}

func (c *Call) addOwner(tx store.Tx, of, owner string) error {
	if _, err := c.thing(tx, owner); err != nil {
		return err
	}
	err := c.dir.AddOwner(tx, of, owner)
	if errors.Is(err, directory.ErrMember) {
		return badRequest("One or more added object references already exist for the following modified properties: 'owners'.")
	}
	return err
}

// changeMembers adds or removes a member of a group or a directory role.
func (c *Call) changeMembers(add bool) error {
	member := ""
	if add {
		id, err := c.reference()
		if err != nil {
			return err
		}
		member = id
	} else {
		member = c.Vars[1]
	}
	err := c.Update(func(tx store.Tx) error {
		in, err := c.holder(tx)
		if err != nil {
			return err
		}
		if err := c.mayChangeMembers(tx, in, member); err != nil {
			return err
		}
		if add {
			return c.addMember(tx, in.ID, member)
		}
		return c.dir.RemoveMember(tx, in.ID, member)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func (c *Call) mayChangeMembers(tx store.Tx, in directory.Ref, _ string) error {
	if in.Type == directory.TypeRole {
		return c.Demand(writeRoles)
	}
	g, err := c.group(tx, in.ID)
	if err != nil {
		return err
	}
	return c.mayChange(tx, g, "groups/members/update")
}

// changeOwners adds or removes an owner of a group, an application or a service principal.
func (c *Call) changeOwners(add bool) error {
	owner := ""
	if add {
		id, err := c.reference()
		if err != nil {
			return err
		}
		owner = id
	} else {
		owner = c.Vars[1]
	}
	err := c.Update(func(tx store.Tx) error {
		of, err := c.holder(tx)
		if err != nil {
			return err
		}
		if err := c.mayChangeOwners(tx, of); err != nil {
			return err
		}
		if add {
			return c.addOwner(tx, of.ID, owner)
		}
		return c.dir.RemoveOwner(tx, of.ID, owner)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func (c *Call) mayChangeOwners(tx store.Tx, of directory.Ref) error {
	switch of.Type {
	case directory.TypeGroup:
		g, err := c.group(tx, of.ID)
		if err != nil {
			return err
		}
		return c.mayChange(tx, g, "groups/owners/update")
	case directory.TypeApplication:
		return c.mayChangeApplication(tx, of.ID, "applications/owners/update")
	}
	return c.mayChangePrincipal(tx, of.ID, "servicePrincipals/owners/update")
}

// expand adds the relations of $expand, at most 20 objects each as Graph does.
func (c *Call) expand(k kind, o object) error {
	for _, name := range expanded(c.query) {
		if !slices.ContainsFunc(k.derived, func(d string) bool { return strings.EqualFold(d, name) }) {
			return fail(http.StatusBadRequest, "BadRequest", "Parsing OData Select and Expand failed: Could not find a property named '%s' on type 'microsoft.graph.%s'.", printable(name), k.name)
		}
		if c.can.guest && o["id"] != c.Caller.ObjectID {
			if err := c.Demand(readGroups); err != nil {
				return err
			}
		}
		steps := map[string]func(store.Tx, string) ([]directory.Ref, error){
			"members": c.dir.Members, "owners": c.dir.Owners, "memberof": c.dir.MemberOf, "transitivememberof": c.dir.TransitiveMemberOf,
			"transitivemembers": c.dir.TransitiveMembers, "ownedobjects": c.dir.Owned,
		}
		found := []object{}
		err := c.View(func(tx store.Tx) error {
			refs, err := steps[strings.ToLower(name)](tx, o["id"].(string))
			for _, r := range refs {
				if len(found) == 20 || err != nil {
					break
				}
				var e object
				if e, err = c.entity(tx, r); e != nil {
					found = append(found, e)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		o[name] = found
	}
	return nil
}
