package policyinsights_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/deployments"
	"vauban.dev/provider/policy"
	"vauban.dev/provider/policyinsights"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub         = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group       = sub + "/resourceGroups/rg"
	auth        = "/providers/Microsoft.Authorization/"
	insights    = "/providers/Microsoft.PolicyInsights/"
	definitions = sub + auth + "policyDefinitions/"
	assignments = sub + auth + "policyAssignments/"
	v           = "?api-version=2025-11-01"
	vs          = "?api-version=2019-10-01"
	vr          = "?api-version=2021-10-01"
	va          = "?api-version=2022-09-01"
	api         = "?api-version=2024-01-01"
	storageType = "Microsoft.Storage/storageAccounts"
	account     = group + "/providers/" + storageType + "/acct"
)

type noIdentities struct{}

func (noIdentities) EnsureSystem(store.Tx, arm.ID) (string, string, error) {
	return "99999999-0000-0000-0000-000000000001", rptest.Owner.TenantID, nil
}
func (noIdentities) Remove(store.Tx, arm.ID) error { return nil }
func (noIdentities) Resolve(store.Tx, arm.ID) (string, string, error) {
	return "", "", arm.NotImplemented("none")
}

type rig struct {
	*rptest.Region
	clock *clock.Region
}

// regionCheck is the region's authorizer, which is there after the provider.
type regionCheck struct{ r *rig }

func (c regionCheck) Check(ctx context.Context, p authz.Principal, q authz.Request) (authz.Decision, error) {
	return c.r.Region.Check(ctx, p, q)
}

func newRig(t testing.TB) *rig {
	r := &rig{clock: &clock.Region{}}
	p := policy.New(policy.Config{Clock: r.clock, TenantID: rptest.Owner.TenantID})
	type free = map[string]any
	var in *policyinsights.Provider
	regs := append(resources.New(resources.Tenant{}, resources.AzureLocations(), &authz.Index{}).Types(),
		rp.Of(rp.Type[free]{Name: storageType, Versions: rp.Versions[free]("2024-01-01"), SyncDelete: true}),
		rp.Of(rp.Type[free]{Name: storageType + "/blobServices", Kind: rp.Proxy, Versions: rp.Versions[free]("2024-01-01", "2022-09-01"), SyncDelete: true}),
	)
	real := deployments.New(deployments.Config{TenantID: rptest.Owner.TenantID, Authorizer: regionCheck{r}, Clock: r.clock})
	regs = append(regs, real.Types()...)
	regs = append(regs, p.Types()...)
	in = policyinsights.New(policyinsights.Config{Policies: p, Clock: r.clock, TenantID: rptest.Owner.TenantID, Kinds: []string{"test.clock"}, Act: func(ctx context.Context, who authz.Principal, method, path, version string, body []byte) (int, []byte, error) {
		a, err := r.Handler.(*door.Door).Do(ctx, door.Inside{Caller: who, Method: method, Path: path, Version: version, Body: body})
		return a.Status, a.Body, err
	}})
	regs = append(regs, in.Types()...)
	r.Region = rptest.New(t, rp.Config{Clock: r.clock, Identities: noIdentities{}, Locations: []string{"westeurope", "eastus2"}}, regs...)
	p.Attach(r.Engine)
	in.Attach(r.Engine)
	in.Follow(r.Store)
	r.Govern(p)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	real.Attach(r.Engine, r.Handler.(*door.Door))
	deployed := make(chan error, 1)
	go func() { deployed <- real.Run(ctx) }()
	go func() { defer close(done); in.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		if err := <-deployed; err != nil {
			t.Error(err)
		}
	})
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, sub[len("/subscriptions/"):], "test") }); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+"?api-version=2024-11-01", `{"location":"westeurope","tags":{"costCenter":"42"}}`)
	return r
}

