// Package metrics counts what a region serves: measurements of resources, kept by the minute, with the dimensions by which
// a reader may split them. What they mean to Azure Monitor is said elsewhere (provider/insights).
package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"vauban.dev/store"
)

// Kind are the documents: by resource in lower case, a bar and the hour, the measurements of that hour.
const Kind = "metric"

// Keep is how long measurements are kept, as in Azure Monitor.
const Keep = 93 * 24 * time.Hour

const (
	grain    = time.Minute
	hourForm = "2006010215"
	// pendingMost is how many series a book holds that are not written yet; what is beyond is left out.
	pendingMost = 100_000
)

// Sample is what some measurements have in common.
type Sample struct {
	Count int64   `json:"n"`
	Total float64 `json:"t"`
	Min   float64 `json:"l"`
	Max   float64 `json:"h"`
}

// Add takes the measurements of another sample in.
func (s *Sample) Add(o Sample) {
	if o.Count == 0 {
		return
	}
	if s.Count == 0 {
		*s = o
		return
	}
	s.Count, s.Total, s.Min, s.Max = s.Count+o.Count, s.Total+o.Total, min(s.Min, o.Min), max(s.Max, o.Max)
}

// Of is the sample of one measurement.
func Of(value float64) Sample { return Sample{Count: 1, Total: value, Min: value, Max: value} }

// Dimensions are the values of a metric's dimensions, in the order of its definition.
type Dimensions [4]string

// Value is one measurement of a metric.
type Value struct {
	Metric string
	Value  float64
}

// Point is what was measured in a minute, of measurements with the same dimensions.
type Point struct {
	Resource   string // in lower case
	Metric     string
	Dimensions Dimensions
	Minute     time.Time
	Sample
}

type series struct {
	resource, metric string
	dimensions       Dimensions
	minute           int64 // Unix
}

// Book takes measurements, and has those of the last days. It is safe for use by many goroutines.
type Book struct {
	db store.Store

	mu      sync.Mutex
	pending map[series]Sample

	writing sync.RWMutex // held while pending becomes documents: a reader sees each measurement once
}

// New is the book of a store.
func New(db store.Store) *Book { return &Book{db: db, pending: map[series]Sample{}} }

// Add notes measurements of a resource, whose id may be in any case. They are in the store after the next Flush.
func (b *Book) Add(resource string, at time.Time, dimensions Dimensions, values ...Value) {
	key := series{resource: strings.ToLower(resource), dimensions: dimensions, minute: at.Truncate(grain).Unix()}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range values {
		key.metric = v.Metric
		s, has := b.pending[key]
		if !has && len(b.pending) >= pendingMost {
			continue
		}
		s.Add(Of(v.Value))
		b.pending[key] = s
	}
}

// row is a series in a document.
type row struct {
	Metric     string            `json:"metric"`
	Dimensions Dimensions        `json:"dimensions"`
	Minutes    map[int64]*Sample `json:"minutes"`
}

func keyOf(resource string, minute int64) string {
	return resource + "|" + time.Unix(minute, 0).UTC().Format(hourForm)
}

// Flush writes what was added since the last one. What could not be written is tried again by the next.
func (b *Book) Flush(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	taken := b.pending
	b.pending = map[series]Sample{}
	b.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	documents := map[string][]series{}
	for k := range taken {
		key := keyOf(k.resource, k.minute)
		documents[key] = append(documents[key], k)
	}
	err := b.db.Update(ctx, func(tx store.Tx) error {
		for key, of := range documents {
			rows, err := read(tx, key)
			if err != nil {
				return err
			}
			for _, k := range of {
				rows = merge(rows, k, taken[k])
			}
			text, err := json.Marshal(rows)
			if err != nil {
				return err
			}
			if _, err := tx.Put(Kind, key, text, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		for k, s := range taken {
			have := b.pending[k]
			have.Add(s)
			b.pending[k] = have
		}
	}
	return err
}

func read(tx store.Tx, key string) (rows []row, err error) {
	doc, err := tx.Get(Kind, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return rows, json.Unmarshal(doc.Value, &rows)
}

func merge(rows []row, k series, s Sample) []row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.Metric == k.metric && r.Dimensions == k.dimensions })
	if i < 0 {
		rows, i = append(rows, row{Metric: k.metric, Dimensions: k.dimensions, Minutes: map[int64]*Sample{}}), len(rows)
	}
	if rows[i].Minutes[k.minute] == nil {
		rows[i].Minutes[k.minute] = &Sample{}
	}
	rows[i].Minutes[k.minute].Add(s)
	return rows
}

// Read are the measurements of a metric from a time on until another, of a resource and of what lies below it.
func (b *Book) Read(ctx context.Context, resource, metric string, from, until time.Time) ([]Point, error) {
	b.writing.RLock()
	defer b.writing.RUnlock()
	resource = strings.ToLower(resource)
	first, last := from.Unix(), until.Unix()
	var out []Point
	take := func(k series, s Sample) {
		if k.metric == metric && k.minute >= first && k.minute < last {
			out = append(out, Point{Resource: k.resource, Metric: metric, Dimensions: k.dimensions, Minute: time.Unix(k.minute, 0).UTC(), Sample: s})
		}
	}
	b.mu.Lock()
	for k, s := range b.pending {
		if k.resource == resource || strings.HasPrefix(k.resource, resource+"/") {
			take(k, s)
		}
	}
	b.mu.Unlock()
	err := b.db.View(ctx, func(tx store.Tx) error {
		for _, prefix := range []string{resource + "|", resource + "/"} {
			var bad error
			err := tx.Scan(Kind, prefix, "", func(doc store.Doc) bool {
				of, hour, err := split(doc.Key)
				if err != nil || !hour.Before(until) || hour.Add(time.Hour).Before(from) {
					return true
				}
				var rows []row
				if bad = json.Unmarshal(doc.Value, &rows); bad != nil {
					return false
				}
				for _, r := range rows {
					for minute, s := range r.Minutes {
						take(series{of, r.Metric, r.Dimensions, minute}, *s)
					}
				}
				return true
			})
			if err = errors.Join(err, bad); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func split(key string) (resource string, hour time.Time, err error) {
	i := strings.LastIndex(key, "|")
	hour, err = time.Parse(hourForm, key[i+1:])
	return key[:max(i, 0)], hour, err
}

// Forget removes what is older than Keep.
func (b *Book) Forget(ctx context.Context, now time.Time) error {
	var old []string
	err := b.db.View(ctx, func(tx store.Tx) error {
		return tx.Scan(Kind, "", "", func(doc store.Doc) bool {
			if _, hour, err := split(doc.Key); err != nil || hour.Before(now.Add(-Keep)) {
				old = append(old, doc.Key)
			}
			return true
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return b.db.Update(ctx, func(tx store.Tx) error {
		for _, key := range old {
			if err := tx.Delete(Kind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}
