package blob

import "net/http"

func (q *request) setBlobMetadata() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	k, err := q.customerKey()
	if err != nil {
		return err
	}
	b, err := q.change(func(t *blobTx, d *blobDoc) error {
		if err := k.matches(d.Sealing); err != nil {
			return err
		}
		d.Metadata = m
		return t.branch(d)
	})
	if err != nil {
		return err
	}
	q.wrote(b, k)
	return q.Send(http.StatusOK)
}

// wrote sets the headers that every write of a blob answers with.
func (q *request) wrote(b Blob, k customerKey) {
	q.SetStamp(b.ETag, b.LastModified)
	k.tell(q.W.Header())
	if b.Version != "" {
		q.W.Header().Set("x-ms-version-id", b.Version)
	}
}

// setBlobProperties replaces all HTTP properties: what is not sent is cleared. For page blobs it sets the length and
// the sequence number, and leaves the properties alone when none is sent.
func (q *request) setBlobProperties() error {
	h := q.R.Header
	sum, err := q.blobMD5(false)
	if err != nil {
		return err
	}
	size, err := q.pageLength()
	if err != nil {
		return err
	}
	sequence := h.Get("X-Ms-Sequence-Number-Action") != "" || h.Get("X-Ms-Blob-Sequence-Number") != ""
	next := Headers{
		ContentType: h.Get("X-Ms-Blob-Content-Type"), ContentEncoding: h.Get("X-Ms-Blob-Content-Encoding"), ContentLanguage: h.Get("X-Ms-Blob-Content-Language"),
		ContentDisposition: h.Get("X-Ms-Blob-Content-Disposition"), CacheControl: h.Get("X-Ms-Blob-Cache-Control"), ContentMD5: sum,
	}
	given := next.ContentType+next.ContentEncoding+next.ContentLanguage+next.ContentDisposition+next.CacheControl != "" || len(sum) > 0
	b, err := q.change(func(t *blobTx, d *blobDoc) error {
		if (size >= 0 || sequence) && d.Type != PageBlob {
			return errInvalidBlobType().Because("lengths and sequence numbers are set of page blobs")
		}
		if given || size < 0 && !sequence {
			d.Headers = next
		}
		if err := q.changeSequence(d); err != nil || size < 0 {
			return err
		}
		return t.resize(d, size)
	})
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	if b.Type == PageBlob {
		setInt(q.W.Header(), "x-ms-blob-sequence-number", b.Sequence)
	}
	return q.Send(http.StatusOK)
}

func (q *request) change(f func(*blobTx, *blobDoc) error) (Blob, error) {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return Blob{}, err
	}
	return q.s.change(q.Ctx, q.Account.Name, q.container, q.blob, cond, f)
}
