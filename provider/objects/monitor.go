package objects

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// The types of Azure Monitor.
const (
	ComponentType = "Microsoft.Insights/components"
	LogsType      = "Microsoft.OperationalInsights/workspaces"
)

// Component is the properties of an Application Insights component.
type Component struct {
	ApplicationType     string     `json:"Application_Type"`
	FlowType            string     `json:"Flow_Type,omitempty"`
	RequestSource       string     `json:"Request_Source,omitempty"`
	WorkspaceResourceID string     `json:"WorkspaceResourceId,omitempty"`
	IngestionMode       string     `json:"IngestionMode,omitempty"`
	RetentionInDays     int        `json:"RetentionInDays,omitempty"`
	SamplingPercentage  *float64   `json:"SamplingPercentage,omitempty"`
	Ingestion           string     `json:"publicNetworkAccessForIngestion,omitempty"`
	Query               string     `json:"publicNetworkAccessForQuery,omitempty"`
	ApplicationID       string     `json:"ApplicationId,omitempty" rp:"readonly"`
	AppID               string     `json:"AppId,omitempty" rp:"readonly"`
	ComponentName       string     `json:"Name,omitempty" rp:"readonly"`
	InstrumentationKey  string     `json:"InstrumentationKey,omitempty" rp:"readonly"`
	ConnectionString    string     `json:"ConnectionString,omitempty" rp:"readonly"`
	CreationDate        *time.Time `json:"CreationDate,omitempty" rp:"readonly"`
	TenantID            string     `json:"TenantId,omitempty" rp:"readonly"`
	Ver                 string     `json:"Ver,omitempty" rp:"readonly"`
}

// LogsWorkspace is the properties of a Log Analytics workspace.
type LogsWorkspace struct {
	CustomerID      string         `json:"customerId,omitempty" rp:"readonly"`
	SKU             *logsSKU       `json:"sku,omitempty"`
	RetentionInDays int            `json:"retentionInDays,omitempty"`
	Capping         *capping       `json:"workspaceCapping,omitempty"`
	Features        map[string]any `json:"features,omitempty"`
	Ingestion       string         `json:"publicNetworkAccessForIngestion,omitempty"`
	Query           string         `json:"publicNetworkAccessForQuery,omitempty"`
	Created         *time.Time     `json:"createdDate,omitempty" rp:"readonly"`
	Modified        *time.Time     `json:"modifiedDate,omitempty" rp:"readonly"`
	Keys            [2]string      `json:"keys" rp:"private"`
}

type logsSKU struct {
	Name     string     `json:"name"`
	Capacity int        `json:"capacityReservationLevel,omitempty"`
	Updated  *time.Time `json:"lastSkuUpdate,omitempty" rp:"readonly"`
}

type capping struct {
	DailyQuotaGB *float64 `json:"dailyQuotaGb,omitempty"`
	NextReset    string   `json:"quotaNextResetTime,omitempty" rp:"readonly"`
	Ingestion    string   `json:"dataIngestionStatus,omitempty" rp:"readonly"`
}

// DataSource tells a workspace what to collect.
type DataSource struct{}

// SavedSearch is a query that a workspace keeps.
type SavedSearch struct {
	Category    string `json:"category"`
	DisplayName string `json:"displayName"`
	Query       string `json:"query"`
}

// LinkedService ties a workspace to a cluster or an automation account.
type LinkedService struct {
	ResourceID string `json:"resourceId,omitempty"`
	WriteID    string `json:"writeAccessResourceId,omitempty"`
}

var (
	componentVersions = []string{"2014-04-01", "2014-08-01", "2014-12-01-preview", "2015-05-01", "2018-05-01-preview", "2020-02-02-preview", "2020-02-02"}
	logsVersions      = []string{"2015-03-20", "2015-11-01-preview", "2020-03-01-preview", "2020-08-01", "2020-10-01", "2021-06-01", "2021-12-01-preview", "2022-10-01",
		"2023-09-01", "2025-02-01", "2025-07-01"}
)

