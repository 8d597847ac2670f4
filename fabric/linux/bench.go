package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// SetupResult is what MeasureTCPSetup found. A setup is one TCP connection between two NICs of a VNet, from
// the client's socket until the server has accepted it and both have let go.
type SetupResult struct {
	Kind     string
	Rules    int           // security rules in each direction of the NSG
	Baseline time.Duration // one setup through a router with connection tracking only, the median
	Filtered time.Duration // one setup through the fabric's router with the NSG four times, the median
	Ratio    float64       // the median of the ratios of neighbouring measurements
	Load     time.Duration // compiling and loading the filtered router
}

func (r SetupResult) String() string {
	return fmt.Sprintf("%s: %d rules, %v a connection, %v without: ratio %.3f; loaded in %v",
		r.Kind, r.Rules, r.Filtered, r.Baseline, r.Ratio, r.Load.Round(time.Millisecond))
}

const (
	benchRounds = 120
	benchBatch  = 150 // connections a round
	benchPort   = 9443
)

// MeasureTCPSetup measures what a security group costs a new connection: through a router that judges
// it four times (NIC and subnet of the client, subnet and NIC of the server), as a ratio to
// a router that only tracks connections. Both stand side by side and are measured in turns, since absolute times drift.
// It needs what a Driver needs and removes all that it made.
//
// Kinds are those of BenchmarkKinds and BenchmarkWays; another is an error.
func MeasureTCPSetup(ctx context.Context, kind string) (result SetupResult, err error) {
	result = SetupResult{Kind: kind}
	topo := benchWay(kind)
	if topo == nil {
		nsg, tags, err := benchRules(kind)
		if err != nil {
			return result, err
		}
		topo, result.Rules = benchTopology(nsg, tags), len(nsg.Rules)/2
	}
	err = withBenchDriver(ctx, func(d *Driver) error {
		start := time.Now()
		if err := d.applyBench(ctx, topo, wayOut(kind).to); err != nil {
			return err
		}
		result.Load = time.Since(start)
		plain, err := d.newDialer(ctx, "plain", wayOut(""))
		if err != nil {
			return err
		}
		defer plain.close()
		filtered, err := d.newDialer(ctx, "filtered", wayOut(kind))
		if err != nil {
			return err
		}
		defer filtered.close()
		return result.measure(ctx, plain, filtered)
	})
	return result, err
}

