package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"vauban.dev/fabric"
)

// ChangeResult is what MeasureChange found: the time from a topology to a kernel that holds it.
type ChangeResult struct {
	Load time.Duration // an NSG of 1,000 narrow rules put where none was, compiling included
	Rule time.Duration // one of its rules changed, the median
	Sent int           // datagrams of the flow that went through the router meanwhile
	Lost int
}

// changeRounds is how often a rule is changed.
const changeRounds = 9

// MeasureChange measures what a change of rules takes, under a flow that both old and new rules let through.
func MeasureChange(ctx context.Context) (r ChangeResult, err error) {
	nsg, tags, err := benchRules("narrow-1000")
	if err != nil {
		return r, err
	}
	err = withBenchDriver(ctx, func(d *Driver) error {
		c := fabric.NewCompiler()
		apply := func(nsg *fabric.NSG) (time.Duration, error) {
			start := time.Now()
			s, err := c.Compile(benchTopology(nsg, tags))
			if err != nil {
				return 0, err
			}
			err = d.Apply(ctx, s)
			return time.Since(start), err
		}
		open := &fabric.NSG{ID: nsg.ID}
		if _, err := apply(open); err != nil {
			return err
		}
		f, err := d.newDatagrams(ctx, "filtered")
		if err != nil {
			return err
		}
		if r.Load, err = apply(nsg); err != nil {
			return errors.Join(err, f.stop(&r))
		}
		var took []time.Duration
		for i := range changeRounds {
			one, err := apply(changed(nsg, i))
			if err != nil {
				return errors.Join(err, f.stop(&r))
			}
			took = append(took, one)
		}
		r.Rule = median(took)
		return f.stop(&r)
	})
	return r, err
}

// changed is the group with another port in one of its rules, another one in each round.
func changed(nsg *fabric.NSG, round int) *fabric.NSG {
	c := *nsg
	c.Rules = slices.Clone(nsg.Rules)
	c.Rules[100*(round+1)].DestinationPorts = []string{fmt.Sprint(20000 + round)}
	return &c
}

// CrowdResult is what MeasureCrowd found.
type CrowdResult struct {
	NICs   int
	Apply  time.Duration // from nothing to all NICs with their namespaces and rules
	Memory int64         // bytes of the kernel's own memory that they take
}

// MeasureCrowd measures how long a VNet with n NICs takes, each in a namespace of its own and under an NSG, and what
// memory the kernel has for it: no program's, this one's not either, but what others make the kernel take is in it.
func MeasureCrowd(ctx context.Context, n int) (r CrowdResult, err error) {
	v := fabric.VNet{ID: "crowd", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Subnets: []fabric.Subnet{{ID: "crowd/s", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, NSG: "bench", DefaultOutbound: true}}}
	for i := range n {
		v.NICs = append(v.NICs, fabric.NIC{ID: fmt.Sprint("crowd/", i), Subnet: "crowd/s", NSG: "bench",
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)})}})
	}
	topo := &fabric.Topology{VNets: []fabric.VNet{v}, NSGs: map[string]*fabric.NSG{"bench": {ID: "bench"}}}
	err = withBenchDriver(ctx, func(d *Driver) error {
		before, err := settledMemory(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		s, err := fabric.Compile(topo)
		if err == nil {
			err = d.Apply(ctx, s)
		}
		if err != nil {
			return err
		}
		r.NICs, r.Apply = n, time.Since(start)
		after, err := kernelMemory()
		r.Memory = after - before
		return err
	})
	return r, err
}

// settledMemory is kernelMemory once the kernel has taken down the namespaces that are deleted: it does that later, and
// several at once.
func settledMemory(ctx context.Context) (int64, error) {
	const quiet, enough = 300 * time.Millisecond, 256 << 10
	last, err := kernelMemory()
	for range 30 {
		if err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(quiet):
		}
		var now int64
		if now, err = kernelMemory(); err == nil && last-now < enough {
			return now, nil
		}
		last = now
	}
	return last, err
}

