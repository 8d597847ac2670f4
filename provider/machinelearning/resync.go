package machinelearning

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/keyvault"
	"vauban.dev/store"
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

// resyncKeys restores what the workspace's own identity has by the specification's table, also what was taken away.
func resyncKeys(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace], _ []byte) (any, error) {
	if i := r.Identity; i == nil || i.PrincipalID == "" {
		return nil, userError("The workspace has no identity of its own: there is nothing to restore. Keys of the account are read when they are used.")
	}
	if err := grantOwn(tx, r); err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK}, grantGroups(tx, r.Identity.PrincipalID, workspaceGroups(r))
}

// grantOwn gives a workspace's identity what the specification's table ("Enterprise security": the managed identity) has of
// the workspace itself and of what it was made with: Contributor of the workspace, the account's blobs, all of the vault.
// Who makes a workspace must be able to write both (workspaceLinks).
func grantOwn(tx *rp.Tx, r *rp.Resource[Workspace]) error {
	principal := r.Identity.PrincipalID
	account, err := arm.ParseID(r.Properties.StorageAccount)
	if err != nil {
		return err
	}
	vault, err := linked[keyvault.Vault](tx, "keyVault", r.Properties.KeyVault, keyvault.VaultType)
	if err != nil {
		return err
	}
	if rbac := vault.Properties.RBAC; rbac != nil && *rbac {
		err = authorization.Grant(tx, vault.ID, authz.KeyVaultAdministrator, principal)
	} else {
		err = admitToVault(tx, vault, principal, r.Properties.TenantID)
	}
	return errors.Join(err, authorization.Grant(tx, r.ID, authz.Contributor, principal), authorization.Grant(tx, account, authz.StorageBlobDataContrib, principal))
}

// grantGroups makes the identity Contributor of the groups of its workspace and of its vault, as the table has it.
func grantGroups(tx *rp.Tx, principal string, groups []arm.ID) error {
	for _, g := range groups {
		if err := authorization.Grant(tx, g, authz.Contributor, principal); err != nil {
			return err
		}
	}
	return nil
}

// kindMaker has who made a workspace, until its identity has the groups; key: the workspace.
const kindMaker = "ml.maker"

// noteMaker remembers who makes a workspace. Whether they may give its identity the groups is asked outside of the
// transaction (reconcileWorkspace): sources of roles wait for what is being written.
func noteMaker(ctx context.Context, tx *rp.Tx, id arm.ID) error {
	who, ok := authz.FromContext(ctx)
	if !ok {
		return nil
	}
	b, err := json.Marshal(who)
	if err != nil {
		return err
	}
	_, err = tx.Put(kindMaker, id.Key(), b, store.Any)
	return err
}

// reconcileWorkspace makes a new workspace's identity Contributor of each of its groups that its maker may write: nobody gets
// by a workspace what they do not have. What is left out, resyncKeys of somebody who may gives.
func (p *Provider) reconcileWorkspace(ctx context.Context, r *rp.Resource[Workspace]) (rp.Result, error) {
	if r.Identity == nil || r.Identity.PrincipalID == "" || p.Access == nil {
		return rp.Result{}, nil
	}
	var maker authz.Principal
	err := p.engine.View(ctx, func(tx *rp.Tx) error {
		d, err := tx.Get(kindMaker, r.ID.Key())
		if err != nil {
			return err
		}
		return json.Unmarshal(d.Value, &maker)
	})
	if errors.Is(err, store.ErrNotFound) {
		return rp.Result{}, nil
	}
	if err != nil {
		return rp.Result{}, err
	}
	var may []arm.ID
	for _, g := range workspaceGroups(r) {
		d, err := p.Access.Check(ctx, maker, authz.Request{Action: "Microsoft.Resources/subscriptions/resourceGroups/write", Scope: g.String()})
		if err != nil {
			return rp.Result{}, err
		}
		if d.Allowed {
			may = append(may, g)
		}
	}
	return rp.Result{}, p.engine.Update(ctx, func(tx *rp.Tx) error {
		if _, err := rp.Get[Workspace](tx, r.ID); err != nil {
			return nil // it went meanwhile
		}
		return errors.Join(grantGroups(tx, r.Identity.PrincipalID, may), deleteDoc(tx, kindMaker, r.ID.Key()))
	})
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