// logsRoutes list deleted workspaces: there are none, a deleted one is gone at once.
func logsRoutes() rp.Registration {
	const deleted = "/providers/Microsoft.OperationalInsights/deletedWorkspaces"
	none := func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
		return map[string]any{"value": []any{}}, nil
	}
	var routes []rp.Route
	for _, scope := range []string{"/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{group}"} {
		routes = append(routes, rp.Route{
			Method: http.MethodGet, Pattern: scope + deleted, Permission: "Microsoft.OperationalInsights/deletedWorkspaces/read", Versions: logsVersions, Reads: true, Do: none,
		})
	}
	return rp.Routes(routes...)
}

func monitors() []object {
	return []object{
		of(rp.Type[Component]{
			Move: rp.Moved[Component],
			Name: ComponentType, Versions: rp.Versions[Component](componentVersions...), CreateStatus: http.StatusOK, SyncDelete: true,
			NamePattern: `^[^%&\\?/]{0,254}[^%&\\?/.\s]$`, NameRule: "Component names have 1 to 255 characters, none of %&\\?/, and do not end in a space or period.",
			Default: componentDefaults, Validate: validateComponent, Admit: admitComponent, Links: componentLinks, Present: tagged[Component], Erase: forgetBilling,
			Actions: unserved[Component](nil, "query", "purge"),
		}),
		served(of(rp.Type[LogsWorkspace]{ // dataplane/loganalytics
			Move: rp.Moved[LogsWorkspace],
			Name: LogsType, Versions: rp.Versions[LogsWorkspace](logsVersions...), SyncDelete: true,
			NamePattern: `^[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]$`, NameRule: "Workspace names have 4 to 63 letters, digits and hyphens, and neither begin nor end with a hyphen.",
			Default: logsDefaults, Validate: validateLogs, Admit: admitLogs, Reconcile: done[LogsWorkspace],
			Actions: unserved(map[string]rp.Action[LogsWorkspace]{
				"sharedKeys": {Do: sharedKeys}, "listKeys": {Do: sharedKeys}, // what it was called before
				"regenerateSharedKey": {Do: func(ctx context.Context, tx *rp.Tx, r *rp.Resource[LogsWorkspace], body []byte) (any, error) {
					r.Properties.Keys = [2]string{secret(64), secret(64)}
					return sharedKeys(ctx, tx, r, body)
				}},
				"usages": {Method: http.MethodGet, Permission: LogsType + "/usages/read", Do: func(context.Context, *rp.Tx, *rp.Resource[LogsWorkspace], []byte) (any, error) {
					return map[string]any{"value": []any{}}, nil
				}},
			}, "purge", "search"),
		})),
		of(rp.Type[DataSource]{
			Name: LogsType + "/dataSources", Kind: rp.Proxy, Versions: rp.Versions[DataSource](since(logsVersions, "2015-11-01-preview")...), SyncDelete: true, StateProperty: "-",
			Validate: func(_ rp.Op, r, _ *rp.Resource[DataSource]) error { return must("InvalidParameter", "kind", r.Kind) },
		}),
		of(rp.Type[SavedSearch]{
			Name: LogsType + "/savedSearches", Kind: rp.Proxy, Versions: rp.Versions[SavedSearch](logsVersions...), SyncDelete: true, StateProperty: "-", CreateStatus: http.StatusOK,
			Validate: func(_ rp.Op, r, _ *rp.Resource[SavedSearch]) error {
				return first(must("InvalidParameter", "properties.category", r.Properties.Category), must("InvalidParameter", "properties.displayName", r.Properties.DisplayName),
					must("InvalidParameter", "properties.query", r.Properties.Query))
			},
		}),
		of(rp.Type[LinkedService]{
			Name: LogsType + "/linkedServices", Kind: rp.Proxy, Versions: rp.Versions[LinkedService](since(logsVersions, "2015-11-01-preview")...), Reconcile: done[LinkedService],
			Validate: func(_ rp.Op, r, _ *rp.Resource[LinkedService]) error {
				return must("InvalidParameter", "properties.resourceId", r.Properties.ResourceID+r.Properties.WriteID)
			},
		}),
	}
}

