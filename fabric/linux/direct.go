package linux

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// This file changes a table without the nft program, where every statement of the plan is one that encode.go knows: a
// change of a security group's rules. nft takes milliseconds to start and to list the table; the kernel takes the messages in
// microseconds. What was loaded is read back all the same.

// direct is a change as transactions.
type direct struct {
	prepare, flip, collect []*batch
	loaded                 *loaded
}

// newDirect encodes a plan. It returns nil for one that nft has to carry out.
func newDirect(p plan) *direct {
	d := &direct{loaded: newLoaded()}
	for _, part := range []struct {
		sts []statement
		one bool
		to  *[]*batch
	}{{p.prepare, false, &d.prepare}, {p.flip, true, &d.flip}, {p.collect, false, &d.collect}} {
		var err error
		if *part.to, err = batches(part.sts, part.one, d.loaded); err != nil {
			return nil
		}
	}
	if len(d.flip) == 1 && d.flip[0].size > batchSize {
		return nil
	}
	return d
}

// changeDirectly carries a change out that starts from the rules of a generation, and reads back what it loaded. After an
// error some of it may have been loaded.
func (d *Driver) changeDirectly(s *space, x *direct, generation uint32) error {
	if err := d.withNetfilter(s, x.run); err != nil {
		return err
	}
	now, err := d.generation(s)
	if want := generation + uint32(len(x.prepare)+len(x.flip)+len(x.collect)); err == nil && now != want {
		err = fmt.Errorf("generation %d of the rules, not %d: somebody else has changed them", now, want)
	}
	return err
}

// run reads back while packets that are under way leave the old rules, and then deletes those.
func (x *direct) run(c *netlink.Conn) error {
	for _, b := range slices.Concat(x.prepare, x.flip) {
		if err := b.commit(c); err != nil {
			return err
		}
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if len(x.collect) > 0 {
			gracePeriod()
		}
	}()
	diff, err := x.loaded.check(c)
	<-left
	if err == nil && diff != "" {
		err = errors.New(diff)
	}
	if err != nil {
		return err
	}
	for _, b := range x.collect {
		if err := b.commit(c); err != nil {
			return err
		}
	}
	return nil
}

// withNetfilter gives f a socket to the nftables of a namespace.
func (d *Driver) withNetfilter(s *space, f func(*netlink.Conn) error) error {
	var c *netlink.Conn
	err := d.enter(s.fd, func() (err error) {
		c, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return err
	}
	for _, size := range []func(int) error{c.SetWriteBuffer, c.SetReadBuffer} {
		if err := size(2 * batchSize); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return errors.Join(f(c), c.Close())
}
