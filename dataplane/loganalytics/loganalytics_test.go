package loganalytics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/authz"
	"vauban.dev/dataplane/loganalytics"
	"vauban.dev/entra"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub     = "/subscriptions/11111111-1111-1111-1111-111111111111"
	logsID  = sub + "/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/logs"
	vaultID = sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/v"
	guid    = "22222222-2222-2222-2222-222222222222"
)

// rig is a service with one workspace, whose caller may do what allowed says.
type rig struct {
	t          *testing.T
	s          *loganalytics.Service
	st         store.Store
	now        time.Time
	workspaces []loganalytics.Workspace
	denied     map[string]bool // actions
	asked      []string
}

func (r *rig) Now() time.Time { return r.now }

func (r *rig) All(context.Context) ([]loganalytics.Workspace, error) { return r.workspaces, nil }

func (r *rig) Find(_ context.Context, called string) (loganalytics.Workspace, error) {
	for _, w := range r.workspaces {
		if strings.EqualFold(called, w.ID) || strings.EqualFold(called, w.CustomerID) {
			return w, nil
		}
	}
	return loganalytics.Workspace{}, loganalytics.ErrNoWorkspace
}

func (r *rig) Verify(_ context.Context, token string, audiences ...string) (authz.Principal, error) {
	if token != "good" || !slices.Contains(audiences, entra.AudienceLogs) {
		return authz.Principal{}, &entra.TokenError{Reason: entra.Malformed}
	}
	return authz.Principal{Name: "ann", ObjectID: "o"}, nil
}

func (r *rig) Check(_ context.Context, _ authz.Principal, q authz.Request) (authz.Decision, error) {
	r.asked = append(r.asked, q.Action+" "+q.Scope)
	return authz.Decision{Allowed: !r.denied[q.Action]}, nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	r := &rig{t: t, st: st, now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), denied: map[string]bool{}, workspaces: []loganalytics.Workspace{{ID: logsID, CustomerID: guid, RetentionDays: 30, ByResource: true}}}
	var _ clock.Clock = r
	r.s = loganalytics.New(loganalytics.Config{Store: st, Clock: r, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Workspaces: r, Tokens: r, Authorizer: r,
		Exists: func(_ context.Context, id string) (bool, error) { return strings.EqualFold(id, vaultID), nil }})
	return r
}

// secret is a record of a vault as the region writes it.
func (r *rig) secret(operation string, status int) []byte {
	return fmt.Appendf(nil, `{"time":%q,"resourceId":%q,"category":"AuditEvent","operationName":%q,"resultType":"Success","durationMs":"3","callerIpAddress":"10.0.0.4","correlationId":"c",
		"identity":{"claim":{"appid":"33333333-3333-3333-3333-333333333333","http://x/upn":"ann@x"}},"properties":{"id":"https://v/secrets/s","httpStatusCode":%d,"isRbacAuthorized":true}}`,
		r.now.Format(time.RFC3339Nano), strings.ToUpper(vaultID), operation, status)
}