func componentDefaults(_ string, r *rp.Resource[Component]) {
	v := &r.Properties
	otherwise(&v.FlowType, "Bluefield")
	otherwise(&v.RequestSource, "rest")
	otherwise(&v.RetentionInDays, 90)
	otherwise(&v.Ingestion, "Enabled")
	otherwise(&v.Query, "Enabled")
	mode := "ApplicationInsights"
	if v.WorkspaceResourceID != "" {
		mode = "LogAnalytics"
	}
	otherwise(&v.IngestionMode, mode)
}

func validateComponent(_ rp.Op, new, old *rp.Resource[Component]) error {
	v := &new.Properties
	if err := first(must("InvalidParameter", "kind", new.Kind), must("InvalidParameter", "properties.Application_Type", v.ApplicationType),
		oneOf("InvalidParameter", "properties.Application_Type", &v.ApplicationType, "web", "other", "java", "Node.JS", "store", "ios", "phone", "general", "HockeyAppBridge"),
		oneOf("InvalidParameter", "properties.IngestionMode", &v.IngestionMode, "ApplicationInsights", "ApplicationInsightsWithDiagnosticSettings", "LogAnalytics"),
		access("InvalidParameter", &v.Ingestion, &v.Query)); err != nil {
		return err
	}
	for _, days := range []int{30, 60, 90, 120, 180, 270, 365, 550, 730} {
		if v.RetentionInDays == days {
			if p := v.SamplingPercentage; p != nil && (*p <= 0 || *p > 100) {
				return refuse("InvalidParameter", "The value %v of 'properties.SamplingPercentage' is invalid. It must be above 0 and at most 100.", *p)
			}
			if old != nil && old.Properties.WorkspaceResourceID != "" && v.WorkspaceResourceID == "" {
				return refuse("InvalidParameter", "The property 'properties.WorkspaceResourceId' of a workspace-based component can be changed, not removed.")
			}
			return nil
		}
	}
	return refuse("InvalidParameter", "The value %d of 'properties.RetentionInDays' is invalid. It must be one of 30, 60, 90, 120, 180, 270, 365, 550, 730.", v.RetentionInDays)
}

func access(code string, ingestion, query *string) error {
	return first(oneOf(code, "properties.publicNetworkAccessForIngestion", ingestion, "Enabled", "Disabled", "SecuredByPerimeter"),
		oneOf(code, "properties.publicNetworkAccessForQuery", query, "Enabled", "Disabled", "SecuredByPerimeter"))
}

func componentLinks(r *rp.Resource[Component]) []rp.Link {
	id, err := arm.ParseID(r.Properties.WorkspaceResourceID)
	if err != nil {
		return nil
	}
	return []rp.Link{{Action: LogsType + "/read", ID: id}}
}

func admitComponent(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Component]) error {
	v := &new.Properties
	if v.WorkspaceResourceID != "" {
		if err := refers[LogsWorkspace](tx, "properties.WorkspaceResourceId", v.WorkspaceResourceID); err != nil {
			return err
		}
	}
	if op == rp.Update {
		return nil
	}
	created(&v.CreationDate, op, tx.Now)
	v.ApplicationID, v.ComponentName, v.Ver, v.TenantID = new.ID.Name(), new.ID.Name(), "v2", new.ID.Subscription()
	v.AppID, v.InstrumentationKey = uuid.NewString(), uuid.NewString()
	v.ConnectionString = fmt.Sprintf("InstrumentationKey=%s;IngestionEndpoint=https://%s.in.applicationinsights.azure.com/;LiveEndpoint=https://%s.livediagnostics.monitor.azure.com/;ApplicationId=%s",
		v.InstrumentationKey, new.Location, new.Location, v.AppID)
	return nil
}

