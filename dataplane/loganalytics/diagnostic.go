package loganalytics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/kql"
)

// Line makes a row of a record in the form in which logs are written to storage accounts ("Azure resource logs: common
// schema"). dedicated: the setting asks for tables of the service's own (logAnalyticsDestinationType Dedicated), where
// there is a choice.
func Line(line []byte, dedicated bool) (Record, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var r map[string]any
	if err := dec.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("loganalytics: a record: %w", err)
	}
	of := &common{r}
	category := of.text("category")
	out := Record{Table: diagnostics}
	switch {
	case strings.HasPrefix(category, "Storage"):
		service, _, _ := strings.Cut(strings.ToLower(of.text("resourceType")+of.text("resourceId")), "services")
		service = service[strings.LastIndex(service, "/")+1:]
		if t := "Storage" + strings.ToUpper(service[:min(1, len(service))]) + service[min(1, len(service)):] + "Logs"; tables[t] != nil {
			out.Table, out.Row = t, of.storage()
		}
	case category == "RunEvent":
		out.Table, out.Row = "AmlRunEvent", of.run()
	case strings.HasPrefix(category, "Models"):
		out.Table, out.Row = "AmlModelsEvent", of.model()
	case category == "AuditEvent" && dedicated:
		out.Table, out.Row = "AZKVAuditLogs", of.vault()
	case tables[category] != nil && dedicated:
		out.Table, out.Row = category, of.object("properties")
	}
	if out.Row == nil {
		out.Table, out.Row = diagnostics, of.flat()
	}
	return out, of.finish(out)
}

// Activity makes a row of AzureActivity of a record of the activity log in the form in which it is exported.
func Activity(line []byte) (Record, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var r map[string]any
	if err := dec.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("loganalytics: an entry: %w", err)
	}
	of := &common{r}
	identity, properties := of.object("identity"), of.object("properties")
	claims, authorization := sub(identity, "claims"), sub(identity, "authorization")
	caller := str(claims["name"])
	if caller == "" {
		caller = str(claims["http://schemas.microsoft.com/identity/claims/objectidentifier"])
	}
	status := str(of.r["resultType"])
	_, substatus, _ := strings.Cut(str(of.r["resultSignature"]), ".")
	id := of.id()
	row := map[string]any{
		"OperationNameValue": of.text("operationName"), "OperationName": str(properties["message"]), "Level": of.text("level"),
		"ActivityStatusValue": status, "ActivityStatus": status, "ActivitySubstatusValue": substatus, "ActivitySubstatus": substatus,
		"CorrelationId": of.text("correlationId"), "OperationId": of.text("correlationId"), "Caller": caller, "CallerIpAddress": of.text("callerIpAddress"),
		"CategoryValue": of.text("category"), "Category": of.text("category"), "Properties_d": properties, "Properties": compact(properties),
		"Authorization_d": authorization, "Authorization": compact(authorization), "Claims_d": claims, "Claims": compact(claims),
		"EventDataId": str(properties["eventDataId"]), "EventSubmissionTimestamp": of.r["time"], "ResourceId": of.text("resourceId"),
		"ResourceGroup": id.group, "SubscriptionId": id.subscription, "Resource": id.name, "ResourceProvider": id.provider, "ResourceProviderValue": strings.ToUpper(id.provider),
	}
	out := Record{Table: "AzureActivity", Row: row}
	return out, of.finish(out)
}

// common is a record in the common schema.
type common struct{ r map[string]any }

func str(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	}
	return fmt.Sprint(v)
}

func sub(m map[string]any, key string) map[string]any { s, _ := m[key].(map[string]any); return s }

func compact(m map[string]any) string {
	b, _ := json.Marshal(m) // it came as JSON
	return string(b)
}

func (c *common) text(key string) string { return str(c.r[key]) }

func (c *common) object(key string) map[string]any {
	if m := sub(c.r, key); m != nil {
		return maps.Clone(m)
	}
	return map[string]any{}
}

// parts of the id of a resource.
type parts struct{ subscription, group, provider, typ, name string }

func (c *common) id() (p parts) {
	s := strings.Split(strings.Trim(c.text("resourceId"), "/"), "/")
	for i := 0; i+1 < len(s); i++ {
		switch strings.ToLower(s[i]) {
		case "subscriptions":
			p.subscription = strings.ToLower(s[i+1])
		case "resourcegroups":
			p.group = s[i+1]
		case "providers":
			p.provider = s[i+1]
			if i+2 < len(s) {
				p.typ = s[i+2]
			}
		}
	}
	p.name = s[len(s)-1]
	return p
}

