package odata

import (
	"fmt"
	"slices"
	"strings"
)

// Apply is a $apply: filters and groupings in their order.
type Apply struct{ steps []step }

type step struct {
	filter     Filter
	groupBy    []string
	aggregates []aggregate
}

// aggregate is $count as Name, or Member with countdistinct|max|min|sum as Name.
type aggregate struct{ member, with, as string }

// ParseApply reads a $apply such as
// filter(isCompliant eq false)/groupby((policyAssignmentId), aggregate($count as numStates)).
func ParseApply(s string) (*Apply, error) {
	if len(s) > maxLength {
		return nil, fmt.Errorf("it is longer than %d characters", maxLength)
	}
	a := &Apply{}
	for _, part := range splitTop(s, '/') {
		part = strings.TrimSpace(part)
		open := strings.IndexByte(part, '(')
		if open < 0 || !strings.HasSuffix(part, ")") {
			return nil, fmt.Errorf("'%s' is not a transformation", part)
		}
		inner := part[open+1 : len(part)-1]
		var st step
		var err error
		switch strings.ToLower(strings.TrimSpace(part[:open])) {
		case "filter":
			st.filter, err = ParseFilter(inner, nil)
		case "groupby":
			err = st.parseGroup(inner)
		case "aggregate":
			err = st.parseAggregates(inner)
		default:
			err = fmt.Errorf("there is no transformation '%s'", part[:open])
		}
		if err != nil {
			return nil, err
		}
		a.steps = append(a.steps, st)
	}
	return a, nil
}

// splitTop splits outside of parentheses and texts.
func splitTop(s string, at byte) []string {
	var parts []string
	depth, start, quoted := 0, 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == at && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

func (st *step) parseGroup(inner string) error {
	parts := splitTop(inner, ',')
	members := strings.TrimSpace(parts[0])
	if !strings.HasPrefix(members, "(") || !strings.HasSuffix(members, ")") || len(parts) > 2 {
		return fmt.Errorf("groupby needs its members in parentheses")
	}
	for m := range strings.SplitSeq(members[1:len(members)-1], ",") {
		if m = strings.TrimSpace(m); m != "" {
			st.groupBy = append(st.groupBy, m)
		}
	}
	if len(st.groupBy) == 0 {
		return fmt.Errorf("groupby names no member")
	}
	if len(parts) == 1 {
		return nil
	}
	agg := strings.TrimSpace(parts[1])
	if len(agg) < len("aggregate()") || !strings.EqualFold(agg[:len("aggregate(")], "aggregate(") || !strings.HasSuffix(agg, ")") {
		return fmt.Errorf("'%s' is not aggregate(…)", agg)
	}
	return st.parseAggregates(agg[len("aggregate(") : len(agg)-1])
}

func (st *step) parseAggregates(inner string) error {
	for part := range strings.SplitSeq(inner, ",") {
		f := strings.Fields(part)
		switch {
		case len(f) == 3 && strings.EqualFold(f[0], "$count") && strings.EqualFold(f[1], "as"):
			st.aggregates = append(st.aggregates, aggregate{as: f[2]})
		case len(f) == 5 && strings.EqualFold(f[1], "with") && strings.EqualFold(f[3], "as"):
			with := strings.ToLower(f[2])
			if !slices.Contains([]string{"countdistinct", "max", "min", "sum"}, with) {
				return fmt.Errorf("there is no aggregation '%s'", f[2])
			}
			st.aggregates = append(st.aggregates, aggregate{f[0], with, f[4]})
		default:
			return fmt.Errorf("'%s' is not an aggregation", strings.TrimSpace(part))
		}
	}
	return nil
}

// Values is a row of named values.
type Values map[string]any

// Member looks a value up without regard to case.
func (v Values) Member(name string) (any, bool) {
	if x, ok := v[name]; ok {
		return x, true
	}
	for k, x := range v {
		if strings.EqualFold(k, name) {
			return x, true
		}
	}
	return nil, false
}

// Run applies the transformations.
func (a *Apply) Run(rows []Values) ([]Values, error) {
	for _, st := range a.steps {
		var err error
		if st.filter != nil {
			rows, err = Select(rows, st.filter)
		} else {
			rows, err = st.group(rows)
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Select keeps the rows that match.
func Select(rows []Values, f Filter) ([]Values, error) {
	var out []Values
	for _, r := range rows {
		ok, err := f.Match(r)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, r)
		}
	}
	return out, nil
}

func (st *step) group(rows []Values) ([]Values, error) {
	var order []string
	groups := map[string][]Values{}
	for _, r := range rows {
		var key strings.Builder
		for _, g := range st.groupBy {
			v, ok := r.Member(g)
			if !ok {
				return nil, fmt.Errorf("there is no member '%s'", g)
			}
			key.WriteString(strings.ToLower(Text(v)))
			key.WriteByte(0)
		}
		if groups[key.String()] == nil {
			order = append(order, key.String())
		}
		groups[key.String()] = append(groups[key.String()], r)
	}
	if len(st.groupBy) == 0 && len(order) == 0 { // an aggregate of nothing is one row
		order, groups = []string{""}, map[string][]Values{"": {}}
	}
	var out []Values
	for _, key := range order {
		row := Values{}
		for _, g := range st.groupBy {
			v, _ := groups[key][0].Member(g)
			row[g] = v
		}
		for _, a := range st.aggregates {
			v, err := a.of(groups[key])
			if err != nil {
				return nil, err
			}
			row[a.as] = v
		}
		out = append(out, row)
	}
	return out, nil
}

func (a aggregate) of(rows []Values) (any, error) {
	if a.with == "" {
		return int64(len(rows)), nil
	}
	distinct := map[string]bool{}
	var best any
	sum := 0.0
	for _, r := range rows {
		v, ok := r.Member(a.member)
		if !ok {
			return nil, fmt.Errorf("there is no member '%s'", a.member)
		}
		distinct[strings.ToLower(Text(v))] = true
		if n, ok := asNumber(v); ok {
			sum += n
		}
		if best == nil || a.with == "max" && Compare(v, best) > 0 || a.with == "min" && Compare(v, best) < 0 {
			best = v
		}
	}
	switch a.with {
	case "countdistinct":
		return int64(len(distinct)), nil
	case "sum":
		return sum, nil
	}
	return best, nil
}
