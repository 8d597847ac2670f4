package rp_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
)

const valuesAPI = "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01"

// logged is a region whose log has an entry an hour, of different kinds.
func logged(t *testing.T) *rptest.Region {
	t.Helper()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	r := rptest.New(t, rp.Config{Clock: clock.Fixed(now)})
	for i, e := range []activity.Entry{
		{Operation: "Microsoft.Network/virtualNetworks/write", Resource: "/subscriptions/s/resourceGroups/a/providers/Microsoft.Network/virtualNetworks/v", Status: activity.Succeeded, HTTPStatus: 201, Caller: authz.Principal{Name: "ann", ObjectID: "o1", Type: "User", Groups: []string{"g"}}, CorrelationID: "c0"},
		{Operation: "Microsoft.Storage/storageAccounts/listKeys/action", Resource: "/subscriptions/s/resourceGroups/b/providers/Microsoft.Storage/storageAccounts/x", Status: activity.Failed, HTTPStatus: 409, Code: "ScopeLocked", Message: "held", Caller: authz.Principal{Name: "bob", AppID: "app"}},
		{Operation: "Microsoft.Authorization/policies/audit/action", Resource: "/subscriptions/s/resourceGroups/b", Status: activity.Succeeded, Category: activity.Policy, Level: "Warning", Properties: map[string]string{"policies": "[]"}},
		{Operation: "Microsoft.Management/managementGroups/write", Resource: "/providers/Microsoft.Management/managementGroups/corp", Status: activity.Succeeded},
		{Operation: "Microsoft.Management/managementGroups/delete", Resource: "/providers/Microsoft.Management/managementGroups/corporate", Status: activity.Succeeded},
	} {
		e.Time = now.Add(time.Duration(i-10) * time.Hour)
		if err := r.Engine.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func operations(t *testing.T, r *rptest.Region, path, filter string) (out []string) {
	t.Helper()
	a := r.Request("GET", path+valuesAPI+"&$filter="+url.QueryEscape(filter), "")
	if a.Status != 200 {
		t.Errorf("%s: %d %s", filter, a.Status, a.Text)
		return nil
	}
	for _, v := range a.At("value").([]any) {
		out = append(out, v.(map[string]any)["operationName"].(map[string]any)["localizedValue"].(string))
	}
	return out
}

func TestActivityFilters(t *testing.T) {
	r := logged(t)
	const vnet, keys, policy, made, gone = "Create or Update Virtual Network", "List Storage Account Keys", "'audit' Policy action.", "Create or Update Management Group", "Delete Management Group"
	for _, c := range []struct {
		path, filter string
		want         []string
	}{
		{"/subscriptions/s", "", []string{policy, keys, vnet}},
		{"/subscriptions/S", "eventTimestamp ge '2026-11-22T03:00:00Z' and eventTimestamp le 2026-11-22T03:30:00 and eventChannels eq 'Admin, Operation'", []string{keys}},
		{"/subscriptions/s", "resourceGroupName eq 'B'", []string{policy, keys}},
		{"/subscriptions/s", "resourceId eq '/subscriptions/s/resourcegroups/a/providers/Microsoft.Network/virtualNetworks/V'", []string{vnet}},
		{"/subscriptions/s", "resourceProvider eq 'microsoft.storage'", []string{keys}},
		{"/subscriptions/s", "correlationId eq 'c0'", []string{vnet}},
		{"/subscriptions/s", "caller eq 'BOB'", []string{keys}},
		{"/subscriptions/s", "caller eq 'app'", []string{keys}},
		{"/subscriptions/s", "status eq 'Failed'", []string{keys}},
		{"/subscriptions/s", "levels eq 'Warning, Error'", []string{policy, keys}},
		{"/subscriptions/s", "category eq 'Policy'", []string{policy}},
		{"/subscriptions/other", "", nil},
		{"", "", []string{gone, made}},
		{"/providers/Microsoft.Management/managementGroups/corp", "", []string{made}},
	} {
		if got := operations(t, r, c.path, c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s %q: %q, want %q", c.path, c.filter, got, c.want)
		}
	}
	for _, bad := range []string{"color eq 'red'", "caller ne 'x'", "eventTimestamp ge 'noon'", "caller eq", "caller eq 'x' or caller eq 'y'"} {
		if a := r.Request("GET", "/subscriptions/s"+valuesAPI+"&$filter="+url.QueryEscape(bad), ""); a.Status != 400 {
			t.Errorf("%q: %d %s", bad, a.Status, a.Text)
		}
	}
}

func TestActivityPagesAndSelection(t *testing.T) {
	r := logged(t)
	next, seen := "/subscriptions/s"+valuesAPI+"&$top=1&$select=eventTimestamp,%20caller", 0
	for next != "" {
		a := r.Request("GET", next, "")
		list, _ := a.At("value").([]any)
		if a.Status != 200 || len(list) != 1 {
			t.Fatalf("%d %s", a.Status, a.Text)
		}
		if e := list[0].(map[string]any); len(e) != 2 || e["eventTimestamp"] == nil || e["caller"] == nil {
			t.Errorf("%v", e)
		}
		seen++
		next = strings.TrimPrefix(a.String("nextLink"), "http://example.com")
	}
	if seen != 3 {
		t.Errorf("%d pages", seen)
	}
	if a := r.Request("GET", "/subscriptions/s"+valuesAPI+"&$select=color", ""); a.Status != 400 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", "/providers/microsoft.insights/eventcategories?api-version=2015-04-01", ""); a.Status != 200 || len(a.At("value").([]any)) != 8 {
		t.Errorf("categories: %d %s", a.Status, a.Text)
	}
}

func TestEventShape(t *testing.T) {
	r := logged(t)
	a := r.Request("GET", "/subscriptions/s"+valuesAPI, "")
	events := a.At("value").([]any)
	at := func(i int, path ...string) string {
		var v any = events[i]
		for _, p := range path {
			m, _ := v.(map[string]any)
			v = m[p]
		}
		return fmt.Sprint(v)
	}
	for _, c := range []struct {
		i    int
		path string
		want string
	}{
		{0, "category value", "Policy"}, {0, "level", "Warning"}, {0, "properties policies", "[]"}, {0, "properties eventCategory", "Policy"},
		{1, "level", "Error"}, {1, "subStatus value", "Conflict"}, {1, "subStatus localizedValue", "Conflict (HTTP Status Code: 409)"},
		{1, "properties statusMessage", `{"error":{"code":"ScopeLocked","message":"held"}}`}, {1, "status value", "Failed"},
		{2, "eventName value", "EndRequest"}, {2, "eventName localizedValue", "End request"}, {2, "resourceGroupName", "a"},
		{2, "resourceType value", "Microsoft.Network/virtualNetworks"}, {2, "resourceProviderName value", "Microsoft.Network"}, {2, "subscriptionId", "s"},
		{2, "claims groups", "g"}, {2, "claims idtyp", "user"}, {2, "authorization action", "Microsoft.Network/virtualNetworks/write"},
		{2, "eventTimestamp", "2026-11-22T02:00:00.0000000Z"}, {2, "properties hierarchy", rptest.Owner.TenantID + "/s"},
	} {
		if got := at(c.i, strings.Fields(c.path)...); got != c.want {
			t.Errorf("%d %s: %q, want %q", c.i, c.path, got, c.want)
		}
	}
}
