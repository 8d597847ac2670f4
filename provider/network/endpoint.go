package network

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatelink"
)

// Endpoint is the properties of a private endpoint (Network REST: PrivateEndpointProperties).
type Endpoint struct {
	ResourceGUID      string       `json:"resourceGuid,omitempty" rp:"readonly"`
	Connections       []Connection `json:"privateLinkServiceConnections"`
	Manual            []Connection `json:"manualPrivateLinkServiceConnections"`
	CustomNICName     string       `json:"customNetworkInterfaceName"`
	Subnet            *Ref         `json:"subnet,omitempty"`
	IPConfigurations  []EndpointIP `json:"ipConfigurations"`
	ASGs              []Ref        `json:"applicationSecurityGroups,omitempty"`
	NetworkInterfaces []Ref        `json:"networkInterfaces" rp:"readonly"`
	CustomDNS         []CustomDNS  `json:"customDnsConfigs" rp:"readonly"`

	// Members are what was connected, each with its address.
	Members []EndpointMember `json:"members,omitempty" rp:"private"`
	// ConnectionName is that of the target's privateEndpointConnections resource.
	ConnectionName string `json:"connectionName,omitempty" rp:"private"`
}

// Connection is one side of a private link.
type Connection struct {
	Name       string           `json:"name"`
	ID         string           `json:"id,omitempty"`
	ETag       string           `json:"etag,omitempty"`
	Type       string           `json:"type,omitempty"`
	Properties ConnectionFields `json:"properties"`
}

// ConnectionFields are the properties of a Connection.
type ConnectionFields struct {
	ProvisioningState string             `json:"provisioningState,omitempty"`
	ServiceID         string             `json:"privateLinkServiceId"`
	GroupIDs          []string           `json:"groupIds,omitempty"`
	RequestMessage    string             `json:"requestMessage,omitempty"`
	State             *privatelink.State `json:"privateLinkServiceConnectionState,omitempty"`
}

// EndpointIP asks for a static address for one member.
type EndpointIP struct {
	Name       string `json:"name"`
	ETag       string `json:"etag,omitempty"`
	Type       string `json:"type,omitempty"`
	Properties struct {
		GroupID    string `json:"groupId"`
		MemberName string `json:"memberName"`
		Address    string `json:"privateIPAddress"`
	} `json:"properties"`
}

// CustomDNS tells what names lead to which addresses, for those who run their own DNS.
type CustomDNS struct {
	FQDN      string   `json:"fqdn"`
	Addresses []string `json:"ipAddresses"`
}

// EndpointMember is a member of the target with the address that leads to it.
type EndpointMember struct {
	privatelink.Member
	Addr netip.Addr `json:"addr"`
}

