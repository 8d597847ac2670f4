package blob

import (
	"net/http"
	"strings"
	"time"
)

// rehydration is a blob on its way out of the archive ("Blob rehydration from the archive tier").
type rehydration struct {
	Tier     string `json:"tier"`
	Priority string `json:"p"`  // Standard, High
	Ready    int64  `json:"at"` // Unix nanoseconds of the region's clock
}

// status is what x-ms-archive-status says.
func (r *rehydration) status() string { return "rehydrate-pending-to-" + strings.ToLower(r.Tier) }

const (
	tierArchive = "Archive"
	// How long rehydration takes: the longest that Azure names for either priority.
	rehydrateStandard = 15 * time.Hour
	rehydrateHigh     = time.Hour
)

// tierNow is the tier that the blob has at the time, and what it is waiting for.
func (d *blobDoc) tierNow(now time.Time) (tier string, waiting *rehydration) {
	if r := d.Rehydrate; r != nil {
		if now.UnixNano() >= r.Ready {
			return r.Tier, nil
		}
		return tierArchive, r
	}
	return d.Tier, nil
}

// archived reports whether the content is offline.
func (d *blobDoc) archived(now time.Time) bool {
	tier, _ := d.tierNow(now)
	return tier == tierArchive
}

func errArchived() *Error {
	return newError(http.StatusConflict, "BlobArchived", "This operation is not permitted on an archived blob.")
}

// setTier gives the document another tier; waits reports that it has to be rehydrated first.
func (d *blobDoc) setTier(tier, priority string, now time.Time) (waits bool, err error) {
	current, waiting := d.tierNow(now)
	if waiting != nil {
		if tier == tierArchive || !strings.EqualFold(tier, waiting.Tier) {
			return false, newError(http.StatusConflict, "BlobBeingRehydrated", "This operation is not permitted because the blob is being rehydrated.")
		}
		if priority == "High" && waiting.Priority != "High" {
			d.Rehydrate = newRehydration(tier, priority, now)
		}
		return true, nil
	}
	d.TierAt, d.Rehydrate = now.UnixNano(), nil
	if current == tierArchive && tier != tierArchive {
		d.Tier, d.Rehydrate = tierArchive, newRehydration(tier, priority, now)
		return true, nil
	}
	d.Tier = tier
	return false, nil
}

func newRehydration(tier, priority string, now time.Time) *rehydration {
	wait := rehydrateStandard
	if priority == "High" {
		wait = rehydrateHigh
	}
	return &rehydration{Tier: tier, Priority: priority, Ready: now.Add(wait).UnixNano()}
}

func readTier(v string) (string, error) {
	switch v {
	case "", "Hot", "Cool", "Cold", tierArchive:
		return v, nil
	}
	return "", errInvalidHeader("x-ms-access-tier", v)
}

// rehydratePriority reads x-ms-rehydrate-priority.
func (q *request) rehydratePriority() (string, error) {
	switch v := q.R.Header.Get("X-Ms-Rehydrate-Priority"); {
	case v == "" || strings.EqualFold(v, "Standard"):
		return "Standard", nil
	case strings.EqualFold(v, "High"):
		return "High", nil
	default:
		return "", errInvalidHeader("x-ms-rehydrate-priority", v)
	}
}

func (q *request) setBlobTier() error {
	at, err := q.target()
	if err != nil {
		return err
	}
	t, err := readTier(q.R.Header.Get("X-Ms-Access-Tier"))
	if err != nil {
		return err
	}
	if t == "" {
		return errMissingHeader("x-ms-access-tier")
	}
	priority, err := q.rehydratePriority()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	cond.readLease = true
	waits := false
	_, err = q.s.updateAt(q.Ctx, q.Account.Name, q.container, at, func(b *blobTx) error {
		switch {
		case b.old == nil:
			return errBlobNotFound()
		case b.old.Type != BlockBlob:
			return errInvalidBlobType()
		case b.old.Sealing.Hash != "" && t == tierArchive:
			return errInvalidHeader("x-ms-access-tier", t).Because("a blob with a customer-provided key cannot be archived")
		}
		if err := b.check(cond); err != nil {
			return err
		}
		doc := *b.old
		if waits, err = doc.setTier(t, priority, b.now); err != nil {
			return err
		}
		return b.put(&doc, payload{})
	})
	if err != nil {
		return err
	}
	if waits {
		return q.Send(http.StatusAccepted)
	}
	return q.Send(http.StatusOK)
}
