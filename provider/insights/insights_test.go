package insights_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/activity"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/insights"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub     = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	account = sub + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct"
	at      = "/providers/microsoft.insights/diagnosticSettings/"
	api     = "?api-version=2021-05-01-preview"
)

func newRegion(t *testing.T) *rptest.Region {
	t.Helper()
	accounts := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Storage/storageAccounts", Versions: rp.Versions[struct{}]("2024-01-01")})
	r := rptest.New(t, rp.Config{}, append(insights.Types(), accounts)...)
	for _, name := range []string{account, account + "2"} {
		r.Must("PUT", name+"?api-version=2024-01-01", `{"location":"westeurope"}`)
	}
	return r
}

func body(destination, logs string) string {
	return fmt.Sprintf(`{"properties":{%s,"logs":[%s]}}`, destination, logs)
}

const administrative = `{"category":"Administrative","enabled":true}`

func TestSettings(t *testing.T) {
	r := newRegion(t)
	to := `"storageAccountId":"` + account + `"`
	a := r.Request("PUT", sub+at+"export"+api, body(to, administrative))
	if a.Status != 200 || a.String("type") != insights.SettingType || a.String("properties", "storageAccountId") != account {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	for what, c := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"no destination":        {sub + at + "x", body(`"storageAccountId":null`, administrative), 400, "data sink"},
		"a workspace":           {sub + at + "x", body(`"workspaceId":"/subscriptions/s/w"`, administrative), 400, "Microsoft.OperationalInsights/workspaces"},
		"an event hub":          {sub + at + "x", body(`"eventHubAuthorizationRuleId":"x"`, administrative), 400, "Microsoft.EventHub/namespaces/authorizationRules"},
		"a resource, no sink":   {account + at + "x", body(`"storageAccountId":""`, administrative), 400, "data sink"},
		"a group":               {sub + "/resourceGroups/rg" + at + "x", body(to, administrative), 400, "not supported at"},
		"an unknown category":   {sub + at + "x", body(to, `{"category":"Everything","enabled":true}`), 400, "Everything"},
		"another kind of table": {sub + at + "x", body(to+`,"logAnalyticsDestinationType":"Special"`, administrative), 400, "logAnalyticsDestinationType"},
		"the account twice":     {sub + at + "other", body(to, administrative), 409, "already used in diagnostic setting 'export'"},
		"no account":            {sub + at + "x", body(`"storageAccountId":"`+account+`9"`, administrative), 404, "acct9"},
		"another kind of sink":  {sub + at + "x", body(`"storageAccountId":"`+sub+`"`, administrative), 400, "Microsoft.Storage/storageAccounts"},
		"metrics":               {sub + at + "x", `{"properties":{` + to + `,"metrics":[{"category":"AllMetrics","enabled":true}]}}`, 400, "metrics"},
	} {
		if a := r.Request("PUT", c.path+api, c.body); a.Status != c.status || !strings.Contains(a.Text, c.says) {
			t.Errorf("%s: %d %s", what, a.Status, a.Text)
		}
	}
	const blobs = account + "/blobServices/default"
	if a := r.Request("PUT", blobs+at+"x"+api, body(to, `{"category":"StorageRead","enabled":true},{"categoryGroup":"audit","enabled":false}`)); a.Status != 200 {
		t.Errorf("of a resource: %d %s", a.Status, a.Text)
	}
	for _, c := range []struct{ at, logs string }{{account, `{"category":"StorageRead"}`}, {blobs, `{"category":"AuditEvent"}`}, {blobs, `{"categoryGroup":"most"}`}, {account, `{"categoryGroup":"allLogs"}`}} {
		if a := r.Request("PUT", c.at+at+"y"+api, body(`"storageAccountId":"`+account+`2"`, c.logs)); a.Status != 400 || !strings.Contains(a.Text, "not supported") {
			t.Errorf("%s of %s: %d %s", c.logs, c.at, a.Status, a.Text)
		}
	}
	if a := r.Request("GET", blobs+"/providers/microsoft.insights/diagnosticSettingsCategories"+api, ""); !strings.Contains(a.Text, `"StorageDelete"`) || !strings.Contains(a.Text, `"audit"`) {
		t.Errorf("categories of blobs: %s", a.Text)
	}
	if a := r.Request("PUT", sub+at+"other"+api, body(`"storageAccountId":"`+account+`2"`, `{"categoryGroup":"allLogs","enabled":true}`)); a.Status != 200 {
		t.Errorf("a second: %d %s", a.Status, a.Text)
	}
	poor := authz.Principal{ObjectID: "33333333-0000-0000-0000-000000000000", Name: "poor"}
	r.Deny(poor, "Microsoft.Storage/storageAccounts/listKeys/action", "no")
	if a := r.As(poor, "PUT", sub+at+"export"+api, body(to, administrative)); a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" {
		t.Errorf("without the keys of the account: %d %s", a.Status, a.Text)
	}
	if n := len(r.Request("GET", sub+"/providers/microsoft.insights/diagnosticSettingsCategories"+api, "").At("value").([]any)); n != 8 {
		t.Errorf("%d categories", n)
	}
	if n := len(r.Request("GET", account+"/providers/microsoft.insights/diagnosticSettingsCategories"+api, "").At("value").([]any)); n != 2 {
		t.Errorf("%d categories of an account", n)
	}
	if a := r.Request("GET", sub+"/providers/microsoft.insights/diagnosticSettingsCategories/policy"+api, ""); a.String("name") != "Policy" {
		t.Error(a.Text)
	}
	if a := r.Request("DELETE", sub+at+"export"+api, ""); a.Status != 200 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}

