package commit

import (
	"fmt"

	"vauban.dev/store"
)

// Rows is a connection inside a transaction.
type Rows interface {
	// Get returns the document or store.ErrNotFound.
	Get(kind, key string) (store.Doc, error)
	// Page returns the first documents of kind, at most n, with from ≤ key and key < to, in order of their keys. A
	// nil to is no bound.
	Page(kind, from string, to []byte, n int) ([]store.Doc, error)
}

// Tx is a transaction on a connection.
type Tx struct {
	name    string
	rows    Rows    // nil when it is over
	w       *Writer // nil when it only reads
	changes []store.Change
}

var _ store.Tx = (*Tx)(nil)

// View is a transaction that reads.
func View(name string, rows Rows) *Tx { return &Tx{name: name, rows: rows} }

// End makes every further use of the transaction an error.
func (t *Tx) End() { t.rows = nil }

func (t *Tx) over() error { return fmt.Errorf("%s: the transaction is over", t.name) }

// Get is store.Tx.Get.
func (t *Tx) Get(kind, key string) (store.Doc, error) {
	if t.rows == nil {
		return store.Doc{}, t.over()
	}
	return t.rows.Get(kind, key)
}

// Put is store.Tx.Put.
func (t *Tx) Put(kind, key string, value []byte, expect int64) (int64, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	if err := t.check(kind, key, expect); err != nil {
		return 0, err
	}
	if value == nil {
		value = []byte{} // nil would be NULL, and a deletion to a watch
	}
	d := store.Doc{Kind: kind, Key: key, Version: t.w.version + 1, Value: value}
	if err := t.w.rows.Put(d); err != nil {
		return 0, fmt.Errorf("%s: put %s %s: %w", t.name, kind, key, err)
	}
	t.note(store.Change(d))
	return d.Version, nil
}

// Delete is store.Tx.Delete.
func (t *Tx) Delete(kind, key string, expect int64) error {
	if err := t.writable(); err != nil {
		return err
	}
	have, err := t.w.rows.Version(kind, key)
	switch {
	case err != nil:
		return fmt.Errorf("%s: get %s %s: %w", t.name, kind, key, err)
	case have == 0:
		return store.ErrNotFound
	case expect != store.Any && expect != have:
		return store.ErrConflict
	}
	if err := t.w.rows.Delete(kind, key); err != nil {
		return fmt.Errorf("%s: delete %s %s: %w", t.name, kind, key, err)
	}
	t.note(store.Change{Kind: kind, Key: key, Version: t.w.version + 1})
	return nil
}

func (t *Tx) note(c store.Change) {
	t.w.version = c.Version
	t.changes = append(t.changes, c)
}

func (t *Tx) writable() error {
	switch {
	case t.rows == nil:
		return t.over()
	case t.w == nil:
		return fmt.Errorf("%s: write in a read transaction", t.name)
	}
	return nil
}

// check compares the version of the document with the expected one.
func (t *Tx) check(kind, key string, expect int64) error {
	if expect == store.Any {
		return nil
	}
	have, err := t.w.rows.Version(kind, key)
	switch {
	case err != nil:
		return fmt.Errorf("%s: get %s %s: %w", t.name, kind, key, err)
	case have != expect:
		return store.ErrConflict
	}
	return nil
}

// page is how many rows Scan reads at a time: no statement is open while yield runs.
const page = 128

// Scan is store.Tx.Scan.
func (t *Tx) Scan(kind, prefix, after string, yield func(store.Doc) bool) error {
	from, end := prefix, successor(prefix)
	if after >= from && after != "" {
		from = after + "\x00" // the least key greater than after: one bound, which an index finds
	}
	for {
		if t.rows == nil {
			return t.over()
		}
		docs, err := t.rows.Page(kind, from, end, page)
		if err != nil {
			return fmt.Errorf("%s: scan %s %s: %w", t.name, kind, prefix, err)
		}
		for _, d := range docs {
			if !yield(d) {
				return nil
			}
		}
		if len(docs) < page {
			return nil
		}
		from = docs[len(docs)-1].Key + "\x00"
	}
}

// successor is the least string greater than all that start with prefix, nil when there is none: after 0xff…
func successor(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
