package authorization

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// Assignment is the properties of a role assignment (Authorization REST: RoleAssignmentProperties).
type Assignment struct {
	RoleDefinitionID string `json:"roleDefinitionId"`
	PrincipalID      string `json:"principalId"`
	PrincipalType    string `json:"principalType,omitempty"`
	Scope            string `json:"scope,omitempty"`
	Description      string `json:"description,omitempty"`
	Condition        string `json:"condition,omitempty"`
	ConditionVersion string `json:"conditionVersion,omitempty"`
	// DelegatedIdentity is the managed identity of another tenant that the assignment is for.
	DelegatedIdentity string    `json:"delegatedManagedIdentityResourceId,omitempty"`
	CreatedOn         time.Time `json:"createdOn,omitzero" rp:"readonly"`
	UpdatedOn         time.Time `json:"updatedOn,omitzero" rp:"readonly"`
	CreatedBy         string    `json:"createdBy,omitempty" rp:"readonly"`
	UpdatedBy         string    `json:"updatedBy,omitempty" rp:"readonly"`
}

func validate(_ rp.Op, new, old *rp.Resource[Assignment]) error {
	a := &new.Properties
	if !guid.MatchString(new.ID.Name()) {
		return arm.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", new.ID.Name())
	}
	if !guid.MatchString(a.PrincipalID) {
		return arm.Errorf(http.StatusBadRequest, "InvalidPrincipalId", "The principal ID '%s' is not valid. Principal ID must be a GUID.", a.PrincipalID)
	}
	if a.RoleDefinitionID == "" {
		return arm.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID is missing: properties.roleDefinitionId.")
	}
	if len(a.Description) > maxDescription {
		return arm.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentDescription", "properties.description has %d characters, the most is %d.", len(a.Description), maxDescription)
	}
	if a.DelegatedIdentity != "" {
		if id, err := arm.ParseID(a.DelegatedIdentity); err != nil || id.Type().IsZero() {
			return arm.Errorf(http.StatusBadRequest, "InvalidDelegatedManagedIdentityResourceId", "properties.delegatedManagedIdentityResourceId '%s' is not the id of a resource.", a.DelegatedIdentity)
		}
	}
	if err := validateCondition(a); err != nil {
		return err
	}
	if old != nil && !sameGrant(a, &old.Properties) {
		return arm.Errorf(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	}
	return nil
}

const (
	maxDescription = 2048
	conditionNow   = "2.0" // the version of the language of conditions
)

func validateCondition(a *Assignment) error {
	if a.Condition == "" {
		a.ConditionVersion = ""
		return nil
	}
	a.ConditionVersion = cmp.Or(a.ConditionVersion, conditionNow)
	if a.ConditionVersion != conditionNow {
		return arm.Errorf(http.StatusBadRequest, "InvalidCondition", "The given role assignment condition is invalid. properties.conditionVersion is '%s', and must be %s.", a.ConditionVersion, conditionNow)
	}
	if _, err := authz.ParseCondition(a.Condition); err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidCondition", "The given role assignment condition is invalid. properties.condition: %v.", err)
	}
	return nil
}

// sameGrant says whether two states of an assignment differ in what may be updated only.
func sameGrant(a, b *Assignment) bool {
	return authz.DefinitionName(a.RoleDefinitionID) == authz.DefinitionName(b.RoleDefinitionID) && strings.EqualFold(a.PrincipalID, b.PrincipalID) &&
		strings.EqualFold(a.DelegatedIdentity, b.DelegatedIdentity)
}

func (p *Provider) admit(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Assignment]) error {
	a := &new.Properties
	role := authz.DefinitionName(a.RoleDefinitionID)
	if err := p.assignable(tx, role, new.ID.Scope()); err != nil {
		return err
	}
	kind, ok, err := p.principals.PrincipalType(tx, a.PrincipalID)
	if err != nil {
		return err
	}
	if !ok {
		return arm.Errorf(http.StatusBadRequest, "PrincipalNotFound", "Principal %s does not exist in the directory. Check that you have the correct principal ID.", strings.ReplaceAll(a.PrincipalID, "-", ""))
	}
	if a.PrincipalType != "" && a.PrincipalType != kind {
		return arm.Errorf(http.StatusBadRequest, "UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s' , which is different from specified PrinciaplType '%s'.", a.PrincipalID, kind, a.PrincipalType)
	}
	a.PrincipalType, a.Scope = kind, new.ID.Scope().String()
	a.RoleDefinitionID = definitionID(new.ID, role)
	a.UpdatedOn, a.UpdatedBy = tx.Now, tx.Caller.ObjectID
	if op == rp.Update {
		return nil
	}
	a.CreatedOn, a.CreatedBy = tx.Now, tx.Caller.ObjectID
	if err := unique(tx, new.ID, a); err != nil {
		return err
	}
	return p.withinLimits(tx, new.ID.Scope())
}

