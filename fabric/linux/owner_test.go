package linux

import (
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/fabric"
)

// The process behind a connection is told, while it has the socket.
func TestOwners(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	c, err := patient(t, d, nic(web1), "10.0.4.4:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := SocketID{fabric.TCP, netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())}
	// The test's own process holds it, in another namespace: it is no process of the place.
	owners, err := d.Owners(nic(web1), []SocketID{id, {fabric.TCP, netip.MustParseAddrPort("10.0.1.4:1"), id.Remote}})
	if err != nil || owners[0] != "" || owners[1] != "" {
		t.Errorf("%q, %v", owners, err)
	}
}

func TestFindSockets(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0401000A:9C40 0404000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 20 4 30 10 -1
   1: 0401000A:9C41 0404000A:0050 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
   2: 0000000000000000FFFF00000401000A:9C42 0000000000000000FFFF00000404000A:01BB 01 0:0 0:0 0 0 0 4713 1
   3: garbage
`
	to := netip.MustParseAddrPort("10.0.4.4:80")
	flows := []SocketID{{fabric.TCP, netip.MustParseAddrPort("10.0.1.4:40000"), to}, {fabric.TCP, netip.MustParseAddrPort("10.0.1.4:40001"), to},
		{fabric.TCP, netip.MustParseAddrPort("10.0.1.4:40002"), netip.MustParseAddrPort("10.0.4.4:443")}, {fabric.UDP, netip.MustParseAddrPort("10.0.1.4:40000"), to}}
	inodes := make([]string, len(flows))
	if err := findSockets(strings.NewReader(table), fabric.TCP, flows, inodes); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(inodes, ","); got != "4711,,4713," {
		t.Errorf("inodes %s", got)
	}
}
