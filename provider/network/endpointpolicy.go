package network

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/firewall"
)

// EndpointPolicy is the properties of a service endpoint policy (Network REST:
// ServiceEndpointPolicyPropertiesFormat): which resources of a service its subnets reach by their service
// endpoints. Its definitions are resources of their own.
type EndpointPolicy struct {
	ResourceGUID string   `json:"resourceGuid,omitempty" rp:"readonly"`
	Alias        string   `json:"serviceAlias,omitempty"`
	Contextual   []string `json:"contextualServiceEndpointPolicies,omitempty"`
	Subnets      []Ref    `json:"subnets" rp:"readonly"`
}

// EndpointPolicyDefinition is one definition of a policy (Network REST:
// ServiceEndpointPolicyDefinitionPropertiesFormat).
type EndpointPolicyDefinition struct {
	Description string `json:"description,omitempty"`
	// Service is Microsoft.Storage, whose ServiceResources are the ids of subscriptions, resource groups and
	// accounts; or Global, whose ServiceResources are aliases of Azure services, /services/Azure/….
	Service          string   `json:"service"`
	ServiceResources []string `json:"serviceResources"`
}

const (
	policyOfStorage = "Microsoft.Storage"
	policyOfAliases = "Global"
)

// serviceAliases are the services whose own accounts a policy can let through.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-service-endpoint-policies-overview
var serviceAliases = []string{
	"/services/Azure", "/services/Azure/Batch", "/services/Azure/Databricks", "/services/Azure/DataFactory",
	"/services/Azure/MachineLearning", "/services/Azure/ManagedInstance", "/services/Azure/WebPI",
}

func (p *Provider) endpointPolicyType() rp.Registration {
	return rp.Of(rp.Type[EndpointPolicy]{
		Move: moved[EndpointPolicy],
		Name: EndpointPolicyType, Kind: rp.Tracked, Versions: rp.Versions[EndpointPolicy](since("2018-07-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Inline:   map[string]string{"serviceEndpointPolicyDefinitions": EndpointPolicyDefinitionType},
		Validate: validateEndpointPolicy,
		Admit: func(_ context.Context, _ *rp.Tx, op rp.Op, new, _ *rp.Resource[EndpointPolicy]) error {
			if op == rp.Create {
				new.Properties.ResourceGUID = uuid.NewString()
			}
			return nil
		},
		Reconcile: applied[EndpointPolicy](p),
		Present:   presentEndpointPolicy,
		Kept:      true,
		Release:   releaseEndpointPolicy,
	})
}

func validateEndpointPolicy(_ rp.Op, new, _ *rp.Resource[EndpointPolicy]) error {
	if v := &new.Properties; v.Alias != "" || len(v.Contextual) > 0 {
		return arm.NotImplemented("Service endpoint policy %s: serviceAlias and contextualServiceEndpointPolicies are not implemented.", new.ID)
	}
	return nil
}

func presentEndpointPolicy(_ context.Context, tx *rp.Tx, r *rp.Resource[EndpointPolicy]) error {
	subnets, err := policyUsers(tx, r.ID)
	r.Properties.Subnets = append([]Ref{}, subnets...)
	return err
}

func policyUsers(tx *rp.Tx, policy arm.ID) ([]Ref, error) {
	return subnetsWith(tx, func(s *Subnet) bool {
		return slices.ContainsFunc(s.ServiceEndpointPolicies, func(r Ref) bool { return r.is(policy) })
	})
}

func releaseEndpointPolicy(_ context.Context, tx *rp.Tx, r *rp.Resource[EndpointPolicy]) error {
	subnets, err := policyUsers(tx, r.ID)
	if err != nil || len(subnets) == 0 {
		return err
	}
	return bad("ServiceEndpointPolicyCannotBeDeletedIfReferencedBySubnet", "Service Endpoint Policy %s cannot be deleted because it is in use with subnet(s) %s.", r.ID, inUse(ids(subnets)))
}

func (p *Provider) endpointPolicyDefinitionType() rp.Registration {
	return rp.Of(rp.Type[EndpointPolicyDefinition]{
		Name: EndpointPolicyDefinitionType, Kind: rp.Proxy, Versions: rp.Versions[EndpointPolicyDefinition](since("2018-07-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   func(_ string, r *rp.Resource[EndpointPolicyDefinition]) { r.Properties.normalise() },
		Validate:  validatePolicyDefinition,
		Reconcile: applied[EndpointPolicyDefinition](p),
		Finalize:  applied[EndpointPolicyDefinition](p),
	})
}

// normalise brings services and aliases into Azure's spelling.
func (d *EndpointPolicyDefinition) normalise() {
	for _, s := range []string{policyOfStorage, policyOfAliases} {
		if strings.EqualFold(d.Service, s) {
			d.Service = s
		}
	}
	if d.ServiceResources == nil {
		d.ServiceResources = []string{}
	}
	for i, r := range d.ServiceResources {
		for _, alias := range serviceAliases {
			if strings.EqualFold(strings.TrimSuffix(r, "/"), alias) {
				d.ServiceResources[i] = alias
			}
		}
	}
}

func validatePolicyDefinition(_ rp.Op, new, _ *rp.Resource[EndpointPolicyDefinition]) error {
	d := &new.Properties
	if d.Service != policyOfStorage && d.Service != policyOfAliases {
		return bad("InvalidServiceEndpointPolicyService", "service of service endpoint policy definition %s is '%s'; it must be %s or %s.", new.ID, clip(d.Service), policyOfStorage, policyOfAliases)
	}
	if len(d.ServiceResources) == 0 {
		return bad("ServiceResourcesNotSpecified", "Service endpoint policy definition %s must name at least one resource in serviceResources.", new.ID)
	}
	for _, r := range d.ServiceResources {
		if d.Service == policyOfAliases && !slices.Contains(serviceAliases, r) || d.Service == policyOfStorage && !storageResource(r) {
			return bad("InvalidServiceResource", "Resource '%s' of service endpoint policy definition %s is not valid for service %s.", clip(r), new.ID, d.Service)
		}
	}
	return nil
}

// storageResource accepts the id of a subscription, a resource group or a storage account.
func storageResource(text string) bool {
	id, err := arm.ParseID(text)
	if err != nil || id.Subscription() == "" {
		return false
	}
	switch strings.ToLower(id.Type().String()) {
	case "microsoft.resources/subscriptions", "microsoft.resources/resourcegroups", "microsoft.storage/storageaccounts":
		return true
	}
	return false
}

// EndpointPolicies are the service endpoint policies of a subnet, as a service's firewall takes them. None: its
// service endpoints reach every resource. Aliases are not in them: no account here belongs to an Azure service.
// Errors: 404 for the subnet.
func EndpointPolicies(tx *rp.Tx, subnet arm.ID) ([]firewall.EndpointPolicy, error) {
	s, err := rp.Get[Subnet](tx, subnet)
	if err != nil {
		return nil, err
	}
	var list []firewall.EndpointPolicy
	for _, ref := range s.Properties.ServiceEndpointPolicies {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return nil, err
		}
		definitions, err := rp.List[EndpointPolicyDefinition](tx, EndpointPolicyDefinitionType, id)
		if err != nil {
			return nil, err
		}
		policy := firewall.EndpointPolicy{ID: id.String()}
		for _, d := range definitions {
			if d.State != arm.Deleting && d.Properties.Service == policyOfStorage {
				policy.Resources = append(policy.Resources, d.Properties.ServiceResources...)
			}
		}
		list = append(list, policy)
	}
	return list, nil
}
