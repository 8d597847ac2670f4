package rp

import (
	"encoding/json"
	"fmt"
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
	level := "Informational"
	if e.Status == activity.Failed {
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
		"eventName":            map[string]string{"value": map[bool]string{true: "BeginRequest", false: "EndRequest"}[e.Status == activity.Started || e.Status == activity.Accepted]},
		"eventTimestamp":       stamp(e.Time),
		"submissionTimestamp":  stamp(e.Time),
		"operationName":        same(e.Operation),
		"resourceId":           e.Resource,
		"resourceGroupName":    id.ResourceGroup(),
		"resourceProviderName": same(namespace),
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

// ticks are .NET's: units of 100 ns since the year 1.
func ticks(t time.Time) int64 {
	const unixEpoch = 621355968000000000
	return unixEpoch + t.UnixNano()/100
}
