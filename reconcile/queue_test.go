package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run works a queue in a bubble of fake time while f drives it.
func run(t *testing.T, cfg Config, f func(t *testing.T, q *Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.Run(ctx)
		}()
		f(t, q)
		cancel()
		<-done
		q.Add("after the end") // is no crash
	})
}

// recorder notes the calls of Do.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	calls []string
}

func (r *recorder) note(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.start.IsZero() {
		r.start = time.Now()
	}
	r.calls = append(r.calls, fmt.Sprintf("%s@%d", key, time.Since(r.start)/time.Second))
	return len(r.calls)
}

func (r *recorder) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.calls)
}

func want(t *testing.T, r *recorder, calls string) {
	t.Helper()
	synctest.Wait()
	if got := r.got(); got != calls {
		t.Errorf("calls %s, want %s", got, calls)
	}
}

func TestAddsOfAWaitingKeyAreOneCall(t *testing.T) {
	var r recorder
	var gate chan struct{}
	run(t, Config{Workers: 1, Do: func(_ context.Context, key string) (time.Duration, error) {
		r.note(key)
		if key == "first" {
			<-gate
		}
		return 0, nil
	}}, func(t *testing.T, q *Queue) {
		gate = make(chan struct{}) // of the bubble
		q.Add("first")
		synctest.Wait()
		for range 5 {
			q.Add("a")
			q.Add("b")
			q.Add("first") // while it runs: once more afterwards
		}
		close(gate)
		want(t, &r, "[first@0 a@0 b@0 first@0]")
	})
}

func TestAfter(t *testing.T) {
	var r recorder
	run(t, Config{Do: func(_ context.Context, key string) (time.Duration, error) {
		if r.note(key) < 3 {
			return 10 * time.Second, nil
		}
		return 0, nil
	}}, func(t *testing.T, q *Queue) {
		q.Add("a")
		time.Sleep(4 * time.Second)
		want(t, &r, "[a@0]")
		q.Add("a") // sooner than it asked; the delay starts anew
		time.Sleep(time.Hour)
		want(t, &r, "[a@0 a@4 a@14]")
	})
}

func TestBackOff(t *testing.T) {
	var r recorder
	run(t, Config{Min: 2 * time.Second, Max: 8 * time.Second, Do: func(_ context.Context, key string) (time.Duration, error) {
		switch n := r.note(key); {
		case n == 2:
			panic("is an error too")
		case n < 6:
			return 0, errors.New("no")
		}
		return 0, nil
	}}, func(t *testing.T, q *Queue) {
		q.Add("a")
		time.Sleep(time.Hour)
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.calls) != 6 {
			t.Errorf("calls %v", r.calls)
		}
		// 1–2 + 2–4 + 4–8 + 4–8 + 4–8 seconds
		var last int
		if _, err := fmt.Sscanf(r.calls[5], "a@%d", &last); err != nil || last < 15 || last > 30 {
			t.Errorf("the last call came at %d s", last)
		}
	})
}

func TestOneWorkerPerKey(t *testing.T) {
	var mu sync.Mutex
	running, most := map[string]int{}, map[string]int{}
	run(t, Config{Workers: 4, Do: func(_ context.Context, key string) (time.Duration, error) {
		mu.Lock()
		running[key]++
		most[key] = max(most[key], running[key])
		mu.Unlock()
		time.Sleep(time.Second) // fake time
		mu.Lock()
		running[key]--
		mu.Unlock()
		return 0, nil
	}}, func(t *testing.T, q *Queue) {
		for i := range 40 {
			q.Add(fmt.Sprint(i % 3))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for key, n := range most {
			if n != 1 {
				t.Errorf("%d calls of %s at a time", n, key)
			}
		}
		if len(most) != 3 {
			t.Errorf("keys %v", most)
		}
	})
}
