package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"vauban.dev/fabric"
)

// Apply makes the kernel hold the state: all of it, and of what a Driver makes nothing else. It is safe to repeat and
// repairs what a crash left half done. Applying a state again that is in place changes nothing, and a
// small difference touches only what differs: flows that are established are not judged again, and
// counters of rules that stay keep their values.
//
// Rules are in force before the interfaces that they judge, so what fails half-way is closed, not open. Listeners in
// namespaces that the state lacks are closed. The caller must not change s afterwards.
//
// Errors: *MismatchError where the kernel holds other rules than were loaded; that namespace then
// refuses all traffic. Any other error leaves the change incomplete: apply again.
func (d *Driver) Apply(ctx context.Context, s *fabric.State) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	want, err := collect(s)
	if err != nil {
		return err
	}
	for name, w := range want {
		if err := w.stage(d.known[name]); err != nil {
			return err
		}
	}
	d.known = want
	if err := d.discover(); err != nil {
		return err
	}
	if err := d.converge(ctx, want); err != nil {
		return fmt.Errorf("apply the network: %w", err)
	}
	refs := maps.Clone(s.Counters)
	d.refs.Store(&refs)
	return d.taps.follow(d)
}

// converge reads as the list of what is done, in order. Each step looks at what is there.
func (d *Driver) converge(ctx context.Context, want map[string]*desired) error {
	if err := d.removeSpaces(ctx, want); err != nil {
		return err
	}
	if err := d.makeSpaces(want); err != nil {
		return err
	}
	changed, err := d.changed(want)
	if err != nil {
		return err
	}
	for _, name := range changed {
		d.space(name).has = nil // unknown until all is done
	}
	steps := []func(context.Context, *space, *desired) error{
		func(_ context.Context, s *space, w *desired) error { return d.sysctls(s, w) },
		d.loadRules,
		func(_ context.Context, s *space, w *desired) error { return d.pruneLinks(s, w) },
		func(_ context.Context, s *space, w *desired) error { return d.makePairs(s, w) },
		func(_ context.Context, s *space, w *desired) error { return d.makeTunnels(s, w) },
		func(_ context.Context, s *space, w *desired) error { return d.route(s, w) },
	}
	for _, step := range steps {
		for _, name := range changed {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := step(ctx, d.space(name), want[name]); err != nil {
				return err
			}
		}
	}
	for _, name := range changed {
		d.space(name).has = want[name]
	}
	return nil
}

// route sets the addresses, routes and policy rules of a namespace.
func (d *Driver) route(s *space, want *desired) error {
	h, err := d.handle(s)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := addresses(h, want); err != nil {
		return err
	}
	return routing(h, want)
}

// makeSpaces makes the missing namespaces. One that stands under a wanted name and was made by someone
// else is not taken over.
func (d *Driver) makeSpaces(want map[string]*desired) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if d.space(name) != nil {
			continue
		}
		if f, err := d.open(name); err == nil {
			f.Close()
			return fmt.Errorf("network namespace %s exists and was not made by this driver", name)
		}
		s, err := d.create(name)
		if err != nil {
			return err
		}
		d.remember(s)
	}
	return nil
}

// removeSpaces deletes the namespaces that are not wanted: first their interfaces, so that processes
// and sockets that still hold a namespace are cut off with it.
func (d *Driver) removeSpaces(ctx context.Context, want map[string]*desired) error {
	var unwanted []*space
	inodes := map[uint64]bool{}
	for _, name := range d.names() {
		if want[name] == nil {
			s := d.space(name)
			unwanted, inodes[s.inode] = append(unwanted, s), true
		}
	}
	if len(unwanted) == 0 {
		return nil
	}
	if err := d.cutOff(want); err != nil {
		return err
	}
	if err := d.releaseIn(ctx, inodes); err != nil {
		return err
	}
	var errs []error
	for _, s := range unwanted {
		errs = append(errs, d.removeSpace(s))
	}
	return errors.Join(errs...)
}

// cutOff deletes the interfaces that are not wanted, where most of them are first: a router's take its guests'
// along.
func (d *Driver) cutOff(want map[string]*desired) error {
	type load struct {
		s     *space
		links int
	}
	var all []load
	for _, name := range d.names() {
		s := d.space(name)
		h, err := d.handle(s)
		if err != nil {
			return err
		}
		have, err := links(h)
		h.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, load{s, len(have)})
	}
	slices.SortFunc(all, func(a, b load) int {
		return cmp.Or(cmp.Compare(b.links, a.links), cmp.Compare(a.s.name, b.s.name))
	})
	for _, l := range all {
		w := want[l.s.name]
		if w == nil {
			w = &desired{}
		}
		if err := d.pruneLinks(l.s, w); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) removeSpace(s *space) error {
	d.taps.close(s.name)
	d.flows.closeOne(s.name)
	d.holders.closeOne(s.name)
	if err := d.unbind(s.name); err != nil {
		return err
	}
	d.forget(s.name)
	d.log.Debug("network namespace removed", "namespace", s.name)
	return nil
}

// changed lists the namespaces that do not hold what is wanted, by name. It trusts what was applied last,
// except for what the kernel tells at once: the generation of the rules, and the pairs. A pair that is
// to be made again concerns the namespaces of both its ends.
func (d *Driver) changed(want map[string]*desired) ([]string, error) {
	dirty := map[string]bool{}
	for name, w := range want {
		s := d.space(name)
		if s.has == nil || !s.has.same(w) {
			dirty[name] = true
		} else if len(w.Objects) > 0 {
			gen, err := d.generation(s)
			if err != nil {
				return nil, err
			}
			dirty[name] = s.rules == nil || gen != s.gen
		}
	}
	for name, w := range want {
		broken, err := d.brokenPairs(d.space(name), w)
		if err != nil {
			return nil, err
		}
		for _, e := range broken {
			dirty[name], dirty[e.Peer.Namespace] = true, true
		}
	}
	maps.DeleteFunc(dirty, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(dirty)), nil
}

// brokenPairs lists the ends A and tunnels of a namespace that are missing, down or not what they should be,
// and those that should not be there.
func (d *Driver) brokenPairs(s *space, want *desired) ([]end, error) {
	if len(want.Tunnels) == 0 && !slices.ContainsFunc(want.Ends, func(e end) bool { return e.Outer }) {
		return nil, nil
	}
	h, err := d.handle(s)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	have, err := links(h)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	var broken []end
	for _, e := range want.Ends {
		if l := have[e.Interface]; l == nil || !d.isPair(l, e) || !up(l) {
			broken = append(broken, e)
		}
		delete(have, e.Interface)
	}
	odd := func(name string) {
		here := fabric.End{Namespace: s.name, Interface: name}
		broken = append(broken, end{End: here, Peer: here})
	}
	for _, t := range want.Tunnels {
		if l := have[t.Interface]; l == nil || !isTunnel(l) || !up(l) {
			odd(t.Interface)
		}
		delete(have, t.Interface)
	}
	for name := range have {
		odd(name)
	}
	return broken, nil
}

// CleanUp removes every namespace that a Driver made in the configured folder, with its listeners: this
// process's driver or one that crashed. It goes on after an error and returns all of them.
func (d *Driver) CleanUp(ctx context.Context) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	if err := d.discover(); err != nil {
		return err
	}
	d.refs.Store(nil)
	return d.removeSpaces(ctx, nil)
}
