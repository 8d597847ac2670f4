// Package resourcegraph is Microsoft.ResourceGraph: queries over what the region has ("Azure Resource Graph REST API:
// Resources"). Package kql reads and runs them; here are the tables, the options of a request and its errors.
package resourcegraph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/kql"
	"vauban.dev/provider/policy"
)

// Config of a Provider.
type Config struct {
	TenantID  string
	Clock     clock.Clock
	Hierarchy authz.Hierarchy // nil: there are no management groups
	// States are the latest policy states of the region; nil: none.
	States func(ctx context.Context) ([]policy.Record, error)
}

// Provider answers queries.
type Provider struct {
	cfg    Config
	engine *rp.Engine
}

// New returns the provider; Attach gives it the engine.
func New(cfg Config) *Provider {
	if cfg.Clock == nil {
		cfg.Clock = &clock.Region{}
	}
	return &Provider{cfg: cfg}
}

// Attach gives the provider the engine, once all types are registered.
func (p *Provider) Attach(e *rp.Engine) { p.engine = e }

var versions = []string{"2018-09-01-preview", "2019-04-01", "2020-04-01-preview", "2021-03-01", "2021-06-01-preview", "2022-10-01", "2023-09-01-preview", "2024-04-01"}

// Types are the provider's routes. Every caller may query: what comes back is what they may read.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{
		rp.Routes(rp.Route{Method: http.MethodPost, Pattern: "/providers/Microsoft.ResourceGraph/resources", Permission: "-", Versions: versions, Reads: true, Serve: p.serve}),
		rp.Operations(rp.Actions("Microsoft.ResourceGraph/resources/read")...),
	}
}

// queryRequest is the body (QueryRequest).
type queryRequest struct {
	Query            string         `json:"query"`
	Subscriptions    []string       `json:"subscriptions"`
	ManagementGroups []string       `json:"managementGroups"`
	ManagementGroup  string         `json:"managementGroupId"` // of 2020-04-01-preview
	Options          *options       `json:"options"`
	Facets           []facetRequest `json:"facets"`
}

type options struct {
	Top       *int   `json:"$top"`
	Skip      *int   `json:"$skip"`
	SkipToken string `json:"$skipToken"`
	Format    string `json:"resultFormat"`
	Scope     string `json:"authorizationScopeFilter"`
}

// page is where an answer begins and how many rows it has.
type page struct {
	From, Rows int
}

// token is what $skipToken holds.
type token struct {
	ID         string `json:"$id"`
	MaxRows    int
	RowsToSkip int
}

const (
	maxRows = 1000 // of an answer
	// patience is how long a query may take.
	patience = 30 * time.Second
	// maxScopes are the subscriptions, and the management groups, that a request may name.
	maxSubscriptions, maxManagementGroups, maxFacets = 1000, 10, 20
)

func (p *Provider) serve(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	body, err := p.answer(ctx, r)
	if failure := new(refusal); errors.As(err, &failure) {
		return failure.response(p.cfg.Clock.Now(), r.CorrelationID), nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return refuse("QueryTimeout", "The query takes longer than "+patience.String()+". Narrow it by a where on type, or by its subscriptions.").response(p.cfg.Clock.Now(), r.CorrelationID), nil
	}
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK, Body: body, Header: http.Header{
		"X-Ms-Ratelimit-Remaining-Tenant-Resource-Requests": {"14"}, "X-Ms-User-Quota-Remaining": {"14"}, "X-Ms-User-Quota-Resets-After": {"00:00:05"},
	}}, nil
}

