package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"vauban.dev/fabric/dns"
)

// asked is what the region's DNS servers answered whom: names that a node asked for before anybody watched its packets,
// or by TCP. It forgets who asked first when there are too many.
type asked struct {
	mu      sync.Mutex
	clients map[asker]map[netip.Addr][]string
	order   []asker
}

// asker is a client: the same address may be in several networks.
type asker struct {
	vnet string
	addr netip.Addr
}

// Bounds of what is kept.
const (
	maxAskers      = 4096
	maxAskedAddrs  = 2048 // of a client
	maxNamesOfAddr = 20
)

// note keeps the addresses of an answer.
func (k *asked) note(vnet string, client net.Addr, name string, a dns.Answer) {
	c, ok := netip.AddrFromSlice(ipOf(client))
	var addrs []netip.Addr
	for _, r := range a.Addrs() {
		if r.Data.Addr.Is4() {
			addrs = append(addrs, r.Data.Addr)
		}
	}
	if !ok || vnet == "" || len(addrs) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	who := asker{strings.ToLower(vnet), c.Unmap()}
	known := k.clients[who]
	if known == nil {
		if k.clients == nil {
			k.clients = map[asker]map[netip.Addr][]string{}
		}
		if len(k.order) >= maxAskers {
			delete(k.clients, k.order[0])
			k.order = k.order[1:]
		}
		known = map[netip.Addr][]string{}
		k.clients[who], k.order = known, append(k.order, who)
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, x := range addrs {
		if names := known[x]; !slices.Contains(names, name) && len(names) < maxNamesOfAddr && (names != nil || len(known) < maxAskedAddrs) {
			known[x] = append(names, name)
		}
	}
}

// names are those that a client was answered an address for.
func (k *asked) names(vnet string, client, of netip.Addr) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.clients[asker{strings.ToLower(vnet), client}][of])
}

func ipOf(a net.Addr) net.IP {
	switch x := a.(type) {
	case *net.UDPAddr:
		return x.IP
	case *net.TCPAddr:
		return x.IP
	}
	return nil
}