func logsDefaults(version string, r *rp.Resource[LogsWorkspace]) {
	v := &r.Properties
	if v.SKU == nil {
		name := "PerGB2018"
		v.SKU = &logsSKU{Name: name}
	}
	if v.RetentionInDays == 0 {
		v.RetentionInDays = 30
		if v.SKU.Name == "Free" {
			v.RetentionInDays = 7
		}
	}
	if v.Capping == nil {
		v.Capping = &capping{}
	}
	otherwise(&v.Capping.DailyQuotaGB, ptr(-1.0))
	if v.Features == nil {
		v.Features = map[string]any{}
	}
	if v.Features["enableLogAccessUsingOnlyResourcePermissions"] == nil {
		v.Features["enableLogAccessUsingOnlyResourcePermissions"] = true
	}
	v.Features["legacy"], v.Features["searchVersion"] = 0, 1
	otherwise(&v.Ingestion, "Enabled")
	otherwise(&v.Query, "Enabled")
}

func validateLogs(_ rp.Op, new, _ *rp.Resource[LogsWorkspace]) error {
	v := &new.Properties
	if err := first(must("InvalidParameter", "properties.sku.name", v.SKU.Name),
		oneOf("InvalidParameter", "properties.sku.name", &v.SKU.Name, "Free", "Standard", "Premium", "PerNode", "PerGB2018", "Standalone", "CapacityReservation", "LACluster"),
		access("InvalidParameter", &v.Ingestion, &v.Query)); err != nil {
		return err
	}
	days := v.RetentionInDays
	if v.SKU.Name == "Free" && days != 7 || v.SKU.Name != "Free" && (days < 30 || days > 730) {
		e := arm.Errorf(http.StatusBadRequest, "BadRequest", "The value provided for retention is invalid. the expected value should be between 30 to 730. see https://docs.microsoft.com/azure/azure-monitor/platform/manage-cost-storage#change-the-data-retention-period for more information")
		e.Target = "retention"
		return e
	}
	if v.SKU.Name == "CapacityReservation" && v.SKU.Capacity < 100 {
		return refuse("InvalidParameter", "The value %d of 'properties.sku.capacityReservationLevel' is invalid. It must be at least 100.", v.SKU.Capacity)
	}
	return nil
}

func admitLogs(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[LogsWorkspace]) error {
	v, now := &new.Properties, ptr(tx.Now.UTC())
	created(&v.Created, op, tx.Now)
	v.Modified = now
	if op == rp.Create {
		v.CustomerID = uuid.NewString()
		v.Keys = [2]string{secret(64), secret(64)}
	}
	if op == rp.Create || old.Properties.SKU == nil || old.Properties.SKU.Name != v.SKU.Name {
		v.SKU.Updated = now
	}
	v.Capping.Ingestion = "RespectQuota"
	v.Capping.NextReset = resetTime(new.ID, tx.Now)
	return nil
}

// resetTime is when the daily quota begins anew: an hour of the workspace's own.
func resetTime(id arm.ID, now time.Time) string {
	sum := sha256.Sum256([]byte(id.Key()))
	at := now.UTC().Truncate(24 * time.Hour).Add(time.Duration(sum[0]%24) * time.Hour)
	if !at.After(now) {
		at = at.Add(24 * time.Hour)
	}
	return at.Format(time.RFC3339)
}

func sharedKeys(_ context.Context, _ *rp.Tx, r *rp.Resource[LogsWorkspace], _ []byte) (any, error) {
	return map[string]any{"primarySharedKey": r.Properties.Keys[0], "secondarySharedKey": r.Properties.Keys[1]}, nil
}

// clone copies a tree of JSON.
func clone(m map[string]any) (out map[string]any) {
	b, _ := json.Marshal(m) // came as JSON
	_ = json.Unmarshal(b, &out)
	return out
}
