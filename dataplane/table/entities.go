package table

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/internal/odata"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Action is what an operation does to one entity.
type Action uint8

// Insert makes; Replace and Merge change one that is there, with a condition; the Or forms make it if it is not there.
const (
	Insert Action = iota
	Replace
	Merge
	InsertOrReplace
	InsertOrMerge
	Delete
)

// Operation is one write of an entity.
type Operation struct {
	Action Action
	Entity Entity
	Match  string // If-Match of Replace, Merge and Delete: an ETag or "*"
}

func entityKey(account, uid, partition, row string) string {
	return account + "/" + uid + "/" + partition + "\x01" + row
}

// sealed writes and reads entities of one account.
type sealed struct {
	tx  store.Tx
	key *seal.Key
}

func (s sealed) put(at string, e *Entity) error {
	plain, err := json.Marshal(entityDoc{e.Timestamp.UnixNano(), e.Properties})
	if err != nil {
		return err
	}
	b, err := s.key.Seal(nil, plain, "table/"+at)
	if err != nil {
		return err
	}
	_, err = s.tx.Put(kindEntity, at, b, store.Any)
	return err
}

func (s sealed) open(d store.Doc) (e Entity, err error) {
	plain, err := s.key.Open(nil, d.Value, "table/"+d.Key)
	if err != nil {
		return e, err
	}
	var doc entityDoc
	if err := decode(plain, &doc); err != nil {
		return e, err
	}
	_, _, keys := cutKey(d.Key)
	e.PartitionKey, e.RowKey, _ = strings.Cut(keys, "\x01")
	e.Timestamp, e.Properties = time.Unix(0, doc.At).UTC(), doc.Properties
	return e, nil
}

// cutKey splits account/uid/… .
func cutKey(key string) (account, uid, rest string) {
	account, rest, _ = strings.Cut(key, "/")
	uid, rest, _ = strings.Cut(rest, "/")
	return account, uid, rest
}

func errNoEntity(e *Entity) error {
	return storagehttp.NewError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").
		Because("there is no entity PartitionKey '%s', RowKey '%s'", e.PartitionKey, e.RowKey)
}

// failedAt is a refusal of one operation of a transaction.
type failedAt struct {
	index int
	err   error
}

func (f failedAt) Error() string { return f.err.Error() }
func (f failedAt) Unwrap() error { return f.err }

// Apply does the operations, all or none of them, and returns the entities as they were written (of a Delete, as it
// was). EntityAlreadyExists, ResourceNotFound, UpdateConditionNotSatisfied, TableNotFound.
func (s *Service) Apply(ctx context.Context, account, table string, ops []Operation) (written []Entity, err error) {
	for i := range ops {
		if err := ops[i].Entity.check(); err != nil {
			return nil, failedAt{i, err}
		}
	}
	key, err := s.key(ctx, account)
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		written = written[:0]
		doc, err := getTable(tx, account, table)
		if err != nil {
			return err
		}
		for i := range ops {
			e, err := s.apply(sealed{tx, key}, account, doc.UID, &ops[i])
			if err != nil {
				return failedAt{i, err}
			}
			written = append(written, e)
		}
		return nil
	})
	return written, err
}

func (s *Service) apply(tx sealed, account, uid string, op *Operation) (e Entity, err error) {
	e = op.Entity
	at := entityKey(account, uid, e.PartitionKey, e.RowKey)
	d, err := tx.tx.Get(kindEntity, at)
	exists := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return e, err
	}
	var old Entity
	if exists {
		if old, err = tx.open(d); err != nil {
			return e, err
		}
	}
	switch op.Action {
	case Insert:
		if exists {
			return e, storagehttp.NewError(http.StatusConflict, "EntityAlreadyExists", "The specified entity already exists.").
				Because("PartitionKey '%s', RowKey '%s'", e.PartitionKey, e.RowKey)
		}
	case Replace, Merge, Delete:
		if !exists {
			return e, errNoEntity(&e)
		}
		if op.Match != "*" && op.Match != old.ETag() {
			return e, storagehttp.NewError(http.StatusPreconditionFailed, "UpdateConditionNotSatisfied", "The update condition specified in the request was not satisfied.").
				Because("If-Match is %s, the entity's ETag %s", op.Match, old.ETag())
		}
	}
	if op.Action == Delete {
		return old, tx.tx.Delete(kindEntity, at, store.Any)
	}
	if exists && (op.Action == Merge || op.Action == InsertOrMerge) {
		merged := old.Properties
		if merged == nil {
			merged = map[string]Value{}
		}
		for name, v := range e.Properties {
			merged[name] = v
		}
		e.Properties = merged
		if err := e.check(); err != nil {
			return e, err
		}
	}
	e.Timestamp = s.stamp()
	return e, tx.put(at, &e)
}

