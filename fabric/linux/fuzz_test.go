package linux

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// What a guest sends reaches the log's reader as it is.
func FuzzParsePacket(f *testing.F) {
	for _, proto := range []fabric.Protocol{fabric.TCP, fabric.UDP, fabric.ICMP, fabric.ESP} {
		pkt := packetOf(probe{src: addr("10.0.0.4"), dst: addr("10.0.0.5"), proto: proto, sport: 1, dport: 2}, 7)
		data, err := netlink.MarshalAttributes([]netlink.Attribute{
			{Type: nfulaPrefix, Data: []byte("c_1\x00")}, {Type: nfulaPayload, Data: pkt}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte{2, 0, 0, 5}, data...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, ok := parsePacket(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_ULOG << 8)}, Data: data})
		if ok && p.prefix == "" {
			t.Error("a packet without a prefix")
		}
	})
}

func FuzzParseHeld(f *testing.F) {
	pkt := packetOf(probe{src: addr("10.0.0.4"), dst: addr("10.0.0.5"), proto: fabric.TCP, sport: 1, dport: 2}, 7)
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: nfqaPacketHdr, Data: []byte{0, 0, 0, 9, 8, 0, 3}}, {Type: nfqaPayload, Data: pkt}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte{2, 0, 0, 5}, data...))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, ok := parseHeld(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8 | nfqnlMsgPacket)}, Data: data})
		if p.ok && !p.flow.Local.IsValid() && ok {
			t.Error("a flow from nowhere")
		}
	})
}

func FuzzParseListing(f *testing.F) {
	f.Add("table inet vauban {\n\tcounter c {\n\t}\n\n\tset s {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 10.0.0.0/8, 20.0.0.0-20.0.0.5,\n\t\t\t     192.168.1.1 }\n\t}\n}\n")
	f.Add("table inet vauban {\n\tmap m {\n\t\ttype ifname : verdict\n\t\telements = { \"n1\" : goto x }\n\t}\n\n\tchain x {\n\t\ttype filter hook forward priority 0; policy drop;\n\t\tct state 0x2,0x4 accept\n\t\ttcp dport vmap { 0-79 : drop, 80 : accept }\n\t}\n}\n")
	f.Add("table inet vauban {\n\tchain x {\n\t\t0 { 1, { 2 } @th,0,32 5 meta l4proto 6\n")
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := parseListing(text)
		if err != nil {
			return
		}
		rs, err := newRuleset(objects, nil)
		if err != nil {
			return
		}
		again, err := newRuleset(objects, nil)
		if err != nil || difference(rs, again) != "" {
			t.Errorf("equal listings differ: %v %s", err, difference(rs, again))
		}
	})
}
