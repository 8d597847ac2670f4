package machinelearning_test

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/keyvault"
)

// A workspace's identity has what the specification's table says when the workspace is there: of the groups what its maker
// may write, and the rest when somebody who may asks for resyncKeys.
func TestIdentityOfWorkspace(t *testing.T) {
	r := newRig(t)
	const other = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/vaults"
	policies := other + "/providers/Microsoft.KeyVault/vaults/policies"
	r.Must("PUT", policies+"?api-version=2023-07-01", `{"location":"westeurope","properties":{"tenantId":"`+rptest.Owner.TenantID+`","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`)
	has := func(principal string) map[string]bool {
		found := map[string]bool{}
		if err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
			all, err := rp.List[authorization.Assignment](tx, authorization.AssignmentType, arm.MustParseID("/"))
			for _, a := range all {
				if a.Properties.PrincipalID == principal {
					role := a.Properties.RoleDefinitionID[strings.LastIndex(a.Properties.RoleDefinitionID, "/")+1:]
					found[strings.ToLower(a.Properties.Scope)+" "+role] = true
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	poor := authz.Principal{ObjectID: "44444444-4444-4444-4444-444444444444", Name: "poor", TenantID: rptest.Owner.TenantID}
	for i, c := range []struct {
		who    authz.Principal
		vault  string
		groups []string
	}{{rptest.Owner, vault, []string{group}}, {rptest.Owner, policies, []string{group, other}}, {poor, vault, nil}} {
		id := fmt.Sprintf("%s-own%d", mlw, i)
		a := r.As(c.who, "PUT", id+api, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccount":"`+account+`","keyVault":"`+c.vault+`"}}`)
		if a.Status >= 300 {
			t.Fatalf("%d %s", a.Status, a.Text)
		}
		r.Wait(a)
		principal := r.Must("GET", id+api, "").String("identity", "principalId")
		if principal == "" {
			t.Fatal("the workspace has no identity")
		}
		want := map[string]bool{strings.ToLower(id) + " " + authz.Contributor: true, strings.ToLower(account) + " " + authz.StorageBlobDataContrib: true}
		if c.vault == vault {
			want[strings.ToLower(vault)+" "+authz.KeyVaultAdministrator] = true
		}
		for _, g := range c.groups {
			want[strings.ToLower(g)+" "+authz.Contributor] = true
		}
		if got := has(principal); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the identity has %v, want %v", id, got, want)
		}
		if c.vault == policies {
			var v *rp.Resource[keyvault.Vault]
			if err := r.Engine.View(t.Context(), func(tx *rp.Tx) (err error) {
				v, err = rp.Get[keyvault.Vault](tx, arm.MustParseID(policies))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if got := v.Properties.AccessPolicies; len(got) != 1 || got[0].ObjectID != principal || got[0].Permissions["secrets"][0] != "all" {
				t.Errorf("access policies %+v", got)
			}
		}
		r.Must("POST", id+"/resyncKeys"+api, "")
		if got := has(principal); !got[strings.ToLower(group)+" "+authz.Contributor] {
			t.Errorf("%s: after resyncKeys the identity has %v", id, got)
		}
	}
}
