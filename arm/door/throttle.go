package door

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
)

// Bucket is a token bucket: Size requests at once, and Refill more every second.
type Bucket struct {
	Size   int     `json:"size"`
	Refill float64 `json:"refill"`
}

// String is SIZE/REFILL.
func (b Bucket) String() string { return fmt.Sprintf("%d/%g", b.Size, b.Refill) }

// Limits are the buckets that each caller has in each subscription, and in the tenant for what is in none.
type Limits struct {
	Reads   Bucket `json:"reads"`
	Writes  Bucket `json:"writes"`
	Deletes Bucket `json:"deletes"`
}

// AzureLimits are Azure's own, for a principal in a subscription or a tenant.
// https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
func AzureLimits() Limits {
	return Limits{Reads: Bucket{250, 25}, Writes: Bucket{200, 10}, Deletes: Bucket{200, 10}}
}

// allTimes is how many times a caller's limit all callers of a subscription have together.
const allTimes = 15

// Throttle counts requests, and refuses those beyond the limits if it is told to. The zero Throttle counts by Azure's
// limits and refuses nothing.
type Throttle struct {
	mu      sync.Mutex
	refuses bool
	limits  Limits
	buckets map[bucketKey]*fullness
}

type bucketKey struct{ caller, scope, class string }

// fullness is how full a bucket was at a time.
type fullness struct {
	tokens float64
	at     time.Time
}

// Set chooses the limits and whether they are held to. Everybody begins with full buckets.
func (t *Throttle) Set(l Limits, refuses bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits, t.refuses, t.buckets = l, refuses, nil
}

// State returns what Set has chosen.
func (t *Throttle) State() (l Limits, refuses bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current(), t.refuses
}

func (t *Throttle) current() Limits {
	if t.limits == (Limits{}) {
		return AzureLimits()
	}
	return t.limits
}

// maxBuckets is when buckets that nobody uses are forgotten.
const maxBuckets = 10_000

// take takes a token: how many are left of it for the caller and for all callers, and how long to wait if there is none.
func (t *Throttle) take(caller, scope, class string, now time.Time) (left, leftOfAll int, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.current().of(class)
	all := Bucket{b.Size * allTimes, b.Refill * allTimes}
	own, shared := t.fill(bucketKey{caller, scope, class}, b, now), t.fill(bucketKey{"", scope, class}, all, now)
	if t.refuses {
		switch {
		case own.tokens < 1:
			wait = until(own, b)
		case shared.tokens < 1:
			wait = until(shared, all)
		}
	}
	if wait == 0 {
		own.tokens, shared.tokens = max(0, own.tokens-1), max(0, shared.tokens-1)
	}
	return int(own.tokens), int(shared.tokens), wait
}

func (t *Throttle) fill(k bucketKey, b Bucket, now time.Time) *fullness {
	if t.buckets == nil {
		t.buckets = map[bucketKey]*fullness{}
	}
	l := t.buckets[k]
	if l == nil {
		if len(t.buckets) >= maxBuckets { // a caller may name subscriptions without end
			maps.DeleteFunc(t.buckets, func(_ bucketKey, l *fullness) bool { return now.Sub(l.at) > time.Minute })
			if len(t.buckets) >= maxBuckets {
				clear(t.buckets)
			}
		}
		l = &fullness{tokens: float64(b.Size), at: now}
		t.buckets[k] = l
	}
	if d := now.Sub(l.at); d > 0 {
		l.tokens, l.at = min(float64(b.Size), l.tokens+d.Seconds()*b.Refill), now
	}
	return l
}

func until(l *fullness, b Bucket) time.Duration {
	if b.Refill <= 0 {
		return time.Hour
	}
	return max(time.Second, time.Duration(math.Ceil((1-l.tokens)/b.Refill))*time.Second)
}

func (l Limits) of(class string) Bucket {
	switch class {
	case "reads":
		return l.Reads
	case "deletes":
		return l.Deletes
	}
	return l.Writes
}

func classOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "reads"
	case http.MethodDelete:
		return "deletes"
	}
	return "writes"
}

// throttle counts the request and says in headers what is left; 429 with Retry-After beyond the limits. What a
// subsystem asks for a caller counts as his one request did.
func (d *Door) throttle(c *call) error {
	if _, inside := insider(c.ctx); inside {
		return nil
	}
	p, _ := authz.FromContext(c.ctx)
	subscription, class := subscriptionIn(c.req.Path), classOf(c.req.Method)
	scope, code := "subscription", "SubscriptionRequestsThrottled"
	of := subscription
	if subscription == "" {
		scope, code, of = "tenant", "TenantRequestsThrottled", p.TenantID
	}
	left, leftOfAll, wait := d.cfg.Throttle.take(p.ObjectID, scope+" "+of, class, c.req.Start)
	h := c.w.Header()
	h.Set("x-ms-ratelimit-remaining-"+scope+"-"+class, strconv.Itoa(left))
	h.Set("x-ms-ratelimit-remaining-"+scope+"-global-"+class, strconv.Itoa(leftOfAll))
	if wait == 0 {
		return nil
	}
	seconds := strconv.Itoa(int(wait / time.Second))
	e := arm.Errorf(http.StatusTooManyRequests, code, "Number of '%s' requests for %s '%s' actor '%s' exceeded. Please try again after '%s' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling for additional information.",
		strings.TrimSuffix(class, "s"), scope, of, p.ObjectID, seconds)
	e.Header = map[string]string{"Retry-After": seconds}
	return e
}

// subscriptionIn is the subscription of a path in lower case, "" for one that is in none.
func subscriptionIn(path string) string {
	rest, ok := strings.CutPrefix(strings.ToLower(path), "/subscriptions/")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}
