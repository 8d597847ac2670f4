// Package probe asks the backends of load balancers how they are, as Azure's health probes do: from
// 168.63.129.16, by the path and the rules of the backend's network. It remembers and tells; who balances by it
// compiles the answer into the network.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-custom-probe-overview
package probe

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"vauban.dev/fabric"
)

// Target is one backend that one probe asks. Equal targets are one.
type Target struct {
	VNet  string // id
	Probe fabric.Probe
	Addr  netip.Addr
}

// Dial connects from 168.63.129.16 in the router of a VNet. It gives up when ctx ends.
type Dial func(ctx context.Context, vnet string, to netip.AddrPort) (net.Conn, error)

// Prober asks its targets until it is closed. Its methods may be called from several goroutines.
type Prober struct {
	dial    Dial
	changed func() // a target's state has changed; it must not block

	mu      sync.Mutex
	targets map[Target]*target
	begun   bool
	closed  bool
	wg      sync.WaitGroup
}

// target is one under way.
type target struct {
	stop context.CancelFunc // nil before Start
	down bool
	row  int   // results in a row that are not down's
	last error // of the last connection
	seen bool  // it has been asked
}

// New returns a Prober without targets. Changed is called after a target has gone up or down.
func New(dial Dial, changed func()) *Prober {
	return &Prober{dial: dial, changed: changed, targets: map[Target]*target{}}
}

// Set makes these the targets; new ones are asked after the next Start. They are down until they answer; those
// of the first call are taken for healthy until they do not, since a server that begins finds backends that
// were asked before it.
func (p *Prober) Set(want []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	stay := map[Target]bool{}
	for _, t := range want {
		stay[t] = true
		if p.targets[t] == nil {
			p.targets[t] = &target{down: p.begun}
		}
	}
	p.begun = true
	for t, state := range p.targets {
		if !stay[t] {
			state.end()
			delete(p.targets, t)
		}
	}
}

// Start begins to ask the targets that are not asked yet: their network stands now.
func (p *Prober) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, state := range p.targets {
		if state.stop == nil {
			ctx, stop := context.WithCancel(context.Background())
			state.stop = stop
			p.wg.Go(func() { p.follow(ctx, t) })
		}
	}
}

func (t *target) end() {
	if t.stop != nil {
		t.stop()
	}
}

// Close ends all probing and returns when it has ended.
func (p *Prober) Close() {
	p.mu.Lock()
	p.closed = true
	for t, state := range p.targets {
		state.end()
		delete(p.targets, t)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Down tells whether the probe finds the backend unhealthy; what is no target is not. Ids are equal in any case.
func (p *Prober) Down(probe, vnet string, addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, state := range p.targets {
		if strings.EqualFold(t.Probe.ID, probe) && strings.EqualFold(t.VNet, vnet) && t.Addr == addr {
			return state.down
		}
	}
	return false
}

// Unhealthy are the targets that are down, in no order, and what the last connection came to; nil for those
// that were not asked yet.
func (p *Prober) Unhealthy() map[Target]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[Target]error{}
	for t, state := range p.targets {
		if state.down {
			out[t] = state.last
		}
	}
	return out
}

// follow asks one target, at once and then every interval, until ctx ends.
func (p *Prober) follow(ctx context.Context, t Target) {
	interval := t.Probe.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, min(interval, longest))
		err := p.ask(asking, t)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if p.note(t, err) {
			p.changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Azure's interval where none is given, and how long it waits for an answer at most.
const (
	defaultInterval = 15 * time.Second
	longest         = 30 * time.Second
)

// note counts a result and tells whether it changed the state. The first one decides by itself.
func (p *Prober) note(t Target, err error) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.targets[t]
	if state == nil {
		return false
	}
	first := !state.seen
	state.seen, state.last = true, err
	if (err != nil) == state.down {
		state.row = 0
		return false
	}
	if state.row++; state.row < t.Probe.Threshold && !first {
		return false
	}
	state.row, state.down = 0, err != nil
	return true
}
