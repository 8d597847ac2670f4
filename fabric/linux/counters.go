package linux

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// Counters tells how many packets each refusing rule has dropped since its namespace was made, summed
// over all namespaces. It knows the rules of the state applied last: before the first Apply there are none.
func (d *Driver) Counters(ctx context.Context) (map[fabric.RuleRef]uint64, error) {
	out := map[fabric.RuleRef]uint64{}
	refs := d.refs.Load()
	if refs == nil {
		return out, nil
	}
	for _, name := range d.names() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ns, err := d.open(name)
		if errors.Is(err, ErrNoNamespace) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = d.netfilter(ns, func(c *nftables.Conn) error { return addCounters(c, *refs, out) })
		ns.Close()
		if err != nil {
			return nil, fmt.Errorf("counters of %s: %w", name, err)
		}
	}
	return out, nil
}

func addCounters(c *nftables.Conn, refs map[string]fabric.RuleRef, out map[fabric.RuleRef]uint64) error {
	objects, err := c.GetObjects(&nftables.Table{Name: fabric.TableName, Family: nftables.TableFamilyINet})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range objects {
		if counter, ok := o.(*nftables.CounterObj); ok {
			if ref, ok := refs[counter.Name]; ok {
				out[ref] += counter.Packets
			}
		}
	}
	return nil
}
