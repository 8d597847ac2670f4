// Package activity is the activity log: who did what to which resource, from where, and what came of it.
// Entries are written in the transaction of the write that they tell of; refusals are written too.
package activity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// Status of an entry, as Azure's activity log spells it.
type Status string

const (
	Started   Status = "Started"
	Accepted  Status = "Accepted" // an asynchronous operation was begun
	Succeeded Status = "Succeeded"
	Failed    Status = "Failed"
	Canceled  Status = "Canceled"
)

// Entry is one line of the log.
type Entry struct {
	ID            string          `json:"id"`
	Time          time.Time       `json:"time"`
	Caller        authz.Principal `json:"caller"`
	Address       string          `json:"address,omitempty"`   // source address of the connection, as the kernel tells it
	Origin        string          `json:"origin,omitempty"`    // the connection in words
	Operation     string          `json:"operation"`           // Microsoft.Network/virtualNetworks/write
	Method        string          `json:"method,omitempty"`    // PUT
	Resource      string          `json:"resource"`            // id
	CorrelationID string          `json:"correlationId"`       // one for all entries of an operation
	RequestID     string          `json:"requestId,omitempty"` //
	ClientID      string          `json:"clientRequestId,omitempty"`
	Status        Status          `json:"status"`
	HTTPStatus    int             `json:"httpStatus,omitempty"`
	Code          string          `json:"code,omitempty"`    // error code of a failure
	Message       string          `json:"message,omitempty"` // its text, which says what refused
}

const kind = "activity"

// Append writes an entry. An entry without ID or Time is refused.
func Append(tx store.Tx, e Entry) error {
	if e.ID == "" || e.Time.IsZero() {
		return fmt.Errorf("activity: entry for %s has no id or no time", e.Resource)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("activity: %w", err)
	}
	_, err = tx.Put(kind, key(e), b, store.None)
	return err
}

// NewID makes the ID of an entry.
func NewID() string { return uuid.NewString() }

// key orders the entries of a subscription from the newest to the oldest.
func key(e Entry) string {
	id, err := arm.ParseID(e.Resource)
	subscription := ""
	if err == nil {
		subscription = id.Subscription()
	}
	return fmt.Sprintf("%s/%020d/%s", strings.ToLower(subscription), newestFirst(e.Time), e.ID)
}

func newestFirst(t time.Time) int64 { return math.MaxInt64 - t.UnixNano() }

// Trim deletes the entries older than before.
func Trim(ctx context.Context, s store.Store, before time.Time) error {
	for {
		var old []string
		err := s.View(ctx, func(tx store.Tx) error {
			return tx.Scan(kind, "", "", func(d store.Doc) bool {
				var e struct {
					Time time.Time `json:"time"`
				}
				if json.Unmarshal(d.Value, &e) != nil || e.Time.Before(before) {
					old = append(old, d.Key)
				}
				return len(old) < trimmed
			})
		})
		if err != nil || len(old) == 0 {
			return err
		}
		err = s.Update(ctx, func(tx store.Tx) error {
			for _, k := range old {
				if err := tx.Delete(kind, k, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

const trimmed = 1000 // entries deleted in one transaction