// forward moves the clock, as the region's command does: by a document.
func (r *rig) forward(t *testing.T, d time.Duration) {
	r.clock.SetOffset(r.clock.Offset() + d)
	if err := r.Store.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Put("test.clock", "offset", []byte("x"), store.Any); return err }); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) assign(t *testing.T, name, definition, more string) {
	t.Helper()
	if more != "" {
		more = "," + more
	}
	r.Must("PUT", assignments+name+v, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"policyDefinitionId":"`+definition+`"`+more+`}}`)
}

func (r *rig) rows(t *testing.T, path, query string) []map[string]any {
	t.Helper()
	a := r.Request("POST", path+vs+query, "")
	if a.Status != 200 {
		t.Fatalf("%s: %d %s", path, a.Status, a.Text)
	}
	var out struct {
		Value []map[string]any `json:"value"`
	}
	if err := json.Unmarshal([]byte(a.Text), &out); err != nil {
		t.Fatal(err)
	}
	return out.Value
}

func (r *rig) states(t *testing.T, scope, query string) string {
	t.Helper()
	var b []string
	for _, row := range r.rows(t, scope+insights+"policyStates/latest/queryResults", query) {
		id := row["resourceId"].(string)
		b = append(b, id[strings.LastIndexByte(id, '/')+1:]+" "+row["policyAssignmentName"].(string)+" "+row["complianceState"].(string))
	}
	return strings.Join(b, ", ")
}

const auditPublic = `{"mode":"All","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Storage/storageAccounts"},{"field":"Microsoft.Storage/storageAccounts/allowBlobPublicAccess","equals":true}]},"then":{"effect":"audit"}}}`

func TestStatesFollowTheResources(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", definitions+"d"+v, `{"properties":`+auditPublic+`}`)
	r.Must("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`)
	r.assign(t, "a", definitions+"d", "")
	want := func(want string) {
		t.Helper()
		if got := r.states(t, sub, ""); got != want {
			t.Errorf("states %q, want %q", got, want)
		}
	}
	want("acct a NonCompliant")
	r.Must("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":false}}`)
	want("acct a Compliant")
	r.Must("PUT", account+"2"+api, `{"location":"eastus2","properties":{"allowBlobPublicAccess":true}}`)
	want("acct a Compliant, acct2 a NonCompliant")
	for query, w := range map[string]string{
		"&$filter=complianceState+eq+'NonCompliant'":                                  "acct2 a NonCompliant",
		"&$filter=IsCompliant+eq+false+and+(resourceLocation+eq+'eastus2')":           "acct2 a NonCompliant",
		"&$filter=not+contains(resourceId,'acct2')":                                   "acct a Compliant",
		"&$filter=resourceLocation+in+('eastus2')":                                    "acct2 a NonCompliant",
		"&$orderby=resourceId+desc&$top=1":                                            "acct2 a NonCompliant",
		"&$filter=policyDefinitionAction+eq+'audit'+and+resourceGroup+eq+'RG'&$top=1": "acct a Compliant",
	} {
		if got := r.states(t, sub, query); got != w {
			t.Errorf("%s: %q, want %q", query, got, w)
		}
	}
	agg := r.rows(t, sub+insights+"policyStates/latest/queryResults", "&$apply=filter(isCompliant+eq+false)/groupby((policyAssignmentName),aggregate($count+as+n))")
	if len(agg) != 1 || agg[0]["n"] != 1.0 || agg[0]["policyAssignmentName"] != "a" {
		t.Errorf("aggregate %v", agg)
	}
	if a := r.Request("POST", sub+insights+"policyStates/latest/queryResults"+vs+"&$filter=nothing+eq+1", ""); a.Status != 400 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	for scope, w := range map[string]string{
		group: "acct a Compliant, acct2 a NonCompliant", account: "acct a Compliant",
		assignments + "a": "acct a Compliant, acct2 a NonCompliant", definitions + "d": "acct a Compliant, acct2 a NonCompliant", definitions + "none": "",
	} {
		if got := r.states(t, scope, ""); got != w {
			t.Errorf("%s: %q", scope, got)
		}
	}
	until := r.clock.Now().Add(48 * time.Hour).Format(time.RFC3339)
	r.Must("PUT", group+auth+"policyExemptions/e?api-version=2026-01-01-preview", `{"properties":{"policyAssignmentId":"`+assignments+`a","exemptionCategory":"Mitigated","expiresOn":"`+until+`"}}`)
	want("acct a Exempt, acct2 a Exempt")
	r.forward(t, 49*time.Hour)
	want("acct a Compliant, acct2 a NonCompliant")
	sum := r.Request("POST", sub+insights+"policyStates/latest/summarize"+vs, "")
	if sum.Status != 200 || !strings.Contains(sum.Text, `"nonCompliantResources":1`) || !strings.Contains(sum.Text, `"policyAssignmentId":"`+assignments+`a"`) {
		t.Errorf("%s", sum.Text)
	}
	r.Must("DELETE", account+"2"+api, "")
	want("acct a Compliant")
	r.Must("DELETE", assignments+"a"+v, "")
	want("")
}

func TestTriggerAnswersWhenTheScanIsOver(t *testing.T) {
	r := newRig(t)
	a := r.Request("POST", sub+insights+"policyStates/latest/triggerEvaluation"+vs, "")
	if a.Status != 202 || a.Header.Get("Location") == "" {
		t.Fatalf("%d %s %v", a.Status, a.Text, a.Header)
	}
	if end := r.Request("GET", strings.TrimPrefix(a.Header.Get("Location"), "http://example.com"), ""); end.Status != 200 {
		t.Errorf("%d %s", end.Status, end.Text)
	}
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", definitions+"d"+v, `{"properties":`+auditPublic+`}`)
	r.Must("PUT", definitions+"no"+v, `{"properties":`+strings.Replace(auditPublic, `"audit"`, `"deny"`, 1)+`}`)
	r.assign(t, "a", definitions+"d", "")
	r.Must("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`)
	r.assign(t, "b", definitions+"no", "")
	if a := r.Request("PUT", account+api, `{"location":"westeurope","properties":{"allowBlobPublicAccess":true}}`); a.Status != 403 {
		t.Fatal(a.Text)
	}
	got := ""
	for _, row := range r.rows(t, sub+insights+"policyEvents/default/queryResults", "") {
		got += row["policyDefinitionAction"].(string) + " " + row["policyAssignmentName"].(string) + " " + row["principalOid"].(string) + ";"
	}
	if want := "audit a " + rptest.Owner.ObjectID + ";deny b " + rptest.Owner.ObjectID + ";"; got != want {
		t.Errorf("events %q", got)
	}
	log := r.Request("GET", sub+"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=eventTimestamp+ge+'2020-01-01T00:00:00Z'", "")
	if !strings.Contains(log.Text, "Microsoft.Authorization/policies/audit/action") || !strings.Contains(log.Text, "Microsoft.Authorization/policies/deny/action") {
		t.Errorf("the activity log lacks policy entries: %s", log.Text)
	}
}

