package network

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Document kinds of the address management. Allocations are written in the transaction of the resource
// that takes them, so two resources never hold one address.
const (
	addressKind = "network/address" // key: lower-case subnet id, "/", the address in hex; value: allocation
	publicKind  = "network/public"  // key: the address in hex; value: allocation
	nicKind     = "network/nic"     // key: NIC.ID; value: NIC
)

// allocation says who holds an address.
type allocation struct {
	Addr  netip.Addr `json:"addr"`
	Owner string     `json:"owner"` // ipConfiguration or hidden NIC id, as messages name it
	// Endpoint is the private endpoint whose interface this is, if it is one.
	Endpoint string `json:"endpoint,omitempty"`
	// Prefix is the public IP prefix that a public address belongs to. Nobody has the address as long as Owner
	// is empty.
	Prefix string `json:"prefix,omitempty"`
}

func addressKey(subnet arm.ID, a netip.Addr) string {
	b := a.As4()
	return subnet.Key() + "/" + hex.EncodeToString(b[:])
}

// allocations of a subnet, in the order of their addresses.
func allocations(tx store.Tx, subnet arm.ID) ([]allocation, error) {
	return scan[allocation](tx, addressKind, subnet.Key()+"/")
}

func scan[T any](tx store.Tx, kind, prefix string) ([]T, error) {
	var list []T
	var bad error
	err := tx.Scan(kind, prefix, "", func(d store.Doc) bool {
		var v T
		if err := json.Unmarshal(d.Value, &v); err != nil {
			bad = fmt.Errorf("network: stored %s %s: %w", kind, d.Key, err)
			return false
		}
		list = append(list, v)
		return true
	})
	return list, errors.Join(err, bad)
}

// scanAny returns the documents of a kind as JSON trees, by their keys.
func scanAny(tx store.Tx, kind string) (map[string]any, error) {
	docs := map[string]any{}
	var bad error
	err := tx.Scan(kind, "", "", func(d store.Doc) bool {
		var v any
		if err := json.Unmarshal(d.Value, &v); err != nil {
			bad = fmt.Errorf("network: stored %s %s: %w", kind, d.Key, err)
			return false
		}
		docs[d.Key] = v
		return true
	})
	return docs, errors.Join(err, bad)
}

func put(tx store.Tx, kind, key string, v any, expect int64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("network: %s %s: %w", kind, key, err)
	}
	_, err = tx.Put(kind, key, b, expect)
	return err
}

// usable are the addresses of a prefix that Azure gives out: all but the first four (network, gateway,
// two for DNS) and the last.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
func usable(pre netip.Prefix) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		a := pre.Addr()
		for range reserved {
			a = a.Next()
		}
		for next := a.Next(); pre.Contains(next); a, next = next, next.Next() {
			if !yield(a) {
				return
			}
		}
	}
}

const reserved = 4

func isReserved(pre netip.Prefix, a netip.Addr) bool {
	first := pre.Addr()
	for range reserved {
		if a == first {
			return true
		}
		first = first.Next()
	}
	return !pre.Contains(a.Next())
}

// take gives the owner an address of the subnet: want, or the lowest free one when want is not valid.
// taken are addresses that must not be given though nobody holds them yet (static ones of the same
// request). Errors: SubnetIsFull, PrivateIPAddressNotInSubnet, PrivateIPAddressInReservedRange,
// PrivateIPAddressIsAllocated.
func take(tx store.Tx, s *rp.Resource[Subnet], want netip.Addr, a allocation, taken map[netip.Addr]bool) (netip.Addr, error) {
	prefixes, err := parsePrefixes(s.Properties.prefixes(), s.ID)
	if err != nil {
		return netip.Addr{}, err
	}
	held, err := allocations(tx, s.ID)
	if err != nil {
		return netip.Addr{}, err
	}
	by := make(map[netip.Addr]allocation, len(held))
	for _, h := range held {
		by[h.Addr] = h
	}
	if want.IsValid() {
		if err := mayTake(prefixes, want, a.Owner, by); err != nil {
			return netip.Addr{}, err
		}
		a.Addr = want
		return want, put(tx, addressKind, addressKey(s.ID, want), a, store.Any)
	}
	for _, pre := range prefixes {
		for addr := range usable(pre) {
			if _, ok := by[addr]; ok || taken[addr] {
				continue
			}
			a.Addr = addr
			return addr, put(tx, addressKind, addressKey(s.ID, addr), a, store.None)
		}
	}
	return netip.Addr{}, bad("SubnetIsFull", "Subnet %s with address prefix %s does not have enough capacity for 1 IP addresses.", s.ID.Name(), s.Properties.prefixes()[0])
}

func mayTake(prefixes []netip.Prefix, want netip.Addr, owner string, by map[netip.Addr]allocation) error {
	inside := false
	for _, pre := range prefixes {
		if !pre.Contains(want) {
			continue
		}
		inside = true
		if isReserved(pre, want) {
			return bad("PrivateIPAddressInReservedRange", "Private static IP address %s falls within reserved IP range of subnet prefix %s.", want, pre)
		}
	}
	if !inside {
		return bad("PrivateIPAddressNotInSubnet", "Private static IP address %s does not belong to the range of subnet prefix %s.", want, prefixes[0])
	}
	if h, ok := by[want]; ok && !strings.EqualFold(h.Owner, owner) {
		return bad("PrivateIPAddressIsAllocated", "IP configuration %s is using the private IP address %s which is already allocated to resource %s.", owner, want, h.Owner)
	}
	return nil
}

// give returns an address; one that nobody holds is no error.
func give(tx store.Tx, subnet arm.ID, a netip.Addr) error {
	return drop(tx, addressKind, addressKey(subnet, a))
}

func drop(tx store.Tx, kind, key string) error {
	if err := tx.Delete(kind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// takePublic gives owner a public address of the pool: the one that it has, or the lowest free one.
func (p *Provider) takePublic(tx store.Tx, owner string) (netip.Addr, error) {
	held, err := scan[allocation](tx, publicKind, "")
	if err != nil {
		return netip.Addr{}, err
	}
	by := make(map[netip.Addr]bool, len(held))
	for _, h := range held {
		if h.Owner == owner && h.Prefix == "" {
			return h.Addr, nil
		}
		by[h.Addr] = true
	}
	if p.cfg.PublicPool.IsValid() {
		for a := range usable(p.cfg.PublicPool) {
			if !by[a] {
				return a, put(tx, publicKind, publicKey(a), allocation{Addr: a, Owner: owner}, store.None)
			}
		}
	}
	return netip.Addr{}, bad("PublicIPCountLimitReached", "Cannot create more than %d public IP addresses for this region.", len(held))
}

func publicKey(a netip.Addr) string {
	b := a.As4()
	return hex.EncodeToString(b[:])
}

// givePublic returns a public address: to its prefix, or to the pool.
func givePublic(tx store.Tx, a netip.Addr) error {
	d, err := tx.Get(publicKind, publicKey(a))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var h allocation
	if err := json.Unmarshal(d.Value, &h); err != nil {
		return fmt.Errorf("network: stored %s %s: %w", publicKind, d.Key, err)
	}
	if h.Prefix == "" {
		return drop(tx, publicKind, publicKey(a))
	}
	h.Owner = ""
	return put(tx, publicKind, publicKey(a), h, store.Any)
}
