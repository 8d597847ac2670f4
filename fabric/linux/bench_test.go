package linux

import "testing"

// BenchmarkTCPSetup reports what a security group costs a new connection, as a ratio to a router that
// only tracks connections. The target is 1.15 at most.
func BenchmarkTCPSetup(b *testing.B) {
	for _, kind := range BenchmarkKinds {
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
