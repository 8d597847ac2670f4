package network

import (
	"net/netip"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// What follows is for providers of services that stand in a user's subnet with addresses of their own, as
// Azure Firewall does.

// VersionsSince are the api-versions of the namespace from first on.
func VersionsSince(first string) []string { return since(first) }

// TakeAddress gives owner an address of the subnet: want, or the lowest free one when want is not valid. owner is the
// id of an ip configuration, as messages name it. Errors: SubnetIsFull, PrivateIPAddressNotInSubnet,
// PrivateIPAddressInReservedRange, PrivateIPAddressIsAllocated, SubnetDelegated (400).
func TakeAddress(tx *rp.Tx, subnet *rp.Resource[Subnet], want netip.Addr, owner string) (netip.Addr, error) {
	if err := subnet.Properties.notDelegated(subnet.ID, owner); err != nil {
		return netip.Addr{}, err
	}
	return take(tx, subnet, want, allocation{Owner: owner}, nil)
}

// GiveAddress returns an address of a subnet; one that nobody holds is no error.
func GiveAddress(tx *rp.Tx, subnet arm.ID, a netip.Addr) error { return give(tx, subnet, a) }

// AssociatePublicIP makes a public address the ip configuration owner's, of the resource of. Errors:
// InvalidResourceReference, PublicIPAddressInUse, PublicIPCountLimitReached (400).
func (p *Provider) AssociatePublicIP(tx *rp.Tx, ref *Ref, owner string, of arm.ID) (netip.Addr, error) {
	if err := p.associate(tx, ref, owner, of); err != nil {
		return netip.Addr{}, err
	}
	ip, err := rp.Get[PublicIP](tx, arm.MustParseID(ref.ID))
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(ip.Properties.Address)
}

// DissociatePublicIP ends what AssociatePublicIP began. A public address that is gone is no error.
func DissociatePublicIP(tx *rp.Tx, ref *Ref) error {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return err
	}
	ip, err := rp.Get[PublicIP](tx, id)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ip.Properties.IPConfiguration = nil
	if ip.Properties.Allocation == "Dynamic" {
		if err := releaseAddress(tx, &ip.Properties); err != nil {
			return err
		}
	}
	return rp.Save(tx, ip)
}
