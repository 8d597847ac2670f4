package fabric

import (
	"net/netip"
	"slices"
)

// Tunnel is a device in the namespace of a forwarding NIC whose other end a process holds: a WireGuard
// peer, a private circuit. Packets for Prefixes that reach the NIC leave by it: of several tunnels by the one with
// the longest prefix. What the NIC's VNet and its peers have never does.
type Tunnel struct {
	Name     string // unique in the region
	Prefixes []netip.Prefix
	// Addr is the gateway's own address on the device, with the network of both ends; zero for none.
	Addr netip.Prefix
}

// TunnelDevice is the TUN device of a Tunnel.
type TunnelDevice struct {
	Interface string
	Addrs     []netip.Prefix
}

// TunnelMTU is that of every tunnel: WireGuard's own, room for its headers over Ethernet and IPv6.
const TunnelMTU = 1420

// TunnelInterface names the device of a tunnel.
func TunnelInterface(name string) string { return "t-" + digest(10, name) }

// widest is the length of the shortest prefix that can be a network's own address space: 10.0.0.0/8. Shorter ones,
// and 0.0.0.0/0 above all, are forced tunnelling: ways for what a virtual network sends elsewhere.
// https://learn.microsoft.com/azure/vpn-gateway/about-site-to-site-tunneling
const widest = 8

// forced tells whether a gateway's route is a way for everything, and not to a network.
func forced(p netip.Prefix) bool { return p.Bits() < widest }

// forwardedTable is the routing table of a gateway for what its VNet sends it, where that has other ways than
// what the gateway sends itself: wires, whose messages would go into their own tunnel.
const forwardedTable = 100

// neighbours are the addresses that a gateway's tunnels never lead to, whatever they announce: those of its VNet and
// of the peered ones, whose routes are preferred (EffectiveRoute.preferred).
func (t *Topology) neighbours(v *VNet) []netip.Prefix {
	list := slices.Clone(v.Prefixes)
	for _, p := range t.peersOf(v) {
		list = append(list, p.prefixes...)
	}
	return slices.DeleteFunc(list, func(p netip.Prefix) bool { return !p.Addr().Is4() })
}

// tunnels adds the NIC's devices and the routes into them to its namespace.
func (ns *Namespace) tunnels(n *NIC, neighbours []netip.Prefix) {
	if len(n.Tunnels) > 0 {
		ns.Sysctls["net.ipv4.ip_forward"] = "1"
	}
	var own, given []Route // for what the NIC and its tunnels send, and for what is given to it
	back := map[netip.Prefix]bool{}
	for _, t := range n.Tunnels {
		dev := TunnelInterface(t.Name)
		d := TunnelDevice{Interface: dev}
		if t.Addr.IsValid() {
			d.Addrs = []netip.Prefix{t.Addr}
		}
		ns.Tunnels = append(ns.Tunnels, d)
		for _, p := range t.Prefixes {
			if slices.ContainsFunc(neighbours, func(near netip.Prefix) bool { return covers(near, p) }) {
				continue
			}
			r := Route{Type: "unicast", Dst: p.Masked(), Dev: dev, Src: n.Addrs[0]}
			given = append(given, r)
			if forced(p) {
				continue
			}
			own = append(own, r)
			for _, near := range neighbours {
				if near = near.Masked(); covers(p, near) && !back[near] {
					back[near] = true
					own = append(own, Route{Type: "unicast", Dst: near, Via: Gateway, Dev: GuestInterface, Src: n.Addrs[0]})
				}
			}
		}
	}
	ns.Routes = append(ns.Routes, own...)
	if !slices.ContainsFunc(given, func(r Route) bool { return forced(r.Dst) }) {
		return
	}
	for _, near := range neighbours {
		given = append(given, Route{Type: "unicast", Dst: near.Masked(), Via: Gateway, Dev: GuestInterface})
	}
	for _, r := range given {
		r.Table = forwardedTable
		ns.Routes = append(ns.Routes, r)
	}
	ns.Rules = append(ns.Rules, PolicyRule{Priority: preferTables, IIF: GuestInterface, Table: forwardedTable})
}

// tunnels checks that devices are told apart and each prefix has one way.
func (v *validator) tunnels(n *NIC) error {
	ways := map[netip.Prefix]string{}
	for _, t := range n.Tunnels {
		if !n.Forwarding || n.Kind != Guest {
			return invalid(n.ID, "tunnel %s needs a forwarding interface", t.Name)
		}
		if err := v.name(TunnelInterface(t.Name), n.ID+" tunnel "+t.Name); err != nil {
			return err
		}
		for _, p := range t.Prefixes {
			if !p.IsValid() || !p.Addr().Is4() {
				return invalid(n.ID, "tunnel %s: %s is no IPv4 prefix", t.Name, p)
			}
			if other, taken := ways[p.Masked()]; taken {
				return invalid(n.ID, "%s lies behind the tunnels %s and %s", p, other, t.Name)
			}
			ways[p.Masked()] = t.Name
		}
	}
	return nil
}
