// Package servicetags has Azure's published list of service tags: which public prefixes each service
// has, in each region. https://learn.microsoft.com/azure/virtual-network/service-tags-overview
package servicetags

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/interval"
)

// published is the answer of the service tags API for the public cloud of 1 February 2021.
//
//go:embed service_tags_2021-02-01.json.gz
var published []byte

// Tags is one version of the list. It is immutable; make it once and share it.
type Tags struct {
	list   List
	byName map[string]*tag // lower-case names
	names  []string
}

type tag struct {
	entry *Entry
	ipv4  interval.Set
}

// Load reads the list that the program carries.
func Load() (*Tags, error) {
	z, err := gzip.NewReader(bytes.NewReader(published))
	if err != nil {
		return nil, fmt.Errorf("servicetags: %w", err)
	}
	return Read(z)
}

// Names are all tags as Azure writes them, sorted.
func (t *Tags) Names() []string { return slices.Clone(t.names) }

// Prefixes of a tag, in any letter case, IPv6 included; ok is false for a tag that does not exist. The
// slice is the list's own: do not change it.
func (t *Tags) Prefixes(name string) (p []netip.Prefix, ok bool) {
	found := t.byName[strings.ToLower(name)]
	if found == nil {
		return nil, false
	}
	return found.entry.Properties.AddressPrefixes, true
}

// Address picks an IPv4 address of the tag for whatever seed stands for (a service's host name): always
// the same one, and rarely that of another seed. It is the zero Addr for an unknown tag.
func (t *Tags) Address(name, seed string) netip.Addr {
	found := t.byName[strings.ToLower(name)]
	if found == nil {
		return netip.Addr{}
	}
	sum := sha256.Sum256([]byte(strings.ToLower(seed)))
	x, ok := found.ipv4.At(binary.BigEndian.Uint64(sum[:8]))
	if !ok {
		return netip.Addr{}
	}
	return interval.Addr(x)
}

// AllServicePrefixes returns the fewest IPv4 prefixes that cover the tags together, in ascending order.
// The error names a tag that does not exist.
func (t *Tags) AllServicePrefixes(names ...string) ([]netip.Prefix, error) {
	var in []interval.Interval
	for _, name := range names {
		found := t.byName[strings.ToLower(name)]
		if found == nil {
			return nil, fmt.Errorf("servicetags: there is no service tag %q", name)
		}
		in = append(in, found.ipv4...)
	}
	return interval.New(in...).Prefixes(), nil
}

// regions are the names that the list has for locations, where they are others than Azure's: in the tags
// AzureCloud.REGION, and in the property region of every tag.
var regions = map[string]string{
	"brazilsoutheast": "brazilse", "francecentral": "centralfrance", "francesouth": "southfrance", "germanynorth": "germanyn",
	"germanywestcentral": "germanywc", "norwayeast": "norwaye", "norwaywest": "norwayw",
	"switzerlandnorth": "switzerlandn", "switzerlandwest": "switzerlandw",
}

// Regional returns the name of a service's tag for a location, in lower case: Storage and francecentral make
// storage.francecentral, AzureCloud and it azurecloud.centralfrance. The tag need not exist: the list does not
// have every region.
func Regional(service, location string) string {
	service, location = strings.ToLower(service), strings.ToLower(location)
	if service == "azurecloud" {
		location = cmp.Or(regions[location], location)
	}
	return service + "." + location
}

// OutboundPool returns the IPv4 prefixes of a region ("westeurope") that belong to no service: where
// public addresses of the region's users come from.
func (t *Tags) OutboundPool(region string) ([]netip.Prefix, error) {
	cloud := t.byName[Regional("AzureCloud", region)]
	if cloud == nil {
		return nil, fmt.Errorf("servicetags: there is no region %q", region)
	}
	var services []interval.Interval
	for name, s := range t.byName {
		if name != "azurecloud" && !strings.HasPrefix(name, "azurecloud.") {
			services = append(services, s.ipv4...)
		}
	}
	return cloud.ipv4.Minus(interval.New(services...)).Prefixes(), nil
}
