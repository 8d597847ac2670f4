package linux

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// raw sends IP packets from a place, each as make writes it.
func raw(t *testing.T, d *Driver, from fabric.Place, n int, make func(i int) (packet []byte, to netip.Addr)) {
	t.Helper()
	err := d.Do(from, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for i := range n {
			b, to := make(i)
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A NIC that opens connections without end meets its own limit; the others of its VNet go on, and so does what it
// had before.
func TestConnectionsOfOneNIC(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	echo(t, listen(t, d, nic(web2), "10.0.1.5:80"))
	echo(t, listen(t, d, nic(web1), "10.0.1.4:80"))
	own, err := patient(t, d, nic(web1), "10.0.1.5:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.runNFT(t.Context(), d.space(fabric.NICNS(web2)), "table inet silence {\nchain input { type filter hook input priority 0; policy accept; meta l4proto udp drop; }\n}\n", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	// A slow machine must not forget the first ones before the last have been sent.
	if err := d.Do(router(vnet1), func() error { return sysctl("net.netfilter.nf_conntrack_udp_timeout", "3600") }); err != nil {
		t.Fatal(err)
	}
	limit := *fabricRule(fabric.RuleConnections)
	const flood = 60_000
	raw(t, d, nic(web1), flood, func(i int) ([]byte, netip.Addr) {
		pr := probe{src: addr("10.0.1.4"), dst: addr("10.0.1.5"), proto: fabric.UDP, sport: uint16(1024 + i%30_000), dport: uint16(1 + i/30_000)}
		return packetOf(pr, uint16(i)), pr.dst
	})
	for deadline := time.Now().Add(20 * time.Second); counted(t, d, limit) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections were let pass", flood)
		}
	}
	if err := say(own, "what there was"); err != nil {
		t.Error(err)
	}
	if _, err := quick(t, d, nic(web1), "10.0.1.5:80"); err == nil {
		t.Error("the NIC has room for another connection")
	}
	c, err := patient(t, d, nic(lone1), "10.0.1.4:80")
	if err != nil {
		t.Fatalf("another NIC: %v", err)
	}
	if err := say(c, "not concerned"); err != nil {
		t.Error(err)
	}
	if err := d.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	apply(t, d, compile(t, testTopology()))
}

// What is no whole packet of a protocol is judged as one or dropped, never let past a rule: the parts of a
// fragmented datagram go where it may go, and a part without the beginning nowhere.
func TestFragmentsAndMalformedPackets(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	p := newProber(t, d)
	const closed, open = 23, 80 // no-telnet is for TCP; both subnets let the rest pass
	to := func(port uint16, proto fabric.Protocol) probe {
		return probe{src: addr("10.0.1.4"), dst: addr("10.0.1.5"), proto: proto, sport: p.port(), dport: port}
	}
	refused := *nsgRule("nsg-web", fabric.Inbound, "no-telnet")
	for _, c := range []struct {
		name    string
		packets [][]byte
		arrives bool
		by      *fabric.RuleRef
	}{
		{name: "in two parts, allowed", packets: fragments(packetOf(to(open, fabric.TCP), 1001)), arrives: true},
		{name: "in two parts, refused", packets: fragments(packetOf(to(closed, fabric.TCP), 1002)), by: &refused},
		{name: "the second part alone", packets: fragments(packetOf(to(open, fabric.TCP), 1003))[1:]},
		{name: "the first part alone", packets: fragments(packetOf(to(closed, fabric.TCP), 1004))[:1]},
		{name: "no header of its protocol", packets: [][]byte{packetOf(to(open, fabric.TCP), 1005)[:24]}, by: fabricRule(fabric.RuleInvalid)},
		{name: "every flag", packets: [][]byte{flagged(packetOf(to(open, fabric.TCP), 1006), 0xff)}, by: fabricRule(fabric.RuleInvalid)},
		{name: "no flag", packets: [][]byte{flagged(packetOf(to(open, fabric.TCP), 1007), 0)}, by: fabricRule(fabric.RuleInvalid)},
		{name: "a header that is longer than the packet", packets: [][]byte{offset(packetOf(to(open, fabric.TCP), 1008), 15)}, by: fabricRule(fabric.RuleInvalid)},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := d.Counters(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			raw(t, d, nic(web1), len(c.packets), func(i int) ([]byte, netip.Addr) { return c.packets[i], addr("10.0.1.5") })
			// Packets of one sender keep their order: when the last has arrived, so have the others.
			last := p.port()
			id := 2000 + last
			raw(t, d, nic(web1), 1, func(int) ([]byte, netip.Addr) {
				pr := probe{src: addr("10.0.1.4"), dst: addr("10.0.1.5"), proto: fabric.UDP, sport: last, dport: open}
				return packetOf(pr, id), pr.dst
			})
			arrived := func(id uint16) bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.arrived[id] == fabric.NICNS(web2)
			}
			for deadline := time.Now().Add(20 * time.Second); !arrived(id); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the packet behind it did not arrive")
				}
			}
			if got := arrived(binary.BigEndian.Uint16(c.packets[0][4:])); got != c.arrives {
				t.Errorf("arrived: %v, want %v", got, c.arrives)
			}
			now, err := d.Counters(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for ref, n := range now {
				if want := c.by != nil && ref == *c.by; (n > before[ref]) != want {
					t.Errorf("%v rose from %d to %d", ref, before[ref], n)
				}
			}
		})
	}
}