func (p *Provider) answer(ctx context.Context, r *rp.Request) (any, error) {
	q, err := readRequest(r.Body)
	if err != nil {
		return nil, err
	}
	at, err := q.page()
	if err != nil {
		return nil, err
	}
	asTable, err := q.table(r.Query.Get("api-version"))
	if err != nil {
		return nil, err
	}
	parsed, err := kql.Parse(q.Query, kql.ResourceGraph)
	if err != nil {
		return nil, faultOf(err)
	}
	source, err := p.source(ctx, r, q)
	if err != nil {
		return nil, err
	}
	result, err := parsed.Run(ctx, kql.Options{Source: source, Now: p.cfg.Clock.Now().UTC(), Limits: kql.ResourceGraph})
	if err != nil {
		return nil, faultOf(err)
	}
	if parsed.Takes() && (q.Options == nil || q.Options.SkipToken == "") {
		at.From = 0 // as Azure: $skip says nothing to a query that has its own bound
	}
	total := len(result.Rows)
	rows := result.Rows[min(at.From, total):min(at.From+at.Rows, total)]
	answer := map[string]any{"totalRecords": total, "count": len(rows), "data": data(&kql.Table{Columns: result.Columns, Rows: rows}, asTable), "facets": []any{}, "resultTruncated": "false"}
	if at.From+at.Rows < total {
		if slices.ContainsFunc(result.Columns, func(c kql.Column) bool { return c.Name == "id" }) {
			b, err := json.Marshal(token{"1", at.Rows, at.From + at.Rows})
			if err != nil {
				return nil, err
			}
			answer["$skipToken"] = base64.StdEncoding.EncodeToString(b)
		} else {
			answer["resultTruncated"] = "true" // without ids there are no further pages
		}
	}
	if len(q.Facets) > 0 {
		facets := make([]any, len(q.Facets))
		for i, f := range q.Facets {
			if facets[i], err = f.answer(ctx, result, p.cfg.Clock.Now().UTC(), asTable); err != nil {
				return nil, err
			}
		}
		answer["facets"] = facets
	}
	return answer, nil
}

func readRequest(body []byte) (*queryRequest, error) {
	q := &queryRequest{}
	if err := json.Unmarshal(body, q); err != nil {
		var mistyped *json.UnmarshalTypeError
		if errors.As(err, &mistyped) {
			return nil, refuse("InvalidPayload", fmt.Sprintf("The member '%s' of the request is not of the type %s.", mistyped.Field, mistyped.Type))
		}
		return nil, refuse("InvalidPayload", "The request is not a JSON object with a member 'query'.")
	}
	if q.ManagementGroup != "" {
		q.ManagementGroups = append(q.ManagementGroups, q.ManagementGroup)
	}
	switch {
	case strings.TrimSpace(q.Query) == "":
		return nil, refuse("InvalidQuery", "The query is empty: the request needs the member 'query'.")
	case len(q.Subscriptions) > 0 && len(q.ManagementGroups) > 0:
		return nil, refuse("InvalidPayload", "A request names 'subscriptions' or 'managementGroups', not both.")
	case len(q.Subscriptions) > maxSubscriptions:
		return nil, refuse("TooManySubscriptions", fmt.Sprintf("The request names more than %d subscriptions.", maxSubscriptions))
	case len(q.ManagementGroups) > maxManagementGroups:
		return nil, refuse("TooManyManagementGroups", fmt.Sprintf("The request names more than %d management groups.", maxManagementGroups))
	case len(q.Facets) > maxFacets:
		return nil, refuse("TooManyFacets", fmt.Sprintf("The request has more than %d facets.", maxFacets))
	}
	return q, nil
}

// page reads $top, $skip and $skipToken; the first two say more than the token.
func (q *queryRequest) page() (page, error) {
	at := page{0, maxRows}
	o := q.Options
	if o == nil {
		return at, nil
	}
	if o.SkipToken != "" {
		var t token
		b, err := base64.StdEncoding.DecodeString(o.SkipToken)
		if err != nil || json.Unmarshal(b, &t) != nil || t.RowsToSkip < 0 || t.MaxRows < 1 || t.MaxRows > maxRows {
			return at, refuse("InvalidSkipToken", "The '$skipToken' is not one that this service gave out.")
		}
		at = page{t.RowsToSkip, t.MaxRows}
	}
	if o.Top != nil {
		if *o.Top < 1 || *o.Top > maxRows {
			return at, refuse("InvalidTop", fmt.Sprintf("The option '$top' is %d: it must be from 1 to %d.", *o.Top, maxRows))
		}
		at.Rows = *o.Top
	}
	if o.Skip != nil {
		if *o.Skip < 0 {
			return at, refuse("InvalidSkip", fmt.Sprintf("The option '$skip' is %d: it must not be negative.", *o.Skip))
		}
		at.From = *o.Skip
	}
	return at, nil
}

