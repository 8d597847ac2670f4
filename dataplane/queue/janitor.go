package queue

import (
	"context"
	"errors"

	"vauban.dev/store"
)

// sweepBatch is how many messages one transaction of the sweep removes: other writers wait as long.
const sweepBatch = 200

// Run does the housekeeping until ctx ends: it removes expired messages and those of deleted queues. Nobody sees them
// before either.
func (s *Service) Run(ctx context.Context) error {
	s.housekeeping.Run(ctx, "queue", s.log, s.Sweep)
	return nil
}

// Sweep removes what nobody sees any more, once.
func (s *Service) Sweep(ctx context.Context) error {
	var queues []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kindTrash, "", "", func(d store.Doc) bool {
			queues = append(queues, d.Key)
			return true
		})
	})
	for _, key := range queues {
		err = errors.Join(err, s.emptyTrash(ctx, key))
	}
	return errors.Join(err, s.expire(ctx))
}

// emptyTrash removes the messages under key, account/uid.
func (s *Service) emptyTrash(ctx context.Context, key string) error {
	for ctx.Err() == nil {
		n := 0
		err := s.store.Update(ctx, func(tx store.Tx) error {
			n = 0
			for _, kind := range []string{kindOrder, kindMessage} {
				var keys []string
				err := tx.Scan(kind, key+"/", "", func(d store.Doc) bool {
					keys = append(keys, d.Key)
					return len(keys) < sweepBatch
				})
				for i := 0; i < len(keys) && err == nil; i++ {
					err = tx.Delete(kind, keys[i], store.Any)
				}
				if err != nil {
					return err
				}
				n += len(keys)
			}
			if n == 0 {
				return tx.Delete(kindTrash, key, store.Any)
			}
			return nil
		})
		if err != nil || n == 0 {
			return err
		}
	}
	return ctx.Err()
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
				return len(old) < sweepBatch && read < 50*sweepBatch
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
