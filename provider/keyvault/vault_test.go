package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/provider/keyvault"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub           = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group         = sub + "/resourceGroups/rg"
	other         = sub + "/resourceGroups/rg2"
	vaults        = group + "/providers/Microsoft.KeyVault/vaults/"
	vault         = vaults + "Kv-1"
	api           = "?api-version=2023-07-01"
	tenant        = "11111111-1111-1111-1111-111111111111"
	deletedVaults = sub + "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults"

	alice = "00000000-0000-0000-0000-00000000a11c"
)

// movable is a clock that goes when it is told to.
type movable struct{ ahead atomic.Int64 }

func (c *movable) Now() time.Time {
	return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.ahead.Load()))
}

func (c *movable) Advance(d time.Duration) { c.ahead.Add(int64(d)) }

// secrets drops vaults when it is told to.
type secrets struct {
	forgotten []string
	mu        sync.Mutex
	dropped   []string
	drop      chan struct{} // DropVault waits for it when it is not nil
	asked     chan struct{}
}

func (s *secrets) DropVault(ctx context.Context, id string) error {
	if s.drop != nil {
		s.asked <- struct{}{}
		select {
		case <-s.drop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = append(s.dropped, id)
	return nil
}

func (s *secrets) Forget(_ store.Tx, vault string) error {
	s.forgotten = append(s.forgotten, vault)
	return nil
}

type rig struct {
	*rptest.Region
	*secrets
	clock movable
	t     testing.TB
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, nil)
}

// newRigWith prepares the provider before its types are registered; what it is given answers the region afterwards.
func newRigWith(t testing.TB, data keyvault.Secrets) *rig {
	t.Helper()
	r := &rig{t: t, secrets: &secrets{}}
	p := keyvault.New(r.secrets)
	if data != nil {
		p.UseSecrets(func(ctx context.Context, f func(*rp.Tx) error) error { return r.Engine.View(ctx, f) }, data)
	}
	links := privatelink.New(p.Target())
	p.Use(links)
	regs := append(resources.New(resources.Tenant{}, nil, &authz.Index{}).Types(), p.Types()...)
	r.Region = rptest.New(t, rp.Config{Clock: &r.clock}, append(regs, links.Types()...)...)
	p.UseDeleted(r.Engine.Update, r.Forget)
	r.update(func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test") })
	for _, g := range []string{group, other} {
		r.Must("PUT", g+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	}
	return r
}

func (r *rig) update(f func(*rp.Tx) error) {
	r.t.Helper()
	if err := r.Engine.Update(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) refused(status int, code, says, method, target, body string) {
	r.t.Helper()
	a := r.Request(method, target, body)
	if a.Status != status || a.Code() != code || !strings.Contains(a.String("error", "message"), says) {
		r.t.Errorf("%s %s %s: %d %s; want %d %s and %q", method, target, body, a.Status, a.Text, status, code, says)
	}
}

// body is a vault with more properties.
func body(more string) string {
	return `{"location":"westeurope","properties":{"tenantId":"` + tenant + `","sku":{"family":"A","name":"standard"}` + more + `}}`
}

func TestVaultShape(t *testing.T) {
	r := newRig(t)
	policy := `{"tenantId":"` + tenant + `","objectId":"` + alice + `","permissions":{"secrets":["get","list"],"keys":[]}}`
	a := r.Request("PUT", vault+api, body(`,"accessPolicies":[`+policy+`],"createMode":"default","vaultUri":"https://evil.example/","enabledForTemplateDeployment":true`))
	if a.Status != 200 {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	want := map[string]any{
		"id": vault, "name": "Kv-1", "type": keyvault.VaultType, "location": "westeurope", "tags": map[string]any{}, "systemData": a.At("systemData"),
		"properties": map[string]any{
			"provisioningState": "Succeeded", "tenantId": tenant, "sku": map[string]any{"family": "A", "name": "standard"}, "vaultUri": "https://kv-1.vault.azure.net/",
			"enableRbacAuthorization": false, "publicNetworkAccess": "Enabled", "enableSoftDelete": true, "softDeleteRetentionInDays": 90.0,
			"enabledForDeployment": false, "enabledForTemplateDeployment": true,
			"accessPolicies": []any{map[string]any{"tenantId": tenant, "objectId": alice, "permissions": map[string]any{"secrets": []any{"get", "list"}, "keys": []any{}}}},
		},
	}
	got := r.Request("GET", vault+api, "")
	if d := cmp.Diff(want, got.Body); d != "" {
		t.Errorf("GET (-want +got):\n%s", d)
	}
	patched := r.Must("PATCH", vault+api, `{"tags":{"a":"b"},"properties":{"publicNetworkAccess":"Disabled","networkAcls":{"defaultAction":"Deny"}}}`)
	acls := map[string]any{"bypass": "AzureServices", "defaultAction": "Deny", "ipRules": []any{}, "virtualNetworkRules": []any{}}
	if d := cmp.Diff(acls, patched.At("properties", "networkAcls")); d != "" || patched.String("properties", "vaultUri") == "" || len(patched.At("properties", "accessPolicies").([]any)) != 1 {
		t.Errorf("PATCH: %s\n%s", patched.Text, d)
	}
	listed := r.Request("GET", sub+"/providers/Microsoft.KeyVault/vaults"+api, "")
	if list, _ := listed.At("value").([]any); len(list) != 1 {
		t.Errorf("list: %s", listed.Text)
	}
}

// TestRolesByVersion: vaults that say nothing use roles from 2026-02-01 on.
func TestRolesByVersion(t *testing.T) {
	r := newRig(t)
	for version, want := range map[string]bool{"2023-07-01": false, "2025-05-01": false, "2026-02-01": true} {
		p := vaults + "v" + strings.ReplaceAll(version, "-", "")
		if got := r.Must("PUT", p+"?api-version="+version, body("")).At("properties", "enableRbacAuthorization"); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}

func TestVaultRefusals(t *testing.T) {
	r := newRig(t)
	acls := func(s string) string { return body(`,"networkAcls":{"defaultAction":"Deny",` + s + `}`) }
	for _, c := range []struct{ name, body, code, says string }{
		{"1kv", body(""), "VaultNameNotValid", "begin with a letter"},
		{"kv", body(""), "VaultNameNotValid", "between 3-24"},
		{"kv--1", body(""), "VaultNameNotValid", "consecutive hyphens"},
		{"kv1-", body(""), "VaultNameNotValid", "end with a letter or digit"},
		{strings.Repeat("k", 25), body(""), "VaultNameNotValid", "between 3-24"},
		{"new", strings.Replace(body(""), tenant, "", 1), "BadRequest", "'tenantId'"},
		{"new", strings.Replace(body(""), tenant, "contoso.com", 1), "BadRequest", "'tenantId'"},
		{"new", strings.Replace(body(""), `"A"`, `"B"`, 1), "BadRequest", "sku.family"},
		{"new", strings.Replace(body(""), "standard", "gold", 1), "BadRequest", "sku.name 'gold'"},
		{"new", body(`,"publicNetworkAccess":"Maybe"`), "BadRequest", "publicNetworkAccess 'Maybe'"},
		{"new", body(`,"softDeleteRetentionInDays":6`), "BadRequest", "softDeleteRetentionInDays has an invalid value 6"},
		{"new", body(`,"enableSoftDelete":false`), "BadRequest", "enableSoftDelete"},
		{"new", body(`,"enablePurgeProtection":false`), "BadRequest", "enablePurgeProtection"},
		{"new", body(`,"networkAcls":{}`), "BadRequest", "defaultAction"},
		{"new", acls(`"bypass":"Friends"`), "BadRequest", "bypass 'Friends'"},
		{"new", acls(`"ipRules":[{"value":"20.1.1.1/32"},{"value":"x"}]`), "BadRequest", "ipRules[1].value 'x'"},
		{"new", acls(`"ipRules":[{"value":"2001:db8::/32"}]`), "BadRequest", "ipRules[0].value"},
		{"new", acls(`"virtualNetworkRules":[{"id":"` + group + `"}]`), "BadRequest", "virtualNetworkRules[0].id"},
		{"new", body(`,"accessPolicies":[{"tenantId":"x","objectId":"` + alice + `"}]`), "BadRequest", "accessPolicies[0]"},
		{"new", body(`,"accessPolicies":[{"tenantId":"` + tenant + `","objectId":"alice"}]`), "BadRequest", "accessPolicies[0].ObjectId: alice"},
		{"new", body(`,"accessPolicies":{}`), "InvalidRequestContent", "properties.accessPolicies"},
	} {
		r.refused(400, c.code, c.says, "PUT", vaults+c.name+api, c.body)
	}
	r.refused(400, "BadRequest", "createMode 'restore'", "PUT", vaults+"new"+api, body(`,"createMode":"restore"`))
	r.refused(404, "VaultNotFound", "no deleted vault", "PUT", vaults+"new"+api, body(`,"createMode":"recover"`))
	if a := r.Request("GET", vaults+"new"+api, ""); a.Status != 404 {
		t.Errorf("a refused vault is there: %s", a.Text)
	}
}

func TestPurgeProtectionStays(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vault+api, body(`,"enablePurgeProtection":true`))
	if got := r.Must("PUT", vault+api, body("")).At("properties", "enablePurgeProtection"); got != true {
		t.Errorf("a PUT without it: %v", got)
	}
	r.refused(400, "BadRequest", "irreversible", "PATCH", vault+api, `{"properties":{"enablePurgeProtection":false}}`)
}

func TestNames(t *testing.T) {
	r := newRig(t)
	check := func(name string) string {
		t.Helper()
		a := r.Request("POST", sub+"/providers/Microsoft.KeyVault/checkNameAvailability"+api, `{"name":"`+name+`","type":"Microsoft.KeyVault/vaults"}`)
		return fmt.Sprint(a.At("nameAvailable"), " ", a.String("reason"))
	}
	r.Must("PUT", vault+api, body(""))
	for name, want := range map[string]string{"kv-1": "false AlreadyExists", "KV-1": "false AlreadyExists", "1": "false AccountNameInvalid", "kv-2": "true "} {
		if got := check(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	elsewhere := strings.Replace(vault, group, other, 1)
	r.refused(409, "VaultAlreadyExists", "'kv-1' is already in use", "PUT", elsewhere+api, body(""))

	// A deleted vault keeps its name, and comes back as it was under its own id.
	r.Must("DELETE", vault+api, "")
	r.refused(409, "ConflictError", "deleted state", "PUT", elsewhere+api, body(""))
	r.refused(409, "VaultAlreadyExists", "under its own id only", "PUT", elsewhere+api, body(`,"createMode":"recover"`))
	r.update(func(tx *rp.Tx) error {
		if v, err := keyvault.ByName(tx, "kv-1"); !isNotFound(err) {
			t.Errorf("the data plane still finds %v, %v", v, err)
		}
		return nil
	})
	r.Must("PUT", vault+api, body(`,"createMode":"recover"`))
	r.refused(404, "DeletedVaultNotFound", "'kv-1'", "GET", deletedVaults+"/kv-1"+api, "")
	if r.dropped != nil {
		t.Errorf("secrets of %v are gone", r.dropped)
	}

	// The name is free when the secrets are gone, and not before.
	r.Must("DELETE", vault+api, "")
	if a := r.Must("GET", sub+"/providers/Microsoft.KeyVault/deletedVaults"+api, ""); !strings.Contains(a.Text, `"vaultId":"`+vault+`"`) {
		t.Errorf("deleted: %s", a.Text)
	}
	r.drop, r.asked = make(chan struct{}), make(chan struct{}, 1)
	w := httptest.NewRecorder()
	var purging sync.WaitGroup
	purging.Go(func() {
		r.Handler.ServeHTTP(w, httptest.NewRequestWithContext(authz.NewContext(t.Context(), rptest.Owner), "POST", deletedVaults+"/kv-1/purge"+api, nil))
	})
	<-r.asked
	r.refused(409, "ConflictError", "deleted state", "PUT", elsewhere+api, body(""))
	r.refused(409, "VaultAlreadyExists", "'kv-1'", "PUT", vault+api, body(`,"createMode":"recover"`))
	close(r.drop)
	purging.Wait()
	if w.Code != 202 || w.Header().Get("Location") == "" || !slices.Equal(r.dropped, []string{vault}) {
		t.Errorf("purge: %d %v, dropped %v", w.Code, w.Header(), r.dropped)
	}
	r.Must("PUT", elsewhere+api, body(""))
	r.update(func(tx *rp.Tx) error {
		v, err := keyvault.ByName(tx, "KV-1")
		if err == nil && v.ID.String() != elsewhere {
			t.Errorf("by name: %s", v.ID)
		}
		return err
	})

	// Purge protection holds until the retention time is over; then the vault and its secrets are gone by themselves.
	r.drop = nil
	r.Must("PUT", vaults+"kept"+api, body(`,"enablePurgeProtection":true,"softDeleteRetentionInDays":7`))
	r.Must("DELETE", vaults+"kept"+api, "")
	r.refused(409, "MethodNotAllowed", "purge protection", "POST", deletedVaults+"/kept/purge"+api, "")
	r.clock.Advance(8 * 24 * time.Hour)
	r.refused(404, "DeletedVaultNotFound", "'kept'", "POST", deletedVaults+"/kept/purge"+api, "")
	r.Must("PUT", vaults+"kept"+api, body(""))
	if !slices.Equal(r.forgotten, []string{"kept"}) {
		t.Errorf("forgotten: %v", r.forgotten)
	}
}

func isNotFound(err error) bool {
	var e *arm.Error
	return errors.Is(err, store.ErrNotFound) || errors.As(err, &e) && e.Status == 404
}

// TestTwoWriters: of two vaults of a name at once, one is made.
func TestTwoWriters(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	status := make([]int, 8)
	for i := range status {
		g := fmt.Sprintf("%s/resourceGroups/g%d", sub, i)
		r.Must("PUT", g+"?api-version=2024-11-01", `{"location":"westeurope"}`)
		wg.Go(func() {
			status[i] = r.Request("PUT", g+"/providers/Microsoft.KeyVault/vaults/shared"+api, body("")).Status
		})
	}
	wg.Wait()
	slices.Sort(status)
	if !slices.Equal(status, []int{200, 409, 409, 409, 409, 409, 409, 409}) {
		t.Error(status)
	}
}

func TestFirewall(t *testing.T) {
	subnet := group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	r := &rp.Resource[keyvault.Vault]{ID: arm.MustParseID(vault), Properties: keyvault.Vault{PublicNetworkAccess: "Disabled"}}
	want := firewall.Rules{ResourceID: vault, GroupIDs: []string{"vault"}, PublicNetworkAccess: "Disabled", DefaultAction: "Allow"}
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff(want, keyvault.Firewall(r), prefixes); d != "" {
		t.Error(d)
	}
	r.Properties.NetworkACLs = &keyvault.NetworkACLs{
		Bypass: "None", DefaultAction: "Deny", IPRules: []keyvault.IPRule{{Value: "20.1.1.1"}, {Value: "20.2.3.4/16"}}, VNetRules: []keyvault.VNetRule{{ID: subnet}},
	}
	want.DefaultAction, want.Bypass, want.SubnetRules = "Deny", "None", []string{subnet}
	want.IPRules = []netip.Prefix{netip.MustParsePrefix("20.1.1.1/32"), netip.MustParsePrefix("20.2.0.0/16")}
	if d := cmp.Diff(want, keyvault.Firewall(r), prefixes); d != "" {
		t.Error(d)
	}
}

func TestPrivateLinkResources(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vault+api, body(""))
	want := map[string]any{"value": []any{map[string]any{
		"id": vault + "/privateLinkResources/vault", "name": "vault", "type": keyvault.VaultType + "/privateLinkResources",
		"properties": map[string]any{"groupId": "vault", "requiredMembers": []any{"default"}, "requiredZoneNames": []any{"privatelink.vaultcore.azure.net"}},
	}}}
	if d := cmp.Diff(want, r.Request("GET", vault+"/privateLinkResources"+api, "").Body); d != "" {
		t.Error(d)
	}
}
