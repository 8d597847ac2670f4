package linux

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// tunnelFlags are those that a device is made and attached with: packets without a header of their own
// but the kernel's for offloading, which WireGuard's code uses.
const tunnelFlags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR

func isTunnel(l netlink.Link) bool { return l.Type() == "tuntap" }

// makeTunnels makes the missing TUN devices and sets them up. They persist, so that routes into them and
// flows through them outlive the process at the other end; what reaches one that nobody holds is dropped.
func (d *Driver) makeTunnels(s *space, want *desired) error {
	if len(want.Tunnels) == 0 {
		return nil
	}
	h, err := d.handle(s)
	if err != nil {
		return err
	}
	defer h.Close()
	have, err := links(h)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, t := range want.Tunnels {
		name := t.Interface
		if have[name] == nil {
			if err := d.enter(s.fd, func() error { return makeTunnel(name) }); err != nil {
				return fmt.Errorf("create tunnel %s of %s: %w", name, s.name, err)
			}
		}
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("read tunnel %s of %s: %w", name, s.name, err)
		}
		if l.Attrs().MTU != fabric.TunnelMTU {
			if err := h.LinkSetMTU(l, fabric.TunnelMTU); err != nil {
				return fmt.Errorf("size of tunnel %s of %s: %w", name, s.name, err)
			}
		}
		if !up(l) {
			if err := h.LinkSetUp(l); err != nil {
				return fmt.Errorf("set up tunnel %s of %s: %w", name, s.name, err)
			}
		}
	}
	return nil
}

// makeTunnel runs in the device's namespace. An owner keeps processes of others in it from attaching.
func makeTunnel(name string) error {
	f, err := attachTunnel(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETOWNER, os.Geteuid()); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	return nil
}

func attachTunnel(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(tunnelFlags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenTunnel takes the other end of a NIC's tunnel: what is read was sent into it, what is written comes
// out of it. Packets have a virtio header (IFF_VNET_HDR). Errors: ErrNoNamespace; an error that
// is fs.ErrNotExist where the state applied last has no such tunnel; unix.EBUSY while somebody holds it.
func (d *Driver) OpenTunnel(nic, tunnel string) (*os.File, error) {
	name := fabric.TunnelInterface(tunnel)
	var f *os.File
	err := d.Do(fabric.Place{Kind: fabric.AtNIC, ID: nic}, func() error {
		l, err := netlink.LinkByName(name) // TUNSETIFF would make a device that nobody asked for
		if err != nil || !isTunnel(l) {
			return os.ErrNotExist
		}
		f, err = attachTunnel(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tunnel %s of %s: %w", tunnel, nic, err)
	}
	return f, nil
}
