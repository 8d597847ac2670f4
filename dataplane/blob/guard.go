package blob

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"vauban.dev/store"
)

// Guard keeps what is in a container from being changed ("Store business-critical blob data with immutable storage"):
// policies for a whole container.
type Guard struct {
	Hold    bool `json:"h,omitempty"` // a legal hold: until it is cleared
	Days    int  `json:"d,omitempty"` // an immutability period: since the creation of a blob; 0: none
	Appends bool `json:"a,omitempty"` // blocks may be added to append blobs under the period (allowProtectedAppendWrites)
}

func (g Guard) on() bool { return g.Hold || g.Days > 0 }

func errImmutable() *Error {
	return newError(http.StatusConflict, "BlobImmutableDueToPolicy", "This operation is not permitted as the blob is immutable due to a policy.")
}

// check judges what a transaction has done to a blob. New blobs, index tags and tiers are free; when a period is over a
// blob may be deleted, and still not be changed.
func (g Guard) check(t *blobTx) error {
	if !g.on() || t.old == nil {
		return nil
	}
	switch {
	case t.gone:
		return g.mayDelete(t.old, t.now)
	case t.new == nil || !changed(t.old, t.new):
		return nil
	case g.Appends && !g.Hold && appended(t.old, t.new):
		return nil
	}
	return errImmutable().Because("the container has a legal hold or an immutability policy")
}

// mayDelete judges the deletion of a blob, a snapshot or a version.
func (g Guard) mayDelete(doc *blobDoc, now time.Time) error {
	if g.Hold {
		return errImmutable().Because("the container is under a legal hold")
	}
	if until := time.Unix(0, doc.Created).UTC().AddDate(0, 0, g.Days); g.Days > 0 && now.Before(until) {
		return errImmutable().Because("the container's immutability period keeps it until %s", until.Format(time.RFC3339))
	}
	return nil
}

// changed reports whether a write has changed what a policy keeps: content, metadata, properties.
func changed(old, new *blobDoc) bool {
	samePart := (old.Part == nil) == (new.Part == nil) && (old.Part == nil || *old.Part == *new.Part)
	a, b := old.Headers, new.Headers
	sameHeaders := a.ContentType == b.ContentType && a.ContentEncoding == b.ContentEncoding && a.ContentLanguage == b.ContentLanguage &&
		a.ContentDisposition == b.ContentDisposition && a.CacheControl == b.CacheControl && slices.Equal(a.ContentMD5, b.ContentMD5)
	return old.Type != new.Type || old.Size != new.Size || old.Parts != new.Parts || old.Blocks != new.Blocks || old.Created != new.Created || !samePart || !sameHeaders || !maps.Equal(old.Metadata, new.Metadata)
}

// appended reports whether a write has only added a block to an append blob.
func appended(old, new *blobDoc) bool {
	return old.Type == AppendBlob && new.Type == AppendBlob && new.Blocks == old.Blocks+1 && new.Size >= old.Size && maps.Equal(old.Metadata, new.Metadata)
}

// GuardTx sets a container's guard, in Resource Manager's transaction, with what Resource Manager keeps of it.
func (s *Service) GuardTx(tx store.Tx, account, name string, g Guard, managed json.RawMessage) error {
	doc, err := getContainer(tx, account, name)
	if err != nil {
		return err
	}
	doc.Guard, doc.Managed = g, managed
	_, err = tx.Put(kindContainer, containerKey(account, name), encode(doc), store.Any)
	return err
}

// deletable refuses the deletion of a container whose blobs are kept.
func deletable(tx store.Tx, account string, doc containerDoc) error {
	if !doc.Guard.on() {
		return nil
	}
	holds := false
	err := tx.Scan(kindBlob, blobKey(account, doc.UID, ""), "", func(store.Doc) bool { holds = true; return false })
	if err == nil && holds {
		return newError(http.StatusConflict, "ContainerImmutableStorageEnabled", "The container has a legal hold or an immutability policy and is not empty: it cannot be deleted.")
	}
	return err
}
