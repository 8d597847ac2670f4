package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/compute/batch"
	"vauban.dev/fabric"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/network"
)

// mlNetwork answers provider/machinelearning from provider/network and the running network.
type mlNetwork struct {
	*world
}

var _ machinelearning.Network = mlNetwork{}

func (m mlNetwork) CheckSubnet(tx *rp.Tx, subnet arm.ID, location string) error {
	s, err := rp.Get[network.Subnet](tx, subnet)
	if isStatus(err, http.StatusNotFound) {
		return arm.Errorf(http.StatusBadRequest, "InvalidSubnet", "The subnet '%s' does not exist.", subnet)
	}
	if err != nil {
		return err
	}
	if len(s.Properties.Delegations) > 0 {
		return arm.Errorf(http.StatusBadRequest, "SubnetDelegated", "The subnet '%s' is delegated to another service: compute cannot be placed in it.", subnet)
	}
	v, err := rp.Get[network.VNet](tx, subnet.Parent())
	if err != nil {
		return err
	}
	if v.Location != location {
		return arm.Errorf(http.StatusBadRequest, "InvalidSubnet", "The virtual network of subnet '%s' is in '%s'; the compute is in '%s'.", subnet, v.Location, location)
	}
	return nil
}

// nodeNIC is the id of a node's NIC: under its cluster, as origins and explanations show it.
func nodeNIC(cluster arm.ID, node string) string { return cluster.String() + "/nodes/" + node }

func (m mlNetwork) AllocateNode(tx *rp.Tx, r machinelearning.NodeRequest) (machinelearning.NIC, error) {
	q := network.NICRequest{Subnet: r.Subnet, Owner: nodeNIC(r.Cluster, r.Node), Kind: network.NodeKind}
	if r.Public {
		group, err := groupOf(r.Subnet)
		if err != nil {
			return machinelearning.NIC{}, err
		}
		allow := []network.EntryRule{{Name: "AllowAzureML", Source: "AzureMachineLearning", Port: batch.CallPort}}
		q.Ports = []network.EntryPort{{Port: batch.CallPort, From: batch.CallPort}}
		if r.SSH {
			allow = append(allow, network.EntryRule{Name: "AllowSSH", Source: "Internet", Port: 22})
			q.Ports = append(q.Ports, network.EntryPort{Port: 22, From: firstSSHPort})
		}
		if q.Entry, err = m.network.EnsureEntry(tx, network.EntryRequest{Owner: r.Cluster, Group: group, Location: r.Location, Allow: allow}); err != nil {
			return machinelearning.NIC{}, err
		}
		q.NSG = q.Entry.NSG
	}
	n, err := m.network.AllocateNIC(tx, q)
	if err != nil {
		return machinelearning.NIC{}, err
	}
	out := machinelearning.NIC{ID: n.ID, Private: n.Addr.String()}
	for _, in := range n.Inbound {
		out.Public = in.Address.Addr().String()
		if in.Port == batch.CallPort {
			out.Inbound = in.Address.String()
		} else {
			out.SSH = int(in.Address.Port())
		}
	}
	return out, nil
}

// firstSSHPort is where load balancers of computes begin with the ports that lead to 22 of a node, as Azure Batch's.
const firstSSHPort = 50000

// groupOf is the resource group of a subnet.
func groupOf(subnet arm.ID) (arm.ID, error) {
	return arm.ParseID("/subscriptions/" + subnet.Subscription() + "/resourceGroups/" + subnet.ResourceGroup())
}

