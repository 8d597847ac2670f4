package isotime

import (
	"testing"
	"time"
)

func TestISODuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"PT120S": 2 * time.Minute, "PT2M": 2 * time.Minute, "P1D": 24 * time.Hour, "P1DT2H3M4S": 26*time.Hour + 3*time.Minute + 4*time.Second, "PT0S": 0, "P2W": 14 * 24 * time.Hour, "PT1.5S": time.Second,
	} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "P", "PT", "P1DT", "1H", "PT1H ", "PT-1S", "P1M", "PT1S1M", "120", "PT9999999999S", "p1d", "P10000W", "P1D1W"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// FuzzISODuration: what is accepted is never negative, so that no sum of it overflows into the past.
func FuzzISODuration(f *testing.F) {
	for _, s := range []string{"PT120S", "P1DT2H3M4.5S", "P99999DT999999H9999999M999999999S", "P9999WT1S", "P", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil && d < 0 {
			t.Errorf("%q is %v", s, d)
		}
	})
}
