package network

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// Peering is the properties of one side of two peered virtual networks (Network REST:
// VirtualNetworkPeeringPropertiesFormat). Each side has its own; packets pass when both are Connected.
type Peering struct {
	ResourceGUID string `json:"resourceGuid,omitempty" rp:"readonly"`
	State        string `json:"peeringState,omitempty" rp:"readonly"`
	SyncLevel    string `json:"peeringSyncLevel,omitempty" rp:"readonly"`
	Remote       *Ref   `json:"remoteVirtualNetwork,omitempty"`
	// What this side lets the other do, and takes of it.
	Access         bool `json:"allowVirtualNetworkAccess"`
	Forwarded      bool `json:"allowForwardedTraffic"`
	GatewayTransit bool `json:"allowGatewayTransit"`
	RemoteGateways bool `json:"useRemoteGateways"`
	DoNotVerify    bool `json:"doNotVerifyRemoteGateways"`
	// RemoteSpace is the other's address space as this side took it over; RemoteNow is what it is now.
	RemoteSpace *AddressSpace `json:"remoteAddressSpace,omitempty" rp:"readonly"`
	RemoteNow   *AddressSpace `json:"remoteVirtualNetworkAddressSpace,omitempty" rp:"readonly"`
	// Peerings of single subnets.
	Complete    *bool    `json:"peerCompleteVnets,omitempty"`
	OnlyIPv6    bool     `json:"enableOnlyIPv6Peering,omitempty"`
	LocalNames  []string `json:"localSubnetNames,omitempty"`
	RemoteNames []string `json:"remoteSubnetNames,omitempty"`
}

// States of a peering.
const (
	peeringInitiated    = "Initiated"    // the other side has none yet
	peeringConnected    = "Connected"    // both sides are there
	peeringDisconnected = "Disconnected" // the other side's was deleted
)

// subnetPeering is the first version with peerings of single subnets.
const subnetPeering = "2024-01-01"

func (p *Provider) peeringType() rp.Registration {
	of := since("2016-06-01")
	list := make([]rp.Version[Peering], len(of))
	for i, name := range of {
		list[i].Name = name
		if name < subnetPeering {
			list[i].Encode = encodeOldPeering
		}
	}
	return rp.Of(rp.Type[Peering]{
		Name: PeeringType, Kind: rp.Proxy, Versions: list, ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default:   defaultPeering,
		Validate:  validatePeering,
		Admit:     admitPeering,
		Links:     peeringLinks,
		Reconcile: applied[Peering](p),
		Present:   presentPeering,
		Kept:      true,
		Release:   releasePeering,
		Finalize:  applied[Peering](p),
	})
}

func encodeOldPeering(p *Peering) (map[string]any, error) {
	m, err := tree(p)
	delete(m, "peerCompleteVnets")
	return m, err
}

func defaultPeering(_ string, r *rp.Resource[Peering]) {
	if r.Properties.Complete == nil {
		all := true
		r.Properties.Complete = &all
	}
}

func validatePeering(_ rp.Op, new, old *rp.Resource[Peering]) error {
	v := &new.Properties
	if v.Remote == nil {
		return bad("RemoteVirtualNetworkNotSpecified", "Peering %s must name the other virtual network in remoteVirtualNetwork.", new.ID)
	}
	if _, err := parseRef(v.Remote, VNetType, "remoteVirtualNetwork", new.ID); err != nil {
		return err
	}
	switch {
	case !*v.Complete || v.OnlyIPv6 || len(v.LocalNames) > 0 || len(v.RemoteNames) > 0:
		return arm.NotImplemented("Peering %s: peerings of single subnets and of IPv6 alone are not implemented.", new.ID)
	case old != nil && !sameRef(old.Properties.Remote, v.Remote):
		return bad("RemoteVirtualNetworkCannotBeChanged", "Peering %s is with %s and cannot become one with %s.", new.ID, old.Properties.Remote.ID, v.Remote.ID)
	case v.GatewayTransit && v.RemoteGateways:
		return bad("AllowGatewayTransitAndUseRemoteGatewaysAreExclusive", "Peering %s cannot have both AllowGatewayTransit and UseRemoteGateways flags set to true.", new.ID)
	}
	return nil
}

