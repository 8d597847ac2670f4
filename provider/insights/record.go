package insights

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vauban.dev/activity"
)

// Container is where Azure Monitor puts the activity log.
const Container = "insights-activity-logs"

// BlobName is the blob of an hour of a subscription's log ("Azure Monitor activity log: send to Azure Storage").
func BlobName(subscription string, t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf("resourceId=/SUBSCRIPTIONS/%s/y=%04d/m=%02d/d=%02d/h=%02d/m=00/PT1H.json", strings.ToUpper(subscription), t.Year(), t.Month(), t.Day(), t.Hour())
}

// Record is an entry as it is exported: a line of JSON ("Activity log event schema: schema from storage account and event
// hubs").
func Record(e activity.Entry, tenant string) ([]byte, error) {
	status := strings.ReplaceAll(http.StatusText(e.HTTPStatus), " ", "")
	properties := map[string]any{"eventCategory": cmp.Or(e.Category, activity.Administrative), "entity": e.Resource, "message": e.Operation, "origin": e.Origin, "eventDataId": e.ID}
	for k, v := range e.Properties {
		properties[k] = v
	}
	if e.Description != "" {
		properties["description"] = e.Description
	}
	if e.HTTPStatus != 0 {
		properties["statusCode"] = status
	}
	if e.Code != "" {
		properties["statusMessage"] = map[string]any{"error": map[string]string{"code": e.Code, "message": e.Message}}
	}
	line, err := json.Marshal(map[string]any{
		"time": e.Time.UTC().Format("2006-01-02T15:04:05.0000000Z"), "resourceId": strings.ToUpper(e.Resource), "operationName": strings.ToUpper(e.Operation),
		"category": cmp.Or(e.Category, activity.Administrative), "resultType": resultType(e.Status), "resultSignature": strings.TrimSuffix(string(e.Status)+"."+status, "."),
		"durationMs": "0", "callerIpAddress": e.Address, "correlationId": e.CorrelationID, "level": strings.TrimSuffix(e.Severity(), "al"), "tenantId": tenant,
		"identity": map[string]any{
			"authorization": map[string]any{"scope": e.Resource, "action": e.Operation, "evidence": map[string]string{"principalId": e.Caller.ObjectID, "principalType": e.Caller.Type}},
			"claims": map[string]string{"name": e.Caller.Name, "appid": e.Caller.AppID, "ipaddr": e.Address,
				"http://schemas.microsoft.com/identity/claims/objectidentifier": e.Caller.ObjectID, "http://schemas.microsoft.com/identity/claims/tenantid": e.Caller.TenantID},
		},
		"properties": properties,
	})
	return append(line, '\n'), err
}

// resultType is the status in the words of the export.
func resultType(s activity.Status) string {
	switch s {
	case activity.Started:
		return "Start"
	case activity.Accepted:
		return "Accept"
	case activity.Succeeded:
		return "Success"
	case activity.Failed:
		return "Failure"
	}
	return string(s)
}
