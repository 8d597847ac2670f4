package policy_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/policy"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub         = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group       = sub + "/resourceGroups/rg"
	auth        = "/providers/Microsoft.Authorization/"
	definitions = sub + auth + "policyDefinitions/"
	sets        = sub + auth + "policySetDefinitions/"
	assignments = sub + auth + "policyAssignments/"
	v           = "?api-version=2025-11-01"
	ve          = "?api-version=2026-01-01-preview"
	api         = "?api-version=2024-01-01"
	storageType = "Microsoft.Storage/storageAccounts"
	account     = group + "/providers/" + storageType + "/acct"
	workspace   = group + "/providers/Microsoft.MachineLearningServices/workspaces/ws"
	vnet        = group + "/providers/Microsoft.Network/virtualNetworks/vnet"
)

// accountProperties are those that rules of the tests look at; the engine keeps all others.
type accountProperties struct {
	AllowBlobPublicAccess *bool `json:"allowBlobPublicAccess,omitempty"`
	NetworkAcls           *struct {
		DefaultAction string `json:"defaultAction,omitempty"`
		IPRules       []struct {
			Value string `json:"value"`
		} `json:"ipRules,omitempty"`
	} `json:"networkAcls,omitempty"`
	Password string `json:"password,omitempty" rp:"secret"`
}

type noIdentities struct{}

func (noIdentities) EnsureSystem(_ store.Tx, id arm.ID) (string, string, error) {
	return "99999999-0000-0000-0000-000000000001", "11111111-1111-1111-1111-111111111111", nil
}
func (noIdentities) Remove(store.Tx, arm.ID) error { return nil }
func (noIdentities) Resolve(store.Tx, arm.ID) (string, string, error) {
	return "", "", arm.NotImplemented("none")
}

// groups is a hierarchy: every subscription is in team, which is in root.
type groups struct{}

func (groups) ManagementGroups(_ context.Context, scope string) ([]string, error) {
	const mg = "/providers/Microsoft.Management/managementGroups/"
	if scope == mg+"team" {
		return []string{mg + "root"}, nil
	}
	return []string{mg + "team", mg + "root"}, nil
}

func (g groups) Within(ctx context.Context, _ store.Tx, scope string) ([]string, error) {
	return g.ManagementGroups(ctx, scope)
}

type rig struct {
	*rptest.Region
	p     *policy.Provider
	clock *clock.Region
}

func newRig(t testing.TB) *rig {
	c := &clock.Region{}
	p := policy.New(policy.Config{Clock: c, Hierarchy: groups{}, TenantID: rptest.Owner.TenantID})
	type free = map[string]any
	regs := append(resources.New(resources.Tenant{}, resources.AzureLocations(), &authz.Index{}).Types(),
		rp.Of(rp.Type[accountProperties]{Name: storageType, Versions: rp.Versions[accountProperties]("2024-01-01", "2019-01-01"), SyncDelete: true}),
		rp.Of(rp.Type[free]{Name: "Microsoft.MachineLearningServices/workspaces", Versions: rp.Versions[free]("2024-01-01")}),
		rp.Of(rp.Type[free]{Name: "Microsoft.Network/virtualNetworks", Versions: rp.Versions[free]("2024-01-01"), Inline: map[string]string{"subnets": "Microsoft.Network/virtualNetworks/subnets"}}),
		rp.Of(rp.Type[free]{Name: "Microsoft.Network/virtualNetworks/subnets", Kind: rp.Proxy, Versions: rp.Versions[free]("2024-01-01")}),
	)
	regs = append(regs, p.Types()...)
	r := rptest.New(t, rp.Config{Clock: c, Identities: noIdentities{}, Locations: []string{"westeurope", "eastus2"}}, regs...)
	p.Attach(r.Engine)
	r.Govern(p)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, sub[len("/subscriptions/"):], "test") }); err != nil {
		t.Fatal(err)
	}
	r.Must(http.MethodPut, group+"?api-version=2024-11-01", `{"location":"westeurope","tags":{"costCenter":"42"}}`)
	return &rig{Region: r, p: p, clock: c}
}

// define makes a custom definition and assigns it at the subscription under the same name.
func (r *rig) define(name, properties string) {
	r.Must("PUT", definitions+name+v, `{"properties":`+properties+`}`)
}

func (r *rig) assign(name, definition, more string) rptest.Answer {
	if more != "" {
		more = "," + more
	}
	return r.Request("PUT", assignments+name+v, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"policyDefinitionId":"`+definition+`"`+more+`}}`)
}

// forward moves the region's clock.
func (r *rig) forward(d time.Duration) { r.clock.SetOffset(r.clock.Offset() + d) }

func wantCode(t *testing.T, a rptest.Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.String("error", "code") != code {
		t.Errorf("%d %s, want %d %s", a.Status, a.Text, status, code)
	}
}
