// Package managedidentity is Microsoft.ManagedIdentity: user-assigned identities and their federated credentials.
package managedidentity

import (
	"context"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// IdentityType is the resource type of user-assigned identities.
const IdentityType = "Microsoft.ManagedIdentity/userAssignedIdentities"

// Identity is the properties of a user-assigned identity; all of them are the directory's.
type Identity struct {
	TenantID    string `json:"tenantId,omitempty" rp:"readonly"`
	PrincipalID string `json:"principalId,omitempty" rp:"readonly"`
	ClientID    string `json:"clientId,omitempty" rp:"readonly"`
}

// Directory makes the service principals of identities.
type Directory interface {
	// EnsureUserAssigned returns the service principal of the identity with this resource id.
	EnsureUserAssigned(tx store.Tx, id arm.ID) (principalID, clientID, tenantID string, err error)
	Remove(tx store.Tx, id arm.ID) error
	// PutFederated gives the identity a federated credential, or replaces the one with its name; *arm.Error when there
	// are too many, or another has the same issuer and subject.
	PutFederated(tx store.Tx, identity arm.ID, name string, f Federated) error
	RemoveFederated(tx store.Tx, identity arm.ID, name string) error
}

// Types are the resource types.
func Types(d Directory) []rp.Registration {
	return []rp.Registration{federatedType(d), rp.Of(rp.Type[Identity]{
		Name: IdentityType,
		Kind: rp.Tracked,
		Versions: rp.Versions[Identity]("2015-08-31-preview", "2018-11-30", "2021-09-30-preview", "2022-01-31-preview", "2023-01-31",
			"2023-07-31-preview", "2024-11-30", "2025-01-31-preview", "2025-05-31-preview"),
		NamePattern:   `^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$`,
		NameRule:      "Resource names must start with a letter or number, and contain 3 to 128 letters, numbers, hyphens and underscores.",
		StateProperty: "-",
		SyncDelete:    true,
		Admit: func(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Identity]) (err error) {
			p := &new.Properties
			p.PrincipalID, p.ClientID, p.TenantID, err = d.EnsureUserAssigned(tx, new.ID)
			return err
		},
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Identity]) error { return d.Remove(tx, r.ID) },
	}), rp.Operations(rp.Actions(IdentityType + "/assign/action")...)}
}
