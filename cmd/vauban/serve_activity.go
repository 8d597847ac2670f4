package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm/rp"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// The activity log's chain is sealed with a key of its own, and its head is witnessed in a file beside the store: whoever puts
// an older store in place has to put back that file as well.
const (
	activityKeyFile     = "activity.key"
	activityWitnessFile = "activity.witness"
	witnessEvery        = time.Second
)

func (w *world) openActivity(ctx context.Context) error {
	_, err := os.Stat(w.path(activityKeyFile))
	first := errors.Is(err, fs.ErrNotExist)
	key, err := seal.OpenKeyFile(w.path(activityKeyFile))
	if err != nil {
		return fmt.Errorf("key of the activity log: %w", err)
	}
	w.activity = activity.NewLog(key)
	if first { // entries without a chain can only be those of an earlier version
		if err := w.db.Update(ctx, w.activity.Adopt); err != nil {
			return fmt.Errorf("the activity log of an earlier version: %w", err)
		}
		if err := writeWitness(ctx, w.db, w.activity, w.region.Dir); err != nil {
			return fmt.Errorf("witness of the activity log: %w", err)
		}
	}
	w.follow = append(w.follow, w.witness, w.exportLog)
	return nil
}

// witness first looks whether the log is the one that was there, then writes down its head, at most once in a while.
func (w *world) witness(ctx context.Context) {
	changes := w.db.Watch(ctx, activity.ChainKind)
	if err := w.examineLog(ctx); err != nil && ctx.Err() == nil {
		w.log.Error("the activity log could not be examined", "err", err)
	}
	for {
		if err := writeWitness(ctx, w.db, w.activity, w.region.Dir); err != nil && ctx.Err() == nil {
			w.log.Error("the witness of the activity log could not be written", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(witnessEvery):
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
		}
	drain: // what has changed meanwhile is witnessed at once
		for {
			select {
			case _, ok := <-changes:
				if !ok {
					return
				}
			default:
				break drain
			}
		}
	}
}

// examineLog says in the log itself when it is not what the witness saw: the next witness would cover it up.
func (w *world) examineLog(ctx context.Context) error {
	seen, err := readWitness(w.region.Dir)
	if err != nil {
		return err
	}
	var why string
	err = w.db.View(ctx, func(tx store.Tx) (err error) {
		if seen != nil {
			why, err = w.activity.Contradicts(tx, *seen)
			return err
		}
		if now, ok, err := w.activity.Witness(tx); err != nil || ok && now.Seq == 0 {
			return err // nothing was written yet
		}
		why = "the witness of the log has been removed"
		return nil
	})
	if why == "" || err != nil {
		return err
	}
	w.log.Error("the activity log was tampered with", "why", why)
	return w.engine.Update(ctx, func(tx *rp.Tx) error {
		return w.activity.AppendBreak(tx.Tx, activity.Entry{
			ID: activity.NewID(), CorrelationID: activity.NewID(), Time: tx.Now, Category: activity.Security, Level: "Critical", Operation: "Microsoft.Insights/activityLogs/verify/action",
			Resource: "/", Status: activity.Failed, Code: "ActivityLogTampered", Message: why, Description: "The activity log is not the one that was witnessed: " + why,
		}, "at the start of the server: "+why)
	})
}

func writeWitness(ctx context.Context, db store.Store, l *activity.Log, dir string) error {
	var seen activity.Witness
	var ok bool
	err := db.View(ctx, func(tx store.Tx) (err error) {
		seen, ok, err = l.Witness(tx)
		return err
	})
	if err != nil || !ok {
		return err
	}
	b, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, activityWitnessFile), append(b, '\n'))
}

// replaceFile writes a file that only its owner reads, whole or not at all, also when the machine stops.
func replaceFile(path string, b []byte) (err error) {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// readWitness returns nil when nobody has seen the log yet.
func readWitness(dir string) (*activity.Witness, error) {
	b, err := os.ReadFile(filepath.Join(dir, activityWitnessFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var w activity.Witness
	if json.Unmarshal(b, &w) != nil {
		return &activity.Witness{}, nil // sealed by nobody: Verify tells
	}
	return &w, nil
}
