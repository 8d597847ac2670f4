package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// Learn puts addresses into a learned set (fabric.LearnedSet) of a place, or those that are there already
// back to the whole of their time, after which the kernel forgets them. A set that the state applied last does not
// have is no error. It fails with ErrNoNamespace.
func (d *Driver) Learn(at fabric.Place, set string, addrs []netip.Addr, keep time.Duration) error {
	if len(addrs) == 0 {
		return nil
	}
	ns, err := d.open(fabric.NSName(at))
	if err != nil {
		return err
	}
	defer ns.Close()
	s := &nftables.Set{
		Table: &nftables.Table{Name: fabric.TableName, Family: nftables.TableFamilyINet}, Name: set,
		KeyType: nftables.TypeIPAddr, HasTimeout: true,
	}
	elements := make([]nftables.SetElement, 0, len(addrs))
	for _, a := range addrs {
		elements = append(elements, nftables.SetElement{Key: a.AsSlice(), Timeout: keep})
	}
	err = d.netfilter(ns, func(c *nftables.Conn) error {
		// An element that exists keeps its old time when it is added: it goes and comes in one transaction.
		for _, step := range []func(*nftables.Set, []nftables.SetElement) error{c.SetAddElements, c.SetDeleteElements, c.SetAddElements} {
			if err := step(s, elements); err != nil {
				return err
			}
		}
		return c.Flush()
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("learn addresses of %s: %w", set, err)
	}
	return nil
}