func TestRemediationByModify(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, `{"location":"westeurope"}`)
	const inherit = "/providers/Microsoft.Authorization/policyDefinitions/cd3aa116-8754-49c9-a813-ad46512ece54"
	r.assign(t, "tag", inherit, `"parameters":{"tagName":{"value":"costCenter"}}`)
	if got := r.states(t, sub, ""); got != "acct tag NonCompliant" {
		t.Fatal(got)
	}
	r.Must("PUT", sub+insights+"remediations/r1"+vr, `{"properties":{"policyAssignmentId":"`+assignments+`tag"}}`)
	end := r.await(t, sub+insights+"remediations/r1"+vr, "Succeeded")
	if !strings.Contains(end.Text, `"successfulDeployments":1`) {
		t.Errorf("%s", end.Text)
	}
	if a := r.Request("GET", account+api, ""); a.String("tags", "costCenter") != "42" {
		t.Errorf("%s", a.Text)
	}
	if a := r.Request("POST", sub+insights+"remediations/r1/listDeployments"+vr, ""); a.Status != 200 || !strings.Contains(a.Text, account) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	if got := r.states(t, sub, ""); got != "acct tag Compliant" {
		t.Error(got)
	}
	if a := r.Request("PUT", sub+insights+"remediations/r2"+vr, `{"properties":{"policyAssignmentId":"`+assignments+`none"}}`); a.Status != 400 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}

