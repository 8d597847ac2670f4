package mlflow

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/ml"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

const (
	defaultPage = 1000
	maxPage     = 50000
)

// paginate cuts a page out of all; the token is the position to go on at.
func paginate[T any](all []T, max int, token string) (page []T, next string, err error) {
	at, size, err := bounds(max, token)
	if err != nil {
		return nil, "", err
	}
	all = all[min(at, len(all)):]
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(at + size))), nil
}

// bounds is where a page starts and how long it may be.
func bounds(max int, token string) (at, size int, err error) {
	if max <= 0 {
		max = defaultPage
	}
	if max > maxPage {
		return 0, 0, invalid(fmt.Sprintf("max_results is at most %d.", maxPage))
	}
	if token == "" {
		return 0, max, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		at, err = strconv.Atoi(string(b))
	}
	if err != nil || at < 0 || at > math.MaxInt32 {
		return 0, 0, invalid("page_token is not one that the workspace gave.")
	}
	return at, max, nil
}

// filter is MLflow's search syntax: clauses joined by AND, each a key, a comparison and a constant
// (https://mlflow.org/docs/latest/search-runs.html).
type filter []clause

// names is a set of attributes.
type names map[string]bool

func nameSet(list ...string) names {
	n := names{}
	for _, s := range list {
		n[s] = true
	}
	return n
}

var (
	runAttributes        = nameSet("run_id", "run_uuid", "status", "run_name", "run name", "name", "user_id", "start_time", "created", "end_time")
	experimentAttributes = nameSet("name", "creation_time", "last_update_time")
	modelAttributes      = nameSet("name")
	versionAttributes    = nameSet("name", "run_id", "version_number", "source_path")
	datasetAttributes    = nameSet("name", "digest", "context")
	// numeric are the attributes that are numbers: versions, and times and durations in milliseconds.
	numeric = nameSet("start_time", "end_time", "created", "creation_time", "last_update_time", "creation_timestamp", "last_updated_timestamp",
		"last_updated_time", "timestamp", "timestamp_ms", "execution_time", "execution_time_ms", "version_number")
)

type clause struct {
	kind, key string // attributes, metrics, params, tags, datasets, metadata
	op        string
	text      string
	number    float64
	list      []string
	match     *regexp.Regexp
}

var clauseForm = regexp.MustCompile("(?is)^\\s*(?:(\\w+)\\.)?(?:`([^`]+)`|\"([^\"]+)\"|([\\w./ -]+?))\\s*(!=|>=|<=|=|>|<|\\bNOT\\s+IN\\b|\\bIN\\b|\\bILIKE\\b|\\bLIKE\\b|\\bIS\\s+NOT\\s+NULL\\b|\\bIS\\s+NULL\\b)\\s*(.*?)\\s*$")

// parseFilter reads a filter over objects that have these attributes.
func parseFilter(text string, attributes names) (filter, error) {
	var f filter
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for _, part := range splitAnd(text) {
		m := clauseForm.FindStringSubmatch(part)
		if m == nil {
			return nil, invalid("Invalid clause in filter string: '" + part + "'.")
		}
		c := clause{kind: strings.ToLower(m[1]), key: m[2] + m[3] + m[4], op: strings.ToUpper(strings.Join(strings.Fields(m[5]), " "))}
		if c.kind = kindOf(m[1]); c.kind == "" {
			return nil, invalid("Invalid entity type '" + m[1] + "' in the filter.")
		}
		if c.kind == "datasets" && !datasetAttributes[c.key] {
			return nil, invalid("Invalid dataset key '" + c.key + "' specified. Valid keys are " + strings.Join(sortedKeys(datasetAttributes), ", ") + ".")
		}
		if c.kind == "attributes" {
			if c.key = strings.ToLower(c.key); !attributes[c.key] {
				return nil, invalid("Invalid attribute key '" + c.key + "' in the filter. Valid keys are " + strings.Join(sortedKeys(attributes), ", ") + ".")
			}
		}
		if err := c.constant(m[6]); err != nil {
			return nil, err
		}
		f = append(f, c)
	}
	return f, nil
}

