package loganalytics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/internal/isotime"
	"vauban.dev/kql"
	"vauban.dev/store"
)

const (
	// rowsMost is how many rows an answer has; what is more is cut off and told of, as Azure does.
	rowsMost = 500_000
	// patience is how long a query may take unless its Prefer says less.
	patience = 3 * time.Minute
)

// Permissions that a query needs, on the workspace or on the resource whose logs are asked for.
const (
	workspaceQuery = "Microsoft.OperationalInsights/workspaces/query/"
	resourceLogs   = "Microsoft.Insights/logs/"
)

// Query is the body of a request ("Azure Monitor Log Analytics API: request format").
type Query struct {
	Query      string   `json:"query"`
	Timespan   string   `json:"timespan"`
	Workspaces []string `json:"workspaces"` // others that are asked too: workspace ids, ARM ids, names
}

// Answer is what a query answers.
type Answer struct {
	Tables     []Table           `json:"tables"`
	Statistics map[string]any    `json:"statistics,omitempty"`
	Render     map[string]string `json:"render,omitempty"`
	Error      *Error            `json:"error,omitempty"` // of an answer that is not whole
}

// Table of an answer.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	Rows    [][]any  `json:"rows"`
}

// Column of a Table.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Prefer is what a request's Prefer header asks for.
type Prefer struct {
	Wait               time.Duration // 0: patience
	Statistics, Render bool
}

// Target is what a query is asked of: a workspace, or a resource in all workspaces.
type Target struct {
	Workspace string // workspace id, ARM id or name
	Resource  string // ARM id
}

// Ask answers a query of a caller. The error is an *Error for what the API refuses.
func (s *Service) Ask(ctx context.Context, p authz.Principal, to Target, q Query, prefer Prefer) (*Answer, error) {
	wait := patience
	if prefer.Wait > 0 {
		wait = min(wait, prefer.Wait)
	}
	began := time.Now()
	limited, stop := context.WithTimeout(ctx, wait)
	defer stop()
	answer, err := s.ask(limited, p, to, q, prefer)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, refuse(http.StatusGatewayTimeout, "GatewayTimeout", "The query took longer than %s. Narrow it by its timespan, or by a where on TimeGenerated.", wait)
	}
	if err == nil && prefer.Statistics {
		answer.Statistics = map[string]any{"query": map[string]any{"executionTime": time.Since(began).Seconds()}}
	}
	return answer, err
}

func (s *Service) ask(ctx context.Context, p authz.Principal, to Target, q Query, prefer Prefer) (*Answer, error) {
	src := &source{s: s, ctx: ctx, p: p, now: s.Clock.Now().UTC(), ok: map[string]bool{}, columns: map[string][]kql.Column{}}
	if err := src.open(to, q); err != nil {
		return nil, err
	}
	if strings.TrimSpace(q.Query) == "" {
		return nil, badArgument("QueryValidationError", "The query is empty: the body needs the member 'query'.")
	}
	parsed, err := kql.ParseLogs(q.Query, kql.AzureMonitor)
	if err != nil {
		return nil, faultOf(err)
	}
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	made, err := parsed.Run(ctx, kql.Options{Source: src, Now: src.now, Limits: kql.AzureMonitor})
	if err == nil {
		err = src.bad
	}
	if err != nil {
		return nil, faultOf(err)
	}
	answer := &Answer{Tables: []Table{show(made)}}
	if prefer.Render {
		answer.Render = parsed.Render()
		if answer.Render == nil {
			answer.Render = map[string]string{}
		}
	}
	if len(made.Rows) > rowsMost {
		answer.Error = &Error{Code: "PartialError", Message: "There were some errors when processing your query.", Details: []map[string]any{{
			"code": "EngineError", "message": fmt.Sprintf("The answer has more than %d rows: the first of them are shown.", rowsMost),
		}}}
	}
	return answer, nil
}

