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

	// IPVersion is ipVersionType: IPv4.
	IPVersion string `json:"ipVersionType,omitempty"`

	// Members are what was connected, each with its address.
	Members []EndpointMember `json:"members,omitempty" rp:"private"`
	// Target is the id behind privateLinkServiceId, which may be an alias.
	Target string `json:"target,omitempty" rp:"private"`
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
		Move: moved[Endpoint],
		Name: EndpointType, Kind: rp.Tracked, Versions: rp.Versions[Endpoint](since("2019-04-01")...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultEndpoint,
		Validate:  validateEndpoint,
		Admit:     p.admitEndpoint,
		Links:     endpointLinks,
		Reconcile: p.reconcileEndpoint,
		Present:   presentEndpoint,
		Kept:      true,
		Release:   p.releaseEndpoint,
		Finalize:  applied[Endpoint](p),
	})
}

// ipVersionSince is the first api-version that shows ipVersionType.
const ipVersionSince = "2024-10-01"

func defaultEndpoint(version string, r *rp.Resource[Endpoint]) {
	v := &r.Properties
	if v.IPVersion == "" && version >= ipVersionSince {
		v.IPVersion = "IPv4"
	}
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

// target is the resource that the endpoint leads to.
func (v *Endpoint) target() (arm.ID, error) {
	if v.Target != "" {
		return arm.ParseID(v.Target)
	}
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
	if err := validateConnection(new); err != nil {
		return err
	}
	if v.Subnet == nil {
		return bad("SubnetNotSpecified", "Private endpoint %s must have a subnet.", new.ID)
	}
	if _, err := parseRef(v.Subnet, SubnetType, "subnet", new.ID); err != nil {
		return err
	}
	if v.IPVersion != "" && !strings.EqualFold(v.IPVersion, "IPv4") {
		return arm.NotImplemented("Private endpoint %s: ipVersionType %s is not implemented.", new.ID, clip(v.IPVersion))
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
	if op == rp.Update {
		return endpointStays(new, &old.Properties)
	}
	return nil
}

// validateConnection checks what the one connection asks for. A first-party resource is connected by one of
// its sub-resources.
func validateConnection(r *rp.Resource[Endpoint]) error {
	c, manual := r.Properties.connection()
	if serviceAlias.MatchString(c.Properties.ServiceID) {
		return nil
	}
	target, err := arm.ParseID(c.Properties.ServiceID)
	if err != nil {
		return bad("InvalidReferenceId", "Value for reference id is not valid. Property privateLinkServiceId of resource %s is '%s'.", r.ID, clip(c.Properties.ServiceID))
	}
	if strings.EqualFold(target.Type().String(), LinkServiceType) {
		return nil // it has no sub-resources
	}
	id := connectionID(r.ID, c.Name, manual)
	switch {
	case len(c.Properties.GroupIDs) == 0:
		return bad("MissingParameterOnPrivateLinkServiceConnection", "Private link service connection %s is missing required parameter 'group Id'.", id)
	case len(c.Properties.GroupIDs) > 1:
		return bad("OnlyOneGroupIdPermitted", "Private link service connection %s has the following group Ids: %s. Only one group Id is permitted when connecting to a first-party resource (%s).", id, strings.Join(c.Properties.GroupIDs, ", "), target)
	}
	return nil
}

// connectionID is the id under which an endpoint shows its connection.
func connectionID(endpoint arm.ID, name string, manual bool) string {
	return endpoint.String() + "/" + connectionKind(manual) + "/" + name
}

func connectionKind(manual bool) string {
	if manual {
		return "manualPrivateLinkServiceConnections"
	}
	return "privateLinkServiceConnections"
}

// endpointStays refuses a change of what is settled when an endpoint is made. An absent name of the interface
// says nothing.
func endpointStays(new *rp.Resource[Endpoint], old *Endpoint) error {
	v := &new.Properties
	c, manual := v.connection()
	was, wasManual := old.connection()
	same := wasManual == manual && strings.EqualFold(was.Properties.ServiceID, c.Properties.ServiceID) &&
		slices.EqualFunc(was.Properties.GroupIDs, c.Properties.GroupIDs, strings.EqualFold) &&
		strings.EqualFold(old.Subnet.ID, v.Subnet.ID) && slices.Equal(old.IPConfigurations, v.IPConfigurations) &&
		(v.CustomNICName == "" || strings.EqualFold(v.CustomNICName, old.CustomNICName))
	if !same {
		return bad("PropertyChangeNotAllowed", "The subnet, the connection, the IP configurations and the name of the network interface of private endpoint %s cannot be changed after it was created.", new.ID)
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
	for _, ref := range r.Properties.ASGs {
		if id, err := arm.ParseID(ref.ID); err == nil {
			links = append(links, rp.Link{Action: ASGType + "/joinIpConfiguration/action", ID: id})
		}
	}
	if c, manual := r.Properties.connection(); c != nil && !manual {
		if id, err := arm.ParseID(c.Properties.ServiceID); err == nil {
			links = append(links, rp.Link{Action: id.Type().String() + "/PrivateEndpointConnectionsApproval/action", ID: id})
		}
	}
	return links
}

func (p *Provider) admitEndpoint(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Endpoint]) error {
	v := &new.Properties
	for _, ref := range v.ASGs {
		if err := mustExist[ASG](tx, &ref, new.ID); err != nil {
			return err
		}
	}
	if op == rp.Update {
		v.CustomNICName = old.Properties.CustomNICName
		return regroup(tx, v)
	}
	subnet, err := p.endpointSubnet(tx, new)
	if err != nil {
		return err
	}
	target, manual, err := chosenTarget(tx, new)
	if err != nil {
		return err
	}
	v.Target = target.String()
	c, _ := v.connection()
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
	if len(s.Properties.Delegations) > 0 {
		return nil, bad("PrivateEndpointCreationNotAllowedAsSubnetIsDelegated", "Private endpoint %s cannot be created as subnet %s is delegated.", r.ID, s.ID)
	}
	return s, nil
}
