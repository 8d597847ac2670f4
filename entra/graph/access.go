package graph

import (
	"net/http"
	"slices"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// Need is what a caller must have, beside the route that it guards. An application acting for itself needs one of
// the application permissions, or a directory role with the action. A client acting for a user needs one of the
// delegated permissions, and the user a directory role with the action, unless every member may, or it is his own.
type Need struct {
	Application []string
	Delegated   []string
	Action      string // of directory roles, without microsoft.directory/
	Members     bool   // every member of the tenant may, guests may not
	Everybody   bool   // guests too
	Own         bool   // a handler asks further, whether the object is the caller's own (Call.Allow)
}

// access is what a caller has.
type access struct {
	user      bool
	guest     bool
	granted   []string // permissions in the token that are still given
	asUser    bool     // the client may do what the user may (Directory.AccessAsUser.All)
	roles     []string // template ids
	permitted bool     // by permission: application or delegated
	may       bool     // by what the principal is
}

// access finds out what the caller has. Application permissions count as long as they are given and the token
// carries them.
func (s *Service) access(c *Call) (*access, error) {
	a := &access{user: c.Caller.Type == "User", roles: c.Caller.DirectoryRoles}
	if a.user {
		a.granted = c.Caller.Scopes
		a.asUser = slices.Contains(a.granted, "Directory.AccessAsUser.All")
		standing, err := s.dir.Standing(c.Ctx, c.Caller.ObjectID)
		a.guest = standing.Guest
		return a, err
	}
	err := c.View(func(tx store.Tx) error {
		resource, err := s.dir.PrincipalIn(tx, c.tenant(), directory.GraphAppID)
		if err != nil {
			return err
		}
		now, err := s.dir.RolesOn(tx, c.Caller.ObjectID, c.Caller.Groups, resource)
		for _, r := range c.Caller.Roles {
			if slices.Contains(now, r) {
				a.granted = append(a.granted, r)
			}
		}
		return err
	})
	return a, err
}

func (a *access) has(any []string) bool {
	return slices.ContainsFunc(any, func(p string) bool { return slices.Contains(a.granted, p) })
}

// weigh notes what of a need the caller has.
func (a *access) weigh(n Need) {
	byRole := n.Action != "" && directory.Grants(a.roles, n.Action)
	if !a.user {
		a.permitted = a.has(n.Application)
		a.may = a.permitted || byRole || n.Everybody
		a.permitted = a.may
		return
	}
	a.permitted = a.asUser || a.has(n.Delegated)
	a.may = byRole || n.Everybody || n.Members && !a.guest
}

// allowed refuses a caller who lacks something that no handler could make up for.
func (a *access) allowed(n Need) error {
	if a.permitted && a.may || n.Own && (a.permitted || !a.user) {
		return nil
	}
	return a.denied(n)
}

func (a *access) denied(n Need) error {
	why := ""
	switch {
	case !a.user:
		why = "The application has none of the application permissions " + strings.Join(n.Application, ", ") + role(n)
	case !a.permitted:
		why = "The token has none of the delegated permissions " + strings.Join(append(slices.Clone(n.Delegated), "Directory.AccessAsUser.All"), ", ")
	case a.guest:
		why = "The caller is a guest, and guests may not do this" + role(n)
	case n.Own:
		why = "The caller does not own the object" + role(n)
	default:
		why = "The caller has no right to it" + role(n)
	}
	return fail(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation. %s.", why)
}

// role says which directory role would do.
func role(n Need) string {
	var names []string
	for _, t := range directory.RoleTemplates {
		if n.Action != "" && directory.Grants([]string{t.ID}, n.Action) {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	if len(names) > 5 {
		names = append(names[:5], "…")
	}
	return ", and no directory role with microsoft.directory/" + n.Action + " (" + strings.Join(names, ", ") + ")"
}

// Can reports whether the caller may by permission and role, without what is his own.
func (c *Call) Can(n Need) bool {
	a := *c.can
	a.weigh(n)
	return a.permitted && a.may
}

// Demand refuses a caller who may not.
func (c *Call) Demand(n Need) error {
	if c.Can(n) {
		return nil
	}
	a := *c.can
	a.weigh(n)
	return a.denied(n)
}

// Allow refuses a caller who may not by the need, and whose own the object is not. An application needs no
// permission for what it owns but Application.ReadWrite.OwnedBy.
func (c *Call) Allow(n Need, own bool) error {
	if c.Can(n) {
		return nil
	}
	a := *c.can
	a.weigh(n)
	if own && (a.user && a.permitted || !a.user && slices.Contains(a.granted, "Application.ReadWrite.OwnedBy")) {
		return nil
	}
	return a.denied(n)
}

// owns reports whether the caller is an owner of one of the objects.
func (c *Call) owns(tx store.Tx, objects ...string) (bool, error) {
	for _, o := range objects {
		if is, err := c.dir.IsOwner(tx, o, c.Caller.ObjectID); is || err != nil {
			return is, err
		}
	}
	return false, nil
}
