package blob

import (
	"net/http"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
)

// conditions are the conditional headers of a request ("Specifying conditional headers for Blob service
// operations"). Times have seconds.
type conditions struct {
	ifMatch, ifNoneMatch string
	ifModified           time.Time // If-Modified-Since
	ifUnmodified         time.Time // If-Unmodified-Since

	tags *tagExpr // x-ms-if-tags

	lease    string // x-ms-lease-id
	anyLease bool   // the operation is on the lease itself, or free of it
	// readLease: the write needs no lease id, but one that is given must be right.
	readLease bool

	// noOverwrite refuses a write to a blob that exists: the caller's permission is to create only.
	noOverwrite bool
}

func parseConditions(h http.Header) (c conditions, err error) {
	c.ifMatch, c.ifNoneMatch = strings.TrimSpace(h.Get("If-Match")), strings.TrimSpace(h.Get("If-None-Match"))
	c.lease = h.Get("X-Ms-Lease-Id")
	if c.ifModified, err = parseTime(h, "If-Modified-Since"); err != nil {
		return c, err
	}
	if c.ifUnmodified, err = parseTime(h, "If-Unmodified-Since"); err != nil {
		return c, err
	}
	if v := h.Get("X-Ms-If-Tags"); v != "" {
		if c.tags, err = parseTagExpr(v, true); err != nil {
			return c, errInvalidHeader("x-ms-if-tags", v).Because("header x-ms-if-tags: %v", err)
		}
	}
	return c, nil
}

// judgeWrite judges a write to a blob; doc is nil when there is none.
func (c conditions) judgeWrite(doc *blobDoc, now time.Time) error {
	if doc == nil {
		if err := c.forWrite(false, 0, 0); err != nil {
			return err
		}
		if c.tags != nil {
			return errConditionNotMet()
		}
		if c.anyLease {
			return nil
		}
		return (*storagehttp.Lease)(nil).Need(now, c.lease, "Blob", true)
	}
	if doc.Copy.pending() && !c.anyLease {
		return newError(http.StatusConflict, "PendingCopyOperation", "There is currently a pending copy operation.")
	}
	if err := c.forWrite(true, doc.ETag, doc.Modified); err != nil {
		return err
	}
	if c.tags != nil && !c.tags.match("", doc.Tags) {
		return errConditionNotMet()
	}
	if c.anyLease {
		return nil
	}
	return doc.Lease.Need(now, c.lease, "Blob", !c.readLease)
}

// judgeRead judges a read of a blob.
func (c conditions) judgeRead(doc *blobDoc, now time.Time) error {
	if err := c.forRead(doc.ETag, doc.Modified); err != nil {
		return err
	}
	if c.tags != nil && !c.tags.match("", doc.Tags) {
		return errConditionNotMet()
	}
	return doc.Lease.Need(now, c.lease, "Blob", false)
}

func parseTime(h http.Header, name string) (time.Time, error) {
	v := h.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return t, errInvalidHeader(name, v)
	}
	return t, nil
}

// forWrite judges a write to a blob (or container) that exists or not, with its ETag and last modification.
func (c conditions) forWrite(exists bool, etag, modified int64) error {
	if !exists {
		if c.ifMatch != "" || !c.ifUnmodified.IsZero() {
			return errConditionNotMet()
		}
		return nil
	}
	if c.noOverwrite {
		return newError(http.StatusForbidden, "UnauthorizedBlobOverwrite", "This request is not authorized to perform blob overwrites.").
			Because("the permission is to create blobs, and this one exists")
	}
	if c.ifNoneMatch == "*" {
		return errBlobExists()
	}
	if c.ifNoneMatch != "" && matchETag(c.ifNoneMatch, etag) || c.ifMatch != "" && !matchETag(c.ifMatch, etag) {
		return errConditionNotMet()
	}
	return c.times(modified, errConditionNotMet())
}

// forRead judges a read; If-None-Match and If-Modified-Since answer 304.
func (c conditions) forRead(etag, modified int64) error {
	if c.ifMatch != "" && !matchETag(c.ifMatch, etag) {
		return errConditionNotMet()
	}
	if c.ifNoneMatch == "*" {
		return newError(http.StatusBadRequest, "UnsatisfiableCondition", "The request includes an unsatisfiable condition for this operation.").Because("If-None-Match: * asks to read a blob that is not there")
	}
	if c.ifNoneMatch != "" {
		if matchETag(c.ifNoneMatch, etag) {
			return errNotModified()
		}
		c.ifModified = time.Time{} // RFC 9110, 13.1.3: ignored beside If-None-Match
	}
	return c.times(modified, errNotModified())
}

func (c conditions) times(modified int64, unchanged error) error {
	last := time.Unix(0, modified).Truncate(time.Second)
	if !c.ifModified.IsZero() && !last.After(c.ifModified) {
		return unchanged
	}
	if !c.ifUnmodified.IsZero() && last.After(c.ifUnmodified) {
		return errConditionNotMet()
	}
	return nil
}

// matchETag compares a header value, "*" or a list of ETags with or without quotes, with an ETag.
func matchETag(header string, etag int64) bool {
	want := strings.Trim(formatETag(etag), `"`)
	for v := range strings.SplitSeq(header, ",") {
		v = strings.TrimPrefix(strings.TrimSpace(v), "W/")
		if v == "*" || strings.EqualFold(strings.Trim(v, `"`), want) {
			return true
		}
	}
	return false
}
