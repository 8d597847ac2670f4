package resourcegraph

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vauban.dev/kql"
)

// facetRequest asks for counts of the values of columns in the result (FacetRequest).
type facetRequest struct {
	Expression string `json:"expression"`
	Options    *struct {
		SortBy    string `json:"sortBy"`
		SortOrder string `json:"sortOrder"`
		Filter    string `json:"filter"`
		Top       *int   `json:"$top"`
	} `json:"options"`
}

// maxFacetRows are the rows of a facet that does not say how many.
const maxFacetRows = 10

// resultTable is the name under which a facet asks the result.
const resultTable = "result"

// result is the table that facets are of.
type result struct{ table *kql.Table }

func (r result) Columns(string) ([]kql.Column, bool) { return r.table.Columns, true }

func (r result) Rows(context.Context, string, []string) ([][]any, error) { return r.table.Rows, nil }

// answer counts. A facet that cannot be is a FacetError beside the others.
func (f facetRequest) answer(ctx context.Context, of *kql.Table, now time.Time, asTable bool) (any, error) {
	var columns, unknown []string
	for c := range strings.SplitSeq(f.Expression, ",") {
		c = strings.TrimSpace(c)
		name := strings.ReplaceAll(c, ".", "_")
		known := false
		for _, have := range of.Columns {
			if have.Name == c || have.Name == name {
				columns, known = append(columns, have.Name), true
				break
			}
		}
		if !known {
			unknown = append(unknown, c)
		}
	}
	failed := func(details ...map[string]any) any {
		return map[string]any{"expression": f.Expression, "resultType": "FacetError", "errors": details}
	}
	switch {
	case len(columns) == 0:
		return failed(map[string]any{"code": "NoValidColumns", "message": "No valid columns in facet expression."},
			map[string]any{"code": "InvalidColumnNames", "message": fmt.Sprintf("Invalid column names: [%s].", strings.Join(unknown, ", "))}), nil
	case len(unknown) > 0:
		return failed(map[string]any{"code": "InvalidColumnNames", "message": fmt.Sprintf("Invalid column names: [%s].", strings.Join(unknown, ", "))}), nil
	}
	top := maxFacetRows
	query, sortBy, direction := resultTable, "['count']", "desc"
	if o := f.Options; o != nil {
		if o.Filter != "" {
			query += " | where " + o.Filter
		}
		if o.SortBy != "" {
			sortBy = o.SortBy
		}
		if strings.EqualFold(o.SortOrder, "asc") {
			direction = "asc"
		}
		if o.Top != nil {
			if *o.Top < 1 || *o.Top > maxRows {
				return failed(map[string]any{"code": "InvalidTop", "message": fmt.Sprintf("The option '$top' is %d: it must be from 1 to %d.", *o.Top, maxRows)}), nil
			}
			top = *o.Top
		}
	}
	keys := make([]string, len(columns))
	for i, c := range columns {
		keys[i] = fmt.Sprintf("['%s']", quoted(c))
		for _, have := range of.Columns {
			if have.Name == c && have.Type == kql.Dynamic { // counted by what it says
				keys[i] = fmt.Sprintf("['%s'] = tostring(['%s'])", quoted(c), quoted(c))
			}
		}
	}
	query += " | summarize ['count'] = count() by " + strings.Join(keys, ", ") + " | order by " + sortBy + " " + direction
	parsed, err := kql.Parse(query, kql.ResourceGraph)
	var counted *kql.Table
	if err == nil {
		counted, err = parsed.Run(ctx, kql.Options{Source: result{of}, Now: now, Limits: kql.ResourceGraph})
	}
	var fault *kql.Fault
	if errors.As(err, &fault) {
		return failed(map[string]any{"code": fault.Kind, "message": fault.Error()}), nil
	}
	if err != nil {
		return nil, err
	}
	shown := &kql.Table{Columns: counted.Columns, Rows: counted.Rows[:min(top, len(counted.Rows))]}
	return map[string]any{"expression": f.Expression, "resultType": "FacetResult", "totalRecords": len(counted.Rows), "count": len(shown.Rows), "data": data(shown, asTable)}, nil
}

func quoted(name string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name) }
