package network

import (
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/resources"
)

// ServiceEndpoint lets a subnet reach a service's public address as itself (Network REST:
// ServiceEndpointPropertiesFormat).
type ServiceEndpoint struct {
	Service   string   `json:"service"`
	Locations []string `json:"locations,omitempty"`
	State     string   `json:"provisioningState,omitempty"`
}

// endpointServices are the services that have service endpoints. A regional one reaches the virtual network's
// region, and the region that is paired with it where paired; the others reach every region.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-service-endpoints-overview
var endpointServices = []struct {
	name             string
	regional, paired bool
}{
	{"Microsoft.AzureActiveDirectory", false, false},
	{"Microsoft.AzureCosmosDB", false, false},
	{"Microsoft.CognitiveServices", false, false},
	{"Microsoft.ContainerRegistry", false, false},
	{"Microsoft.EventHub", false, false},
	{"Microsoft.KeyVault", false, false},
	{"Microsoft.ServiceBus", false, false},
	{"Microsoft.Sql", true, false},
	{"Microsoft.Storage", true, true},
	{"Microsoft.Storage.Global", false, false},
	{"Microsoft.Web", false, false},
}

// validateServiceEndpoints refuses services that have no endpoints, and one that is named twice.
func (s *Subnet) validateServiceEndpoints(of arm.ID) error {
	seen := map[string]bool{}
	for _, e := range s.ServiceEndpoints {
		if !slices.ContainsFunc(s.knownServices(), func(name string) bool { return name == e.Service }) {
			return bad("InvalidServiceEndpointService", "Service endpoint '%s' of subnet %s is not supported; services with endpoints are %s.", clip(e.Service), of, strings.Join(s.knownServices(), ", "))
		}
		if seen[e.Service] {
			return bad("DuplicateServiceEndpoint", "Subnet %s has two service endpoints for %s.", of, e.Service)
		}
		seen[e.Service] = true
	}
	return nil
}

func (*Subnet) knownServices() []string {
	names := make([]string, len(endpointServices))
	for i, e := range endpointServices {
		names[i] = e.name
	}
	return names
}

// spellServiceEndpoints brings the services into Azure's spelling.
func (s *Subnet) spellServiceEndpoints() {
	for i := range s.ServiceEndpoints {
		e := &s.ServiceEndpoints[i]
		e.State = string(arm.Succeeded)
		for _, name := range s.knownServices() {
			if strings.EqualFold(e.Service, name) {
				e.Service = name
			}
		}
	}
}

// placeServiceEndpoints fills in the locations that the endpoints reach from a virtual network's one, as Azure
// does whatever a client sent.
func (s *Subnet) placeServiceEndpoints(location string) {
	for i := range s.ServiceEndpoints {
		s.ServiceEndpoints[i].Locations = endpointLocations(s.ServiceEndpoints[i].Service, location)
	}
}

func endpointLocations(service, location string) []string {
	for _, e := range endpointServices {
		switch {
		case e.name != service:
		case !e.regional:
			return []string{"*"}
		case e.paired && pairOf(location) != "":
			return []string{location, pairOf(location)}
		default:
			return []string{location}
		}
	}
	return []string{"*"}
}

func pairOf(location string) string {
	for _, l := range resources.AzureLocations() {
		if l.Name == location {
			return l.Paired
		}
	}
	return ""
}

// HasServiceEndpoint tells whether a subnet has the service endpoint of one of the services. Errors: 404 for the
// subnet.
func HasServiceEndpoint(tx *rp.Tx, subnet arm.ID, services ...string) (bool, error) {
	s, err := rp.Get[Subnet](tx, subnet)
	if err != nil {
		return false, err
	}
	if s.State == arm.Deleting {
		return false, arm.NotFound(subnet)
	}
	return slices.ContainsFunc(s.Properties.ServiceEndpoints, func(e ServiceEndpoint) bool { return slices.Contains(services, e.Service) }), nil
}
