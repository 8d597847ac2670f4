package rulegen

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mdns "github.com/miekg/dns"

	"vauban.dev/capture"
	"vauban.dev/fabric"
)

// TCP's flags.
const (
	syn = 0x02
	ack = 0x10
)

// frame is an Ethernet frame of IPv4; first is what stands at the place of TCP's flags, or of ICMP's type.
func frame(p fabric.Protocol, src, dst string, first byte, datagram []byte) capture.Packet {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := make([]byte, 14+20+20)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[9] = 0x45, byte(p)
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[20:], from.Port())
	binary.BigEndian.PutUint16(ip[22:], to.Port())
	switch p {
	case fabric.TCP:
		ip[33] = first
	case fabric.ICMP:
		ip[20] = first
	case fabric.UDP:
		b = append(b[:14+28], datagram...)
	}
	return capture.Packet{Data: b, Length: len(b)}
}

func dnsAnswer(t testing.TB, name string, records ...string) []byte {
	m := &mdns.Msg{}
	m.SetQuestion(name, mdns.TypeA)
	m.Response = true
	for _, r := range records {
		rr, err := mdns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const node = "10.0.1.4"

func TestRecorder(t *testing.T) {
	r := NewRecorder([]netip.Addr{netip.MustParseAddr(node)})
	names := dnsAnswer(t, "WWW.Example.com.", "www.example.com. 60 IN CNAME cdn.example.net.", "cdn.example.net. 60 IN A 198.51.100.80")
	r.Began(fabric.TCP, netip.MustParseAddrPort(node+":700"), netip.MustParseAddrPort("20.50.1.9:443"), true)
	for _, who := range []string{"", "wget", "curl", "wget"} { // told before the packet is seen
		r.Owner(fabric.TCP, netip.MustParseAddrPort(node+":6000"), netip.MustParseAddrPort("198.51.100.80:443"), who)
	}
	r.Owner(fabric.TCP, netip.MustParseAddrPort(node+":6009"), netip.MustParseAddrPort("198.51.100.80:443"), "nothing followed")
	for _, p := range []capture.Packet{
		frame(fabric.UDP, node+":5000", "168.63.129.16:53", 0, []byte("?")),
		frame(fabric.UDP, "168.63.129.16:53", node+":5000", 0, names),
		frame(fabric.UDP, "198.51.100.66:53", node+":5001", 0, dnsAnswer(t, "forged.example.", "forged.example. 60 IN A 198.51.100.80")), // nobody asked
		frame(fabric.TCP, node+":6000", "198.51.100.80:443", syn, nil),
		frame(fabric.TCP, "198.51.100.80:443", node+":6000", syn|ack, nil),
		frame(fabric.TCP, node+":6001", "198.51.100.80:443", syn, nil),
		frame(fabric.TCP, node+":6002", "203.0.113.9:81", syn, nil), // refused
		frame(fabric.TCP, "10.0.2.4:40000", node+":22", syn, nil),   // another's
		frame(fabric.TCP, node+":22", "10.0.2.4:40000", syn|ack, nil),
		frame(fabric.UDP, "10.0.2.4:40000", node+":99", 0, nil),
		frame(fabric.UDP, node+":99", "10.0.2.4:40000", 0, nil),
		frame(fabric.TCP, node+":800", "10.0.2.5:80", ack, nil), // begun by whom, nobody knows
		frame(fabric.ICMP, node+":0", "10.0.2.5:0", 3, nil),     // unreachable
		frame(fabric.ICMP, node+":0", "10.0.2.6:0", 8, nil),     // a ping
		frame(fabric.TCP, "10.0.9.9:1", "10.0.9.8:2", syn, nil), // others'
		{Data: []byte("no frame")},
	} {
		if full, err := r.Packet(p); full || err != nil {
			t.Fatalf("%v %v", full, err)
		}
	}
	got, complete := r.Destinations()
	want := []Destination{
		{Addr: netip.MustParseAddr("10.0.2.6"), Protocol: fabric.ICMP, Flows: 1},
		{Addr: netip.MustParseAddr("20.50.1.9"), Protocol: fabric.TCP, Port: 443, Flows: 1, Answered: true},
		{Addr: fabric.WireServer, Protocol: fabric.UDP, Port: 53, Flows: 1, Answered: true},
		{Addr: netip.MustParseAddr("198.51.100.80"), Protocol: fabric.TCP, Port: 443, Names: []string{"www.example.com"}, Flows: 2, Answered: true},
		{Addr: netip.MustParseAddr("203.0.113.9"), Protocol: fabric.TCP, Port: 81, Flows: 1},
	}
	for i := range want {
		want[i].Nodes = []netip.Addr{netip.MustParseAddr("10.0.1.4")}
		want[i].UnknownProcess = want[i].Flows
	}
	want[3].UnknownProcess, want[3].Processes = 1, []string{"curl", "wget"}

	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || !complete {
		t.Errorf("complete %v %s", complete, diff)
	}
}

// A recorder keeps no more than it may, and says so.
func TestRecorderIsBounded(t *testing.T) {
	r := NewRecorder([]netip.Addr{netip.MustParseAddr(node)})
	for i := range maxRecorded + 1 {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		r.Began(fabric.TCP, netip.MustParseAddrPort(node+":1"), to, true)
	}
	if got, complete := r.Destinations(); complete || len(got) != maxRecorded {
		t.Errorf("%d destinations, complete %v", len(got), complete)
	}
}

func FuzzRecorder(f *testing.F) {
	f.Add(dnsAnswer(f, "a.example.", "a.example. 1 IN A 192.0.2.1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewRecorder([]netip.Addr{netip.MustParseAddr(node)})
		for _, p := range []capture.Packet{frame(fabric.UDP, node+":5000", "192.0.2.9:53", 0, nil), frame(fabric.UDP, "192.0.2.9:53", node+":5000", 0, data), {Data: data}} {
			if _, err := r.Packet(p); err != nil {
				t.Error(err)
			}
		}
		for _, names := range r.names {
			for _, n := range names {
				if strings.ContainsAny(n, "\n\r") {
					t.Errorf("a name breaks the line: %q", n)
				}
			}
		}
	})
}

func dest(addr string, p fabric.Protocol, port uint16, names ...string) Destination {
	return Destination{Addr: netip.MustParseAddr(addr), Protocol: p, Port: port, Names: names, Flows: 1, Answered: true}
}

func tag(name string, prefixes ...string) Tag {
	t := Tag{Name: name}
	for _, p := range prefixes {
		t.Prefixes = append(t.Prefixes, netip.MustParsePrefix(p))
	}
	return t
}

func TestLearn(t *testing.T) {
	w, _ := world()
	list := []Tag{tag("AzureCloud.westeurope", "20.150.1.0/25", "20.250.1.0/24"), tag("Storage", "20.150.0.0/16"), tag("Storage.westeurope", "20.150.1.0/24", "2603::/32"), tag("Wide", "10.0.0.0/8")}
	refused := dest("203.0.113.9", fabric.TCP, 81)
	refused.Answered = false
	all := []Destination{
		dest("10.0.2.4", fabric.TCP, 443, "a.blob.core.windows.net"), dest("10.0.2.4", fabric.TCP, 80, "a.blob.core.windows.net"), dest("10.0.2.4", fabric.ICMP, 0),
		dest("20.150.1.9", fabric.TCP, 443, "b.blob.core.windows.net"), dest("20.150.1.8", fabric.TCP, 443, "c.blob.core.windows.net"),
		dest("20.250.1.9", fabric.UDP, 123), dest("168.63.129.16", fabric.UDP, 53), refused,
	}
	learned, rules, err := Learn(w.Topology, vnet+"/subnets/a", list, all)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		got = append(got, fmt.Sprintf("%d %s %s %s %v: %s; %v", r.Priority, r.Access, r.Protocol, r.Destination, r.Ports, r.Purpose, r.Breaks))
	}
	want := []string{
		"100 Allow Icmp 10.0.2.4/32 [*]: 10.0.2.4; [Icmp 10.0.2.4]",
		"110 Allow Tcp 10.0.2.4/32 [80 443]: a.blob.core.windows.net; [Tcp 10.0.2.4:443 Tcp 10.0.2.4:80]",
		"120 Allow Udp 20.250.1.9/32 [123]: 20.250.1.9; [Udp 20.250.1.9:123]",
		"130 Allow Tcp Storage.westeurope [443]: b.blob.core.windows.net, c.blob.core.windows.net; [Tcp 20.150.1.9:443 Tcp 20.150.1.8:443]",
		"4096 Deny * * [*]: nothing else was reached; [any host of the internet is reached]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d := learned[6]; d.Rule != "" || !strings.Contains(d.Why, "platform") {
		t.Errorf("the platform: %+v", d)
	}
	if d := learned[7]; d.Rule != "" || d.Why != "nothing came back" {
		t.Errorf("what was refused: %+v", d)
	}
	if d := learned[3]; d.Tag != "Storage.westeurope" || d.Rule != rules[3].Name {
		t.Errorf("a service: %+v", d)
	}
	if len(w.Topology.NSGs) != 0 {
		t.Error("a proof changed the model")
	}
}

// Rules that do not do what they must are not written: the model is asked.
func TestLearnIsProved(t *testing.T) {
	w, _ := world()
	subnet := vnet + "/subnets/a"
	list := []Tag{tag("Unknown", "20.99.0.0/16")} // in the caller's list, not in the network's
	if _, _, err := Learn(w.Topology, subnet, list, []Destination{dest("20.99.0.1", fabric.TCP, 443)}); err == nil || !strings.Contains(err.Error(), "refuse Tcp 20.99.0.1:443") {
		t.Errorf("a tag that the network does not know: %v", err)
	}
	open := []Rule{{Name: "x", Priority: 100, Direction: "Outbound", Access: "Allow", Protocol: "*", Source: "*", Destination: "*", Ports: []string{"*"}}}
	if err := proveLearned(w.Topology, subnet, nil, open); err == nil || !strings.Contains(err.Error(), "never reached") {
		t.Errorf("open rules: %v", err)
	}
	var many []Destination
	for i := range 400 {
		many = append(many, dest(fmt.Sprintf("198.51.%d.%d", i/200, i%200), fabric.TCP, 443))
	}
	if _, _, err := Learn(w.Topology, subnet, nil, many); err == nil || !strings.Contains(err.Error(), "there is room for 399") {
		t.Errorf("too many: %v", err)
	}
	if _, _, err := Learn(w.Topology, subnet, nil, []Destination{dest("198.51.100.1", fabric.TCP, 1)}); err != nil {
		t.Errorf("the address that must be refused was reached itself: %v", err)
	}
}

// A flow that the router only tracks, and of which nothing comes back, is not reached.
func TestBegunAndNeverAnswered(t *testing.T) {
	r := NewRecorder([]netip.Addr{netip.MustParseAddr(node)})
	src, dst := netip.MustParseAddrPort(node+":700"), netip.MustParseAddrPort("203.0.113.9:81")
	r.Began(fabric.TCP, src, dst, false)
	if got, _ := r.Destinations(); len(got) != 1 || got[0].Answered {
		t.Errorf("%+v", got)
	}
	r.Began(fabric.TCP, src, dst, true)
	if got, _ := r.Destinations(); len(got) != 1 || !got[0].Answered {
		t.Errorf("%+v", got)
	}
}
