package insights

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/internal/odata"
	"vauban.dev/metrics"
)

// mostPoints is how many intervals a series has at most.
const mostPoints = 50_000

// metricQuery is what a request asks of metrics.
type metricQuery struct {
	from, until  time.Time
	interval     string        // its name; FULL for the whole time
	grain        time.Duration // of the interval
	aggregations []string      // in lower case; none: the metric's primary one
	filter       odata.Filter
	split        []string // dimensions that the filter names
	top          int      // series
	orderby      string   // aggregation, in lower case
	ascending    bool
	metadata     bool // the values of the dimensions alone
}

func badQuery(format string, args ...any) error {
	return arm.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
}

// readQuery reads the parameters of "Metrics - List".
func readQuery(v url.Values, now time.Time) (*metricQuery, error) {
	q := &metricQuery{until: now.Truncate(time.Minute), interval: "PT1M", top: 10}
	q.from = q.until.Add(-time.Hour)
	if span := v.Get("timespan"); span != "" {
		if once, err := url.PathUnescape(span); err == nil { // az escapes it twice
			span = once
		}
		start, end, _ := strings.Cut(span, "/")
		var err error
		if q.from, err = instant(start); err == nil {
			q.until, err = instant(end)
		}
		if err != nil || !q.from.Before(q.until) {
			return nil, badQuery("Invalid time interval input: %s. It is start/end, such as 2024-01-01T00:00:00Z/2024-01-01T01:00:00Z, and ends after its start.", span)
		}
	}
	if asked := v.Get("interval"); asked != "" {
		q.interval = strings.ToUpper(asked)
	}
	if err := q.setGrain(strings.EqualFold(v.Get("AutoAdjustTimegrain"), "true")); err != nil {
		return nil, err
	}
	for a := range strings.SplitSeq(v.Get("aggregation"), ",") {
		if a = strings.ToLower(strings.TrimSpace(a)); a == "" || slices.Contains(q.aggregations, a) {
			continue
		}
		if !slices.Contains([]string{"none", "average", "count", "minimum", "maximum", "total"}, a) {
			return nil, badQuery("aggregation: '%s' is none of Average, Count, Minimum, Maximum and Total.", a)
		}
		q.aggregations = append(q.aggregations, a)
	}
	if t := v.Get("top"); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 {
			return nil, badQuery("top: '%s' is no positive number.", t)
		}
		q.top = n
	}
	by := strings.Fields(strings.ToLower(v.Get("orderby")))
	if len(by) > 0 {
		q.orderby, q.ascending = by[0], len(by) > 1 && by[1] == "asc"
		if q.orderby == "sum" {
			q.orderby = "total"
		}
	}
	switch kind := v.Get("resultType"); strings.ToLower(kind) {
	case "", "data":
	case "metadata":
		q.metadata = true
	default:
		return nil, badQuery("resultType: '%s' is none of Data and Metadata.", kind)
	}
	var err error
	if q.filter, err = odata.ParseFilter(v.Get("$filter"), nil); err != nil {
		return nil, badQuery("$filter: %s.", err)
	}
	for _, name := range odata.Members(q.filter) {
		if !slices.ContainsFunc(q.split, func(s string) bool { return strings.EqualFold(s, name) }) {
			q.split = append(q.split, name)
		}
	}
	return q, nil
}

// instant is a time as clients write it; without a zone it is UTC.
func instant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05.999999999", s)
	}
	return t.UTC().Truncate(time.Second), err
}

// setGrain finds the interval; one that is too fine, or none of Azure's, becomes the next coarser one where the client
// lets it.
func (q *metricQuery) setGrain(adjust bool) error {
	span := q.until.Sub(q.from)
	if q.interval == "FULL" {
		q.grain = span
		return nil
	}
	for _, g := range grains {
		if g.name != q.interval && !(adjust && q.interval == "") {
			continue
		}
		q.grain = g.of
		if int64(span/g.of) < mostPoints {
			q.interval = g.name
			return nil
		}
		if !adjust {
			return badQuery("interval: %s would make more than %d points of the timespan; take a coarser one.", q.interval, mostPoints)
		}
		q.interval = "" // the next coarser one
	}
	if q.grain != 0 {
		return badQuery("timespan: it is longer than what is kept.")
	}
	var names []string
	for _, g := range grains {
		names = append(names, g.name)
	}
	return badQuery("Detected invalid time grain input: %s, supported time grains are: %s.", q.interval, strings.Join(names, ","))
}

