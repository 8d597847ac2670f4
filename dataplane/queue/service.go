// Package queue is Azure Queue Storage's REST API over the region's store: what unmodified azure-storage-queue, azqueue,
// az and ParallelRunStep call, and what Resource Manager asks of queues. See docs/architecture/queue.md.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"vauban.dev/internal/clock"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Kinds of documents in the store and their keys.
const (
	kindQueue   = "queue.queue"   // account/queue → queueDoc
	kindMessage = "queue.message" // account/uid/id → sealed text
	kindOrder   = "queue.order"   // account/uid/visible/id → orderDoc: messages by when they can be seen next
	kindTrash   = "queue.trash"   // account/uid → a deleted or cleared queue whose messages are to be removed
)

// Service keeps queues and their messages. Its methods do no authorization and pass no firewall. Errors are
// *storagehttp.Error with Azure's code, or unexpected. Safe for use by many goroutines.
type Service struct {
	front        storagehttp.Front
	store        store.Store
	keys         *seal.Keyring
	clock        clock.Clock
	log          *slog.Logger
	lastTick     atomic.Int64
	housekeeping storagehttp.Housekeeping
}

// Open returns the service over cfg. Call Run for its housekeeping.
func Open(cfg storagehttp.Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	front := cfg.Front("queue")
	return &Service{
		front: front,
		store: cfg.Store, keys: cfg.Keys, clock: cfg.Clock, log: cfg.Log, housekeeping: storagehttp.NewHousekeeping(),
	}
}

// Handler serves the queue endpoint of every account. The connection's origin must be in the request's context.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Name names the service in logs.
func (s *Service) Name() string { return "queue" }

// now is the region's time, a little later at each call: it orders messages that are put in the same instant.
func (s *Service) now() time.Time {
	tick := s.clock.Now().UnixNano() / 100
	for {
		last := s.lastTick.Load()
		next := max(tick, last+1)
		if next > tick+int64(time.Second/100) { // the clock went back by more than a busy second: it is right
			next = tick
		}
		if s.lastTick.CompareAndSwap(last, next) {
			return time.Unix(0, next*100).UTC()
		}
	}
}

func (s *Service) key(ctx context.Context, account string) (*seal.Key, error) {
	return s.keys.Key(ctx, "queue/"+account)
}

// Queue as callers see it.
type Queue struct {
	Name     string
	Metadata map[string]string
	Policies []storagehttp.Policy
}

type queueDoc struct {
	UID      string               `json:"u"`
	Metadata map[string]string    `json:"meta,omitempty"`
	Policies []storagehttp.Policy `json:"p,omitempty"`
}

var queueName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

// checkName as "Naming queues and metadata" says.
func checkName(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return storagehttp.NewError(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.").Because("queue name '%s' is not of 3 to 63 characters", name)
	}
	if !queueName.MatchString(name) {
		return storagehttp.InvalidName("queue", name)
	}
	return nil
}

func errNotFound(name string) error {
	return storagehttp.NewError(http.StatusNotFound, "QueueNotFound", "The specified queue does not exist.").Because("queue '%s'", name)
}

func get(tx store.Tx, account, name string) (doc queueDoc, err error) {
	d, err := tx.Get(kindQueue, account+"/"+name)
	if errors.Is(err, store.ErrNotFound) {
		return doc, errNotFound(name)
	}
	if err != nil {
		return doc, err
	}
	return doc, decode(d.Value, &doc)
}

func put(tx store.Tx, account, name string, doc queueDoc) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = tx.Put(kindQueue, account+"/"+name, b, store.Any)
	return err
}

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("queue: a stored document is damaged: %w", err)
	}
	return nil
}

// GetTx returns a queue; QueueNotFound.
func (s *Service) GetTx(tx store.Tx, account, name string) (Queue, error) {
	doc, err := get(tx, account, name)
	return Queue{name, doc.Metadata, doc.Policies}, err
}

// CreateTx makes a queue. One that is there with the same metadata stays, created is false then; with others it is
// QueueAlreadyExists.
func (s *Service) CreateTx(tx store.Tx, account, name string, metadata map[string]string) (created bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	doc, err := get(tx, account, name)
	switch {
	case err == nil && equal(doc.Metadata, metadata):
		return false, nil
	case err == nil:
		return false, storagehttp.NewError(http.StatusConflict, "QueueAlreadyExists", "The specified queue already exists.").Because("its metadata are others")
	case !storagehttp.IsCode(err, "QueueNotFound"):
		return false, err
	}
	return true, put(tx, account, name, queueDoc{UID: randomID(), Metadata: metadata})
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// UpdateTx changes a queue's metadata and policies; QueueNotFound.
func (s *Service) UpdateTx(tx store.Tx, account, name string, f func(*Queue)) error {
	doc, err := get(tx, account, name)
	if err != nil {
		return err
	}
	q := Queue{name, doc.Metadata, doc.Policies}
	f(&q)
	doc.Metadata, doc.Policies = q.Metadata, q.Policies
	return put(tx, account, name, doc)
}

// DeleteTx removes a queue; QueueNotFound. Its messages are gone at once for every caller.
func (s *Service) DeleteTx(tx store.Tx, account, name string) error {
	doc, err := get(tx, account, name)
	if err != nil {
		return err
	}
	if err := trash(tx, account, doc.UID); err != nil {
		return err
	}
	return tx.Delete(kindQueue, account+"/"+name, store.Any)
}

func trash(tx store.Tx, account, uid string) error {
	_, err := tx.Put(kindTrash, account+"/"+uid, []byte("{}"), store.Any)
	return err
}

// ListTx returns the queues whose names start with prefix and follow after, at most limit (0: all), and whether there are
// more.
func (s *Service) ListTx(tx store.Tx, account, prefix, after string, limit int) (list []Queue, more bool, err error) {
	if after != "" {
		after = account + "/" + after
	}
	var bad error
	err = tx.Scan(kindQueue, account+"/"+prefix, after, func(d store.Doc) bool {
		if more = limit > 0 && len(list) == limit; more {
			return false
		}
		var doc queueDoc
		bad = decode(d.Value, &doc)
		list = append(list, Queue{strings.TrimPrefix(d.Key, account+"/"), doc.Metadata, doc.Policies})
		return bad == nil
	})
	return list, more, errors.Join(err, bad)
}

// DeleteAccount makes all messages of an account unreadable at once, by destroying its key, and then removes them.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	if err := s.keys.Destroy(ctx, "queue/"+account); err != nil {
		return err
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		list, _, err := s.ListTx(tx, account, "", "", 0)
		for i := 0; i < len(list) && err == nil; i++ {
			err = s.DeleteTx(tx, account, list[i].Name)
		}
		if err != nil {
			return err
		}
		return s.front.ForgetProperties(tx, account)
	})
	s.housekeeping.Wake()
	return err
}
