package bench

import (
	"cmp"
	"context"
	"slices"
)

// Median of v, the upper one of two in the middle. It is the zero value when v is empty.
func Median[T cmp.Ordered](v []T) (m T) {
	if len(v) == 0 {
		return m
	}
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// Interleave measures a and b in turns, the first of a round changing, so that what disturbs one disturbs
// its neighbour too. One round before warms both up and is thrown away.
func Interleave[T any](ctx context.Context, rounds int, a, b func(context.Context) (T, error)) (as, bs []T, err error) {
	for i := range rounds + 1 {
		turns := []struct {
			measure func(context.Context) (T, error)
			into    *[]T
		}{{a, &as}, {b, &bs}}
		if i%2 == 1 {
			slices.Reverse(turns)
		}
		for _, t := range turns {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			v, err := t.measure(ctx)
			if err != nil {
				return nil, nil, err
			}
			if i > 0 {
				*t.into = append(*t.into, v)
			}
		}
	}
	return as, bs, nil
}

// Paired is what came of measurements in turns: the medians of both, and of the ratios of neighbours.
type Paired struct{ Value, Reference, Ratio float64 }

// Pair takes one quantity of each measurement of Interleave.
func Pair[T any](as, bs []T, of func(T) float64) Paired {
	var va, vb, ratios []float64
	for i := range min(len(as), len(bs)) {
		a, b := of(as[i]), of(bs[i])
		va, vb, ratios = append(va, a), append(vb, b), append(ratios, a/b)
	}
	return Paired{Median(va), Median(vb), Median(ratios)}
}

// Figure is the row of a pair.
func (p Paired) Figure(name, unit, reference string, target Target) Figure {
	return Figure{Name: name, Value: p.Value, Unit: unit, Reference: Reference{reference, p.Reference}, Ratio: p.Ratio, Target: target}
}
