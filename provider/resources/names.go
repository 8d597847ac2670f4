package resources

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Words that names of resources must not be, must not have in them, and must not begin with.
// https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-reserved-resource-name
var (
	reservedNames = strings.Fields("ACCESS AZURE BING BIZSPARK BIZTALK CORTANA DIRECTX DOTNET DYNAMICS EXCEL EXCHANGE FOREFRONT GROOVE HOLOLENS HYPERV " +
		"KINECT LYNC MSDN O365 OFFICE OFFICE365 ONEDRIVE ONENOTE OUTLOOK POWERPOINT SHAREPOINT SKYPE VISIO VISUALSTUDIO")
	reservedParts  = []string{"MICROSOFT", "WINDOWS"}
	reservedStarts = []string{"LOGIN", "XBOX"}
)

func reservedName(name string) bool {
	n := strings.ToUpper(name)
	return slices.Contains(reservedNames, n) ||
		slices.ContainsFunc(reservedParts, func(w string) bool { return strings.Contains(n, w) }) ||
		slices.ContainsFunc(reservedStarts, func(w string) bool { return strings.HasPrefix(n, w) })
}

func (p *Provider) nameRoutes() []rp.Route {
	return []rp.Route{
		{Method: http.MethodPost, Pattern: "/providers/Microsoft.Resources/checkResourceName", Permission: "-", Versions: versions, Reads: true, Do: checkResourceName},
		{Method: http.MethodPost, Pattern: subscriptionPath + "/providers/Microsoft.Resources/checkZonePeers", Permission: "Microsoft.Resources/subscriptions/providers/read", Versions: versions, Reads: true, Do: p.checkZonePeers},
	}
}

// checkResourceName says whether a name is free of reserved words (Subscriptions REST: Check Resource Name).
func checkResourceName(_ context.Context, _ *rp.Tx, _, _ map[string]string, body []byte) (any, error) {
	var b struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := json.Unmarshal(body, &b); err != nil || b.Name == "" || b.Type == "" {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: the texts 'name' and 'type' are required.")
	}
	if reservedName(b.Name) {
		return nil, arm.Errorf(http.StatusBadRequest, "ReservedResourceName", "The resource name '%s' or a part of the name is a trademarked or reserved word.", b.Name)
	}
	return map[string]any{"name": b.Name, "type": b.Type, "status": "Allowed"}, nil
}

// checkZonePeers says which logical zones of other subscriptions are a subscription's (Subscriptions REST: Check Zone
// Peers). All subscriptions of a region count their zones alike.
func (p *Provider) checkZonePeers(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
	var b struct {
		Location      string   `json:"location"`
		Subscriptions []string `json:"subscriptionIds"`
	}
	if err := json.Unmarshal(body, &b); err != nil || b.Location == "" || len(b.Subscriptions) == 0 {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: 'location' and 'subscriptionIds' are required.")
	}
	location := strings.ToLower(strings.ReplaceAll(b.Location, " ", ""))
	at := slices.IndexFunc(p.locations, func(l Location) bool { return l.Name == location })
	if at < 0 || p.locations[at].Other {
		return nil, arm.Errorf(http.StatusBadRequest, "LocationNotSupportAvailabilityZones", "The provided location '%s' has no availability zones.", b.Location)
	}
	peers := make([]map[string]any, len(Zones))
	for i, zone := range Zones {
		same := []map[string]string{}
		for _, s := range b.Subscriptions {
			id := strings.TrimPrefix(strings.TrimPrefix(s, "/"), "subscriptions/")
			if _, err := find(tx, map[string]string{"subscription": id}); err != nil {
				return nil, err
			}
			same = append(same, map[string]string{"subscriptionId": id, "availabilityZone": zone})
		}
		peers[i] = map[string]any{"availabilityZone": zone, "peers": same}
	}
	return map[string]any{"subscriptionId": path["subscription"], "location": location, "availabilityZonePeers": peers}, nil
}
