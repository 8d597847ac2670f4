package directory

import (
	"encoding/json"
	"errors"
	"time"

	"vauban.dev/store"
)

// Retention is how long a deleted user, application or service principal can be restored.
const Retention = 30 * 24 * time.Hour

// Deleted is an object in the recycle bin of its tenant, with all that bound it. Groups are deleted for good, as
// Entra deletes security groups.
type Deleted struct {
	ID       string              `json:"id"`
	Type     Type                `json:"type"`
	TenantID string              `json:"tenantId"`
	At       time.Time           `json:"deletedDateTime"`
	Value    json.RawMessage     `json:"value"`
	Edges    Edges               `json:"edges"`
	AppRoles []AppRoleAssignment `json:"appRoles,omitempty"`
	Grants   []Grant             `json:"grants,omitempty"`
}

// DeleteUser puts a user into the recycle bin: his tokens and sessions end with it; ErrNotFound.
func (o *Objects) DeleteUser(tx store.Tx, id string) error {
	u, err := o.User(tx, id)
	if err != nil {
		return err
	}
	o.moveSessions(&u) // when he is restored, what he held is still void
	if err := o.discard(tx, Ref{u.ID, TypeUser}, u.TenantID, u); err != nil {
		return err
	}
	if u.HomeObjectID != "" {
		if err := release(tx, "guest/"+u.TenantID, u.HomeObjectID); err != nil {
			return err
		}
	}
	return errors.Join(release(tx, "upn", u.UserPrincipalName), tx.Delete(kindUser, u.ID, store.Any))
}

// DeleteGroup deletes a group for good; ErrNotFound.
func (o *Objects) DeleteGroup(tx store.Tx, id string) error {
	g, err := o.Group(tx, id)
	if err != nil {
		return err
	}
	if _, err := o.cutEdges(tx, g.ID); err != nil {
		return err
	}
	return errors.Join(o.dropPermissions(tx, g.ID), tx.Delete(kindGroup, g.ID, store.Any))
}

// DeleteApplication puts an application and its service principal in its own tenant into the recycle bin;
// ErrNotFound. Nobody signs in by it any more, in no tenant.
func (o *Objects) DeleteApplication(tx store.Tx, id string) error {
	a, err := o.Application(tx, id)
	if err != nil {
		return err
	}
	p, err := o.PrincipalIn(tx, a.TenantID, a.AppID)
	if err == nil {
		err = o.DeletePrincipal(tx, p.ObjectID)
	}
	if err != nil && !errors.Is(err, ErrNoPrincipal) {
		return err
	}
	if err := o.discard(tx, Ref{a.ID, TypeApplication}, a.TenantID, a); err != nil {
		return err
	}
	for _, u := range a.IdentifierURIs {
		if err := release(tx, "uri/"+a.TenantID, trimURI(u)); err != nil {
			return err
		}
	}
	return errors.Join(release(tx, "app", a.AppID), tx.Delete(kindApplication, a.ID, store.Any))
}

// ErrManaged is returned for what only the resource of a managed identity can do.
var ErrManaged = errors.New("directory: a managed identity goes with its resource")

// DeletePrincipal puts a service principal into the recycle bin: its tokens end with it; ErrNoPrincipal, and
// ErrManaged for managed identities and Microsoft's own.
func (o *Objects) DeletePrincipal(tx store.Tx, id string) error {
	p, err := get[ServicePrincipal](tx, kindPrincipal, id)
	if errors.Is(err, ErrNotFound) {
		if _, first := o.firstParty(guid(id)); first {
			return ErrManaged
		}
		return ErrNoPrincipal
	}
	if err != nil {
		return err
	}
	if p.Managed() {
		return ErrManaged
	}
	if err := o.discard(tx, Ref{p.ObjectID, TypeServicePrincipal}, o.tenantOf(p.TenantID), p); err != nil {
		return err
	}
	return errors.Join(tx.Delete(kindPrincipal, p.ObjectID, store.Any), tx.Delete(kindByApp, o.scoped(p.TenantID, p.AppID), store.Any))
}

// discard keeps an object and what binds it in the recycle bin, and unbinds it.
func (o *Objects) discard(tx store.Tx, r Ref, tenant string, v any) error {
	d := Deleted{ID: r.ID, Type: r.Type, TenantID: tenant, At: o.clock.Now()}
	var err error
	if d.Value, err = json.Marshal(v); err != nil {
		return err
	}
	err = scan(tx, kindAppRole, "", func(a AppRoleAssignment) bool {
		if a.PrincipalID == r.ID || a.ResourceID == r.ID {
			d.AppRoles = append(d.AppRoles, a)
		}
		return true
	})
	err = errors.Join(err, scan(tx, kindGrant, "", func(g Grant) bool {
		if g.ClientID == r.ID || g.ResourceID == r.ID || g.PrincipalID == r.ID {
			d.Grants = append(d.Grants, g)
		}
		return true
	}))
	if err != nil {
		return err
	}
	if d.Edges, err = o.cutEdges(tx, r.ID); err != nil {
		return err
	}
	if err := o.dropPermissions(tx, r.ID); err != nil {
		return err
	}
	return putJSON(tx, kindDeleted, d.ID, d, store.Any)
}

