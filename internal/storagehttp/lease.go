package storagehttp

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Lease of a blob, container, file or share ("Lease Blob", "Lease Container", "Lease File", "Lease Share"). Times are Unix nanoseconds of the region's clock.
type Lease struct {
	ID     string `json:"id"`
	Fixed  int64  `json:"fixed,omitempty"` // seconds; 0: infinite
	Ends   int64  `json:"ends,omitempty"`  // of a fixed lease
	Broken int64  `json:"brk,omitempty"`   // when it is broken; 0: nobody broke it
}

// States of a lease.
const (
	leaseAvailable = "available"
	leaseLeased    = "leased"
	leaseBreaking  = "breaking"
	leaseBroken    = "broken"
	leaseExpired   = "expired"
)

// State is the lease's; nil is available.
func (l *Lease) State(now time.Time) string {
	t := now.UnixNano()
	switch {
	case l == nil:
		return leaseAvailable
	case l.Broken > 0 && l.Broken <= t:
		return leaseBroken
	case l.Broken > 0:
		return leaseBreaking
	case l.Ends > 0 && l.Ends <= t:
		return leaseExpired
	}
	return leaseLeased
}

// Locked reports whether writes need the lease's id.
func (l *Lease) Locked(now time.Time) bool {
	s := l.State(now)
	return s == leaseLeased || s == leaseBreaking
}

// AfterWrite is what a lease is after a write that did not need it: one that is over is gone.
func (l *Lease) AfterWrite(now time.Time) *Lease {
	if l.Locked(now) {
		return l
	}
	return nil
}

func errLease(status int, code, message string) *Error { return NewError(status, code, "%s", message) }

// Need judges the lease id of an operation other than on the lease itself. what is "Blob" or "Container"; a write is
// refused without the id of a lease that holds, a read only with a wrong one.
func (l *Lease) Need(now time.Time, id, what string, write bool) error {
	state := l.State(now)
	held := state == leaseLeased || state == leaseBreaking
	thing := strings.ToLower(what)
	switch {
	case held && id == "" && write:
		return errLease(http.StatusPreconditionFailed, "LeaseIdMissing", "There is currently a lease on the "+thing+" and no lease ID was specified in the request.")
	case id == "":
		return nil
	case held && !strings.EqualFold(l.ID, id):
		return errLease(http.StatusPreconditionFailed, "LeaseIdMismatchWith"+what+"Operation", "The lease ID specified did not match the lease ID for the "+thing+".")
	case held:
		return nil
	case state == leaseAvailable:
		return errLease(http.StatusPreconditionFailed, "LeaseNotPresentWith"+what+"Operation", "There is currently no lease on the "+thing+".")
	}
	return errLease(http.StatusPreconditionFailed, "LeaseLost", "A lease ID was specified, but the lease for the "+thing+" has expired.")
}

// LeaseRequest is what the headers of an operation on a lease ask for.
type LeaseRequest struct {
	action   string // acquire, renew, change, release, break
	id       string // x-ms-lease-id
	proposed string
	duration int64 // seconds; -1: infinite
	period   int64 // of a break, seconds; -1: not given
}

// ParseLease reads what a request asks for of a lease.
func (q *Request) ParseLease() (r LeaseRequest, err error) {
	h := q.R.Header
	r = LeaseRequest{action: strings.ToLower(h.Get("X-Ms-Lease-Action")), id: h.Get("X-Ms-Lease-Id"), proposed: h.Get("X-Ms-Proposed-Lease-Id"), duration: -1}
	for name, v := range map[string]string{"X-Ms-Lease-Id": r.id, "X-Ms-Proposed-Lease-Id": r.proposed} {
		if v == "" {
			continue
		}
		if _, err := uuid.Parse(v); err != nil {
			return r, InvalidHeader(strings.ToLower(name), v).Because("header %s is no GUID: '%s'", strings.ToLower(name), v)
		}
	}
	switch r.action {
	case "acquire":
		switch v := h.Get("X-Ms-Lease-Duration"); v {
		case "":
			return r, MissingHeader("x-ms-lease-duration")
		case "-1":
		default:
			if r.duration, err = q.Int64Header("X-Ms-Lease-Duration"); err != nil {
				return r, err
			}
			if r.duration < 15 || r.duration > 60 {
				return r, InvalidHeader("x-ms-lease-duration", v).Because("a lease lasts 15 to 60 seconds, or -1 without end, not '%s'", v)
			}
		}
		if r.proposed == "" {
			r.proposed = uuid.NewString()
		}
	case "renew", "release", "change":
		if r.id == "" {
			return r, MissingHeader("x-ms-lease-id")
		}
		if r.action == "change" && r.proposed == "" {
			return r, MissingHeader("x-ms-proposed-lease-id")
		}
	case "break":
		if r.period, err = q.Int64Header("X-Ms-Lease-Break-Period"); err != nil {
			return r, err
		}
		if r.period > 60 {
			return r, InvalidHeader("x-ms-lease-break-period", h.Get("X-Ms-Lease-Break-Period")).Because("a break period is 0 to 60 seconds")
		}
	case "":
		return r, MissingHeader("x-ms-lease-action")
	default:
		return r, InvalidHeader("x-ms-lease-action", r.action)
	}
	return r, nil
}

func errLeaseID() *Error {
	return errLease(http.StatusConflict, "LeaseIdMismatchWithLeaseOperation", "The lease ID specified did not match the lease ID for the blob/container.")
}