func show(t *kql.Table) Table {
	out := Table{Name: "PrimaryResult", Columns: []Column{}, Rows: make([][]any, min(len(t.Rows), rowsMost))}
	for _, c := range t.Columns {
		out.Columns = append(out.Columns, Column{c.Name, c.Type.String()})
	}
	for i := range out.Rows {
		row := make([]any, len(t.Columns))
		for j, c := range t.Columns {
			row[j] = kql.Cell(t.Rows[i][j])
			if c.Type == kql.Dynamic && row[j] != nil { // answers have dynamics as texts
				if _, isText := row[j].(string); !isText {
					b, _ := json.Marshal(row[j]) // it came as JSON
					row[j] = string(b)
				}
			}
		}
		out.Rows[i] = row
	}
	return out
}

// source is what a caller may read of the workspaces that a query is asked of.
type source struct {
	s          *Service
	ctx        context.Context // of the query: Columns is asked without one
	p          authz.Principal
	now        time.Time
	workspaces []Workspace
	resource   string // lower-case ARM id: only its records; "" for all
	from, to   time.Time
	ok         map[string]bool
	columns    map[string][]kql.Column
	bad        error // what went wrong where no error can be told
}

// open finds the workspaces and reads the timespan.
func (s *source) open(to Target, q Query) (err error) {
	if to.Resource != "" {
		err = s.openResource(to.Resource)
	} else {
		err = s.openWorkspaces(append([]string{to.Workspace}, q.Workspaces...))
	}
	if err == nil {
		s.from, s.to, err = readTimespan(q.Timespan, s.now)
	}
	return err
}

func (s *source) openWorkspaces(called []string) error {
	for _, name := range called {
		w, err := s.s.Workspaces.Find(s.ctx, name)
		if errors.Is(err, ErrNoWorkspace) {
			return refuse(http.StatusNotFound, "WorkspaceNotFoundError", "The workspace '%s' could not be found.", printable(name))
		}
		if err != nil {
			return err
		}
		if w.QueryDisabled {
			return s.s.insufficient("The workspace '%s' does not answer queries from public networks: publicNetworkAccessForQuery is not 'Enabled', and the region has no private link scope.", w.ID)
		}
		if err := s.need(workspaceQuery+"read", w.ID); err != nil {
			return err
		}
		if !slices.Contains(s.workspaces, w) {
			s.workspaces = append(s.workspaces, w)
		}
	}
	return nil
}

func (s *source) openResource(id string) error {
	if err := s.need(resourceLogs+"read", id); err != nil {
		return err
	}
	switch ok, err := s.s.Exists(s.ctx, id); {
	case err != nil:
		return err
	case !ok:
		return refuse(http.StatusNotFound, "ResourceNotFoundError", "The resource %s was not found", printable(id))
	}
	all, err := s.s.Workspaces.All(s.ctx)
	if err != nil {
		return err
	}
	s.resource = strings.ToLower(id)
	for _, w := range all {
		ok := w.ByResource
		if !ok {
			if ok, err = s.may(workspaceQuery+"read", w.ID); err != nil {
				return err
			}
		}
		if ok && !w.QueryDisabled {
			s.workspaces = append(s.workspaces, w)
		}
	}
	return nil
}

// may asks once for each action and scope.
func (s *source) may(action, scope string) (bool, error) {
	key := action + " " + strings.ToLower(scope)
	if ok, asked := s.ok[key]; asked {
		return ok, nil
	}
	d, err := s.s.Authorizer.Check(s.ctx, s.p, authz.Request{Action: action, Scope: scope})
	if err != nil {
		return false, err
	}
	s.ok[key] = d.Allowed
	return d.Allowed, nil
}

func (s *source) need(action, scope string) error {
	ok, err := s.may(action, scope)
	if err != nil || ok {
		return err
	}
	return s.s.insufficient("The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s'.", s.p.Name, s.p.ObjectID, action, printable(scope))
}

// Tables are kql.Lister.
func (s *source) Tables() []string { return Tables() }

