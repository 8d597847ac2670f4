package queue

import (
	"context"
	"errors"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// Run does the housekeeping until ctx ends: it removes expired messages and those of deleted queues. Nobody sees them
// before either.
func (s *Service) Run(ctx context.Context) error {
	s.housekeeping.Run(ctx, "queue", s.log, s.Sweep)
	return nil
}

// Sweep removes what nobody sees any more, once.
func (s *Service) Sweep(ctx context.Context) error {
	err := storagehttp.EmptyTrash(ctx, s.store, kindTrash, func(tx store.Tx, key string) (int, func(), error) {
		n, err := storagehttp.DeleteSome(tx, key+"/", kindOrder, kindMessage)
		return n, nil, err
	})
	return errors.Join(err, s.expire(ctx))
}

// expire removes messages that are over.
func (s *Service) expire(ctx context.Context) error {
	now := s.clock.Now()
	for after := ""; ctx.Err() == nil; {
		var old []entry
		last, read := "", 0
		err := s.store.View(ctx, func(tx store.Tx) error {
			var bad error
			err := tx.Scan(kindOrder, "", after, func(d store.Doc) bool {
				var e entry
				if e, bad = parseEntry(d); bad != nil {
					return false
				}
				if e.expired(now) {
					old = append(old, e)
				}
				last = d.Key
				read++
				return len(old) < storagehttp.SweepBatch && read < 50*storagehttp.SweepBatch
			})
			return errors.Join(err, bad)
		})
		if err != nil || last == "" {
			return err
		}
		after = last
		if len(old) == 0 {
			continue
		}
		err = s.store.Update(ctx, func(tx store.Tx) error {
			for _, e := range old {
				if _, err := tx.Get(kindOrder, e.key); errors.Is(err, store.ErrNotFound) {
					continue // received or deleted meanwhile
				} else if err != nil {
					return err
				}
				account, uid, _ := cutKey(e.key)
				if err := remove(tx, account, uid, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
