package directory

import (
	"context"
	"errors"
	"time"

	"vauban.dev/store"
)

// StandingKinds are the documents that a token hangs on: as long as none of them is written, what was found of
// its principal and of its credential holds.
var StandingKinds = []string{kindUser, kindPrincipal, kindApplication, kindMemberOf, kindNested, kindRole}

// Standing is what the directory says of a principal now. A verified token names a principal; what it is worth
// follows from its standing.
type Standing struct {
	ID        string
	Type      Type // TypeUser or TypeServicePrincipal
	TenantID  string
	Name      string // user principal name, or display name
	Enabled   bool
	Managed   bool
	Resource  string // managed identities: the ARM id they belong to
	Guest     bool
	ValidFrom time.Time // of users: when it moves, their tokens are void
	Groups    []string  // through groups too, in the order of their ids
	Roles     []string  // template ids of the directory roles, by groups too
}

// PrincipalType is the type of a caller: User, ServicePrincipal or ManagedIdentity.
func (s Standing) PrincipalType() string {
	switch {
	case s.Type == TypeUser:
		return "User"
	case s.Managed:
		return "ManagedIdentity"
	}
	return "ServicePrincipal"
}

// Standing returns what the directory says of the user or service principal with this object id: what was
// committed before the call. It costs a look into memory as long as nobody changes the directory. ErrNotFound when
// the object does not exist (any more).
func (o *Objects) Standing(ctx context.Context, objectID string) (Standing, error) {
	if _, err := o.nesting.Get(ctx, ""); err != nil {
		return Standing{}, err
	}
	s, err := o.standings.Get(ctx, guid(objectID))
	if err == nil && s.ID == "" {
		err = ErrNotFound
	}
	return s, err
}

// StandingIn is Standing as a transaction sees it.
func (o *Objects) StandingIn(ctx context.Context, tx store.Tx, objectID string) (Standing, error) {
	s, err := o.readStanding(ctx, tx, guid(objectID))
	if err == nil && s.ID == "" {
		err = ErrNotFound
	}
	return s, err
}

// readStanding finds no object as the empty standing, which is kept like any other.
func (o *Objects) readStanding(ctx context.Context, tx store.Tx, id string) (s Standing, err error) {
	u, err := o.User(tx, id)
	switch {
	case err == nil:
		s = Standing{ID: u.ID, Type: TypeUser, TenantID: u.TenantID, Name: u.UserPrincipalName, Enabled: u.AccountEnabled, Guest: u.UserType == Guest, ValidFrom: u.SessionsValidFrom}
	case !errors.Is(err, ErrNotFound):
		return s, err
	default:
		p, err := o.ByObjectID(tx, id)
		if errors.Is(err, ErrNotFound) {
			return Standing{}, nil
		}
		if err != nil {
			return s, err
		}
		s = Standing{ID: p.ObjectID, Type: TypeServicePrincipal, TenantID: p.TenantID, Name: p.DisplayName, Enabled: !p.Disabled, Managed: p.Managed(), Resource: p.Resource}
	}
	up, err := o.nesting.See(ctx, tx, "")
	if err != nil {
		return Standing{}, err
	}
	groups, roles, err := memberships(tx, s.ID, up)
	if err != nil {
		return Standing{}, err
	}
	s.Groups = groups
	for _, id := range roles {
		role, err := o.ActiveRole(tx, id)
		if err != nil {
			return Standing{}, err
		}
		s.Roles = append(s.Roles, role.TemplateID)
	}
	return s, nil
}
