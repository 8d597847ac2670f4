package managementgroups_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/managementgroups"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	head = "/providers/Microsoft.Management/managementGroups/"
	api  = "?api-version=2021-04-01"
	one  = "aaaaaaaa-0000-0000-0000-000000000001"
	two  = "aaaaaaaa-0000-0000-0000-000000000002"
)

var root = head + rptest.Owner.TenantID

type everybody struct{}

func (everybody) PrincipalType(store.Tx, string) (string, bool, error) { return "User", true, nil }

type region struct {
	*rptest.Region
	groups *managementgroups.Provider
	owned  []string
}

func newRegion(t *testing.T) *region {
	t.Helper()
	r := &region{}
	r.groups = managementgroups.New(managementgroups.Config{TenantID: rptest.Owner.TenantID, Own: func(_ *rp.Tx, g arm.ID, p authz.Principal) error {
		r.owned = append(r.owned, p.Name+" "+g.Name())
		return nil
	}})
	types := append(r.groups.Types(), resources.New(resources.Tenant{}, nil, &authz.Index{}).Types()...)
	r.Region = rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(types, authorization.New(everybody{}).Types()...)...)
	err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		for i, s := range []string{one, two} {
			if err := resources.Ensure(tx, s, fmt.Sprint("Subscription ", i+1)); err != nil {
				return err
			}
		}
		return r.groups.Ensure(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *region) create(name, parent string) rptest.Answer {
	body := fmt.Sprintf(`{"name":%q,"properties":{"displayName":"The %s","details":{"parent":{}}}}`, name, name)
	if parent != "" {
		body = strings.Replace(body, `{}`, fmt.Sprintf(`{"id":%q}`, head+parent), 1)
	}
	return r.Request("PUT", head+name+api, body)
}

// corp makes root → corp → teams → ml, with the second subscription in teams.
func corp(t *testing.T) *region {
	t.Helper()
	r := newRegion(t)
	for name, parent := range map[string]string{"corp": ""} {
		if a := r.create(name, parent); a.Status != 200 {
			t.Fatalf("%s: %d %s", name, a.Status, a.Text)
		}
	}
	for _, c := range [][2]string{{"teams", "CORP"}, {"ml", "teams"}} {
		if a := r.create(c[0], c[1]); a.Status != 200 {
			t.Fatalf("%s: %d %s", c[0], a.Status, a.Text)
		}
	}
	if a := r.Request("PUT", head+"teams/subscriptions/"+two+api, ""); a.Status != 200 {
		t.Fatalf("subscription: %d %s", a.Status, a.Text)
	}
	return r
}

func TestShape(t *testing.T) {
	r := corp(t)
	a := r.Request("GET", head+"TEAMS"+api, "")
	details, _ := a.At("properties", "details").(map[string]any)
	if details == nil || details["version"] != 1.0 || details["updatedBy"] != rptest.Owner.ObjectID || details["updatedTime"] == "" {
		t.Errorf("details: %v", details)
	}
	want := map[string]any{"id": head + "corp", "name": "corp", "displayName": "The corp"}
	if d := cmp.Diff(want, details["parent"]); d != "" {
		t.Error(d)
	}
	if a.String("id") != head+"teams" || a.String("type") != "Microsoft.Management/managementGroups" || a.String("properties", "tenantId") != rptest.Owner.TenantID || a.At("properties", "children") != nil {
		t.Error(a.Text)
	}
	children := []any{
		map[string]any{"type": "Microsoft.Management/managementGroups", "id": head + "teams", "name": "teams", "displayName": "The teams", "children": []any{
			map[string]any{"type": "Microsoft.Management/managementGroups", "id": head + "ml", "name": "ml", "displayName": "The ml"},
			map[string]any{"type": "/subscriptions", "id": "/subscriptions/" + two, "name": two, "displayName": "Subscription 2"},
		}},
	}
	if d := cmp.Diff(children, r.Request("GET", head+"corp"+api+"&$expand=children&$recurse=True", "").At("properties", "children")); d != "" {
		t.Error(d)
	}
	delete(children[0].(map[string]any), "children")
	if d := cmp.Diff(children, r.Request("GET", head+"corp"+api+"&$expand=children", "").At("properties", "children")); d != "" {
		t.Error(d)
	}
	only := r.Request("GET", root+api+"&$expand=children&$filter=children.childType+ne+Subscription", "")
	if n := len(only.At("properties", "children").([]any)); n != 1 {
		t.Errorf("without subscriptions the root has %d children: %s", n, only.Text)
	}
	if d := cmp.Diff([]any{"teams", "corp", rptest.Owner.TenantID}, r.Request("GET", head+"ml"+api+"&$expand=ancestors", "").At("properties", "details", "managementGroupAncestors")); d != "" {
		t.Error(d)
	}
	path := r.Request("GET", head+"teams"+api+"&$expand=path", "").At("properties", "details", "path")
	if d := cmp.Diff([]any{map[string]any{"name": rptest.Owner.TenantID, "displayName": "Tenant Root Group"}, map[string]any{"name": "corp", "displayName": "The corp"}}, path); d != "" {
		t.Error(d)
	}
	if a := r.Request("GET", head+"ml"+api+"&$expand=everything", ""); a.Status != 400 {
		t.Errorf("$expand: %d %s", a.Status, a.Text)
	}
	if d := cmp.Diff([]string{"owner@contoso.com corp", "owner@contoso.com teams", "owner@contoso.com ml"}, r.owned); d != "" {
		t.Error(d)
	}
}

