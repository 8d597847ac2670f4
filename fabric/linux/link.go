package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const loopback = "lo"

// pairMark is the alias of end A. It names the other end and the namespace that it was made in, so a pair
// whose other end went away or stands somewhere else is known without asking there.
func pairMark(e end, peer *space) string {
	return fmt.Sprintf("%s %s/%s@%d", ours, e.Peer.Namespace, e.Peer.Interface, peer.inode)
}

// links reads the interfaces of a namespace by name, without those that the kernel gives it.
func links(h *netlink.Handle) (map[string]netlink.Link, error) {
	list, err := retryDump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	m := make(map[string]netlink.Link, len(list))
	for _, l := range list {
		if l.Attrs().Name != loopback && !builtIn(l) {
			m[l.Attrs().Name] = l
		}
	}
	return m, nil
}

// retryDump repeats a dump that a change in the kernel interrupted.
func retryDump[T any](dump func() ([]T, error)) ([]T, error) {
	const attempts = 5
	var err error
	for range attempts {
		var list []T
		if list, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return nil, err
}

// doomed is the interface group of links that are being deleted.
const doomed = 0xdead

// pruneLinks deletes the interfaces that are not desired and the pairs that are not what they should
// be. Deleting one end deletes the other. It deletes all of them at once: the kernel waits for every
// processor after each deletion, some 20 ms for one pair and the same for a thousand.
func (d *Driver) pruneLinks(s *space, want *desired) error {
	h, err := d.handle(s)
	if err != nil {
		return err
	}
	defer h.Close()
	have, err := links(h)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, e := range want.Ends {
		if l := have[e.Interface]; l != nil && d.isPair(l, e) {
			delete(have, e.Interface)
		}
	}
	for _, t := range want.Tunnels {
		if l := have[t.Interface]; l != nil && isTunnel(l) {
			delete(have, t.Interface)
		}
	}
	if len(have) == 0 {
		return nil
	}
	for name, l := range have {
		if err := h.LinkSetGroup(l, doomed); err != nil && !gone(err) {
			return fmt.Errorf("interface %s of %s: %w", name, s.name, err)
		}
	}
	if err := d.enter(s.fd, deleteDoomed); err != nil {
		return fmt.Errorf("delete interfaces of %s: %w", s.name, err)
	}
	return nil
}

// builtIn tells whether an interface is one that the kernel gives each namespace where a tunnel's module is
// loaded: it cannot be deleted.
func builtIn(l netlink.Link) bool {
	switch l.Attrs().Name {
	case "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0":
		return true
	}
	return false
}

// deleteDoomed deletes the group in the namespace of the calling thread.
func deleteDoomed() error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !gone(err) {
		return err
	}
	return nil
}

func up(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }

// isPair tells whether l is the end e of the desired pair.
func (d *Driver) isPair(l netlink.Link, e end) bool {
	if l.Type() != "veth" || l.Attrs().HardwareAddr.String() != strings.ToLower(e.MAC) {
		return false
	}
	if !e.Outer {
		return true
	}
	peer := d.space(e.Peer.Namespace)
	return peer != nil && l.Attrs().Alias == pairMark(e, peer)
}