// fits says whether a metric has the dimensions that the filter names.
func (q *metricQuery) fits(d *definition) error {
	for _, name := range q.split {
		if !slices.ContainsFunc(d.dimensions, func(s string) bool { return strings.EqualFold(s, name) }) {
			return badQuery("Metric: %s does not support requested dimension combination: %s, supported ones are: %s.", d.name, strings.ToLower(name), strings.Join(d.dimensions, ","))
		}
	}
	return nil
}

// dimensioned is a row of the filter: '*' stands for every value of a dimension.
type dimensioned struct {
	of     *definition
	values metrics.Dimensions
}

type dimension string

// Equal is odata.Equaler.
func (d dimension) Equal(other string) bool {
	return other == "*" || strings.EqualFold(string(d), other)
}

// Member is odata.Row.
func (r dimensioned) Member(name string) (any, bool) {
	for i, own := range r.of.dimensions {
		if strings.EqualFold(own, name) {
			return dimension(r.values[i]), true
		}
	}
	return nil, false
}

// oneSeries are the measurements of which the dimensions that the filter names have the same values.
type oneSeries struct {
	values  []string // of the query's split
	samples map[int64]metrics.Sample
	all     metrics.Sample
}

// series are the answer's timeseries of a metric.
func (q *metricQuery) series(d *definition, points []metrics.Point) ([]any, error) {
	found := map[string]*oneSeries{}
	if len(q.split) == 0 {
		found[""] = &oneSeries{samples: map[int64]metrics.Sample{}}
	}
	for _, p := range points {
		row := dimensioned{d, p.Dimensions}
		in, err := q.filter.Match(row)
		if err != nil {
			return nil, badQuery("$filter: %s.", err)
		}
		if !in {
			continue
		}
		var values []string
		for _, name := range q.split {
			v, _ := row.Member(name)
			values = append(values, string(v.(dimension)))
		}
		key := strings.Join(values, "\x00")
		if found[key] == nil {
			found[key] = &oneSeries{values: values, samples: map[int64]metrics.Sample{}}
		}
		s, at := found[key], int64(p.Minute.Sub(q.from)/q.grain)
		if p.Minute.Before(q.from) {
			at = 0
		}
		sample := s.samples[at]
		sample.Add(p.Sample)
		s.samples[at] = sample
		s.all.Add(p.Sample)
	}
	aggregations := q.aggregations
	if len(aggregations) == 0 || slices.Contains(aggregations, "none") {
		aggregations = []string{strings.ToLower(d.aggregations[0])}
	}
	by := q.orderby
	if by == "" {
		by = aggregations[0]
	}
	order := slices.Sorted(maps.Keys(found))
	slices.SortStableFunc(order, func(a, b string) int {
		x, _ := aggregate(found[a].all, by)
		y, _ := aggregate(found[b].all, by)
		if x == y {
			return 0
		}
		if (x < y) == q.ascending {
			return -1
		}
		return 1
	})
	out := []any{}
	for _, key := range order[:min(q.top, len(order))] {
		out = append(out, q.show(found[key], aggregations))
	}
	return out, nil
}

func (q *metricQuery) show(s *oneSeries, aggregations []string) map[string]any {
	about := []any{}
	for i, name := range q.split {
		about = append(about, map[string]any{"name": localized(strings.ToLower(name), strings.ToLower(name)), "value": s.values[i]})
	}
	if q.metadata {
		return map[string]any{"metadatavalues": about}
	}
	data := []any{}
	for i := int64(0); ; i++ {
		at := q.from.Add(time.Duration(i) * q.grain)
		if !at.Before(q.until) {
			return map[string]any{"metadatavalues": about, "data": data}
		}
		one := map[string]any{"timeStamp": at.Format(time.RFC3339)}
		for _, a := range aggregations {
			if v, ok := aggregate(s.samples[i], a); ok {
				one[a] = v
			}
		}
		data = append(data, one)
	}
}

// aggregate is a sample by the name of an aggregation; ok is false when nothing was measured that it could be of.
func aggregate(s metrics.Sample, name string) (v float64, ok bool) {
	switch name {
	case "total":
		return s.Total, true
	case "count":
		return float64(s.Count), true
	case "minimum":
		return s.Min, s.Count > 0
	case "maximum":
		return s.Max, s.Count > 0
	}
	if s.Count == 0 {
		return 0, false
	}
	return s.Total / float64(s.Count), true
}
