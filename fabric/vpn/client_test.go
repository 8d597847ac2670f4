package vpn

import (
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// clientTUN makes a device in the namespace of the host.
func (r *rig) clientTUN(name string) (*os.File, error) {
	var f *os.File
	err := r.driver.Do(fabric.Place{Kind: fabric.AtHost, ID: site}, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		ifr, err := unix.NewIfreq(fabric.TunnelInterface(name))
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	})
	return f, err
}

// configure gives the device addresses and routes, as wg-quick does.
func (r *rig) configure(name string, addrs, routes []netip.Prefix) {
	r.Helper()
	err := r.driver.Do(fabric.Place{Kind: fabric.AtHost, ID: site}, func() error {
		l, err := netlink.LinkByName(fabric.TunnelInterface(name))
		if err != nil {
			return err
		}
		old, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, a := range old {
			if err := netlink.AddrDel(l, &a); err != nil {
				return err
			}
		}
		for _, a := range addrs {
			if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		for _, p := range routes {
			if err := netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(p)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
