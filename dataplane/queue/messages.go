package queue

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/seal"
	"vauban.dev/store"
)

const (
	// MaxMessage is the longest text of a message, in bytes of UTF-8 ("Put Message").
	MaxMessage = 64 << 10
	maxVisible = 7 * 24 * time.Hour
	// forever is when a message of TTL -1 expires, as the service says it.
	foreverYear = 9999
)

var forever = time.Date(foreverYear, 12, 31, 23, 59, 59, 999_999_900, time.UTC)

// Message as callers see it.
type Message struct {
	ID          string
	Text        string
	Inserted    time.Time
	Expires     time.Time
	NextVisible time.Time
	Receipt     string // pop receipt
	Dequeued    int    // DequeueCount
}

// orderDoc is all of a message but its text. Its key says when it can be seen next.
type orderDoc struct {
	Inserted int64  `json:"i"` // Unix nanoseconds
	Expires  int64  `json:"e"` // Unix seconds: nanoseconds do not reach the year 9999
	Dequeued int    `json:"d,omitempty"`
	Nonce    []byte `json:"n"` // makes each receipt another
}

// entry is an orderDoc with what its key says.
type entry struct {
	orderDoc
	key     string
	id      string
	visible int64
}

func orderKey(account, uid string, visible int64, id string) string {
	return fmt.Sprintf("%s/%s/%020d/%s", account, uid, visible, id)
}

func parseEntry(d store.Doc) (e entry, err error) {
	parts := strings.Split(d.Key, "/")
	if len(parts) != 4 {
		return e, fmt.Errorf("queue: key %s", d.Key)
	}
	e.key, e.id = d.Key, parts[3]
	if e.visible, err = strconv.ParseInt(parts[2], 10, 64); err != nil {
		return e, err
	}
	return e, decode(d.Value, &e.orderDoc)
}

func (e *entry) expired(now time.Time) bool { return now.Unix() >= e.Expires }

func (e *entry) message(text string) Message {
	return Message{
		ID: e.id, Text: text, Inserted: time.Unix(0, e.Inserted).UTC(), Expires: time.Unix(e.Expires, 0).UTC(),
		NextVisible: time.Unix(0, e.visible).UTC(), Receipt: e.receipt(), Dequeued: e.Dequeued,
	}
}

const nonceSize = 8

// receipt says when the message is visible and which of its receptions it is: it finds the message's entry, and fits it
// once.
func (e *entry) receipt() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.visible))
	return base64.StdEncoding.EncodeToString(append(b, e.Nonce...))
}

func parseReceipt(s string) (visible int64, ok bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != 8+nonceSize {
		return 0, false
	}
	v := binary.BigEndian.Uint64(b)
	return int64(v), v < 1<<63
}

func newNonce() []byte {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return b
}

func randomID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func (e *entry) put(tx store.Tx, account, uid string) error {
	b, err := json.Marshal(e.orderDoc)
	if err != nil {
		return err
	}
	e.key = orderKey(account, uid, e.visible, e.id)
	_, err = tx.Put(kindOrder, e.key, b, store.Any)
	return err
}

func binding(account, uid, id string) string { return "queue/" + account + "/" + uid + "/" + id }

// Put adds a message that becomes visible after delay and expires after ttl; a ttl of 0 or less is for ever.
func (s *Service) Put(ctx context.Context, account, name, text string, delay, ttl time.Duration) (m Message, err error) {
	if len(text) > MaxMessage {
		return m, errMessageTooLarge(len(text))
	}
	key, err := s.key(ctx, account)
	if err != nil {
		return m, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		now := s.now()
		e := entry{id: uuid.NewString(), visible: now.Add(delay).UnixNano(), orderDoc: orderDoc{Inserted: now.UnixNano(), Expires: forever.Unix(), Nonce: newNonce()}}
		if ttl > 0 && ttl < forever.Sub(now) {
			e.Expires = now.Add(ttl + time.Second - 1).Unix() // never early
		}
		if err := putText(tx, key, account, q.UID, e.id, text); err != nil {
			return err
		}
		m = e.message(text)
		return e.put(tx, account, q.UID)
	})
	return m, err
}

