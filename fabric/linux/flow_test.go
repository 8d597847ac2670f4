package linux

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vauban.dev/fabric"
)

// echo serves lines on a listener until the test ends.
func echo(t testing.TB, l net.Listener) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := c.Write([]byte(line)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

func say(c net.Conn, line string) error {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("said %q, heard %q", line, got)
	}
	return err
}

func listen(t testing.TB, d *Driver, at fabric.Place, addr string) net.Listener {
	t.Helper()
	l, err := d.Listen(t.Context(), at, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// quick is a dial that gives up soon: for what must be refused without a word.
func quick(t testing.TB, d *Driver, at fabric.Place, addr string) (net.Conn, error) {
	t.Helper()
	return dialWithin(t, d, at, addr, 300*time.Millisecond)
}

// patient is a dial for what must succeed, also on a machine that has other things to do.
func patient(t testing.TB, d *Driver, at fabric.Place, addr string) (net.Conn, error) {
	t.Helper()
	return dialWithin(t, d, at, addr, 20*time.Second)
}

func dialWithin(t testing.TB, d *Driver, at fabric.Place, addr string, patience time.Duration) (net.Conn, error) {
	t.Helper()
	type result struct {
		c   net.Conn
		err error
	}
	out := make(chan result, 1)
	go func() {
		var c net.Conn
		err := d.Do(at, func() (err error) {
			c, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", addr)
			return err
		})
		out <- result{c, err}
	}()
	r := <-out
	if r.err == nil {
		t.Cleanup(func() { r.c.Close() })
	}
	return r.c, r.err
}

func TestRealConnections(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	echo(t, listen(t, d, nic(web2), "10.0.1.5:80"))
	echo(t, listen(t, d, router(vnet1), "10.0.3.4:443"))
	echo(t, listen(t, d, fabric.Place{Kind: fabric.AtInternet}, "20.60.1.1:443"))
	for _, c := range []struct {
		from   fabric.Place
		to     string
		source string
	}{
		{nic(web1), "10.0.1.5:80", "10.0.1.4"},
		{nic(web1), "10.0.3.4:443", "10.0.1.4"},
		{nic(web1), "20.60.1.1:443", ""},
		{fabric.Place{Kind: fabric.AtHost, ID: attacker}, "20.60.1.1:443", "198.51.100.7"},
	} {
		conn, err := patient(t, d, c.from, c.to)
		if err != nil {
			t.Errorf("%s to %s: %v", c.from.ID, c.to, err)
			continue
		}
		if err := say(conn, "hello"); err != nil {
			t.Errorf("%s to %s: %v", c.from.ID, c.to, err)
		}
	}
	if _, err := quick(t, d, nic(lone1), "20.60.1.1:443"); err == nil {
		t.Error("a NIC without outbound access reached the internet")
	}
	if _, err := quick(t, d, fabric.Place{Kind: fabric.AtHost, ID: attacker}, "10.0.3.4:443"); err == nil {
		t.Error("the internet reached a private endpoint")
	}
	if _, err := d.Dial(t.Context(), nic(web1), "tcp", "localhost:80"); err == nil {
		t.Error("a name was resolved outside its place")
	}
}

func TestUDPAndDrops(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	drops := d.Drops(t.Context())
	pc, err := d.ListenPacket(t.Context(), nic(web2), "10.0.1.5:53")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	c, err := d.Dial(t.Context(), nic(web1), "udp", "10.0.1.5:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	pc.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, from, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "question" {
		t.Fatalf("%q from %v, %v", buf[:n], from, err)
	}
	if _, err := quick(t, d, nic(web1), "10.0.1.5:23"); err == nil {
		t.Fatal("telnet was not refused")
	}
	select {
	case drop := <-drops:
		want := *nsgRule("nsg-web", fabric.Inbound, "no-telnet")
		if drop.Rule != want || drop.Namespace != fabric.RouterNS(vnet1) || drop.Protocol != fabric.TCP ||
			drop.Src.Addr() != addr("10.0.1.4") || drop.Dst != netip.MustParseAddrPort("10.0.1.5:23") {
			t.Errorf("dropped %+v, want by %v", drop, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the drop was not reported")
	}
}

// A change of rules leaves established flows alone, refuses new ones, and loses no packet; counters of
// rules that stay keep their values.
func TestRuleChangeUnderFlow(t *testing.T) {
	d := newTestDriver(t, Config{})
	topo := testTopology()
	apply(t, d, compile(t, topo))
	echo(t, listen(t, d, nic(web2), "10.0.1.5:80"))
	running, err := patient(t, d, nic(web1), "10.0.1.5:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(running, "before"); err != nil {
		t.Fatal(err)
	}
	if _, err := quick(t, d, nic(web1), "10.0.1.5:23"); err == nil {
		t.Fatal("telnet was not refused")
	}
	counted := func() uint64 {
		n, err := d.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n[*nsgRule("nsg-web", fabric.Inbound, "no-telnet")]
	}
	before := counted()
	if before == 0 {
		t.Fatal("the refused connection was not counted")
	}

	topo = testTopology()
	web := topo.NSGs["nsg-web"]
	web.Rules = append(web.Rules, rule("no-http", 99, fabric.Inbound, false, fabric.TCP, "*", "*", "80"))
	apply(t, d, compile(t, topo))
	if err := d.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := say(running, "after"); err != nil {
		t.Errorf("the established flow was judged again: %v", err)
	}
	if _, err := quick(t, d, nic(web1), "10.0.1.5:80"); err == nil {
		t.Error("a new flow was not refused")
	}
	if now := counted(); now != before {
		t.Errorf("the counter of a rule that stayed was %d, is %d", before, now)
	}
	apply(t, d, compile(t, testTopology()))
	if _, err := patient(t, d, nic(web1), "10.0.1.5:80"); err != nil {
		t.Errorf("the rule was removed: %v", err)
	}
}

// While rules are exchanged, not a packet is lost that both states allow, of a running flow or a new one, and
// not one gets through that both refuse.
func TestSwapLosesNothing(t *testing.T) {
	d := newTestDriver(t, Config{})
	topology := func() *fabric.Topology {
		topo := testTopology()
		web := topo.NSGs["nsg-web"]
		web.Rules = append(web.Rules, rule("no-9001", 90, fabric.Inbound, false, fabric.UDP, "*", "*", "9001"))
		return topo
	}
	apply(t, d, compile(t, topology()))
	closed, err := d.ListenPacket(t.Context(), nic(web2), "10.0.1.5:9001")
	if err != nil {
		t.Fatal(err)
	}
	refused, err := d.Dial(t.Context(), nic(web1), "udp", "10.0.1.5:9001")
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Close()
	pc, err := d.ListenPacket(t.Context(), nic(web2), "10.0.1.5:9000")
	if err != nil {
		t.Fatal(err)
	}
	var received atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			if _, _, err := pc.ReadFrom(buf); err != nil {
				return
			}
			received.Add(1)
		}
	}()
	stop, sent := make(chan struct{}), make(chan int64)
	go func() {
		// New flows and unreplied ones: every datagram is judged by the rules.
		var n int64
		defer func() { sent <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := d.Dial(t.Context(), nic(web1), "udp", "10.0.1.5:9000")
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				if _, err := c.Write([]byte("x")); err != nil {
					t.Error(err)
				}
				n++
				if _, err := refused.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			}
			c.Close()
			// The receiver's buffer is not under test.
			for n-received.Load() > 100 && t.Context().Err() == nil {
				time.Sleep(100 * time.Microsecond)
				select {
				case <-stop:
					return
				default:
				}
			}
		}
	}()
	for i := range 30 {
		topo := topology()
		for _, g := range topo.NSGs {
			for j := range 40 * (i % 3) {
				g.Rules = append(g.Rules, rule(fmt.Sprintf("r%d", j), 300+j, fabric.Inbound, j%2 == 0, fabric.TCP,
					fmt.Sprintf("192.168.%d.%d", i, j), "*", fmt.Sprint(1000+j)))
			}
		}
		if i%2 == 0 {
			topo.VNets[0].NICs = topo.VNets[0].NICs[:5]
		}
		apply(t, d, compile(t, topo))
	}
	close(stop)
	n := <-sent
	for deadline := time.Now().Add(20 * time.Second); received.Load() < n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	pc.Close()
	<-done
	closed.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := closed.ReadFrom(make([]byte, 64)); err == nil {
		t.Errorf("a datagram of %d bytes came through that every state refuses", n)
	}
	closed.Close()
	if n < 100 || received.Load() != n {
		dropped, err := d.Counters(t.Context())
		t.Errorf("sent %d datagrams, received %d; dropped by rules: %v %v", n, received.Load(), dropped, err)
	}
	t.Logf("%d datagrams", n)
}

// Deleting a VNet closes its listeners and frees its namespaces.
func TestDeleteVNetWithListeners(t *testing.T) {
	keeper := newMemoryKeeper()
	d := newTestDriver(t, Config{Keeper: keeper})
	topo := testTopology()
	apply(t, d, compile(t, topo))
	ep := listen(t, d, router(vnet1), "10.0.3.4:443")
	if _, err := d.ListenPacket(t.Context(), router(vnet1), "168.63.129.16:53"); err != nil {
		t.Fatal(err)
	}
	listen(t, d, nic(web1), "10.0.1.4:80")
	stays := listen(t, d, nic(twin1), "10.0.1.4:80")

	topo.VNets = topo.VNets[1:]
	apply(t, d, compile(t, topo))
	if _, err := ep.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want a closed listener", err)
	}
	if _, err := os.Stat(d.Path(router(vnet1))); err == nil {
		t.Error("the router is still bound")
	}
	if kept, _ := keeper.List(t.Context()); len(kept) != 1 {
		t.Errorf("kept %v, want the other VNet's listener", kept)
	}
	if _, err := d.Listen(t.Context(), router(vnet1), "tcp", "10.0.3.4:443"); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("listen in a deleted VNet: %v", err)
	}
	echo(t, stays)
	if c, err := patient(t, d, nic(twin2), "10.0.1.4:80"); err != nil {
		t.Error(err)
	} else if err := say(c, "still here"); err != nil {
		t.Error(err)
	}
	// The same VNet again gets fresh namespaces: the old listeners are not taken for its own.
	apply(t, d, compile(t, testTopology()))
	echo(t, listen(t, d, router(vnet1), "10.0.3.4:443"))
	if c, err := patient(t, d, nic(web1), "10.0.3.4:443"); err != nil {
		t.Error(err)
	} else if err := say(c, "again"); err != nil {
		t.Error(err)
	}
}