// MayEnter asks policies as the service, which no role keeps out, then locks and quotas.
func (m mlNetwork) MayEnter(ctx context.Context, cluster, subnet arm.ID, location string) error {
	group, err := groupOf(subnet)
	if err != nil {
		return err
	}
	var there *network.Entry
	err = m.engine.View(ctx, func(tx *rp.Tx) error {
		there, err = network.EntryOf(tx, cluster)
		return err
	})
	if there != nil || err != nil {
		return err
	}
	lb, ip, nsg := network.EntryIDs(group, uuid.NewString())
	standard := `{"location":"` + location + `","sku":{"name":"Standard"},"properties":{`
	drafts := []rp.Draft{
		{ID: nsg, Version: entryVersion, Body: []byte(`{"location":"` + location + `","properties":{"securityRules":[{"name":"AllowAzureML","properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"Tcp","sourceAddressPrefix":"AzureMachineLearning","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"44224"}}]}}`)},
		{ID: ip, Version: entryVersion, Body: []byte(standard + `"publicIPAllocationMethod":"Static"}}`)},
		{ID: lb, Version: entryVersion, Body: []byte(standard + `"frontendIPConfigurations":[{"name":"frontend","properties":{"publicIPAddress":{"id":"` + ip.String() + `"}}}]}}`)},
	}
	ctx = authz.NewContext(ctx, authz.Principal{Name: "Azure Machine Learning", TenantID: m.entra.Tenant().ID, Type: "ServicePrincipal"})
	for i, d := range drafts {
		target, err := m.engine.Resolve(ctx, http.MethodPut, d.ID.String(), d.Version)
		if err != nil {
			return err
		}
		r := &rp.Request{Method: http.MethodPut, Path: d.ID.String(), Query: url.Values{"api-version": {d.Version}}, Header: http.Header{}, Body: d.Body, Start: m.clock.Now()}
		if _, err := m.policies.Before(ctx, target, r); err != nil {
			return err
		}
		drafts[i].Body = r.Body
	}
	refused, err := m.engine.Preflight(ctx, drafts)
	if err == nil && len(refused) > 0 {
		return refused[0].Error
	}
	return err
}

// entryVersion is the api-version by which a policy sees what a compute has in its network's group.
const entryVersion = "2024-05-01"

func (m mlNetwork) RemoveEntry(tx *rp.Tx, cluster arm.ID) error {
	return m.network.RemoveEntry(tx, cluster)
}

// Call connects from an address of the service tag AzureMachineLearning, by which rules let the service in.
func (m mlNetwork) Call(ctx context.Context, nic machinelearning.NIC) (net.Conn, error) {
	to, err := netip.ParseAddrPort(nic.Inbound)
	if err != nil {
		return nil, err
	}
	from, err := m.caller()
	if err != nil {
		return nil, err
	}
	return m.driver.DialFrom(ctx, fabric.Place{Kind: fabric.AtInternet}, from, to)
}

// caller is the address that the service calls nodes from.
func (m mlNetwork) caller() (netip.Addr, error) {
	return m.names.address(m.settings.Location+".api.azureml.ms", m.names.regional("AzureMachineLearning")...)
}

// WhyCalled asks the model, as `vauban explain --from tag:AzureMachineLearning` does.
func (m mlNetwork) WhyCalled(_ context.Context, nic machinelearning.NIC) string {
	v := m.sync.current.Load()
	to, err := netip.ParseAddrPort(nic.Inbound)
	from, unknown := m.caller()
	if v == nil || err != nil || unknown != nil {
		return "The network is not up."
	}
	return inWords(fabric.Explain(v.topology, fabric.Flow{From: fabric.Place{Kind: fabric.AtInternet}, Source: from, Dst: to.Addr(), Protocol: fabric.TCP, SrcPort: 40000, DstPort: to.Port()}))
}

func (m mlNetwork) ReleaseNode(tx *rp.Tx, nic string) error { return m.network.ReleaseNIC(tx, nic) }

func (m mlNetwork) Sync(ctx context.Context) error { return m.sync.Sync(ctx) }

// managedGroup is where the service keeps the networks of clusters that have none of their user's: a
// subscription of its own, in which nobody has a role (Azure Batch does the same).
const managedGroup = "/subscriptions/00000000-0000-0000-0000-00000000ba7c/resourceGroups/azureml"

func managedNames(cluster arm.ID) (vnet, nsg arm.ID) {
	name := fabric.NICNS(cluster.Key())
	return arm.MustParseID(managedGroup + "/providers/" + network.VNetType + "/" + name), arm.MustParseID(managedGroup + "/providers/" + network.NSGType + "/" + name)
}

