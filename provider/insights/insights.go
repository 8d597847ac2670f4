// Package insights is Microsoft.Insights' diagnostic settings: where the activity log of a subscription and the logs of a
// resource are exported to. The server writes the records (cmd/vauban); this package keeps the settings and makes the
// records' form.
package insights

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// SettingType is the resource type of diagnostic settings.
const SettingType = "Microsoft.Insights/diagnosticSettings"

const (
	storageType   = "Microsoft.Storage/storageAccounts"
	workspaceType = "Microsoft.OperationalInsights/workspaces"
)

// Setting is the properties of a diagnostic setting (Azure Monitor REST: DiagnosticSettings).
type Setting struct {
	StorageAccountID      *string    `json:"storageAccountId"`
	WorkspaceID           *string    `json:"workspaceId"`
	EventHubRuleID        *string    `json:"eventHubAuthorizationRuleId"`
	EventHubName          *string    `json:"eventHubName"`
	ServiceBusRuleID      *string    `json:"serviceBusRuleId"`
	MarketplacePartnerID  *string    `json:"marketplacePartnerId"`
	LogAnalyticsTableType *string    `json:"logAnalyticsDestinationType"`
	Logs                  []Category `json:"logs"`
	Metrics               []Category `json:"metrics"`
}

// Category says whether a category, or a group of them, is exported.
type Category struct {
	Category      string     `json:"category,omitempty"`
	CategoryGroup string     `json:"categoryGroup,omitempty"`
	Enabled       bool       `json:"enabled"`
	Retention     *Retention `json:"retentionPolicy,omitempty"`
}

// Retention of a category; Azure has retired it.
type Retention struct {
	Enabled bool `json:"enabled"`
	Days    int  `json:"days"`
}

// categories are those of the activity log.
var categories = []string{activity.Administrative, activity.Security, "ServiceHealth", "Alert", "Recommendation", activity.Policy, "Autoscale", "ResourceHealth"}

var versions = []string{"2016-09-01", "2017-05-01-preview", "2021-05-01-preview"}

// Types are the resource types and routes.
func Types() []rp.Registration {
	var routes []rp.Route
	const read = "Microsoft.Insights/diagnosticSettingsCategories/read"
	for _, scope := range []string{
		"/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}",
		"/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{type}/{name}/{type2}/{name2}",
	} {
		at := scope + "/providers/Microsoft.Insights/diagnosticSettingsCategories"
		routes = append(routes, rp.Route{Method: http.MethodGet, Pattern: at, Permission: read, Versions: versions, Do: listCategories},
			rp.Route{Method: http.MethodGet, Pattern: at + "/{category}", Permission: read, Versions: versions, Do: getCategory})
	}
	return []rp.Registration{
		rp.Of(rp.Type[Setting]{
			Name: SettingType, Kind: rp.Extension, Versions: rp.Versions[Setting](versions...), StateProperty: "-", CreateStatus: http.StatusOK, SyncDelete: true,
			Validate: validate, Admit: admit, Links: links, Erase: erase,
		}),
		rp.Routes(routes...),
	}
}

// Given tells whether a setting names a destination.
func Given(s *string) bool { return s != nil && *s != "" }

// destinations are where a setting sends: what the ids that it has must be of, one type or several.
func (s *Setting) destinations() (ids []*string, types []string) {
	return []*string{s.StorageAccountID, s.WorkspaceID, s.EventHubRuleID, s.ServiceBusRuleID, s.MarketplacePartnerID},
		[]string{storageType, workspaceType, hubRules, hubRules + " Microsoft.ServiceBus/namespaces/AuthorizationRules", ""}
}

// Dedicated tells whether records go to tables of the service's own, where there is a choice.
func (s *Setting) Dedicated() bool {
	return s.LogAnalyticsTableType != nil && strings.EqualFold(*s.LogAnalyticsTableType, "Dedicated")
}