// A connection made while no server runs waits in the kept listener and is served by the next one.
func TestListenerOutlivesServer(t *testing.T) {
	keeper := newMemoryKeeper()
	d := newTestDriver(t, Config{Keeper: keeper})
	apply(t, d, compile(t, testTopology()))
	first := listen(t, d, router(vnet1), "10.0.3.4:443")
	first.Close() // the server ends
	waiting, err := patient(t, d, nic(web1), "10.0.3.4:443")
	if err != nil {
		t.Fatal(err)
	}
	next := newTestDriver(t, Config{NetnsDir: d.dir, Keeper: keeper})
	apply(t, next, compile(t, testTopology()))
	echo(t, listen(t, next, router(vnet1), "10.0.3.4:443"))
	if err := say(waiting, "patience"); err != nil {
		t.Fatal(err)
	}
	stay := Socket{At: router(vnet1), Network: "tcp", Addr: "10.0.3.4:443"}
	if err := next.ReleaseListeners(t.Context(), map[Socket]bool{stay: true}); err != nil {
		t.Fatal(err)
	}
	if kept, _ := keeper.List(t.Context()); len(kept) != 1 {
		t.Errorf("kept %v", kept)
	}
	if err := next.CloseListener(t.Context(), stay); err != nil {
		t.Fatal(err)
	}
	if kept, _ := keeper.List(t.Context()); len(kept) != 0 {
		t.Errorf("kept %v", kept)
	}
	if _, err := quick(t, d, nic(web1), "10.0.3.4:443"); err == nil {
		t.Error("a closed listener still answers")
	}
}