// ManagedSubnet: a network with the rules of a compute with a public address (the specification's table):
// 44224 from the service, SSH from the internet when it was asked for, nothing else in.
func (m mlNetwork) ManagedSubnet(tx *rp.Tx, cluster arm.ID, location string, ssh bool) (arm.ID, error) {
	vnet, nsg := managedNames(cluster)
	subnet := vnet.Child("subnets", "nodes")
	save := func(name string, priority int, source, ports string) error {
		return rp.Save(tx, &rp.Resource[network.Rule]{ID: nsg.Child("securityRules", name), State: arm.Succeeded, Properties: network.Rule{
			Priority: priority, Direction: "Inbound", Access: "Allow", Protocol: "Tcp", SourceAddressPrefix: source, SourcePortRange: "*",
			DestinationAddressPrefix: "*", DestinationPortRange: ports}})
	}
	outbound := true
	errs := []error{
		rp.Save(tx, &rp.Resource[network.NSG]{ID: nsg, Location: location, State: arm.Succeeded}),
		save("AllowAzureML", 100, "AzureMachineLearning", "44224"),
	}
	if ssh {
		errs = append(errs, save("AllowSSH", 110, "Internet", "22"))
	}
	errs = append(errs,
		rp.Save(tx, &rp.Resource[network.VNet]{ID: vnet, Location: location, State: arm.Succeeded,
			Properties: network.VNet{AddressSpace: network.AddressSpace{AddressPrefixes: []string{"10.0.0.0/16"}}}}),
		rp.Save(tx, &rp.Resource[network.Subnet]{ID: subnet, State: arm.Succeeded,
			Properties: network.Subnet{AddressPrefix: "10.0.0.0/20", NSG: &network.Ref{ID: nsg.String()}, DefaultOutboundAccess: &outbound}}))
	return subnet, errors.Join(errs...)
}

func (m mlNetwork) RemoveManagedSubnet(tx *rp.Tx, cluster arm.ID) error {
	vnet, nsg := managedNames(cluster)
	return errors.Join(rp.Remove(tx, vnet), rp.Remove(tx, nsg))
}

// Egress is the address that the NIC has at a host on the internet.
func (m mlNetwork) Egress(nic, host string) netip.Addr {
	e, _ := m.explain(nic, host, 443)
	return e.Source
}

// explain asks the model for a connection from the NIC to host; why says what is missing when it cannot be asked.
func (m mlNetwork) explain(nic, host string, port uint16) (e fabric.Explanation, why string) {
	v := m.sync.current.Load()
	if v == nil {
		return e, "The network is not up."
	}
	place := fabric.Place{Kind: fabric.AtNIC, ID: nic}
	l := v.resolution().Lookup(v.topology, place, host)
	switch {
	case l.Unknown:
		return e, "A custom DNS server of the virtual network answers for the name " + host + "."
	case !l.Addr.IsValid():
		return e, "The name " + host + " does not resolve in the virtual network of the node."
	}
	return fabric.Explain(v.topology, fabric.Flow{
		From: place, Dst: l.Addr, Protocol: fabric.TCP, SrcPort: 40000, DstPort: port}), ""
}

// Why asks the model, as `vauban explain` does.
func (m mlNetwork) Why(_ context.Context, nic, host string, port uint16) string {
	e, why := m.explain(nic, host, port)
	if why != "" {
		return why
	}
	return inWords(e)
}

// inWords says what the model holds of a connection.
func inWords(e fabric.Explanation) string {
	switch {
	case e.Verdict == fabric.Denied && e.By.Owner == "" && len(e.Steps) > 0:
		last := e.Steps[len(e.Steps)-1]
		return "The connection ends at " + last.Where + ": " + last.What + "."
	case e.Verdict == fabric.Denied:
		return "The connection is refused by " + e.By.String() + "."
	case e.Refused() != nil:
		return "The answer to the connection is refused by " + e.Refused().By.String() + "."
	}
	return "No network rule refuses the connection."
}
