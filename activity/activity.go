// Package activity is the activity log: who did what to which resource, from where, and what came of it.
// Entries are written in the transaction of the write that they tell of; refusals are written too. They are a chain: each
// is bound to the one before it under the region's own key, so that what is changed, removed or cut off shows (Verify).
package activity

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/authz"
)

// Status of an entry, as Azure's activity log spells it.
type Status string

const (
	Started   Status = "Started"
	Accepted  Status = "Accepted" // an asynchronous operation was begun
	Succeeded Status = "Succeeded"
	Failed    Status = "Failed"
	Active    Status = "Active" // of a security alert
	Canceled  Status = "Canceled"
)

// Categories of entries (Azure Monitor: "Activity log event schema").
const (
	Administrative = "Administrative" // the default
	Security       = "Security"
	Policy         = "Policy"
)

// Entry is one line of the log.
type Entry struct {
	ID            string            `json:"id"`
	Time          time.Time         `json:"time"`
	Submitted     time.Time         `json:"submitted,omitzero"` // when it was written into the log; zero: at Time
	Category      string            `json:"category,omitempty"` // "" = Administrative
	Level         string            `json:"level,omitempty"`    // Informational, Warning, Error, Critical; "" follows from Status
	Caller        authz.Principal   `json:"caller"`
	Address       string            `json:"address,omitempty"`   // source address of the connection, as the kernel tells it
	Origin        string            `json:"origin,omitempty"`    // the connection in words
	Operation     string            `json:"operation"`           // Microsoft.Network/virtualNetworks/write
	Method        string            `json:"method,omitempty"`    // PUT
	URI           string            `json:"uri,omitempty"`       // of the request, without its query
	Resource      string            `json:"resource"`            // id
	CorrelationID string            `json:"correlationId"`       // one for all entries of an operation
	RequestID     string            `json:"requestId,omitempty"` //
	ClientID      string            `json:"clientRequestId,omitempty"`
	Status        Status            `json:"status"`
	HTTPStatus    int               `json:"httpStatus,omitempty"`
	Code          string            `json:"code,omitempty"`        // error code of a failure
	Message       string            `json:"message,omitempty"`     // its text, which says what refused
	Description   string            `json:"description,omitempty"` // in words, for what Azure has no event of
	Properties    map[string]string `json:"properties,omitempty"`  // more members of the event's properties; no secrets
	Seq           int64             `json:"-"`                     // its number in the chain, of one that was read
}

const kind = "activity"

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
