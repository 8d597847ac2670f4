package insights_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/internal/clock"
	"vauban.dev/metrics"
	"vauban.dev/provider/insights"
)

const metricsAPI = "/providers/Microsoft.Insights/metrics?api-version=2024-02-01"

// measuredRegion has an account, a vault, and what is added to its book.
func measuredRegion(t *testing.T) (*rptest.Region, *metrics.Book, time.Time) {
	t.Helper()
	now := &clock.Region{}
	m := &insights.Metrics{Clock: now, Location: "westeurope"}
	types := append(m.Types(), rp.Of(rp.Type[struct{}]{Name: "Microsoft.Storage/storageAccounts", Versions: rp.Versions[struct{}]("2024-01-01")}))
	r := rptest.New(t, rp.Config{Clock: now}, types...)
	m.Engine, m.Book = r.Engine, metrics.New(r.Store)
	r.Must("PUT", account+"?api-version=2024-01-01", `{"location":"westeurope"}`)
	return r, m.Book, now.Now().Truncate(time.Hour).Add(-time.Hour)
}

func span(from time.Time, d time.Duration) string {
	return "&timespan=" + url.QueryEscape(from.Format(time.RFC3339)+"/"+from.Add(d).Format(time.RFC3339))
}

func TestMetrics(t *testing.T) {
	r, book, from := measuredRegion(t)
	blobs := account + "/blobServices/default"
	for i, api := range []string{"GetBlob", "GetBlob", "PutBlob"} {
		book.Add(blobs, from.Add(time.Duration(i)*time.Minute), metrics.Dimensions{"Primary", api, "OAuth", "Success"},
			metrics.Value{Metric: insights.Transactions, Value: 1}, metrics.Value{Metric: insights.Egress, Value: float64(100 * (i + 1))})
	}
	hour := span(from, time.Hour)

	a := r.Request("GET", account+metricsAPI+hour+"&interval=PT1H&metricnames=Transactions,egress&aggregation=Total,Average,maximum", "")
	if a.Status != 200 || a.String("interval") != "PT1H" || a.String("resourceregion") != "westeurope" || a.String("namespace") != "Microsoft.Storage/storageAccounts" {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	for _, want := range []string{`"total":3`, `"total":600`, `"average":200`, `"maximum":300`, `"metadatavalues":[]`, `"unit":"Bytes"`} {
		if !strings.Contains(a.Text, want) {
			t.Errorf("no %s in %s", want, a.Text)
		}
	}
	a = r.Request("GET", account+metricsAPI+hour+"&metricnames=Transactions&interval=PT1H&$filter="+url.QueryEscape("ApiName eq '*'"), "")
	if got := strings.Count(a.Text, `"metadatavalues":[{`); got != 2 || strings.Index(a.Text, "GetBlob") > strings.Index(a.Text, "PutBlob") {
		t.Errorf("split by operation there are %d series, not 2 with the larger first: %s", got, a.Text)
	}
	a = r.Request("GET", account+metricsAPI+hour+"&metricnames=Transactions&$filter="+url.QueryEscape("ApiName eq 'PutBlob'"), "")
	if got := strings.Count(a.Text, `"total":1`); got != 1 || strings.Count(a.Text, `"timeStamp"`) != 60 {
		t.Errorf("PutBlob's minutes: %s", a.Text)
	}
	a = r.Request("GET", account+metricsAPI+hour+"&metricnames=Transactions&resultType=Metadata&$filter="+url.QueryEscape("ApiName eq '*'"), "")
	if a.Status != 200 || strings.Contains(a.Text, "timeStamp") || !strings.Contains(a.Text, "PutBlob") {
		t.Errorf("metadata: %s", a.Text)
	}
	a = r.Request("GET", account+metricsAPI+span(from.Add(-24*time.Hour), time.Hour)+"&metricnames=Egress&aggregation=average&interval=PT1H", "")
	if a.Status != 200 || strings.Contains(a.Text, `"average"`) || !strings.Contains(a.Text, `"timeStamp"`) {
		t.Errorf("a day before anything was measured: %s", a.Text)
	}
	a = r.Request("GET", account+"/providers/microsoft.insights/metricDefinitions?api-version=2024-02-01", "")
	if !strings.Contains(a.Text, `"UsedCapacity"`) || !strings.Contains(a.Text, `"primaryAggregationType":"Total"`) {
		t.Errorf("definitions: %s", a.Text)
	}
	a = r.Request("GET", account+"/providers/microsoft.insights/metricNamespaces?api-version=2024-02-01", "")
	if !strings.Contains(a.Text, `"metricNamespaceName":"Microsoft.Storage/storageAccounts"`) {
		t.Errorf("namespaces: %s", a.Text)
	}
}

func TestMetricsRefused(t *testing.T) {
	r, _, from := measuredRegion(t)
	long := span(from.AddDate(0, 0, -90), 90*24*time.Hour)
	for what, c := range map[string]struct {
		query  string
		status int
		says   string
	}{
		"an unknown metric":         {"&metricnames=Nope", 400, "Valid metrics: UsedCapacity,Transactions"},
		"an unknown dimension":      {"&metricnames=Egress&$filter=Color%20eq%20'x'", 400, "dimension combination: color"},
		"a broken filter":           {"&metricnames=Egress&$filter=ApiName%20eq", 400, "$filter"},
		"another namespace":         {"&metricnamespace=Microsoft.Compute/virtualMachines", 400, "metricnamespace"},
		"an interval of none":       {"&interval=PT7M", 400, "PT1M,PT5M"},
		"too many points":           {"&interval=PT1M" + long, 400, "coarser"},
		"a coarser one is taken":    {"&interval=PT1M&AutoAdjustTimegrain=true" + long, 200, `"interval":"PT5M"`},
		"the whole time":            {"&interval=FULL" + long, 200, `"interval":"FULL"`},
		"a timespan of nonsense":    {"&timespan=yesterday", 400, "time interval input: yesterday"},
		"one that ends before":      {"&timespan=2026-01-02T00:00:00Z/2026-01-01T00:00:00Z", 400, "ends after its start"},
		"one that is escaped twice": {"&timespan=2026-01-01T00%253A00%253A00Z%252F2026-01-01T01%253A00%253A00Z", 200, `"timespan":"2026-01-01T00:00:00Z/2026-01-01T01:00:00Z"`},
		"an unknown aggregation":    {"&aggregation=Median", 400, "aggregation: 'median'"},
		"no number of series":       {"&top=-1", 400, "top"},
		"an unknown kind of answer": {"&resultType=Picture", 400, "resultType"},
	} {
		if a := r.Request("GET", account+metricsAPI+c.query, ""); a.Status != c.status || !strings.Contains(a.Text, c.says) {
			t.Errorf("%s: %d %.300s", what, a.Status, a.Text)
		}
	}
	if a := r.Request("GET", account+"9"+metricsAPI, ""); a.Status != 404 {
		t.Errorf("an account that is not there: %d %s", a.Status, a.Text)
	}
}
