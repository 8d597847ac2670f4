package blob

import (
	"net/http"
	"strings"
	"time"
)

// conditions are the conditional headers of a request ("Specifying conditional headers for Blob service
// operations"). Times have seconds.
type conditions struct {
	ifMatch, ifNoneMatch string
	ifModified           time.Time // If-Modified-Since
	ifUnmodified         time.Time // If-Unmodified-Since

	// noOverwrite refuses a write to a blob that exists: the caller's permission is to create only.
	noOverwrite bool
}

func parseConditions(h http.Header) (c conditions, err error) {
	c.ifMatch, c.ifNoneMatch = strings.TrimSpace(h.Get("If-Match")), strings.TrimSpace(h.Get("If-None-Match"))
	if c.ifModified, err = parseTime(h, "If-Modified-Since"); err != nil {
		return c, err
	}
	c.ifUnmodified, err = parseTime(h, "If-Unmodified-Since")
	return c, err
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
