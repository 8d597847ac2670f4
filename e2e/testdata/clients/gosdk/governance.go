package main

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armlocks"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
)

const assignment = "6f0c2f3e-0a3c-4f5e-9a53-61f2f3d7c001"

func (a *account) governance(ctx context.Context) {
	scope := "/subscriptions/" + a.subscription + "/resourceGroups/" + group
	a.roles(ctx, scope)
	a.policies(ctx, scope)
	a.locks(ctx)
}

func (a *account) roles(ctx context.Context, scope string) {
	ids, err := armmsi.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("identities", err) {
		return
	}
	identity, err := ids.NewUserAssignedIdentitiesClient().CreateOrUpdate(ctx, group, "identity", armmsi.Identity{Location: to.Ptr(location)}, nil)
	if !a.ok("create an identity", err) {
		return
	}
	a.identityPrincipal = value(a, "principal", identity.Properties.PrincipalID)

	f, err := armauthorization.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("roles", err) {
		return
	}
	defs := all(ctx, a, "role definitions", f.NewRoleDefinitionsClient().NewListPager(scope, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'Reader'")}),
		func(p armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
			return p.Value
		})
	is(a, "Reader", len(defs), 1)
	if len(defs) == 0 {
		return
	}
	c := f.NewRoleAssignmentsClient()
	create := func(name string) error {
		_, err := c.Create(ctx, scope, name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
			PrincipalID: to.Ptr(a.identityPrincipal), RoleDefinitionID: defs[0].ID, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal)}}, nil)
		return err
	}
	a.ok("assign a role", create(assignment))
	a.refused("assign it twice", create("6f0c2f3e-0a3c-4f5e-9a53-61f2f3d7c002"), http.StatusConflict, "RoleAssignmentExists")
	_, err = c.Create(ctx, scope, "6f0c2f3e-0a3c-4f5e-9a53-61f2f3d7c003", armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		PrincipalID: to.Ptr("00000000-0000-0000-0000-00000000abcd"), RoleDefinitionID: defs[0].ID}}, nil)
	a.refused("assign to nobody", err, http.StatusBadRequest, "PrincipalNotFound")
	list := all(ctx, a, "assignments", c.NewListForScopePager(scope, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("principalId eq '" + a.identityPrincipal + "'")}),
		func(p armauthorization.RoleAssignmentsClientListForScopeResponse) []*armauthorization.RoleAssignment {
			return p.Value
		})
	is(a, "assignments", len(list), 1)
	_, err = c.Delete(ctx, scope, assignment, nil)
	a.ok("take it away", err)
	_, err = c.Get(ctx, scope, assignment, nil)
	a.refused("it is gone", err, http.StatusNotFound, "RoleAssignmentNotFound")
}

func (a *account) policies(ctx context.Context, scope string) {
	f, err := armpolicy.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("policies", err) {
		return
	}
	def, err := f.NewDefinitionsClient().CreateOrUpdate(ctx, "go-no-identities", armpolicy.Definition{Properties: &armpolicy.DefinitionProperties{
		PolicyType: to.Ptr(armpolicy.PolicyTypeCustom), Mode: to.Ptr("All"), PolicyRule: map[string]any{
			"if":   map[string]any{"field": "name", "equals": "forbidden"},
			"then": map[string]any{"effect": "deny"}}}}, nil)
	if !a.ok("define a policy", err) {
		return
	}
	assignments := f.NewAssignmentsClient()
	_, err = assignments.Create(ctx, scope, "go", armpolicy.Assignment{Properties: &armpolicy.AssignmentProperties{PolicyDefinitionID: def.ID, DisplayName: to.Ptr("No such name")}}, nil)
	a.ok("assign it", err)
	list := all(ctx, a, "policy assignments", assignments.NewListForResourceGroupPager(group, nil),
		func(p armpolicy.AssignmentsClientListForResourceGroupResponse) []*armpolicy.Assignment {
			return p.Value
		})
	is(a, "policy assignments", len(list) >= 1, true)
	ids, err := armmsi.NewUserAssignedIdentitiesClient(a.subscription, a.cred, nil)
	if a.ok("identities", err) {
		_, err = ids.CreateOrUpdate(ctx, group, "forbidden", armmsi.Identity{Location: to.Ptr(location)}, nil)
		a.refused("what the policy denies", err, http.StatusForbidden, "RequestDisallowedByPolicy")
	}
	_, err = assignments.Create(ctx, scope, "none", armpolicy.Assignment{Properties: &armpolicy.AssignmentProperties{PolicyDefinitionID: to.Ptr(*def.ID + "none")}}, nil)
	a.refused("assign no policy", err, http.StatusNotFound, "PolicyDefinitionNotFound")
	_, err = assignments.Delete(ctx, scope, "go", nil)
	a.ok("take the policy away", err)
	_, err = f.NewDefinitionsClient().Delete(ctx, "go-no-identities", nil)
	a.ok("delete the policy", err)
}

func (a *account) locks(ctx context.Context) {
	c, err := armlocks.NewManagementLocksClient(a.subscription, a.cred, nil)
	if !a.ok("locks", err) {
		return
	}
	_, err = c.CreateOrUpdateAtResourceLevel(ctx, group, "Microsoft.Storage", "", "storageAccounts", accountName, "keep", armlocks.ManagementLockObject{Properties: &armlocks.ManagementLockProperties{Level: to.Ptr(armlocks.LockLevelCanNotDelete)}}, nil)
	a.ok("lock", err)
	s, err := armstorage.NewAccountsClient(a.subscription, a.cred, nil)
	if a.ok("storage", err) {
		_, err = s.Delete(ctx, group, accountName, nil)
		a.refused("delete what is locked", err, http.StatusConflict, "ScopeLocked")
	}
	list := all(ctx, a, "locks", c.NewListAtResourceLevelPager(group, "Microsoft.Storage", "", "storageAccounts", accountName, nil), func(p armlocks.ManagementLocksClientListAtResourceLevelResponse) []*armlocks.ManagementLockObject {
		return p.Value
	})
	is(a, "locks", len(list), 1)
	_, err = c.DeleteAtResourceLevel(ctx, group, "Microsoft.Storage", "", "storageAccounts", accountName, "keep", nil)
	a.ok("unlock", err)
}
