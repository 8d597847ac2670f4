package machinelearning

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/keyvault"
)

// resyncLinks: what resyncKeys gives the workspace's identity, its caller must be able to write, so that nobody gets by
// the workspace what they do not have.
func resyncLinks(r *rp.Resource[Workspace], _ []byte) []rp.Link {
	links := workspaceLinks(r)
	for _, group := range workspaceGroups(r) {
		links = append(links, rp.Link{Action: "Microsoft.Resources/subscriptions/resourceGroups/write", ID: group})
	}
	return links
}

// workspaceGroups are the resource groups of the workspace and of its vault.
func workspaceGroups(r *rp.Resource[Workspace]) (groups []arm.ID) {
	for _, id := range []string{r.ID.String(), r.Properties.KeyVault} {
		parsed, err := arm.ParseID(id)
		if err != nil {
			continue
		}
		group, err := arm.ParseID("/subscriptions/" + parsed.Subscription() + "/resourceGroups/" + parsed.ResourceGroup())
		if err == nil && !slices.ContainsFunc(groups, func(g arm.ID) bool { return g.Key() == group.Key() }) {
			groups = append(groups, group)
		}
	}
	return groups
}

// resyncKeys restores what the workspace's own identity has by the specification's table ("Enterprise security": the
// managed identity): Contributor of the workspace and its groups, the account's blobs, all of the vault.
func resyncKeys(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace], _ []byte) (any, error) {
	i := r.Identity
	if i == nil || i.PrincipalID == "" {
		return nil, userError("The workspace has no identity of its own: there is nothing to restore. Keys of the account are read when they are used.")
	}
	account, err := arm.ParseID(r.Properties.StorageAccount)
	if err != nil {
		return nil, err
	}
	type grant struct {
		at   arm.ID
		role string
	}
	grants := []grant{{r.ID, authz.Contributor}, {account, authz.StorageBlobDataContrib}}
	for _, group := range workspaceGroups(r) {
		grants = append(grants, grant{group, authz.Contributor})
	}
	vault, err := linked[keyvault.Vault](tx, "keyVault", r.Properties.KeyVault, keyvault.VaultType)
	if err != nil {
		return nil, err
	}
	if rbac := vault.Properties.RBAC; rbac != nil && *rbac {
		grants = append(grants, grant{vault.ID, authz.KeyVaultAdministrator})
	} else if err := admitToVault(tx, vault, i.PrincipalID, r.Properties.TenantID); err != nil {
		return nil, err
	}
	for _, g := range grants {
		if err := authorization.Grant(tx, g.at, g.role, i.PrincipalID); err != nil {
			return nil, err
		}
	}
	return &rp.Response{Status: http.StatusOK}, nil
}

// admitToVault gives the identity an access policy for everything, where the vault does not go by roles.
func admitToVault(tx *rp.Tx, vault *rp.Resource[keyvault.Vault], principal, tenant string) error {
	all := map[string][]string{"keys": {"all"}, "secrets": {"all"}, "certificates": {"all"}}
	policies := slices.DeleteFunc(slices.Clone(vault.Properties.AccessPolicies), func(p keyvault.AccessPolicy) bool {
		return strings.EqualFold(p.ObjectID, principal)
	})
	vault.Properties.AccessPolicies = append(policies, keyvault.AccessPolicy{TenantID: tenant, ObjectID: principal, Permissions: all})
	return rp.Save(tx, vault)
}
