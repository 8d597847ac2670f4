package load

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Loop asks over a few connections at a time, each as soon as it has its answer.
type Loop struct {
	conns []*Conn
	cpu   func() (time.Duration, error)
	next  func(n int64) []byte
	want  int
	count atomic.Int64
}

// Work is what a loop does.
type Work struct {
	Addr        string
	TLS         *tls.Config
	Concurrency int
	// Next makes the request of number n, which rises by one from zero over the loop's life. It must be quick and
	// safe for use by several goroutines.
	Next func(n int64) []byte
	Want int // the status of its answers
	// CPU is the processor time that the server has used until now.
	CPU func() (time.Duration, error)
}

// Sample is what a loop has seen.
type Sample struct {
	Ops     int
	Bytes   int64 // of bodies answered
	Elapsed time.Duration
	CPU     time.Duration // the server's, over all operations
}

// PerSecond is the rate of operations.
func (s Sample) PerSecond() float64 { return float64(s.Ops) / s.Elapsed.Seconds() }

// MiBPerSecond is the rate of answered bytes.
func (s Sample) MiBPerSecond() float64 { return float64(s.Bytes) / (1 << 20) / s.Elapsed.Seconds() }

// CPUPerOp is the server's processor time for one operation, in milliseconds.
func (s Sample) CPUPerOp() float64 {
	return float64(s.CPU) / float64(time.Millisecond) / float64(max(s.Ops, 1))
}

// NewLoop connects.
func NewLoop(ctx context.Context, w Work) (*Loop, error) {
	l := &Loop{cpu: w.CPU, next: w.Next, want: w.Want}
	for range w.Concurrency {
		c, err := Dial(ctx, w.Addr, w.TLS)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

// Close ends the connections.
func (l *Loop) Close() error {
	var errs []error
	for _, c := range l.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Run asks for the duration d; requests on their way are awaited and counted.
func (l *Loop) Run(ctx context.Context, d time.Duration) (Sample, error) {
	before, err := l.cpu()
	if err != nil {
		return Sample{}, err
	}
	start := time.Now()
	results := make([]Sample, len(l.conns))
	errs := make([]error, len(l.conns))
	var wg sync.WaitGroup
	for i, c := range l.conns {
		wg.Go(func() {
			for ctx.Err() == nil && time.Since(start) < d {
				n, err := c.Do(l.next(l.count.Add(1)-1), l.want)
				if err != nil {
					errs[i] = err
					return
				}
				results[i].Ops++
				results[i].Bytes += n
			}
		})
	}
	wg.Wait()
	s := Sample{Elapsed: time.Since(start)}
	after, err := l.cpu()
	if err := errors.Join(append(errs, err, ctx.Err())...); err != nil {
		return Sample{}, err
	}
	s.CPU = after - before
	for _, r := range results {
		s.Ops += r.Ops
		s.Bytes += r.Bytes
	}
	return s, nil
}
