package blob

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/internal/storagehttp"
)

// lease of a blob or container ("Lease Blob", "Lease Container"). Times are Unix nanoseconds of the region's clock.
type lease struct {
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

func (l *lease) state(now time.Time) string {
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

// locked reports whether writes need the lease's id.
func (l *lease) locked(now time.Time) bool {
	s := l.state(now)
	return s == leaseLeased || s == leaseBreaking
}

// afterWrite is what a lease is after a write that did not need it: one that is over is gone.
func (l *lease) afterWrite(now time.Time) *lease {
	if l.locked(now) {
		return l
	}
	return nil
}

func errLease(status int, code, message string) *Error { return newError(status, code, "%s", message) }

// need judges the lease id of an operation other than on the lease itself. what is "Blob" or "Container"; a write is
// refused without the id of a lease that holds, a read only with a wrong one.
func (l *lease) need(now time.Time, id, what string, write bool) error {
	state := l.state(now)
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

// leaseRequest is what the headers of Lease Blob and Lease Container ask for.
type leaseRequest struct {
	action   string // acquire, renew, change, release, break
	id       string // x-ms-lease-id
	proposed string
	duration int64 // seconds; -1: infinite
	period   int64 // of a break, seconds; -1: not given
}

func (q *request) leaseRequest() (r leaseRequest, err error) {
	h := q.R.Header
	r = leaseRequest{action: strings.ToLower(h.Get("X-Ms-Lease-Action")), id: h.Get("X-Ms-Lease-Id"), proposed: h.Get("X-Ms-Proposed-Lease-Id"), duration: -1}
	for name, v := range map[string]string{"X-Ms-Lease-Id": r.id, "X-Ms-Proposed-Lease-Id": r.proposed} {
		if v == "" {
			continue
		}
		if _, err := uuid.Parse(v); err != nil {
			return r, errInvalidHeader(strings.ToLower(name), v).Because("header %s is no GUID: '%s'", strings.ToLower(name), v)
		}
	}
	switch r.action {
	case "acquire":
		switch v := h.Get("X-Ms-Lease-Duration"); v {
		case "":
			return r, errMissingHeader("x-ms-lease-duration")
		case "-1":
		default:
			if r.duration, err = q.int64Header("X-Ms-Lease-Duration"); err != nil {
				return r, err
			}
			if r.duration < 15 || r.duration > 60 {
				return r, errInvalidHeader("x-ms-lease-duration", v).Because("a lease lasts 15 to 60 seconds, or -1 without end, not '%s'", v)
			}
		}
		if r.proposed == "" {
			r.proposed = uuid.NewString()
		}
	case "renew", "release", "change":
		if r.id == "" {
			return r, errMissingHeader("x-ms-lease-id")
		}
		if r.action == "change" && r.proposed == "" {
			return r, errMissingHeader("x-ms-proposed-lease-id")
		}
	case "break":
		if r.period, err = q.int64Header("X-Ms-Lease-Break-Period"); err != nil {
			return r, err
		}
		if r.period > 60 {
			return r, errInvalidHeader("x-ms-lease-break-period", h.Get("X-Ms-Lease-Break-Period")).Because("a break period is 0 to 60 seconds")
		}
	case "":
		return r, errMissingHeader("x-ms-lease-action")
	default:
		return r, errInvalidHeader("x-ms-lease-action", r.action)
	}
	return r, nil
}

func errLeaseID() *Error {
	return errLease(http.StatusConflict, "LeaseIdMismatchWithLeaseOperation", "The lease ID specified did not match the lease ID for the blob/container.")
}

func errNoLease() *Error {
	return errLease(http.StatusConflict, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the blob/container.")
}

// apply does what r asks with the lease l, which may be nil, and returns the lease that is then, with the status of the answer
// and, for a break, the seconds that it still holds. modified is when the blob or container was last changed.
func (r leaseRequest) apply(l *lease, now time.Time, modified int64) (next *lease, status int, left int64, err error) {
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

func (r leaseRequest) acquire(l *lease, now time.Time) (*lease, error) {
	same := l != nil && strings.EqualFold(l.ID, r.proposed)
	switch l.state(now) {
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
	next := &lease{ID: r.proposed}
	if r.duration > 0 {
		next.Fixed, next.Ends = r.duration, now.Add(time.Duration(r.duration)*time.Second).UnixNano()
	}
	return next, nil
}

func (r leaseRequest) renew(l *lease, now time.Time, modified int64) (*lease, error) {
	state := l.state(now)
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

func (r leaseRequest) change(l *lease, now time.Time) (*lease, error) {
	switch l.state(now) {
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

func (r leaseRequest) breakIt(l *lease, now time.Time) (*lease, int64, error) {
	state := l.state(now)
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

// setLease sets the headers that tell of a lease.
func setLease(h http.Header, l *lease, now time.Time) {
	state := l.state(now)
	h.Set("x-ms-lease-state", state)
	h.Set("x-ms-lease-status", leaseStatus(l, now))
	if state == leaseLeased {
		h.Set("x-ms-lease-duration", leaseDuration(l))
	}
}

func leaseStatus(l *lease, now time.Time) string {
	if l.locked(now) {
		return "locked"
	}
	return "unlocked"
}

func leaseDuration(l *lease) string {
	if l.Fixed > 0 {
		return "fixed"
	}
	return "infinite"
}

// writeLease writes what the properties of a listing tell of a lease.
func writeLease(x *storagehttp.XML, l *lease, now time.Time) {
	state := l.state(now)
	x.Text("LeaseStatus", leaseStatus(l, now))
	x.Text("LeaseState", state)
	if state == leaseLeased {
		x.Text("LeaseDuration", leaseDuration(l))
	}
}

func (q *request) leaseBlob() error {
	r, err := q.leaseRequest()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	cond.anyLease = true
	var status int
	var left int64
	b, err := q.s.update(q.Ctx, q.Account.Name, q.container, q.blob, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		doc := *t.old
		if doc.Lease, status, left, err = r.apply(t.old.Lease, t.now, t.old.Modified); err != nil {
			return err
		}
		return t.put(&doc, payload{})
	})
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	return q.sendLease(r, status, left)
}

func (q *request) leaseContainer() error {
	r, err := q.leaseRequest()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	var status int
	var left int64
	c, err := q.s.editContainer(q.Ctx, q.Account.Name, q.container, func(doc *containerDoc, _ int64, now time.Time) error {
		if err := cond.forWrite(true, doc.ETag, doc.Modified); err != nil {
			return err
		}
		doc.Lease, status, left, err = r.apply(doc.Lease, now, 0)
		return err
	})
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	return q.sendLease(r, status, left)
}

func (q *request) sendLease(r leaseRequest, status int, left int64) error {
	h := q.W.Header()
	switch r.action {
	case "acquire", "change":
		h.Set("x-ms-lease-id", r.proposed)
	case "renew":
		h.Set("x-ms-lease-id", r.id)
	case "break":
		setInt(h, "x-ms-lease-time", left)
	}
	return q.Send(status)
}
