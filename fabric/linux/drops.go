package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vauban.dev/fabric"
	"vauban.dev/internal/clock"
)

// Drop is one packet that a rule refused.
type Drop struct {
	Time      time.Time
	Namespace string         // fabric.RouterNS of the VNet, or fabric.InternetNS
	Rule      fabric.RuleRef // zero when Prefix is of no rule that is applied now
	Prefix    string         // as it was logged: the rule's counter
	Protocol  fabric.Protocol
	Src, Dst  netip.AddrPort // ports are 0 for what has none
	// Lost is how many drops were not reported between the previous one and this one, because the
	// reader was slow. Rules count packets whether they are reported or not.
	Lost uint64

	id uint16 // the packet's IPv4 identification
}

// dropQueue is how many drops wait for a slow reader.
const dropQueue = 1024

// Drops reports the packets that rules refuse from now on, in all namespaces, also those that a
// later Apply makes. A reader that is too slow loses drops (see Drop.Lost) and never holds up the network. The
// channel is closed when ctx ends or the Driver is closed.
func (d *Driver) Drops(ctx context.Context) <-chan Drop { return d.logged(ctx, fabric.LogGroup) }

// Passed is Drops for the first packets of flows that firewalls let through (fabric.PassGroup): Prefix is the counter
// name of the rule, of which Rule says nothing.
func (d *Driver) Passed(ctx context.Context) <-chan Drop { return d.logged(ctx, fabric.PassGroup) }

func (d *Driver) logged(ctx context.Context, group uint16) <-chan Drop {
	out := make(chan Drop, dropQueue)
	sub := &subscriber{out: out, group: group}
	d.taps.subscribe(sub)
	context.AfterFunc(ctx, func() { d.taps.unsubscribe(sub) })
	d.applying.Lock()
	defer d.applying.Unlock()
	if err := d.taps.follow(d); err != nil {
		d.log.Error("dropped packets are not reported", "error", err)
	}
	return out
}

type subscriber struct {
	group uint16
	out   chan Drop
	lost  atomic.Uint64
}

// taps are the readers of dropped packets: one a namespace (the kernel gives a log group to one socket),
// as long as anybody subscribes.
type taps struct {
	clock clock.Clock

	mu      sync.Mutex
	subs    map[*subscriber]bool
	readers map[string]*tap
}

// follow makes the readers match the namespaces that have rules. The caller holds d.applying.
func (t *taps) follow(d *Driver) error {
	var errs []error
	for _, name := range d.names() {
		s := d.space(name)
		if s.has == nil || len(s.has.Objects) == 0 {
			continue
		}
		if err := t.open(d, s); err != nil {
			errs = append(errs, fmt.Errorf("dropped packets of %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (t *taps) open(d *Driver, s *space) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.subs) == 0 || t.readers[s.name] != nil {
		return nil
	}
	var r *tap
	err := d.enter(s.fd, func() (err error) {
		r, err = newTap()
		return err
	})
	if err != nil {
		return err
	}
	if t.readers == nil {
		t.readers = map[string]*tap{}
	}
	t.readers[s.name] = r
	go r.run(func(p packet) { t.deliver(d, s.name, p) })
	return nil
}

func (t *taps) deliver(d *Driver, name string, p packet) {
	drop := Drop{Time: t.clock.Now(), Namespace: name, Prefix: p.prefix, Protocol: p.protocol, Src: p.src, Dst: p.dst, id: p.id}
	if refs := d.refs.Load(); refs != nil {
		drop.Rule = (*refs)[p.prefix]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subs {
		if s.group != p.group {
			continue
		}
		s.lost.Add(p.lost)
		drop.Lost = s.lost.Load()
		select {
		case s.out <- drop:
			s.lost.Store(0)
		default:
			s.lost.Add(1)
		}
	}
}

func (t *taps) subscribe(s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subs == nil {
		t.subs = map[*subscriber]bool{}
	}
	t.subs[s] = true
}

func (t *taps) unsubscribe(s *subscriber) {
	t.mu.Lock()
	if !t.subs[s] {
		t.mu.Unlock()
		return
	}
	delete(t.subs, s)
	close(s.out)
	var idle []*tap
	if len(t.subs) == 0 {
		idle = t.takeReaders()
	}
	t.mu.Unlock()
	stop(idle)
}

// takeReaders is called with t.mu held; the caller stops them after it has let go.
func (t *taps) takeReaders() []*tap {
	var list []*tap
	for _, r := range t.readers {
		list = append(list, r)
	}
	t.readers = nil
	return list
}

// close ends the reader of a namespace.
func (t *taps) close(name string) {
	t.mu.Lock()
	r := t.readers[name]
	delete(t.readers, name)
	t.mu.Unlock()
	if r != nil {
		stop([]*tap{r})
	}
}

func (t *taps) closeAll() {
	t.mu.Lock()
	list := t.takeReaders()
	for s := range t.subs {
		close(s.out)
	}
	t.subs = nil
	t.mu.Unlock()
	stop(list)
}

// stop waits for readers to end; it must not be called with the mutex that they deliver under.
func stop(list []*tap) {
	for _, r := range list {
		if err := r.conn.Close(); err == nil || errors.Is(err, os.ErrClosed) {
			<-r.done
		}
	}
}
