package blob

import (
	"net/http"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
)

// immutable is what keeps one version of a blob from being changed ("Version-level WORM policies for immutable blob data").
type immutable struct {
	Until  int64 `json:"u,omitempty"` // Unix nanoseconds; 0: no policy
	Locked bool  `json:"l,omitempty"`
	Hold   bool  `json:"h,omitempty"` // legal hold
}

func (k *immutable) holds(now time.Time) bool {
	return k != nil && (k.Hold || k.Until > now.UnixNano())
}

func (k *immutable) refusal() *Error {
	if k.Hold {
		return errImmutable().Because("the version is under a legal hold")
	}
	return errImmutable().Because("the version's immutability policy keeps it until %s", time.Unix(0, k.Until).UTC().Format(time.RFC3339))
}

// mayDelete judges the deletion of a snapshot or version by what keeps it and by its container's policies.
func (t *blobTx) mayDelete(doc *blobDoc) error {
	if doc.Keep.holds(t.now) {
		return doc.Keep.refusal()
	}
	return t.guard.mayDelete(doc, t.now)
}

// keepCheck judges what a transaction has done to a version that is kept: a write must have made a new version.
func (t *blobTx) keepCheck() error {
	if t.old == nil || !t.old.Keep.holds(t.now) {
		return nil
	}
	if t.gone && !(t.kind == kindBlob && t.keeps.Versioning) || t.new != nil && changed(t.old, t.new) && t.new.Version == t.old.Version {
		return t.old.Keep.refusal()
	}
	return nil
}

// immutability reads the headers x-ms-immutability-policy-… and x-ms-legal-hold of a write; nil without them.
func (q *request) immutability() (*immutable, error) {
	h := q.R.Header
	until, mode, hold := h.Get("X-Ms-Immutability-Policy-Until-Date"), h.Get("X-Ms-Immutability-Policy-Mode"), h.Get("X-Ms-Legal-Hold")
	if until == "" && mode == "" && hold == "" {
		return nil, nil
	}
	c, err := q.s.container(q.Ctx, q.Account.Name, q.container)
	if err != nil {
		return nil, err
	}
	if !c.Worm {
		return nil, errNoWorm()
	}
	k := new(immutable)
	if until != "" {
		t, err := http.ParseTime(until)
		if err != nil {
			return nil, errInvalidHeader("x-ms-immutability-policy-until-date", until)
		}
		if !t.After(q.s.clock.Now()) {
			return nil, errInvalidHeader("x-ms-immutability-policy-until-date", until).Because("the policy ends in the past of the region's clock")
		}
		k.Until = t.UnixNano()
	} else if mode != "" {
		return nil, errMissingHeader("x-ms-immutability-policy-until-date")
	}
	switch strings.ToLower(mode) {
	case "", "unlocked":
	case "locked":
		k.Locked = true
	default:
		return nil, errInvalidHeader("x-ms-immutability-policy-mode", mode)
	}
	switch strings.ToLower(hold) {
	case "", "false":
	case "true":
		k.Hold = true
	default:
		return nil, errInvalidHeader("x-ms-legal-hold", hold)
	}
	return k, nil
}

func errNoWorm() *Error {
	return newError(http.StatusConflict, "ImmutableStorageWithVersioningNotEnabled", "This operation is not permitted as immutable storage with versioning is not enabled on the container.").
		Because("set immutableStorageWithVersioning.enabled of the container in Resource Manager")
}

// changeKeep edits what keeps a blob, a snapshot or a version.
func (q *request) changeKeep(f func(now time.Time, k *immutable) error) (*immutable, error) {
	at, err := q.target()
	if err != nil {
		return nil, err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return nil, err
	}
	cond.anyLease = true
	var k immutable
	_, err = q.s.updateAt(q.Ctx, q.Account.Name, q.container, at, func(t *blobTx) error {
		if t.old == nil {
			return errBlobNotFound()
		}
		if !t.worm {
			return errNoWorm()
		}
		if err := t.check(cond); err != nil {
			return err
		}
		if t.old.Keep != nil {
			k = *t.old.Keep
		}
		if err := f(t.now, &k); err != nil {
			return err
		}
		doc := *t.old
		if doc.Keep = nil; k != (immutable{}) {
			kept := k
			doc.Keep = &kept
		}
		return t.put(&doc, payload{})
	})
	return &k, err
}

func (q *request) setImmutability() error {
	next, err := q.immutability()
	if err != nil {
		return err
	}
	if next == nil || next.Until == 0 {
		return errMissingHeader("x-ms-immutability-policy-until-date")
	}
	k, err := q.changeKeep(func(now time.Time, k *immutable) error {
		if k.Locked && k.Until > now.UnixNano() && (next.Until < k.Until || !next.Locked) {
			return errImmutable().Because("a locked policy can only be extended")
		}
		k.Until, k.Locked = next.Until, next.Locked
		return nil
	})
	if err != nil {
		return err
	}
	setKeep(q.W.Header(), k)
	return q.Send(http.StatusOK)
}

func (q *request) deleteImmutability() error {
	_, err := q.changeKeep(func(now time.Time, k *immutable) error {
		if k.Locked && k.Until > now.UnixNano() {
			return errImmutable().Because("a locked policy cannot be deleted")
		}
		k.Until, k.Locked = 0, false
		return nil
	})
	if err != nil {
		return err
	}
	return q.Send(http.StatusOK)
}

func (q *request) setLegalHold() error {
	v := strings.ToLower(q.R.Header.Get("X-Ms-Legal-Hold"))
	if v != "true" && v != "false" {
		return errInvalidHeader("x-ms-legal-hold", v)
	}
	k, err := q.changeKeep(func(_ time.Time, k *immutable) error { k.Hold = v == "true"; return nil })
	if err != nil {
		return err
	}
	setKeep(q.W.Header(), k)
	return q.Send(http.StatusOK)
}

// setKeep tells what keeps a blob.
func setKeep(h http.Header, k *immutable) {
	if k == nil {
		return
	}
	if k.Until > 0 {
		h.Set("x-ms-immutability-policy-until-date", storagehttp.HTTPTime(time.Unix(0, k.Until)))
		h.Set("x-ms-immutability-policy-mode", k.mode())
	}
	h.Set("x-ms-legal-hold", map[bool]string{true: "true", false: "false"}[k.Hold])
}

func (k *immutable) mode() string {
	if k.Locked {
		return "locked"
	}
	return "unlocked"
}