// Get returns an entity; ResourceNotFound, TableNotFound.
func (s *Service) Get(ctx context.Context, account, table, partition, row string) (e Entity, err error) {
	key, err := s.key(ctx, account)
	if err != nil {
		return e, err
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		doc, err := getTable(tx, account, table)
		if err != nil {
			return err
		}
		d, err := tx.Get(kindEntity, entityKey(account, doc.UID, partition, row))
		if errors.Is(err, store.ErrNotFound) {
			return errNoEntity(&Entity{PartitionKey: partition, RowKey: row})
		}
		if err != nil {
			return err
		}
		e, err = sealed{tx, key}.open(d)
		return err
	})
	return e, err
}

// Query asks for entities, in the order of their keys.
type Query struct {
	Filter                 odata.Filter
	Top                    int    // at most so many, 0: a page
	NextPartition, NextRow string // the first to look at
	Bounds                 Bounds // of a SAS
}

// Bounds are the keys that a service SAS is for; a nil bound is none.
type Bounds struct{ StartPartition, StartRow, EndPartition, EndRow *string }

// within reports whether the keys are in the range ("Create a service SAS", table access ranges).
func (b Bounds) within(partition, row string) bool {
	if b.StartPartition != nil && (partition < *b.StartPartition || partition == *b.StartPartition && b.StartRow != nil && row < *b.StartRow) {
		return false
	}
	return b.EndPartition == nil || partition < *b.EndPartition || partition == *b.EndPartition && (b.EndRow == nil || row <= *b.EndRow)
}

const (
	// maxPage is how many entities a page has at most, maxLooked how many are looked at for one: a filter that finds
	// few answers a short page and where to go on, as in Azure after five seconds.
	maxPage   = 1000
	maxLooked = 20_000
)

// List returns a page of entities, and the keys to go on with when there may be more.
func (s *Service) List(ctx context.Context, account, table string, q Query) (page []Entity, next *[2]string, err error) {
	key, err := s.key(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	limit := maxPage
	if q.Top > 0 {
		limit = min(q.Top, maxPage)
	}
	low, high, bounded := odata.Between(q.Filter, "PartitionKey")
	rowLow, rowHigh, rowBounded := odata.Between(q.Filter, "RowKey")
	err = s.store.View(ctx, func(tx store.Tx) error {
		doc, err := getTable(tx, account, table)
		if err != nil {
			return err
		}
		root := account + "/" + doc.UID + "/"
		from := low + "\x01"
		if bounded && low == high {
			from += rowLow
			root += low + "\x01" // one partition
		}
		from = account + "/" + doc.UID + "/" + max(from, q.NextPartition+"\x01"+q.NextRow)
		looked := 0
		var bad error
		visit := func(d store.Doc) bool {
			_, _, keys := cutKey(d.Key)
			partition, row, _ := strings.Cut(keys, "\x01")
			if bounded && (partition > high || partition == high && low == high && rowBounded && row > rowHigh) {
				return false
			}
			if looked++; len(page) == limit || looked > maxLooked {
				next = &[2]string{partition, row}
				return false
			}
			if !q.Bounds.within(partition, row) {
				return true
			}
			var e Entity
			if e, bad = (sealed{tx, key}).open(d); bad != nil {
				return false
			}
			in, err := q.Filter.Match(&e)
			if err != nil {
				bad = errInvalidInput("$filter: %v", err)
				return false
			}
			if in {
				page = append(page, e)
			}
			return true
		}
		more := true
		switch d, err := tx.Get(kindEntity, from); { // a scan begins behind the key that it is told
		case err == nil:
			more = visit(d)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		if more && bad == nil {
			err = tx.Scan(kindEntity, root, from, visit)
		}
		return errors.Join(err, bad)
	})
	return page, next, err
}
