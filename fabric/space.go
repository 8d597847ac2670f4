package fabric

import (
	"net/netip"
	"strings"
	"sync"

	"vauban.dev/fabric/internal/interval"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// systemNone are the ranges that Azure routes to None where they are not a VNet's own.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#default
var systemNone = sync.OnceValue(func() interval.Set {
	return interval.Of(prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")...)
})

// neverPublic are all addresses that no packet crosses the internet to or from.
var neverPublic = sync.OnceValue(func() interval.Set {
	return systemNone().Union(interval.Of(prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
		"168.63.129.16/32")...))
})

// unsendable are sources that no packet has: not even one that a forwarding NIC passes on.
func unsendable() []netip.Prefix {
	return prefixes("0.0.0.0/8", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "224.0.0.0/3")
}

// keyManagement are the hosts that Windows is activated by, which AzurePlatformLKM stands for.
func keyManagement() []netip.Prefix {
	return prefixes("20.118.99.224/32", "23.102.135.246/32", "40.83.235.53/32")
}

// all IPv4 addresses.
func everything() interval.Set { return interval.Set{{Lo: 0, Hi: interval.Max}} }

func joinPrefixes(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}

// texts are the set as nft writes intervals.
func texts(s interval.Set) []string {
	out := make([]string, 0, len(s))
	for _, i := range s {
		out = append(out, addressText(i))
	}
	return out
}

func addressText(i interval.Interval) string {
	if i.Lo == i.Hi {
		return interval.Addr(i.Lo).String()
	}
	return interval.Addr(i.Lo).String() + "-" + interval.Addr(i.Hi).String()
}
