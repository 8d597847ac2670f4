package linux

import (
	"slices"
	"strconv"
	"testing"
)

// BenchmarkTCPSetup reports what a security group costs a new connection, as a ratio to a router that
// only tracks connections. The target is 1.15 at most.
func BenchmarkTCPSetup(b *testing.B) {
	for _, kind := range slices.Concat(BenchmarkKinds[:], BenchmarkWays[:]) {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				r, err := MeasureTCPSetup(b.Context(), kind)
				if err != nil {
					b.Fatal(err)
				}
				b.Log(r)
				b.ReportMetric(r.Ratio, "ratio")
				b.ReportMetric(float64(r.Filtered.Nanoseconds()), "ns/setup")
			}
		})
	}
}

// BenchmarkChange reports what it takes to put 1,000 rules in place and to change one, under a flow.
func BenchmarkChange(b *testing.B) {
	for b.Loop() {
		r, err := MeasureChange(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v", r)
		b.ReportMetric(float64(r.Load.Milliseconds()), "ms/1000-rules")
		b.ReportMetric(float64(r.Rule.Milliseconds()), "ms/rule")
		b.ReportMetric(float64(r.Lost), "lost")
	}
}

// BenchmarkCrowd reports what 1,000 NICs take.
func BenchmarkCrowd(b *testing.B) {
	for b.Loop() {
		r, err := MeasureCrowd(b.Context(), 1000)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v", r)
		b.ReportMetric(r.Apply.Seconds(), "s/1000-NICs")
		b.ReportMetric(float64(r.Memory>>20), "MiB")
	}
}

// BenchmarkFirewall reports what network rules by name cost a new connection, as a ratio to an appliance that passes
// everything on.
func BenchmarkFirewall(b *testing.B) {
	for _, rules := range []int{1, 100, 1000} {
		b.Run(strconv.Itoa(rules), func(b *testing.B) {
			for b.Loop() {
				r, err := MeasureFirewall(b.Context(), rules)
				if err != nil {
					b.Fatal(err)
				}
				b.Log(r)
				b.ReportMetric(r.Ratio, "ratio")
				b.ReportMetric(float64(r.Filtered.Nanoseconds()), "ns/setup")
			}
		})
	}
}
