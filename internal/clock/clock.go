// Package clock is the time of the region. Users may move it forward (`vauban clock +7d`) to see
// tokens, soft delete and propagation delays expire, so nothing above asks the time package for now.
package clock

import (
	"sync/atomic"
	"time"
)

// Clock tells the time of the region.
type Clock interface{ Now() time.Time }

// Region is the wall clock plus an offset that only grows. The zero value is the wall clock.
type Region struct{ offset atomic.Int64 }

// Now is the region's time, in UTC.
func (c *Region) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())).UTC() }

// Offset is how far the region is ahead of the wall clock.
func (c *Region) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// SetOffset sets it; the caller keeps it (store) and makes sure that it does not shrink.
func (c *Region) SetOffset(d time.Duration) { c.offset.Store(int64(d)) }

// Fixed is a clock that stands still, for tests.
type Fixed time.Time

func (f Fixed) Now() time.Time { return time.Time(f) }