func TestMoves(t *testing.T) {
	r := corp(t)
	if a := r.Request("PATCH", head+"ml"+api, `{"displayName":"Machines"}`); a.Status != 200 || a.String("properties", "displayName") != "Machines" || a.String("properties", "details", "parent", "name") != "teams" {
		t.Errorf("rename: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PATCH", head+"ml"+api, `{"parentGroupId":"`+head+`Corp"}`); a.Status != 200 || a.String("properties", "details", "parent", "name") != "corp" || a.String("properties", "displayName") != "Machines" {
		t.Errorf("move: %d %s", a.Status, a.Text)
	}
	// A PUT that says nothing leaves the group where it is.
	if a := r.Request("PUT", head+"ml"+api, `{}`); a.Status != 200 || a.String("properties", "details", "parent", "name") != "corp" || a.At("properties", "details", "version") != 4.0 {
		t.Errorf("PUT: %d %s", a.Status, a.Text)
	}
	for what, c := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"a circle":              {"PATCH", head + "corp", `{"parentGroupId":"` + head + `teams"}`, 400, "encloses"},
		"under itself":          {"PATCH", head + "corp", `{"parentGroupId":"` + head + `corp"}`, 400, "encloses"},
		"the root":              {"PATCH", root, `{"parentGroupId":"` + head + `teams"}`, 400, "root"},
		"a parent of nowhere":   {"PUT", head + "x", `{"properties":{"details":{"parent":{"id":"` + head + `none"}}}}`, 404, "none"},
		"a parent of no kind":   {"PUT", head + "x", `{"properties":{"details":{"parent":{"id":"/subscriptions/x"}}}}`, 400, "details.parent.id"},
		"a group with children": {"DELETE", head + "corp", ``, 400, "child groups"},
		"the root's deletion":   {"DELETE", root, ``, 400, "root"},
		"with a subscription":   {"DELETE", head + "teams", ``, 400, "1 subscriptions"},
		"a bad name":            {"PUT", head + "ends.", `{}`, 400, "period"},
		"an unknown group":      {"GET", head + "none", ``, 404, "not found"},
		"a flat text":           {"PATCH", head + "ml", `{"displayName":7}`, 400, "displayName"},
	} {
		if a := r.Request(c.method, c.path+api, c.body); a.Status != c.status || !strings.Contains(a.Text, c.says) {
			t.Errorf("%s: %d %s", what, a.Status, a.Text)
		}
	}
	if a := r.Request("DELETE", head+"ml"+api, ""); a.Status != 202 || r.Wait(a).String("status") != "Succeeded" {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	if a := r.Request("DELETE", head+"ml"+api, ""); a.Status != 204 {
		t.Errorf("DELETE of nothing: %d %s", a.Status, a.Text)
	}
}

func TestDepth(t *testing.T) {
	r := newRegion(t)
	parent := ""
	for i := range 6 {
		name := fmt.Sprint("g", i)
		if a := r.create(name, parent); a.Status != 200 {
			t.Fatalf("%s: %d %s", name, a.Status, a.Text)
		}
		parent = name
	}
	if a := r.create("g6", parent); a.Status != 400 || !strings.Contains(a.Text, "6 levels") {
		t.Errorf("a seventh level: %d %s", a.Status, a.Text)
	}
	if a := r.create("top", ""); a.Status != 200 {
		t.Fatal(a.Text)
	}
	if a := r.Request("PATCH", head+"g0"+api, `{"parentGroupId":"`+head+`top"}`); a.Status != 400 {
		t.Errorf("a tall tree one level down: %d %s", a.Status, a.Text)
	}
}

func TestSubscriptions(t *testing.T) {
	r := corp(t)
	want := map[string]any{
		"id": head + "teams/subscriptions/" + two, "type": "Microsoft.Management/managementGroups/subscriptions", "name": two,
		"properties": map[string]any{"tenant": rptest.Owner.TenantID, "displayName": "Subscription 2", "state": "Active", "parent": map[string]any{"id": head + "teams"}},
	}
	if d := cmp.Diff(want, r.Request("GET", head+"teams/subscriptions/"+two+api, "").Body); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{want}, r.Request("GET", head+"teams/subscriptions"+api, "").At("value")); d != "" {
		t.Error(d)
	}
	if a := r.Request("PUT", head+"teams/subscriptions/"+rptest.Owner.ObjectID+api, ""); a.Status != 404 || a.Code() != "SubscriptionNotFound" {
		t.Errorf("an unknown subscription: %d %s", a.Status, a.Text)
	}
	mover := authz.Principal{ObjectID: "33333333-0000-0000-0000-000000000000", Name: "mover", TenantID: rptest.Owner.TenantID}
	r.Deny(mover, "Microsoft.Authorization/roleAssignments/write", "no")
	if a := r.As(mover, "PUT", head+"ml/subscriptions/"+two+api, ""); a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" {
		t.Errorf("by who does not own it: %d %s", a.Status, a.Text)
	}
	var names []string
	for _, d := range r.Request("GET", head+"corp/descendants"+api, "").At("value").([]any) {
		m := d.(map[string]any)
		names = append(names, m["name"].(string)+" in "+m["properties"].(map[string]any)["parent"].(map[string]any)["id"].(string))
	}
	if d := cmp.Diff([]string{"teams in " + head + "corp", "ml in " + head + "teams", two + " in " + head + "teams"}, names); d != "" {
		t.Error(d)
	}
	if a := r.Request("DELETE", head+"teams/subscriptions/"+two+api, ""); a.Status != 200 {
		t.Errorf("remove: %d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", root+"/subscriptions/"+two+api, ""); a.Status != 200 {
		t.Errorf("it is in the root again: %d %s", a.Status, a.Text)
	}
	if a := r.Request("DELETE", head+"teams/subscriptions/"+two+api, ""); a.Status != 204 {
		t.Errorf("remove of nothing: %d %s", a.Status, a.Text)
	}
}