// fragments cuts an IP packet in two, behind the first 8 bytes of its content.
func fragments(b []byte) [][]byte {
	first, second := append([]byte(nil), b[:28]...), append(append([]byte(nil), b[:20]...), b[28:]...)
	first[6] |= 0x20 // more follow
	binary.BigEndian.PutUint16(second[6:], 1)
	return [][]byte{first, second}
}

func flagged(b []byte, flags byte) []byte {
	b[33] = flags
	binary.BigEndian.PutUint16(b[36:], 0)
	binary.BigEndian.PutUint16(b[36:], checksum(append(append(append([]byte(nil), b[12:20]...), 0, 6), 0, byte(len(b)-20)), b[20:]))
	return b
}

func offset(b []byte, words byte) []byte {
	b[32] = words << 4
	return flagged(b, 2)
}

// What a forwarding NIC begins in another's name opens no way for that one past its own rules: neither to another
// NIC nor to a private endpoint, and also where the answer has come back.
func TestFlowBegunInAnothersName(t *testing.T) {
	topo := testTopology()
	v := &topo.VNets[0]
	no := rule("no", 100, fabric.Outbound, false, fabric.UDP, "*", "*", "*")
	topo.NSGs["nsg-closed"] = &fabric.NSG{ID: "nsg-closed", Rules: []fabric.Rule{no}}
	v.NICs = append(v.NICs, fabric.NIC{ID: "appliance", Subnet: "public", Addrs: []netip.Addr{addr("10.0.5.9")}, Forwarding: true},
		fabric.NIC{ID: "closed", Subnet: "lone", NSG: "nsg-closed", Addrs: []netip.Addr{addr("10.0.4.20")}})
	v.Subnets[4].NSG, v.Subnets[3].NSG = "", ""
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topo))
	server, err := d.ListenPacket(t.Context(), nic(lone1), "10.0.4.4:80")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	pr := probe{src: addr("10.0.4.20"), dst: addr("10.0.4.4"), proto: fabric.UDP, sport: 5000, dport: 80}
	send := func(from fabric.Place) {
		raw(t, d, from, 1, func(int) ([]byte, netip.Addr) { return packetOf(pr, 7), pr.dst })
	}
	server.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 64)
	var back net.Addr
	for back == nil { // the interfaces may not be up yet
		send(nic("appliance"))
		server.SetReadDeadline(time.Now().Add(time.Second))
		_, back, _ = server.ReadFrom(buf)
	}
	client, err := d.ListenPacket(t.Context(), nic("closed"), "10.0.4.20:5000")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := server.WriteTo([]byte("answer"), back); err != nil {
		t.Fatal(err)
	}
	client.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, _, err := client.ReadFrom(buf); err != nil {
		t.Fatalf("the answer: %v", err)
	}
	expect := func(ref fabric.RuleRef, send func()) {
		t.Helper()
		before := counted(t, d, ref)
		send()
		for deadline := time.Now().Add(20 * time.Second); counted(t, d, ref) == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s has not judged the packet", ref)
			}
		}
	}
	expect(*nsgRule("nsg-closed", fabric.Outbound, "no"), func() { send(nic("closed")) })
	topo.NSGs["nsg-closed"].Rules = append(topo.NSGs["nsg-closed"].Rules, rule("none", 110, fabric.Inbound, false, fabric.UDP, "*", "*", "*"))
	apply(t, d, compile(t, topo))
	expect(*nsgRule("nsg-closed", fabric.Inbound, "none"), func() {
		if _, err := server.WriteTo([]byte("another"), back); err != nil {
			t.Error(err)
		}
	})
}

// The same to a private endpoint, which answers the one in whose name it was asked.
func TestEndpointFlowBegunInAnothersName(t *testing.T) {
	topo := testTopology()
	v := &topo.VNets[0]
	topo.NSGs["nsg-closed"] = &fabric.NSG{ID: "nsg-closed", Rules: []fabric.Rule{rule("no", 100, fabric.Outbound, false, fabric.TCP, "*", "*", "*")}}
	v.NICs = append(v.NICs, fabric.NIC{ID: "appliance", Subnet: "public", Addrs: []netip.Addr{addr("10.0.5.9")}, Forwarding: true},
		fabric.NIC{ID: "closed", Subnet: "lone", NSG: "nsg-closed", Addrs: []netip.Addr{addr("10.0.4.20")}})
	v.Subnets[4].NSG, v.Subnets[3].NSG = "", ""
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, topo))
	var endpoint netip.Addr
	for _, n := range v.NICs {
		if n.Kind == fabric.Endpoint && n.Service != nil {
			endpoint = n.Addrs[0]
		}
	}
	echo(t, listen(t, d, router(vnet1), netip.AddrPortFrom(endpoint, 443).String()))
	if _, err := patient(t, d, nic("appliance"), netip.AddrPortFrom(endpoint, 443).String()); err != nil {
		t.Fatal(err)
	}
	pr := probe{src: addr("10.0.4.20"), dst: endpoint, proto: fabric.TCP, sport: 5001, dport: 443}
	syn := func(from fabric.Place) {
		raw(t, d, from, 1, func(int) ([]byte, netip.Addr) { return packetOf(pr, 7), pr.dst })
	}
	ref := *nsgRule("nsg-closed", fabric.Outbound, "no")
	// The answer to the first makes the flow an established one; the reset that closed's kernel sends is judged.
	before := counted(t, d, ref)
	for deadline := time.Now().Add(20 * time.Second); counted(t, d, ref) == before; time.Sleep(10 * time.Millisecond) {
		syn(nic("appliance"))
		if time.Now().After(deadline) {
			t.Fatal("what the endpoint's answer made the sender send was not judged")
		}
	}
}