// peeringLinks: who peers a virtual network with another one needs peer/action there.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-manage-peering#permissions
func peeringLinks(r *rp.Resource[Peering]) []rp.Link {
	if r.Properties.Remote == nil {
		return nil
	}
	id, err := arm.ParseID(r.Properties.Remote.ID)
	if err != nil { // Validate has its say
		return nil
	}
	return []rp.Link{{Action: VNetType + "/peer/action", ID: id}}
}

func admitPeering(ctx context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Peering]) error {
	v := &new.Properties
	own, err := rp.Get[VNet](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	remote, err := live[VNet](tx, v.Remote, new.ID)
	if err != nil {
		return err
	}
	s := sides{own: own, remote: remote}
	if s.ours, err = rp.List[Peering](tx, PeeringType, own.ID); err != nil {
		return err
	}
	if s.theirs, err = rp.List[Peering](tx, PeeringType, remote.ID); err != nil {
		return err
	}
	if err := s.alone(new); err != nil {
		return err
	}
	if op == rp.Create {
		v.ResourceGUID = uuid.NewString()
	}
	if op == rp.Create || old.Properties.State == peeringDisconnected || strings.EqualFold(rp.Query(ctx).Get("syncRemoteAddressSpace"), "true") {
		v.RemoteSpace = &AddressSpace{AddressPrefixes: slices.Clone(remote.Properties.AddressSpace.AddressPrefixes)}
		if err := s.apart(new.ID); err != nil {
			return err
		}
	}
	if err := s.gateways(tx, new); err != nil {
		return err
	}
	return s.connect(tx, new)
}

// sides are two virtual networks about to be peered, with the peerings that they have.
type sides struct {
	own, remote  *rp.Resource[VNet]
	ours, theirs []*rp.Resource[Peering]
}

// alone refuses a second peering with the same network.
func (s *sides) alone(new *rp.Resource[Peering]) error {
	for _, p := range s.ours {
		if p.ID.Key() != new.ID.Key() && p.State != arm.Deleting && p.Properties.Remote.is(s.remote.ID) {
			return bad("AnotherPeeringAlreadyReferencesRemoteVnet", "Peering %s already references remote virtual network %s. Cannot add another peering %s referencing the same remote virtual network.", p.ID, s.remote.ID, new.ID)
		}
	}
	return nil
}

// apart refuses networks whose addresses are not apart, from each other and from those that the other is
// peered with already.
func (s *sides) apart(id arm.ID) error {
	if common, err := overlapping(s.own, s.remote.Properties.AddressSpace); err != nil || common != "" {
		return refuseOr(err, bad("VnetAddressSpacesOverlap", "Cannot create or update peering %s. Virtual networks %s and %s cannot be peered because their address spaces overlap. Overlapping address prefixes: %s.", id, s.own.ID, s.remote.ID, common))
	}
	for _, side := range []struct {
		one, other *rp.Resource[VNet]
		peerings   []*rp.Resource[Peering]
	}{{s.own, s.remote, s.theirs}, {s.remote, s.own, s.ours}} {
		for _, p := range side.peerings {
			if p.State == arm.Deleting || p.Properties.Remote.is(side.one.ID) || p.Properties.RemoteSpace == nil {
				continue
			}
			common, err := overlapping(side.one, *p.Properties.RemoteSpace)
			if err != nil || common != "" {
				return refuseOr(err, bad("VnetAddressSpaceOverlapsWithAlreadyPeeredVnet", "Cannot create or update peering %s. Virtual networks %s and %s cannot be peered because address space of the first virtual network overlaps with address space of virtual network %s already peered with the second virtual network. Overlapping address prefixes: %s.", id, side.one.ID, side.other.ID, p.Properties.Remote.ID, common))
			}
		}
	}
	return nil
}

func refuseOr(err error, refusal *arm.Error) error {
	if err != nil {
		return err
	}
	return refusal
}

// overlapping are the prefixes of a network that overlap with a space, as text; "" for none.
func overlapping(v *rp.Resource[VNet], other AddressSpace) (string, error) {
	own, err := parsePrefixes(v.Properties.AddressSpace.AddressPrefixes, v.ID)
	if err != nil {
		return "", err
	}
	theirs, err := parsePrefixes(other.AddressPrefixes, v.ID)
	if err != nil {
		return "", err
	}
	var common []string
	for _, a := range own {
		if slices.ContainsFunc(theirs, a.Overlaps) {
			common = append(common, a.String())
		}
	}
	return strings.Join(common, ", "), nil
}

// gateways refuses useRemoteGateways where there is nothing to use, or something else is used.
// https://learn.microsoft.com/azure/virtual-network/virtual-network-manage-peering#before-you-begin
func (s *sides) gateways(tx *rp.Tx, new *rp.Resource[Peering]) error {
	if !new.Properties.RemoteGateways {
		return nil
	}
	for _, p := range s.ours {
		if p.ID.Key() != new.ID.Key() && p.State != arm.Deleting && p.Properties.RemoteGateways {
			return bad("AnotherPeeringAlreadyUsesRemoteGateways", "Peering %s cannot have UseRemoteGateways flag set to true, because another peering %s already has UseRemoteGateways flag set to true.", new.ID, p.ID)
		}
	}
	has, err := hasGateway(tx, s.own.ID)
	if err != nil || has {
		return refuseOr(err, bad("VnetHasGateways", "Peering %s cannot have UseRemoteGateways flag set to true, because virtual network %s has a gateway of its own.", new.ID, s.own.ID))
	}
	has, err = hasGateway(tx, s.remote.ID)
	if err != nil || !has {
		return refuseOr(err, bad("RemoteVnetHasNoGateways", "Peering %s cannot have UseRemoteGateway flag set to true because remote virtual network %s referenced by the peering does not have any gateways.", new.ID, s.remote.ID))
	}
	if q := s.other(); q != nil && !q.Properties.GatewayTransit {
		return bad("RemotePeeringDoesNotAllowGatewayTransit", "Peering %s cannot have UseRemoteGateways flag set to true, because remote peering %s has AllowGatewayTransit flag set to false.", new.ID, q.ID)
	}
	return nil
}

// hasGateway reports whether something stands in a network's gateway subnet: only gateways do.
func hasGateway(tx *rp.Tx, vnet arm.ID) (bool, error) {
	users, err := residents(tx, vnet.Child("subnets", gatewaySubnet))
	return len(users) > 0, err
}

// other is the remote network's peering with this one, nil for none.
func (s *sides) other() *rp.Resource[Peering] {
	for _, q := range s.theirs {
		if q.State != arm.Deleting && q.Properties.Remote.is(s.own.ID) {
			return q
		}
	}
	return nil
}

// connect makes both sides Connected when both are there.
func (s *sides) connect(tx *rp.Tx, new *rp.Resource[Peering]) error {
	q := s.other()
	switch {
	case q == nil:
		new.Properties.State = peeringInitiated
		return nil
	case q.Properties.State == peeringDisconnected:
		return bad("RemotePeeringIsDisconnected", "Cannot create or update peering %s because remote peering %s referencing parent virtual network %s is in Disconnected state. Update or re-create the remote peering to get it back to Initiated state. Peering gets Disconnected when remote vnet or remote peering is deleted and re-created.", new.ID, q.ID, s.own.ID)
	}
	new.Properties.State = peeringConnected
	q.Properties.State = peeringConnected
	return rp.Save(tx, q)
}

// releasePeering disconnects the other side.
func releasePeering(_ context.Context, tx *rp.Tx, r *rp.Resource[Peering]) error {
	remote, err := arm.ParseID(r.Properties.Remote.ID)
	if err != nil {
		return err
	}
	theirs, err := rp.List[Peering](tx, PeeringType, remote)
	if err != nil {
		return err
	}
	for _, q := range theirs {
		if q.State == arm.Deleting || q.Properties.State != peeringConnected || !q.Properties.Remote.is(r.ID.Parent()) {
			continue
		}
		q.Properties.State = peeringDisconnected
		if err := rp.Save(tx, q); err != nil {
			return err
		}
	}
	return nil
}

// presentPeering says how the sides' knowledge of each other stands: LocalNotInSync where this one has not taken
// over the other's new space (and a PUT with syncRemoteAddressSpace=true does), RemoteNotInSync where the other
// has not taken over this one's, or has no peering at all.
func presentPeering(_ context.Context, tx *rp.Tx, r *rp.Resource[Peering]) error {
	v := &r.Properties
	own, err := rp.Get[VNet](tx, r.ID.Parent())
	if err != nil {
		return err
	}
	id, err := arm.ParseID(v.Remote.ID)
	if err != nil {
		return err
	}
	remote, err := liveVNet(tx, id)
	if err != nil {
		return err
	}
	v.RemoteNow = v.RemoteSpace
	s := sides{own: own}
	if remote != nil {
		v.RemoteNow = &remote.Properties.AddressSpace
		if s.theirs, err = rp.List[Peering](tx, PeeringType, remote.ID); err != nil {
			return err
		}
	}
	q := s.other()
	local := !sameSpace(v.RemoteSpace, v.RemoteNow)
	far := q == nil || !sameSpace(q.Properties.RemoteSpace, &own.Properties.AddressSpace)
	switch {
	case local && far:
		v.SyncLevel = "LocalAndRemoteNotInSync"
	case local:
		v.SyncLevel = "LocalNotInSync"
	case far:
		v.SyncLevel = "RemoteNotInSync"
	default:
		v.SyncLevel = "FullyInSync"
	}
	return nil
}

// sameSpace compares address spaces without regard to order.
func sameSpace(a, b *AddressSpace) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := slices.Sorted(slices.Values(a.AddressPrefixes)), slices.Sorted(slices.Values(b.AddressPrefixes))
	return slices.Equal(x, y)
}

