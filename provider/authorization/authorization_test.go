package authorization_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub     = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group   = sub + "/resourceGroups/rg"
	account = group + "/providers/Microsoft.Storage/storageAccounts/acct"
	roles   = "/providers/Microsoft.Authorization/roleDefinitions/"
	version = "?api-version=2022-04-01"

	alice = "00000000-0000-0000-0000-00000000a11c"
	robot = "00000000-0000-0000-0000-0000000000b0"
	team  = "00000000-0000-0000-0000-0000000000c0"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// directory knows its principals and their types.
type directory map[string]string

func (d directory) PrincipalType(_ store.Tx, id string) (string, bool, error) {
	kind, ok := d[strings.ToLower(id)]
	return kind, ok, nil
}

// assignment is the path of the n-th assignment at a scope, with a query.
func assignment(scope string, n int) string {
	return strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + name(n) + version
}

func name(n int) string { return fmt.Sprintf("cccccccc-0000-0000-0000-%012d", n) }

func body(role, principal, more string) string {
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":%q,"principalId":%q%s}}`, role, principal, more)
}

// provider knows alice, who is in the group team, and a robot.
func provider() *authorization.Provider {
	return authorization.New(directory{alice: "User", robot: "ServicePrincipal", team: "Group"}).With(authorization.Config{
		MemberOf: func(_ context.Context, id string) ([]string, error) {
			return map[string][]string{alice: {team}}[id], nil
		},
	})
}

