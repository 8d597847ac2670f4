package bench

import (
	"context"
	"fmt"
	"regexp"
)

// Measurement makes one or more figures.
type Measurement struct {
	Name  string // what --only selects by
	About string
	Quick bool // part of the quick subset
	Do    func(ctx context.Context, add func(Figure) error) error
}

// Selection says which measurements are wanted.
type Selection struct {
	Only  *regexp.Regexp // nil: all
	Quick bool
}

// Of returns the measurements that are wanted, in their order. Naming some by Only overrides Quick.
func (s Selection) Of(all []Measurement) []Measurement {
	var out []Measurement
	for _, m := range all {
		if s.Only != nil && !s.Only.MatchString(m.Name) || s.Only == nil && s.Quick && !m.Quick {
			continue
		}
		out = append(out, m)
	}
	return out
}

// Failure is a measurement that could not be made.
type Failure struct {
	Measurement string
	Err         error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Measurement, f.Err) }
func (f *Failure) Unwrap() error { return f.Err }

// Run makes the measurements one after the other. One that fails does not stop the others; it is told to
// failed as soon as it has. When ctx ends, the rest are left out and ctx's error is returned.
func (t *Table) Run(ctx context.Context, measurements []Measurement, failed func(*Failure)) (failures int, err error) {
	for _, m := range measurements {
		if ctx.Err() != nil {
			return failures, context.Cause(ctx)
		}
		if err := m.Do(ctx, t.Add); err != nil {
			if ctx.Err() != nil { // it was ended, it has not failed
				return failures, context.Cause(ctx)
			}
			failures++
			failed(&Failure{m.Name, err})
		}
	}
	return failures, context.Cause(ctx)
}
