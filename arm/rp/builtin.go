package rp

import "net/http"

// builtin adds the operations that every provider has, and those of Resource Manager on all of them.
func (e *Engine) builtin() {
	const (
		subscription = "/subscriptions/{subscription}"
		group        = subscription + "/resourceGroups/{group}"
	)
	get := func(pattern, permission string, serve routeFunc) {
		e.routes.add(newRoute(http.MethodGet, pattern, permission, nil, serve))
	}
	for _, scope := range []string{subscription, ""} {
		location := scope + "/providers/{namespace}/locations/{location}/"
		get(location+"operations/{operation}", "-", e.operationStatus)
		get(location+"operationResults/{operation}", "-", e.operationResult)
	}
	get(subscription+"/resources", "-", e.resources)
	get(group+"/resources", "-", e.resources)
	get("/providers", "-", e.providers)
	get("/providers/{namespace}", "-", e.provider)
	get("/providers/{namespace}/operations", "-", e.listOperations)
	get(subscription+"/providers", "Microsoft.Resources/subscriptions/providers/read", e.providers)
	get(subscription+"/providers/{namespace}", "Microsoft.Resources/subscriptions/providers/read", e.provider)
	get(subscription+"/providers/{namespace}/resourceTypes", "Microsoft.Resources/subscriptions/providers/read", e.resourceTypes)
	get(subscription+"/providers/{namespace}/providerPermissions", "Microsoft.Resources/subscriptions/providers/read", e.providerPermissions)
	for _, scope := range []string{subscription, "", "/providers/Microsoft.Management/managementGroups/{management}"} {
		get(scope+"/providers/Microsoft.Insights/eventtypes/management/values", "Microsoft.Insights/eventtypes/values/read", e.eventValues)
	}
	get("/providers/Microsoft.Insights/eventcategories", "-", e.eventCategories)
	for verb, on := range map[string]bool{"register": true, "unregister": false} {
		e.routes.add(newRoute(http.MethodPost, subscription+"/providers/{namespace}/"+verb, "{namespace}/"+verb+"/action", nil, e.setRegistration(on)))
	}
}
