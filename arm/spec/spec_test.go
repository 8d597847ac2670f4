package spec

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func body(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func typ(t testing.TB, name string) *Type {
	t.Helper()
	x := Lookup(name)
	if x == nil {
		t.Fatalf("no type %s", name)
	}
	return x
}

func TestTypes(t *testing.T) {
	all := Types()
	for i := 1; i < len(all); i++ {
		if strings.ToLower(all[i-1].Name) >= strings.ToLower(all[i].Name) {
			t.Fatalf("%s comes before %s", all[i-1].Name, all[i].Name)
		}
	}
	for _, name := range []string{"Microsoft.Network/applicationGateways", "microsoft.insights/METRICALERTS", "Microsoft.Web/sites/config", "Microsoft.MachineLearningServices/workspaces/computes"} {
		x := typ(t, name)
		if v := x.Versions(); len(v) == 0 || v[0] > v[len(v)-1] {
			t.Errorf("%s: versions %v", name, v)
		}
	}
	if l := typ(t, "Microsoft.Sql/servers").Location; l != Somewhere {
		t.Errorf("a server's location: %d", l)
	}
	if form := typ(t, "Microsoft.Network/frontDoors").NameForm(); form.Max == nil || *form.Max != 64 {
		t.Errorf("names of front doors: %+v", form)
	}
}

// TestRead: what each body becomes, by the specification's rules.
func TestRead(t *testing.T) {
	for _, c := range []struct{ name, sent, stored string }{
		{"Microsoft.Network/trafficManagerProfiles", `{"properties":{"TrafficRoutingMethod":"weighted","dnsConfig":{"ttl":"30","fqdn":"x"},"mine":1}}`,
			`{"properties":{"trafficRoutingMethod":"Weighted","dnsConfig":{"ttl":30,"fqdn":"x"},"mine":1}}`},
		{"Microsoft.Sql/servers", `{"properties":{"administratorLogin":"me","administratorLoginPassword":"hush","fullyQualifiedDomainName":"no","publicNetworkAccess":"enabled"}}`,
			`{"properties":{"administratorLogin":"me","publicNetworkAccess":"Enabled"}}`},
		{"Microsoft.Insights/metricAlerts", `{"properties":{"severity":3,"enabled":true,"scopes":["/x"],"evaluationFrequency":"PT1M","windowSize":"PT5M","criteria":{"odata.type":"Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria","allOf":[{"name":"n","metricName":"m","operator":"GreaterThan","threshold":1,"timeAggregation":"Average"}]}}}`,
			`{"properties":{"severity":3,"enabled":true,"scopes":["/x"],"evaluationFrequency":"PT1M","windowSize":"PT5M","criteria":{"odata.type":"Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria","allOf":[{"name":"n","metricName":"m","operator":"GreaterThan","threshold":1,"timeAggregation":"Average"}]}}}`}, // no criterionType
		{"Microsoft.Web/sites", `{"kind":"app","properties":{"httpsOnly":"True","siteConfig":{"alwaysOn":true}}}`, `{"kind":"app","properties":{"httpsOnly":true,"siteConfig":{"alwaysOn":true}}}`},
	} {
		out, err := typ(t, c.name).Read(body(t, c.sent), true)
		if err != nil || !reflect.DeepEqual(out, body(t, c.stored)) {
			got, _ := json.Marshal(out)
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.stored)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	alert := `"severity":3,"enabled":true,"scopes":["/x"],"evaluationFrequency":"PT1M","windowSize":"PT5M"`
	for _, c := range []struct {
		name, sent, path string
		rule             Rule
	}{
		{"Microsoft.Insights/metricAlerts", `{}`, "properties", Missing},
		{"Microsoft.Insights/metricAlerts", `{"properties":{` + alert + `}}`, "properties.criteria", Missing},
		{"Microsoft.Insights/metricAlerts", `{"properties":{` + alert + `,"criteria":{"odata.type":"Mine"}}}`, "properties.criteria.odata.type", Unlisted},
		{"Microsoft.Insights/metricAlerts", `{"properties":{` + alert + `,"criteria":[]}}`, "properties.criteria", Mistyped},
		{"Microsoft.Insights/metricAlerts", `{"properties":{` + strings.Replace(alert, "true", `"perhaps"`, 1) + `,"criteria":{}}}`, "properties.enabled", Mistyped},
		{"Microsoft.Network/frontDoors", `{"properties":{"backendPoolsSettings":{"sendRecvTimeoutSeconds":1}}}`, "properties.backendPoolsSettings.sendRecvTimeoutSeconds", Bounds},
		{"Microsoft.Sql/servers", `{"properties":"text"}`, "properties", Mistyped},
	} {
		_, err := typ(t, c.name).Read(body(t, c.sent), true)
		var f *Fault
		if !errors.As(err, &f) || f.Path != c.path || f.Rule != c.rule {
			t.Errorf("%s %s: %v, want %s", c.name, c.sent, err, c.path)
		}
	}
}

func FuzzRead(f *testing.F) {
	names := []string{"Microsoft.Insights/metricAlerts", "Microsoft.Network/applicationGateways", "Microsoft.Web/sites/config", "Microsoft.MachineLearningServices/workspaces/jobs"}
	f.Add(0, `{"properties":{"criteria":{"odata.type":"Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria","allOf":[{}]}}}`)
	f.Add(1, `{"properties":{"sku":{"capacity":"2"},"probes":[{"name":"a","properties":{"port":1e9}}]}}`)
	f.Add(2, `{"name":"web","properties":{"a":null}}`)
	f.Fuzz(func(t *testing.T, which int, text string) {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		x := Lookup(names[uint(which)%uint(len(names))])
		out, err := x.Read(m, true)
		if err != nil {
			return
		}
		if again, err := x.Read(out, false); err != nil || !reflect.DeepEqual(again, out) {
			t.Errorf("what was read is read otherwise: %v %v %v", out, again, err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	x := typ(b, "Microsoft.Network/trafficManagerProfiles")
	m := body(b, `{"properties":{"trafficRoutingMethod":"Weighted","dnsConfig":{"relativeName":"x","ttl":30},"monitorConfig":{"protocol":"HTTPS","port":443,"path":"/"},"endpoints":[{"name":"a","type":"x","properties":{"target":"a.example","weight":1}}]}}`)
	for b.Loop() {
		if _, err := x.Read(m, true); err != nil {
			b.Fatal(err)
		}
	}
}
