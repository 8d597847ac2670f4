package linux

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"vauban.dev/fabric"
)

// shell runs bash at a place, until it ends.
func shell(t *testing.T, d *Driver, at fabric.Place, script string) error {
	t.Helper()
	return d.Do(at, func() error {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// Who begins a flow is known before its first packet leaves, however soon the process ends: no connection is missed, as
// many as there are at once, and none is lost by it.
func TestFollowOwners(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	earlier, err := patient(t, d, nic(web1), "10.0.4.4:80") // of the test's own process, which is not at the place
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	owners, order := map[SocketID]string{}, 0
	to := netip.MustParseAddrPort("10.0.4.4:80")
	note := func(f SocketID, who string) {
		mu.Lock()
		defer mu.Unlock()
		if f.Protocol == fabric.TCP && f.Remote == to && f.Local.String() != earlier.LocalAddr().String() {
			owners[f] = who
		}
		order++
	}
	stop, err := d.FollowOwners(nic(web1), Follower{Tell: note})
	if err != nil {
		t.Fatal(err)
	}
	var second int
	stopSecond, err := d.FollowOwners(nic(web1), Follower{Tell: func(SocketID, string) { second++ }})
	if err != nil {
		t.Fatal(err)
	}
	const processes, each = 8, 10
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			if err := shell(t, d, nic(web1), fmt.Sprintf("for ((i=0;i<%d;i++)); do exec 3<>/dev/tcp/10.0.4.4/80; exec 3>&-; done", each)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := shell(t, d, nic(web1), "echo x >/dev/udp/10.0.4.4/7"); err != nil { // it may be gone before anybody looks
		t.Error(err)
	}
	if err := say(earlier, "not lost"); err != nil {
		t.Error(err)
	}
	if err := d.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	stopSecond()
	stop()
	stop()
	mu.Lock()
	defer mu.Unlock()
	if len(owners) != processes*each {
		t.Errorf("%d flows were told of, want %d", len(owners), processes*each)
	}
	for f, who := range owners {
		if who != "bash" {
			t.Errorf("%v is of %q", f, who)
		}
	}
	if second != order {
		t.Errorf("the second was told %d times, the first %d", second, order)
	}
	var tables string
	if tables, err = d.runNFT(t.Context(), d.space(fabric.NICNS(web1)), "", "list", "tables"); err != nil || strings.Contains(tables, holdTable) {
		t.Errorf("left behind: %s %v", tables, err)
	}
	if c, err := patient(t, d, nic(web1), "10.0.4.4:80"); err != nil {
		t.Errorf("when nobody follows: %v", err)
	} else if err := say(c, "as before"); err != nil {
		t.Error(err)
	}
}

// A place that goes takes its followers along.
func TestFollowOwnersOfAPlaceThatGoes(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	stop, err := d.FollowOwners(nic(web1), Follower{Tell: func(SocketID, string) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := d.FollowOwners(nic(web1), Follower{Tell: func(SocketID, string) {}}); err == nil {
		t.Error("a place that is not there is followed")
	}
}
