package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// transactionSize is how much one transaction may hold. The nft program sends it in one message, which
// the kernel takes up to the socket's send buffer: twice net.core.wmem_max (208 KiB unless changed) where the program
// may not exceed it, as in a user namespace.
const transactionSize = 300_000

// errTooLong is the kernel's EMSGSIZE through nft.
var errTooLong = errors.New("the transaction is too long for a netlink message")

// gate is a table of its own that refuses everything: it stands while the table is not what was loaded.
const gate = "inet " + fabric.TableName + "_gate"

// runNFT runs nft inside a namespace.
func (d *Driver) runNFT(ctx context.Context, s *space, stdin string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := d.enter(s.fd, func() error {
		// The child inherits the network namespace of the thread that starts it.
		cmd := exec.CommandContext(ctx, d.nft, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
		cmd.Env = []string{"LC_ALL=C"}
		return cmd.Run()
	})
	if err == nil {
		return stdout.String(), nil
	}
	msg := stderr.String()
	if strings.Contains(msg, "Message too long") {
		return "", errTooLong
	}
	return "", fmt.Errorf("nft in %s: %w: %.2000s", s.name, err, strings.TrimSpace(msg))
}

// transact runs statements in one transaction.
func (d *Driver) transact(ctx context.Context, s *space, sts []statement) error {
	if len(sts) == 0 {
		return nil
	}
	var b strings.Builder
	for _, st := range sts {
		b.WriteString(st.text())
		b.WriteByte('\n')
	}
	_, err := d.runNFT(ctx, s, b.String(), "-f", "-")
	return err
}

// inPieces runs statements that need not be atomic, in order, in transactions that fit.
func (d *Driver) inPieces(ctx context.Context, s *space, sts []statement) error {
	for len(sts) > 0 {
		n, size := 0, 0
		for n < len(sts) && (n == 0 || size+sts[n].size <= transactionSize) {
			size += sts[n].size
			n++
		}
		if err := d.halve(ctx, s, sts[:n]); err != nil {
			return err
		}
		sts = sts[n:]
	}
	return nil
}

// halve runs statements, in two transactions if one is too long after all.
func (d *Driver) halve(ctx context.Context, s *space, sts []statement) error {
	err := d.transact(ctx, s, sts)
	if !errors.Is(err, errTooLong) || len(sts) < 2 {
		return err
	}
	if err := d.halve(ctx, s, sts[:len(sts)/2]); err != nil {
		return err
	}
	return d.halve(ctx, s, sts[len(sts)/2:])
}

// execute carries a plan out. Preparing and flipping are separate transactions because the kernel makes
// new sets readable, step by step, after it has made new rules the law. Where there is no law yet, they
// may as well be one.
func (d *Driver) execute(ctx context.Context, s *space, p plan) error {
	if !p.live && total(p.prepare)+total(p.flip) <= transactionSize {
		p.flip, p.prepare = append(p.prepare, p.flip...), nil
	}
	if err := d.inPieces(ctx, s, p.prepare); err != nil {
		return err
	}
	if err := d.transact(ctx, s, p.flip); err != nil {
		return err
	}
	if len(p.collect) == 0 {
		return nil
	}
	gracePeriod()
	return d.inPieces(ctx, s, p.collect)
}

// gracePeriod waits until no packet is on its way through rules that were replaced before the call:
// membarrier(2) returns after an RCU grace period. Where the kernel refuses it, a packet that was held up for as
// long as nft takes to start may meet a chain that is being deleted.
func gracePeriod() {
	const membarrierGlobal = 1
	unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

func total(sts []statement) int {
	n := 0
	for _, st := range sts {
		n += st.size
	}
	return n
}

// closeGate refuses every packet of a namespace, whatever its other tables say.
func (d *Driver) closeGate(ctx context.Context, s *space) error {
	var b strings.Builder
	fmt.Fprintf(&b, "add table %s\n", gate)
	for _, hook := range []string{"prerouting", "input", "forward", "output"} {
		fmt.Fprintf(&b, "add chain %s %s { type filter hook %s priority -350; policy drop; }\n", gate, hook, hook)
	}
	_, err := d.runNFT(ctx, s, b.String(), "-f", "-")
	return err
}

// deleteTable deletes a table if it exists.
func (d *Driver) deleteTable(ctx context.Context, s *space, name string) error {
	_, err := d.runNFT(ctx, s, "add table "+name+"\ndelete table "+name+"\n", "-f", "-")
	return err
}

// tables lists the names of the tables of a namespace, with their families.
func (d *Driver) tables(s *space) (map[string]bool, error) {
	m := map[string]bool{}
	err := d.netfilter(s.fd, func(c *nftables.Conn) error {
		list, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
		for _, t := range list {
			m["inet "+t.Name] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables of %s: %w", s.name, err)
	}
	return m, nil
}

// netfilter runs f with a connection to the nftables of a namespace.
func (d *Driver) netfilter(ns *os.File, f func(*nftables.Conn) error) error {
	return d.enter(ns, func() error {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return err
		}
		return errors.Join(f(c), c.CloseLasting())
	})
}

// list reads the table back; an absent table is an empty ruleset. known is what was read before, or nil.
func (d *Driver) list(ctx context.Context, s *space, known ruleset) (ruleset, error) {
	tables, err := d.tables(s)
	if err != nil || !tables[table] {
		return ruleset{}, err
	}
	out, err := d.runNFT(ctx, s, "", "-s", "-n", "-y", "list", "table", "inet", fabric.TableName)
	if err != nil {
		return nil, err
	}
	objects, err := parseListing(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	rs, err := newRuleset(objects, known)
	if err != nil {
		return nil, fmt.Errorf("%s: read back: %w", s.name, err)
	}
	return rs, nil
}

// MismatchError says that the kernel holds other rules than were loaded. The namespace refuses all
// traffic from then on, until an Apply succeeds.
type MismatchError struct {
	Namespace  string
	Difference string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the rules of namespace %s are not what was loaded: %s", e.Namespace, e.Difference)
}

// loadRules brings the table of a namespace to what is desired and reads it back.
func (d *Driver) loadRules(ctx context.Context, s *space, want *desired) error {
	gen, err := d.generation(s)
	if err != nil {
		return err
	}
	if s.rules != nil && s.gen == gen && want.rules.equal(s.rules) {
		return nil
	}
	have := s.rules
	s.rules = nil
	if have == nil || s.gen != gen {
		if have, err = d.list(ctx, s, nil); err != nil {
			return err
		}
	}
	if want.rules.equal(have) {
		return d.settle(ctx, s, have)
	}
	back, err := d.change(ctx, s, have, gen, want)
	if err != nil {
		return fmt.Errorf("load the rules of %s: %w", s.name, err)
	}
	if diff := difference(want.rules, back); diff != "" {
		return errors.Join(&MismatchError{s.name, diff}, d.closeGate(ctx, s))
	}
	return d.settle(ctx, s, back)
}

// change makes the table of a namespace what is desired, and returns what the kernel then holds. have is what it
// holds, of generation gen or later.
func (d *Driver) change(ctx context.Context, s *space, have ruleset, gen uint32, want *desired) (ruleset, error) {
	if len(want.rules) == 0 {
		return ruleset{}, d.deleteTable(ctx, s, table)
	}
	p, ok := newPlan(have, want.rules, want.staged)
	if direct := newDirect(p); ok && p.live && direct != nil {
		err := d.changeDirectly(s, direct, gen)
		if err == nil {
			return want.rules, nil // what changed was read, and the rest was before
		}
		d.log.Warn("rules are loaded again by nft", "namespace", s.name, "reason", err)
		if have, err = d.list(ctx, s, have); err != nil {
			return nil, err
		}
		p, ok = newPlan(have, want.rules, want.staged)
	}
	if !ok {
		d.log.Warn("rules were changed from outside: traffic is refused while they are loaded again", "namespace", s.name)
		if err := errors.Join(d.closeGate(ctx, s), d.deleteTable(ctx, s, table)); err != nil {
			return nil, err
		}
		p, _ = newPlan(nil, want.rules, want.staged)
	}
	p.prepare = append([]statement{{verb: addTable, size: objectSize}}, p.prepare...)
	if err := d.execute(ctx, s, p); err != nil {
		return nil, err
	}
	return d.list(ctx, s, have)
}

// settle opens the gate and remembers what the kernel holds.
func (d *Driver) settle(ctx context.Context, s *space, rs ruleset) error {
	tables, err := d.tables(s)
	if err != nil {
		return err
	}
	if tables[gate] {
		if err := d.deleteTable(ctx, s, gate); err != nil {
			return err
		}
	}
	gen, err := d.generation(s)
	if err != nil {
		return err
	}
	s.rules, s.gen = rs, gen
	return nil
}

// Verify reads every table back and compares it with what was applied last. A difference is a
// *MismatchError, and the namespace refuses all traffic until an Apply succeeds. Tables that were never
// applied by this Driver are not looked at.
func (d *Driver) Verify(ctx context.Context) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	var errs []error
	for _, name := range d.names() {
		s := d.space(name)
		if s.has == nil || len(s.has.Objects) == 0 {
			continue
		}
		back, err := d.list(ctx, s, nil)
		if err != nil {
			return err
		}
		if diff := difference(s.has.rules, back); diff != "" {
			s.has, s.rules = nil, nil
			errs = append(errs, &MismatchError{name, diff}, d.closeGate(ctx, s))
		}
	}
	return errors.Join(errs...)
}
