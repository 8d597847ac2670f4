package linux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

const (
	addrA = "10.0.0.4"
	addrB = "10.0.0.5"
	addrC = "10.0.1.4"
)

func TestApplyTwiceChangesNothing(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, handState([]string{addrA, addrB}, "tcp dport 80 accept"))
	before, gen := dump(t, d), d.space(fabric.RouterNS("v")).gen

	apply(t, d, handState([]string{addrA, addrB}, "tcp dport 80 accept"))
	if now := d.space(fabric.RouterNS("v")).gen; now != gen {
		t.Errorf("the rules were loaded again: generation %d, was %d", now, gen)
	}
	// A driver that knows nothing reads everything back and finds nothing to do.
	other := newTestDriver(t, Config{NetnsDir: d.dir})
	apply(t, other, handState([]string{addrA, addrB}, "tcp dport 80 accept"))
	if now := other.space(fabric.RouterNS("v")).gen; now != gen {
		t.Errorf("a new driver loaded the rules again: generation %d, was %d", now, gen)
	}
	if diff := cmp.Diff(before, dump(t, other)); diff != "" {
		t.Error(diff)
	}
}

// Whatever was applied before, applying a state gives the same kernel.
func TestApplyFromAnywhere(t *testing.T) {
	want := handState([]string{addrA, addrB}, "tcp dport 80 accept", "udp dport 53 accept")
	ref := newTestDriver(t, Config{})
	apply(t, ref, want)
	golden := dump(t, ref)
	for name, before := range map[string]*fabric.State{
		"nothing":      {},
		"fewer NICs":   handState([]string{addrA}),
		"more NICs":    handState([]string{addrA, addrB, addrC}, "accept"),
		"others":       handState([]string{addrC}, "tcp dport 80 accept"),
		"no rules":     oneSpace(),
		"other chains": oneSpace(chain("x", "accept"), baseChain("forward", "input", "goto x")),
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDriver(t, Config{})
			apply(t, d, before)
			apply(t, d, want)
			if diff := cmp.Diff(golden, dump(t, d)); diff != "" {
				t.Error(diff)
			}
			apply(t, d, &fabric.State{})
			left, err := os.ReadDir(d.dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}

// fuse is a context that ends after its error was asked for n times: a crash at any step.
type fuse struct {
	context.Context
	left atomic.Int64
}

func (f *fuse) Err() error {
	if f.left.Add(-1) < 0 {
		return context.Canceled
	}
	return f.Context.Err()
}

func TestCrashAnywhereIsRepaired(t *testing.T) {
	first := handState([]string{addrA, addrC}, "tcp dport 80 accept")
	want := handState([]string{addrA, addrB}, "tcp dport 80 accept", "udp dport 53 accept")
	ref := newTestDriver(t, Config{})
	apply(t, ref, want)
	golden := dump(t, ref)
	for n := int64(0); ; n++ {
		d := newTestDriver(t, Config{})
		apply(t, d, first)
		f := &fuse{Context: t.Context()}
		f.left.Store(n)
		err := d.Apply(f, want)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		fresh := newTestDriver(t, Config{NetnsDir: d.dir})
		apply(t, fresh, want)
		if diff := cmp.Diff(golden, dump(t, fresh)); diff != "" {
			t.Fatalf("after a crash at step %d: %s", n, diff)
		}
		if err == nil {
			return
		}
	}
}

// Damage from outside is found and repaired by the next Apply, or at the latest by a new driver's.
func TestDamageIsRepaired(t *testing.T) {
	want := handState([]string{addrA, addrB}, "tcp dport 80 accept")
	r := fabric.RouterNS("v")
	inRouter := func(f func(h *netlink.Handle) error) func(*testing.T, *Driver) {
		return func(t *testing.T, d *Driver) {
			h, err := d.handle(d.space(r))
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if err := f(h); err != nil {
				t.Fatal(err)
			}
		}
	}
	nft := func(text string) func(*testing.T, *Driver) {
		return func(t *testing.T, d *Driver) {
			if _, err := d.runNFT(t.Context(), d.space(r), text, "-f", "-"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*testing.T, *Driver)
		fresh  bool // found by a driver without memory only
	}{
		{"pair deleted", inRouter(func(h *netlink.Handle) error { return deleteLink(h, fabric.NICNS(addrA)) }), false},
		{"interface down", inRouter(func(h *netlink.Handle) error {
			l, err := h.LinkByName(fabric.NICNS(addrA))
			if err != nil {
				return err
			}
			return h.LinkSetDown(l)
		}), false},
		{"foreign interface", inRouter(func(h *netlink.Handle) error {
			return h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "x"}, PeerName: "y"})
		}), false},
		{"unmarked pair", inRouter(func(h *netlink.Handle) error {
			l, err := h.LinkByName(fabric.NICNS(addrA))
			if err != nil {
				return err
			}
			return h.LinkSetAlias(l, "half")
		}), false},
		{"routes gone", inRouter(func(h *netlink.Handle) error {
			have, err := listRoutes(h)
			for _, r := range have {
				err = errors.Join(err, h.RouteDel(r.netlink()))
			}
			return err
		}), true},
		{"policy rules gone", inRouter(func(h *netlink.Handle) error {
			return policyRules(h, &desired{})
		}), true},
		{"addresses exchanged", inRouter(func(h *netlink.Handle) error {
			l, err := h.LinkByName(loopback)
			if err != nil {
				return err
			}
			return setAddresses(h, l, nil)
		}), true},
		{"rule added to a base chain", nft("insert rule " + table + " forward accept\n"), false},
		{"rule added", func(t *testing.T, d *Driver) {
			nft("insert rule "+table+" "+stagedName(t, d, r, "allow")+" accept\n")(t, d)
		}, false},
		{"table gone", nft("delete table " + table + "\n"), false},
		{"gate left closed", func(t *testing.T, d *Driver) {
			if err := d.closeGate(t.Context(), d.space(r)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"namespace unbound", func(t *testing.T, d *Driver) {
			if err := d.unbind(fabric.NICNS(addrA)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"namespace not bound yet", func(t *testing.T, d *Driver) {
			if err := unix.Unmount(filepath.Join(d.dir, r), unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newTestDriver(t, Config{})
			apply(t, d, want)
			golden := dump(t, d)
			c.damage(t, d)
			if c.fresh {
				d = newTestDriver(t, Config{NetnsDir: d.dir})
			}
			apply(t, d, want)
			if diff := cmp.Diff(golden, dump(t, d)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A namespace that somebody else made is neither taken over nor removed.
func TestForeignNamespace(t *testing.T) {
	d := newTestDriver(t, Config{})
	for _, name := range []string{"foreign", fabric.RouterNS("v")} {
		path := filepath.Join(d.dir, name)
		if err := os.WriteFile(path, nil, 0o444); err != nil {
			t.Fatal(err)
		}
		err := d.enter(d.home, func() error {
			return errors.Join(unix.Unshare(unix.CLONE_NEWNET), unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""))
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	if err := d.Apply(t.Context(), handState([]string{addrA})); err == nil {
		t.Error("a foreign namespace was taken over")
	}
	if err := d.CleanUp(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"foreign", fabric.RouterNS("v")} {
		if _, err := os.Stat(filepath.Join(d.dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestBadStates(t *testing.T) {
	d := newTestDriver(t, Config{})
	good := func() *fabric.State { return handState([]string{addrA}) }
	for name, spoil := range map[string]func(*fabric.State){
		"namespace twice":   func(s *fabric.State) { s.Namespaces = append(s.Namespaces, s.Namespaces[0]) },
		"unknown namespace": func(s *fabric.State) { s.Veths[0].A.Namespace = "nowhere" },
		"long interface":    func(s *fabric.State) { s.Veths[0].A.Interface = "a-name-of-16-byt" },
		"no hardware addr":  func(s *fabric.State) { s.Veths[0].MACB = "" },
		"end twice":         func(s *fabric.State) { s.Veths = append(s.Veths, s.Veths[0]) },
	} {
		s := good()
		s.Veths = slices.Clone(s.Veths)
		spoil(s)
		if err := d.Apply(t.Context(), s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