func (r *rig) add(line []byte, dedicated bool) {
	r.t.Helper()
	record, err := loganalytics.Line(line, dedicated)
	if err == nil {
		err = r.s.Append(r.t.Context(), guid, []loganalytics.Record{record})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// ask is the first table of an answer as a text: columns, then rows.
func (r *rig) ask(to loganalytics.Target, q loganalytics.Query) (string, error) {
	a, err := r.s.Ask(r.t.Context(), authz.Principal{Name: "ann", ObjectID: "o"}, to, q, loganalytics.Prefer{})
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(a.Tables[0].Rows)
	return string(b), err
}

func (r *rig) want(query, rows string) {
	r.t.Helper()
	if got, err := r.ask(loganalytics.Target{Workspace: guid}, loganalytics.Query{Query: query}); err != nil || got != rows {
		r.t.Errorf("%s\n  got  %s %v\n  want %s", query, got, err, rows)
	}
}

func TestTables(t *testing.T) {
	r := newRig(t)
	r.add(r.secret("SecretGet", 200), false)
	r.add(r.secret("SecretSet", 403), true)
	r.add(fmt.Appendf(nil, `{"time":%q,"resourceId":"%s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a/queueServices/default","category":"StorageWrite","operationName":"PutMessage","statusCode":201,"statusText":"Success","resourceType":"Microsoft.Storage/storageAccounts/queueServices","identity":{"type":"OAuth","requester":{"objectId":"o"}},"properties":{"accountName":"a"}}`, r.now.Format(time.RFC3339Nano), sub), false)
	firewall := fmt.Appendf(nil, `{"time":%q,"resourceId":"%s/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.NETWORK/AZUREFIREWALLS/F","category":"AZFWNetworkRule","properties":{"TimeGenerated":"x","Category":"AZFWNetworkRule","SourceIp":"10.0.0.1","SourcePort":5,"Action":"Deny"}}`, r.now.Format(time.RFC3339Nano), sub)
	r.add(firewall, true)
	r.add(firewall, false)
	r.add(fmt.Appendf(nil, `{"time":%q,"resourceId":"%s/w","category":"RunEvent","operationName":"RUNS/WRITE","identity":{"claims":{"name":"ann"}},"properties":{"runId":"r1"}}`, r.now.Format(time.RFC3339Nano), sub), false)
	activity, err := loganalytics.Activity(fmt.Appendf(nil, `{"time":%q,"resourceId":%q,"operationName":"MICROSOFT.KEYVAULT/VAULTS/WRITE","category":"Administrative","resultType":"Success","resultSignature":"Succeeded.OK","identity":{"claims":{"name":"ann@x"}},"properties":{"eventDataId":"e"}}`, r.now.Format(time.RFC3339Nano), strings.ToUpper(vaultID)))
	if err == nil {
		err = r.s.Append(t.Context(), guid, []loganalytics.Record{activity})
	}
	if err != nil {
		t.Fatal(err)
	}
	r.want("AzureDiagnostics | where ResourceType == 'VAULTS' | project OperationName, id_s, httpStatusCode_d, isRbacAuthorized_b, identity_claim_appid_g, identity_claim_http_x_upn_s, DurationMs",
		`[["SecretGet","https://v/secrets/s",200,true,"33333333-3333-3333-3333-333333333333","ann@x",3]]`)
	r.want("AzureDiagnostics | where Category startswith 'AZFW' | project SourceIp_s, SourcePort_d, Action_s", `[["10.0.0.1",5,"Deny"]]`)
	r.want("AZKVAuditLogs | project OperationName, HttpStatusCode, tostring(Identity.claim.appid), _ResourceId, _SubscriptionId, Type, TenantId",
		`[["SecretSet",403,"33333333-3333-3333-3333-333333333333","`+strings.ToLower(vaultID)+`","11111111-1111-1111-1111-111111111111","AZKVAuditLogs","`+guid+`"]]`)
	r.want("StorageQueueLogs | project OperationName, StatusCode, AuthenticationType, RequesterObjectId, AccountName", `[["PutMessage","201","OAuth","o","a"]]`)
	r.want("AZFWNetworkRule | project SourceIp, SourcePort, Action, TimeGenerated", `[["10.0.0.1",5,"Deny","2026-03-04T12:00:00.0000000Z"]]`)
	r.want("AmlRunEvent | project RunId, Identity", `[["r1","{\"name\":\"ann\"}"]]`)
	r.want("AzureActivity | project OperationNameValue, Caller, ActivityStatusValue, ActivitySubstatusValue, ResourceGroup, Resource", `[["MICROSOFT.KEYVAULT/VAULTS/WRITE","ann@x","Success","OK","RG","V"]]`)
	r.want("AZFWDnsQuery | count", `[[0]]`) // a table without records is there
	r.want("search 'vaults' | summarize count() by $table | sort by $table asc", `[["AZKVAuditLogs",1],["AzureActivity",1],["AzureDiagnostics",1]]`)
}

func TestTimespan(t *testing.T) {
	r := newRig(t)
	began := r.now
	for i := range 3 {
		r.now = began.Add(time.Duration(i) * time.Hour)
		r.add(r.secret(fmt.Sprintf("Op%d", i), 200), true)
	}
	for timespan, want := range map[string]string{
		"": "3", "PT1H": "2", "P1D": "3", "PT90M": "2", "PT5400.0S": "2", "2026-03-04T12:30:00Z/2026-03-04T13:30:00Z": "1", "2026-03-04T12:30:00Z/PT1H": "1", "PT1H/2026-03-04T12:30:00Z": "1",
	} {
		if got, err := r.ask(loganalytics.Target{Workspace: logsID}, loganalytics.Query{Query: "AZKVAuditLogs | count", Timespan: timespan}); err != nil || got != "[["+want+"]]" {
			t.Errorf("%q: %s, %v; want %s", timespan, got, err, want)
		}
	}
	for _, timespan := range []string{"P", "PT", "1d", "P1Y", "2026-03-05/2026-03-04", "PT1H/PT1H", "P1D/", "P99999W"} {
		if _, err := r.ask(loganalytics.Target{Workspace: guid}, loganalytics.Query{Query: "AZKVAuditLogs", Timespan: timespan}); err == nil {
			t.Errorf("%q is taken", timespan)
		}
	}
}

// TestRetention: what is older than the workspace keeps is neither shown nor kept, nor is what is of a workspace that is gone.
func TestRetention(t *testing.T) {
	r := newRig(t)
	r.add(r.secret("Old", 200), true)
	r.now = r.now.AddDate(0, 0, 20)
	r.add(r.secret("New", 200), true)
	r.now = r.now.AddDate(0, 0, 15)
	r.want("AZKVAuditLogs | project OperationName", `[["New"]]`)
	docs := func() (n int) {
		t.Helper()
		for _, kind := range []string{"loganalytics-batch", "loganalytics-table"} {
			if err := r.st.View(t.Context(), func(tx store.Tx) error {
				return tx.Scan(kind, "", "", func(store.Doc) bool { n++; return true })
			}); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	sweep := func() {
		t.Helper()
		if err := r.s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if docs() != 3 {
		t.Fatalf("%d documents", docs())
	}
	if sweep(); docs() != 2 {
		t.Errorf("%d documents after a sweep, want the new batch and its table", docs())
	}
	r.want("AZKVAuditLogs | project OperationName", `[["New"]]`)
	r.workspaces = nil
	if sweep(); docs() != 0 {
		t.Errorf("%d documents are left of a workspace that is gone", docs())
	}
}

// TestBound: a table keeps no more than it may; what came first goes.
func TestBound(t *testing.T) {
	r := newRig(t)
	r.s.TableBytes = 800 << 10
	long := strings.Repeat("x", 5<<10)
	for i := range 5 {
		var list []loganalytics.Record
		for j := range 40 {
			list = append(list, loganalytics.Record{Table: "AZKVAuditLogs", Row: map[string]any{"TimeGenerated": r.now, "_ResourceId": "/x", "OperationName": fmt.Sprint(i), "CorrelationId": fmt.Sprint(j), "Id": long}})
		}
		if err := r.s.Append(t.Context(), guid, list); err != nil {
			t.Fatal(err)
		}
		r.now = r.now.Add(time.Second)
	}
	var size int
	if err := r.st.View(t.Context(), func(tx store.Tx) error {
		return tx.Scan("loganalytics-batch", "", "", func(d store.Doc) bool { size += len(d.Value); return true })
	}); err != nil {
		t.Fatal(err)
	}
	if size > 800<<10 || size < 400<<10 {
		t.Errorf("the table keeps %d bytes", size)
	}
	r.want("AZKVAuditLogs | summarize countif(OperationName == '4'), countif(OperationName == '0') | extend gone = countif_1 < 40 | project countif_, gone", `[[40,true]]`)
}

// TestColumns: AzureDiagnostics takes any column until it has too many; the rest is in AdditionalFields.
func TestColumns(t *testing.T) {
	r := newRig(t)
	var members []string
	for i := range 600 {
		members = append(members, fmt.Sprintf(`"m%03d":"v"`, i))
	}
	r.add(fmt.Appendf(nil, `{"time":%q,"resourceId":"/x","category":"Some","properties":{%s}}`, r.now.Format(time.RFC3339Nano), strings.Join(members, ",")), false)
	r.want("AzureDiagnostics | project m000_s, tostring(AdditionalFields.m599_s)", `[["v","v"]]`)
	if _, err := r.ask(loganalytics.Target{Workspace: guid}, loganalytics.Query{Query: "AzureDiagnostics | project m599_s"}); err == nil {
		t.Error("the table has more columns than it may have")
	}
}

func TestPermissions(t *testing.T) {
	r := newRig(t)
	r.add(r.secret("SecretGet", 200), true)
	const all, one = "Microsoft.OperationalInsights/workspaces/query/read", "Microsoft.OperationalInsights/workspaces/query/AZKVAuditLogs/read"
	r.want("AZKVAuditLogs | count", `[[1]]`)
	if !slices.Contains(r.asked, all+" "+logsID) || !slices.Contains(r.asked, one+" "+logsID) {
		t.Errorf("asked: %v", r.asked)
	}
	refused := func(action string, to loganalytics.Target) {
		t.Helper()
		r.denied = map[string]bool{action: true}
		defer func() { r.denied = map[string]bool{} }()
		_, err := r.ask(to, loganalytics.Query{Query: "AZKVAuditLogs | count"})
		if e := new(loganalytics.Error); !errors.As(err, &e) || e.Status != http.StatusForbidden || e.Code != "InsufficientAccessError" || !strings.Contains(e.Inner.Message, action) {
			t.Errorf("without %s: %v", action, err)
		}
	}
	refused(all, loganalytics.Target{Workspace: guid})
	refused(one, loganalytics.Target{Workspace: guid})
	refused("Microsoft.Insights/logs/read", loganalytics.Target{Resource: vaultID})
	// Of a resource no right on the workspace is needed, unless the workspace says so; of a table none shows nothing.
	count := func(want string, denied ...string) {
		t.Helper()
		r.denied = map[string]bool{}
		for _, d := range denied {
			r.denied[d] = true
		}
		if got, err := r.ask(loganalytics.Target{Resource: vaultID}, loganalytics.Query{Query: "AZKVAuditLogs | count"}); err != nil || got != want {
			t.Errorf("of the vault without %v: %s, %v", denied, got, err)
		}
	}
	count("[[1]]", all)
	count("[[0]]", "Microsoft.Insights/logs/AZKVAuditLogs/read")
	r.workspaces[0].ByResource = false
	count("[[0]]", all)
	count("[[1]]")
	r.workspaces[0].QueryDisabled = true
	r.denied = map[string]bool{}
	if _, err := r.ask(loganalytics.Target{Workspace: guid}, loganalytics.Query{Query: "AZKVAuditLogs"}); err == nil || !strings.Contains(err.Error(), "publicNetworkAccessForQuery") {
		t.Errorf("a workspace that answers no queries: %v", err)
	}
	if _, err := r.ask(loganalytics.Target{Resource: vaultID + "2"}, loganalytics.Query{Query: "AZKVAuditLogs"}); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundError") {
		t.Errorf("a resource that is not there: %v", err)
	}
}

// TestHandler: the API's paths, errors and batches.
func TestHandler(t *testing.T) {
	r := newRig(t)
	r.add(r.secret("SecretGet", 200), true)
	h := r.s.Handler()
	do := func(method, path, token, body string, header ...string) (int, string) {
		t.Helper()
		q := httptest.NewRequest(method, "https://api.loganalytics.io"+path, strings.NewReader(body))
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i+1 < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		return w.Code, w.Body.String()
	}
	const query = "/v1/workspaces/" + guid + "/query"
	for _, test := range []struct {
		method, path, token, body string
		status                    int
		has                       string
	}{
		{"POST", query, "good", `{"query":"AZKVAuditLogs | project OperationName"}`, 200, `{"tables":[{"name":"PrimaryResult","columns":[{"name":"OperationName","type":"string"}],"rows":[["SecretGet"]]}]}`},
		{"GET", query + "?query=AZKVAuditLogs%20%7C%20count&timespan=P1D", "good", "", 200, `"rows":[[1]]`},
		{"POST", "/v1//subscriptions/x/query", "good", `{"query":"AZKVAuditLogs"}`, 404, "ResourceNotFoundError"},
		{"POST", "/v1" + vaultID + "/query", "good", `{"query":"AZKVAuditLogs | count"}`, 200, `"rows":[[1]]`},
		{"POST", query, "", `{}`, 401, "AuthorizationRequiredError"},
		{"POST", query, "bad", `{}`, 403, "InvalidTokenError"},
		{"POST", "/v1/workspaces/none/query", "good", `{"query":"x"}`, 404, "WorkspaceNotFoundError"},
		{"POST", "/v2/x", "good", `{}`, 404, "PathNotFoundError"},
		{"PUT", query, "good", `{}`, 404, "PathNotFoundError"},
		{"POST", query, "good", `{`, 400, "InvalidJsonBody"},
		{"POST", query, "good", `{}`, 400, "The query is empty"},
		{"POST", query, "good", `{"query":"AZKVAuditLogs | wher x"}`, 400, `"code":"SYN0002","message":"Query could not be parsed at 'wher' on line [1,16]","line":1,"pos":16,"token":"wher"`},
		{"POST", query, "good", `{"query":"Nope"}`, 400, `Failed to resolve table or column expression named 'Nope'`},
		{"POST", query, "good", `{"query":"AZKVAuditLogs | where Nope == 1"}`, 400, `Failed to resolve scalar expression named 'Nope'`},
		{"POST", query, "good", `{"query":"AZKVAuditLogs | evaluate bag_unpack(Identity)"}`, 400, "does not serve"},
		{"POST", "/v1/$batch", "good", `{"requests":[{"id":"1","method":"POST","path":"/query","workspace":"` + guid + `","body":{"query":"AZKVAuditLogs | count"}},{"id":"2","method":"POST","path":"/no","workspace":"w"},{"id":"3","method":"POST","path":"/query","workspace":"w","body":{"query":"x"}}]}`,
			200, `"rows":[[1]]`},
		{"POST", "/v1/$batch", "good", `{"requests":[{"id":"1","workspace":"w"},{"id":"1","workspace":"w"}]}`, 400, "requests[1]"},
	} {
		if status, body := do(test.method, test.path, test.token, test.body); status != test.status || !strings.Contains(body, test.has) {
			t.Errorf("%s %s %s: %d %s, want %d %s", test.method, test.path, test.body, status, body, test.status, test.has)
		}
	}
	_, body := do("POST", query, "good", `{"query":"AZKVAuditLogs | render timechart"}`, "Prefer", "wait=10, include-statistics=true,include-render=true")
	if !strings.Contains(body, `"render":{"visualization":"timechart"}`) || !strings.Contains(body, `"executionTime"`) {
		t.Errorf("what Prefer asks for: %s", body)
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-01T00:00:00Z","resourceId":"/subscriptions/x","category":"StorageRead","resourceType":"a/blobServices","properties":{"a":[1],"b":{"c":null}}}`), true)
	f.Add([]byte(`{"time":"x","category":"AZFWNatRule","properties":3}`), false)
	f.Fuzz(func(t *testing.T, line []byte, dedicated bool) {
		r, err := loganalytics.Line(line, dedicated)
		if err == nil && (r.Table == "" || r.Row["TimeGenerated"] == nil) {
			t.Errorf("%q: %v", line, r)
		}
		_, _ = loganalytics.Activity(line)
	})
}

func FuzzQuery(f *testing.F) {
	f.Add([]byte(`{"query":"AZKVAuditLogs","timespan":"P1D/2026-01-01","workspaces":["x"]}`), "wait=3,include-render=true")
	f.Fuzz(func(t *testing.T, body []byte, prefer string) {
		_, _ = loganalytics.ReadQuery(body, "")
		if p := loganalytics.ReadPrefer(prefer); p.Wait < 0 || p.Wait > 10*time.Minute {
			t.Errorf("%q waits %v", prefer, p.Wait)
		}
	})
}
