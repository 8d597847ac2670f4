package kql

// expr is a scalar expression; at is where it stands.
type expr interface{ pos() place }

type place struct{ line, column int }

func (p place) pos() place { return p }

func (p place) fault(kind, message string) *Fault {
	return &Fault{Kind: kind, Message: message, Line: p.line, Column: p.column}
}

type (
	literal struct {
		place
		value any
		typ   Type
	}
	name struct {
		place
		name string
	}
	member struct { // x.name, x['name']
		place
		of   expr
		name string
	}
	element struct { // x[i]
		place
		of, index expr
	}
	unary struct {
		place
		op string
		x  expr
	}
	binary struct {
		place
		op   string
		l, r expr
	}
	among struct { // x in (…), has_any, has_all
		place
		op   string
		x    expr
		list []expr
		from *pipeline // instead of the list: the first column of a table
	}
	between struct {
		place
		x, low, high expr
		not          bool
	}
	call struct {
		place
		name string
		args []expr
		star bool // the last argument of arg_max and arg_min is *
	}
)

// named is an expression with the name of the column that it makes, "" for none given.
type named struct {
	name string
	expr expr
}

type sortKey struct {
	expr       expr
	descending bool
	nullsFirst bool
}

// let is a name for a table or a value.
type let struct {
	name  string
	table *pipeline
	value expr
}

// pipeline is a source and what is done to its rows.
type pipeline struct {
	place
	table string    // its name
	inner *pipeline // or another in brackets
	union *unionOp  // or a union at the beginning
	print []named   // or the cells of one row
	ops   []operator
}

// pattern is a part of the parse operator.
type pattern struct {
	text string // a text that stands there
	star bool   // anything
	name string // a column that takes what stands there
	typ  Type
}

type (
	whereOp     struct{ cond expr }
	projectOp   struct{ columns []named }
	awayOp      struct{ globs []name }
	keepOp      struct{ globs []name }
	reorderOp   struct{ globs []name }
	renameOp    struct{ columns []named }
	extendOp    struct{ columns []named }
	summarizeOp struct {
		place
		aggregates, keys []named
	}
	sortOp struct{ keys []sortKey }
	takeOp struct{ count expr }
	topOp  struct {
		count expr
		key   sortKey
	}
	distinctOp struct {
		place
		columns []named
		all     bool
	}
	countOp  struct{}
	expandOp struct {
		place
		columns []named
		types   []*Type
		limit   int
		index   string
	}
	parseOp struct {
		place
		of       expr
		patterns []pattern
		kind     string // simple, relaxed, regex
		where    bool
	}
	joinOp struct {
		place
		kind  string
		right *pipeline
		on    []joinKey
	}
	unionOp struct {
		place
		kind       string
		withSource string
		fuzzy      bool // tables that are not there are left out
		legs       []*pipeline
	}
)

type joinKey struct{ left, right expr }