// finish adds what every row has.
func (c *common) finish(r Record) error {
	at := c.text("time")
	if at == "" {
		return fmt.Errorf("loganalytics: a record of %s has no time", r.Table)
	}
	r.Row["TimeGenerated"], r.Row["_ResourceId"] = at, strings.ToLower(c.text("resourceId"))
	return nil
}

// pick makes columns of members, each named as the other but for its first letter.
func pick(row, from map[string]any, names string) {
	for _, n := range strings.Fields(names) {
		if v, ok := from[n]; ok && v != nil {
			row[strings.ToUpper(n[:1])+n[1:]] = v
		}
	}
}

func (c *common) storage() map[string]any {
	row := map[string]any{"StatusCode": c.text("statusCode"), "OperationCount": 0}
	pick(row, c.r, "operationName operationVersion category statusText durationMs callerIpAddress correlationId location protocol uri schemaVersion")
	pick(row, c.object("properties"), "accountName userAgentHeader referrerHeader clientRequestId etag serviceType objectKey metricResponseType serverLatencyMs requestBodySize responseBodySize tlsVersion")
	identity := c.object("identity")
	row["AuthenticationType"], row["AuthenticationHash"] = str(identity["type"]), str(identity["tokenHash"])
	for k, v := range sub(identity, "requester") {
		row["Requester"+strings.ToUpper(k[:1])+k[1:]] = v
	}
	return row
}

func (c *common) vault() map[string]any {
	row := map[string]any{"Identity": c.object("identity")}
	pick(row, c.r, "operationName operationVersion resultType resultSignature resultDescription durationMs callerIpAddress correlationId")
	pick(row, c.object("properties"), "id clientInfo requestUri httpStatusCode isRbacAuthorized")
	return row
}

func (c *common) run() map[string]any {
	p := c.object("properties")
	claims := sub(c.object("identity"), "claims")
	return map[string]any{"OperationName": c.text("operationName"), "RunId": str(p["runId"]), "Identity": claims, "AmlWorkspaceId": str(p["workspaceId"]), "AadTenantId": c.text("tenantId")}
}

func (c *common) model() map[string]any {
	p := c.object("properties")
	row := map[string]any{"Identity": sub(c.object("identity"), "claims"), "AmlModelName": str(p["model"]), "AadTenantId": c.text("tenantId")}
	pick(row, c.r, "operationName correlationId level resultType resultSignature")
	return row
}

// plain are the members of the common schema that AzureDiagnostics has columns for.
var plain = map[string]string{
	"category": "Category", "operationName": "OperationName", "operationVersion": "OperationVersion", "resultType": "ResultType", "resultSignature": "ResultSignature",
	"resultDescription": "ResultDescription", "correlationId": "CorrelationId", "callerIpAddress": "CallerIPAddress", "level": "Level", "durationMs": "DurationMs",
}

// flat is a row of AzureDiagnostics: what has no column becomes one, its type the end of its name.
func (c *common) flat() map[string]any {
	id := c.id()
	row := map[string]any{
		"ResourceId": strings.ToUpper(c.text("resourceId")), "SubscriptionId": id.subscription, "ResourceGroup": strings.ToUpper(id.group),
		"ResourceProvider": strings.ToUpper(id.provider), "ResourceType": strings.ToUpper(id.typ), "Resource": strings.ToUpper(id.name),
	}
	for k, v := range c.r {
		switch column := plain[k]; {
		case column != "":
			row[column] = v
		case k == "properties":
			own := c.object("properties") // a firewall's record has these too
			for _, again := range []string{"TimeGenerated", "Category", "_ResourceId"} {
				delete(own, again)
			}
			flatten(row, "", own, 0)
		case k != "time" && k != "resourceId":
			flatten(row, k, v, 0)
		}
	}
	return row
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]+`)

func flatten(row map[string]any, name string, v any, depth int) {
	if m, ok := v.(map[string]any); ok && depth < 8 {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			n := notInNames.ReplaceAllString(k, "_")
			if name != "" {
				n = name + "_" + n
			}
			flatten(row, n, m[k], depth+1)
		}
		return
	}
	switch x := v.(type) {
	case nil:
	case bool:
		row[name+"_b"] = x
	case json.Number:
		row[name+"_d"] = x
	case string:
		if uuid.Validate(x) == nil && len(x) == 36 {
			row[name+"_g"] = strings.ToLower(x)
		} else if x != "" {
			row[name+"_s"] = x
		}
	default:
		b, _ := json.Marshal(kql.Plain(x)) // it came as JSON
		row[name+"_s"] = string(b)
	}
}
