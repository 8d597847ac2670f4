package rp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
)

// localizable is a value with its text, as Azure Monitor writes them.
type localizable struct {
	Value string `json:"value"`
	Text  string `json:"localizedValue"`
}

func same(s string) localizable { return localizable{s, s} }

// eventData is an entry in the form of Azure Monitor's EventData ("Activity log event schema").
func eventData(e activity.Entry, tenant string) map[string]any {
	id, _ := arm.ParseID(e.Resource)
	namespace, _, _ := strings.Cut(e.Operation, "/")
	category := cmp.Or(e.Category, activity.Administrative)
	hierarchy := tenant
	if s := id.Subscription(); s != "" {
		hierarchy += "/" + s
	}
	properties := map[string]string{"entity": e.Resource, "message": e.Operation, "eventCategory": category, "hierarchy": hierarchy}
	maps.Copy(properties, e.Properties)
	if e.Code != "" {
		properties["statusCode"] = http.StatusText(e.HTTPStatus)
		if b, err := json.Marshal(map[string]any{"error": map[string]string{"code": e.Code, "message": e.Message}}); err == nil {
			properties["statusMessage"] = string(b)
		}
	}
	if e.Origin != "" {
		properties["origin"] = e.Origin
	}
	return map[string]any{
		"id":                   fmt.Sprintf("%s/events/%s/ticks/%d", e.Resource, e.ID, ticks(e.Time)),
		"eventDataId":          e.ID,
		"correlationId":        e.CorrelationID,
		"operationId":          e.CorrelationID,
		"caller":               cmp.Or(e.Caller.Name, e.Caller.ObjectID),
		"channels":             "Operation",
		"level":                e.Severity(),
		"category":             same(category),
		"eventName":            eventName(e.Status),
		"eventTimestamp":       stamp(e.Time),
		"submissionTimestamp":  stamp(submitted(e)),
		"operationName":        localizable{e.Operation, operationText(e.Operation)},
		"resourceId":           e.Resource,
		"resourceGroupName":    id.ResourceGroup(),
		"resourceProviderName": same(namespace),
		"resourceType":         same(id.Type().String()),
		"subscriptionId":       id.Subscription(),
		"tenantId":             tenant,
		"status":               same(string(e.Status)),
		"subStatus":            subStatus(e.HTTPStatus),
		"description":          e.Description,
		"authorization":        map[string]string{"action": e.Operation, "scope": e.Resource},
		"httpRequest":          httpRequest(e),
		"claims":               claims(e),
		"properties":           properties,
	}
}

func eventName(s activity.Status) localizable {
	if s == activity.Started || s == activity.Accepted {
		return localizable{"BeginRequest", "Begin request"}
	}
	return localizable{"EndRequest", "End request"}
}

func subStatus(status int) localizable {
	if status == 0 {
		return localizable{}
	}
	text := http.StatusText(status)
	return localizable{strings.ReplaceAll(text, " ", ""), fmt.Sprintf("%s (HTTP Status Code: %d)", text, status)}
}

func httpRequest(e activity.Entry) map[string]string {
	r := map[string]string{"clientRequestId": e.ClientID, "clientIpAddress": e.Address, "method": e.Method}
	if e.URI != "" {
		r["uri"] = e.URI
	}
	return r
}

// claims are what of the caller's token is kept.
func claims(e activity.Entry) map[string]string {
	c := e.Caller
	all := map[string]string{
		"name": c.Name, "appid": c.AppID, "ipaddr": e.Address,
		"http://schemas.microsoft.com/identity/claims/objectidentifier": c.ObjectID,
		"http://schemas.microsoft.com/identity/claims/tenantid":         c.TenantID,
	}
	if c.Type == "User" {
		all["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"], all["idtyp"] = c.Name, "user"
	} else if c.Type != "" {
		all["idtyp"] = "app"
	}
	if len(c.Groups) > 0 {
		all["groups"] = strings.Join(c.Groups, ",")
	}
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	return all
}

// ticks are .NET's: units of 100 ns since the year 1.
func ticks(t time.Time) int64 {
	const unixEpoch = 621355968000000000
	return unixEpoch + t.UnixNano()/100
}

// submitted is when an event could be read: Azure's events come into the log after what they tell of.
func submitted(e activity.Entry) time.Time {
	if e.Submitted.After(e.Time) {
		return e.Submitted
	}
	return e.Time
}