// kernelMemory is what the kernel has for its objects: slabs, those that it could give back too, values for each
// processor, and what it mapped. Unit: bytes. https://docs.kernel.org/filesystems/proc.html#meminfo
func kernelMemory() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	var sum int64
	found := 0
	for line := range strings.Lines(string(b)) {
		var key string
		var kib int64
		if n, _ := fmt.Sscanf(line, "%s %d kB", &key, &kib); n != 2 {
			continue
		}
		switch key {
		case "Slab:", "Percpu:", "VmallocUsed:":
			sum += kib << 10
			found++
		}
	}
	if found != 3 {
		return 0, errors.New("/proc/meminfo does not tell what the kernel has")
	}
	return sum, nil
}

// datagrams is a steady flow between the client and the server of a VNet.
type datagrams struct {
	conn     net.Conn
	sink     net.PacketConn
	quit     chan struct{}
	sent     chan error
	received chan error
	n, got   int
}

// lastDatagram ends the flow at the receiver.
const lastDatagram = ^uint64(0)

// pace is the time between two datagrams.
const pace = 50 * time.Microsecond

func (d *Driver) newDatagrams(ctx context.Context, vnet string) (*datagrams, error) {
	server := fabric.Place{Kind: fabric.AtNIC, ID: vnet + "/server"}
	sink, err := d.ListenPacket(ctx, server, netip.AddrPortFrom(benchServer, benchPort).String())
	if err != nil {
		return nil, err
	}
	if u, ok := sink.(*net.UDPConn); ok {
		if err := u.SetReadBuffer(8 << 20); err != nil {
			return nil, errors.Join(err, sink.Close())
		}
	}
	conn, err := d.Dial(ctx, fabric.Place{Kind: fabric.AtNIC, ID: vnet + "/client"}, "udp", netip.AddrPortFrom(benchServer, benchPort).String())
	if err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	if err := first(conn, sink); err != nil {
		return nil, errors.Join(err, conn.Close(), sink.Close())
	}
	f := &datagrams{conn: conn, sink: sink, quit: make(chan struct{}), sent: make(chan error, 1), received: make(chan error, 1)}
	go func() { f.sent <- f.send() }()
	go func() { f.received <- f.receive() }()
	return f, nil
}

// first sends one datagram and waits for it. Until the neighbours know each other's hardware addresses, the kernel
// queues some 250 datagrams and drops the rest, whatever the rules.
func first(conn net.Conn, sink net.PacketConn) error {
	if _, err := conn.Write([]byte{0}); err != nil {
		return err
	}
	if err := sink.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, _, err := sink.ReadFrom(make([]byte, 1)); err != nil {
		return fmt.Errorf("the flow's first datagram: %w", err)
	}
	return sink.SetReadDeadline(time.Time{})
}

func (f *datagrams) send() error {
	var b [8]byte
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-f.quit:
			return nil
		case <-tick.C:
		}
		binary.BigEndian.PutUint64(b[:], uint64(f.n))
		if _, err := f.conn.Write(b[:]); err != nil {
			return err
		}
		f.n++
	}
}

func (f *datagrams) receive() error {
	var b [16]byte
	for {
		n, _, err := f.sink.ReadFrom(b[:])
		if err != nil {
			return err
		}
		if n != 8 {
			return fmt.Errorf("a datagram of %d bytes", n)
		}
		if binary.BigEndian.Uint64(b[:]) == lastDatagram {
			return nil
		}
		f.got++
	}
}

// stop ends the flow and says in r how much of it was lost. Datagrams of one flow keep their order, so what has not
// come before the last one is lost; that one is sent until it has come.
func (f *datagrams) stop(r *ChangeResult) error {
	close(f.quit)
	err := <-f.sent
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], lastDatagram)
		_, werr := f.conn.Write(b[:])
		if err = errors.Join(err, werr); err != nil || tries == 100 {
			f.sink.Close()
			<-f.received
			return errors.Join(err, f.conn.Close(), fmt.Errorf("the flow's end did not arrive"))
		}
		select {
		case rerr := <-f.received:
			r.Sent, r.Lost = f.n, f.n-f.got
			return errors.Join(rerr, f.conn.Close(), f.sink.Close())
		case <-tick.C:
		}
	}
}