// makePairs makes the missing pairs whose end A is in s.
func (d *Driver) makePairs(s *space, want *desired) error {
	h, err := d.handle(s)
	if err != nil {
		return err
	}
	defer h.Close()
	have, err := links(h)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, e := range want.Ends {
		if !e.Outer || have[e.Interface] != nil {
			continue
		}
		if err := d.makePair(h, s, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) makePair(h *netlink.Handle, s *space, e end) error {
	peer := d.space(e.Peer.Namespace)
	if peer == nil {
		return fmt.Errorf("%s: %w", e.Peer.Namespace, ErrNoNamespace)
	}
	// Whatever has the other end's name is not this pair.
	ph, err := d.handle(peer)
	if err != nil {
		return err
	}
	defer ph.Close()
	if err := deleteLink(ph, e.Peer.Interface); err != nil {
		return fmt.Errorf("delete interface %s of %s: %w", e.Peer.Interface, peer.name, err)
	}
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		return err
	}
	// One queue for each end: without one a pair has as many as the machine has processors, each with its ring and its
	// files in sysfs. A pair's driver hands packets to the other end without a queue, so more of them speed nothing up.
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: e.Interface, HardwareAddr: mac, TxQLen: -1, NumTxQueues: 1, NumRxQueues: 1},
		PeerName:      e.Peer.Interface,
		PeerNamespace: netlink.NsFd(peer.fd.Fd()),
		PeerTxQLen:    -1,
	}
	if veth.PeerHardwareAddr, err = net.ParseMAC(e.PeerMAC); err != nil {
		return err
	}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("create pair %s/%s to %s/%s: %w", s.name, e.Interface, peer.name, e.Peer.Interface, err)
	}
	l, err := h.LinkByName(e.Interface)
	if err != nil {
		return fmt.Errorf("read interface %s of %s: %w", e.Interface, s.name, err)
	}
	// The mark comes last: a pair that lacks it is made again.
	if err := h.LinkSetAlias(l, pairMark(e, peer)); err != nil {
		return fmt.Errorf("mark interface %s of %s: %w", e.Interface, s.name, err)
	}
	return nil
}

func deleteLink(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.LinkDel(l); err != nil && !gone(err) {
		return err
	}
	return nil
}

// addresses makes the addresses of every interface what they should be, and sets the interfaces up.
func addresses(h *netlink.Handle, want *desired) error {
	byName := map[string][]netip.Prefix{loopback: want.Addrs}
	for _, e := range want.Ends {
		byName[e.Interface] = e.Addrs
	}
	for _, t := range want.Tunnels {
		byName[t.Interface] = t.Addrs
	}
	for name, addrs := range byName {
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("interface %s of %s: %w", name, want.Name, err)
		}
		if err := setAddresses(h, l, addrs); err != nil {
			return fmt.Errorf("addresses of %s of %s: %w", name, want.Name, err)
		}
		if !up(l) {
			if err := h.LinkSetUp(l); err != nil {
				return fmt.Errorf("set up %s of %s: %w", name, want.Name, err)
			}
		}
	}
	return nil
}

// setAddresses never touches an address that stays, except that the kernel deletes a subnet's other
// addresses with its first one: so what is missing is looked up after deleting.
func setAddresses(h *netlink.Handle, l netlink.Link, want []netip.Prefix) error {
	have, err := listAddresses(h, l)
	if err != nil {
		return err
	}
	wanted := make(map[netip.Prefix]bool, len(want))
	for _, p := range want {
		wanted[p] = true
	}
	deleted := false
	for p, a := range have {
		if wanted[p] {
			continue
		}
		if err := h.AddrDel(l, &a); err != nil && !gone(err) {
			return fmt.Errorf("delete %s: %w", p, err)
		}
		deleted = true
	}
	if deleted {
		if have, err = listAddresses(h, l); err != nil {
			return err
		}
	}
	for _, p := range want {
		if _, ok := have[p]; ok {
			continue
		}
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add %s: %w", p, err)
		}
	}
	return nil
}

// listAddresses leaves out what the kernel gives an interface by itself.
func listAddresses(h *netlink.Handle, l netlink.Link) (map[netip.Prefix]netlink.Addr, error) {
	list, err := retryDump(func() ([]netlink.Addr, error) { return h.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	m := make(map[netip.Prefix]netlink.Addr, len(list))
	for _, a := range list {
		p, ok := prefix(a.IPNet)
		if !ok || p.Addr().IsLoopback() || (p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			continue
		}
		m[p] = a
	}
	return m, nil
}

// ipNet keeps the host bits of p.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	a = a.Unmap()
	if bits == 128 && a.Is4() {
		ones -= 96
	}
	return netip.PrefixFrom(a, ones), true
}
