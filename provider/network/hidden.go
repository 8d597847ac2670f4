package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// NIC is an interface that no ARM resource of the user stands for: a compute node's (Azure keeps it in
// Batch's own subscription), or that of `exec`.
type NIC struct {
	ID     string     `json:"id"`   // the owner's
	Kind   string     `json:"kind"` // "node", "exec" …; for messages and status
	VNet   string     `json:"vnet"`
	Subnet string     `json:"subnet"`
	Addr   netip.Addr `json:"addr"`
	NSG    string     `json:"nsg,omitempty"`
	Public netip.Addr `json:"public,omitzero"`
	// PublicIP is the user's public address that Public was taken from, "" for one of the region's own.
	PublicIP string `json:"publicIP,omitempty"`
	// Inbound are the ports of its compute's load balancer that lead to it, by which it also goes out.
	Inbound []Inbound `json:"inbound,omitempty"`
	// Forwarding and Managed are the fabric's (fabric.NIC).
	Forwarding bool `json:"forwarding,omitempty"`
	Managed    bool `json:"managed,omitempty"`
	// Service is the one that the subnet is delegated to, "" for none.
	Service string `json:"service,omitempty"`
}

// NICRequest says what an owner needs.
type NICRequest struct {
	Subnet arm.ID
	Owner  string // unique in the region; becomes NIC.ID
	Kind   string
	NSG    string // id of the NIC's own network security group, "" for none
	Public bool   // with a public address
	// Entry is the load balancer by which the interface is called at Ports; nil for none.
	Entry *Entry
	Ports []EntryPort
	// PublicIP is the user's public address to have, nil for none; the request's owner holds it.
	PublicIP            *Ref
	Forwarding, Managed bool
	// Service is the one whose delegation of the subnet the interface needs ("Microsoft.ContainerInstance/containerGroups").
	// "": none, and the subnet must not be delegated.
	Service string
	// Addr is the address to have; zero: the lowest free one.
	Addr netip.Addr
}

// AllocateNIC gives the owner an interface in the subnet, in tx; the fabric has it after the next Sync.
// An owner that has one in this subnet gets that one, so a caller may repeat the call after a crash. Errors: 404 for
// the subnet, SubnetIsFull, SubnetDelegated, SubnetMissingRequiredDelegation, PublicIPCountLimitReached (400).
func (p *Provider) AllocateNIC(tx *rp.Tx, r NICRequest) (NIC, error) {
	if r.Owner == "" || strings.ContainsAny(r.Owner, "\x00\n") {
		return NIC{}, fmt.Errorf("network: bad NIC owner %q", r.Owner)
	}
	have, ok, err := hiddenNIC(tx, r.Owner)
	if err != nil {
		return NIC{}, err
	}
	if ok {
		if !strings.EqualFold(have.Subnet, r.Subnet.String()) {
			return NIC{}, fmt.Errorf("network: %s has an interface in %s", r.Owner, have.Subnet)
		}
		return have, nil
	}
	s, err := rp.Get[Subnet](tx, r.Subnet)
	if err != nil {
		return NIC{}, err
	}
	if s.State == arm.Deleting {
		return NIC{}, arm.NotFound(r.Subnet)
	}
	if err := s.Properties.admits(s.ID, r.Owner, r.Service); err != nil {
		return NIC{}, err
	}
	n := NIC{ID: r.Owner, Kind: r.Kind, VNet: s.ID.Parent().String(), Subnet: s.ID.String(), NSG: r.NSG, Forwarding: r.Forwarding, Managed: r.Managed, Service: r.Service}
	if n.Addr, err = take(tx, s, r.Addr, allocation{Owner: r.Owner}, nil); err != nil {
		return NIC{}, err
	}
	if r.Public {
		if n.Public, err = p.takePublic(tx, r.Owner); err != nil {
			return NIC{}, err
		}
	}
	if r.PublicIP != nil {
		n.PublicIP = r.PublicIP.ID
		if n.Public, err = p.hold(tx, r.PublicIP, r.Owner); err != nil {
			return NIC{}, err
		}
	}
	if r.Entry != nil {
		if err := p.enter(tx, r.Entry, &n, r.Ports); err != nil {
			return NIC{}, err
		}
	}
	return n, put(tx, nicKind, n.ID, n, store.None)
}

// hold makes the user's public address the owner's, which is a configuration of the resource before it.
func (p *Provider) hold(tx *rp.Tx, ref *Ref, owner string) (netip.Addr, error) {
	of, err := arm.ParseID(owner)
	if err != nil {
		return netip.Addr{}, err
	}
	if err := p.associate(tx, ref, owner, of.Parent()); err != nil {
		return netip.Addr{}, err
	}
	ip, err := live[PublicIP](tx, ref, of.Parent())
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(ip.Properties.Address)
}

// ReleaseNIC gives the owner's interface and addresses back; an owner without one is no error.
func (p *Provider) ReleaseNIC(tx *rp.Tx, owner string) error {
	n, ok, err := hiddenNIC(tx, owner)
	if err != nil || !ok {
		return err
	}
	return releaseHidden(tx, n)
}

func releaseHidden(tx *rp.Tx, n NIC) error {
	subnet, err := arm.ParseID(n.Subnet)
	if err != nil {
		return err
	}
	if err := give(tx, subnet, n.Addr); err != nil {
		return err
	}
	switch {
	case n.PublicIP != "":
		if err := dissociate(tx, &Ref{ID: n.PublicIP}); err != nil {
			return err
		}
	case n.Public.IsValid():
		if err := givePublic(tx, n.Public); err != nil {
			return err
		}
	}
	if err := drop(tx, nicKind, n.ID); err != nil {
		return err
	}
	return leaveEntry(tx, &n)
}

// ExecKind is the Kind of the interfaces that stand in a subnet for commands of the region's owner
// (`vauban exec --subnet`). They are no resource of a user's: they go with their subnet, and with the prefix of it that their
// address is of.
const ExecKind = "exec"

// releaseExec gives back what stands in the subnet for exec.
func releaseExec(tx *rp.Tx, subnet arm.ID) error {
	nics, err := HiddenNICs(tx)
	if err != nil {
		return err
	}
	for _, n := range nics {
		if n.Kind == ExecKind && strings.EqualFold(n.Subnet, subnet.String()) {
			if err := releaseHidden(tx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// HiddenNICs lists the interfaces that AllocateNIC gave, in the order of their ids.
func HiddenNICs(tx store.Tx) ([]NIC, error) { return scan[NIC](tx, nicKind, "") }

func hiddenNIC(tx store.Tx, owner string) (NIC, bool, error) {
	d, err := tx.Get(nicKind, owner)
	if errors.Is(err, store.ErrNotFound) {
		return NIC{}, false, nil
	}
	if err != nil {
		return NIC{}, false, err
	}
	var n NIC
	if err := json.Unmarshal(d.Value, &n); err != nil {
		return NIC{}, false, fmt.Errorf("network: stored NIC %s: %w", owner, err)
	}
	return n, true, nil
}
