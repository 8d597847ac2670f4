package storagehttp

import (
	"strings"

	"vauban.dev/authz"
)

// RoleCheck is what an operation asks of its caller's roles.
type RoleCheck struct {
	Operation string                   // its name
	Root      string                   // Microsoft.Storage/storageAccounts/queueServices/
	Actions   []string                 // below Root, any of which admits; "a&b" asks for both
	Data      func(action string) bool // which of Actions are data actions
	Scope     string
	// Attributes answers conditions of roles.
	Attributes func(authz.Attribute) ([]string, bool, error)
}

// HasRole judges the caller's roles: AuthorizationPermissionMismatch says what is lacking and where.
func (q *Request) HasRole(c RoleCheck) error {
	if len(c.Actions) == 0 {
		return PermissionMismatch().Because("%s cannot be permitted by a role", c.Operation)
	}
	why := ""
	for _, alternative := range c.Actions {
		granted := true
		for action := range strings.SplitSeq(alternative, "&") {
			d, err := q.Front.Authorizer.Check(q.Ctx, q.Caller.Principal, authz.Request{
				Action: c.Root + action, Data: c.Data(action), Scope: c.Scope, Attributes: c.Attributes,
			})
			if err != nil {
				return err
			}
			if !d.Allowed && why == "" {
				why = d.By
			}
			granted = granted && d.Allowed
		}
		if granted {
			return nil
		}
	}
	return PermissionMismatch().Because("%s lacks %s%s on %s: %s", q.Caller, c.Root, c.Actions[0], c.Scope, why)
}

// Below is a RoleCheck's Data where the data actions are those that begin with prefix.
func Below(prefix string) func(string) bool {
	return func(action string) bool { return strings.HasPrefix(action, prefix) }
}
