package metrics_test

import (
	"path/filepath"
	"testing"
	"time"

	"vauban.dev/metrics"
	"vauban.dev/store/sqlite"
)

func TestBook(t *testing.T) {
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, ctx := metrics.New(db), t.Context()
	at := time.Date(2026, 1, 2, 3, 59, 30, 0, time.UTC)
	get, put := metrics.Dimensions{"get"}, metrics.Dimensions{"put"}
	b.Add("/A/services/default", at, get, metrics.Value{Metric: "n", Value: 2})
	b.Add("/a/services/default", at.Add(10*time.Second), get, metrics.Value{Metric: "n", Value: 4})
	sums := func(when, resource string, want int, total float64) {
		t.Helper()
		points, err := b.Read(ctx, resource, "n", at.Add(-time.Minute), at.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		var all metrics.Sample
		for _, p := range points {
			all.Add(p.Sample)
		}
		if len(points) != want || all.Total != total {
			t.Fatalf("%s, of %s: %d points with a total of %v, not %d with %v: %+v", when, resource, len(points), all.Total, want, total, points)
		}
	}
	sums("before they are written", "/a", 1, 6)
	sums("before they are written", "/a/services/DEFAULT", 1, 6)
	sums("before they are written", "/a/services/def", 0, 0)
	for range 2 {
		if err := b.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	sums("written", "/a", 1, 6)
	b.Add("/a/services/default", at, get, metrics.Value{Metric: "n", Value: 1})
	b.Add("/a/services/default", at, put, metrics.Value{Metric: "n", Value: 1})
	b.Add("/a/services/default", at.Add(time.Minute), get, metrics.Value{Metric: "n", Value: 1}, metrics.Value{Metric: "other", Value: 100})
	if err := b.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	sums("an hour written twice, and the next", "/a", 3, 9)
	b = metrics.New(db)
	sums("after a restart", "/a", 3, 9)
	points, err := b.Read(ctx, "/a", "n", at.Truncate(time.Minute), at.Truncate(time.Minute).Add(time.Minute))
	if err != nil || len(points) != 2 {
		t.Fatalf("a minute has %d points, not 2: %+v, %v", len(points), points, err)
	}
	for _, p := range points {
		if p.Dimensions == get && p.Sample != (metrics.Sample{Count: 3, Total: 7, Min: 1, Max: 4}) {
			t.Errorf("the sample is %+v", p.Sample)
		}
	}
	if err := b.Forget(ctx, at.Add(metrics.Keep)); err != nil {
		t.Fatal(err)
	}
	sums("what is just kept", "/a", 1, 1)
	if err := b.Forget(ctx, at.Add(metrics.Keep+2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	sums("what is too old", "/a", 0, 0)
}

func BenchmarkAdd(b *testing.B) {
	book := metrics.New(nil)
	at := time.Date(2026, 1, 2, 3, 59, 30, 0, time.UTC)
	for b.Loop() {
		book.Add("/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default", at, metrics.Dimensions{"Primary", "GetBlob", "OAuth", "Success"},
			metrics.Value{Metric: "Transactions", Value: 1}, metrics.Value{Metric: "Ingress", Value: 10}, metrics.Value{Metric: "Egress", Value: 1000},
			metrics.Value{Metric: "Availability", Value: 100}, metrics.Value{Metric: "SuccessServerLatency", Value: 1}, metrics.Value{Metric: "SuccessE2ELatency", Value: 1})
	}
}