func errNoLease() *Error {
	return errLease(http.StatusConflict, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the blob/container.")
}

// Apply does what r asks with the lease l, which may be nil, and returns the lease that is then, with the status of the answer
// and, for a break, the seconds that it still holds. modified is when the blob or container was last changed.
func (r LeaseRequest) Apply(l *Lease, now time.Time, modified int64) (next *Lease, status int, left int64, err error) {
	switch r.action {
	case "acquire":
		next, err = r.acquire(l, now)
		return next, http.StatusCreated, 0, err
	case "renew":
		next, err = r.renew(l, now, modified)
		return next, http.StatusOK, 0, err
	case "change":
		next, err = r.change(l, now)
		return next, http.StatusOK, 0, err
	case "release":
		if l == nil || !strings.EqualFold(l.ID, r.id) {
			return nil, 0, 0, errLeaseID()
		}
		return nil, http.StatusOK, 0, nil
	}
	next, left, err = r.breakIt(l, now)
	return next, http.StatusAccepted, left, err
}

func (r LeaseRequest) acquire(l *Lease, now time.Time) (*Lease, error) {
	same := l != nil && strings.EqualFold(l.ID, r.proposed)
	switch l.State(now) {
	case leaseBreaking:
		if same {
			return nil, errLease(http.StatusConflict, "LeaseIsBreakingAndCannotBeAcquired", "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it is broken.")
		}
		return nil, errLease(http.StatusConflict, "LeaseAlreadyPresent", "There is already a lease present.")
	case leaseLeased:
		if !same {
			return nil, errLease(http.StatusConflict, "LeaseAlreadyPresent", "There is already a lease present.")
		}
	}
	next := &Lease{ID: r.proposed}
	if r.duration > 0 {
		next.Fixed, next.Ends = r.duration, now.Add(time.Duration(r.duration)*time.Second).UnixNano()
	}
	return next, nil
}

func (r LeaseRequest) renew(l *Lease, now time.Time, modified int64) (*Lease, error) {
	state := l.State(now)
	switch {
	case state == leaseAvailable:
		return nil, errNoLease()
	case !strings.EqualFold(l.ID, r.id):
		return nil, errLeaseID()
	case state == leaseBroken || state == leaseBreaking:
		return nil, errLease(http.StatusConflict, "LeaseIsBrokenAndCannotBeRenewed", "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.")
	case state == leaseExpired && modified > l.Ends:
		return nil, errNoLease().Because("the lease ended, and the resource was changed since")
	}
	next := *l
	if next.Fixed > 0 {
		next.Ends = now.Add(time.Duration(next.Fixed) * time.Second).UnixNano()
	}
	return &next, nil
}

func (r LeaseRequest) change(l *Lease, now time.Time) (*Lease, error) {
	switch l.State(now) {
	case leaseLeased:
	case leaseBreaking:
		if !strings.EqualFold(l.ID, r.id) && !strings.EqualFold(l.ID, r.proposed) {
			return nil, errLeaseID()
		}
		return nil, errLease(http.StatusConflict, "LeaseIsBreakingAndCannotBeChanged", "The lease ID matched, but the lease is currently in breaking state and cannot be changed.")
	default:
		return nil, errNoLease()
	}
	if !strings.EqualFold(l.ID, r.id) && !strings.EqualFold(l.ID, r.proposed) {
		return nil, errLeaseID()
	}
	next := *l
	next.ID = r.proposed
	return &next, nil
}

func (r LeaseRequest) breakIt(l *Lease, now time.Time) (*Lease, int64, error) {
	state := l.State(now)
	if state == leaseAvailable {
		return nil, 0, errNoLease()
	}
	next := *l
	seconds := func(until int64) int64 {
		return (until - now.UnixNano() + int64(time.Second) - 1) / int64(time.Second)
	}
	var left int64
	switch state {
	case leaseLeased:
		left = max(r.period, 0)
		if l.Ends > 0 {
			if rest := seconds(l.Ends); r.period < 0 || rest < left {
				left = rest
			}
		}
	case leaseBreaking:
		left = seconds(l.Broken)
		if r.period >= 0 {
			left = min(left, r.period)
		}
	}
	next.Broken = now.Add(time.Duration(left) * time.Second).UnixNano()
	return &next, left, nil
}

// SetLease sets the headers that tell of a lease.
func SetLease(h http.Header, l *Lease, now time.Time) {
	state := l.State(now)
	h.Set("x-ms-lease-state", state)
	h.Set("x-ms-lease-status", leaseStatus(l, now))
	if state == leaseLeased {
		h.Set("x-ms-lease-duration", leaseDuration(l))
	}
}

func leaseStatus(l *Lease, now time.Time) string {
	if l.Locked(now) {
		return "locked"
	}
	return "unlocked"
}

func leaseDuration(l *Lease) string {
	if l.Fixed > 0 {
		return "fixed"
	}
	return "infinite"
}

// Lease writes what the properties of a listing tell of a lease.
func (x *XML) Lease(l *Lease, now time.Time) {
	state := l.State(now)
	x.Text("LeaseStatus", leaseStatus(l, now))
	x.Text("LeaseState", state)
	if state == leaseLeased {
		x.Text("LeaseDuration", leaseDuration(l))
	}
}

// SendLease answers an operation on a lease.
func (q *Request) SendLease(r LeaseRequest, status int, left int64) error {
	h := q.W.Header()
	switch r.action {
	case "acquire", "change":
		h.Set("x-ms-lease-id", r.proposed)
	case "renew":
		h.Set("x-ms-lease-id", r.id)
	case "break":
		h.Set("x-ms-lease-time", strconv.FormatInt(left, 10))
	}
	return q.Send(status)
}