func putText(tx store.Tx, key *seal.Key, account, uid, id, text string) error {
	sealed, err := key.Seal(nil, []byte(text), binding(account, uid, id))
	if err != nil {
		return err
	}
	_, err = tx.Put(kindMessage, account+"/"+uid+"/"+id, sealed, store.Any)
	return err
}

func getText(tx store.Tx, key *seal.Key, account, uid, id string) (string, error) {
	d, err := tx.Get(kindMessage, account+"/"+uid+"/"+id)
	if err != nil {
		return "", fmt.Errorf("queue: text of message %s: %w", id, err)
	}
	text, err := key.Open(nil, d.Value, binding(account, uid, id))
	return string(text), err
}

// visible lists up to n messages that can be seen now, the oldest first, and those on the way that have expired.
func visible(tx store.Tx, account, uid string, now time.Time, n int) (found, expired []entry, err error) {
	var bad error
	err = tx.Scan(kindOrder, account+"/"+uid+"/", "", func(d store.Doc) bool {
		var e entry
		if e, bad = parseEntry(d); bad != nil || e.visible > now.UnixNano() {
			return false
		}
		if e.expired(now) {
			expired = append(expired, e)
			return len(expired) < storagehttp.SweepBatch
		}
		found = append(found, e)
		return len(found) < n
	})
	return found, expired, errors.Join(err, bad)
}

// Peek reads up to n visible messages and changes nothing. They have no receipt.
func (s *Service) Peek(ctx context.Context, account, name string, n int) (list []Message, err error) {
	key, err := s.key(ctx, account)
	if err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		found, _, err := visible(tx, account, q.UID, s.now(), n)
		for i := 0; i < len(found) && err == nil; i++ {
			var text string
			text, err = getText(tx, key, account, q.UID, found[i].id)
			list = append(list, found[i].message(text))
		}
		return err
	})
	return list, err
}

// Get takes up to n visible messages: nobody else sees them for the time of hidden.
func (s *Service) Get(ctx context.Context, account, name string, n int, hidden time.Duration) (list []Message, err error) {
	key, err := s.key(ctx, account)
	if err != nil {
		return nil, err
	}
	// A queue that has nothing is asked often: that waits for no writer.
	empty := false
	err = s.store.View(ctx, func(tx store.Tx) error {
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		found, expired, err := visible(tx, account, q.UID, s.now(), 1)
		empty = len(found)+len(expired) == 0
		return err
	})
	if err != nil || empty {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		list = list[:0]
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		found, expired, err := visible(tx, account, q.UID, s.now(), n)
		if err != nil {
			return err
		}
		for _, e := range expired {
			if err := remove(tx, account, q.UID, e); err != nil {
				return err
			}
		}
		for _, e := range found {
			text, err := getText(tx, key, account, q.UID, e.id)
			if err != nil {
				return err
			}
			if err := tx.Delete(kindOrder, e.key, store.Any); err != nil {
				return err
			}
			e.visible, e.Nonce = s.now().Add(hidden).UnixNano(), newNonce()
			e.Dequeued++
			if err := e.put(tx, account, q.UID); err != nil {
				return err
			}
			list = append(list, e.message(text))
		}
		return nil
	})
	return list, err
}

// find returns the message of an id that receipt fits; MessageNotFound, PopReceiptMismatch.
func find(tx store.Tx, account, uid, id, receipt string, now time.Time) (e entry, err error) {
	at, ok := parseReceipt(receipt)
	if !ok {
		return e, storagehttp.InvalidQuery("popreceipt", receipt)
	}
	if _, err := uuid.Parse(id); err != nil {
		return e, errNoMessage(id)
	}
	d, err := tx.Get(kindOrder, orderKey(account, uid, at, id))
	if errors.Is(err, store.ErrNotFound) {
		switch _, err := tx.Get(kindMessage, account+"/"+uid+"/"+id); {
		case errors.Is(err, store.ErrNotFound):
			return e, errNoMessage(id)
		case err != nil:
			return e, err
		}
		return e, errReceipt(id)
	}
	if err != nil {
		return e, err
	}
	if e, err = parseEntry(d); err != nil {
		return e, err
	}
	switch {
	case e.expired(now):
		return e, errNoMessage(id)
	case e.receipt() != receipt:
		return e, errReceipt(id)
	}
	return e, nil
}

