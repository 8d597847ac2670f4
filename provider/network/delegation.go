package network

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Delegation gives a subnet to one service (Network REST: Delegation).
type Delegation struct {
	ID         string               `json:"id,omitempty"`
	Name       string               `json:"name"`
	ETag       string               `json:"etag,omitempty"`
	Type       string               `json:"type,omitempty"`
	Properties DelegationProperties `json:"properties"`
}

// DelegationProperties of a Delegation.
type DelegationProperties struct {
	ServiceName string   `json:"serviceName"`
	Actions     []string `json:"actions,omitempty"`
	State       string   `json:"provisioningState,omitempty"`
}

// What a service may do in a subnet that is delegated to it.
const (
	subnetAction    = SubnetType + "/action"
	subnetJoin      = SubnetType + "/join/action"
	subnetPrepare   = SubnetType + "/prepareNetworkPolicies/action"
	subnetUnprepare = SubnetType + "/unprepareNetworkPolicies/action"
)

// delegable are the services that subnets can be delegated to, with what they do there.
// https://learn.microsoft.com/azure/virtual-network/subnet-delegation-overview
var delegable = map[string][]string{
	"Microsoft.ApiManagement/service":                 {subnetJoin},
	"Microsoft.App/environments":                      {subnetJoin},
	"Microsoft.AzureCosmosDB/clusters":                {subnetJoin},
	"Microsoft.BareMetal/AzureVMware":                 {"Microsoft.Network/networkinterfaces/*", subnetJoin},
	"Microsoft.Batch/batchAccounts":                   {subnetAction},
	"Microsoft.ContainerInstance/containerGroups":     {subnetAction},
	"Microsoft.ContainerService/managedClusters":      {subnetJoin},
	"Microsoft.Databricks/workspaces":                 {subnetJoin, subnetPrepare, subnetUnprepare},
	"Microsoft.DBforMySQL/flexibleServers":            {subnetJoin},
	"Microsoft.DBforPostgreSQL/flexibleServers":       {subnetJoin},
	"Microsoft.DevCenter/networkConnection":           {subnetJoin},
	"Microsoft.DevOpsInfrastructure/pools":            {subnetJoin},
	"Microsoft.HardwareSecurityModules/dedicatedHSMs": {"Microsoft.Network/networkinterfaces/*", subnetJoin},
	"Microsoft.Kusto/clusters":                        {subnetJoin, subnetPrepare, subnetUnprepare},
	"Microsoft.LabServices/labplans":                  {subnetJoin},
	"Microsoft.Logic/integrationServiceEnvironments":  {subnetAction},
	"Microsoft.MachineLearningServices/workspaces":    {subnetJoin},
	"Microsoft.Netapp/volumes":                        {"Microsoft.Network/networkinterfaces/*", subnetJoin},
	"Microsoft.Network/dnsResolvers":                  {subnetJoin},
	"Microsoft.PowerPlatform/enterprisePolicies":      {subnetJoin},
	"Microsoft.PowerPlatform/vnetaccesslinks":         {subnetJoin},
	"Microsoft.ServiceNetworking/trafficControllers":  {subnetJoin},
	"Microsoft.Sql/managedInstances":                  {subnetJoin, subnetPrepare, subnetUnprepare},
	"Microsoft.StreamAnalytics/streamingJobs":         {subnetJoin},
	"Microsoft.Synapse/workspaces":                    {subnetJoin},
	"Microsoft.Web/hostingEnvironments":               {subnetAction},
	"Microsoft.Web/serverFarms":                       {subnetAction},
	"NGINX.NGINXPLUS/nginxDeployments":                {subnetJoin},
	"Oracle.Database/networkAttachments":              {"Microsoft.Network/networkinterfaces/*", subnetJoin},
	"PaloAltoNetworks.Cloudngfw/firewalls":            {subnetJoin},
}

// delegableName is a service in Azure's spelling, "" for one that subnets cannot be delegated to.
func delegableName(text string) string {
	for name := range delegable {
		if strings.EqualFold(name, text) {
			return name
		}
	}
	return ""
}

// completeDelegations fills in what Azure knows of the services.
func (s *Subnet) completeDelegations(id arm.ID) {
	if s.Delegations == nil {
		s.Delegations = []Delegation{}
	}
	for i := range s.Delegations {
		d := &s.Delegations[i]
		d.ID, d.Type, d.ETag = id.String()+"/delegations/"+d.Name, SubnetType+"/delegations", ""
		d.Properties.State = string(arm.Succeeded)
		if name := delegableName(d.Properties.ServiceName); name != "" {
			d.Properties.ServiceName = name
		}
		d.Properties.Actions = delegable[d.Properties.ServiceName]
	}
}

func (s *Subnet) validateDelegations(of arm.ID) error {
	if len(s.Delegations) > 1 {
		return bad("SubnetCannotHaveMultipleDelegations", "Subnet %s has %d delegations; it can have one.", of, len(s.Delegations))
	}
	for _, d := range s.Delegations {
		switch {
		case d.Name == "":
			return bad("InvalidRequestFormat", "A delegation of subnet %s has no name.", of)
		case delegableName(d.Properties.ServiceName) == "":
			return bad("InvalidServiceNameInDelegation", "Delegation %s of subnet %s names the service '%s', to which subnets cannot be delegated. GET …/locations/LOCATION/availableDelegations lists them.", d.Name, of, clip(d.Properties.ServiceName))
		}
	}
	return nil
}

// delegatedTo is the service that has the subnet, "" for none.
func (s *Subnet) delegatedTo() string {
	if len(s.Delegations) == 0 {
		return ""
	}
	return s.Delegations[0].Properties.ServiceName
}