func (s *source) Columns(table string) ([]kql.Column, bool) {
	if c := s.columns[table]; c != nil {
		return c, true
	}
	learned := map[string]string{}
	if table == diagnostics {
		err := s.s.Store.View(s.ctx, func(tx store.Tx) error {
			for _, w := range s.workspaces {
				st, err := readState(tx, tableKey(w.CustomerID, table))
				if err != nil {
					return err
				}
				for name, typ := range st.Columns {
					learned[name] = typ
				}
			}
			return nil
		})
		if err != nil {
			s.bad = err
		}
	}
	c, ok := schema(table, learned)
	if ok {
		s.columns[table] = c
	}
	return c, ok
}

// Rows are the records of a table that the caller may read. A table that a role keeps from the caller is refused, where it
// was asked of a workspace; of a resource it is as if it had none.
func (s *source) Rows(ctx context.Context, table string, _ []string) (rows [][]any, err error) {
	columns, _ := s.Columns(table)
	if s.resource != "" {
		if ok, err := s.may(resourceLogs+table+"/read", s.resource); err != nil || !ok {
			return nil, err
		}
	}
	for _, w := range s.workspaces {
		if s.resource == "" {
			if err := s.need(workspaceQuery+table+"/read", w.ID); err != nil {
				return nil, err
			}
		}
		since := w.keptSince(s.now)
		if s.from.After(since) {
			since = s.from
		}
		err := s.s.read(ctx, w.CustomerID, table, since, func(record map[string]any) error {
			if row := s.row(w, table, columns, record); row != nil {
				rows = append(rows, row)
			}
			if len(rows) > kql.AzureMonitor.Rows {
				return &kql.Fault{Kind: kql.TooMuch, Message: fmt.Sprintf("The table %s has more than %d records. Narrow the query by its timespan.", table, kql.AzureMonitor.Rows)}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// row is a record by its columns, nil if it is not asked for.
func (s *source) row(w Workspace, table string, columns []kql.Column, record map[string]any) []any {
	id, _ := record["_ResourceId"].(string)
	if s.resource != "" && id != s.resource && !strings.HasPrefix(id, s.resource+"/") {
		return nil
	}
	at, _ := kql.Convert(record["TimeGenerated"], kql.Datetime).(time.Time)
	if at.Before(s.from) || !s.to.IsZero() && at.After(s.to) {
		return nil
	}
	row := make([]any, len(columns))
	for i, c := range columns {
		switch c.Name {
		case "TenantId":
			row[i] = w.CustomerID
		case "TimeGenerated":
			row[i] = at
		case "Type":
			row[i] = table
		case "SourceSystem":
			row[i] = "Azure"
		case "_SubscriptionId":
			row[i] = subscriptionOf(id)
		default:
			row[i] = kql.Convert(kql.Plain(record[c.Name]), c.Type)
		}
	}
	return row
}

func subscriptionOf(id string) string {
	if parsed, err := arm.ParseID(id); err == nil {
		return parsed.Subscription()
	}
	return ""
}

// readTimespan reads an ISO 8601 span: a duration before now, or START/END, START/DURATION, DURATION/END. "" is all of time.
func readTimespan(text string, now time.Time) (from, to time.Time, err error) {
	if text == "" {
		return from, to, nil
	}
	bad := badArgument("QueryValidationError", "The timespan '%s' is not valid: it is an ISO 8601 duration such as PT12H, or two of start, end and duration with a '/' between.", printable(text))
	first, second, two := strings.Cut(text, "/")
	if !two {
		d, err := isotime.ParseDuration(first)
		if err != nil {
			return from, to, bad
		}
		return now.Add(-d), now, nil
	}
	start, startOK := instant(first)
	end, endOK := instant(second)
	before, beforeErr := isotime.ParseDuration(first)
	after, afterErr := isotime.ParseDuration(second)
	switch {
	case startOK && endOK && !end.Before(start):
		return start, end, nil
	case startOK && afterErr == nil:
		return start, start.Add(after), nil
	case beforeErr == nil && endOK:
		return end.Add(-before), end, nil
	}
	return from, to, bad
}

func instant(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
