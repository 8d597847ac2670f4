package door

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestThrottleBuckets(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var th Throttle
	th.Set(Limits{Reads: Bucket{3, 2}, Writes: Bucket{1, 0.1}, Deletes: Bucket{1, 1}}, true)
	take := func(caller, scope, class string, want int, wantWait time.Duration) {
		t.Helper()
		left, _, wait := th.take(caller, scope, class, now)
		if left != want || wait != wantWait {
			t.Errorf("%s %s %s: %d left, wait %v; want %d, %v", caller, scope, class, left, wait, want, wantWait)
		}
	}
	take("a", "s", "reads", 2, 0)
	take("a", "s", "reads", 1, 0)
	take("a", "s", "reads", 0, 0)
	take("a", "s", "reads", 0, time.Second)
	take("b", "s", "reads", 2, 0)
	take("a", "t", "reads", 2, 0)
	take("a", "s", "writes", 0, 0)
	take("a", "s", "writes", 0, 10*time.Second)
	now = now.Add(time.Second)
	take("a", "s", "reads", 1, 0)
	now = now.Add(time.Hour)
	take("a", "s", "reads", 2, 0)
	th.Set(th.limits, false)
	for range 5 {
		th.take("a", "s", "reads", now)
	}
	take("a", "s", "reads", 0, 0)
}

// TestThrottleOfAll: fifteen callers' worth of requests is what a subscription takes of all of them.
func TestThrottleOfAll(t *testing.T) {
	var th Throttle
	th.Set(Limits{Reads: Bucket{1, 1}, Writes: Bucket{1, 1}, Deletes: Bucket{1, 1}}, true)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range allTimes {
		if _, _, wait := th.take(fmt.Sprint("caller", i), "s", "reads", now); wait != 0 {
			t.Fatalf("caller %d waits", i)
		}
	}
	if _, left, wait := th.take("one more", "s", "reads", now); wait == 0 || left != 0 {
		t.Errorf("one more: %d left, wait %v", left, wait)
	}
}

func TestThrottleHeaders(t *testing.T) {
	d := open(t, fakes{})
	w := do(d, "GET", things+"x?api-version=2024-01-01", "", "t")
	for name, want := range map[string]string{"x-ms-ratelimit-remaining-subscription-reads": "249", "x-ms-ratelimit-remaining-subscription-global-reads": "3749"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if w := do(d, "GET", "/providers?api-version=2024-01-01", "", "t"); w.Header().Get("x-ms-ratelimit-remaining-tenant-reads") != "249" {
		t.Errorf("tenant: %v", w.Header())
	}
	d.cfg.Throttle.Set(Limits{Reads: Bucket{1, 0.2}}, true)
	do(d, "GET", things+"x?api-version=2024-01-01", "", "t")
	w = do(d, "GET", things+"x?api-version=2024-01-01", "", "t")
	if w.Code != http.StatusTooManyRequests || code(t, w) != "SubscriptionRequestsThrottled" || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "Number of 'read' requests for subscription 's' actor '1' exceeded.") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if w.Header().Get("x-ms-failure-cause") != "gateway" {
		t.Errorf("cause: %v", w.Header())
	}
}