func (p *Provider) endpointType() rp.Registration {
	return rp.Of(rp.Type[Endpoint]{
		Name: EndpointType, Kind: rp.Tracked, Versions: rp.Versions[Endpoint](since("2019-04-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultEndpoint,
		Validate:  validateEndpoint,
		Admit:     p.admitEndpoint,
		Links:     endpointLinks,
		Reconcile: p.reconcileEndpoint,
		Present:   presentEndpoint,
		Release:   p.releaseEndpoint,
		Finalize:  applied[Endpoint](p),
	})
}

func defaultEndpoint(_ string, r *rp.Resource[Endpoint]) {
	v := &r.Properties
	for _, list := range []*[]Connection{&v.Connections, &v.Manual} {
		if *list == nil {
			*list = []Connection{}
		}
		for i := range *list {
			c := &(*list)[i]
			c.ID, c.ETag, c.Type, c.Properties.State, c.Properties.ProvisioningState = "", "", "", nil, ""
			if c.Name == "" {
				c.Name = r.ID.Name()
			}
		}
	}
	if v.IPConfigurations == nil {
		v.IPConfigurations = []EndpointIP{}
	}
	for i := range v.IPConfigurations {
		v.IPConfigurations[i].ETag, v.IPConfigurations[i].Type = "", ""
	}
}

// connection is the endpoint's one connection, and whether it waits for approval.
func (v *Endpoint) connection() (c *Connection, manual bool) {
	if len(v.Connections) > 0 {
		return &v.Connections[0], false
	}
	if len(v.Manual) > 0 {
		return &v.Manual[0], true
	}
	return nil, false
}

func (v *Endpoint) target() (arm.ID, error) {
	c, _ := v.connection()
	if c == nil {
		return arm.ID{}, bad("InvalidRequestFormat", "A private endpoint needs a connection.")
	}
	return arm.ParseID(c.Properties.ServiceID)
}

func validateEndpoint(op rp.Op, new, old *rp.Resource[Endpoint]) error {
	v := &new.Properties
	if len(v.Connections)+len(v.Manual) != 1 {
		return bad("InvalidRequestFormat", "Private endpoint %s must have exactly one element in privateLinkServiceConnections or manualPrivateLinkServiceConnections.", new.ID)
	}
	c, manual := v.connection()
	if _, err := arm.ParseID(c.Properties.ServiceID); err != nil {
		return bad("InvalidReferenceId", "Value for reference id is not valid. Property privateLinkServiceId of resource %s is '%s'.", new.ID, clip(c.Properties.ServiceID))
	}
	if v.Subnet == nil {
		return bad("SubnetNotSpecified", "Private endpoint %s must have a subnet.", new.ID)
	}
	if _, err := parseRef(v.Subnet, SubnetType, "subnet", new.ID); err != nil {
		return err
	}
	for _, ref := range v.ASGs {
		if _, err := parseRef(&ref, ASGType, "applicationSecurityGroups", new.ID); err != nil {
			return err
		}
	}
	for _, ip := range v.IPConfigurations {
		if a, err := netip.ParseAddr(ip.Properties.Address); err != nil || !a.Is4() {
			return bad("InvalidIPAddressFormat", "IP configuration %s of private endpoint %s needs an IPv4 address in privateIPAddress, not '%s'.", ip.Name, new.ID, clip(ip.Properties.Address))
		}
	}
	if op == rp.Create {
		return nil
	}
	was, wasManual := old.Properties.connection()
	same := wasManual == manual && strings.EqualFold(was.Properties.ServiceID, c.Properties.ServiceID) &&
		slices.EqualFunc(was.Properties.GroupIDs, c.Properties.GroupIDs, strings.EqualFold) &&
		strings.EqualFold(old.Properties.Subnet.ID, v.Subnet.ID) && slices.Equal(old.Properties.IPConfigurations, v.IPConfigurations)
	if !same {
		return bad("PropertyChangeNotAllowed", "The subnet, the connection and the IP configurations of private endpoint %s cannot be changed after it was created.", new.ID)
	}
	return nil
}

func endpointLinks(r *rp.Resource[Endpoint]) []rp.Link {
	var links []rp.Link
	if r.Properties.Subnet != nil {
		if id, err := arm.ParseID(r.Properties.Subnet.ID); err == nil {
			links = append(links, rp.Link{Action: SubnetType + "/join/action", ID: id})
		}
	}
	if c, manual := r.Properties.connection(); c != nil && !manual {
		if id, err := arm.ParseID(c.Properties.ServiceID); err == nil {
			links = append(links, rp.Link{Action: id.Type().String() + "/PrivateEndpointConnectionsApproval/action", ID: id})
		}
	}
	return links
}

func (p *Provider) admitEndpoint(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Endpoint]) error {
	v := &new.Properties
	for _, ref := range v.ASGs {
		if err := mustExist[ASG](tx, &ref, new.ID); err != nil {
			return err
		}
	}
	if op == rp.Update {
		return nil
	}
	subnet, err := p.endpointSubnet(tx, new)
	if err != nil {
		return err
	}
	c, manual := v.connection()
	target, err := v.target()
	if err != nil {
		return err
	}
	link, err := p.cfg.Targets.Connect(tx, target, c.Properties.GroupIDs, new.ID, c.Properties.RequestMessage, manual)
	if notFound(err) {
		return missing(target, new.ID)
	}
	if err != nil {
		return err
	}
	v.ResourceGUID, v.ConnectionName = uuid.NewString(), link.Name
	nic, err := p.endpointNIC(tx, new, subnet, link.Members)
	if err != nil {
		return err
	}
	v.NetworkInterfaces = []Ref{{ID: nic.String()}}
	return nil
}

func (p *Provider) endpointSubnet(tx *rp.Tx, r *rp.Resource[Endpoint]) (*rp.Resource[Subnet], error) {
	id, err := arm.ParseID(r.Properties.Subnet.ID)
	if err != nil {
		return nil, err
	}
	s, err := rp.Get[Subnet](tx, id)
	if notFound(err) || (err == nil && s.State == arm.Deleting) {
		return nil, missing(id, r.ID)
	}
	if err != nil {
		return nil, err
	}
	vnet, err := rp.Get[VNet](tx, s.ID.Parent())
	if err != nil {
		return nil, err
	}
	if vnet.Location != r.Location {
		return nil, missing(id, r.ID) // whose text says that both must be in one region
	}
	return s, s.Properties.notDelegated(s.ID, r.ID.String())
}

// endpointNIC makes the interface of a new endpoint, with an address for each member.
func (p *Provider) endpointNIC(tx *rp.Tx, r *rp.Resource[Endpoint], subnet *rp.Resource[Subnet], members []privatelink.Member) (arm.ID, error) {
	v := &r.Properties
	name := v.CustomNICName
	if name == "" {
		name = r.ID.Name() + ".nic." + uuid.NewString()
	}
	id, err := arm.ParseID(r.ID.Scope().String() + "/providers/" + NICType + "/" + name)
	if err != nil {
		return arm.ID{}, err
	}
	switch _, err := rp.Get[Interface](tx, id); {
	case err == nil:
		return arm.ID{}, bad("NetworkInterfaceAlreadyExists", "Private endpoint %s cannot have the network interface %s: it exists already.", r.ID, id)
	case !notFound(err):
		return arm.ID{}, err
	}
	wanted, err := static(v.IPConfigurations, members)
	if err != nil {
		return arm.ID{}, err
	}
	taken := map[netip.Addr]bool{}
	for _, a := range wanted {
		taken[a] = true
	}
	nic := &rp.Resource[Interface]{ID: id, Location: r.Location, Properties: Interface{
		ResourceGUID: uuid.NewString(), NICType: "Standard", HostedWorkloads: []string{}, TapConfigurations: []any{},
		DNS: DNSSettings{Servers: []string{}, AppliedServers: []string{}}, PrivateEndpoint: &Ref{ID: r.ID.String()},
	}}
	for i, m := range members {
		config := IPConfig{Name: "privateEndpointIpConfig." + uuid.NewString()}
		a, err := take(tx, subnet, wanted[i], allocation{Owner: configID(id, config.Name), Endpoint: r.ID.String()}, taken)
		if err != nil {
			return arm.ID{}, err
		}
		config.Properties = IPConfigFields{
			Address: a.String(), Allocation: "Dynamic", Subnet: &Ref{ID: subnet.ID.String()}, Primary: i == 0, Version: "IPv4",
			ASGs: v.ASGs, Link: &LinkDetails{GroupID: m.GroupID, MemberName: m.Name, FQDNs: m.FQDNs},
		}
		if wanted[i].IsValid() {
			config.Properties.Allocation = "Static"
		}
		nic.Properties.IPConfigurations = append(nic.Properties.IPConfigurations, config)
		v.Members = append(v.Members, EndpointMember{Member: m, Addr: a})
	}
	return id, rp.Save(tx, nic)
}

// static finds the address that each member was asked to have, by index; invalid for a dynamic one.
func static(configs []EndpointIP, members []privatelink.Member) (map[int]netip.Addr, error) {
	wanted := map[int]netip.Addr{}
	for _, c := range configs {
		i := slices.IndexFunc(members, func(m privatelink.Member) bool {
			return strings.EqualFold(m.GroupID, c.Properties.GroupID) && strings.EqualFold(m.Name, c.Properties.MemberName)
		})
		a, err := netip.ParseAddr(c.Properties.Address)
		if i < 0 || err != nil || wanted[i].IsValid() {
			return nil, bad("InvalidPrivateEndpointIpConfiguration", "IP configuration %s names member '%s' of group '%s', which the target does not have, or names it twice.", c.Name, clip(c.Properties.MemberName), clip(c.Properties.GroupID))
		}
		wanted[i] = a
	}
	return wanted, nil
}

// connectionState is what the target says of the connection now.
func connectionState(tx *rp.Tx, v *Endpoint) (privatelink.State, error) {
	target, err := v.target()
	if err != nil {
		return privatelink.State{}, err
	}
	c, err := rp.Get[privatelink.Connection](tx, target.Child("privateEndpointConnections", v.ConnectionName))
	if notFound(err) || (err == nil && c.State == arm.Deleting) {
		return privatelink.State{Status: "Disconnected", Description: "The connection was removed by the resource that it led to.", ActionsRequired: "None"}, nil
	}
	if err != nil {
		return privatelink.State{}, err
	}
	return c.Properties.State, nil
}

// reconcileEndpoint follows the connection's state: only an approved one has DNS records and answers.
func (p *Provider) reconcileEndpoint(ctx context.Context, r *rp.Resource[Endpoint]) (rp.Result, error) {
	err := p.cfg.Engine.Update(ctx, func(tx *rp.Tx) error {
		e, err := rp.Get[Endpoint](tx, r.ID)
		if notFound(err) || (err == nil && e.State == arm.Deleting) {
			return nil
		}
		if err != nil {
			return err
		}
		return publishAll(tx, e)
	})
	if err != nil {
		return rp.Result{}, err
	}
	return rp.Result{}, p.cfg.Sync.Sync(ctx)
}

func presentEndpoint(_ context.Context, tx *rp.Tx, r *rp.Resource[Endpoint]) error {
	v := &r.Properties
	c, manual := v.connection()
	if c == nil {
		return nil
	}
	state, err := connectionState(tx, v)
	if err != nil {
		return err
	}
	kind := "privateLinkServiceConnections"
	if manual {
		kind = "manualPrivateLinkServiceConnections"
	}
	c.ID, c.ETag, c.Type = r.ID.String()+"/"+kind+"/"+c.Name, r.ETag, EndpointType+"/"+kind
	c.Properties.ProvisioningState, c.Properties.State = string(arm.Succeeded), &state
	v.CustomDNS = []CustomDNS{}
	groups, err := rp.List[ZoneGroup](tx, ZoneGroupType, r.ID)
	if err != nil || len(groups) > 0 { // with a zone group, DNS is Azure's business
		return err
	}
	for _, m := range v.Members {
		for _, name := range m.FQDNs {
			v.CustomDNS = append(v.CustomDNS, CustomDNS{FQDN: name, Addresses: []string{m.Addr.String()}})
		}
	}
	return nil
}

// releaseEndpoint takes back the connection and the interface; zone groups, which are children, have
// gone before.
func (p *Provider) releaseEndpoint(_ context.Context, tx *rp.Tx, r *rp.Resource[Endpoint]) error {
	target, err := r.Properties.target()
	if err != nil {
		return err
	}
	if err := p.cfg.Targets.Disconnect(tx, target, r.ID); err != nil {
		return err
	}
	for _, ref := range r.Properties.NetworkInterfaces {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		nic, err := rp.Get[Interface](tx, id)
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		nic.Properties.PrivateEndpoint = nil // which is what keeps others from deleting it
		if err := rp.Save(tx, nic); err != nil {
			return err
		}
		if err := rp.Remove(tx, id); err != nil {
			return err
		}
	}
	return nil
}