func TestHierarchy(t *testing.T) {
	r := corp(t)
	h := r.groups.Hierarchy(r.Engine)
	for scope, want := range map[string][]string{
		"/subscriptions/" + two:      {head + "teams", head + "corp", root},
		"/subscriptions/" + one:      {root},
		"/subscriptions/elsewhere":   {root},
		strings.ToUpper(head + "ml"): {head + "teams", head + "corp", root},
		head + "new":                 {root},
		root:                         nil,
		"/":                          nil,
	} {
		got, err := h.ManagementGroups(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", scope, d)
		}
	}
	// A subscription that moves is elsewhere for the next decision.
	if a := r.Request("PUT", head+"ml/subscriptions/"+two+api, ""); a.Status != 200 {
		t.Fatal(a.Text)
	}
	got, err := h.ManagementGroups(t.Context(), "/subscriptions/"+two)
	if d := cmp.Diff([]string{head + "ml", head + "teams", head + "corp", root}, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

// TestRightsToCreate: a new group needs the right to write at its parent, unless the settings say otherwise.
func TestRightsToCreate(t *testing.T) {
	r := corp(t)
	reader := authz.Principal{ObjectID: "33333333-0000-0000-0000-000000000000", Name: "reader", TenantID: rptest.Owner.TenantID}
	r.Deny(reader, "Microsoft.Management/managementGroups/write", "a reader")
	body := `{"properties":{"details":{"parent":{"id":"` + head + `teams"}}}}`
	if a := r.As(reader, "PUT", head+"new"+api, body); a.Status != 403 || a.Code() != "AuthorizationFailed" || !strings.Contains(a.Text, head+"teams'") {
		t.Errorf("under teams: %d %s", a.Status, a.Text)
	}
	if a := r.As(reader, "PUT", head+"new"+api, `{}`); a.Status != 403 || !strings.Contains(a.Text, root+"'") {
		t.Errorf("under the root: %d %s", a.Status, a.Text)
	}
	settings := root + "/settings/default" + api
	if a := r.Request("PUT", settings, `{"properties":{"requireAuthorizationForGroupCreation":false,"defaultManagementGroup":"`+head+`TEAMS"}}`); a.Status != 200 || a.String("properties", "defaultManagementGroup") != head+"teams" || a.String("properties", "tenantId") != rptest.Owner.TenantID {
		t.Fatalf("settings: %d %s", a.Status, a.Text)
	}
	if a := r.As(reader, "PUT", head+"new"+api, body); a.Status != 403 {
		t.Errorf("under teams still: %d %s", a.Status, a.Text)
	}
	if a := r.As(reader, "PUT", head+"new"+api, `{}`); a.Status != 200 {
		t.Errorf("under the root: %d %s", a.Status, a.Text)
	}
	if a := r.As(reader, "PUT", head+"corp"+api, `{}`); a.Status != 403 {
		t.Errorf("what is there already: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PATCH", settings, `{"properties":{"requireAuthorizationForGroupCreation":true}}`); a.Status != 200 || a.String("properties", "defaultManagementGroup") != head+"teams" {
		t.Errorf("PATCH: %d %s", a.Status, a.Text)
	}
	if a := r.As(reader, "PUT", head+"newer"+api, `{}`); a.Status != 403 {
		t.Errorf("closed again: %d %s", a.Status, a.Text)
	}
	if n := len(r.Request("GET", root+"/settings"+api, "").At("value").([]any)); n != 1 {
		t.Errorf("%d settings", n)
	}
	for path, body := range map[string]string{head + "corp/settings/default": `{}`, root + "/settings/other": `{}`, root + "/settings/default": `{"properties":{"defaultManagementGroup":"x"}}`} {
		if a := r.Request("PUT", path+api, body); a.Status != 400 {
			t.Errorf("%s: %d %s", path, a.Status, a.Text)
		}
	}
	if a := r.Request("DELETE", settings, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
}

func TestEntitiesAndLists(t *testing.T) {
	r := corp(t)
	names := func(p authz.Principal, query string) (out []string) {
		t.Helper()
		for _, e := range r.As(p, "POST", "/providers/Microsoft.Management/getEntities"+api+query, "").At("value").([]any) {
			out = append(out, e.(map[string]any)["name"].(string))
		}
		return out
	}
	if d := cmp.Diff([]string{rptest.Owner.TenantID, one, "corp", "teams", two, "ml"}, names(rptest.Owner, "")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{one, two}, names(rptest.Owner, "&$view=SubscriptionsOnly")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"teams"}, names(rptest.Owner, "&$filter=contains(displayName,+'TEAM')")); d != "" {
		t.Error(d)
	}
	nobody := authz.Principal{ObjectID: "33333333-0000-0000-0000-000000000000"}
	for _, verb := range []string{"read", "write", "delete"} {
		r.Deny(nobody, "Microsoft.Management/managementGroups/"+verb, "")
		r.Deny(nobody, "Microsoft.Resources/subscriptions/"+verb, "")
	}
	if got := names(nobody, ""); got != nil {
		t.Errorf("nobody sees %v", got)
	}
	if l := r.As(nobody, "GET", head+api, "").At("value").([]any); len(l) != 0 {
		t.Errorf("nobody lists %v", l)
	}
	list := r.Request("GET", strings.TrimSuffix(head, "/")+api, "").At("value").([]any)
	if len(list) != 4 || list[1].(map[string]any)["properties"].(map[string]any)["details"] != nil {
		t.Errorf("list: %v", list)
	}
	check := func(name string) any {
		return r.Request("POST", "/providers/Microsoft.Management/checkNameAvailability"+api, `{"name":"`+name+`","type":"Microsoft.Management/managementGroups"}`).At("nameAvailable")
	}
	if check("Teams") != false || check("a/b") != false || check("free") != true {
		t.Error("checkNameAvailability")
	}
	if a := r.Request("POST", "/providers/Microsoft.Management/tenantBackfillStatus"+api, ""); a.String("status") != "Completed" {
		t.Error(a.Text)
	}
	if a := r.Request("POST", "/providers/Microsoft.Management/getEntities"+api+"&$search=AllowedParents", ""); a.Status != 501 {
		t.Error(a.Text)
	}
}

// TestExtensions: what is attached to a group stands at its scope and goes with it.
func TestExtensions(t *testing.T) {
	r := corp(t)
	const assignment = "/providers/Microsoft.Authorization/roleAssignments/cccccccc-0000-0000-0000-000000000001?api-version=2022-04-01"
	body := fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`, authz.Reader, rptest.Owner.ObjectID)
	a := r.Request("PUT", head+"ML"+assignment, body)
	if a.Status != 201 || a.String("properties", "scope") != head+"ml" || !strings.HasPrefix(a.String("id"), head+"ml/providers/Microsoft.Authorization/roleAssignments/") {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	if a := r.Request("PUT", head+"none"+assignment, body); a.Status != 404 {
		t.Errorf("at a group that is not there: %d %s", a.Status, a.Text)
	}
	r.Must("DELETE", head+"ml"+api, "")
	if a := r.Request("GET", head+"ml"+assignment, ""); a.Status != 404 {
		t.Errorf("after its group: %d %s", a.Status, a.Text)
	}
}
