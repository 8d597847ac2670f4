package rp

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// EventKind is the document kind of events: what Store.Watch takes.
const EventKind = "event"

// Event is a resource event in the form of the Event Grid schema's Azure subscription source. Its document
// key orders events by time.
type Event struct {
	ID          string    `json:"id"`
	Type        string    `json:"eventType"` // Microsoft.Resources.ResourceWriteSuccess, …
	Subject     string    `json:"subject"`   // resource id
	Time        time.Time `json:"eventTime"`
	State       string    `json:"provisioningState"`
	OperationID string    `json:"operationId,omitempty"`
}

func (tx *Tx) event(kind string, rec *record) error {
	ev := Event{ID: uuid.NewString(), Type: kind, Subject: rec.ID, Time: tx.Now, State: string(rec.State), OperationID: rec.Operation}
	b, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = tx.Put(EventKind, fmt.Sprintf("%020d/%s", tx.Now.UnixNano(), ev.ID), b, store.None)
	return err
}

func trimEvents(ctx context.Context, s store.Store, before time.Time) error {
	limit := fmt.Sprintf("%020d", before.UnixNano())
	var old []string
	err := s.View(ctx, func(tx store.Tx) error {
		return tx.Scan(EventKind, "", "", func(doc store.Doc) bool {
			if doc.Key >= limit {
				return false
			}
			old = append(old, doc.Key)
			return true
		})
	})
	if err != nil {
		return err
	}
	return deleteAll(ctx, s, EventKind, old)
}
