package resourcegraph_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/policy"
	"vauban.dev/provider/resourcegraph"
	"vauban.dev/provider/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	one    = "aaaaaaaa-0000-0000-0000-000000000001"
	two    = "aaaaaaaa-0000-0000-0000-000000000002"
	target = "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01"
)

// hierarchy puts the first subscription under a group.
type hierarchy struct{}

func (hierarchy) ManagementGroups(_ context.Context, scope string) ([]string, error) {
	if strings.HasPrefix(scope, "/subscriptions/"+one) {
		return []string{"/providers/Microsoft.Management/managementGroups/leaf", "/providers/Microsoft.Management/managementGroups/root"}, nil
	}
	return nil, nil
}

type widget struct {
	Size int    `json:"size"`
	Key  string `json:"key,omitempty" rp:"secret"`
}

func newRegion(t testing.TB) *rptest.Region {
	t.Helper()
	states := func(context.Context) ([]policy.Record, error) {
		return []policy.Record{{ResourceID: "/subscriptions/" + one + "/resourceGroups/Apps/providers/Microsoft.Toys/widgets/w0", Compliance: "NonCompliant", Definition: "/providers/x/y/d", Timestamp: time.Unix(0, 0)}}, nil
	}
	p := resourcegraph.New(resourcegraph.Config{TenantID: rptest.Owner.TenantID, Hierarchy: hierarchy{}, States: states})
	roles := &authz.Index{}
	groups := resources.New(resources.Tenant{ID: rptest.Owner.TenantID}, nil, roles)
	widgets := rp.Of(rp.Type[widget]{Name: "Microsoft.Toys/widgets", Versions: rp.Versions[widget]("2024-01-01")})
	parts := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/widgets/parts", Kind: rp.Proxy, Versions: rp.Versions[struct{}]("2024-01-01")})
	managers := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Management/managementGroups", Kind: rp.Proxy, StateProperty: "-", Versions: rp.Versions[struct{}]("2024-01-01")})
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, append(append(groups.Types(), widgets, parts, managers), p.Types()...)...)
	p.Attach(r.Engine)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		if err := resources.Ensure(tx, one, "First"); err != nil {
			return err
		}
		return resources.Ensure(tx, two, "Second")
	}); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", "/providers/Microsoft.Management/managementGroups/leaf?api-version=2024-01-01", `{}`)
	for i, sub := range []string{one, one, two} {
		group := "/subscriptions/" + sub + "/resourceGroups/Apps"
		r.Must("PUT", group+"?api-version=2021-04-01", `{"location":"westeurope"}`)
		r.Must("PUT", fmt.Sprintf("%s/providers/Microsoft.Toys/widgets/w%d?api-version=2024-01-01", group, i),
			fmt.Sprintf(`{"location":%q,"tags":{"n":"%d"},"properties":{"size":%d,"key":"hidden-%d","extra":{"a.b":[1,2.5]}}}`, []string{"westeurope", "northeurope"}[i%2], i, i, i))
	}
	r.Must("PUT", "/subscriptions/"+one+"/resourceGroups/Apps/providers/Microsoft.Toys/widgets/w0/parts/p?api-version=2024-01-01", `{}`)
	return r
}

func ask(r *rptest.Region, as authz.Principal, query string, more string) rptest.Answer {
	b, _ := json.Marshal(query)
	return r.As(as, http.MethodPost, target, `{"query":`+string(b)+more+`}`)
}

func rows(a rptest.Answer) string {
	b, _ := json.Marshal(a.Body["data"])
	return string(b)
}

