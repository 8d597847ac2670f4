package authorization_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

const mine = "dddddddd-0000-0000-0000-000000000001"

func role(name string, scopes []string, permissions string) string {
	return fmt.Sprintf(`{"properties":{"roleName":%q,"description":"d","type":"CustomRole","assignableScopes":["%s"],"permissions":[%s]}}`, name, strings.Join(scopes, `","`), permissions)
}

const readers = `{"actions":["Microsoft.Storage/storageAccounts/read"]}`

// decided is a region whose requests, but for those of rptest.Owner, are decided by the roles that it keeps.
func decided(t *testing.T) (*rptest.Region, *authorization.Source) {
	t.Helper()
	r := newRegion(t)
	s, err := authorization.Open(t.Context(), r.Store, clock.Fixed(now), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.Decide(&authz.Evaluator{Source: s})
	return r, s
}

func TestCustomRoles(t *testing.T) {
	r, _ := decided(t)
	at := sub + roles + mine + version
	a := r.Request("PUT", at, role("Reader of accounts", []string{sub}, readers))
	if a.Status != 201 || a.String("id") != sub+roles+mine || a.String("properties", "type") != "CustomRole" || a.String("properties", "createdBy") != rptest.Owner.ObjectID {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	for _, p := range []string{at, roles + mine + version, group + roles + strings.ToUpper(mine) + version} {
		if a := r.Request("GET", p, ""); a.Status != 200 || a.String("properties", "roleName") != "Reader of accounts" {
			t.Errorf("GET %s: %d %s", p, a.Status, a.Text)
		}
	}
	who := authz.Principal{ObjectID: alice, Name: "alice"}
	get := func() rptest.Answer { return r.As(who, "GET", account+"?api-version=2024-01-01", "") }
	want(t, "before", get(), 403, "AuthorizationFailed", "no role assignment")
	r.Must("PUT", assignment(group, 1), body(roles+mine, alice, ""))
	if a := get(); a.Status != 200 {
		t.Errorf("assigned: %d %s", a.Status, a.Text)
	}
	want(t, "more", r.As(who, "DELETE", account+"?api-version=2024-01-01", ""), 403, "AuthorizationFailed", "Role 'Reader of accounts' assigned at "+group+" lacks Microsoft.Storage/storageAccounts/delete")
	// An update counts for the next request.
	r.Must("PUT", at, role("Writer of accounts", []string{sub}, `{"actions":["Microsoft.Storage/*"],"notActions":["Microsoft.Storage/storageAccounts/read"]}`))
	want(t, "after the update", get(), 403, "AuthorizationFailed", "excepts Microsoft.Storage/storageAccounts/read by notActions")
	// A role in use is not deleted, nor taken from where it is assigned.
	want(t, "in use", r.Request("DELETE", at, ""), 409, "RoleDefinitionHasAssignments", group)
	other := sub + "/resourceGroups/rg2"
	r.Must("PUT", other+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	want(t, "its scope", r.Request("PUT", at, role("Writer of accounts", []string{other}, readers)), 409, "RoleScopeBeingRemovedContainsAssignments", group)
	r.Must("DELETE", assignment(group, 1), "")
	r.Must("PUT", at, role("Writer of accounts", []string{other}, readers))
	want(t, "elsewhere", r.Request("PUT", assignment(group, 1), body(roles+mine, alice, "")), 400, "ScopeDoesNotMatchRoleDefinition", other)
	if a := r.Request("DELETE", at, ""); a.Status != 200 || a.String("name") != mine {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	if a := r.Request("DELETE", at, ""); a.Status != 204 {
		t.Errorf("DELETE of nothing: %d %s", a.Status, a.Text)
	}
	want(t, "gone", r.Request("GET", at, ""), 404, "RoleDefinitionDoesNotExist", mine)
	want(t, "assigned when gone", r.Request("PUT", assignment(group, 1), body(roles+mine, alice, "")), 404, "RoleDefinitionDoesNotExist", mine)
}

func TestCustomRoleLists(t *testing.T) {
	r := newRegion(t)
	r.Must("PUT", sub+roles+mine+version, role("At the subscription", []string{sub}, readers))
	r.Must("PUT", sub+roles+strings.Replace(mine, "1", "2", 1)+version, role("At the group", []string{group}, readers))
	for _, c := range []struct {
		scope, filter, want string
	}{
		{sub, "type eq 'CustomRole'", "At the subscription"}, {sub, "atScopeAndBelow() and type eq 'CustomRole'", "At the subscription,At the group"},
		{account, "type eq 'CustomRole'", "At the subscription,At the group"}, {"", "type eq 'CustomRole'", ""},
		{group, "roleName eq 'at the GROUP'", "At the group"},
	} {
		a := r.Request("GET", c.scope+"/providers/Microsoft.Authorization/roleDefinitions"+version+"&$filter="+strings.ReplaceAll(c.filter, " ", "%20"), "")
		var got []string
		list, _ := a.At("value").([]any)
		for _, e := range list {
			got = append(got, e.(map[string]any)["properties"].(map[string]any)["roleName"].(string))
		}
		if strings.Join(got, ",") != c.want {
			t.Errorf("%s at %q: %v", c.filter, c.scope, got)
		}
	}
}

func TestCustomRoleRefusals(t *testing.T) {
	r := newRegion(t)
	at := sub + roles + mine + version
	r.Must("PUT", sub+roles+strings.Replace(mine, "1", "2", 1)+version, role("Taken", []string{sub}, readers))
	action := func(a string) string { return role("New", []string{sub}, fmt.Sprintf(`{"actions":[%q]}`, a)) }
	for _, c := range []struct {
		what, path, body string
		status           int
		code, says       string
	}{
		{"a name that is no GUID", sub + roles + "mine" + version, action("*"), 400, "InvalidRoleDefinitionId", "'mine'"},
		{"a built-in role", sub + roles + authz.Reader + version, action("*"), 403, "BuiltInRoleDefinitionUpdateNotPermitted", "'Reader'"},
		{"no properties", at, `{}`, 400, "InvalidRequestContent", "properties"},
		{"no name", at, role("", []string{sub}, readers), 400, "RoleDefinitionNameNullOrEmpty", "roleName"},
		{"a long name", at, role(strings.Repeat("x", 513), []string{sub}, readers), 400, "RoleDefinitionNameTooLong", "512"},
		{"a name that is taken", at, role("TAKEN", []string{sub}, readers), 409, "RoleDefinitionWithSameNameExists", "TAKEN"},
		{"the name of a built-in role", at, role("reader", []string{sub}, readers), 409, "RoleDefinitionWithSameNameExists", "reader"},
		{"no permissions", at, role("New", []string{sub}, ""), 400, "RoleDefinitionPermissionsNullOrEmpty", "permissions"},
		{"no scope", at, strings.Replace(role("New", []string{sub}, readers), `["`+sub+`"]`, `[]`, 1), 400, "InvalidAssignableScopes", "at least one"},
		{"the root", at, role("New", []string{"/"}, readers), 400, "InvalidAssignableScopes", "'/'"},
		{"no id", at, role("New", []string{"here"}, readers), 400, "InvalidAssignableScopes", "'here'"},
		{"a scope that is not there", at, role("New", []string{sub + "/resourceGroups/none"}, readers), 404, "ResourceGroupNotFound", "none"},
		{"two management groups", at, role("New", []string{"/providers/Microsoft.Management/managementGroups/a", "/providers/Microsoft.Management/managementGroups/b"}, readers), 400, "InvalidAssignableScopes", "only one management group"},
		{"the specification's misprint", at, action("Microsoft.Network/virtualNetworks/subnet/join/action"), 400, "InvalidActionOrNotAction",
			"'Microsoft.Network/virtualNetworks/subnet/join/action' does not match any of the actions supported by the providers. Did you mean 'Microsoft.Network/virtualNetworks/subnets/join/action'?"},
		{"a namespace that does not exist", at, action("Contoso.Nothing/*"), 400, "InvalidActionOrNotAction", "not returned in the list of providers"},
		{"a data action", at, action("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"), 400, "InvalidActionOrNotAction", "write it in dataActions"},
		{"a management action", at, role("New", []string{sub}, `{"dataActions":["Microsoft.Storage/storageAccounts/read"]}`), 400, "InvalidActionOrNotAction", "write it in actions"},
		{"a notAction", at, role("New", []string{sub}, `{"actions":["*"],"notActions":["Microsoft.Storage/nothing"]}`), 400, "InvalidActionOrNotAction", "Microsoft.Storage/nothing"},
		{"a condition that is none", at, role("New", []string{sub}, `{"actions":["*"],"condition":"x"}`), 400, "InvalidCondition", "permissions[0].condition"},
	} {
		want(t, c.what, r.Request("PUT", c.path, c.body), c.status, c.code, c.says)
	}
	for _, a := range []string{"*", "*/read", "Microsoft.Network/*", "microsoft.network/VIRTUALNETWORKS/*/join/action", "Microsoft.Web/sites/read"} {
		if got := r.Request("PUT", at, action(a)); got.Status != 201 {
			t.Errorf("%s: %d %s", a, got.Status, got.Text)
		}
	}
	want(t, "the delete of a built-in role", r.Request("DELETE", sub+roles+authz.Reader+version, ""), 403, "BuiltInRoleDefinitionUpdateNotPermitted", "'Reader'")
}

// TestCustomRoleNeedsItsScopes: who makes or deletes a role must be able to at all of its scopes.
func TestCustomRoleNeedsItsScopes(t *testing.T) {
	r, _ := decided(t)
	other := sub + "/resourceGroups/rg2"
	r.Must("PUT", other+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	who := authz.Principal{ObjectID: alice}
	r.Must("PUT", assignment(group, 1), body(roles+authz.Owner, alice, ""))
	at := group + roles + mine + version
	want(t, "one scope too many", r.As(who, "PUT", at, role("New", []string{group, other}, readers)), 403, "LinkedAuthorizationFailed", other)
	if a := r.As(who, "PUT", at, role("New", []string{group}, readers)); a.Status != 201 {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	r.Must("PUT", at, role("New", []string{group, other}, readers))
	want(t, "its delete", r.As(who, "DELETE", at, ""), 403, "LinkedAuthorizationFailed", other)
}

func limitedRegion(t *testing.T) *rptest.Region {
	t.Helper()
	regs := append(resources.New(resources.Tenant{}, nil, &authz.Index{}).Types(), provider().Limit(3, 1, 1).Types()...)
	r := rptest.New(t, rp.Config{Clock: clock.Fixed(now)}, regs...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test")
	}); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	return r
}

func TestLimits(t *testing.T) {
	r := limitedRegion(t)
	for i, scope := range []string{sub, group, group} {
		r.Must("PUT", assignment(scope, i), body(roles+[]string{authz.Reader, authz.Reader, authz.Owner}[i], alice, ""))
	}
	want(t, "one too many", r.Request("PUT", assignment(group, 7), body(roles+authz.Contributor, alice, "")), 400, "RoleAssignmentLimitExceeded", "which is 3. No more role assignments can be created")
	r.Must("PUT", assignment(group, 2), body(roles+authz.Owner, alice, `,"description":"an update is none more"`))
	r.Must("PUT", assignment("/", 8), body(roles+authz.Contributor, alice, "")) // the root is no subscription's
	r.Must("PUT", sub+roles+mine+version, role("One", []string{sub}, readers))
	want(t, "a role too many", r.Request("PUT", sub+roles+strings.Replace(mine, "1", "2", 1)+version, role("Two", []string{sub}, readers)), 400, "RoleDefinitionLimitExceeded", "1 custom roles")
}

func TestLastAdministrator(t *testing.T) {
	r, _ := decided(t)
	boss := authz.Principal{ObjectID: alice}
	r.Must("PUT", assignment(sub, 1), body(roles+authz.Owner, alice, ""))
	r.Must("PUT", assignment(sub, 2), body(roles+authz.UserAccessAdministrator, robot, ""))
	r.Must("PUT", assignment(sub, 3), body(roles+authz.Reader, robot, ""))
	a := r.As(boss, "DELETE", assignment(sub, 2), "")
	if a.Status != 200 || a.Header.Get("Warning") != "" {
		t.Fatalf("one of two: %d %s %v", a.Status, a.Text, a.Header)
	}
	want(t, "the last", r.As(boss, "DELETE", assignment(sub, 1), ""), 400, "LastRbacAdminAssignment", "Cannot delete the last RBAC admin assignment")
	if a := r.As(boss, "DELETE", assignment(sub, 3), ""); a.Status != 200 {
		t.Errorf("a reader: %d %s", a.Status, a.Text)
	}
	// With another one it goes, and says what that means; who can from above may take the last.
	r.Must("PUT", assignment(sub, 2), body(roles+authz.Owner, robot, ""))
	if a := r.As(boss, "DELETE", assignment(sub, 1), ""); a.Status != 200 || !strings.Contains(a.Header.Get("Warning"), "your own right to assign roles") {
		t.Errorf("one's own: %d %s %v", a.Status, a.Text, a.Header)
	}
	r.Must("PUT", assignment("/", 4), body(roles+authz.Owner, alice, ""))
	if a := r.As(boss, "DELETE", assignment(sub, 2), ""); a.Status != 200 {
		t.Errorf("from above: %d %s", a.Status, a.Text)
	}
	r.Must("PUT", assignment(sub, 1), body(roles+authz.Owner, alice, ""))
	r.Must("PUT", assignment(group, 5), body(roles+authz.Owner, robot, ""))
	if a := r.As(boss, "DELETE", group+"?api-version=2024-11-01", ""); a.Status >= 300 { // takes its assignments along
		t.Errorf("a group: %d %s", a.Status, a.Text)
	}
}

// TestDelegation: a condition lets alice assign one role to service principals only, and delete nothing else.
func TestDelegation(t *testing.T) {
	r, _ := decided(t)
	const prefix = "Microsoft.Authorization/roleAssignments"
	condition := fmt.Sprintf("((!(ActionMatches{'%[1]s/write'})) OR (@Request[%[1]s:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {%[2]s} AND @Request[%[1]s:PrincipalType] StringEqualsIgnoreCase 'ServicePrincipal'))"+
		" AND ((!(ActionMatches{'%[1]s/delete'})) OR (@Resource[%[1]s:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {%[2]s}))", prefix, authz.Reader)
	r.Must("PUT", assignment(sub, 1), body(roles+authz.Owner, alice, fmt.Sprintf(`,"condition":%q`, condition)))
	if got := r.Request("GET", assignment(sub, 1), ""); got.String("properties", "conditionVersion") != "2.0" {
		t.Error(got.Text)
	}
	who := authz.Principal{ObjectID: alice}
	if a := r.As(who, "PUT", assignment(group, 2), body(roles+authz.Reader, robot, "")); a.Status != 201 {
		t.Errorf("the role: %d %s", a.Status, a.Text)
	}
	a := r.As(who, "PUT", assignment(group, 3), body(roles+authz.Owner, robot, ""))
	want(t, "another role", a, 403, "AuthorizationFailed", "an ABAC condition not fulfilled")
	if !strings.Contains(a.Text, "it is '"+authz.Owner+"'") {
		t.Error(a.Text)
	}
	want(t, "a user, whatever the body says", r.As(who, "PUT", assignment(group, 3), body(roles+authz.Reader, alice, `,"principalType":"ServicePrincipal"`)), 403, "AuthorizationFailed", "it is 'User'")
	want(t, "her own", r.As(who, "DELETE", assignment(sub, 1), ""), 403, "AuthorizationFailed", "RoleDefinitionId] ForAnyOfAnyValues:GuidEquals")
	if a := r.As(who, "DELETE", assignment(group, 2), ""); a.Status != 200 {
		t.Errorf("the reader: %d %s", a.Status, a.Text)
	}
	if a := r.As(who, "GET", account+"?api-version=2024-01-01", ""); a.Status != 200 { // the rest of the role is hers
		t.Errorf("another action: %d %s", a.Status, a.Text)
	}
}

func TestDenials(t *testing.T) {
	r, _ := decided(t)
	r.Must("PUT", assignment(sub, 1), body(roles+authz.Owner, alice, ""))
	who := authz.Principal{ObjectID: alice, Name: "alice"}
	denials := "/providers/Microsoft.Authorization/denyAssignments"
	var id arm.ID
	update := func(f func(tx *rp.Tx) error) {
		t.Helper()
		if err := r.Engine.Update(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	scope := arm.MustParseID(group)
	update(func(tx *rp.Tx) (err error) {
		id, err = authorization.Deny(tx, scope, authorization.Denial{Name: "Managed by the platform", Principals: authorization.All(),
			ExcludePrincipals: []authorization.DenialPrincipal{{ID: robot, Type: "ServicePrincipal"}}, Permissions: []authz.Permission{{Actions: []string{"*/write", "*/delete"}}}})
		return err
	})
	put := func(p authz.Principal) rptest.Answer {
		return r.As(p, "PUT", account+"?api-version=2024-01-01", `{"location":"westeurope"}`)
	}
	want(t, "denied", put(who), 403, "DenyAssignmentAuthorizationFailed", "deny assignment with name 'Managed by the platform' and Id '"+strings.ToLower(id.String())+"' at scope '"+group+"'")
	if a := r.As(who, "GET", account+"?api-version=2024-01-01", ""); a.Status != 200 {
		t.Errorf("a read: %d %s", a.Status, a.Text)
	}
	r.Must("PUT", assignment(sub, 2), body(roles+authz.Owner, robot, ""))
	if a := put(authz.Principal{ObjectID: robot}); a.Status != 200 {
		t.Errorf("excluded: %d %s", a.Status, a.Text)
	}
	for path, n := range map[string]int{sub + denials + version: 1, account + denials + version: 1, account + denials + version + "&$filter=atScope()": 1, sub + denials + version + "&$filter=atScope()": 0,
		sub + denials + version + "&$filter=denyAssignmentName%20eq%20'managed%20by%20the%20platform'": 1, sub + denials + version + "&$filter=principalId%20eq%20'" + alice + "'": 1} {
		a := r.As(who, "GET", path, "")
		list, _ := a.At("value").([]any)
		if a.Status != 200 || len(list) != n {
			t.Errorf("%s: %d %s", path, a.Status, a.Text)
		}
		for _, e := range list {
			p := e.(map[string]any)["properties"].(map[string]any)
			if p["isSystemProtected"] != true || p["scope"] != group || p["denyAssignmentName"] != "Managed by the platform" {
				t.Error(p)
			}
		}
	}
	if a := r.As(who, "GET", id.String()+version, ""); a.Status != 200 || a.String("properties", "denyAssignmentName") != "Managed by the platform" {
		t.Errorf("GET: %d %s", a.Status, a.Text)
	}
	// Nobody but the platform makes or deletes one.
	want(t, "PUT", r.Request("PUT", assignmentOf(denials, group), `{"properties":{}}`), 405, "MethodNotAllowed", "by the platform alone")
	want(t, "DELETE", r.Request("DELETE", id.String()+version, ""), 405, "MethodNotAllowed", "by the platform alone")
	update(func(tx *rp.Tx) error { return authorization.Allow(tx, scope, "Managed by the platform") })
	if a := put(who); a.Status != 200 {
		t.Errorf("allowed again: %d %s", a.Status, a.Text)
	}
}

func assignmentOf(collection, scope string) string {
	return scope + collection + "/" + name(1) + version
}

func TestPermissionsAndOperations(t *testing.T) {
	p := provider()
	regs := append(resources.New(resources.Tenant{}, nil, &authz.Index{}).Types(), p.Types()...)
	r := rptest.New(t, rp.Config{Clock: clock.Fixed(now)}, regs...)
	s, err := authorization.Open(t.Context(), r.Store, clock.Fixed(now), 0)
	if err != nil {
		t.Fatal(err)
	}
	e := &authz.Evaluator{Source: s}
	r.Decide(e)
	p.Config.Permissions = e.Permissions
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test")
	}); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	who := authz.Principal{ObjectID: alice}
	r.Must("PUT", assignment(sub, 1), body(roles+authz.Reader, alice, ""))
	r.Must("PUT", assignment(group, 2), body(roles+authz.Contributor, alice, ""))
	for scope, n := range map[string]int{sub: 1, group: 2} {
		a := r.As(who, "GET", scope+"/providers/Microsoft.Authorization/permissions"+version, "")
		if list, _ := a.At("value").([]any); a.Status != 200 || len(list) != n {
			t.Errorf("%s: %d %s", scope, a.Status, a.Text)
		}
	}
	a := r.As(who, "GET", "/providers/Microsoft.Authorization/providerOperations/microsoft.authorization"+version+"&$expand=resourceTypes", "")
	if a.Status != 200 || !strings.Contains(a.Text, `"Microsoft.Authorization/roleAssignments/write"`) || !strings.Contains(a.Text, `"Microsoft.Authorization/roleDefinitions/delete"`) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	want(t, "no provider", r.As(who, "GET", "/providers/Microsoft.Authorization/providerOperations/Contoso.Nothing"+version, ""), 404, "ProviderNotFound", "Contoso.Nothing")
	if a := r.As(who, "GET", "/providers/Microsoft.Authorization/providerOperations"+version, ""); !strings.Contains(a.Text, `"name":"Microsoft.Resources"`) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}

// TestSourceIsNeverOlder: what was acknowledged counts for the very next question, also after a start.
func TestSourceIsNeverOlder(t *testing.T) {
	r, s := decided(t)
	may := func(s authz.Source, action string) bool {
		t.Helper()
		d, err := (&authz.Evaluator{Source: s}).Check(t.Context(), authz.Principal{ObjectID: alice}, authz.Request{Action: action, Scope: account})
		if err != nil {
			t.Fatal(err)
		}
		return d.Allowed
	}
	const write = "Microsoft.Storage/storageAccounts/write"
	for i := range 50 {
		r.Must("PUT", assignment(sub, 2), body(roles+authz.Contributor, alice, ""))
		if !may(s, write) {
			t.Fatalf("round %d: an assignment does not count", i)
		}
		r.Must("DELETE", assignment(sub, 2), "")
		if may(s, write) {
			t.Fatalf("round %d: a revoked assignment counts", i)
		}
	}
	r.Must("PUT", assignment(group, 1), body(roles+authz.Contributor, alice, ""))
	again, err := authorization.Open(t.Context(), r.Store, clock.Fixed(now), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !may(again, write) {
		t.Error("what was stored before does not count")
	}
	r.Must("DELETE", group+"?api-version=2024-11-01", "") // takes its assignments along
	if may(s, write) {
		t.Error("the assignment has survived its group")
	}
	if !may(again, write) {
		t.Error("the delay is none")
	}
}

// TestDelay: with a delay, changes count when the region's clock says so.
func TestDelay(t *testing.T) {
	r := newRegion(t)
	var c movable
	c.Time = now
	s, err := authorization.Open(t.Context(), r.Store, &c, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	may := func() bool {
		t.Helper()
		d, err := (&authz.Evaluator{Source: s}).Check(t.Context(), authz.Principal{ObjectID: alice}, authz.Request{Action: "a.b/c/read", Scope: account})
		if err != nil {
			t.Fatal(err)
		}
		return d.Allowed
	}
	r.Must("PUT", assignment(sub, 1), body(roles+authz.Reader, alice, ""))
	if may() {
		t.Error("counts at once")
	}
	c.Time = c.Add(5*time.Minute - time.Second)
	if may() {
		t.Error("counts too early")
	}
	c.Time = c.Add(time.Second)
	if !may() {
		t.Error("does not count")
	}
	r.Must("DELETE", assignment(sub, 1), "")
	if !may() {
		t.Error("is revoked at once")
	}
	if err := s.CountNow(t.Context()); err != nil || may() {
		t.Errorf("CountNow: %v", err)
	}
}

type movable struct{ time.Time }

func (m *movable) Now() time.Time { return m.Time }

// TestSourceRefusesWhatItCannotRead: a region whose roles cannot be read does not start with fewer.
func TestSourceRefusesWhatItCannotRead(t *testing.T) {
	r := newRegion(t)
	id := arm.MustParseID(strings.TrimSuffix(assignment(group, 1), version))
	err := r.Store.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put(rp.StoreKind(authorization.AssignmentType), id.Key(), []byte("{"), store.Any)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authorization.Open(context.Background(), r.Store, clock.Fixed(now), 0); err == nil || !strings.Contains(err.Error(), id.Key()) {
		t.Errorf("Open: %v", err)
	}
}
