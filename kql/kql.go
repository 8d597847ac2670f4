// Package kql parses and runs queries of the Kusto Query Language as Azure Resource Graph takes them ("Understanding the
// Azure Resource Graph query language"; Kusto's own pages say what each operator and function does). It is pure: a
// Source has the tables. What a query may cost is bounded by Limits.
package kql

import (
	"context"
	"fmt"
	"time"
)

// Kinds of a Fault.
const (
	Syntax      = "ParserFailure"              // the text is no query
	Unsupported = "InvalidQueryLanguage"       // an operator or a function that Resource Graph does not take
	UnknownName = "DisallowedLogicalTableName" // no such table
	Semantic    = "SemanticError"              // a column that is not there, a value of the wrong type
	TooMuch     = "QueryLimitExceeded"         // the query costs more than Limits allow
)

// Fault is what is wrong with a query. Line and Column count from 1 and 0, as Resource Graph's do; Line is 0 where no
// place is to blame.
type Fault struct {
	Kind         string
	Message      string
	Line, Column int
	Token        string // the text that cannot stand there; "<EOF>" at the end
	Expected     string
}

func (f *Fault) Error() string {
	if f.Line == 0 {
		return f.Message
	}
	return fmt.Sprintf("%s (line %d, column %d)", f.Message, f.Line, f.Column)
}

// Type of a column.
type Type uint8

const (
	String Type = iota
	Long
	Real
	Bool
	Datetime
	Timespan
	Dynamic
)

var typeNames = [...]string{"string", "long", "real", "bool", "datetime", "timespan", "dynamic"}

func (t Type) String() string { return typeNames[t] }

// Column of a table.
type Column struct {
	Name string
	Type Type
}

// Table is columns and rows. A cell is nil, string, int64, float64, bool, time.Time, time.Duration, or for Dynamic what
// encoding/json makes, numbers as int64 or float64. Cells are shared: nobody may change what is in them.
type Table struct {
	Columns []Column
	Rows    [][]any
}

// Source has the tables. Rows is asked at most once for each mention of a table; types, if not nil, are the only
// resource types (lower case) whose rows the query can use: a Source may leave out others.
type Source interface {
	// Columns tells the columns of a table; ok is false for one that is not there. Names come as they were written.
	Columns(table string) (columns []Column, ok bool)
	Rows(ctx context.Context, table string, types []string) ([][]any, error)
}

// Limits of a query.
type Limits struct {
	Length int   // bytes of its text
	Depth  int   // of nested expressions
	Steps  int64 // evaluations of an expression's parts
	Bytes  int64 // of what it makes: texts, rows, lists
	Rows   int   // of any table in between
	Joins  int   // join operators, and as many mv-expand and union operators
}

// ResourceGraph are the limits of Resource Graph that its pages name, and such as keep the server alive.
var ResourceGraph = Limits{Length: 64 << 10, Depth: 100, Steps: 200_000_000, Bytes: 512 << 20, Rows: 1_000_000, Joins: 3}

// Options of a run.
type Options struct {
	Source Source
	Now    time.Time // what now() is
	Limits Limits
}

// Query is a parsed query.
type Query struct {
	lets  []let
	main  *pipeline
	limit Limits
}

// Parse reads a query. The error is a *Fault.
func Parse(text string, limits Limits) (*Query, error) {
	if len(text) > limits.Length {
		return nil, &Fault{Kind: TooMuch, Message: fmt.Sprintf("The query has more than %d characters.", limits.Length)}
	}
	p := &parser{limits: limits}
	return p.query(text)
}

// Takes says that the query itself bounds its rows by take or limit.
func (q *Query) Takes() bool {
	for _, o := range q.main.ops {
		if _, ok := o.(*takeOp); ok {
			return true
		}
	}
	return false
}

// Run runs the query. The error is a *Fault, the context's or the Source's.
func (q *Query) Run(ctx context.Context, o Options) (*Table, error) {
	r := &run{ctx: ctx, source: o.Source, now: o.Now, steps: o.Limits.Steps, bytes: o.Limits.Bytes, limits: o.Limits, tables: map[string]*pipeline{}, values: map[string]expr{},
		stages: map[string]*stage{}, known: map[string]*compiled{}, working: map[string]bool{}}
	for _, l := range q.lets {
		if l.table != nil {
			r.tables[l.name] = l.table
		} else {
			r.values[l.name] = l.value
		}
	}
	s, err := q.main.compile(r, 0)
	if err != nil {
		return nil, err
	}
	rows, err := s.rows()
	if err != nil {
		return nil, err
	}
	return &Table{Columns: s.columns, Rows: rows}, nil
}

// run is what a query has while it runs.
type run struct {
	ctx    context.Context
	source Source
	now    time.Time
	limits Limits
	steps  int64
	bytes  int64

	tables  map[string]*pipeline // of let
	values  map[string]expr
	stages  map[string]*stage    // of tables, once they were asked for
	known   map[string]*compiled // of values
	working map[string]bool      // what is being made: it may not ask for itself
}

// spend pays for n evaluations, and looks whether anybody still waits.
func (r *run) spend(n int) error {
	before := r.steps >> 12
	r.steps -= int64(n)
	if r.steps < 0 {
		return &Fault{Kind: TooMuch, Message: "The query needs more evaluations than one query may have."}
	}
	if r.steps>>12 != before {
		return r.ctx.Err()
	}
	return nil
}

// alloc pays for n bytes.
func (r *run) alloc(n int) error {
	if r.bytes -= int64(n); r.bytes < 0 {
		return &Fault{Kind: TooMuch, Message: "The query makes more data than one query may make."}
	}
	return nil
}

func (r *run) tooMany(rows int) error {
	if rows > r.limits.Rows {
		return &Fault{Kind: TooMuch, Message: fmt.Sprintf("The query has more than %d rows in between.", r.limits.Rows)}
	}
	return nil
}
