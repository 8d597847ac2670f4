package azurefirewall

import (
	"context"
	"net/http"

	"vauban.dev/arm/rp"
	model "vauban.dev/azurefirewall"
	"vauban.dev/provider/network"
)

// fqdnTags is the listing of FQDN tags.
func (p *Provider) fqdnTags() rp.Registration {
	return rp.Routes(rp.Route{
		Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/Microsoft.Network/azureFirewallFqdnTags",
		Permission: "Microsoft.Network/azureFirewallFqdnTags/read", Versions: network.VersionsSince("2018-08-01"),
		Do: func(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
			tags, _ := model.FQDNTags()
			list := make([]map[string]any, len(tags))
			for i, t := range tags {
				list[i] = map[string]any{
					"name": t.Name, "type": "Microsoft.Network/azureFirewallFqdnTags",
					"id":         "/subscriptions/" + path["subscription"] + "/resourceGroups//providers/Microsoft.Network/azureFirewallFqdnTags/" + t.Name,
					"properties": map[string]any{"provisioningState": "Succeeded", "fqdnTagName": t.Name},
				}
			}
			return map[string]any{"value": list}, nil
		},
	})
}
