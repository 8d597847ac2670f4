package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	mdns "github.com/miekg/dns"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/fabric/servicetags"
	"vauban.dev/provider/network"
	"vauban.dev/region"
)

// methodTags puts the list that waits in the data directory in force.
const methodTags = "tags" // → tagsUpdated

// tagsUpdated tells what an update of the service tags did.
type tagsUpdated struct {
	Before servicetags.Number `json:"before"`
	Now    servicetags.Number `json:"now"`
	Tags   int                `json:"tags"`
	Came   int                `json:"came"`
	Went   int                `json:"went"`
}

// publicZone is public DNS, which changes when the services get other addresses.
type publicZone struct {
	now atomic.Pointer[dns.PublicZone]
	// all are those that have been in force: what they led to stays answered.
	all atomic.Pointer[[]*dns.PublicZone]
}

// put puts a zone in force.
func (z *publicZone) put(zone *dns.PublicZone) {
	all := []*dns.PublicZone{zone}
	if before := z.all.Load(); before != nil && !slices.Contains(*before, zone) {
		all = append(all, *before...)
	} else if before != nil {
		all = *before
	}
	z.all.Store(&all)
	z.now.Store(zone)
}

// leads tells whether a service's public name leads to a public address. At another service's, or another
// region's, it is not served: rules that let packets pass to a service tag let them pass to that service only.
func (z *publicZone) leads(host string, at netip.Addr) bool {
	for _, zone := range *z.all.Load() {
		if slices.Contains(addressesOf(zone, host), at) {
			return true
		}
	}
	return false
}

// longestAlias is more than any public name has aliases.
const longestAlias = 8

// addressesOf are those of a name, by its aliases.
func addressesOf(zone dns.Public, name string) (out []netip.Addr) {
	for range longestAlias {
		records, _ := zone.Lookup(name)
		if len(records) == 0 || records[0].Type != mdns.TypeCNAME {
			for _, r := range records {
				if r.Type == mdns.TypeA {
					out = append(out, r.Addr)
				}
			}
			return out
		}
		name = records[0].Target
	}
	return nil
}

// Lookup implements dns.Public.
func (z *publicZone) Lookup(name string) ([]dns.Record, bool) { return z.now.Load().Lookup(name) }

// updateTags puts a new list in force: rules and names at once, and for good once the network has it. What goes
// wrong before leaves the old one in force.
func (w *world) updateTags(ctx context.Context, _ region.Request) (region.Reply, error) {
	w.tagsMu.Lock()
	defer w.tagsMu.Unlock()
	tags, err := readTags(newTagsFile(w.region.Dir))
	if err != nil {
		return region.Reply{}, err
	}
	old := w.tags.Now()
	went := old.Lacks(tags)
	if err := w.noneUsed(ctx, went); err != nil {
		return region.Reply{}, err
	}
	names := *w.names
	names.tags, names.prefixes = tags, nil
	zone, err := names.zone()
	if err != nil {
		return region.Reply{}, fmt.Errorf("the list has no place for the region's own services: %w", err)
	}
	before := w.public.now.Load()
	if err := w.putInForce(ctx, tags, zone, names.prefixes); err != nil {
		undone := w.putInForce(ctx, old, before, nil)
		return region.Reply{}, fmt.Errorf("the list is not in force: %w (and the old one again: %v)", err, undone)
	}
	if err := os.Rename(newTagsFile(w.region.Dir), tagsFile(w.region.Dir)); err != nil {
		return region.Reply{}, err
	}
	return region.Reply{Result: tagsUpdated{
		Before: old.List().ChangeNumber, Now: tags.List().ChangeNumber, Tags: len(tags.Names()), Came: len(tags.Lacks(old)), Went: len(went),
	}}, nil
}

// noneUsed refuses to let go of tags that a resource names.
func (w *world) noneUsed(ctx context.Context, went []string) error {
	var types []string
	for _, t := range w.engine.Describe() {
		if strings.EqualFold(t.Name.Namespace, "Microsoft.Network") {
			types = append(types, t.Name.String())
		}
	}
	return w.engine.View(ctx, func(tx *rp.Tx) error {
		used, err := network.UsedTags(tx, types, went)
		if err != nil || len(used) == 0 {
			return err
		}
		tag := slices.Min(slices.Collect(maps.Keys(used)))
		return fmt.Errorf("the list has no service tag %s, which %s names: change that first", tag, used[tag])
	})
}

// putInForce makes tags, names and the addresses behind them those of the region. The addresses of before stay
// answered until the server starts again: connections to them go on.
func (w *world) putInForce(ctx context.Context, tags *servicetags.Tags, zone *dns.PublicZone, prefixes []netip.Prefix) error {
	w.tags.Replace(tags)
	w.public.put(zone)
	w.sync.answerAt(prefixes)
	return w.sync.Sync(ctx)
}

// answerAt adds addresses of services, from the next pass on.
func (s *netSync) answerAt(prefixes []netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = append(s.moved, prefixes...)
}

// outside is the world outside of the VNets as this pass has it.
func (s *netSync) outside() fabric.Internet {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.moved {
		if !slices.Contains(s.world.ServicePrefixes, p) {
			s.world.ServicePrefixes = append(slices.Clip(s.world.ServicePrefixes), p)
		}
	}
	s.moved = nil
	return s.world
}
