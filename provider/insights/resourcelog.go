package insights

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/internal/storagehttp"
)

// LogContainer is where the records of a category go ("Send Azure Monitor resource logs to a storage account").
func LogContainer(category string) string { return "insights-logs-" + strings.ToLower(category) }

// LogBlob is the blob of an hour of a resource's logs.
// Storage accounts' own have the id as it is, all others in capitals ("Monitoring Azure Blob Storage").
func LogBlob(resource arm.ID, t time.Time) string {
	t, id := t.UTC(), resource.String()
	if !strings.EqualFold(resource.Namespace(), "Microsoft.Storage") {
		id = strings.ToUpper(id)
	}
	return fmt.Sprintf("resourceId=%s/y=%04d/m=%02d/d=%02d/h=%02d/m=00/PT1H.json", id, t.Year(), t.Month(), t.Day(), t.Hour())
}

const logTime = "2006-01-02T15:04:05.0000000Z"

// line is a record as it is written.
func line(record map[string]any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(record); err != nil { // of texts and numbers
		return nil
	}
	return b.Bytes()
}

// StorageRequest is a request that a service of a storage account has answered.
type StorageRequest struct {
	*storagehttp.Served
	Service       string // blob, queue, table
	Method        string
	URI           string
	UserAgent     string
	ClientID      string // x-ms-client-request-id
	TLS           string // "TLS 1.3"; "" for HTTP
	Source        netip.AddrPort
	Began         time.Time
	Took          time.Duration
	Status        int
	In, Out       int64 // bytes of the bodies
	ETag          string
	Authorization string // the header: its hash is logged
}

// Resource is the id of the service that the request is logged at.
func (r *StorageRequest) Resource() (arm.ID, error) {
	return arm.ParseID(r.Account.ID + "/" + r.Service + "Services/default")
}

// Category is the one that the request is logged under. Only those that reached an operation say more than their method.
func (r *StorageRequest) Category() string {
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead || r.Operation == "Get User Delegation Key":
		return "StorageRead"
	case r.Method == http.MethodDelete:
		return "StorageDelete"
	}
	return "StorageWrite"
}

// ResponseType is how the request ended, as metrics and logs say it.
func (r *StorageRequest) ResponseType() string {
	switch {
	case r.Code == "" && r.Status < 400:
		return "Success"
	case r.Code != "" && r.Status >= 500:
		return "ServerOtherError"
	case r.Code != "" && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden):
		return "AuthorizationError"
	}
	return "ClientOtherError"
}

// Line is the record ("Azure Blob Storage monitoring data reference", resource logs). Signatures of the address are not in it.
func (r *StorageRequest) Line(location string) []byte {
	id, err := r.Resource()
	if err != nil {
		return nil
	}
	status := "Success"
	if r.Code != "" {
		status = r.Code
	}
	address, path, _ := strings.Cut(r.URI, "?")
	key := ""
	if u, err := url.Parse(address); err == nil {
		key = strings.TrimPrefix(u.Path, "/")
	}
	properties := map[string]any{
		"accountName": r.Account.Name, "userAgentHeader": r.UserAgent, "serviceType": r.Service, "objectKey": strings.TrimSuffix("/"+r.Account.Name+"/"+key, "/"),
		"metricResponseType": r.ResponseType(), "serverLatencyMs": r.Took.Milliseconds(), "requestBodySize": r.In, "responseBodySize": r.Out, "clientRequestId": r.ClientID,
	}
	protocol := "HTTP"
	if r.TLS != "" {
		protocol, properties["tlsVersion"] = "HTTPS", r.TLS
	}
	if r.ETag != "" {
		properties["etag"] = r.ETag
	}
	uri := address
	if path != "" {
		uri += "?" + withoutSignature(path)
	}
	return line(map[string]any{
		"time": r.Began.UTC().Format(logTime), "resourceId": id.String(), "category": r.Category(), "operationName": strings.ReplaceAll(r.Operation, " ", ""),
		"operationVersion": r.Version, "schemaVersion": "1.0", "statusCode": r.Status, "statusText": status, "durationMs": r.Took.Milliseconds(),
		"callerIpAddress": r.Source.String(), "correlationId": r.ID, "identity": r.identity(), "location": location, "properties": properties,
		"uri": uri, "protocol": protocol, "resourceType": "Microsoft.Storage/storageAccounts/" + r.Service + "Services",
	})
}