func TestQuery(t *testing.T) {
	r := newRegion(t)
	for _, test := range []struct{ query, more, want string }{
		{"resources | project name, type, resourceGroup, subscriptionId | take 1", "", `[{"name":"w0","resourceGroup":"apps","subscriptionId":"` + one + `","type":"microsoft.toys/widgets"}]`},
		{"resources | where properties.size > 0 | project properties.extra.['a.b'][1], tags.n", "", `[{"properties_extra_a.b_1":2.5,"tags_n":"1"},{"properties_extra_a.b_1":2.5,"tags_n":"2"}]`},
		{"resources | where properties has 'hidden' | count", "", `[{"Count":0}]`},
		{"resources | count", `,"subscriptions":["` + one + `"]`, `[{"Count":2}]`},
		{"resources | count", `,"managementGroups":["leaf"]`, `[{"Count":2}]`},
		{"resources | count", `,"options":{"resultFormat":"table"}`, `{"columns":[{"name":"Count","type":"integer"}],"rows":[[3]]}`},
		{"resourcecontainers | where type == 'microsoft.resources/subscriptions' | project name, n = properties.managementGroupAncestorsChain[0].name", "", `[{"n":"leaf","name":"First"},{"n":null,"name":"Second"}]`},
		{"ResourceContainers | where type =~ 'microsoft.resources/subscriptions/resourceGroups' | project name, location", `,"subscriptions":["` + two + `"]`, `[{"location":"westeurope","name":"Apps"}]`},
		{"authorizationresources | where properties.roleName == 'Reader' | project name", "", `[{"name":"acdd72a7-3385-48ef-bd42-f606fba81ae7"}]`},
		{"policyresources | where type == 'microsoft.policyinsights/policystates' | project s = properties.complianceState, resourceGroup", "", `[{"resourceGroup":"apps","s":"NonCompliant"}]`},
		{"policyresources | where type == 'microsoft.authorization/policydefinitions' | where name == 'e56962a6-4747-49cd-b67b-bf8b01975c4c' | project properties.displayName", "", `[{"properties_displayName":"Allowed locations"}]`},
	} {
		a := ask(r, rptest.Owner, test.query, test.more)
		if a.Status != http.StatusOK || rows(a) != test.want {
			t.Errorf("%s%s: %d %s\nwant %s", test.query, test.more, a.Status, a.Text, test.want)
		}
	}
}

// TestPages: az and the SDKs go from page to page by the token, which needs ids.
func TestPages(t *testing.T) {
	r := newRegion(t)
	a := ask(r, rptest.Owner, "resources | project id, name | order by name asc", `,"options":{"$top":2}`)
	next := a.String("$skipToken")
	if a.Body["totalRecords"] != 3.0 || a.Body["count"] != 2.0 || a.String("resultTruncated") != "false" || next == "" || a.Header.Get("x-ms-user-quota-remaining") == "" {
		t.Fatal(a.Text)
	}
	a = ask(r, rptest.Owner, "resources | project id, name | order by name asc", `,"options":{"$skipToken":"`+next+`"}`)
	if !strings.Contains(rows(a), `"name":"w2"`) || a.Body["count"] != 1.0 || a.Body["$skipToken"] != nil {
		t.Error(a.Text)
	}
	a = ask(r, rptest.Owner, "resources | project name", `,"options":{"$top":2}`)
	if a.String("resultTruncated") != "true" || a.Body["$skipToken"] != nil {
		t.Error(a.Text)
	}
	if a = ask(r, rptest.Owner, "resources | project name", `,"options":{"$skip":2}`); rows(a) != `[{"name":"w2"}]` {
		t.Error(a.Text)
	}
	if a = ask(r, rptest.Owner, "resources | project name | limit 2", `,"options":{"$skip":2}`); rows(a) != `[{"name":"w0"},{"name":"w1"}]` {
		t.Error(a.Text)
	}
}

// TestReadersSeeWhatTheyMayRead: a query is no way around roles.
func TestReadersSeeWhatTheyMayRead(t *testing.T) {
	r := newRegion(t)
	reader := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-0000-0000-0000-000000000003", Type: "User"}
	nobody := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-0000-0000-0000-000000000004", Type: "User"}
	roles := &authz.Index{}
	roles.Put(authz.Assignment{ID: "1", PrincipalID: reader.ObjectID, Definition: authz.Reader, Scope: "/subscriptions/" + one + "/resourceGroups/Apps/providers/Microsoft.Toys/widgets/w1"})
	roles.Put(authz.Assignment{ID: "2", PrincipalID: reader.ObjectID, Definition: authz.Reader, Scope: "/subscriptions/" + two})
	r.Decide(&authz.Evaluator{Source: roles})
	for query, want := range map[string]string{
		"resources | project name":                                `[{"name":"w1"},{"name":"w2"}]`,
		"resourcecontainers | project name":                       `[{"name":"Second"},{"name":"Apps"}]`,
		"policyresources | where type has 'policystates' | count": `[{"Count":0}]`,
	} {
		if a := ask(r, reader, query, ""); rows(a) != want {
			t.Errorf("%s: %s", query, a.Text)
		}
		if a := ask(r, nobody, query, ""); a.Status != http.StatusOK || strings.Contains(rows(a), "name") {
			t.Errorf("%s, nobody: %s", query, a.Text)
		}
	}
	if a := ask(r, nobody, "resources", `,"managementGroups":["leaf"]`); a.Status != http.StatusBadRequest || !strings.Contains(a.Text, "AccessDenied") {
		t.Error(a.Text)
	}
}

