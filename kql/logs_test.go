package kql_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"vauban.dev/kql"
)

// events is a small workspace.
type events struct{ *tables }

func (e events) Tables() []string { return []string{"Calls", "Failures", "Other"} }

func (e events) Columns(table string) ([]kql.Column, bool) {
	c, ok := e.columns[table]
	return c, ok
}

func (e events) Rows(_ context.Context, table string, _ []string) ([][]any, error) {
	return e.rows[table], nil
}

func workspace() events {
	columns := []kql.Column{{Name: "TimeGenerated", Type: kql.Datetime}, {Name: "Caller", Type: kql.String}, {Name: "Ms", Type: kql.Long}}
	e := events{&tables{columns: map[string][]kql.Column{"Calls": columns, "Failures": columns, "Other": columns[:2]}, rows: map[string][][]any{}}}
	for i, caller := range []string{"ann", "bob", "ann", "eve"} {
		e.rows["Calls"] = append(e.rows["Calls"], []any{now.Add(-time.Duration(i) * 40 * time.Minute), caller, int64(10 * (i + 1))})
	}
	e.rows["Failures"] = [][]any{{now, "eve", int64(7)}}
	return e
}

func askLogs(t testing.TB, query string) (*kql.Table, *kql.Query, error) {
	t.Helper()
	q, err := kql.ParseLogs(query, kql.AzureMonitor)
	if err != nil {
		return nil, nil, err
	}
	table, err := q.Run(t.Context(), kql.Options{Source: workspace(), Now: now, Limits: kql.AzureMonitor})
	return table, q, err
}

// TestLogs: what queries of logs need beyond Resource Graph's.
func TestLogs(t *testing.T) {
	for _, test := range []struct{ query, want string }{
		{"Calls | where TimeGenerated > ago(1h) | summarize count() by bin(TimeGenerated, 1h) | sort by TimeGenerated asc", "TimeGenerated,count_ | 2026-03-01T11:00:00.0000000Z,1 | 2026-03-01T12:00:00.0000000Z,1"},
		{"Calls | where TimeGenerated between (ago(90m) .. ago(30m)) | project Caller", "Caller | bob | ann"},
		{"Calls | summarize percentile(Ms, 50), p = percentile(Ms, 95) by Caller | where Caller == 'ann'", "Caller,percentile_Ms_50,p | ann,10,30"},
		{"Calls | summarize percentiles(Ms, 25, 100)", "percentile_Ms_25,percentile_Ms_100 | 10,40"},
		{"Calls | where Caller == 'nobody' | summarize percentile(Ms, 50)", "percentile_Ms_50 | null"},
		{"Calls | summarize round(stdev(Ms), 2), variancep(Ms)", "Column1,variancep_Ms | 12.91,125"},
		{"Calls | summarize count() by Caller | render barchart with (title='x', kind=stacked)", "Caller,count_ | ann,2 | bob,1 | eve,1"},
		{"search 'eve' | summarize count() by $table", "$table,count_ | Calls,1 | Failures,1"},
		{"search in (Failures, Gone) 'eve' | project Ms", "Ms | 7"},
		{"Calls | search 'bo*' | project Caller", "Caller | bob"},
		{"search * | count", "Count | 5"},
		{"union withsource=T * | summarize count() by T", "T,count_ | Calls,4 | Failures,1"},
		{"union isfuzzy=true Calls, Gone | count", "Count | 4"},
		{"union Fail*, Other | project Caller", "Caller | eve"},
		{"print 1 + 1, who = 'x'", "print_0,who | 2,x"},
		{"Other | getschema | project ColumnName, ColumnType", "ColumnName,ColumnType | TimeGenerated,datetime | Caller,string"},
		{"let most = toscalar(Calls | summarize max(Ms)); Calls | where Ms == most | project Caller", "Caller | eve"},
		{"let some = materialize(Calls | take 2); some | count", "Count | 2"},
		{"Calls | serialize | sample 1 | count", "Count | 1"},
		{"Calls | project-away Ms, T* | take 1", "Caller | ann"},
		{"Calls | parse Caller with a:string 'n' * | take 1 | project a, extract('(.)n', 1, Caller)", "a,Column1 | a,a"},
	} {
		got, _, err := askLogs(t, test.query)
		if err != nil {
			t.Errorf("%s\n  %v", test.query, err)
			continue
		}
		if s := show(got); s != test.want {
			t.Errorf("%s\n  got  %s\n  want %s", test.query, s, test.want)
		}
	}
	for query, kind := range map[string]string{
		"where Caller == 'ann'": kql.Syntax, "Calls | wher Caller == 'ann'": kql.Syntax, "Calls | make-series count() on TimeGenerated step 1h": kql.Unsupported,
		"Gone | take 1": kql.UnknownName, "calls | take 1": kql.UnknownName, "union Calls, Gone": kql.UnknownName, "Calls | render timechart | take 1": kql.Syntax,
		"Calls | summarize percentile(Ms, 101)": kql.Semantic, "Calls | summarize percentile(Ms, Ms)": kql.Semantic, "print": kql.Syntax, "search in (": kql.Syntax,
		"Calls | render x with (": kql.Syntax, "print toscalar(Gone)": kql.UnknownName,
	} {
		_, _, err := askLogs(t, query)
		if f := new(kql.Fault); !errors.As(err, &f) || f.Kind != kind {
			t.Errorf("%q: %v, want %s", query, err, kind)
		}
	}
	_, q, err := askLogs(t, "Calls | render timechart with (title='Calls', ysplit=none)")
	if err != nil || fmt.Sprint(q.Render()) != "map[title:Calls visualization:timechart ysplit:none]" {
		t.Errorf("render: %v, %v", q.Render(), err)
	}
	for _, query := range []string{"resources | render timechart", "search 'x'", "union isfuzzy=true resources", "resources | getschema"} {
		if _, err := kql.Parse(query, kql.ResourceGraph); err == nil {
			t.Errorf("Resource Graph takes %q", query)
		}
	}
	if !slices.Contains(kql.Functions(), "percentile") {
		t.Error("percentile is not told of")
	}
}

func FuzzLogs(f *testing.F) {
	for _, s := range []string{
		"search in (A*, b) 'x' | summarize percentiles(x, 5, 50), stdev(y) by bin(t, 1h) | render timechart with (title='x', a=b)",
		"union withsource=T isfuzzy=true *, (Calls | where Ms > 1) | getschema | sample 3", "print a = toscalar(Calls | count), 2", "let a = materialize(Calls | serialize n = 1); a | search Ms == 1",
	} {
		f.Add(s)
	}
	limits := kql.AzureMonitor
	limits.Steps, limits.Bytes, limits.Rows = 200_000, 4<<20, 10_000
	f.Fuzz(func(t *testing.T, query string) {
		q, err := kql.ParseLogs(query, limits)
		if err == nil {
			_, err = q.Run(t.Context(), kql.Options{Source: workspace(), Now: now, Limits: limits})
		}
		if fault := new(kql.Fault); err != nil && !errors.As(err, &fault) {
			t.Errorf("%q: %v is no fault", query, err)
		}
	})
}
