package vpn

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// spoofed is a whole IPv4 packet; the kernel fills in its length and checksum.
func spoofed(src, dst, text string) []byte {
	b := make([]byte, 28, 28+len(text))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(b[12:], netip.MustParseAddr(src).AsSlice())
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	binary.BigEndian.PutUint16(b[20:], 4000)
	binary.BigEndian.PutUint16(b[22:], 7)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(text)))
	return append(b, text...)
}

// inject writes a packet into the client's tunnel, whatever it says.
func (r *rig) inject(packet []byte) {
	r.Helper()
	err := r.driver.Do(fabric.Place{Kind: fabric.AtHost, ID: site}, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.BindToDevice(fd, fabric.TunnelInterface("wg-"+r.Name())); err != nil {
			return err
		}
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])})
	})
	if err != nil {
		r.Fatal(err)
	}
}

// Whatever source a client writes into its packets, what comes out of the tunnel is from its own address: its root is nobody
// else, no machine of the network, and not the gateway. Of a peer that the gateway lets send anything, it would be.
func TestClientSpoofs(t *testing.T) {
	p2sTunnel := fabric.Tunnel{Name: p2s, Prefixes: []netip.Prefix{pool}}
	r := newRig(t, p2sTunnel)
	topo := hub(p2sTunnel)
	topo.VNets[0].Subnets[1].NSG = "" // nothing but the tunnel stops anybody
	s, err := fabric.Compile(topo)
	if err == nil {
		err = r.driver.Apply(t.Context(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.serveAt(webNIC, "10.0.1.4:80")
	target, err := r.driver.ListenPacket(t.Context(), fabric.Place{Kind: fabric.AtNIC, ID: webNIC}, "10.0.1.4:7")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	gateway, alice, bob := NewPrivateKey(), NewPrivateKey(), NewPrivateKey()
	tunnel := func(alicesPrefixes ...string) Tunnel {
		a := Peer{Public: alice.Public()}
		for _, p := range alicesPrefixes {
			a.Prefixes = append(a.Prefixes, netip.MustParsePrefix(p))
		}
		return Tunnel{Name: p2s, NIC: gatewayNIC, Private: gateway, Peers: []Peer{a, client(bob, "172.20.0.3")}}
	}
	r.set(tunnel("172.20.0.2/32"))
	r.join(r.profile(gateway, alice, "172.20.0.2"))
	if _, err := r.call("10.0.1.4:80", patient); err != nil {
		t.Fatal(err)
	}
	if err := r.everywhere(gateway.Public()); err != nil {
		t.Fatal(err)
	}
	number := 0
	// spoof sends a packet and an honest one behind it, and says from whom the first came, if it came.
	spoof := func(src, dst string) string {
		t.Helper()
		number++
		r.inject(spoofed(src, dst, fmt.Sprintf("spoofed %d", number)))
		last := fmt.Sprintf("honest %d", number)
		r.inject(spoofed("172.20.0.2", "10.0.1.4", last))
		target.SetReadDeadline(time.Now().Add(30 * time.Second))
		from, buf := "", make([]byte, 100)
		for {
			n, addr, err := target.ReadFrom(buf)
			if err != nil {
				t.Fatalf("the honest packet behind one from %s: %v", src, err)
			}
			if string(buf[:n]) == last {
				return from
			}
			from, _, _ = strings.Cut(addr.String(), ":")
		}
	}
	const nobodys = "172.20.0.4" // of the pool
	for _, src := range []string{"172.20.0.3", nobodys, "10.0.255.4", "10.0.1.4", "10.0.1.5", "10.0.9.9", "198.51.100.7", "168.63.129.16", "169.254.169.254", "169.254.1.1", "224.0.0.1", "255.255.255.255"} {
		if got := spoof(src, "10.0.1.4"); got != "" {
			t.Errorf("a packet from %s arrived, from %s", src, got)
		}
	}
	if got := spoof("172.20.0.2", "10.0.1.4"); got != "172.20.0.2" {
		t.Errorf("her own arrived from %q", got)
	}
	r.set(tunnel("172.20.0.2/32", nobodys+"/32"))
	if got := spoof(nobodys, "10.0.1.4"); got != nobodys {
		t.Errorf("with %s among the addresses that she may send from, it arrived from %q", nobodys, got)
	}
}
