package activity

import (
	"encoding/json"
	"fmt"
	"net/http"
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

// localizable is a value with its text, as Azure Monitor writes them.
type localizable struct {
	Value string `json:"value"`
	Text  string `json:"localizedValue"`
}

func same(s string) localizable { return localizable{s, s} }

// Event is the entry in the form of Azure Monitor's EventData ("Activity log event schema").
func Event(e Entry, tenant string) map[string]any {
	id, _ := arm.ParseID(e.Resource)
	level := "Informational"
	if e.Status == Failed {
		level = "Error"
	}
	properties := map[string]string{"entity": e.Resource, "message": e.Operation, "eventCategory": "Administrative"}
	if e.Code != "" {
		properties["statusCode"] = http.StatusText(e.HTTPStatus)
		if b, err := json.Marshal(map[string]any{"error": map[string]string{"code": e.Code, "message": e.Message}}); err == nil {
			properties["statusMessage"] = string(b)
		}
	}
	if e.Origin != "" {
		properties["origin"] = e.Origin
	}
	sub := ""
	if e.HTTPStatus != 0 {
		sub = strings.ReplaceAll(http.StatusText(e.HTTPStatus), " ", "")
	}
	caller := e.Caller.Name
	if caller == "" {
		caller = e.Caller.ObjectID
	}
	return map[string]any{
		"id":                   fmt.Sprintf("%s/events/%s/ticks/%d", e.Resource, e.ID, ticks(e.Time)),
		"eventDataId":          e.ID,
		"correlationId":        e.CorrelationID,
		"operationId":          e.CorrelationID,
		"caller":               caller,
		"channels":             "Operation",
		"level":                level,
		"category":             same("Administrative"),
		"eventName":            map[string]string{"value": map[bool]string{true: "BeginRequest", false: "EndRequest"}[e.Status == Started || e.Status == Accepted]},
		"eventTimestamp":       stamp(e.Time),
		"submissionTimestamp":  stamp(e.Time),
		"operationName":        same(e.Operation),
		"resourceId":           e.Resource,
		"resourceGroupName":    id.ResourceGroup(),
		"resourceProviderName": same(provider(e)),
		"resourceType":         same(id.Type().String()),
		"subscriptionId":       id.Subscription(),
		"tenantId":             tenant,
		"status":               same(string(e.Status)),
		"subStatus":            localizable{sub, http.StatusText(e.HTTPStatus)},
		"description":          "",
		"authorization":        map[string]string{"action": e.Operation, "scope": e.Resource},
		"httpRequest":          map[string]string{"clientRequestId": e.ClientID, "clientIpAddress": e.Address, "method": e.Method},
		"claims": map[string]string{
			"name": e.Caller.Name, "appid": e.Caller.AppID, "ipaddr": e.Address,
			"http://schemas.microsoft.com/identity/claims/objectidentifier": e.Caller.ObjectID,
			"http://schemas.microsoft.com/identity/claims/tenantid":         e.Caller.TenantID,
		},
		"properties": properties,
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// ticks are .NET's: units of 100 ns since the year 1.
func ticks(t time.Time) int64 {
	const unixEpoch = 621355968000000000
	return unixEpoch + t.UnixNano()/100
}