func TestExports(t *testing.T) {
	s := insights.Setting{Logs: []insights.Category{{Category: "administrative", Enabled: true}, {Category: "Policy"}}}
	if !s.Exports("Administrative") || s.Exports("Policy") || s.Exports("Security") {
		t.Error("by category")
	}
	s.Logs = []insights.Category{{CategoryGroup: "allLogs", Enabled: true}}
	if !s.Exports("Security") {
		t.Error("by group")
	}
	s.Logs = []insights.Category{{CategoryGroup: "audit", Enabled: true}}
	if !s.Exports("AuditEvent") || s.Exports("AzurePolicyEvaluationDetails") {
		t.Error("by the group audit")
	}
}

func TestRecord(t *testing.T) {
	when := time.Date(2026, 3, 4, 5, 6, 7, 89, time.FixedZone("", 3600))
	if got, want := insights.BlobName("aa-bb", when), "resourceId=/SUBSCRIPTIONS/AA-BB/y=2026/m=03/d=04/h=04/m=00/PT1H.json"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	line, err := insights.Record(activity.Entry{
		Time: when, Operation: "A.B/things/write", Resource: "/subscriptions/s", Status: activity.Failed, HTTPStatus: 409, Code: "ScopeLocked", Message: "two\nlines",
		Caller: authz.Principal{Name: "ann", ObjectID: "o"}, Address: "10.0.0.1", CorrelationID: "c", Category: activity.Policy, Properties: map[string]string{"policies": "[]"},
	}, "tenant")
	if err != nil || strings.Count(string(line), "\n") != 1 {
		t.Fatalf("%s %v", line, err)
	}
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"time": "2026-03-04T04:06:07.0000000Z", "operationName": "A.B/THINGS/WRITE", "category": "Policy", "resultType": "Failure",
		"resultSignature": "Failed.Conflict", "level": "Error", "callerIpAddress": "10.0.0.1", "resourceId": "/SUBSCRIPTIONS/S", "tenantId": "tenant"} {
		if m[k] != want {
			t.Errorf("%s: %v, want %s", k, m[k], want)
		}
	}
	if p := m["properties"].(map[string]any); p["policies"] != "[]" || p["eventCategory"] != "Policy" {
		t.Errorf("%v", p)
	}
}