// assignable refuses a role that does not exist, or not at this scope.
func (p *Provider) assignable(tx *rp.Tx, role string, scope arm.ID) error {
	if _, ok := authz.Builtin(role); ok {
		return nil
	}
	d, err := custom(tx, role)
	if err != nil {
		return err
	}
	ok, err := p.covered(tx, d, scope)
	if err != nil || ok {
		return err
	}
	return arm.Errorf(http.StatusBadRequest, "ScopeDoesNotMatchRoleDefinition", "The role definition '%s' cannot be assigned at scope '%s': its assignableScopes are '%s'.",
		d.Properties.RoleName, scope, strings.Join(d.Properties.AssignableScopes, "', '"))
}

// unique refuses a second assignment of the same role to the same principal at the same scope.
func unique(tx *rp.Tx, id arm.ID, a *Assignment) error {
	other, err := existing(tx, id.Scope(), id.Key(), a)
	if err != nil || other.IsZero() {
		return err
	}
	return arm.Errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(other.Name(), "-", ""))
}

// existing is the assignment at a scope that grants the same, if there is one; that with the key except does not count.
func existing(tx *rp.Tx, scope arm.ID, except string, a *Assignment) (arm.ID, error) {
	all, err := under(tx, own(scope), except)
	if err != nil {
		return arm.ID{}, err
	}
	for _, id := range all {
		o, err := rp.Get[Assignment](tx, id)
		if err != nil {
			return arm.ID{}, err
		}
		if sameGrant(a, &o.Properties) {
			return o.ID, nil
		}
	}
	return arm.ID{}, nil
}

// withinLimits refuses one assignment too many of a subscription or a management group.
func (p *Provider) withinLimits(tx *rp.Tx, scope arm.ID) error {
	prefix, most, where := "", p.limits.perSubscription, ""
	switch sub, group := scope.Subscription(), scope.ManagementGroup(); {
	case sub != "":
		where = "/subscriptions/" + sub
		prefix = strings.ToLower(where) + "/"
	case group != "":
		where, most = scope.String(), p.limits.perManagementGroup
		prefix = own(scope)
	default:
		return nil
	}
	n := 0
	err := tx.Scan(rp.StoreKind(AssignmentType), prefix, "", func(store.Doc) bool {
		n++
		return n < most
	})
	if err != nil || n < most {
		return err
	}
	return arm.Errorf(http.StatusBadRequest, "RoleAssignmentLimitExceeded", "The number of role assignments has exceeded the limit for '%s', which is %d. No more role assignments can be created.", where, most)
}

// release refuses to leave a subscription without anybody who can assign roles, unless the caller can from above
// ("Troubleshoot Azure RBAC": the last Owner). What goes with its scope goes.
func (p *Provider) release(ctx context.Context, tx *rp.Tx, r *rp.Resource[Assignment]) error {
	scope := r.ID.Scope()
	atSubscription := scope.Type().Key() == "microsoft.resources/subscriptions"
	if rp.Removing(ctx).Key() != r.ID.Key() || tx.Caller.ObjectID == "" {
		return nil
	}
	admin, err := p.administers(tx, &r.Properties)
	if err != nil || !admin {
		return err
	}
	ids, err := p.reaching(tx, scope, false)
	if err != nil {
		return err
	}
	others, mine := false, false
	for _, id := range ids {
		if id.Key() == r.ID.Key() {
			continue
		}
		a, err := rp.Get[Assignment](tx, id)
		if err != nil {
			return err
		}
		if admin, err := p.administers(tx, &a.Properties); err != nil || !admin {
			if err != nil {
				return err
			}
			continue
		}
		if strings.EqualFold(a.Properties.PrincipalID, tx.Caller.ObjectID) {
			mine = true
		}
		others = others || id.Scope().Key() == scope.Key()
	}
	if atSubscription && !others && !mine {
		return arm.Errorf(http.StatusBadRequest, "LastRbacAdminAssignment", "Cannot delete the last RBAC admin assignment. No other role assignment at scope '%s' lets anybody assign roles there.", scope)
	}
	if !mine && strings.EqualFold(r.Properties.PrincipalID, tx.Caller.ObjectID) {
		tx.Warn("You have removed your own right to assign roles at %s: another administrator must give it back.", scope)
	}
	return nil
}