// await polls a remediation until it ends.
func (r *rig) await(t *testing.T, path, state string) rptest.Answer {
	t.Helper()
	for {
		a := r.Request("GET", path, "")
		switch s := a.String("properties", "provisioningState"); s {
		case "Accepted", "Evaluating":
		case state:
			return a
		default:
			t.Fatalf("%d %s", a.Status, a.Text)
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

const softDelete = "/providers/Microsoft.Authorization/policyDefinitions/9fbd64e3-67b8-489b-98e5-fa0007d17e76" // deployIfNotExists

// TestDeployIfNotExists remediates by real deployments through the door, as the assignment's identity and with its roles; a new
// resource is deployed for ten minutes after it was made.
func TestDeployIfNotExists(t *testing.T) {
	r := newRig(t)
	identity := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "99999999-0000-0000-0000-000000000001", Type: "ServicePrincipal"}
	const write = storageType + "/blobServices/write"
	service := account + "/blobServices/default" + api
	r.Must("PUT", account+api, `{"location":"westeurope"}`)
	r.assign(t, "dine", softDelete, `"parameters":{"blobRetentionDays":{"value":9}}`)
	if got := r.states(t, sub, ""); got != "acct dine NonCompliant" {
		t.Fatal(got)
	}
	remediate := func(name, state string) rptest.Answer {
		t.Helper()
		r.Must("PUT", group+insights+"remediations/"+name+vr, `{"properties":{"policyAssignmentId":"`+assignments+`dine","resourceDiscoveryMode":"ReEvaluateCompliance"}}`)
		return r.await(t, group+insights+"remediations/"+name+vr, state)
	}
	r.Deny(identity, write, "it has no role")
	if a := remediate("refused", "Failed"); !strings.Contains(a.Text, `"failedDeployments":1`) || r.Request("GET", service, "").Status != 404 {
		t.Errorf("without the role: %s", a.Text)
	}
	if a := r.Request("POST", group+insights+"remediations/refused/listDeployments"+vr, ""); !strings.Contains(a.Text, "does not have permission to perform action '"+write+"'") {
		t.Errorf("the reason: %s", a.Text)
	}
	r.Allow(identity, write)
	remediate("r1", "Succeeded")
	made := r.Request("GET", service, "")
	if made.Status != 200 || !strings.Contains(made.Text, `"days":9`) {
		t.Fatalf("%d %s", made.Status, made.Text)
	}
	var all struct {
		Value []struct {
			Name       string
			Properties struct{ ProvisioningState string }
		}
	}
	if err := json.Unmarshal([]byte(r.Request("GET", group+"/providers/Microsoft.Resources/deployments?api-version=2022-09-01", "").Text), &all); err != nil || len(all.Value) != 1 {
		t.Fatalf("%v %v", all, err)
	}
	for _, d := range all.Value {
		if !strings.HasPrefix(d.Name, "PolicyDeployment_") {
			t.Errorf("%v", d)
		}
	}
	if got := r.states(t, sub, ""); got != "acct dine Compliant" {
		t.Error(got)
	}
	// a new account: ten minutes after it was made
	second := account + "2/blobServices/default" + api
	r.Must("PUT", account+"2"+api, `{"location":"westeurope"}`)
	if got := r.states(t, sub, ""); got != "acct dine Compliant, acct2 dine NonCompliant" {
		t.Error(got)
	}
	if a := r.Request("GET", second, ""); a.Status != 404 {
		t.Errorf("deployed at once: %s", a.Text)
	}
	r.forward(t, 11*time.Minute)
	for r.Request("GET", second, "").Status != 200 {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.states(t, sub, ""); got != "acct dine Compliant, acct2 dine Compliant" {
		t.Error(got)
	}
}

func TestManualAndAttestations(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, `{"location":"westeurope"}`)
	r.Must("PUT", definitions+"m"+v, `{"properties":{"mode":"All","policyRule":{"if":{"field":"type","equals":"Microsoft.Storage/storageAccounts"},"then":{"effect":"manual","details":{"defaultState":"Unknown"}}}}}`)
	r.assign(t, "m", definitions+"m", "")
	want := func(want string) {
		t.Helper()
		if got := r.states(t, sub, ""); got != want {
			t.Errorf("states %q, want %q", got, want)
		}
	}
	want("acct m Unknown")
	r.Must("PUT", sub+insights+"attestations/a1"+va, `{"properties":{"policyAssignmentId":"`+assignments+`m","complianceState":"NonCompliant"}}`)
	want("acct m NonCompliant")
	r.Must("PUT", account+insights+"attestations/a2"+va, `{"properties":{"policyAssignmentId":"`+assignments+`m","complianceState":"Compliant","owner":"me","evidence":[{"description":"seen"}]}}`)
	want("acct m Compliant")
	r.Must("DELETE", account+insights+"attestations/a2"+va, "")
	want("acct m NonCompliant")
}

func TestCheckRestrictions(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", definitions+"no"+v, `{"properties":`+strings.Replace(auditPublic, `"audit"`, `"deny"`, 1)+`}`)
	r.assign(t, "b", definitions+"no", "")
	a := r.Request("POST", group+insights+"checkPolicyRestrictions?api-version=2022-03-01", `{"resourceDetails":{"resourceContent":{"type":"Microsoft.Storage/storageAccounts","location":"westeurope","properties":{}},"apiVersion":"2024-01-01"},
	 "pendingFields":[{"field":"Microsoft.Storage/storageAccounts/allowBlobPublicAccess","values":[true,false]}]}`)
	if a.Status != http.StatusOK || !strings.Contains(a.Text, `"values":[true]`) || strings.Contains(a.Text, `"values":[false]`) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	a = r.Request("POST", group+insights+"checkPolicyRestrictions?api-version=2022-03-01", `{"resourceDetails":{"resourceContent":{"type":"Microsoft.Storage/storageAccounts","properties":{"allowBlobPublicAccess":true}}}}`)
	if !strings.Contains(a.Text, `"evaluationResult":"NonCompliant"`) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}
