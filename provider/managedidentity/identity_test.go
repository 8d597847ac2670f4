package managedidentity_test

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/managedidentity"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group    = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	identity = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-1"
	widget   = group + "/providers/Microsoft.Toys/widgets/w"
	api      = "?api-version=2023-01-31"
	toys     = "?api-version=2024-01-01"
)

// directory makes principals whose ids follow from the resource's.
type directory struct {
	mu   sync.Mutex
	have []string

	federated []string // identity/name subject
}

func guid(what string, id arm.ID) string {
	sum := sha256.Sum256([]byte(what + id.Key()))
	u, _ := uuid.FromBytes(sum[:16])
	return u.String()
}

func (d *directory) EnsureUserAssigned(_ store.Tx, id arm.ID) (principal, client, tenant string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.have, id.Key()) {
		d.have = append(d.have, id.Key())
	}
	return guid("principal", id), guid("client", id), rptest.Owner.TenantID, nil
}

func (d *directory) Remove(_ store.Tx, id arm.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.have = slices.DeleteFunc(d.have, func(s string) bool { return s == id.Key() })
	return nil
}

func (d *directory) PutFederated(_ store.Tx, id arm.ID, name string, f managedidentity.Federated) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.Subject == "taken" {
		return arm.Errorf(http.StatusConflict, "Conflict", "taken")
	}
	d.federated = append(d.federated, id.Name()+"/"+name+" "+f.Subject)
	return nil
}

func (d *directory) RemoveFederated(_ store.Tx, id arm.ID, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.federated = slices.DeleteFunc(d.federated, func(s string) bool { return strings.HasPrefix(s, id.Name()+"/"+name+" ") })
	return nil
}

func (d *directory) EnsureSystem(store.Tx, arm.ID) (string, string, error) { return "", "", nil }

func (d *directory) Resolve(_ store.Tx, id arm.ID) (principal, client string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.have, id.Key()) {
		return "", "", arm.NotFound(id)
	}
	return guid("principal", id), guid("client", id), nil
}

func newRegion(t *testing.T) (*rptest.Region, *directory) {
	t.Helper()
	d := &directory{}
	widgets := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/widgets", Versions: rp.Versions[struct{}]("2024-01-01")})
	return rptest.New(t, rp.Config{Identities: d, Locations: []string{"westeurope"}}, append(managedidentity.Types(d), widgets)...), d
}

