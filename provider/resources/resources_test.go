package resources_test

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
	"vauban.dev/provider/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	one   = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	two   = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000002"
	three = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000003"
	api   = "?api-version=2022-12-01"
)

var tenant = resources.Tenant{ID: rptest.Owner.TenantID, DisplayName: "Contoso", Domain: "contoso.onmicrosoft.com"}

func newRegion(t *testing.T) (*rptest.Region, *authz.Index) {
	t.Helper()
	roles := &authz.Index{}
	roles.Put(authz.Assignment{ID: "1", PrincipalID: rptest.Owner.ObjectID, Definition: authz.Owner, Scope: "/"})
	widgets := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/widgets", Versions: rp.Versions[struct{}]("2024-01-01")})
	p := resources.New(tenant, []resources.Location{{Name: "westeurope", DisplayName: "West Europe", Geography: "Europe", Group: "Europe", Paired: "northeurope"}}, roles)
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope", "global"}}, append(p.Types(), widgets)...)
	p.Attach(r.Engine)
	err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		for i, s := range []string{one, two, three} {
			if err := resources.Ensure(tx, strings.TrimPrefix(s, "/subscriptions/"), fmt.Sprint("subscription ", i+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, roles
}

func shown(id, name string) map[string]any {
	return map[string]any{
		"id": id, "subscriptionId": strings.TrimPrefix(id, "/subscriptions/"), "tenantId": tenant.ID, "displayName": name, "state": "Enabled", "authorizationSource": "RoleBased",
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
		"managedByTenants":     []any{},
	}
}

func TestTenants(t *testing.T) {
	r, _ := newRegion(t)
	want := map[string]any{"value": []any{map[string]any{
		"id": "/tenants/" + tenant.ID, "tenantId": tenant.ID, "displayName": "Contoso", "defaultDomain": tenant.Domain, "domains": []any{tenant.Domain},
		"tenantCategory": "Home", "tenantType": "AAD",
	}}}
	if d := cmp.Diff(want, r.Request("GET", "/tenants"+api, "").Body); d != "" {
		t.Error(d)
	}
}

func TestSubscription(t *testing.T) {
	r, _ := newRegion(t)
	for _, id := range []string{one, strings.ToUpper(one)} {
		if d := cmp.Diff(shown(one, "subscription 1"), r.Request("GET", id+api, "").Body); d != "" {
			t.Errorf("%s:\n%s", id, d)
		}
	}
	if a := r.Request("GET", "/subscriptions/aaaaaaaa-0000-0000-0000-000000000009"+api, ""); a.Status != 404 || a.Code() != "SubscriptionNotFound" {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		if a := r.Request(method, one+api, `{}`); a.Status != 405 {
			t.Errorf("%s: %d %s", method, a.Status, a.Text)
		}
	}
	if a := r.Request("GET", one+"?api-version=2001-01-01", ""); a.Status != 400 || a.Code() != "InvalidApiVersionParameter" {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}

// TestSubscriptionsOfACaller: everybody sees the subscriptions in which they have a role, anywhere.
func TestSubscriptionsOfACaller(t *testing.T) {
	r, roles := newRegion(t)
	alice := authz.Principal{ObjectID: "00000000-0000-0000-0000-00000000a11c", Groups: []string{"00000000-0000-0000-0000-0000000000f0"}}
	list := func(p authz.Principal) (names string) {
		t.Helper()
		a := r.As(p, "GET", "/subscriptions"+api, "")
		for _, s := range a.At("value").([]any) {
			id := s.(map[string]any)["subscriptionId"].(string)
			names += id[len(id)-1:]
		}
		return names
	}
	if got := list(rptest.Owner); got != "123" {
		t.Errorf("the owner sees %s", got)
	}
	if got := list(alice); got != "" {
		t.Errorf("without a role: %s", got)
	}
	roles.Put(authz.Assignment{ID: "a", PrincipalID: alice.ObjectID, Definition: authz.Reader, Scope: one + "/resourceGroups/rg"})
	if got := list(alice); got != "1" {
		t.Errorf("with a role in a group: %s", got)
	}
	roles.Put(authz.Assignment{ID: "b", PrincipalID: alice.Groups[0], Definition: authz.Reader, Scope: strings.ToUpper(three)})
	if got := list(alice); got != "13" {
		t.Errorf("with a role by a group: %s", got)
	}
	first := r.As(alice, "GET", "/subscriptions"+api, "").At("value").([]any)[0]
	if d := cmp.Diff(shown(one, "subscription 1"), first); d != "" {
		t.Error(d)
	}
}

func TestLocations(t *testing.T) {
	r, _ := newRegion(t)
	want := map[string]any{"value": []any{map[string]any{
		"id": one + "/locations/westeurope", "name": "westeurope", "type": "Region", "displayName": "West Europe", "regionalDisplayName": "(Europe) West Europe",
		"metadata": map[string]any{
			"regionType": "Physical", "regionCategory": "Recommended", "geography": "Europe", "geographyGroup": "Europe",
			"pairedRegion": []any{map[string]any{"name": "northeurope", "id": one + "/locations/northeurope"}},
			"latitude":     "52.3667", "longitude": "4.9", "physicalLocation": "Netherlands",
		},
		"availabilityZoneMappings": []any{
			map[string]any{"logicalZone": "1", "physicalZone": "westeurope-az1"}, map[string]any{"logicalZone": "2", "physicalZone": "westeurope-az2"},
			map[string]any{"logicalZone": "3", "physicalZone": "westeurope-az3"},
		},
	}}}
	if d := cmp.Diff(want, r.Request("GET", one+"/locations"+api, "").Body); d != "" {
		t.Error(d)
	}
}

func TestGroups(t *testing.T) {
	r, _ := newRegion(t)
	group := one + "/resourceGroups/"
	for name, want := range map[string]int{"rg": 201, "a.b(c)_d-e": 201, "ends.": 400, strings.Repeat("g", 90): 201, strings.Repeat("g", 91): 400, "sp ace": 400} {
		a := r.Request("PUT", group+strings.ReplaceAll(name, " ", "%20")+api, `{"location":"westeurope"}`)
		if a.Status != want || want == 400 && a.Code() != "InvalidResourceGroup" {
			t.Errorf("%s: %d %s", name, a.Status, a.Text)
		}
	}
	a := r.Request("PUT", group+"rg"+api, `{"location":"West Europe","tags":{"a":"b"},"managedBy":"/x"}`)
	if a.Status != 200 || a.String("type") != "Microsoft.Resources/resourceGroups" || a.String("properties", "provisioningState") != "Succeeded" || a.String("managedBy") != "/x" || a.String("location") != "westeurope" {
		t.Errorf("PUT: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PATCH", group+"RG"+api, `{"tags":{"c":"d"}}`); a.Status != 200 || a.String("id") != group+"rg" || a.String("tags", "c") != "d" {
		t.Errorf("PATCH: %d %s", a.Status, a.Text)
	}
	for name, want := range map[string]int{"rg": 204, "none": 404} {
		if a := r.Request("HEAD", group+name+api, ""); a.Status != want {
			t.Errorf("HEAD %s: %d", name, a.Status)
		}
	}
	for what, c := range map[string]struct {
		method, path, body, code string
		status                   int
	}{
		"no location":        {"PUT", group + "new", `{}`, "LocationRequired", 400},
		"another location":   {"PUT", group + "new", `{"location":"moon"}`, "LocationNotAvailableForResourceType", 400},
		"no group":           {"GET", group + "none", ``, "ResourceGroupNotFound", 404},
		"deletion of none":   {"DELETE", group + "none", ``, "ResourceGroupNotFound", 404},
		"no subscription":    {"PUT", strings.Replace(group, "0001/", "0009/", 1) + "rg", `{"location":"westeurope"}`, "SubscriptionNotFound", 404},
		"something in none":  {"PUT", group + "none/providers/Microsoft.Toys/widgets/w", `{"location":"westeurope"}`, "ResourceGroupNotFound", 404},
		"tags of wrong type": {"PUT", group + "rg", `{"location":"westeurope","tags":[]}`, "InvalidRequestContent", 400},
	} {
		version := api
		if strings.Contains(c.path, "Toys") {
			version = "?api-version=2024-01-01"
		}
		if a := r.Request(c.method, c.path+version, c.body); a.Status != c.status || a.Code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", what, a.Status, a.Text, c.status, c.code)
		}
	}
}

// A subscription has 980 resource groups at most; what is there can be written still.
func TestGroupLimit(t *testing.T) {
	r, _ := newRegion(t)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		for i := range 980 {
			id := arm.MustParseID(fmt.Sprintf("%s/resourceGroups/g%d", one, i))
			if err := rp.Save(tx, &rp.Resource[resources.Group]{ID: id, Location: "westeurope", State: arm.Succeeded}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	put := func(id string) rptest.Answer { return r.Request("PUT", id+api, `{"location":"westeurope"}`) }
	want := "Creating the resource group 'more' would exceed the quota of '980'. The current resource group count is '980', please delete some groups before creating a new one."
	if a := put(one + "/resourceGroups/more"); a.Status != 409 || a.Code() != "ResourceGroupQuotaExceeded" || a.String("error", "message") != want {
		t.Errorf("one too many: %d %s", a.Status, a.Text)
	}
	if a := put(one + "/resourceGroups/g7"); a.Status != 200 {
		t.Errorf("what is there: %d %s", a.Status, a.Text)
	}
	if a := put(two + "/resourceGroups/more"); a.Status != 201 {
		t.Errorf("another subscription: %d %s", a.Status, a.Text)
	}
	if a := r.Request("DELETE", two+"/resourceGroups/more"+api+"&forceDeletionTypes=Microsoft.Compute/virtualMachines,Microsoft.Compute/virtualMachineScaleSets", ""); a.Status != 202 {
		t.Errorf("with forceDeletionTypes: %d %s", a.Status, a.Text)
	}
}
