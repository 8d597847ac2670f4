package fabric

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"vauban.dev/fabric/internal/interval"
)

// DefaultOutboundPool is where default outbound addresses come from if the topology names no pool: a
// range of AzureCloud that belonged to no service in the published service tags.
func DefaultOutboundPool() []netip.Prefix { return prefixes("20.56.0.0/17") }

// transferPool is cut into pairs for the links between routers and the internet namespace. It is
// link-local, which no VNet may have as its address space (100.64.0.0/10 it may), and has none of the
// platform's addresses.
func transferPool() netip.Prefix { return netip.MustParsePrefix("169.254.64.0/18") }

// transfer is one link's pair of addresses, a /31.
type transfer struct{ internet, router netip.Addr }

// plan gives the addresses that the topology leaves open. Each is found by the hash of the VNet's id,
// or the next free one, so that other VNets come and go without moving it unless they collide.
type plan struct {
	transfer map[string]transfer
	outbound map[string]netip.Addr // VNets with default outbound access
	public   map[string]interval.Set
	links    map[string]ends // between routers, by their interfaces
}

func newPlan(t *Topology) (*plan, error) {
	p := &plan{transfer: map[string]transfer{}, outbound: map[string]netip.Addr{}, public: map[string]interval.Set{}}
	vnets := map[string]*VNet{}
	for i := range t.VNets {
		vnets[t.VNets[i].ID] = &t.VNets[i]
	}
	ids := slices.Sorted(maps.Keys(vnets))
	if err := p.planTransfers(ids); err != nil {
		return nil, err
	}
	if err := p.planPeerings(t); err != nil {
		return nil, err
	}
	if err := p.planOutbound(t, ids, vnets); err != nil {
		return nil, err
	}
	for _, id := range ids {
		p.public[id] = publicOf(t, vnets[id], p.outbound[id])
	}
	return p, nil
}

func (p *plan) planTransfers(ids []string) error {
	pool := interval.Of(transferPool())
	pairs, first := pool.Size()/2, pool[0].Lo
	taken := map[uint64]bool{}
	for _, id := range ids {
		slot, ok := probe(id, pairs, func(i uint64) bool { return taken[i] })
		if !ok {
			return invalid(id, "there are more VNets than transfer addresses (%d)", pairs)
		}
		taken[slot] = true
		even := first + 2*uint32(slot)
		p.transfer[id] = transfer{internet: interval.Addr(even), router: interval.Addr(even + 1)}
	}
	return nil
}

func (p *plan) planOutbound(t *Topology, ids []string, vnets map[string]*VNet) error {
	pool := interval.Of(t.Internet.OutboundPool...)
	if pool == nil {
		pool = interval.Of(DefaultOutboundPool()...)
	}
	taken := map[netip.Addr]bool{}
	for _, h := range t.Internet.Hosts {
		taken[h.Addr] = true
	}
	for _, v := range vnets {
		for a := range v.publicAddresses(t) {
			taken[a] = true
		}
	}
	at := func(i uint64) netip.Addr {
		x, _ := pool.At(i)
		return interval.Addr(x)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(vnets[id].Subnets, func(s Subnet) bool { return s.DefaultOutbound }) {
			continue
		}
		slot, ok := probe(id, pool.Size(), func(i uint64) bool { return taken[at(i)] })
		if !ok {
			return invalid(id, "the pool of default outbound addresses is exhausted (%d addresses)", pool.Size())
		}
		taken[at(slot)] = true
		p.outbound[id] = at(slot)
	}
	return nil
}

// probe returns the first free slot at or after the hash of the id.
func probe(id string, slots uint64, taken func(uint64) bool) (uint64, bool) {
	if slots == 0 {
		return 0, false
	}
	sum := sha256.Sum256([]byte(id))
	start := binary.BigEndian.Uint64(sum[:8]) % slots
	for i := range slots {
		if slot := (start + i) % slots; !taken(slot) {
			return slot, true
		}
	}
	return 0, false
}

// publicOf are the public addresses that the internet namespace routes to a VNet.
func publicOf(t *Topology, v *VNet, outbound netip.Addr) interval.Set {
	var in []netip.Prefix
	for a := range v.publicAddresses(t) {
		in = append(in, host(a))
	}
	if outbound.IsValid() {
		in = append(in, host(outbound))
	}
	return interval.Of(in...)
}