// validate checks a setting. Event hubs and partners are kept and shown, and nothing is sent to them.
func validate(_ rp.Op, new, _ *rp.Resource[Setting]) error {
	s, scope := &new.Properties, new.ID.Scope()
	ids, types := s.destinations()
	sinks := 0
	for i, value := range ids {
		if !Given(value) {
			continue
		}
		sinks++
		if id, err := arm.ParseID(*value); err != nil || types[i] != "" && !slices.ContainsFunc(strings.Fields(types[i]), func(t string) bool { return strings.EqualFold(id.Type().String(), t) }) {
			return arm.Errorf(http.StatusBadRequest, "BadRequest", "The data sink '%s' is not the id of a resource of type '%s'.", *value, types[i])
		}
	}
	switch {
	case sinks == 0:
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "At least one data sink needs to be specified: properties.storageAccountId or properties.workspaceId.")
	case s.LogAnalyticsTableType != nil && *s.LogAnalyticsTableType != "" && !s.Dedicated() && !strings.EqualFold(*s.LogAnalyticsTableType, "AzureDiagnostics"):
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The value '%s' of properties.logAnalyticsDestinationType is invalid. It is 'Dedicated' or 'AzureDiagnostics'.", *s.LogAnalyticsTableType)
	case scope.Namespace() != "":
		return validateResource(s, scope)
	case scope.Subscription() == "" || scope.ResourceGroup() != "":
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "Diagnostic settings are not supported at '%s': a resource has them, and a subscription.", scope)
	case len(s.Metrics) > 0:
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "properties.metrics: a subscription has no metrics.")
	}
	for _, l := range s.Logs {
		if l.CategoryGroup != "" && !strings.EqualFold(l.CategoryGroup, "allLogs") {
			return arm.Errorf(http.StatusBadRequest, "BadRequest", "properties.logs: category group '%s' is not supported; it is allLogs.", l.CategoryGroup)
		}
		if l.CategoryGroup == "" && !slices.ContainsFunc(categories, func(c string) bool { return strings.EqualFold(c, l.Category) }) {
			return arm.Errorf(http.StatusBadRequest, "BadRequest", "properties.logs: category '%s' is not supported; those of the activity log are %s.", l.Category, strings.Join(categories, ", "))
		}
	}
	return nil
}

// validateResource checks that a resource has the categories that are named, if it is of a type whose logs are written
// here. What others have is not checked.
func validateResource(s *Setting, scope arm.ID) error {
	if !written[scope.Type().Key()] {
		return nil
	}
	list := slices.DeleteFunc(slices.Clone(resourceCategories[scope.Type().Key()]), isMetric)
	for _, l := range s.Logs {
		has := func(c string) bool {
			return l.CategoryGroup == "" && strings.EqualFold(c, l.Category) ||
				slices.ContainsFunc(groupsOf(c), func(g string) bool { return strings.EqualFold(g, l.CategoryGroup) })
		}
		switch {
		case slices.ContainsFunc(list, has):
		case l.CategoryGroup != "":
			return arm.Errorf(http.StatusBadRequest, "BadRequest", "Category group: '%s' is not supported, supported ones are: 'audit', 'allLogs' (properties.logs of a setting of '%s').", l.CategoryGroup, scope)
		default:
			return arm.Errorf(http.StatusBadRequest, "BadRequest", "Category '%s' is not supported (properties.logs of a setting of '%s').", l.Category, scope)
		}
	}
	return nil
}

// links: who exports to an account needs its keys, to a workspace its shared keys, as in Azure.
func links(r *rp.Resource[Setting]) (list []rp.Link) {
	for _, to := range []struct {
		id          *string
		typ, action string
	}{{r.Properties.StorageAccountID, storageType, "listKeys"}, {r.Properties.WorkspaceID, workspaceType, "sharedKeys"}} {
		if !Given(to.id) {
			continue
		}
		if id, err := arm.ParseID(*to.id); err == nil && strings.EqualFold(id.Type().String(), to.typ) { // others validate refuses
			list = append(list, rp.Link{Action: to.typ + "/" + to.action + "/action", ID: id})
		}
	}
	return list
}