// withBenchDriver gives f a driver, and removes all that it made.
func withBenchDriver(ctx context.Context, f func(*Driver) error) error {
	dir, err := os.MkdirTemp("", "vauban-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := New(Config{NetnsDir: dir})
	if err != nil {
		return err
	}
	return errors.Join(f(d), d.CleanUp(context.WithoutCancel(ctx)), d.Close())
}

// measure takes turns, so that what disturbs one disturbs its neighbour too.
func (r *SetupResult) measure(ctx context.Context, plain, filtered *dialer) error {
	var base, with []time.Duration
	var ratios []float64
	for i := range benchRounds + 2 {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, second := plain, filtered
		if i%2 == 1 {
			first, second = filtered, plain
		}
		a, err := first.batch()
		if err != nil {
			return err
		}
		b, err := second.batch()
		if err != nil {
			return err
		}
		if i%2 == 1 {
			a, b = b, a
		}
		if i < 2 {
			continue // neighbour entries and caches
		}
		base, with = append(base, a), append(with, b)
		ratios = append(ratios, float64(b)/float64(a))
	}
	r.Baseline, r.Filtered, r.Ratio = median(base), median(with), median(ratios)
	return nil
}

func median[T time.Duration | float64](v []T) T {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// benchTopology is two VNets with the same addresses, each with a client and a server: "filtered" with the NSG four
// times in their way, "plain" without.
func benchTopology(nsg *fabric.NSG, tags fabric.TagSource) *fabric.Topology {
	vnet := func(id, nsg string) fabric.VNet {
		return fabric.VNet{
			ID: id, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Subnets: []fabric.Subnet{
				{ID: id + "/clients", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.200.1.0/24")}, NSG: nsg},
				{ID: id + "/servers", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.200.2.0/24")}, NSG: nsg},
			},
			NICs: []fabric.NIC{
				{ID: id + "/client", Subnet: id + "/clients", NSG: nsg, Addrs: []netip.Addr{benchClient}},
				{ID: id + "/server", Subnet: id + "/servers", NSG: nsg, Addrs: []netip.Addr{benchServer}},
			},
		}
	}
	return &fabric.Topology{
		VNets: []fabric.VNet{vnet("plain", ""), vnet("filtered", nsg.ID)},
		NSGs:  map[string]*fabric.NSG{nsg.ID: nsg}, Tags: tags,
	}
}

// applyBench loads both; the plain router judges nothing.
func (d *Driver) applyBench(ctx context.Context, topo *fabric.Topology, to netip.Addr) error {
	flow := fabric.Flow{From: fabric.Place{Kind: fabric.AtNIC, ID: "filtered/client"}, Source: benchClient, Dst: to,
		Protocol: fabric.TCP, SrcPort: 40000, DstPort: benchPort}
	if e := fabric.Explain(topo, flow); e.Verdict != fabric.Allowed {
		return fmt.Errorf("the measured connection is not allowed: %s", e)
	}
	s, err := fabric.Compile(topo)
	if err != nil {
		return err
	}
	plain := s.Namespace(fabric.RouterNS("plain"))
	plain.Objects = []fabric.Object{{
		Kind: fabric.ChainObject, Name: "forward", Spec: []string{"type filter hook forward priority 0; policy accept;"},
		Lines: []string{"ct state established,related accept"},
	}}
	return d.Apply(ctx, s)
}

var (
	benchClient = netip.AddrFrom4([4]byte{10, 200, 1, 4})
	benchServer = netip.AddrFrom4([4]byte{10, 200, 2, 4})
)

// dialer connects from the client of a VNet to its server, or to another.
type dialer struct {
	d        *Driver
	client   fabric.Place
	to       unix.SockaddrInet4
	listener net.Listener
	accepted chan error // one for each connection
}

func (d *Driver) newDialer(ctx context.Context, vnet string, s benchTarget) (*dialer, error) {
	if s.at == (fabric.Place{}) {
		s.at = fabric.Place{Kind: fabric.AtNIC, ID: vnet + "/server"}
	}
	listen := d.Listen
	if s.at.Kind == fabric.AtRouter {
		listen = func(ctx context.Context, at fabric.Place, _, addr string) (net.Listener, error) {
			return d.ListenTransparent(ctx, at, addr)
		}
	}
	l, err := listen(ctx, s.at, "tcp", netip.AddrPortFrom(s.listens, benchPort).String())
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", vnet, err)
	}
	c := &dialer{d: d, client: fabric.Place{Kind: fabric.AtNIC, ID: vnet + "/client"}, listener: l, accepted: make(chan error, benchBatch),
		to: unix.SockaddrInet4{Addr: s.to.As4(), Port: benchPort}}
	go c.serve()
	return c, nil
}

// serve ends when the listener is closed.
func (c *dialer) serve() {
	defer close(c.accepted)
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.accepted <- conn.Close()
	}
}

func (c *dialer) close() {
	c.listener.Close()
	for range c.accepted {
	}
}

// batch is the mean time of one setup.
func (c *dialer) batch() (took time.Duration, err error) {
	err = c.d.Do(c.client, func() error {
		start := time.Now()
		for range benchBatch {
			if err := setup(&c.to); err != nil {
				return err
			}
			if _, ok := <-c.accepted; !ok {
				return net.ErrClosed
			}
		}
		took = time.Since(start) / benchBatch
		return nil
	})
	return took, err
}

// setup connects once, and resets the connection so that its port is free again.
func setup(to *unix.SockaddrInet4) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 5}),
		connect(fd, to))
	return errors.Join(err, unix.Close(fd))
}

// connect goes on after a signal; the runtime sends itself some.
func connect(fd int, to *unix.SockaddrInet4) error {
	for {
		err := unix.Connect(fd, to)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EALREADY):
		case errors.Is(err, unix.EISCONN):
			return nil
		default:
			return err
		}
	}
}
