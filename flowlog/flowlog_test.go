package flowlog

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric"
)

const (
	vnet   = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
	subnet = vnet + "/subnets/a"
	nsg    = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n"
	nic1   = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n1"
	nic2   = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n2"
	logID  = "/subscriptions/s/resourceGroups/NetworkWatcherRG/providers/Microsoft.Network/networkWatchers/NetworkWatcher_westeurope/flowLogs/l"
)

func network(targets ...string) *Network {
	star := []string{"*"}
	deny := fabric.Rule{Name: "DenyWeb", Priority: 100, Direction: fabric.Outbound, Protocol: fabric.TCP, Source: star, Destination: []string{"Internet"}, SourcePorts: star, DestinationPorts: []string{"443"}}
	n := &Network{GUID: func(id string) string { return "guid of " + id[strings.LastIndexByte(id, '/')+1:] }, Topology: &fabric.Topology{
		NSGs: map[string]*fabric.NSG{nsg: {ID: nsg, Rules: []fabric.Rule{deny}}},
		VNets: []fabric.VNet{{ID: vnet, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
			Subnets: []fabric.Subnet{{ID: subnet, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, NSG: nsg}},
			NICs: []fabric.NIC{
				{ID: nic1, Subnet: subnet, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.4")}},
				{ID: nic2, Subnet: subnet, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.5")}},
				{ID: vnet + "/pe", Kind: fabric.Endpoint, Subnet: subnet, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.9")}},
			}}},
	}}
	for i, target := range targets {
		n.Logs = append(n.Logs, Log{ID: logID + string(rune('0'+i)), GUID: "g", Target: target})
	}
	return n
}

var at = time.Date(2026, 11, 22, 9, 5, 7, 123_000_000, time.UTC)

func event(s State, src, dst string) Event {
	return Event{Time: at, Router: fabric.RouterNS(vnet), State: s, Protocol: fabric.TCP, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// taken are the tuples of a collector as "log mac acl rule tuple".
func taken(t *testing.T, c *Collector) (out []string) {
	t.Helper()
	records, dropped, err := c.Take(at)
	if err != nil || dropped != 0 {
		t.Fatal(dropped, err)
	}
	for _, r := range records {
		var x record
		if err := json.Unmarshal(r.JSON, &x); err != nil {
			t.Fatal(err)
		}
		for _, f := range x.Records.Flows {
			for _, g := range f.Groups {
				for _, tuple := range g.Tuples {
					out = append(out, strings.Join([]string{x.Log[len(x.Log)-1:], f.ACL, g.Rule, tuple}, " "))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestTuples(t *testing.T) {
	n := network(vnet)
	var c Collector
	begin := event(Begin, "10.0.1.4:1000", "8.8.8.8:53")
	end := begin
	end.State, end.SentPackets, end.SentBytes, end.ReceivedPackets, end.ReceivedBytes = End, 3, 300, 2, 200
	neighbour := event(Begin, "10.0.1.4:1001", "10.0.1.5:22")
	public := event(Begin, "203.0.113.9:1002", "20.1.1.1:22")
	public.Answers = netip.MustParseAddrPort("10.0.1.5:22")
	denied := event(Deny, "10.0.1.4:1003", "8.8.8.8:443")
	denied.Denied = fabric.RuleRef{Owner: nsg, Direction: fabric.Outbound, Rule: "DenyWeb"}
	deniedIn := event(Deny, "203.0.113.9:1004", "10.0.1.5:23")
	deniedIn.Denied = fabric.RuleRef{Owner: nsg, Direction: fabric.Inbound, Rule: "DenyAllInBound"}
	lost := event(Deny, "10.0.1.4:1005", "10.0.7.7:1")
	lost.Denied = fabric.FabricRule(fabric.RuleNoRoute)
	dns := event(Begin, "10.0.1.4:1006", "168.63.129.16:53")
	endpoint := event(Begin, "10.0.1.4:1007", "10.0.1.9:443")
	elsewhere := event(Begin, "10.0.1.4:1008", "8.8.8.8:53")
	elsewhere.Router = "r-other"
	for _, e := range []Event{begin, end, neighbour, public, denied, deniedIn, lost, dns, endpoint, elsewhere} {
		c.Add(n, e)
	}
	want := []string{
		"0 00000000-0000-0000-0000-000000000000 PlatformRule 1795338307123,10.0.1.4,10.0.7.7,1005,1,6,O,D,NX,0,0,0,0",
		"0 guid of n DefaultRule_AllowInternetOutBound 1795338307123,10.0.1.4,8.8.8.8,1000,53,6,O,B,NX,0,0,0,0",
		"0 guid of n DefaultRule_AllowInternetOutBound 1795338307123,10.0.1.4,8.8.8.8,1000,53,6,O,E,NX,3,300,2,200",
		"0 guid of n DefaultRule_AllowVnetInBound 1795338307123,10.0.1.4,10.0.1.5,1001,22,6,I,B,NX,0,0,0,0",
		"0 guid of n DefaultRule_AllowVnetOutBound 1795338307123,10.0.1.4,10.0.1.5,1001,22,6,O,B,NX,0,0,0,0",
		"0 guid of n DefaultRule_AllowVnetOutBound 1795338307123,10.0.1.4,10.0.1.9,1007,443,6,O,B,NX,0,0,0,0",
		"0 guid of n DefaultRule_DenyAllInBound 1795338307123,203.0.113.9,10.0.1.5,1004,23,6,I,D,NX,0,0,0,0",
		"0 guid of n DefaultRule_DenyAllInBound 1795338307123,203.0.113.9,10.0.1.5,1002,22,6,I,B,NX,0,0,0,0",
		"0 guid of n UserRule_DenyWeb 1795338307123,10.0.1.4,8.8.8.8,1003,443,6,O,D,NX,0,0,0,0",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, taken(t, &c)); diff != "" {
		t.Error(diff)
	}
	if got := taken(t, &c); len(got) != 0 {
		t.Errorf("taken twice: %q", got)
	}
}

// Every tuple tells what passed since the one before it.
func TestContinuing(t *testing.T) {
	var c Collector
	n := network(vnet)
	at := func(s State, sent uint64) Event {
		e := event(s, "10.0.1.4:1000", "8.8.8.8:53")
		e.SentPackets, e.SentBytes, e.ReceivedPackets, e.ReceivedBytes = sent, 100*sent, 2*sent, 200*sent
		return e
	}
	older := event(Continue, "10.0.1.5:7", "8.8.8.8:53") // it began before the log
	older.SentPackets = 50
	router := fabric.RouterNS(vnet)
	c.Add(n, at(Begin, 0))
	c.Continuing(n, router, []Event{at(Continue, 3), older})
	c.Continuing(n, router, []Event{at(Continue, 3), older}) // idle
	older.SentPackets = 51
	c.Continuing(n, router, []Event{at(Continue, 10), older})
	c.Add(n, at(End, 12))
	var got []string
	for _, s := range taken(t, &c) {
		f := strings.Split(s, ",")
		got = append(got, strings.Join(append([]string{f[3], f[7]}, f[9:]...), " "))
	}
	want := []string{"1000 B 0 0 0 0", "1000 C 3 300 6 600", "1000 C 7 700 14 1400", "1000 E 2 200 4 400", "7 C 1 0 0 0"}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	c.Continuing(n, router, nil)
	if len(c.told) != 0 {
		t.Errorf("flows that are gone are kept: %v", c.told)
	}
}

// The log of the interface goes before that of its subnet, and that before its virtual network's.
func TestMostSpecificLog(t *testing.T) {
	var c Collector
	n := network(vnet, subnet, strings.ToUpper(nic1))
	c.Add(n, event(Begin, "10.0.1.4:1", "10.0.1.5:2"))
	got := taken(t, &c)
	if len(got) != 2 || got[0][0] != '1' || got[1][0] != '2' {
		t.Errorf("%q", got)
	}
	c.Add(network("/subscriptions/other"), event(Begin, "10.0.1.4:1", "10.0.1.5:2"))
	if got := taken(t, &c); len(got) != 0 {
		t.Errorf("nobody asked: %q", got)
	}
}

func TestRecord(t *testing.T) {
	var c Collector
	c.Add(network(vnet), event(Begin, "10.0.1.4:1000", "8.8.8.8:53"))
	r, _, err := c.Take(at)
	if err != nil || len(r) != 1 {
		t.Fatal(r, err)
	}
	mac := MAC(nic1)
	if want := "flowLogResourceID=/S_NETWORKWATCHERRG/NETWORKWATCHER_WESTEUROPE_L0/y=2026/m=11/d=22/h=09/m=00/macAddress=" + mac + "/PT1H.json"; r[0].Blob != want || len(mac) != 12 {
		t.Errorf("%s, want %s", r[0].Blob, want)
	}
	want := `{"time":"2026-11-22T09:05:07.1230000Z","flowLogVersion":4,"flowLogGUID":"g","macAddress":"` + mac + `","category":"FlowLogFlowEvent","flowLogResourceID":"` + strings.ToUpper(logID+"0") +
		`","targetResourceID":"` + vnet + `","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"guid of n","flowGroups":[{"rule":"DefaultRule_AllowInternetOutBound","flowTuples":["1795338307123,10.0.1.4,8.8.8.8,1000,53,6,O,B,NX,0,0,0,0"]}]}]}}`
	if diff := cmp.Diff(want, string(r[0].JSON)); diff != "" {
		t.Error(diff)
	}
	if day, ok := Day(r[0].Blob); !ok || !day.Equal(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)) || !strings.HasPrefix(r[0].Blob, Folder(r[0].Log)) {
		t.Errorf("%v %v", day, ok)
	}
	for _, name := range []string{"", "x/y=2026", "x/y=2026/m=13/d=01/h=00"} {
		if _, ok := Day(name); ok {
			t.Errorf("%q has a day", name)
		}
	}
}

func TestTooManyTuples(t *testing.T) {
	c := Collector{tuples: maxTuples - 2} // as if so many were gathered
	n, e := network(vnet), event(Begin, "10.0.1.4:1000", "8.8.8.8:53")
	for range 5 {
		c.Add(n, e)
	}
	if _, dropped, err := c.Take(at); err != nil || dropped != 3 {
		t.Errorf("%d dropped, %v", dropped, err)
	}
	for range 5 { // there is room again
		c.Add(n, e)
	}
	if got := taken(t, &c); len(got) != 5 {
		t.Errorf("%d tuples after the records were taken, want 5", len(got))
	}
}