func admit(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Setting]) error {
	s := &new.Properties
	ids, _ := s.destinations()
	for _, value := range ids {
		if !Given(value) {
			continue
		}
		id, err := arm.ParseID(*value)
		if err != nil {
			return err
		}
		if err := rp.Exists(tx, id); err != nil {
			return err
		}
	}
	mine, err := rp.List[Setting](tx, SettingType, new.ID.Scope())
	if err != nil {
		return err
	}
	others := 0
	for _, o := range mine {
		if o.ID.Key() == new.ID.Key() || o.ID.Scope().Key() != new.ID.Scope().Key() {
			continue
		}
		others++
		for _, sink := range [][2]*string{{s.StorageAccountID, o.Properties.StorageAccountID}, {s.WorkspaceID, o.Properties.WorkspaceID}} {
			if Given(sink[0]) && Given(sink[1]) && strings.EqualFold(*sink[0], *sink[1]) {
				return arm.Errorf(http.StatusConflict, "Conflict", "Data sink '%s' is already used in diagnostic setting '%s'. Data sinks can't be reused in different settings on the same category for the same resource.", *sink[0], o.ID.Name())
			}
		}
	}
	if others >= 5 {
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "A resource may have five diagnostic settings at most.")
	}
	return nil
}

// PlaceKind are the documents, by PlaceOf and WorkspacePlaceOf, that say how far a setting has exported.
const PlaceKind = "activity-export"

// PlaceOf is the key of how far a setting has written to its account.
func PlaceOf(setting arm.ID) string { return setting.Key() }

// WorkspacePlaceOf is the key of how far a setting has written to its workspace.
func WorkspacePlaceOf(setting arm.ID) string { return setting.Key() + "#workspace" }

// erase forgets how far it was: one of the same name begins anew.
func erase(_ context.Context, tx *rp.Tx, r *rp.Resource[Setting]) error {
	for _, place := range []string{PlaceOf(r.ID), WorkspacePlaceOf(r.ID)} {
		if err := tx.Delete(PlaceKind, place, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

func showCategory(scope arm.ID, name string) map[string]any {
	properties := map[string]any{"categoryType": "Logs", "categoryGroups": groupsOf(name)}
	if isMetric(name) {
		properties = map[string]any{"categoryType": "Metrics", "categoryGroups": []string{}}
	}
	return map[string]any{
		"id": scope.String() + "/providers/microsoft.insights/diagnosticSettingsCategories/" + name, "name": name, "type": "microsoft.insights/diagnosticSettingsCategories",
		"properties": properties,
	}
}

// scopeOf is the scope that a route names, and the categories that it has.
func scopeOf(tx *rp.Tx, path map[string]string) (scope arm.ID, names []string, err error) {
	text := "/subscriptions/" + path["subscription"]
	if path["group"] == "" {
		scope, err = arm.ParseID(text)
		return scope, categories, err
	}
	text += "/resourceGroups/" + path["group"] + "/providers/" + path["namespace"] + "/" + path["type"] + "/" + path["name"]
	if path["type2"] != "" {
		text += "/" + path["type2"] + "/" + path["name2"]
	}
	if scope, err = arm.ParseID(text); err == nil {
		err = rp.Exists(tx, scope)
	}
	return scope, resourceCategories[scope.Type().Key()], err
}

func listCategories(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	scope, names, err := scopeOf(tx, path)
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, n := range names {
		value = append(value, showCategory(scope, n))
	}
	return map[string]any{"value": value}, nil
}

func getCategory(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	scope, names, err := scopeOf(tx, path)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if strings.EqualFold(n, path["category"]) {
			return showCategory(scope, n), nil
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "ResourceNotFound", "'%s' has no diagnostic category '%s'.", scope, path["category"])
}
