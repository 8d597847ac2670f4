package activity

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// Query chooses entries. Empty members match all; names are compared without case.
type Query struct {
	Subscription  string
	Since, Until  time.Time
	ResourceGroup string
	Resource      string // id
	Provider      string // namespace
	CorrelationID string
	Caller        string // name or object id
	Status        Status
	Limit         int    // 0 = all
	After         string // what List returned as next
}

// List returns the entries that match, the newest first; next is not empty when there are more.
func List(tx store.Tx, q Query) (entries []Entry, next string, err error) {
	prefix := strings.ToLower(q.Subscription) + "/"
	after := q.After
	if after == "" && !q.Until.IsZero() {
		after = fmt.Sprintf("%s%020d", prefix, newestFirst(q.Until))
	}
	last := ""
	scanErr := tx.Scan(kind, prefix, after, func(d store.Doc) bool {
		var e Entry
		if err = json.Unmarshal(d.Value, &e); err != nil {
			err = fmt.Errorf("activity: stored entry %s: %w", d.Key, err)
			return false
		}
		if e.Time.Before(q.Since) {
			return false
		}
		if !q.matches(e) {
			return true
		}
		if q.Limit > 0 && len(entries) == q.Limit {
			next = last
			return false
		}
		entries, last = append(entries, e), d.Key
		return true
	})
	if err == nil {
		err = scanErr
	}
	return entries, next, err
}

func (q Query) matches(e Entry) bool {
	id, _ := arm.ParseID(e.Resource) // a bad one matches no condition on its parts
	for _, c := range []struct{ want, have string }{
		{q.ResourceGroup, id.ResourceGroup()},
		{strings.TrimSuffix(q.Resource, "/"), e.Resource},
		{q.Provider, provider(e)},
		{q.CorrelationID, e.CorrelationID},
		{string(q.Status), string(e.Status)},
	} {
		if c.want != "" && !strings.EqualFold(c.want, c.have) {
			return false
		}
	}
	return q.Caller == "" || strings.EqualFold(q.Caller, e.Caller.Name) || strings.EqualFold(q.Caller, e.Caller.ObjectID)
}

func provider(e Entry) string {
	namespace, _, _ := strings.Cut(e.Operation, "/")
	return namespace
}