// administers says whether an assignment lets its principal assign roles.
func (p *Provider) administers(tx *rp.Tx, a *Assignment) (bool, error) {
	if a.Condition != "" {
		return false, nil
	}
	d, ok, err := definitionOf(tx, a.RoleDefinitionID)
	return ok && d.Grants(AssignmentType+"/write", false), err
}

// attributes are those of "Delegate Azure role assignment management with conditions".
func (p *Provider) attributes(tx *rp.Tx, method string, id arm.ID, body []byte) (map[authz.Attribute][]string, error) {
	all := map[authz.Attribute][]string{}
	add := func(from authz.AttributeSource, a *Assignment) error {
		kind := a.PrincipalType
		if known, ok, err := p.principals.PrincipalType(tx, a.PrincipalID); err != nil {
			return err
		} else if ok {
			kind = known
		}
		for name, value := range map[string]string{"roledefinitionid": authz.DefinitionName(a.RoleDefinitionID), "principalid": a.PrincipalID, "principaltype": kind} {
			if value != "" {
				all[authz.Attribute{Source: from, Name: "microsoft.authorization/roleassignments:" + name}] = []string{value}
			}
		}
		return nil
	}
	if old, err := rp.Get[Assignment](tx, id); err == nil {
		if err := add(authz.FromResource, &old.Properties); err != nil {
			return nil, err
		}
	} else if e := arm.AsError(err); e == nil || e.Status != http.StatusNotFound {
		return nil, err
	}
	if method == http.MethodDelete {
		return all, nil
	}
	var sent struct {
		Properties Assignment `json:"properties"`
	}
	if json.Unmarshal(body, &sent) != nil { // refused later, in Azure's words
		return all, nil
	}
	return all, add(authz.FromRequest, &sent.Properties)
}

// Grant gives a service principal a built-in role at a scope, as the platform does for what it makes itself; a
// grant that exists is left as it is.
func Grant(tx *rp.Tx, scope arm.ID, role, principalID string) error {
	return GrantTo(tx, scope, role, principalID, "ServicePrincipal")
}

// GrantTo is Grant for a principal of another type (User, Group, ServicePrincipal).
func GrantTo(tx *rp.Tx, scope arm.ID, role, principalID, kind string) error {
	if kind != "User" && kind != "Group" {
		kind = "ServicePrincipal"
	}
	if had, err := existing(tx, scope, "", &Assignment{RoleDefinitionID: role, PrincipalID: principalID}); err != nil || !had.IsZero() {
		return err
	}
	id, err := named(scope, AssignmentType, role+" "+principalID)
	if err != nil {
		return err
	}
	return rp.Save(tx, &rp.Resource[Assignment]{ID: id, State: arm.Succeeded, Properties: Assignment{
		RoleDefinitionID: definitionID(id, role), PrincipalID: principalID, PrincipalType: kind, Scope: scope.String(),
		CreatedOn: tx.Now, UpdatedOn: tx.Now,
	}})
}

func definitionID(at arm.ID, role string) string {
	prefix := ""
	if s := at.Subscription(); s != "" {
		prefix = "/subscriptions/" + s
	}
	return prefix + "/providers/" + DefinitionType + "/" + role
}

// named is the id of what the platform makes at a scope: always the same for the same.
func named(scope arm.ID, typ, what string) (arm.ID, error) {
	sum := sha256.Sum256([]byte(scope.Key() + " " + what))
	name, err := uuid.FromBytes(sum[:16])
	if err != nil {
		return arm.ID{}, err
	}
	return arm.ParseID(strings.TrimSuffix(scope.String(), "/") + "/providers/" + typ + "/" + name.String())
}
