// Package reconcile calls a function for keys that need attention: each key by one worker at a time, again
// after a while when the function asks for it or fails, at once when the key is added meanwhile. It is
// level-triggered: many Adds of a waiting key are one call, and no Add is lost.
package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// Config of a Queue.
type Config struct {
	// Do handles a key. It must not sleep: it returns after > 0 to be called again then. An error has it
	// called again after the back-off. A panic counts as an error.
	Do      func(ctx context.Context, key string) (after time.Duration, err error)
	Workers int           // calls of Do at a time; 0 = 8
	Min     time.Duration // first back-off; 0 = 100 ms. It doubles with every failure in a row, with jitter
	Max     time.Duration // longest back-off; 0 = 1 minute
	Log     *slog.Logger  // nil = none
}

// Queue of keys. Add may be called before Run, and by any goroutine.
type Queue struct {
	cfg Config

	mu       sync.Mutex
	wake     *sync.Cond
	ready    []string               // waiting, first in first out
	waiting  map[string]bool        // members of ready
	running  map[string]bool        // value: added again meanwhile
	later    map[string]*time.Timer // delayed
	due      map[string]time.Time   // when the timers of later fire
	failures map[string]int
	stopped  bool
}

// New makes a queue; Run works it.
func New(cfg Config) *Queue {
	if cfg.Workers == 0 {
		cfg.Workers = 8
	}
	if cfg.Min == 0 {
		cfg.Min = 100 * time.Millisecond
	}
	if cfg.Max == 0 {
		cfg.Max = time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{
		cfg: cfg, waiting: map[string]bool{}, running: map[string]bool{}, later: map[string]*time.Timer{},
		due: map[string]time.Time{}, failures: map[string]int{},
	}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// Add has key handled as soon as a worker is free; after its present call if it is being handled.
func (q *Queue) Add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(key)
}

func (q *Queue) add(key string) {
	if q.stopped {
		return
	}
	if t := q.later[key]; t != nil {
		t.Stop()
		delete(q.later, key)
		delete(q.due, key)
	}
	if _, busy := q.running[key]; busy {
		q.running[key] = true
		return
	}
	if q.waiting[key] {
		return
	}
	q.waiting[key] = true
	q.ready = append(q.ready, key)
	q.wake.Signal()
}

// addAfter has key handled in d, or sooner if it is due or added sooner.
func (q *Queue) addAfter(key string, d time.Duration) {
	if q.stopped || q.waiting[key] {
		return
	}
	at := time.Now().Add(d)
	if t := q.later[key]; t != nil {
		if !q.due[key].After(at) {
			return
		}
		t.Stop()
	}
	q.due[key] = at
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.later[key] == t {
			q.add(key)
		}
	})
	q.later[key] = t
}

// Run works the queue until ctx ends, and returns when the calls under way have returned. A Queue runs once.
func (q *Queue) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.stopped = true
		for _, t := range q.later {
			t.Stop()
		}
		clear(q.later)
		q.wake.Broadcast()
	})
	defer stop()
	var workers sync.WaitGroup
	for range q.cfg.Workers {
		workers.Go(func() { q.work(ctx) })
	}
	workers.Wait()
}

func (q *Queue) work(ctx context.Context) {
	for {
		key, ok := q.take()
		if !ok {
			return
		}
		after, err := q.call(ctx, key)
		q.finish(ctx, key, after, err)
	}
}

func (q *Queue) take() (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.stopped {
		q.wake.Wait()
	}
	if q.stopped {
		return "", false
	}
	key := q.ready[0]
	q.ready = q.ready[1:]
	delete(q.waiting, key)
	q.running[key] = false
	return key, true
}

func (q *Queue) call(ctx context.Context, key string) (after time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return q.cfg.Do(ctx, key)
}

func (q *Queue) finish(ctx context.Context, key string, after time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	again := q.running[key]
	delete(q.running, key)
	if err != nil && ctx.Err() == nil {
		q.failures[key]++
		wait := q.backoff(q.failures[key])
		q.cfg.Log.Error("reconcile failed; it will be tried again", "key", key, "attempt", q.failures[key], "in", wait, "err", err)
		if !again {
			q.addAfter(key, wait)
			return
		}
	}
	if err == nil {
		delete(q.failures, key)
	}
	if again {
		q.add(key)
		return
	}
	if after > 0 {
		q.addAfter(key, after)
	}
}

func (q *Queue) backoff(failures int) time.Duration {
	d := q.cfg.Min
	for i := 1; i < failures && d < q.cfg.Max; i++ {
		d *= 2
	}
	d = min(d, q.cfg.Max)
	return d/2 + rand.N(d/2+1)
}
