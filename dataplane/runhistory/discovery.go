package runhistory

import (
	"context"
	"net/http"
	"strings"
)

func isDiscovery(path string) bool {
	return strings.EqualFold(path, "/discovery") || len(path) > len("/discovery/") && strings.EqualFold(path[:len("/discovery/")], "/discovery/")
}

// discovered are the services that clients look up; all of them are behind the host that was asked.
var discovered = []string{"api", "experimentation", "history", "hyperdrive", "labeling", "modelmanagement", "pipelines", "artifact", "metric", "mlflow"}

// discover answers the map of service URLs. It needs no token. A workspace's own host has passed its
// firewall; the region's host is open, as it says nothing of any workspace.
func (q *request) discover(context.Context) error {
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return userError(http.StatusMethodNotAllowed, "BadArgument", "Discovery is read with GET.")
	}
	urls := map[string]string{"studio": "https://ml.azure.com"}
	for _, s := range discovered {
		urls[s] = "https://" + q.place.host
	}
	q.send(http.StatusOK, urls)
	return nil
}
