package activity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// Query chooses entries. Empty members match all; names are compared without case.
type Query struct {
	Subscription  string // "": what is in none, the tenant's
	Within        string // a scope: entries of it and of what is in it
	Since, Until  time.Time
	ResourceGroup string
	Resource      string // id
	Provider      string // namespace
	CorrelationID string
	Caller        string // name, object id or client id
	Status        Status
	Category      string
	Operation     string
	Levels        []string // any of them
	Limit         int      // 0 = all
	After         string   // what List returned as next
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
		if e, err = decode(d); err != nil {
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
		{q.Category, cmp.Or(e.Category, Administrative)},
		{q.Operation, e.Operation},
	} {
		if c.want != "" && !strings.EqualFold(c.want, c.have) {
			return false
		}
	}
	if q.Within != "" {
		if scope, err := arm.ParseID(q.Within); err != nil || !id.Within(scope) {
			return false
		}
	}
	if len(q.Levels) > 0 && !slices.ContainsFunc(q.Levels, func(l string) bool { return strings.EqualFold(l, e.Severity()) }) {
		return false
	}
	who := func(s string) bool { return s != "" && strings.EqualFold(q.Caller, s) }
	return q.Caller == "" || who(e.Caller.Name) || who(e.Caller.ObjectID) || who(e.Caller.AppID)
}

// Severity is the level of the entry.
func (e Entry) Severity() string {
	switch {
	case e.Level != "":
		return e.Level
	case e.Status == Failed:
		return "Error"
	}
	return "Informational"
}

func provider(e Entry) string {
	namespace, _, _ := strings.Cut(e.Operation, "/")
	return namespace
}
