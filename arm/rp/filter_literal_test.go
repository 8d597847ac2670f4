package rp

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFilterLiterals holds the filter to what `az monitor activity-log list` sends: bare times beside
// quoted strings.
func TestFilterLiterals(t *testing.T) {
	got, err := parseFilter("eventTimestamp ge 2026-11-22T02:40:46.605490 and resourceGroupName eq 'azg'")
	if err != nil {
		t.Fatal(err)
	}
	want := []condition{{"eventtimestamp", "ge", "2026-11-22T02:40:46.605490"}, {"resourcegroupname", "eq", "azg"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(condition{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"a eq", "a eq f('x')", "a eq b'c", "a eq b c", "a eq b or c eq d"} {
		if _, err := parseFilter(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
