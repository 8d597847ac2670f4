package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// OutsideTunnel makes a TUN device outside of the region, for the other end of a circuit: in a network
// namespace that is named as `ip netns` does, or by its path, or, with "", in the caller's own. addr is what it gets;
// none if it is not valid. The device lives as long as the descriptor. It needs CAP_NET_ADMIN there.
func OutsideTunnel(netns, name string, addr netip.Prefix) (*os.File, error) {
	if name == "" || len(name) > maxInterface {
		return nil, fmt.Errorf("interface name %q is not of 1 to %d bytes", name, maxInterface)
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		// A goroutine that ends while locked takes its thread with it, so nothing has to come home.
		runtime.LockOSThread()
		f, err := outsideTunnel(netns, name, addr)
		done <- result{f, err}
	}()
	r := <-done
	if errors.Is(r.err, fs.ErrPermission) {
		r.err = fmt.Errorf("%w: it needs root there", r.err)
	}
	return r.f, r.err
}

func outsideTunnel(netns, name string, addr netip.Prefix) (*os.File, error) {
	if netns != "" {
		if filepath.Base(netns) == netns {
			netns = filepath.Join("/run/netns", netns)
		}
		ns, err := os.Open(netns)
		if err != nil {
			return nil, fmt.Errorf("network namespace: %w", err)
		}
		defer ns.Close()
		if err := setns(ns); err != nil {
			return nil, fmt.Errorf("enter network namespace %s: %w", netns, err)
		}
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if _, err := h.LinkByName(name); err == nil {
		return nil, fmt.Errorf("interface %s: %w", name, fs.ErrExist)
	}
	f, err := attachTunnel(name)
	if err != nil {
		return nil, fmt.Errorf("create interface %s: %w", name, err)
	}
	if err := configureOutside(h, name, addr); err != nil {
		f.Close()
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return f, nil
}

func configureOutside(h *netlink.Handle, name string, addr netip.Prefix) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.LinkSetMTU(l, fabric.TunnelMTU); err != nil {
		return err
	}
	if addr.IsValid() {
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
			return err
		}
	}
	return h.LinkSetUp(l)
}
