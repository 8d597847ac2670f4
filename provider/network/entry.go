package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Entry is what a compute with public addresses has in the resource group of its virtual network: a load balancer with one public
// address, by which its nodes are called and go out, and the security group of their interfaces. Azure Batch names them.
// https://learn.microsoft.com/azure/machine-learning/how-to-secure-training-vnet (compute cluster with public IP)
type Entry struct {
	Owner        string     `json:"owner"` // the compute's id
	LoadBalancer string     `json:"loadBalancer"`
	PublicIP     string     `json:"publicIP"`
	NSG          string     `json:"nsg"`
	Address      netip.Addr `json:"address"`
}

// EntryRequest says whose entry, where, and what its security group lets in.
type EntryRequest struct {
	Owner    arm.ID
	Group    arm.ID // resource group
	Location string
	Allow    []EntryRule
}

// EntryRule lets a source in to a port of the nodes.
type EntryRule struct {
	Name, Source string
	Port         int
}

// EntryPort is a port of a node that the load balancer leads to, at the first free one of its own from From.
type EntryPort struct{ Port, From int }

const entryKind = "network/entry" // key: the owner's id in lower case; value: Entry

// EntryIDs are the ids of an entry's resources with this GUID in their names.
func EntryIDs(group arm.ID, guid string) (balancer, address, nsg arm.ID) {
	at := group.String() + "/providers/"
	name := guid + "-azurebatch-cloudservice"
	return arm.MustParseID(at + LoadBalancerType + "/" + name + "loadbalancer"), arm.MustParseID(at + PublicIPType + "/" + name + "publicip"),
		arm.MustParseID(at + NSGType + "/" + name + "networksecuritygroup")
}