func newRegion(t *testing.T) *rptest.Region {
	t.Helper()
	accounts := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Storage/storageAccounts", Versions: rp.Versions[struct{}]("2024-01-01")})
	regs := append(resources.New(resources.Tenant{}, nil, &authz.Index{}).Types(), accounts)
	r := rptest.New(t, rp.Config{Clock: clock.Fixed(now)}, append(regs, provider().Types()...)...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test") }); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	r.Must("PUT", account+"?api-version=2024-01-01", `{"location":"westeurope"}`)
	return r
}

func want(t *testing.T, what string, a rptest.Answer, status int, code, says string) {
	t.Helper()
	if a.Status != status || a.Code() != code || !strings.Contains(a.Text, says) {
		t.Errorf("%s: %d %s, want %d %s that says %q", what, a.Status, a.Text, status, code, says)
	}
}

func TestAssignmentShape(t *testing.T) {
	r := newRegion(t)
	p := assignment(account, 1)
	a := r.Request("PUT", p, body(sub+roles+authz.StorageBlobDataReader, strings.ToUpper(robot), `,"principalType":"ServicePrincipal","scope":"/elsewhere","createdBy":"mallory"`))
	if a.Status != 201 {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	shape := map[string]any{
		"roleDefinitionId": sub + roles + authz.StorageBlobDataReader, "principalId": strings.ToUpper(robot), "principalType": "ServicePrincipal", "scope": account,
		"createdOn": "2026-11-22T12:00:00Z", "updatedOn": "2026-11-22T12:00:00Z", "createdBy": rptest.Owner.ObjectID, "updatedBy": rptest.Owner.ObjectID,
	}
	got := r.Request("GET", p, "")
	if d := cmp.Diff(shape, got.At("properties")); d != "" {
		t.Errorf("GET (-want +got):\n%s", d)
	}
	if got.String("type") != authorization.AssignmentType || got.String("name") != name(1) {
		t.Error(got.Text)
	}
	// The same again is fine, however the role is written.
	for _, role := range []string{sub + roles + authz.StorageBlobDataReader, roles + strings.ToUpper(authz.StorageBlobDataReader)} {
		if again := r.Request("PUT", p, body(role, robot, `,"description":"why"`)); again.Status != 200 || again.String("properties", "description") != "why" {
			t.Errorf("PUT of the same: %d %s", again.Status, again.Text)
		}
	}
	if a := r.Request("DELETE", p, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	if a := r.Request("DELETE", p, ""); a.Status != 204 {
		t.Errorf("DELETE of nothing: %d %s", a.Status, a.Text)
	}
}

func TestAssignmentRefusals(t *testing.T) {
	r := newRegion(t)
	r.Must("PUT", assignment(group, 1), body(roles+authz.Reader, alice, ""))
	nowhere := sub + "/resourceGroups/none"
	for _, c := range []struct {
		what, path, body string
		status           int
		code, says       string
	}{
		{"a name that is no GUID", strings.Replace(assignment(group, 2), name(2), "mine", 1), body(roles+authz.Reader, alice, ""), 400, "InvalidRoleAssignmentId", "'mine'"},
		{"no role", assignment(group, 2), `{"properties":{"principalId":"` + alice + `"}}`, 400, "InvalidRoleDefinitionId", "roleDefinitionId"},
		{"an unknown role", assignment(group, 2), body(roles+alice, alice, ""), 404, "RoleDefinitionDoesNotExist", alice},
		{"no principal", assignment(group, 2), body(roles+authz.Reader, "", ""), 400, "InvalidPrincipalId", ""},
		{"a principal that is no GUID", assignment(group, 2), body(roles+authz.Reader, "alice", ""), 400, "InvalidPrincipalId", "'alice'"},
		{"an unknown principal", assignment(group, 2), body(roles+authz.Reader, name(9), ""), 400, "PrincipalNotFound", "cccccccc000000000000000000000009"},
		{"another type of principal", assignment(group, 2), body(roles+authz.Reader, alice, `,"principalType":"Group"`), 400, "UnmatchedPrincipalType", "'User'"},
		{"a condition that is none", assignment(group, 2), body(roles+authz.Reader, alice, `,"condition":"true"`), 400, "InvalidCondition", "The given role assignment condition is invalid. properties.condition: at character 5"},
		{"a condition of another version", assignment(group, 2), body(roles+authz.Reader, alice, `,"condition":"Exists @Resource[a]","conditionVersion":"1.0"`), 400, "InvalidCondition", "must be 2.0"},
		{"a delegated identity that is none", assignment(group, 2), body(roles+authz.Reader, alice, `,"delegatedManagedIdentityResourceId":"me"`), 400, "InvalidDelegatedManagedIdentityResourceId", "'me'"},
		{"the same under another name", assignment(group, 2), body(sub+roles+authz.Reader, strings.ToUpper(alice), ""), 409, "RoleAssignmentExists", "cccccccc000000000000000000000001"},
		{"another role under the same name", assignment(group, 1), body(roles+authz.Owner, alice, ""), 400, "RoleAssignmentUpdateNotPermitted", "not allowed to be updated"},
		{"another principal under the same name", assignment(group, 1), body(roles+authz.Reader, robot, ""), 400, "RoleAssignmentUpdateNotPermitted", "not allowed to be updated"},
		{"a group that is not there", assignment(nowhere, 2), body(roles+authz.Reader, alice, ""), 404, "ResourceGroupNotFound", "none"},
		{"a type of the wrong kind", assignment(group, 2), `{"properties":{"principalId":{}}}`, 400, "InvalidRequestContent", "properties.principalId"},
	} {
		want(t, c.what, r.Request("PUT", c.path, c.body), c.status, c.code, c.says)
	}
	// The same role at another scope, and another role at the same, are other assignments.
	r.Must("PUT", assignment(account, 3), body(roles+authz.Reader, alice, ""))
	r.Must("PUT", assignment(group, 4), body(roles+authz.Contributor, alice, ""))
}

// TestAssignmentsOfTwoWriters: of two assignments of the same at once, one is made.
func TestAssignmentsOfTwoWriters(t *testing.T) {
	r := newRegion(t)
	var wg sync.WaitGroup
	status := make([]int, 8)
	for i := range status {
		wg.Go(func() { status[i] = r.Request("PUT", assignment(group, i), body(roles+authz.Reader, alice, "")).Status })
	}
	wg.Wait()
	slices.Sort(status)
	if !slices.Equal(status, []int{201, 409, 409, 409, 409, 409, 409, 409}) {
		t.Error(status)
	}
}

// names lists the assignments at scope by the last digit of their names.
func names(t *testing.T, r *rptest.Region, scope, filter string) string {
	t.Helper()
	a := r.Request("GET", strings.TrimSuffix(scope, "/")+"/providers/Microsoft.Authorization/roleAssignments"+version+"&$filter="+url.QueryEscape(filter), "")
	if a.Status != 200 {
		return fmt.Sprint(a.Status, " ", a.Code())
	}
	var out []string
	list, _ := a.At("value").([]any)
	for _, e := range list {
		m := e.(map[string]any)
		n := m["name"].(string)
		out = append(out, n[len(n)-1:])
		if id := m["id"].(string); !strings.HasSuffix(id, "/providers/Microsoft.Authorization/roleAssignments/"+n) || m["type"] != authorization.AssignmentType {
			t.Errorf("element: %v", m)
		}
	}
	return strings.Join(out, "")
}

func TestListAssignments(t *testing.T) {
	r := newRegion(t)
	other := sub + "/resourceGroups/rg2" // has rg's id as a prefix
	r.Must("PUT", other+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	container := account + "/blobServices/default/containers/c"
	for i, scope := range []string{"/", sub, group, account, container, other} {
		r.Must("PUT", assignment(scope, i), body(roles+authz.Reader, alice, ""))
	}
	r.Must("PUT", assignment(account, 6), body(roles+authz.Contributor, robot, ""))
	for _, c := range []struct{ scope, filter, want string }{
		{"/", "", "0124365"}, // those below by their keys
		{"/", "atScope()", "0"},
		{sub, "", "0124365"},
		{sub, "principalId eq '" + robot + "'", "6"},
		{sub, "PrincipalId eq '" + strings.ToUpper(alice) + "'", "012435"},
		{sub, "assignedTo('" + robot + "')", "6"},
		{group, "", "012436"},
		{group, "atScope()", "012"},
		{strings.ToUpper(group), "atScope()", "012"},
		{account, "atScope()", "01236"},
		{account, "atScope() and assignedTo('" + alice + "')", "0123"},
		{container, "atScope()", "012364"},
		{other, "", "015"},
		{sub, "principalId eq '" + name(1) + "'", ""},
		{sub, "principalId eq 'alice'", "400 InvalidFilterInQueryString"},
		{sub, "principalId ne '" + alice + "'", "400 InvalidFilterInQueryString"},
		{sub, "roleName eq 'Reader'", "400 InvalidFilterInQueryString"},
		{sub, "atScope() and", "400 InvalidFilterInQueryString"},
		{sub + "/resourceGroups/none", "", "404 ResourceGroupNotFound"},
		{account + "x", "atScope()", "404 ResourceNotFound"},
		{"/subscriptions/" + name(1), "", "404 SubscriptionNotFound"},
	} {
		if got := names(t, r, c.scope, c.filter); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.filter, c.scope, got, c.want)
		}
	}
	// Who lists needs the right at the scope of the listing.
	guest := authz.Principal{ObjectID: alice}
	r.Deny(guest, "Microsoft.Authorization/roleAssignments/read", "no role")
	want(t, "a guest", r.As(guest, "GET", group+"/providers/Microsoft.Authorization/roleAssignments"+version, ""), 403, "AuthorizationFailed", "roleAssignments/read")
}

func TestDefinitions(t *testing.T) {
	r := newRegion(t)
	list := func(scope, filter string) []any {
		t.Helper()
		a := r.Request("GET", scope+"/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-05-01-preview&$filter="+url.QueryEscape(filter), "")
		if a.Status != 200 {
			t.Fatalf("%s at %s: %d %s", filter, scope, a.Status, a.Text)
		}
		return a.At("value").([]any)
	}
	all := len(authz.Builtins())
	for _, c := range []struct {
		scope, filter string
		want          int
	}{
		{"", "", all}, {sub, "", all}, {group, "", all}, {account, "", all}, {account + "/blobServices/default/containers/c", "", all},
		{"/providers/Microsoft.Management/managementGroups/root", "", all},
		{sub, "atScopeAndBelow()", all}, {sub, "type eq 'BuiltInRole'", all}, {sub, "type eq 'CustomRole'", 0},
		{sub, "roleName eq 'Reader'", 1}, {group, "rolename EQ 'storage blob data reader'", 1}, {sub, "roleName eq 'Nobody''s'", 0},
		{sub, "atScopeAndBelow() and type eq 'CustomRole'", 0}, {sub, "atScope() AND roleName eq 'Owner'", 1},
	} {
		if got := list(c.scope, c.filter); len(got) != c.want {
			t.Errorf("%q at %q: %d, want %d", c.filter, c.scope, len(got), c.want)
		}
	}
	for scope, id := range map[string]string{"": "", sub: sub, group: sub, account: sub} {
		a := r.Request("GET", scope+roles+strings.ToUpper(authz.Reader)+version, "")
		if a.Status != 200 || a.String("id") != id+roles+authz.Reader || a.String("properties", "roleName") != "Reader" || a.String("properties", "type") != "BuiltInRole" || a.String("type") != authorization.DefinitionType {
			t.Errorf("Reader at %q: %d %s", scope, a.Status, a.Text)
		}
		permissions, _ := a.At("properties", "permissions").([]any)
		if d := cmp.Diff([]any{map[string]any{"actions": []any{"*/read"}, "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{}}}, permissions); d != "" {
			t.Errorf("permissions:\n%s", d)
		}
	}
	want(t, "an unknown role", r.Request("GET", roles+alice+version, ""), 404, "RoleDefinitionDoesNotExist", alice)
	want(t, "a bad filter", r.Request("GET", sub+"/providers/Microsoft.Authorization/roleDefinitions"+version+"&$filter=name%20gt%201", ""), 400, "InvalidFilterInQueryString", "name gt 1")
}
