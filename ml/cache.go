package ml

import (
	"encoding/json"
	"errors"
	"sync"

	"vauban.dev/store"
)

// maxCached is how many decoded runs are kept. Searches go through all runs of an experiment, and decoding
// them costs far more than comparing them.
const maxCached = 50000

// cache keeps the decoded runs of experiments that were read whole. It is never trusted on its own: an
// experiment's mark, which every write of one of its runs moves in the same transaction, says whether
// what is kept is what the reader's snapshot holds.
type cache struct {
	mu          sync.Mutex
	experiments map[string]*cached // by workspace/experiment
	runs        int                // in all of them
	uses        int64
}

type cached struct {
	mark int64 // version of the experiment's mark
	runs []versioned
	used int64
}

// versioned is a run as it was at a version of its document. It must not be changed.
type versioned struct {
	version int64
	run     *Run
}

func (c *cache) get(key string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.experiments[key]
	if e != nil {
		c.uses++
		e.used = c.uses
	}
	return e
}

// put keeps e, and drops what was used longest ago when there is too much.
func (c *cache) put(key string, e *cached) {
	if len(e.runs) > maxCached {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.experiments[key]
	if old != nil && old.mark > e.mark { // a reader of an older snapshot came late
		return
	}
	if c.experiments == nil {
		c.experiments = map[string]*cached{}
	}
	c.drop(key)
	c.uses++
	e.used = c.uses
	c.experiments[key] = e
	c.runs += len(e.runs)
	for c.runs > maxCached {
		last := ""
		for k, other := range c.experiments {
			if k != key && (last == "" || other.used < c.experiments[last].used) {
				last = k
			}
		}
		c.drop(last)
	}
}

func (c *cache) drop(key string) {
	if e := c.experiments[key]; e != nil {
		c.runs -= len(e.runs)
		delete(c.experiments, key)
	}
}

// putRun writes a run and moves its experiment's mark.
func putRun(tx store.Tx, ws string, r *Run) error {
	if err := put(tx, kindRun, key(ws, r.ID), r); err != nil {
		return err
	}
	_, err := tx.Put(kindMark, key(ws, r.ExperimentID), nil, store.Any)
	return err
}

func mark(tx store.Tx, experiment string) (int64, error) {
	d, err := tx.Get(kindMark, experiment)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return d.Version, err
}

const (
	timeDigits = 16  // of a time in a key
	runsAtOnce = 256 // keys read before their runs, so that who stops early pays for little more
)

// inExperiment yields the runs of an experiment, the newest first.
func (s *Store) inExperiment(tx store.Tx, ws, experimentID string, yield func(*Run) bool) error {
	name := key(ws, experimentID)
	now, err := mark(tx, name)
	if err != nil {
		return err
	}
	kept := s.cache.get(name)
	if kept != nil && kept.mark == now {
		for _, v := range kept.runs {
			if !yield(v.run) {
				break
			}
		}
		return nil
	}
	have := map[string]versioned{}
	if kept != nil {
		for _, v := range kept.runs {
			have[v.run.ID] = v
		}
	}
	read := &cached{mark: now}
	prefix := name + "/"
	for after, more := "", true; more; {
		keys, err := scanKeys(tx, kindRunByTime, prefix, after, runsAtOnce)
		if err != nil {
			return err
		}
		for _, k := range keys {
			v, err := s.runAt(tx, key(ws, k[len(prefix)+timeDigits+1:]), have[k[len(prefix)+timeDigits+1:]])
			if err != nil {
				return err
			}
			if !yield(v.run) {
				return nil
			}
			read.runs = append(read.runs, v)
			after = k
		}
		more = len(keys) == runsAtOnce
	}
	s.cache.put(name, read)
	return nil
}

// runAt reads a run, without decoding it when known is the same version.
func (s *Store) runAt(tx store.Tx, key string, known versioned) (versioned, error) {
	d, err := tx.Get(kindRun, key)
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil || known.run != nil && d.Version == known.version {
		return known, err
	}
	v := versioned{version: d.Version, run: new(Run)}
	return v, json.Unmarshal(d.Value, v.run)
}

func scanKeys(tx store.Tx, kind, prefix, after string, limit int) (keys []string, err error) {
	err = tx.Scan(kind, prefix, after, func(d store.Doc) bool {
		keys = append(keys, d.Key)
		return len(keys) < limit
	})
	return keys, err
}
