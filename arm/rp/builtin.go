package rp

import "net/http"

// builtin adds the operations that every provider has.
func (e *Engine) builtin() {
	for _, location := range []string{
		"/subscriptions/{subscription}/providers/{namespace}/locations/{location}/",
		"/providers/{namespace}/locations/{location}/", // operations on tenant-level resources
	} {
		e.routes.add(newRoute(http.MethodGet, location+"operations/{operation}", "-", nil, e.operationStatus))
		e.routes.add(newRoute(http.MethodGet, location+"operationResults/{operation}", "-", nil, e.operationResult))
	}
}
