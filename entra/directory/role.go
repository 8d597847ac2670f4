package directory

import (
	"errors"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// Role is a directory role that is active in a tenant (Microsoft Graph, directoryRole). Its members stand in the
// edges, as those of groups.
type Role struct {
	ID         string `json:"id"`
	TenantID   string `json:"tenantId"`
	TemplateID string `json:"roleTemplateId"`
}

// ActivateRole makes a built-in directory role active in a tenant, if it is not; ErrNotFound for a template that
// there is not.
func (o *Objects) ActivateRole(tx store.Tx, tenant, template string) (Role, error) {
	tenant = o.tenantOf(tenant)
	t, ok := RoleTemplateBy(template)
	if !ok {
		return Role{}, ErrNotFound
	}
	r := Role{ID: RoleID(tenant, t.ID), TenantID: tenant, TemplateID: t.ID}
	err := putJSON(tx, kindRole, r.ID, r, store.None)
	if errors.Is(err, store.ErrConflict) {
		err = nil
	}
	return r, err
}

// RoleID is the object id of a role in a tenant, active or not: it follows from both.
func RoleID(tenant, template string) string {
	return uuid.NewSHA1(uuid.MustParse(tenant), []byte("directoryRole/"+template)).String()
}

// ActiveRole returns the active role with this object id; ErrNotFound.
func (o *Objects) ActiveRole(tx store.Tx, id string) (Role, error) {
	return get[Role](tx, kindRole, id)
}

// ActiveRoles yields the active roles of a tenant, in order of their ids.
func (o *Objects) ActiveRoles(tx store.Tx, tenant, after string, yield func(Role) bool) error {
	return scan(tx, kindRole, after, func(r Role) bool { return r.TenantID != tenant || yield(r) })
}

// AssignRole gives a principal of a tenant a directory role, and activates it; what is given is left as it is.
func (o *Objects) AssignRole(tx store.Tx, tenant, template, principal string) error {
	r, err := o.ActivateRole(tx, tenant, template)
	if err != nil {
		return err
	}
	err = o.AddMember(tx, r.ID, principal)
	if errors.Is(err, ErrMember) {
		err = nil
	}
	return err
}
