// Package store keeps the desired state: documents in kinds, with versions, transactions and a watch.
// It knows nothing of what the documents say. Backends: store/sqlite; every backend passes storetest.
package store

import (
	"context"
	"errors"
)

var (
	// ErrNotFound is returned by Get and Delete for a key that has no document.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict is returned by Put and Delete when the document is not at the expected version.
	ErrConflict = errors.New("store: version conflict")
	// ErrFull is returned by Update when there is no room for its writes: nothing of them is kept, what was acknowledged
	// is, and Update works again when there is room.
	ErrFull = errors.New("store: no space left on the device")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("store: closed")
)

// Doc is one document. Kind and Key are its address: keys are compared byte-wise and are ordered.
// Version is set by the store: it rises with every write of the store, so it also orders writes.
type Doc struct {
	Kind    string
	Key     string
	Version int64
	Value   []byte
}

// Any is the expected version that matches whether or not the document exists; None matches only
// when it does not.
const (
	Any  int64 = -1
	None int64 = 0
)

// Tx is a transaction. It must not be used after the function that received it returned, nor by two
// goroutines. Values returned must not be changed by the caller.
type Tx interface {
	// Get returns the document or ErrNotFound.
	Get(kind, key string) (Doc, error)
	// Put writes the document if it is at the expected version (Any, None or a Version) and returns
	// its new version, or ErrConflict. Only in Update.
	Put(kind, key string, value []byte, expect int64) (int64, error)
	// Delete removes the document if it is at the expected version; ErrNotFound, ErrConflict.
	Delete(kind, key string, expect int64) error
	// Scan calls yield for the documents of kind whose key starts with prefix and is greater than
	// after ("" = from the first), in key order, until yield returns false. The transaction may be
	// written to while scanning only after Scan returned.
	Scan(kind, prefix, after string, yield func(Doc) bool) error
}

// Change is one write of a committed transaction. Deleted documents have a nil Value.
type Change struct {
	Kind, Key string
	Version   int64
	Value     []byte
}

// Store is safe for use by many goroutines.
type Store interface {
	// View runs f on a consistent snapshot.
	View(ctx context.Context, f func(Tx) error) error
	// Update runs f and commits. When it returns nil the writes are on disk (invariant 7). When f
	// returns an error nothing of it is written and that error is returned. f may run while other
	// callers' transactions wait; it must not block, and must not call the store again.
	Update(ctx context.Context, f func(Tx) error) error
	// Watch delivers the changes of the named kinds, committed after the call, in commit order, until
	// ctx ends; then the channel is closed. A slow reader never blocks writers and never misses a change.
	Watch(ctx context.Context, kinds ...string) <-chan []Change
	// Changed returns the version of the latest committed write to the named kinds, of all kinds when none is
	// named. Kinds that were not written since the store was opened have version 0. It rises before the write's Update
	// returns, whichever server wrote, and asks memory alone. So what a View found that began after v := Changed() holds
	// as long as Changed(the kinds that it read) ≤ v. A store that has lost its database answers higher every time.
	Changed(kinds ...string) int64
	// Kinds is how many kinds were written since the store was opened, by the rule of Changed: what a View found of kinds
	// without documents holds for all of them while it does not rise.
	Kinds() int64
	Close() error
}
