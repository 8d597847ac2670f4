package blob

import "time"

func (q *request) leaseBlob() error {
	r, err := q.ParseLease()
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
		if doc.Lease, status, left, err = r.Apply(t.old.Lease, t.now, t.old.Modified); err != nil {
			return err
		}
		return t.put(&doc, payload{})
	})
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	return q.SendLease(r, status, left)
}

func (q *request) leaseContainer() error {
	r, err := q.ParseLease()
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
		doc.Lease, status, left, err = r.Apply(doc.Lease, now, 0)
		return err
	})
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	return q.SendLease(r, status, left)
}