// admitPeeredSpace refuses a new address space that would not be apart from that of a peered network.
func admitPeeredSpace(tx *rp.Tx, new, old *rp.Resource[VNet]) error {
	if sameSpace(&new.Properties.AddressSpace, &old.Properties.AddressSpace) {
		return nil
	}
	ours, err := rp.List[Peering](tx, PeeringType, new.ID)
	if err != nil {
		return err
	}
	for _, p := range ours {
		if p.State == arm.Deleting || p.Properties.RemoteSpace == nil {
			continue
		}
		id, err := arm.ParseID(p.Properties.Remote.ID)
		if err != nil {
			return err
		}
		remote, err := liveVNet(tx, id)
		if err != nil || remote == nil {
			return err
		}
		if common, err := overlapping(new, *p.Properties.RemoteSpace); err != nil || common != "" { // though the other may have given it up
			return refuseOr(err, bad("VnetAddressSpacesOverlap", "Address space of virtual network %s overlaps with that which peering %s has of %s. Overlapping address prefixes: %s. Synchronise the peering first if the other has changed.", new.ID, p.ID, remote.ID, common))
		}
		s := sides{own: new, remote: remote}
		if s.theirs, err = rp.List[Peering](tx, PeeringType, remote.ID); err != nil {
			return err
		}
		s.ours = slices.DeleteFunc(slices.Clone(ours), func(o *rp.Resource[Peering]) bool { return o.ID.Key() == p.ID.Key() })
		if err := s.apart(p.ID); err != nil {
			return err
		}
	}
	return nil
}

// peerings adds the connected ones to the topology's networks.
func (b *builder) peerings() error {
	all, err := rp.List[Peering](b.tx, PeeringType, root)
	if err != nil {
		return err
	}
	for _, p := range all {
		v := b.vnets[p.ID.Parent().Key()]
		if v == nil || p.State == arm.Deleting || p.Properties.State != peeringConnected {
			continue
		}
		remote := b.vnets[strings.ToLower(p.Properties.Remote.ID)]
		if remote == nil {
			continue // it is going
		}
		space, err := parsePrefixes(p.Properties.RemoteSpace.AddressPrefixes, p.ID)
		if err != nil {
			return err
		}
		v.Peerings = append(v.Peerings, fabric.Peering{
			ID: p.ID.String(), Remote: remote.ID, Prefixes: space, Access: p.Properties.Access, Forwarded: p.Properties.Forwarded,
			GatewayTransit: p.Properties.GatewayTransit, RemoteGateways: p.Properties.RemoteGateways,
		})
	}
	return nil
}
