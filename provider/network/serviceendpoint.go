package network

import (
	"net/netip"
	"strings"

	"vauban.dev/fabric"
	"vauban.dev/fabric/servicetags"
	"vauban.dev/provider/resources"
)

// serviceTags are the service tags whose prefixes a service endpoint leads to. A tag ending in "." is taken for
// the virtual network's region and for the region paired with it.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-service-endpoints-overview
// https://learn.microsoft.com/azure/storage/common/storage-network-security#azure-storage-cross-region-service-endpoints
var serviceTags = map[string][]string{
	"microsoft.storage":              {"Storage."},
	"microsoft.storage.global":       {"Storage"},
	"microsoft.keyvault":             {"AzureKeyVault"},
	"microsoft.sql":                  {"Sql"},
	"microsoft.azurecosmosdb":        {"AzureCosmosDB"},
	"microsoft.servicebus":           {"ServiceBus"},
	"microsoft.eventhub":             {"EventHub"},
	"microsoft.azureactivedirectory": {"AzureActiveDirectory"},
	"microsoft.containerregistry":    {"AzureContainerRegistry"},
	"microsoft.web":                  {"AppService"},
	"microsoft.cognitiveservices":    {"CognitiveServicesManagement"},
}

// endpoints are the subnet's service endpoints as the fabric has them. A service that has no tag here leads
// nowhere: its packets leave as all others do.
func (s *Subnet) endpoints(tags fabric.TagSource, region string) (out []fabric.ServiceEndpoint) {
	for _, e := range s.ServiceEndpoints {
		to := fabric.ServiceEndpoint{Service: e.Service}
		for _, tag := range serviceTags[strings.ToLower(e.Service)] {
			for _, name := range tagsIn(tags, tag, region) {
				if p, ok := tags.Prefixes(name); ok {
					to.Prefixes = append(to.Prefixes, ipv4(p)...)
				}
			}
		}
		if len(to.Prefixes) > 0 {
			out = append(out, to)
		}
	}
	return out
}

// tagsIn are the tags that a tag of the table stands for in a region. Where the list does not know the
// region, it stands for the service's prefixes everywhere, from which its hosts have their addresses.
func tagsIn(tags fabric.TagSource, tag, region string) []string {
	service, regional := strings.CutSuffix(tag, ".")
	if !regional {
		return []string{tag}
	}
	if _, known := tags.Prefixes(servicetags.Regional(service, region)); !known {
		return []string{service}
	}
	out := []string{servicetags.Regional(service, region)}
	for _, l := range resources.AzureLocations() {
		if strings.EqualFold(l.Name, region) && l.Paired != "" {
			out = append(out, servicetags.Regional(service, l.Paired))
		}
	}
	return out
}

func ipv4(list []netip.Prefix) (out []netip.Prefix) {
	for _, p := range list {
		if p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}
