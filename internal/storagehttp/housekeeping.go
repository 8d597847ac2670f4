package storagehttp

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"vauban.dev/store"
)

// Housekeeping is when a service removes what nobody sees any more: at its start, every hour, and after Wake.
type Housekeeping struct{ kick chan struct{} }

// NewHousekeeping is ready to be woken and run.
func NewHousekeeping() Housekeeping { return Housekeeping{make(chan struct{}, 1)} }

// Wake has Run sweep soon; it never blocks.
func (h Housekeeping) Wake() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// Run sweeps until ctx ends. A sweep that fails is logged, and tried again at the next.
func (h Housekeeping) Run(ctx context.Context, service string, log *slog.Logger, sweep func(context.Context) error) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := sweep(ctx); err != nil && ctx.Err() == nil {
			log.Error(service+": sweep", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-h.kick:
		case <-tick.C:
		}
	}
}

// SweepBatch is how many documents one transaction of a sweep removes: other writers wait as long.
const SweepBatch = 200

// EmptyTrash removes what the documents of kind trash name, and then these. remove takes away some of what a key names, in a
// transaction, and returns how much; done runs after the commit, nil for nothing.
func EmptyTrash(ctx context.Context, s store.Store, trash string, remove func(tx store.Tx, key string) (n int, done func(), err error)) error {
	var keys []string
	err := s.View(ctx, func(tx store.Tx) error {
		return tx.Scan(trash, "", "", func(d store.Doc) bool {
			keys = append(keys, d.Key)
			return true
		})
	})
	for _, key := range keys {
		for n := 1; n > 0 && err == nil && ctx.Err() == nil; {
			var done func()
			err = s.Update(ctx, func(tx store.Tx) (err error) {
				if n, done, err = remove(tx, key); err == nil && n == 0 {
					err = tx.Delete(trash, key, store.Any)
				}
				return err
			})
			if err == nil && done != nil {
				done()
			}
		}
	}
	return errors.Join(err, ctx.Err())
}

// DeleteSome deletes some of the documents of the kinds below prefix and returns how many.
func DeleteSome(tx store.Tx, prefix string, kinds ...string) (n int, err error) {
	for _, kind := range kinds {
		docs, err := FirstDocs(tx, kind, prefix)
		for i := 0; i < len(docs) && err == nil; i++ {
			err = tx.Delete(kind, docs[i].Key, store.Any)
		}
		if err != nil {
			return n, err
		}
		n += len(docs)
	}
	return n, nil
}

// FirstDocs are the first SweepBatch documents of a kind below prefix.
func FirstDocs(tx store.Tx, kind, prefix string) (docs []store.Doc, err error) {
	err = tx.Scan(kind, prefix, "", func(d store.Doc) bool {
		docs = append(docs, d)
		return len(docs) < SweepBatch
	})
	return docs, err
}