// table tells the format: objects, but for requests of the first api-versions that do not say.
func (q *queryRequest) table(version string) (bool, error) {
	format := ""
	if q.Options != nil {
		format = q.Options.Format
	}
	switch {
	case strings.EqualFold(format, "table"):
		return true, nil
	case strings.EqualFold(format, "objectArray"):
		return false, nil
	case format == "":
		return version < "2020-04-01-preview", nil
	}
	return false, refuse("InvalidResultFormat", fmt.Sprintf("The option 'resultFormat' is '%s': it must be 'table' or 'objectArray'.", format))
}

// columnTypes are those of the table format (ColumnDataType).
var columnTypes = map[kql.Type]string{kql.String: "string", kql.Long: "integer", kql.Real: "number", kql.Bool: "boolean", kql.Datetime: "datetime", kql.Timespan: "string", kql.Dynamic: "object"}

// data is a table as answers show it: as an array of objects, or as columns and rows.
func data(t *kql.Table, asTable bool) any {
	if !asTable {
		objects := make([]object, len(t.Rows))
		for i, row := range t.Rows {
			objects[i] = object{t.Columns, row}
		}
		return objects
	}
	columns, rows := make([]any, len(t.Columns)), make([][]any, len(t.Rows))
	for i, c := range t.Columns {
		columns[i] = map[string]any{"name": c.Name, "type": columnTypes[c.Type]}
	}
	for i, row := range t.Rows {
		rows[i] = make([]any, len(row))
		for j, v := range row {
			rows[i][j] = kql.Cell(v)
		}
	}
	return map[string]any{"columns": columns, "rows": rows}
}

// object is a row as an object, its members in the order of the columns.
type object struct {
	columns []kql.Column
	row     []any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, c := range o.columns {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(c.Name)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(kql.Cell(o.row[i]))
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// refusal is a request that Resource Graph does not answer.
type refusal struct{ details []map[string]any }

func (r *refusal) Error() string { return fmt.Sprint(r.details) }

func refuse(code, message string) *refusal {
	return &refusal{[]map[string]any{{"code": code, "message": message}}}
}

// faultOf makes of a kql.Fault what Resource Graph answers: InvalidQuery, and what is wrong with it.
func faultOf(err error) error {
	var f *kql.Fault
	if !errors.As(err, &f) {
		return err
	}
	detail := map[string]any{"code": f.Kind, "message": f.Message}
	if f.Line != 0 {
		detail["line"], detail["characterPositionInLine"] = f.Line, f.Column
	}
	if f.Token != "" {
		detail["token"] = f.Token
	}
	if f.Expected != "" {
		detail["expectedToken"] = f.Expected
	}
	return &refusal{[]map[string]any{
		{"code": "InvalidQuery", "message": "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and fix the error before retrying."}, detail,
	}}
}

func (r *refusal) response(now time.Time, correlation string) *rp.Response {
	return &rp.Response{Status: http.StatusBadRequest, Body: map[string]any{"error": map[string]any{
		"code":    "BadRequest",
		"message": fmt.Sprintf("Please provide below info when asking for support: timestamp = %s, correlationId = %s.", now.UTC().Format("2006-01-02T15:04:05.0000000Z"), correlation),
		"details": r.details,
	}}}
}

// subscriptionID makes the id of a subscription that a request names.
func subscriptionID(s string) (arm.ID, error) {
	return arm.ParseID("/subscriptions/" + strings.TrimPrefix(s, "/subscriptions/"))
}
