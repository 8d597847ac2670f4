package objects_test

import (
	"testing"

	"vauban.dev/provider/objects"
)

// BenchmarkRest: what the types of the specification cost when a region starts.
func BenchmarkRest(b *testing.B) {
	for b.Loop() {
		objects.Rest(nil)
	}
}
