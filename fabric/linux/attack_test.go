package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/capture"
	"vauban.dev/fabric"
)

// wire sends frames from a place with all powers over its network, and sees in all other places but routers what
// arrives there.
type wire struct {
	t   *testing.T
	d   *Driver
	mac map[string]net.HardwareAddr // of a place's end, by namespace
	cpu unix.CPUSet                 // one, on which all is sent: so packets keep their order
	all []unix.PollFd
	at  []string // namespaces, as all
	saw []sighting
}

type sighting struct {
	at   string
	data []byte
}

// secret begins what an attack carries; its number follows. Together they have an even length, as checksum wants it.
const secret = "vauban attack "

func newWire(t *testing.T, d *Driver, topo *fabric.Topology) *wire {
	t.Helper()
	w := &wire{t: t, d: d, mac: map[string]net.HardwareAddr{}}
	if err := unix.SchedGetaffinity(0, &w.cpu); err != nil {
		t.Fatal(err)
	}
	for i, kept := 0, false; i < 8*len(w.cpu)*8; i++ {
		if kept && w.cpu.IsSet(i) {
			w.cpu.Clear(i)
		}
		kept = kept || w.cpu.IsSet(i)
	}
	var places []fabric.Place
	for _, v := range topo.VNets {
		for _, n := range v.NICs {
			if n.Kind != fabric.Endpoint {
				places = append(places, nic(n.ID))
			}
		}
	}
	for _, h := range topo.Internet.Hosts {
		places = append(places, fabric.Place{Kind: fabric.AtHost, ID: h.Name})
	}
	for _, at := range places {
		err := d.Do(at, func() error {
			i, err := net.InterfaceByName(fabric.GuestInterface)
			if err != nil {
				return err
			}
			w.mac[fabric.NSName(at)] = i.HardwareAddr
			f, err := capture.Open(i.Name)
			if err != nil {
				return err
			}
			defer f.Close()
			fd, err := unix.Dup(int(f.Fd()))
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			w.all, w.at = append(w.all, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}), append(w.at, fabric.NSName(at))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// look reads what has come to any place.
func (w *wire) look() {
	w.t.Helper()
	buf := make([]byte, 4096)
	for i, p := range w.all {
		for {
			n, from, err := unix.Recvfrom(int(p.Fd), buf, unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				w.t.Fatal(err)
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			if ok && ll.Pkttype != unix.PACKET_OUTGOING && bytes.Contains(buf[:n], []byte(secret)) { // not what the place itself sends
				w.saw = append(w.saw, sighting{w.at[i], bytes.Clone(buf[:n])})
			}
		}
	}
}

// send puts frames on the wire of a place.
func (w *wire) send(from fabric.Place, frames ...[]byte) {
	w.t.Helper()
	err := w.d.Do(from, func() error {
		i, err := net.InterfaceByName(fabric.GuestInterface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var before unix.CPUSet
		if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &w.cpu)); err != nil {
			return err
		}
		defer unix.SchedSetaffinity(0, &before)
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// arrivals are the places that saw the number, once an honest packet, sent behind it to a place that takes it, has
// arrived: packets of one sender keep their order.
func (w *wire) arrivals(number int, from fabric.Place, honest func(number int) []byte, to fabric.Place) (out []string) {
	w.t.Helper()
	behind := 100_000 + number
	deadline := time.Now().Add(30 * time.Second)
	w.send(from, honest(behind))
	for w.look(); !w.arrived(behind, fabric.NSName(to)); w.look() {
		if time.Now().After(deadline) {
			w.t.Fatalf("the honest packet behind number %d did not arrive", number)
		}
		if _, err := unix.Poll(w.all, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			w.t.Fatal(err)
		}
	}
	w.look() // what came before it, to places that were looked at before it came
	for _, s := range w.saw {
		if bytes.Contains(s.data, payload(number)) && s.at != fabric.NSName(from) { // to him, errors quote it
			out = append(out, s.at)
		}
	}
	return out
}

func (w *wire) arrived(number int, at string) bool {
	return slices.ContainsFunc(w.saw, func(s sighting) bool { return s.at == at && bytes.Contains(s.data, payload(number)) })
}

func payload(number int) []byte { return fmt.Appendf(nil, "%s%06d", secret, number) }

// routerMAC is that of every router's end.
var routerMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(to, from net.HardwareAddr, kind uint16, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(append([]byte(nil), to...), from...), kind), body...)
}

// ip4 is a whole IPv4 packet.
func ip4(src, dst string, protocol byte, options, body []byte) []byte {
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	b := make([]byte, 20, 20+len(options)+len(body))
	b[0] = 0x40 | byte(5+len(options)/4)
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(options)+len(body)))
	b[8], b[9] = 64, protocol
	copy(b[12:], addr(src).AsSlice())
	copy(b[16:], addr(dst).AsSlice())
	b = append(b, options...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, body...)
}

func udp4(src, dst string, sport, dport uint16, options, body []byte) []byte {
	d := make([]byte, 8, 8+len(body))
	binary.BigEndian.PutUint16(d, sport)
	binary.BigEndian.PutUint16(d[2:], dport)
	binary.BigEndian.PutUint16(d[4:], uint16(8+len(body)))
	return ip4(src, dst, unix.IPPROTO_UDP, options, append(d, body...))
}

// icmp4 is a message with the rest of its header, in which an error has what it is about.
func icmp4(kind, code byte, rest uint32, body []byte) []byte {
	b := make([]byte, 8, 8+len(body))
	b[0], b[1] = kind, code
	binary.BigEndian.PutUint32(b[4:], rest)
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// tcp4 is a segment of a flow, as errors quote it.
func tcp4(from, to netip.AddrPort, body []byte) []byte {
	b := make([]byte, 20, 20+len(body))
	binary.BigEndian.PutUint16(b, from.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	b[12], b[13] = 5<<4, ackFlag
	return ip4(from.Addr().String(), to.Addr().String(), unix.IPPROTO_TCP, nil, append(b, body...))
}

// ip6 is a whole IPv6 packet.
func ip6(src, dst string, next byte, body []byte) []byte {
	b := make([]byte, 40, 40+len(body))
	b[0], b[6], b[7] = 0x60, next, 255
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	copy(b[8:], addr(src).AsSlice())
	copy(b[24:], addr(dst).AsSlice())
	return append(b, body...)
}

func arp4(op uint16, senderMAC net.HardwareAddr, sender string, targetMAC net.HardwareAddr, target string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, senderMAC...), addr(sender).AsSlice()...)
	return append(append(b, targetMAC...), addr(target).AsSlice()...)
}

// attack is a frame that must not arrive anywhere, of a node whose root has all powers over its network.
type attack struct {
	name  string
	frame func(number int) []byte
	// opened says that the frame arrives where the router has no rules: they are what stops it.
	opened bool
}

// A node's root sends whatever Ethernet takes: nothing of it reaches anybody, in its network or in another. That the test sees what
// does arrive is shown by the honest packet behind each frame, and, of what only rules stop, by a router without rules.
func TestAttacksOfANode(t *testing.T) {
	topo := testTopology()
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topo))
	echo(t, listen(t, d, nic(lone1), "10.0.4.4:80"))
	flow, err := patient(t, d, nic(data1), "10.0.4.4:80") // data takes nothing from web by itself
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, d, topo)
	mac := w.mac[fabric.NICNS(web1)]
	victimMAC := w.mac[fabric.NICNS(web2)]
	const me, neighbour, closed = "10.0.1.4", "10.0.1.5", "10.0.2.4"
	ip := func(packet func(body []byte) []byte) func(int) []byte {
		return func(n int) []byte { return ethernet(routerMAC, mac, unix.ETH_P_IP, packet(payload(n))) }
	}
	frame := func(to net.HardwareAddr, kind uint16, packet func(body []byte) []byte) func(int) []byte {
		return func(n int) []byte { return ethernet(to, mac, kind, packet(payload(n))) }
	}
	to := func(src, dst string) func(body []byte) []byte {
		return func(body []byte) []byte { return udp4(src, dst, 4000, 5000, nil, body) }
	}
	protocol := func(p byte) func(body []byte) []byte {
		return func(body []byte) []byte { return ip4(me, neighbour, p, nil, body) }
	}
	source := netip.MustParseAddrPort(flow.LocalAddr().String())
	target := netip.MustParseAddrPort(flow.RemoteAddr().String())
	about := func(src string, kind, code byte, rest uint32) func(body []byte) []byte {
		return func(body []byte) []byte {
			return ip4(src, closed, unix.IPPROTO_ICMP, nil, icmp4(kind, code, rest, tcp4(source, target, body)))
		}
	}
	six := func(dst string, next byte) func(body []byte) []byte {
		return func(body []byte) []byte { return ip6("fe80::1", dst, next, append(make([]byte, 8), body...)) }
	}
	honest := func(n int) []byte {
		return ethernet(routerMAC, mac, unix.ETH_P_IP, udp4(me, neighbour, 4000, 5000, nil, payload(n)))
	}

	attacks := []attack{
		{"ICMP: unreachable, of another's flow", ip(about(me, 3, 1, 0)), true},
		{"ICMP: port unreachable, of another's flow", ip(about(me, 3, 3, 0)), true},
		{"ICMP: fragmentation needed, of another's flow", ip(about(me, 3, 4, 552)), true},
		{"ICMP: source quench, of another's flow", ip(about(me, 4, 0, 0)), true},
		{"ICMP: redirect, of another's flow", ip(about(me, 5, 1, 0x0a000104)), true},
		{"ICMP: time exceeded, of another's flow", ip(about(me, 11, 0, 0)), true},
		{"ICMP: parameter problem, of another's flow", ip(about(me, 12, 0, 0)), true},
		{"ICMP: unreachable in the name of the flow's end", ip(about("10.0.4.4", 3, 1, 0)), true},
		{"ICMP: unreachable in the name of the gateway", ip(about("169.254.1.1", 3, 1, 0)), false},
		{"ICMP: redirect in the name of the gateway", ip(about("169.254.1.1", 5, 1, 0x0a000104)), false},
		{"ICMP: unreachable, of no flow", ip(func(body []byte) []byte {
			return ip4(me, neighbour, unix.IPPROTO_ICMP, nil, icmp4(3, 1, 0, tcp4(netip.MustParseAddrPort(neighbour+":1"), netip.MustParseAddrPort("10.0.4.4:2"), body)))
		}), true},
		{"ICMP: an answer that nobody asked for", ip(func(body []byte) []byte {
			return ip4(me, neighbour, unix.IPPROTO_ICMP, nil, icmp4(0, 0, 77, body))
		}), true},
		{"ICMP: router advertisement", ip(func(body []byte) []byte {
			return ip4(me, closed, unix.IPPROTO_ICMP, nil, icmp4(9, 0, 0x01020708, body))
		}), true},

		{"IPv6: to a neighbour's link", frame(routerMAC, unix.ETH_P_IPV6, six("fe80::2", unix.IPPROTO_UDP)), false},
		{"IPv6: to all nodes", frame(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6, six("ff02::1", unix.IPPROTO_UDP)), false},
		{"IPv6: router advertisement", frame(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6, six("ff02::1", unix.IPPROTO_ICMPV6)), false},
		{"IPv6: to the internet", frame(routerMAC, unix.ETH_P_IPV6, six("2001:db8::1", unix.IPPROTO_TCP)), false},
		{"IPv6: to a mapped address", frame(routerMAC, unix.ETH_P_IPV6, six("::ffff:10.0.1.5", unix.IPPROTO_UDP)), false},
		{"IPv6: with hop-by-hop options", frame(routerMAC, unix.ETH_P_IPV6, six("fe80::2", unix.IPPROTO_HOPOPTS)), false},
		{"IPv6: a fragment", frame(routerMAC, unix.ETH_P_IPV6, six("fe80::2", unix.IPPROTO_FRAGMENT)), false},
		{"IPv6: with a routing header", frame(routerMAC, unix.ETH_P_IPV6, six("fe80::2", unix.IPPROTO_ROUTING)), false},
		{"IPv6: to the neighbour's own hardware address", frame(victimMAC, unix.ETH_P_IPV6, six("fe80::2", unix.IPPROTO_UDP)), false},
		{"IPv6: in an IPv4 frame", frame(routerMAC, unix.ETH_P_IP, six("fe80::2", unix.IPPROTO_UDP)), false},
		{"IPv6: inside IPv4", ip(protocol(unix.IPPROTO_IPV6)), true},

		{"broadcast: to all", frame(broadcastMAC, unix.ETH_P_IP, to(me, "255.255.255.255")), false},
		{"broadcast: to all, by the router", ip(to(me, "255.255.255.255")), false},
		{"broadcast: to the subnet", ip(to(me, "10.0.1.255")), false},
		{"broadcast: to the network", ip(to(me, "10.0.255.255")), false},
		{"broadcast: of the subnet's network address", ip(to(me, "10.0.1.0")), false},
		{"broadcast: a frame for the neighbour to all", frame(broadcastMAC, unix.ETH_P_IP, to(me, neighbour)), false},
		{"broadcast: a frame for the neighbour to a group", frame(net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, unix.ETH_P_IP, to(me, neighbour)), false},
		{"broadcast: a frame to the neighbour's own hardware address", frame(victimMAC, unix.ETH_P_IP, to(me, neighbour)), false},
		{"multicast: all hosts", frame(net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, unix.ETH_P_IP, to(me, "224.0.0.1")), false},
		{"multicast: mDNS", frame(net.HardwareAddr{1, 0, 0x5e, 0, 0, 251}, unix.ETH_P_IP, to(me, "224.0.0.251")), false},
		{"multicast: a group of the site, by the router", ip(to(me, "239.1.1.1")), false},
		{"multicast: membership", frame(net.HardwareAddr{1, 0, 0x5e, 0, 0, 22}, unix.ETH_P_IP, func(body []byte) []byte {
			return ip4(me, "224.0.0.22", unix.IPPROTO_IGMP, []byte{148, 4, 0, 0}, body)
		}), false},

		{"source: the neighbour's", ip(to(neighbour, "10.0.4.4")), true},
		{"source: the victim's own", ip(to(neighbour, neighbour)), true},
		{"source: nobody's", ip(to("0.0.0.0", neighbour)), false},
		{"source: broadcast", ip(to("255.255.255.255", neighbour)), false},
		{"source: a group", ip(to("224.0.0.1", neighbour)), false},
		{"source: loopback", ip(to("127.0.0.1", neighbour)), false},
		{"source: the platform", ip(to("168.63.129.16", neighbour)), false},
		{"source: another network's", ip(to("10.9.0.4", neighbour)), true},
		{"destination: loopback", ip(to(me, "127.0.0.1")), false},
		{"destination: the gateway", ip(to(me, "169.254.1.1")), false},
		{"destination: a link's address", ip(to(me, "169.254.77.77")), false},

		{"options: loose source route by the gateway", ip(func(body []byte) []byte {
			return udp4(me, "169.254.1.1", 4000, 5000, []byte{131, 7, 4, 10, 0, 2, 4}, body)
		}), false},
		{"options: strict source route by the gateway", ip(func(body []byte) []byte {
			return udp4(me, "169.254.1.1", 4000, 5000, []byte{137, 7, 4, 10, 0, 2, 4}, body)
		}), false},
		{"options: loose source route by the neighbour", ip(func(body []byte) []byte {
			return udp4(me, neighbour, 4000, 5000, []byte{131, 7, 4, 10, 0, 2, 4}, body)
		}), false},
		{"options: a source route that has been gone", ip(func(body []byte) []byte {
			return udp4(me, neighbour, 4000, 5000, []byte{131, 7, 8, 10, 0, 2, 4}, body)
		}), false},
		{"options: longer than their packet", ip(func(body []byte) []byte {
			return udp4(me, neighbour, 4000, 5000, []byte{7, 39, 4, 0}, body)
		}), false},

		{"protocol: IP in IP", ip(protocol(unix.IPPROTO_IPIP)), true},
		{"protocol: GRE", ip(protocol(unix.IPPROTO_GRE)), true},
		{"protocol: SCTP", ip(protocol(unix.IPPROTO_SCTP)), true},
		{"protocol: IGMP to a neighbour", ip(protocol(unix.IPPROTO_IGMP)), true},
		{"protocol: L2TP", ip(protocol(unix.IPPROTO_L2TP)), true},
		{"protocol: 253", ip(protocol(253)), true},

		{"frame: VLAN", frame(routerMAC, unix.ETH_P_8021Q, func(body []byte) []byte { return append([]byte{0, 7, 8, 0}, to(me, neighbour)(body)...) }), false},
		{"frame: VLAN 0", frame(routerMAC, unix.ETH_P_8021Q, func(body []byte) []byte { return append([]byte{0, 0, 8, 0}, to(neighbour, "10.0.4.4")(body)...) }), true},
		{"frame: provider's VLAN", frame(routerMAC, unix.ETH_P_8021AD, func(body []byte) []byte {
			return append([]byte{0, 7, 0x81, 0, 0, 8, 8, 0}, to(me, neighbour)(body)...)
		}), false},
		{"frame: MPLS", frame(routerMAC, unix.ETH_P_MPLS_UC, func(body []byte) []byte { return append([]byte{0, 1, 1, 64}, to(me, neighbour)(body)...) }), false},
		{"frame: PPPoE", frame(routerMAC, unix.ETH_P_PPP_SES, func(body []byte) []byte { return body }), false},
		{"frame: bridge protocol", frame(net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0}, 38, func(body []byte) []byte { return append([]byte{0x42, 0x42, 3}, body...) }), false},

		{"ARP: the neighbour's address is mine", frame(broadcastMAC, unix.ETH_P_ARP, func(body []byte) []byte {
			return append(arp4(2, mac, neighbour, broadcastMAC, neighbour), body...)
		}), false},
		{"ARP: the gateway's address is mine", frame(broadcastMAC, unix.ETH_P_ARP, func(body []byte) []byte {
			return append(arp4(2, mac, "169.254.1.1", broadcastMAC, "169.254.1.1"), body...)
		}), false},
		{"ARP: to the router, the neighbour's address is mine", frame(routerMAC, unix.ETH_P_ARP, func(body []byte) []byte {
			return append(arp4(2, mac, neighbour, routerMAC, "169.254.1.1"), body...)
		}), false},
		{"ARP: asks in the neighbour's name", frame(broadcastMAC, unix.ETH_P_ARP, func(body []byte) []byte {
			return append(arp4(1, mac, neighbour, make(net.HardwareAddr, 6), "169.254.1.1"), body...)
		}), false},
		{"ARP: to the neighbour's own hardware address", frame(victimMAC, unix.ETH_P_ARP, func(body []byte) []byte {
			return append(arp4(2, mac, "169.254.1.1", victimMAC, neighbour), body...)
		}), false},
	}
	number := 0
	try := func(a attack) []string {
		number++
		w.send(nic(web1), a.frame(number))
		return w.arrivals(number, nic(web1), honest, nic(web2))
	}
	for _, a := range attacks {
		if got := try(a); len(got) > 0 {
			t.Errorf("%s: arrived at %v", a.name, got)
		}
	}
	// What ARP was told changes nothing: the neighbour's packets are the neighbour's.
	number++
	lone := w.mac[fabric.NICNS(lone1)]
	w.send(nic(lone1), ethernet(routerMAC, lone, unix.ETH_P_IP, udp4("10.0.4.4", neighbour, 4000, 5000, nil, payload(number))))
	got := w.arrivals(number, nic(lone1), func(n int) []byte {
		return ethernet(routerMAC, lone, unix.ETH_P_IP, udp4("10.0.4.4", neighbour, 4000, 5001, nil, payload(n)))
	}, nic(web2))
	if len(got) != 1 || got[0] != fabric.NICNS(web2) {
		t.Errorf("a packet to the neighbour arrived at %v", got)
	}
	// The error that the flow's own end sends does arrive.
	number++
	w.send(nic(lone1), ethernet(routerMAC, lone, unix.ETH_P_IP, about("10.0.4.4", 3, 4, 1400)(payload(number))))
	got = w.arrivals(number, nic(lone1), func(n int) []byte {
		return ethernet(routerMAC, lone, unix.ETH_P_IP, udp4("10.0.4.4", neighbour, 4000, 5001, nil, payload(n)))
	}, nic(web2))
	if len(got) != 1 || got[0] != fabric.NICNS(data1) {
		t.Errorf("the error of the flow's own end arrived at %v", got)
	}
	if err := say(flow, "still there"); err != nil {
		t.Error(err)
	}
	if err := d.Verify(t.Context()); err != nil {
		t.Error(err)
	}

	// Without rules, what they stop arrives.
	if err := d.deleteTable(t.Context(), d.space(fabric.RouterNS(vnet1)), table); err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks {
		if got := try(a); (len(got) > 0) != a.opened {
			t.Errorf("without rules, %s: arrived at %v", a.name, got)
		}
	}
	apply(t, d, compile(t, topo))
}