func errNoMessage(id string) error {
	return storagehttp.NewError(http.StatusNotFound, "MessageNotFound", "The specified message does not exist.").Because("message '%s'", id)
}

func errReceipt(id string) error {
	return storagehttp.NewError(http.StatusBadRequest, "PopReceiptMismatch", "The specified pop receipt did not match the pop receipt for a dequeued message.").
		Because("message '%s' was received or changed again since", id)
}

func errMessageTooLarge(n int) error {
	return storagehttp.NewError(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.").
		WithElement("MaxLimit", strconv.Itoa(MaxMessage)).Because("the text of the message has %d bytes, %d are allowed", n, MaxMessage)
}

func remove(tx store.Tx, account, uid string, e entry) error {
	if err := tx.Delete(kindOrder, e.key, store.Any); err != nil {
		return err
	}
	return tx.Delete(kindMessage, account+"/"+uid+"/"+e.id, store.Any)
}

// Delete removes a message that was received; MessageNotFound, PopReceiptMismatch.
func (s *Service) Delete(ctx context.Context, account, name, id, receipt string) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		e, err := find(tx, account, q.UID, id, receipt, s.clock.Now())
		if err != nil {
			return err
		}
		return remove(tx, account, q.UID, e)
	})
}

// Update hides a message for the time of hidden from now, and changes its text unless text is nil.
func (s *Service) Update(ctx context.Context, account, name, id, receipt string, hidden time.Duration, text *string) (m Message, err error) {
	if text != nil && len(*text) > MaxMessage {
		return m, errMessageTooLarge(len(*text))
	}
	key, err := s.key(ctx, account)
	if err != nil {
		return m, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		e, err := find(tx, account, q.UID, id, receipt, s.clock.Now())
		if err != nil {
			return err
		}
		if err := tx.Delete(kindOrder, e.key, store.Any); err != nil {
			return err
		}
		e.visible, e.Nonce = s.now().Add(hidden).UnixNano(), newNonce()
		if e.visible/int64(time.Second) > e.Expires {
			return storagehttp.NewError(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.").
				Because("the message expires at %s, before it would be visible", time.Unix(e.Expires, 0).UTC().Format(time.RFC3339))
		}
		if text != nil {
			if err := putText(tx, key, account, q.UID, id, *text); err != nil {
				return err
			}
		}
		m = e.message("")
		return e.put(tx, account, q.UID)
	})
	return m, err
}

// Clear removes all messages of a queue: it gets another uid, and what was under the old one is swept.
func (s *Service) Clear(ctx context.Context, account, name string) error {
	err := s.store.Update(ctx, func(tx store.Tx) error {
		q, err := get(tx, account, name)
		if err != nil {
			return err
		}
		if err := trash(tx, account, q.UID); err != nil {
			return err
		}
		q.UID = randomID()
		return put(tx, account, name, q)
	})
	s.housekeeping.Wake()
	return err
}

// Count is how many messages a queue has, visible or not.
func (s *Service) Count(ctx context.Context, account, name string) (n int, q Queue, err error) {
	now := s.clock.Now()
	err = s.store.View(ctx, func(tx store.Tx) error {
		doc, err := get(tx, account, name)
		if err != nil {
			return err
		}
		q = Queue{name, doc.Metadata, doc.Policies}
		var bad error
		err = tx.Scan(kindOrder, account+"/"+doc.UID+"/", "", func(d store.Doc) bool {
			var e entry
			if e, bad = parseEntry(d); bad == nil && !e.expired(now) {
				n++
			}
			return bad == nil
		})
		return errors.Join(err, bad)
	})
	return n, q, err
}