// withoutSignature is a query with the signature of a shared access signature taken out, as Azure does.
func withoutSignature(query string) string {
	parts := strings.Split(query, "&")
	for i, p := range parts {
		if name, _, _ := strings.Cut(p, "="); strings.EqualFold(name, "sig") || strings.Contains(name, "%") {
			parts[i] = name + "=XXXXX"
		}
	}
	return strings.Join(parts, "&")
}

func (r *StorageRequest) identity() map[string]any {
	hash := func(s string) string { return fmt.Sprintf("%X", sha256.Sum256([]byte(s))) }
	out := map[string]any{"type": "Anonymous"}
	switch r.Caller.Kind {
	case storagehttp.ByKey:
		out["type"] = "AccountKey"
	case storagehttp.ByAccountSAS, storagehttp.ByServiceSAS:
		out["type"] = "SAS"
	case storagehttp.ByDelegationSAS:
		out["type"], out["requester"] = "DelegationSas", requester(r.Caller.Principal)
	case storagehttp.ByToken:
		_, token, _ := strings.Cut(r.Authorization, " ")
		out["type"], out["tokenHash"], out["requester"] = "OAuth", hash(strings.TrimSpace(token)), requester(r.Caller.Principal)
	}
	return out
}

func requester(p authz.Principal) map[string]string {
	return map[string]string{"appId": p.AppID, "audience": "https://storage.azure.com/", "objectId": p.ObjectID, "tenantId": p.TenantID, "tokenIssuer": "https://sts.windows.net/" + p.TenantID + "/"}
}

// VaultLine is a request to a vault as its audit log has it ("Azure Key Vault logging").
func VaultLine(e keyvault.Event) []byte {
	result := "Success"
	if e.Status >= 400 || e.Status == 0 {
		result = "Failed"
	}
	claims := map[string]string{}
	if p := e.Principal; p.ObjectID != "" {
		claims = map[string]string{"http://schemas.microsoft.com/identity/claims/objectidentifier": p.ObjectID, "appid": p.AppID}
		if p.Type == "User" {
			claims["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"] = p.Name
		}
	}
	properties := map[string]any{"clientInfo": e.UserAgent, "requestUri": e.URI, "httpStatusCode": e.Status, "isRbacAuthorized": e.RBAC}
	if e.ID != "" {
		properties["id"] = e.ID
	}
	return line(map[string]any{
		"time": e.Time.UTC().Format(logTime), "resourceId": strings.ToUpper(e.VaultID), "operationName": e.Operation, "operationVersion": e.Version, "category": "AuditEvent",
		"resultType": result, "resultSignature": strings.ReplaceAll(http.StatusText(e.Status), " ", ""), "resultDescription": "", "durationMs": fmt.Sprint(e.Duration.Milliseconds()),
		"callerIpAddress": e.Address.String(), "correlationId": e.CorrelationID, "identity": map[string]any{"claim": claims}, "properties": properties,
	})
}

// WorkspaceCategory is the category under which a machine learning workspace logs what the activity log says of its data
// plane; "" for what it does not log.
func WorkspaceCategory(e activity.Entry) string {
	switch {
	case e.Properties["plane"] != "data":
		return ""
	case strings.Contains(e.Operation, "/experiments/runs/"):
		return "RunEvent"
	case strings.Contains(e.Operation, "/workspaces/models/"):
		return "ModelsChangeEvent"
	}
	return ""
}

// WorkspaceLine is such an entry as a record ("Azure Machine Learning monitoring data reference").
func WorkspaceLine(e activity.Entry, workspace arm.ID) []byte {
	properties := map[string]string{"resultDescription": e.Description}
	for k, v := range e.Properties {
		properties[k] = v
	}
	return line(map[string]any{
		"time": e.Time.UTC().Format(logTime), "resourceId": strings.ToUpper(workspace.String()), "operationName": strings.ToUpper(e.Operation), "category": WorkspaceCategory(e),
		"resultType": string(e.Status), "resultSignature": e.Code, "level": "Informational", "correlationId": e.CorrelationID, "callerIpAddress": e.Address,
		"identity":   map[string]any{"claims": map[string]string{"http://schemas.microsoft.com/identity/claims/objectidentifier": e.Caller.ObjectID, "name": e.Caller.Name, "appid": e.Caller.AppID}},
		"properties": properties,
	})
}

// FirewallLine is a record of an Azure Firewall, whose columns are in properties ("Azure Firewall monitoring data
// reference", structured logs).
func FirewallLine(resource string, category string, at time.Time, columns any) []byte {
	return line(map[string]any{"time": at.UTC().Format(logTime), "resourceId": strings.ToUpper(resource), "category": category, "properties": columns})
}
