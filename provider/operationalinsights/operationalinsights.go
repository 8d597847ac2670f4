// Package operationalinsights is the queries of Log Analytics at Resource Manager: a workspace's, its list of tables, and
// those of one resource's logs (Microsoft.Insights/logs). dataplane/loganalytics answers them; workspaces themselves are a
// type of provider/objects.
package operationalinsights

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/dataplane/loganalytics"
	"vauban.dev/provider/objects"
)

// Provider is the routes.
type Provider struct{ logs *loganalytics.Service }

// New returns the provider of a service.
func New(logs *loganalytics.Service) *Provider { return &Provider{logs} }

var (
	queryVersions  = []string{"2017-01-01-preview", "2017-10-01", "2020-08-01", "2021-05-19", "2021-06-01", "2022-10-27", "2023-09-01", "2025-02-01", "2025-07-01"}
	tableVersions  = []string{"2020-08-01", "2020-10-01", "2021-12-01-preview", "2022-10-01", "2023-09-01", "2025-02-01", "2025-07-01"}
	insideVersions = []string{"2018-03-01-preview", "2018-08-01-preview", "2022-10-27"}
)

const (
	groupScope = "/subscriptions/{subscription}/resourceGroups/{group}"
	workspace  = groupScope + "/providers/Microsoft.OperationalInsights/workspaces/{name}"
)

// Types are the provider's routes. Who may query is asked by the service, of the workspace or the resource, and of each
// table that the query names: its refusals have the query API's form.
func (p *Provider) Types() []rp.Registration {
	var routes []rp.Route
	for _, path := range []string{"/query", "/api/query"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			routes = append(routes, rp.Route{Method: method, Pattern: workspace + path, Permission: "-", Versions: queryVersions, Reads: true, Serve: p.query})
		}
	}
	for _, of := range []string{"/providers/{namespace}/{type}/{name}", "/providers/{namespace}/{type}/{name}/{type2}/{name2}"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			routes = append(routes, rp.Route{Method: method, Pattern: groupScope + of + "/providers/Microsoft.Insights/logs", Permission: "-", Versions: insideVersions, Reads: true, Serve: p.query})
		}
	}
	const read = objects.LogsType + "/tables/read"
	return []rp.Registration{
		rp.Routes(append(routes,
			rp.Route{Method: http.MethodGet, Pattern: workspace + "/tables", Permission: read, Versions: tableVersions, Do: listTables},
			rp.Route{Method: http.MethodGet, Pattern: workspace + "/tables/{table}", Permission: read, Versions: tableVersions, Do: getTable},
		)...),
		rp.Operations(rp.Actions(objects.LogsType+"/query/read", "Microsoft.Insights/logs/read")...),
	}
}

// query answers a query of a workspace, or of the resource that an extension's path names.
func (p *Provider) query(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	caller, ok := authz.FromContext(ctx)
	if !ok {
		return nil, errors.New("operationalinsights: a request without a caller")
	}
	q := loganalytics.Query{Query: r.Query.Get("query"), Timespan: r.Query.Get("timespan")}
	var err error
	if r.Method == http.MethodPost {
		q, err = loganalytics.ReadQuery(r.Body, q.Timespan)
	}
	var answer *loganalytics.Answer
	if err == nil {
		answer, err = p.logs.Ask(ctx, caller, target(path), q, loganalytics.ReadPrefer(r.Header.Get("Prefer")))
	}
	if refused := new(loganalytics.Error); errors.As(err, &refused) {
		return &rp.Response{Status: refused.Status, Body: map[string]any{"error": refused}}, nil
	}
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK, Body: answer}, nil
}

func target(path map[string]string) loganalytics.Target {
	id := "/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"]
	if path["namespace"] == "" {
		return loganalytics.Target{Workspace: id + "/providers/" + objects.LogsType + "/" + path["name"]}
	}
	id += "/providers/" + path["namespace"] + "/" + path["type"] + "/" + path["name"]
	if path["type2"] != "" {
		id += "/" + path["type2"] + "/" + path["name2"]
	}
	return loganalytics.Target{Resource: id}
}

func workspaceOf(tx *rp.Tx, path map[string]string) (*rp.Resource[objects.LogsWorkspace], error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + objects.LogsType + "/" + path["name"])
	if err != nil {
		return nil, err
	}
	return rp.Get[objects.LogsWorkspace](tx, id)
}

// shown is a table as Resource Manager shows it (Tables REST: Table).
func shown(w *rp.Resource[objects.LogsWorkspace], table string) map[string]any {
	days := w.Properties.RetentionInDays
	columns := []any{}
	for _, c := range loganalytics.Columns(table) {
		columns = append(columns, map[string]any{"name": c.Name, "type": c.Type, "isDefaultDisplay": false, "isHidden": false})
	}
	return map[string]any{
		"id": w.ID.String() + "/tables/" + table, "name": table,
		"properties": map[string]any{
			"retentionInDays": days, "retentionInDaysAsDefault": true, "totalRetentionInDays": days, "totalRetentionInDaysAsDefault": true, "archiveRetentionInDays": 0,
			"plan": "Analytics", "provisioningState": "Succeeded",
			"schema": map[string]any{"name": table, "displayName": table, "tableType": "Microsoft", "tableSubType": "Any", "standardColumns": columns, "solutions": []string{"LogManagement"}},
		},
	}
}

func listTables(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	w, err := workspaceOf(tx, path)
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, t := range loganalytics.Tables() {
		value = append(value, shown(w, t))
	}
	return map[string]any{"value": value}, nil
}

func getTable(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	w, err := workspaceOf(tx, path)
	if err != nil {
		return nil, err
	}
	all := loganalytics.Tables()
	if i := slices.IndexFunc(all, func(t string) bool { return strings.EqualFold(t, path["table"]) }); i >= 0 {
		return shown(w, all[i]), nil
	}
	return nil, arm.Errorf(http.StatusNotFound, "ResourceNotFound", "The workspace '%s' has no table '%s'.", w.ID.Name(), path["table"])
}