// kindOf is what a name before the dot of a key stands for; "" for one that stands for nothing.
func kindOf(entity string) string {
	switch strings.ToLower(entity) {
	case "", "attribute", "attributes", "attr", "run", "trace":
		return "attributes"
	case "metric", "metrics":
		return "metrics"
	case "param", "params", "parameter", "parameters":
		return "params"
	case "tag", "tags":
		return "tags"
	case "dataset", "datasets":
		return "datasets"
	case "metadata", "request_metadata", "trace_metadata":
		return "metadata"
	}
	return ""
}

// splitAnd splits at AND outside of quotes.
func splitAnd(s string) (parts []string) {
	start := 0
	outside(s, func(i int) {
		if i >= start && i+5 <= len(s) && space(s[i]) && space(s[i+4]) && strings.EqualFold(s[i+1:i+4], "and") {
			parts = append(parts, s[start:i])
			start = i + 4
		}
	})
	return append(parts, s[start:])
}

func space(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// outside calls f for the bytes of s that are outside of quotes.
func outside(s string, f func(i int)) {
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch {
		case quote != 0:
			if s[i] == quote {
				quote = 0
			}
		case s[i] == '\'' || s[i] == '"' || s[i] == '`':
			quote = s[i]
		default:
			f(i)
		}
	}
}

// splitList splits a list at commas outside of quotes.
func splitList(s string) (items []string) {
	start := 0
	outside(s, func(i int) {
		if s[i] == ',' {
			items = append(items, s[start:i])
			start = i + 1
		}
	})
	return append(items, s[start:])
}

// unquote is the text between quotes; ok is false for what is not one quoted text.
func unquote(s string) (text string, ok bool) {
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != '\'' && s[0] != '"' || s[len(s)-1] != s[0] {
		return s, false
	}
	text = s[1 : len(s)-1]
	return text, strings.IndexByte(text, s[0]) < 0
}

// constant reads what a clause compares with.
func (c *clause) constant(s string) error {
	number := c.kind == "metrics" || c.kind == "attributes" && numeric[c.key]
	switch c.op {
	case "IS NULL", "IS NOT NULL":
		if c.kind != "tags" && c.kind != "params" {
			return invalid(c.op + " is for tags and params, not for '" + c.key + "'.")
		}
		if s != "" {
			return invalid(c.op + " is followed by '" + s + "'.")
		}
		return nil
	case "IN", "NOT IN":
		if number {
			return invalid("IN is for texts, and " + c.key + " is a number.")
		}
		return c.members(s)
	case "LIKE", "ILIKE":
		if number {
			return invalid(c.op + " is for texts, and " + c.key + " is a number.")
		}
	}
	if number {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return invalid("Expected numeric value type for " + c.key + ", found " + s + ".")
		}
		c.number = n
		return nil
	}
	var ok bool
	if c.text, ok = unquote(s); !ok {
		return invalid("Expected a quoted string value for " + c.key + ", found " + s + ".")
	}
	if c.op != "LIKE" && c.op != "ILIKE" {
		return nil
	}
	p := strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(c.text))
	if c.op == "ILIKE" {
		p = "(?i)" + p
	}
	var err error
	if c.match, err = regexp.Compile("(?s)^" + p + "$"); err != nil {
		return invalid("The pattern '" + c.text + "' cannot be used.")
	}
	return nil
}

