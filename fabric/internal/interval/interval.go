// Package interval has sets of 32-bit numbers (IPv4 addresses, ports) as sorted intervals.
package interval

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
)

// Interval is Lo to Hi, both included.
type Interval struct{ Lo, Hi uint32 }

// Set is a set of numbers: intervals in ascending order that neither overlap nor touch. The zero Set
// is empty. New makes one from any intervals.
type Set []Interval

// Max is the largest number that a Set can hold.
const Max = ^uint32(0)

// New returns the union of the intervals.
func New(in ...Interval) Set {
	if len(in) == 0 {
		return nil
	}
	s := slices.Clone(in)
	slices.SortFunc(s, func(a, b Interval) int { return cmp.Compare(a.Lo, b.Lo) })
	out := s[:1]
	for _, x := range s[1:] {
		last := &out[len(out)-1]
		if last.Hi != Max && x.Lo > last.Hi+1 {
			out = append(out, x)
			continue
		}
		last.Hi = max(last.Hi, x.Hi)
	}
	return Set(out)
}

// Union of two sets.
func (s Set) Union(o Set) Set { return New(slices.Concat(s, o)...) }

// Contains tells whether x is in the set.
func (s Set) Contains(x uint32) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Hi >= x })
	return i < len(s) && s[i].Lo <= x
}

// SubsetOf tells whether all of s is in o.
func (s Set) SubsetOf(o Set) bool {
	for _, x := range s {
		i := sort.Search(len(o), func(i int) bool { return o[i].Hi >= x.Lo })
		if i == len(o) || o[i].Lo > x.Lo || o[i].Hi < x.Hi {
			return false
		}
	}
	return true
}

// Overlaps tells whether the sets have a number in common.
func (s Set) Overlaps(o Set) bool {
	for i, j := 0, 0; i < len(s) && j < len(o); {
		if s[i].Lo <= o[j].Hi && o[j].Lo <= s[i].Hi {
			return true
		}
		if s[i].Hi < o[j].Hi {
			i++
		} else {
			j++
		}
	}
	return false
}

// Minus returns what is in s and not in o.
func (s Set) Minus(o Set) Set {
	var out Set
	for _, x := range s {
		lo, rest := x.Lo, true
		for _, y := range o[sort.Search(len(o), func(i int) bool { return o[i].Hi >= x.Lo }):] {
			if y.Lo > x.Hi {
				break
			}
			if y.Lo > lo {
				out = append(out, Interval{lo, y.Lo - 1})
			}
			if y.Hi >= x.Hi {
				rest = false
				break
			}
			lo = y.Hi + 1
		}
		if rest {
			out = append(out, Interval{lo, x.Hi})
		}
	}
	return out
}

// Size is how many numbers are in the set.
func (s Set) Size() uint64 {
	var n uint64
	for _, x := range s {
		n += uint64(x.Hi) - uint64(x.Lo) + 1
	}
	return n
}

// At returns the i-th number of the set, i modulo its size; ok is false for the empty set.
func (s Set) At(i uint64) (x uint32, ok bool) {
	n := s.Size()
	if n == 0 {
		return 0, false
	}
	i %= n
	for _, x := range s {
		w := uint64(x.Hi) - uint64(x.Lo) + 1
		if i < w {
			return x.Lo + uint32(i), true
		}
		i -= w
	}
	return 0, false
}

// Of returns the addresses of the IPv4 prefixes; those of IPv6 have none.
func Of(prefixes ...netip.Prefix) Set {
	in := make([]Interval, 0, len(prefixes))
	for _, p := range prefixes {
		if !p.Addr().Is4() {
			continue
		}
		lo := Number(p.Masked().Addr())
		in = append(in, Interval{lo, lo | uint32(uint64(1)<<(32-p.Bits())-1)})
	}
	return New(in...)
}

// Prefixes returns the fewest prefixes that cover exactly the set, in ascending order.
func (s Set) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, x := range s {
		for lo, hi := uint64(x.Lo), uint64(x.Hi); lo <= hi; {
			n := 32 // bits free below lo
			if lo != 0 {
				n = bits.TrailingZeros64(lo)
			}
			for lo+uint64(1)<<n-1 > hi {
				n--
			}
			out = append(out, netip.PrefixFrom(Addr(uint32(lo)), 32-n))
			lo += 1 << n
		}
	}
	return out
}

// Number of an IPv4 address.
func Number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// Addr is the IPv4 address of a number.
func Addr(x uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], x)
	return netip.AddrFrom4(b)
}
