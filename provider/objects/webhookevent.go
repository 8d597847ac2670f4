package objects

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm/rp"
)

// webhookEvent is a call that a webhook was to make.
type webhookEvent struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
}

// keptEvents is how many events of a webhook are listed.
const keptEvents = 50

// pingWebhook makes an event of the action ping. Nothing of the region calls out, and the event says so.
func pingWebhook(_ context.Context, tx *rp.Tx, r *rp.Resource[Webhook], _ []byte) (any, error) {
	e := webhookEvent{ID: uuid.NewString(), Time: tx.Now.UTC()}
	events := append([]webhookEvent{e}, r.Properties.Events...)
	r.Properties.Events = events[:min(len(events), keptEvents)]
	return map[string]any{"id": e.ID}, nil
}

// webhookEvents are the events as they were to be sent, and what came of each ("Webhooks - List Events"). Addresses and
// headers are left out: they are secrets.
func webhookEvents(_ context.Context, _ *rp.Tx, r *rp.Resource[Webhook], _ []byte) (any, error) {
	value := []any{}
	for _, e := range r.Properties.Events {
		value = append(value, map[string]any{
			"id": e.ID,
			"eventRequestMessage": map[string]any{"method": http.MethodPost, "version": "1.1", "content": map[string]any{
				"id": e.ID, "timestamp": e.Time, "action": "ping",
			}},
			"eventResponseMessage": map[string]any{
				"statusCode": strconv.Itoa(http.StatusNotImplemented), "reasonPhrase": "Registries are object only: nothing calls the address of a webhook.",
			},
		})
	}
	return map[string]any{"value": value}, nil
}