// EntryOf is the owner's entry, nil for none.
func EntryOf(tx store.Tx, owner arm.ID) (*Entry, error) {
	d, err := tx.Get(entryKind, owner.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := new(Entry)
	if err := json.Unmarshal(d.Value, e); err != nil {
		return nil, fmt.Errorf("network: stored entry of %s: %w", owner, err)
	}
	return e, nil
}

// EnsureEntry makes the owner's entry, or finds it.
func (p *Provider) EnsureEntry(tx *rp.Tx, r EntryRequest) (*Entry, error) {
	e, err := EntryOf(tx, r.Owner)
	if e != nil || err != nil {
		return e, err
	}
	lb, ip, nsg := EntryIDs(r.Group, uuid.NewString())
	standard := json.RawMessage(`{"name":"Standard","tier":"Regional"}`)
	frontend, pool := lb.Child("frontendIPConfigurations", "frontend"), lb.Child("backendAddressPools", "nodes")
	address := &rp.Resource[PublicIP]{ID: ip, Location: r.Location, State: arm.Succeeded, SKU: standard, Properties: PublicIP{
		ResourceGUID: uuid.NewString(), Version: "IPv4", Allocation: "Static", IdleTimeoutInMinutes: 4, IPTags: []any{}}}
	if err := p.ensureAddress(tx, address); err != nil {
		return nil, err
	}
	address.Properties.IPConfiguration = &Ref{ID: frontend.String()}
	err = errors.Join(
		rp.Save(tx, address),
		rp.Save(tx, &rp.Resource[NSG]{ID: nsg, Location: r.Location, State: arm.Succeeded, Properties: NSG{ResourceGUID: uuid.NewString()}}),
		saveAllowed(tx, nsg, r.Allow),
		rp.Save(tx, &rp.Resource[LoadBalancer]{ID: lb, Location: r.Location, State: arm.Succeeded, SKU: standard, Properties: LoadBalancer{
			ResourceGUID: uuid.NewString(), InboundNATPools: []any{}}}),
		rp.Save(tx, &rp.Resource[Frontend]{ID: frontend, State: arm.Succeeded, Properties: Frontend{Allocation: "Dynamic", PublicIP: &Ref{ID: ip.String()}}}),
		rp.Save(tx, &rp.Resource[Pool]{ID: pool, State: arm.Succeeded}),
		rp.Save(tx, &rp.Resource[OutboundRule]{ID: lb.Child("outboundRules", "outbound"), State: arm.Succeeded, Properties: OutboundRule{
			Frontends: []Ref{{ID: frontend.String()}}, Pool: &Ref{ID: pool.String()}, Protocol: "All", IdleTimeout: 4}}),
	)
	if err != nil {
		return nil, err
	}
	e = &Entry{Owner: r.Owner.String(), LoadBalancer: lb.String(), PublicIP: ip.String(), NSG: nsg.String()}
	if e.Address, err = netip.ParseAddr(address.Properties.Address); err != nil {
		return nil, err
	}
	return e, put(tx, entryKind, r.Owner.Key(), e, store.None)
}

func saveAllowed(tx *rp.Tx, nsg arm.ID, rules []EntryRule) error {
	for i, r := range rules {
		rule := Rule{Priority: 100 + 10*i, Direction: "Inbound", Access: "Allow", Protocol: "Tcp", SourceAddressPrefix: r.Source, SourcePortRange: "*",
			DestinationAddressPrefix: "*", DestinationPortRange: fmt.Sprint(r.Port)}
		rule.fillLists()
		if err := rp.Save(tx, &rp.Resource[Rule]{ID: nsg.Child("securityRules", r.Name), State: arm.Succeeded, Properties: rule}); err != nil {
			return err
		}
	}
	return nil
}

// RemoveEntry removes the owner's entry, which no interface may use any more; no error for an owner without one.
func (p *Provider) RemoveEntry(tx *rp.Tx, owner arm.ID) error {
	e, err := EntryOf(tx, owner)
	if e == nil || err != nil {
		return err
	}
	for _, id := range []string{e.LoadBalancer, e.PublicIP, e.NSG} { // the address is free when the load balancer's frontend is gone
		at, err := arm.ParseID(id)
		if err != nil {
			return err
		}
		if err := rp.Remove(tx, at); err != nil {
			return err
		}
	}
	return drop(tx, entryKind, owner.Key())
}

// enter makes the interface a member of the entry: the load balancer's ports lead to it, and it goes out by its address.
func (p *Provider) enter(tx *rp.Tx, e *Entry, n *NIC, ports []EntryPort) error {
	lb, err := arm.ParseID(e.LoadBalancer)
	if err != nil {
		return err
	}
	pool, err := rp.Get[Pool](tx, lb.Child("backendAddressPools", "nodes"))
	if err != nil {
		return fmt.Errorf("the load balancer of %s: %w", e.Owner, err)
	}
	name := hostLabel(n.ID[strings.LastIndexByte(n.ID, '/')+1:])
	pool.Properties.Addresses = append(pool.Properties.Addresses, PoolAddress{Name: name, Properties: PoolAddressFields{Address: n.Addr.String(), VNet: &Ref{ID: n.VNet}}})
	if err := rp.Save(tx, pool); err != nil {
		return err
	}
	rules, err := staying[InboundNATRule](tx, InboundNATRuleType, lb)
	if err != nil {
		return err
	}
	for _, port := range ports {
		taken := func(at int) bool {
			return slices.ContainsFunc(rules, func(r *rp.Resource[InboundNATRule]) bool { return r.Properties.FrontendPort == at })
		}
		at := port.From
		for taken(at) {
			at++
		}
		rule := &rp.Resource[InboundNATRule]{ID: lb.Child("inboundNatRules", fmt.Sprintf("%s-%d", name, port.Port)), State: arm.Succeeded, Properties: InboundNATRule{
			Frontend: &Ref{ID: lb.Child("frontendIPConfigurations", "frontend").String()}, FrontendPort: at, BackendPort: port.Port, Protocol: "Tcp", IdleTimeout: 4}}
		if err := rp.Save(tx, rule); err != nil {
			return err
		}
		n.Inbound = append(n.Inbound, Inbound{Rule: rule.ID.String(), Address: netip.AddrPortFrom(e.Address, uint16(at)), Port: port.Port})
		rules = append(rules, rule)
	}
	return nil
}

// leaveEntry takes the interface from its load balancer's rules and pool. What a user removed there is no error.
func leaveEntry(tx *rp.Tx, n *NIC) error {
	if len(n.Inbound) == 0 {
		return nil
	}
	var lb arm.ID
	for _, in := range n.Inbound {
		id, err := arm.ParseID(in.Rule)
		if err != nil {
			return err
		}
		if err := rp.Remove(tx, id); err != nil {
			return err
		}
		lb = id.Parent()
	}
	pool, err := rp.Get[Pool](tx, lb.Child("backendAddressPools", "nodes"))
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	v := &pool.Properties
	v.Addresses = slices.DeleteFunc(slices.Clone(v.Addresses), func(a PoolAddress) bool { return a.Properties.Address == n.Addr.String() })
	return rp.Save(tx, pool)
}

// Inbound is a port of a load balancer that leads to an interface of a service's.
type Inbound struct {
	Rule    string         `json:"rule"` // id of the inbound NAT rule
	Address netip.AddrPort `json:"address"`
	Port    int            `json:"port"` // of the interface
}

// entered is the interface that an inbound NAT rule of an entry leads to, nil for none.
func entered(tx *rp.Tx, rule arm.ID) (*NIC, error) {
	nics, err := HiddenNICs(tx)
	for i := range nics {
		if slices.ContainsFunc(nics[i].Inbound, func(in Inbound) bool { return strings.EqualFold(in.Rule, rule.String()) }) {
			return &nics[i], err
		}
	}
	return nil, err
}

// usedByNodes refuses the deletion of a load balancer by which the nodes of a compute are called.
func usedByNodes(tx *rp.Tx, lb arm.ID) error {
	nics, err := HiddenNICs(tx)
	if err != nil {
		return err
	}
	for _, n := range nics {
		for _, in := range n.Inbound {
			if id, err := arm.ParseID(in.Rule); err == nil && id.Parent().Key() == lb.Key() {
				compute, _, _ := strings.Cut(n.ID, "/nodes/")
				return bad("LoadBalancerInUseByVirtualMachineScaleSet", "Cannot delete load balancer %s since its child resources %s are in use by virtual machine scale set %s.", lb, id.Name(), compute)
			}
		}
	}
	return nil
}
