package ml

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"vauban.dev/store"
)

// Types of columns, as SDK v1 names them. None is that of a column with cells that have no value.
const (
	Int      = "int"
	Double   = "double"
	String   = "string"
	Bool     = "bool"
	Artifact = "artifact"
	None     = "none"
)

// Table is a metric that is not a series of numbers: rows of several columns, texts, places of artifacts.
type Table struct {
	Type    string            `json:"type"`    // what the client calls it: azureml.v1.table, azureml.v2.image …
	Columns map[string]string `json:"columns"` // name → type
}

// Row is one row of a table. Columns that it lacks have no value.
type Row struct {
	Table     string                     `json:"table"`
	Timestamp int64                      `json:"timestamp"` // milliseconds since 1970, the client's
	Step      int64                      `json:"step,omitempty"`
	Data      map[string]json.RawMessage `json:"data"`
}

// SetTable makes room for rows of these columns in a table of the run, which it makes when it is missing: a column that not all
// rows have becomes None, and one of integers takes other numbers. ErrImmutable when the metric is of another form.
func (r *Run) SetTable(name string, t Table) error {
	if _, ok := r.Metrics[name]; ok {
		return fmt.Errorf("%w: metric '%s' of run %s is a series of numbers", ErrImmutable, name, r.ID)
	}
	old, ok := r.Tables[name]
	if !ok {
		old = Table{t.Type, maps.Clone(t.Columns)}
	}
	if old.Type != t.Type {
		return fmt.Errorf("%w: metric '%s' of run %s is %s, not %s", ErrImmutable, name, r.ID, old.Type, t.Type)
	}
	columns := map[string]string{}
	for c, typ := range t.Columns {
		columns[c] = None
		if was, ok := old.Columns[c]; ok {
			if columns[c] = common(was, typ); columns[c] == "" {
				return fmt.Errorf("%w: column '%s' of metric '%s' of run %s is %s, not %s", ErrImmutable, c, name, r.ID, was, typ)
			}
		}
	}
	for c := range old.Columns {
		if _, ok := columns[c]; !ok {
			columns[c] = None
		}
	}
	if r.Tables == nil {
		r.Tables = map[string]Table{}
	}
	r.Tables[name] = Table{t.Type, columns}
	return nil
}

// common is the type of a column that had one and gets another; "" when there is none.
func common(a, b string) string {
	number := func(t string) bool { return t == Int || t == Double }
	switch {
	case a == b:
		return a
	case a == None || b == None:
		return None
	case number(a) && number(b):
		return Double
	}
	return ""
}

// appendRows writes rows as one document.
func appendRows(tx store.Tx, ws string, r *Run, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	r.Batches++
	return put(tx, kindRow, batchKey(ws, r), rows)
}

// Rows returns the rows of a table of a run in the order they were logged.
func (s *Store) Rows(ctx context.Context, ws, runID, table string) ([]Row, error) {
	return scanBatches(ctx, s.db, kindRow, key(ws, runID, ""), func(r *Row) bool { return r.Table == table })
}

// ColumnType is the type of a column that a client names so; "" when there is none of that name.
func ColumnType(name string) string {
	switch name = strings.ToLower(name); name {
	case Int, Double, String, Bool, Artifact, None:
		return name
	case "float":
		return Double
	}
	return ""
}
