package fabric

import "net/netip"

// Tunnel is a device in the namespace of a forwarding NIC whose other end a process holds: a WireGuard
// peer, a private circuit. Packets for Prefixes that reach the NIC leave by it.
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

// tunnels adds the NIC's devices and the routes into them to its namespace.
func (ns *Namespace) tunnels(n *NIC) {
	if len(n.Tunnels) > 0 {
		ns.Sysctls["net.ipv4.ip_forward"] = "1"
	}
	for _, t := range n.Tunnels {
		dev := TunnelInterface(t.Name)
		d := TunnelDevice{Interface: dev}
		if t.Addr.IsValid() {
			d.Addrs = []netip.Prefix{t.Addr}
		}
		ns.Tunnels = append(ns.Tunnels, d)
		for _, p := range t.Prefixes {
			ns.Routes = append(ns.Routes, Route{Type: "unicast", Dst: p.Masked(), Dev: dev, Src: n.Addrs[0]})
		}
	}
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
