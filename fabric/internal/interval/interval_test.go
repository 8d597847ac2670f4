package interval

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// small sets near both ends of the range, where arithmetic goes wrong.
func drawSet(t *rapid.T, name string) Set {
	edge := rapid.SampledFrom([]uint32{0, 1 << 16, Max - 63}).Draw(t, name+" base")
	n := rapid.IntRange(0, 5).Draw(t, name+" n")
	var in []Interval
	for range n {
		lo := edge + uint32(rapid.IntRange(0, 60).Draw(t, name+" lo"))
		hi := lo + uint32(rapid.IntRange(0, int(min(8, Max-lo))).Draw(t, name+" width"))
		in = append(in, Interval{lo, hi})
	}
	return New(in...)
}

func TestAlgebra(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSet(t, "a"), drawSet(t, "b")
		union, minus := a.Union(b), a.Minus(b)
		overlap, subset := false, true
		for _, base := range []uint32{0, 1 << 16, Max - 63} {
			for i := uint32(0); ; i++ {
				x := base + i
				ia, ib := a.Contains(x), b.Contains(x)
				if union.Contains(x) != (ia || ib) {
					t.Fatalf("union %v %v at %d", a, b, x)
				}
				if minus.Contains(x) != (ia && !ib) {
					t.Fatalf("%v minus %v = %v at %d", a, b, minus, x)
				}
				overlap = overlap || ia && ib
				subset = subset && (!ia || ib)
				if i == 80 || x == Max {
					break
				}
			}
		}
		if a.Overlaps(b) != overlap || a.SubsetOf(b) != subset {
			t.Fatalf("%v %v overlap %v subset %v", a, b, a.Overlaps(b), a.SubsetOf(b))
		}
		if back := Of(a.Prefixes()...); !cmp.Equal(back, New(a...)) {
			t.Fatalf("%v by prefixes %v", a, back)
		}
	})
}

func TestPrefixes(t *testing.T) {
	all := Set{{0, Max}}
	if got := all.Prefixes(); len(got) != 1 || got[0] != netip.MustParsePrefix("0.0.0.0/0") {
		t.Fatal(got)
	}
	got := Of(netip.MustParsePrefix("10.0.0.0/30")).Minus(Of(netip.MustParsePrefix("10.0.0.1/32"))).Prefixes()
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/32"), netip.MustParsePrefix("10.0.0.2/31")}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Fatal(diff)
	}
	if Of(netip.MustParsePrefix("::/0")) != nil {
		t.Fatal("IPv6 has addresses")
	}
}

func TestAt(t *testing.T) {
	s := Set{{5, 6}, {10, 10}}
	var got []uint32
	for i := range uint64(4) {
		x, _ := s.At(i)
		got = append(got, x)
	}
	if diff := cmp.Diff([]uint32{5, 6, 10, 5}, got); diff != "" {
		t.Fatal(diff)
	}
	if _, ok := Set(nil).At(0); ok {
		t.Fatal("the empty set has a number")
	}
}