// Deleted returns an object of the recycle bin whose time is not over; ErrNotFound.
func (o *Objects) Deleted(tx store.Tx, id string) (Deleted, error) {
	d, err := get[Deleted](tx, kindDeleted, id)
	if err == nil && o.over(d) {
		return Deleted{}, ErrNotFound
	}
	return d, err
}

func (o *Objects) over(d Deleted) bool { return !o.clock.Now().Before(d.At.Add(Retention)) }

// AllDeleted yields the recycle bin of a tenant after an id, in order of the ids.
func (o *Objects) AllDeleted(tx store.Tx, tenant, after string, yield func(Deleted) bool) error {
	return scan(tx, kindDeleted, after, func(d Deleted) bool { return d.TenantID != tenant || o.over(d) || yield(d) })
}

// Purge takes an object out of the recycle bin for good, and everything whose time is over; ErrNotFound.
func (o *Objects) Purge(tx store.Tx, id string) error {
	if _, err := o.Deleted(tx, id); err != nil {
		return err
	}
	var old []string
	err := scan(tx, kindDeleted, "", func(d Deleted) bool {
		if o.over(d) {
			old = append(old, d.ID)
		}
		return true
	})
	for _, d := range append(old, guid(id)) {
		err = errors.Join(err, tx.Delete(kindDeleted, d, store.Any))
	}
	return err
}

// Restore brings an object back with its memberships, ownerships and permissions, as far as their other ends are
// still there; with an application comes its service principal. ErrNotFound, *Conflict when its name was taken.
func (o *Objects) Restore(tx store.Tx, id string) (Ref, error) {
	d, err := o.Deleted(tx, id)
	if err != nil {
		return Ref{}, err
	}
	switch d.Type {
	case TypeUser:
		err = o.restoreUser(tx, d)
	case TypeApplication:
		err = o.restoreApplication(tx, d)
	case TypeServicePrincipal:
		err = restoreAs(d, func(p ServicePrincipal) error { return o.insert(tx, p) })
	}
	if err != nil {
		return Ref{}, err
	}
	if err := tx.Delete(kindDeleted, d.ID, store.Any); err != nil {
		return Ref{}, err
	}
	return Ref{d.ID, d.Type}, o.rebind(tx, d)
}

func restoreAs[T any](d Deleted, put func(T) error) error {
	var v T
	if err := json.Unmarshal(d.Value, &v); err != nil {
		return err
	}
	return put(v)
}

func (o *Objects) restoreUser(tx store.Tx, d Deleted) error {
	return restoreAs(d, func(u User) error {
		if err := claim(tx, "upn", u.UserPrincipalName, u.ID, "userPrincipalName"); err != nil {
			return err
		}
		if u.HomeObjectID != "" {
			if err := claim(tx, "guest/"+u.TenantID, u.HomeObjectID, u.ID, "mail"); err != nil {
				return err
			}
		}
		return putJSON(tx, kindUser, u.ID, u, store.None)
	})
}

func (o *Objects) restoreApplication(tx store.Tx, d Deleted) error {
	return restoreAs(d, func(a Application) error {
		if err := claim(tx, "app", a.AppID, a.ID, "appId"); err != nil {
			return err
		}
		if err := o.claimURIs(tx, &a, nil); err != nil {
			return err
		}
		if err := putJSON(tx, kindApplication, a.ID, a, store.None); err != nil {
			return err
		}
		principal := ""
		err := o.AllDeleted(tx, a.TenantID, "", func(x Deleted) bool {
			var p ServicePrincipal
			if x.Type == TypeServicePrincipal && json.Unmarshal(x.Value, &p) == nil && p.AppID == a.AppID {
				principal = x.ID
			}
			return principal == ""
		})
		if err != nil || principal == "" {
			return err
		}
		_, err = o.Restore(tx, principal)
		return err
	})
}

// rebind renews what bound a restored object; what has lost its other end stays away.
func (o *Objects) rebind(tx store.Tx, d Deleted) error {
	for _, again := range []struct {
		refs []Ref
		bind func(other string) error
	}{
		{d.Edges.Members, func(m string) error { return o.AddMember(tx, d.ID, m) }},
		{d.Edges.MemberOf, func(c string) error { return o.AddMember(tx, c, d.ID) }},
		{d.Edges.Owners, func(w string) error { return o.AddOwner(tx, d.ID, w) }},
		{d.Edges.Owned, func(x string) error { return o.AddOwner(tx, x, d.ID) }},
	} {
		for _, r := range again.refs {
			if err := again.bind(r.ID); err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrMember) {
				return err
			}
		}
	}
	for _, a := range d.AppRoles {
		taken, invalid := new(Conflict), new(Invalid)
		if err := o.AssignAppRole(tx, &a); err != nil && !errors.Is(err, ErrNotFound) && !errors.As(err, &taken) && !errors.As(err, &invalid) {
			return err
		}
	}
	for _, g := range d.Grants {
		if _, err := o.PutGrant(tx, g); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}
