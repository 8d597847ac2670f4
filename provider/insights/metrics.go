package insights

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/clock"
	"vauban.dev/metrics"
)

var (
	metricVersions    = []string{"2018-01-01", "2019-07-01", "2021-05-01", "2023-10-01", "2024-02-01"}
	namespaceVersions = []string{"2017-12-01-preview", "2024-02-01"}
)

// grains are the intervals into which measurements may be put together, by their names.
var grains = []struct {
	name string
	of   time.Duration
}{
	{"PT1M", time.Minute}, {"PT5M", 5 * time.Minute}, {"PT15M", 15 * time.Minute}, {"PT30M", 30 * time.Minute},
	{"PT1H", time.Hour}, {"PT6H", 6 * time.Hour}, {"PT12H", 12 * time.Hour}, {"P1D", 24 * time.Hour},
}

// Metrics answers for what a region measures ("Metrics - List", "Metric Definitions - List", "Metric Namespaces - List").
type Metrics struct {
	Engine   *rp.Engine
	Book     *metrics.Book
	Clock    clock.Clock
	Location string // of the region
}

// Types are the routes of every resource.
func (m *Metrics) Types() []rp.Registration {
	var routes []rp.Route
	const resource = "/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}"
	for _, scope := range []string{resource, resource + "/{type2}/{name2}"} {
		at := scope + "/providers/Microsoft.Insights/"
		routes = append(routes,
			rp.Route{Method: http.MethodGet, Pattern: at + "metrics", Permission: "Microsoft.Insights/metrics/read", Versions: metricVersions, Serve: m.list},
			rp.Route{Method: http.MethodGet, Pattern: at + "metricDefinitions", Permission: "Microsoft.Insights/metricDefinitions/read", Versions: metricVersions, Do: listDefinitions},
			rp.Route{Method: http.MethodGet, Pattern: at + "metricNamespaces", Permission: "Microsoft.Insights/metricNamespaces/read", Versions: namespaceVersions, Do: listNamespaces})
	}
	return []rp.Registration{rp.Routes(routes...)}
}

func localized(value, shown string) map[string]any {
	return map[string]any{"value": value, "localizedValue": shown}
}

func listDefinitions(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	scope, _, err := scopeOf(tx, path)
	if err != nil {
		return nil, err
	}
	if err := ownNamespace(scope, query["metricnamespace"]); err != nil {
		return nil, err
	}
	value := []any{}
	for _, d := range definitions[scope.Type().Key()] {
		value = append(value, d.show(scope))
	}
	return map[string]any{"value": value}, nil
}

func (d *definition) show(scope arm.ID) map[string]any {
	var available, dimensions []any
	for _, g := range grains {
		if d.category != "Capacity" || g.of >= time.Hour { // which Azure measures by the hour
			available = append(available, map[string]any{"timeGrain": g.name, "retention": "P93D"})
		}
	}
	for _, name := range d.dimensions {
		dimensions = append(dimensions, localized(name, name))
	}
	out := map[string]any{
		"id": scope.String() + "/providers/microsoft.insights/metricdefinitions/" + d.name, "resourceId": scope.String(), "namespace": scope.Type().String(),
		"name": localized(d.name, d.shown), "displayDescription": d.about, "isDimensionRequired": false, "unit": d.unit,
		"primaryAggregationType": d.aggregations[0], "supportedAggregationTypes": d.aggregations, "metricAvailabilities": available,
	}
	if d.category != "" {
		out["category"] = d.category
	}
	if len(dimensions) > 0 {
		out["dimensions"] = dimensions
	}
	return out
}

func listNamespaces(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	scope, _, err := scopeOf(tx, path)
	if err != nil {
		return nil, err
	}
	value := []any{}
	if kind := scope.Type().String(); len(definitions[scope.Type().Key()]) > 0 {
		value = append(value, map[string]any{
			"id": scope.String() + "/providers/microsoft.insights/metricNamespaces/" + kind, "type": "Microsoft.Insights/metricNamespaces", "name": kind,
			"classification": "Platform", "properties": map[string]any{"metricNamespaceName": kind},
		})
	}
	return map[string]any{"value": value}, nil
}

// ownNamespace refuses metrics that are of another type than the resource: custom ones are not taken in.
func ownNamespace(scope arm.ID, named string) error {
	if named == "" || strings.EqualFold(named, scope.Type().String()) {
		return nil
	}
	return arm.Errorf(http.StatusBadRequest, "BadRequest", "metricnamespace: '%s' has no metrics of namespace '%s'; its own is '%s'.", scope, named, scope.Type())
}

// list is GET {resource}/providers/Microsoft.Insights/metrics.
func (m *Metrics) list(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	var scope arm.ID
	err := m.Engine.View(ctx, func(tx *rp.Tx) (err error) {
		scope, _, err = scopeOf(tx, path)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := ownNamespace(scope, r.Query.Get("metricnamespace")); err != nil {
		return nil, err
	}
	q, err := readQuery(r.Query, m.Clock.Now())
	if err != nil {
		return nil, err
	}
	all := definitions[scope.Type().Key()]
	chosen, err := choose(scope, all, r.Query.Get("metricnames"))
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, d := range chosen {
		if err := q.fits(d); err != nil {
			return nil, err
		}
		points, err := m.Book.Read(ctx, scope.String(), d.name, q.from, q.until)
		if err != nil {
			return nil, err
		}
		series, err := q.series(d, points)
		if err != nil {
			return nil, err
		}
		value = append(value, map[string]any{
			"id": scope.String() + "/providers/Microsoft.Insights/metrics/" + d.name, "type": "Microsoft.Insights/metrics", "name": localized(d.name, d.shown),
			"displayDescription": d.about, "unit": d.unit, "timeseries": series, "errorCode": "Success",
		})
	}
	body := map[string]any{
		"timespan": q.from.Format(time.RFC3339) + "/" + q.until.Format(time.RFC3339), "interval": q.interval, "value": value,
		"namespace": scope.Type().String(), "resourceregion": m.Location,
	}
	if !q.metadata {
		body["cost"] = max(int(q.until.Sub(q.from)/time.Minute)*len(chosen)-1, 0)
	}
	return &rp.Response{Status: http.StatusOK, Body: body}, nil
}

// choose are the definitions that are named, the first one when none is.
func choose(scope arm.ID, all []definition, names string) ([]*definition, error) {
	if strings.TrimSpace(names) == "" {
		if len(all) == 0 {
			return nil, nil
		}
		return []*definition{&all[0]}, nil
	}
	var out []*definition
	for name := range strings.SplitSeq(names, ",") {
		d := find(all, strings.TrimSpace(strings.ReplaceAll(name, "%2", ",")))
		if d == nil {
			var valid []string
			for _, v := range all {
				valid = append(valid, v.name)
			}
			_, kind, _ := strings.Cut(scope.Type().String(), "/")
			return nil, arm.Errorf(http.StatusBadRequest, "BadRequest", "Failed to find metric configuration for provider: %s, resource Type: %s, metric: %s, Valid metrics: %s",
				scope.Namespace(), kind, strings.TrimSpace(name), strings.Join(valid, ","))
		}
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	if len(out) > 20 {
		return nil, arm.Errorf(http.StatusBadRequest, "BadRequest", "metricnames: %d metrics are asked for; one request takes 20.", len(out))
	}
	return out, nil
}
