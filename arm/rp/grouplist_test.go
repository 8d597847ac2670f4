package rp_test

import (
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/resources"
)

// TestGroupsOfStrangers: who has no role in a subscription is refused its groups, as in Azure, and who may read one sees that one.
func TestGroupsOfStrangers(t *testing.T) {
	const sub = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, resources.New(resources.Tenant{}, resources.AzureLocations(), &authz.Index{}).Types()...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "one") }); err != nil {
		t.Fatal(err)
	}
	roles := &authz.Index{}
	r.Decide(&authz.Evaluator{Source: roles})
	stranger := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "44444444-0000-0000-0000-000000000001", Name: "stranger", Type: "ServicePrincipal"}
	list := func(query string) rptest.Answer {
		return r.As(stranger, "GET", sub+"/resourcegroups?api-version=2022-09-01"+query, "")
	}
	for _, group := range []string{"", "/resourceGroups/one", "/resourceGroups/two"} { // before there are any too
		if group != "" {
			r.Must("PUT", sub+group+"?api-version=2022-09-01", `{"location":"westeurope"}`)
		}
		if a := list(""); a.Status != http.StatusForbidden || !strings.Contains(a.Text, "AuthorizationFailed") || !strings.Contains(a.Text, "over scope '"+sub+"'") {
			t.Errorf("without a role: %d %s", a.Status, a.Text)
		}
	}
	roles.Put(authz.Assignment{ID: sub + "/resourceGroups/one/providers/Microsoft.Authorization/roleAssignments/1", Scope: sub + "/resourceGroups/one", Definition: authz.Reader, PrincipalID: stranger.ObjectID})
	if a := list(""); a.Status != 200 || !strings.Contains(a.Text, `"one"`) || strings.Contains(a.Text, `"two"`) {
		t.Errorf("with a role on one: %d %s", a.Status, a.Text)
	}
	if a := list("&$filter=tagName%20eq%20'none'"); a.Status != 200 {
		t.Errorf("a filter that nothing fits: %d %s", a.Status, a.Text)
	}
}