// notDelegated refuses what belongs to no service in a subnet that is delegated to one.
func (s *Subnet) notDelegated(id arm.ID, owner string) error { return s.admits(id, owner, "") }

// admits refuses an interface of a service, "" for none, in a subnet that is delegated to another one, and that
// of a service which needs its delegation in a subnet without it.
func (s *Subnet) admits(id arm.ID, owner, service string) error {
	has := s.delegatedTo()
	switch {
	case strings.EqualFold(has, service):
		return nil
	case has != "":
		return bad("SubnetDelegated", "Subnet %s is delegated to %s and cannot be used by %s.", id, has, owner)
	}
	return bad("SubnetMissingRequiredDelegation", "Subnet %s requires any of the following delegation(s) [%s] to be used by %s.", id, service, owner)
}

// keepsDelegation refuses to change a delegation under what stands in the subnet: a service's interfaces need
// theirs, and those of anything else must not come to belong to a service.
func keepsDelegation(tx *rp.Tx, new, old *rp.Resource[Subnet]) error {
	was, is := old.Properties.delegatedTo(), new.Properties.delegatedTo()
	if strings.EqualFold(was, is) {
		return nil
	}
	links, err := serviceLinks(tx, new.ID)
	if err != nil {
		return err
	}
	if len(links) > 0 {
		return bad("SubnetMissingRequiredDelegation", "Subnet %s requires any of the following delegation(s) [%s] to reference service association link %s.", new.ID, was, links[0].id())
	}
	users, err := residents(tx, new.ID)
	if err != nil || len(users) == 0 {
		return err
	}
	return bad("SubnetDelegationsCannotChangeWhenSubnetUsedByResource", "Delegations of subnet %s cannot be changed from [%s] to [%s] because it is being used by the resource %s.", new.ID, was, is, users[0])
}

// residents are the owners of the subnet's addresses, without the places that exec made: those are no
// resource of a user's.
func residents(tx *rp.Tx, subnet arm.ID) ([]string, error) {
	held, err := allocations(tx, subnet)
	if err != nil {
		return nil, err
	}
	nics, err := HiddenNICs(tx)
	if err != nil {
		return nil, err
	}
	var owners []string
	for _, h := range held {
		if !slices.ContainsFunc(nics, func(n NIC) bool { return n.ID == h.Owner && n.Kind == ExecKind }) {
			owners = append(owners, h.Owner)
		}
	}
	return owners, nil
}

// serviceLink says that a service's resources stand in a subnet which is delegated to it (Network REST:
// ServiceAssociationLink).
type serviceLink struct {
	subnet  arm.ID
	service string
}

func (l serviceLink) name() string {
	switch l.service {
	case "Microsoft.ContainerInstance/containerGroups":
		return "acisal"
	case "Microsoft.Web/serverFarms":
		return "AppServiceLink"
	}
	return "legionservicelink"
}

func (l serviceLink) id() string {
	return l.subnet.String() + "/serviceAssociationLinks/" + l.name()
}

func (l serviceLink) show(etag, location string) map[string]any {
	return map[string]any{
		"name": l.name(), "id": l.id(), "type": SubnetType + "/serviceAssociationLinks", "etag": etag,
		"properties": map[string]any{
			"provisioningState": string(arm.Succeeded), "linkedResourceType": l.service, "allowDelete": true,
			"enabledForArmDeployments": false, "locations": []string{location},
		},
	}
}

// serviceLinks are those of a subnet.
func serviceLinks(tx *rp.Tx, subnet arm.ID) ([]serviceLink, error) {
	nics, err := HiddenNICs(tx)
	if err != nil {
		return nil, err
	}
	var links []serviceLink
	for _, n := range nics {
		same := func(l serviceLink) bool { return l.service == n.Service }
		if n.Service != "" && strings.EqualFold(n.Subnet, subnet.String()) && !slices.ContainsFunc(links, same) {
			links = append(links, serviceLink{subnet, n.Service})
		}
	}
	return links, nil
}

// shownLinks are the service association links of a subnet as answers show them.
func shownLinks(tx *rp.Tx, s *rp.Resource[Subnet]) ([]map[string]any, error) {
	vnet, err := rp.Get[VNet](tx, s.ID.Parent())
	if err != nil {
		return nil, err
	}
	links, err := serviceLinks(tx, s.ID)
	list := []map[string]any{}
	for _, l := range links {
		list = append(list, l.show(s.ETag, vnet.Location))
	}
	return list, err
}

// networkPolicies is what a service asks for in its subnet before it puts something there, and after it took
// the last away (Network REST: Subnets, Prepare and Unprepare Network Policies). Beyond its delegation there is
// nothing to prepare: services here make no intent policies.
func networkPolicies(_ context.Context, _ *rp.Tx, r *rp.Resource[Subnet], body []byte) (any, error) {
	var ask struct {
		ServiceName string `json:"serviceName"`
		Intents     []any  `json:"networkIntentPolicyConfigurations"`
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, bad("InvalidRequestContent", "The request content was invalid and could not be deserialized: %v.", err)
	}
	if len(ask.Intents) > 0 {
		return nil, arm.NotImplemented("Network intent policies of subnet %s are not implemented.", r.ID)
	}
	if has := r.Properties.delegatedTo(); has == "" || !strings.EqualFold(has, ask.ServiceName) {
		return nil, bad("SubnetMissingRequiredDelegation", "Subnet %s requires any of the following delegation(s) [%s] to prepare its network policies.", r.ID, clip(ask.ServiceName))
	}
	return struct{}{}, nil
}