// members reads the list of IN.
func (c *clause) members(s string) error {
	inner, open := strings.CutPrefix(s, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !open || !closed {
		return invalid("IN needs a list in parentheses.")
	}
	for _, v := range splitList(inner) {
		text, ok := unquote(v)
		if !ok {
			return invalid("Expected quoted string values in the list of " + c.key + ", found " + v + ".")
		}
		c.list = append(c.list, text)
	}
	return nil
}

func (c *clause) holds(text string, there bool) bool {
	switch c.op {
	case "IS NULL":
		return !there
	case "IS NOT NULL":
		return there
	}
	if !there {
		return false
	}
	switch c.op {
	case "=":
		return text == c.text
	case "!=":
		return text != c.text
	case "LIKE", "ILIKE":
		return c.match.MatchString(text)
	case "IN":
		return slices.Contains(c.list, text)
	case "NOT IN":
		return !slices.Contains(c.list, text)
	}
	return ordered(c.op, cmp.Compare(text, c.text))
}

func ordered(op string, d int) bool {
	switch op {
	case "=":
		return d == 0
	case "!=":
		return d != 0
	case ">":
		return d > 0
	case ">=":
		return d >= 0
	case "<":
		return d < 0
	case "<=":
		return d <= 0
	}
	return false
}

func (f filter) run(r *ml.Run) bool {
	for i := range f {
		c := &f[i]
		ok := false
		switch c.kind {
		case "metrics":
			m, there := r.Metrics[c.key]
			ok = there && ordered(c.op, cmp.Compare(float64(m.Value), c.number))
		case "params":
			v, there := r.Params[c.key]
			ok = c.holds(v, there)
		case "tags":
			v, there := runTag(r, c.key)
			ok = c.holds(v, there)
		case "datasets":
			ok = c.inDataset(r)
		case "attributes":
			ok = c.attribute(r)
		}
		if !ok {
			return false
		}
	}
	return true
}

// runTag is a tag of a run as clients are shown it.
func runTag(r *ml.Run, key string) (string, bool) {
	if v, there := r.Tags[key]; there {
		return v, true
	}
	v := ""
	switch key {
	case "mlflow.runName":
		v = r.Name
	case "mlflow.user":
		v = r.User.Name
	case "mlflow.rootRunId":
		v = r.ID
	case "mlflow.parentRunId":
		v = r.Parent
	}
	return v, v != ""
}

func (c *clause) attribute(r *ml.Run) bool {
	switch c.key {
	case "run_id", "run_uuid":
		return c.holds(r.ID, true)
	case "status":
		return c.holds(showStatus(r.Status), true)
	case "run_name", "run name", "name":
		return c.holds(r.Name, true)
	case "user_id":
		return c.holds(r.User.Name, true)
	case "start_time", "created":
		return ordered(c.op, cmp.Compare(float64(millis(r.Started)), c.number))
	case "end_time":
		return ordered(c.op, cmp.Compare(float64(millis(r.Ended)), c.number))
	}
	return false
}

func (f filter) experiment(e *ml.Experiment) bool {
	for i := range f {
		if !f[i].experiment(e) {
			return false
		}
	}
	return true
}

func (c *clause) experiment(e *ml.Experiment) bool {
	switch {
	case c.kind == "tags":
		v, there := e.Tags[c.key]
		return c.holds(v, there)
	case c.kind != "attributes":
		return false
	}
	switch c.key {
	case "name":
		return c.holds(e.Name, true)
	case "creation_time":
		return ordered(c.op, cmp.Compare(float64(millis(e.Created)), c.number))
	case "last_update_time":
		return ordered(c.op, cmp.Compare(float64(millis(e.Modified)), c.number))
	}
	return false
}

var orderForm = regexp.MustCompile("(?i)^\\s*(?:(\\w+)\\.)?(?:`([^`]+)`|\"([^\"]+)\"|(\\S+))(?:\\s+(ASC|DESC))?\\s*$")

// orderTerm is one clause of order_by. value says what one is ordered by, a number or a text, and whether it has it.
type orderTerm[T any] struct {
	value func(T) (number float64, text string, ok bool)
	desc  bool
}

// orderBy is what a key of a kind (as in clause) orders by; nil when nothing is ordered by that.
type orderBy[T any] func(kind, key string) func(T) (number float64, text string, ok bool)

func parseOrderTerm[T any](s string, by orderBy[T]) (t orderTerm[T], err error) {
	m := orderForm.FindStringSubmatch(s)
	if m == nil {
		return t, invalid("Invalid order_by clause '" + s + "'.")
	}
	t.desc = strings.EqualFold(m[5], "DESC")
	key, kind := m[2]+m[3]+m[4], kindOf(m[1])
	if kind == "attributes" {
		key = strings.ToLower(key)
	}
	if t.value = by(kind, key); t.value == nil {
		err = invalid("Invalid order_by key '" + s + "'.")
	}
	return t, err
}

func runOrder(kind, key string) func(*ml.Run) (float64, string, bool) {
	switch kind {
	case "metrics":
		return func(r *ml.Run) (float64, string, bool) { v, ok := r.Metrics[key]; return float64(v.Value), "", ok }
	case "params":
		return func(r *ml.Run) (float64, string, bool) { v, ok := r.Params[key]; return 0, v, ok }
	case "tags":
		return func(r *ml.Run) (float64, string, bool) { v, ok := runTag(r, key); return 0, v, ok }
	case "attributes":
		return attributeOrder(key)
	}
	return nil
}

func experimentOrder(kind, key string) func(*ml.Experiment) (float64, string, bool) {
	switch {
	case kind != "attributes":
	case key == "name":
		return func(e *ml.Experiment) (float64, string, bool) { return 0, e.Name, true }
	case key == "experiment_id":
		return func(e *ml.Experiment) (float64, string, bool) { return 0, e.ID, true }
	case key == "creation_time":
		return func(e *ml.Experiment) (float64, string, bool) { return float64(millis(e.Created)), "", true }
	case key == "last_update_time":
		return func(e *ml.Experiment) (float64, string, bool) { return float64(millis(e.Modified)), "", true }
	}
	return nil
}

func attributeOrder(key string) func(*ml.Run) (float64, string, bool) {
	switch key {
	case "start_time", "created":
		return func(r *ml.Run) (float64, string, bool) { return float64(millis(r.Started)), "", true }
	case "end_time":
		return func(r *ml.Run) (float64, string, bool) { return float64(millis(r.Ended)), "", !r.Ended.IsZero() }
	case "status":
		return func(r *ml.Run) (float64, string, bool) { return 0, showStatus(r.Status), true }
	case "run_name", "run name", "name":
		return func(r *ml.Run) (float64, string, bool) { return 0, r.Name, true }
	case "user_id":
		return func(r *ml.Run) (float64, string, bool) { return 0, r.User.Name, true }
	case "run_id", "run_uuid":
		return func(r *ml.Run) (float64, string, bool) { return 0, r.ID, true }
	case "artifact_uri":
		return func(r *ml.Run) (float64, string, bool) { return 0, r.ExperimentID + "/" + r.ID, true }
	}
	return nil
}

// parseOrder returns the comparison of order_by; what lacks a value comes last, as in MLflow. What is equal stays as it stands.
func parseOrder[T any](by []string, of orderBy[T]) (func(a, b T) int, error) {
	var terms []orderTerm[T]
	for _, o := range by {
		t, err := parseOrderTerm(o, of)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	return func(a, b T) int {
		for _, t := range terms {
			an, as, aok := t.value(a)
			bn, bs, bok := t.value(b)
			if aok != bok {
				if aok {
					return -1
				}
				return 1
			}
			d := cmp.Or(compareNumbers(an, bn), cmp.Compare(as, bs))
			if t.desc && !math.IsNaN(an) && !math.IsNaN(bn) {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	}, nil
}

// parseRunOrder is parseOrder for runs; those that are equal come the newest first.
func parseRunOrder(by []string) (func(a, b *ml.Run) int, error) {
	order, err := parseOrder(by, runOrder)
	return func(a, b *ml.Run) int {
		return cmp.Or(order(a, b), b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	}, err
}

// compareNumbers orders NaN behind all numbers, as MLflow does.
func compareNumbers(a, b float64) int {
	if math.IsNaN(a) || math.IsNaN(b) {
		return -cmp.Compare(a, b)
	}
	return cmp.Compare(a, b)
}
