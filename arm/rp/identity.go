package rp

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
)

const (
	systemAssigned = "SystemAssigned"
	userAssigned   = "UserAssigned"
	bothAssigned   = "SystemAssigned, UserAssigned"
	noneAssigned   = "None"
)

// hasSystem says whether the identity block has a system-assigned identity.
func hasSystem(i *arm.Identity) bool {
	return i != nil && (i.Type == systemAssigned || i.Type == bothAssigned)
}

// identify makes, keeps or removes the identities that rec asks for; old is the record before, or nil.
func (tx *Tx) identify(rec, old *record) error {
	want := rec.Identity
	if want != nil {
		if err := normaliseIdentity(want); err != nil {
			return err
		}
		if want.Type == noneAssigned {
			want, rec.Identity = nil, &arm.Identity{Type: noneAssigned}
		}
	}
	if old != nil && hasSystem(old.Identity) && !hasSystem(want) && tx.engine.identities != nil {
		if err := tx.engine.identities.Remove(tx.Tx, rec.id); err != nil {
			return err
		}
	}
	if want == nil {
		return nil
	}
	if tx.engine.identities == nil {
		return arm.NotImplemented("Managed identities are not available in this region.")
	}
	want.PrincipalID, want.TenantID = "", ""
	if hasSystem(want) {
		var err error
		if want.PrincipalID, want.TenantID, err = tx.engine.identities.EnsureSystem(tx.Tx, rec.id); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(want.UserAssignedIdentities)) {
		u, err := tx.resolveIdentity(rec, id)
		if err != nil {
			return err
		}
		want.UserAssignedIdentities[id] = u
	}
	return nil
}

func (tx *Tx) resolveIdentity(rec *record, text string) (*arm.UserIdentity, error) {
	id, err := arm.ParseID(text)
	if err == nil && id.Type().Key() != "microsoft.managedidentity/userassignedidentities" {
		err = arm.Errorf(http.StatusBadRequest, "InvalidIdentityResourceId", "'%s' is not the id of a user-assigned identity.", text)
	}
	u := &arm.UserIdentity{}
	if err == nil {
		u.PrincipalID, u.ClientID, err = tx.engine.identities.Resolve(tx.Tx, id)
	}
	if cause := arm.AsError(err); cause != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "FailedIdentityOperation", "Identity operation for resource '%s' failed with error 'Failed to perform resource identity operation. Status: 'BadRequest'. %s'.", rec.ID, cause.Message)
	}
	return u, err
}

func normaliseIdentity(i *arm.Identity) error {
	system, user, none := false, false, false
	for part := range strings.SplitSeq(i.Type, ",") {
		switch strings.ToLower(strings.TrimSpace(part)) {
		case "systemassigned":
			system = true
		case "userassigned":
			user = true
		case "none":
			none = true
		default:
			return invalidIdentity("The identity type '%s' is not valid. It is one of None, SystemAssigned, UserAssigned and 'SystemAssigned, UserAssigned'.", i.Type)
		}
	}
	switch {
	case none && (system || user):
		return invalidIdentity("The identity type '%s' is not valid: None stands alone.", i.Type)
	case user && len(i.UserAssignedIdentities) == 0:
		return invalidIdentity("The identity type '%s' needs the ids of the identities in userAssignedIdentities.", i.Type)
	case !user && len(i.UserAssignedIdentities) > 0:
		return invalidIdentity("The identity type '%s' does not go with userAssignedIdentities.", i.Type)
	case system && user:
		i.Type = bothAssigned
	case system:
		i.Type = systemAssigned
	case user:
		i.Type = userAssigned
	default:
		i.Type = noneAssigned
	}
	return nil
}

func invalidIdentity(format string, args ...any) *arm.Error {
	e := arm.Errorf(http.StatusBadRequest, "InvalidIdentityType", format, args...)
	e.Target = "identity"
	return e
}