func TestFacets(t *testing.T) {
	r := newRegion(t)
	a := ask(r, rptest.Owner, "resources | project location, size = toint(properties.size), properties.size", `,"facets":[
		{"expression":"location","options":{"sortOrder":"desc","$top":1}}, {"expression":"nonExistingColumn"},
		{"expression":"location","options":{"sortBy":"tolower(location)","sortOrder":"asc","filter":"size > 0"}}, {"expression":"properties.size"}, {"expression":"location","options":{"filter":"x =="}}]`)
	b, _ := json.Marshal(a.Body["facets"])
	want := `[{"count":1,"data":[{"count":2,"location":"westeurope"}],"expression":"location","resultType":"FacetResult","totalRecords":2},` +
		`{"errors":[{"code":"NoValidColumns","message":"No valid columns in facet expression."},{"code":"InvalidColumnNames","message":"Invalid column names: [nonExistingColumn]."}],"expression":"nonExistingColumn","resultType":"FacetError"},` +
		`{"count":2,"data":[{"count":1,"location":"northeurope"},{"count":1,"location":"westeurope"}],"expression":"location","resultType":"FacetResult","totalRecords":2},` +
		`{"count":3,"data":[{"count":1,"properties_size":"0"},{"count":1,"properties_size":"1"},{"count":1,"properties_size":"2"}],"expression":"properties.size","resultType":"FacetResult","totalRecords":3},`
	if !strings.HasPrefix(string(b), want) || !strings.Contains(string(b[len(want):]), "ParserFailure") {
		t.Errorf("got  %s\nwant %s…", b, want)
	}
}

// TestRefusals: BadRequest with details, the codes as Resource Graph gives them.
func TestRefusals(t *testing.T) {
	r := newRegion(t)
	for _, test := range []struct{ body, code, text string }{
		{`{"query":"where where"}`, "ParserFailure", `"line":1`},
		{`{"query":"where where"}`, "ParserFailure", `"characterPositionInLine":11`},
		{`{"query":"where where"}`, "ParserFailure", `"token":"<EOF>"`},
		{`{"query":"advisorresources | take 1"}`, "DisallowedLogicalTableName", "Table advisorresources is invalid, unsupported or disallowed."},
		{`{"query":"resources | render piechart"}`, "InvalidQueryLanguage", `"token":"render"`},
		{`{"query":"resources | project x"}`, "SemanticError", "Failed to resolve scalar expression named 'x'"},
		{`{"query":""}`, "InvalidQuery", "empty"},
		{`{}`, "InvalidQuery", "'query'"},
		{`{"query":1}`, "InvalidPayload", "'query'"},
		{`[]`, "InvalidPayload", ""},
		{`{"query":"resources","options":{"$top":0}}`, "InvalidTop", "$top"},
		{`{"query":"resources","options":{"$skip":-1}}`, "InvalidSkip", "$skip"},
		{`{"query":"resources","options":{"$skipToken":"x"}}`, "InvalidSkipToken", "$skipToken"},
		{`{"query":"resources","options":{"resultFormat":"csv"}}`, "InvalidResultFormat", "csv"},
		{`{"query":"resources","subscriptions":["00000000-0000-0000-0000-000000000009"]}`, "NoValidSubscriptionsInQueryRequest", "at least one"},
		{`{"query":"resources","managementGroups":["none"]}`, "AccessDenied", "none"},
		{`{"query":"resources","managementGroups":["leaf"],"subscriptions":["` + one + `"]}`, "InvalidPayload", "not both"},
	} {
		a := r.Request(http.MethodPost, target, test.body)
		details, _ := a.At("error", "details").([]any)
		has := slices.ContainsFunc(details, func(d any) bool { return d.(map[string]any)["code"] == test.code })
		if a.Status != http.StatusBadRequest || a.Code() != "BadRequest" || !has || !strings.Contains(a.Text, test.text) || !strings.Contains(a.String("error", "message"), "correlationId = ") {
			t.Errorf("%s: %d %s", test.body, a.Status, a.Text)
		}
	}
}

func BenchmarkQuery(b *testing.B) {
	r := newRegion(b)
	for i := range 1000 {
		r.Must("PUT", fmt.Sprintf("/subscriptions/%s/resourceGroups/Apps/providers/Microsoft.Toys/widgets/x%d?api-version=2024-01-01", one, i), `{"location":"westeurope","properties":{"size":3}}`)
	}
	for b.Loop() {
		if a := ask(r, rptest.Owner, "resources | where type =~ 'Microsoft.Toys/widgets' | summarize count() by location", ""); a.Status != http.StatusOK {
			b.Fatal(a.Text)
		}
	}
}