func TestIdentity(t *testing.T) {
	r, d := newRegion(t)
	id := arm.MustParseID(identity)
	a := r.Request("PUT", identity+api, `{"location":"westeurope","tags":{"a":"b"},"properties":{"principalId":"mine","clientId":"mine"}}`)
	if a.Status != 201 {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	want := map[string]any{
		"id": identity, "name": "id-1", "type": managedidentity.IdentityType, "location": "westeurope", "tags": map[string]any{"a": "b"}, "systemData": a.At("systemData"),
		"properties": map[string]any{"principalId": guid("principal", id), "clientId": guid("client", id), "tenantId": rptest.Owner.TenantID},
	}
	if d := cmp.Diff(want, r.Request("GET", identity+api, "").Body); d != "" {
		t.Errorf("GET (-want +got):\n%s", d)
	}
	if a := r.Request("PUT", identity+api, `{"location":"westeurope"}`); a.Status != 200 || a.String("properties", "clientId") != guid("client", id) {
		t.Errorf("second PUT: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PATCH", identity+api, `{"tags":{"c":"d"},"properties":{"clientId":"mine"}}`); a.String("properties", "clientId") != guid("client", id) || a.String("tags", "c") != "d" {
		t.Errorf("PATCH: %d %s", a.Status, a.Text)
	}
	list, _ := r.Request("GET", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities"+api, "").At("value").([]any)
	if len(list) != 1 {
		t.Errorf("list: %v", list)
	}
	if a := r.Request("DELETE", identity+api, ""); a.Status != 200 || len(d.have) != 0 {
		t.Errorf("DELETE: %d %s; the directory has %v", a.Status, a.Text, d.have)
	}
}

// TestUse: a resource that has the identity shows its ids, and one that is not there is refused.
func TestUse(t *testing.T) {
	r, _ := newRegion(t)
	with := `{"location":"westeurope","identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identity + `":{}}}}`
	if a := r.Request("PUT", widget+toys, with); a.Status != http.StatusBadRequest || a.Code() != "FailedIdentityOperation" {
		t.Errorf("an identity that is not there: %d %s", a.Status, a.Text)
	}
	r.Must("PUT", identity+api, `{"location":"westeurope"}`)
	id := arm.MustParseID(identity)
	shown := r.Must("PUT", widget+toys, with).At("identity", "userAssignedIdentities", identity)
	if d := cmp.Diff(map[string]any{"principalId": guid("principal", id), "clientId": guid("client", id)}, shown); d != "" {
		t.Error(d)
	}
}

func TestNames(t *testing.T) {
	r, _ := newRegion(t)
	for name, status := range map[string]int{"ab": 400, "abc": 201, "-abc": 400, "a_b-c": 201, "a.b": 400, strings.Repeat("a", 128): 201, strings.Repeat("a", 129): 400} {
		if a := r.Request("PUT", strings.TrimSuffix(identity, "id-1")+name+api, `{"location":"westeurope"}`); a.Status != status {
			t.Errorf("%s: %d %s, want %d", name, a.Status, a.Text, status)
		}
	}
}

func TestFederatedCredentials(t *testing.T) {
	r, d := newRegion(t)
	r.Must("PUT", identity+api, `{"location":"westeurope"}`)
	credential := identity + "/federatedIdentityCredentials/gh-main"
	body := func(issuer, subject, audience string) string {
		return `{"properties":{"issuer":"` + issuer + `","subject":"` + subject + `","audiences":[` + audience + `]}}`
	}
	good := body("https://token.actions.githubusercontent.com", "repo:a/b:ref:refs/heads/main", `"api://AzureADTokenExchange"`)
	for name, c := range map[string]struct {
		id, body string
		want     int
	}{
		"plain http":       {credential, body("http://x", "s", `"a"`), 400},
		"no subject":       {credential, body("https://x", "", `"a"`), 400},
		"two audiences":    {credential, body("https://x", "s", `"a","b"`), 400},
		"no audience":      {credential, body("https://x", "s", ""), 400},
		"a short name":     {identity + "/federatedIdentityCredentials/gh", good, 400},
		"taken":            {credential, body("https://x", "taken", `"a"`), 409},
		"no such identity": {strings.Replace(credential, "id-1", "id-2", 1), good, 404},
	} {
		if a := r.Request("PUT", c.id+api, c.body); a.Status != c.want {
			t.Errorf("%s: %d %s", name, a.Status, a.Text)
		}
	}
	if a := r.Request("PUT", credential+api, good); a.Status != 201 || len(d.federated) != 1 {
		t.Fatalf("PUT: %d %s; the directory has %v", a.Status, a.Text, d.federated)
	}
	if a := r.Request("GET", credential+api, ""); a.String("properties", "subject") != "repo:a/b:ref:refs/heads/main" || a.String("type") != managedidentity.FederatedType {
		t.Errorf("GET: %s", a.Text)
	}
	if a := r.Request("DELETE", credential+api, ""); a.Status != 200 || len(d.federated) != 0 {
		t.Errorf("DELETE: %d; the directory has %v", a.Status, d.federated)
	}
	r.Must("PUT", credential+api, good)
	if a := r.Request("DELETE", identity+api, ""); a.Status != 200 || len(d.federated) != 0 {
		t.Errorf("with its identity: %d %s; the directory has %v", a.Status, a.Text, d.federated)
	}
}
