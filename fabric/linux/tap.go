package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// The protocol of nfnetlink_log (linux/netfilter/nfnetlink_log.h), which x/sys does not have.
const (
	nfulnlMsgPacket = 0
	nfulnlMsgConfig = 1

	nfulaPayload = 9
	nfulaPrefix  = 10

	nfulaCfgCmd     = 1
	nfulaCfgMode    = 2
	nfulaCfgTimeout = 4

	nfulnlCfgCmdBind = 1

	nfulnlCopyPacket = 2
)

// Enough of a packet for its headers, and how long the kernel may wait to send several at once, in
// hundredths of a second.
const (
	copyRange   = 128
	copyTimeout = 2
)

// logGroups are the groups that a tap reads.
var logGroups = []uint16{fabric.LogGroup, fabric.PassGroup}

// tap is a netlink socket bound to the log groups of one namespace.
type tap struct {
	conn *netlink.Conn
	done chan struct{}
}

// packet is what a log message says.
type packet struct {
	group    uint16
	prefix   string
	protocol fabric.Protocol
	src, dst netip.AddrPort
	id       uint16 // IPv4 identification
	lost     uint64 // overruns of the socket's buffer before it
}

// newTap must run on a thread in the namespace.
func newTap() (*tap, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	mode := make([]byte, 6) // range, mode, padding
	binary.BigEndian.PutUint32(mode, copyRange)
	mode[4] = nfulnlCopyPacket
	timeout := make([]byte, 4)
	binary.BigEndian.PutUint32(timeout, copyTimeout)
	for _, group := range logGroups {
		for _, a := range []netlink.Attribute{
			{Type: nfulaCfgCmd, Data: []byte{nfulnlCfgCmdBind}},
			{Type: nfulaCfgMode, Data: mode},
			{Type: nfulaCfgTimeout, Data: timeout},
		} {
			if err := configure(c, group, a); err != nil {
				c.Close()
				return nil, fmt.Errorf("log group %d: %w", group, err)
			}
		}
	}
	return &tap{conn: c, done: make(chan struct{})}, nil
}

func configure(c *netlink.Conn, group uint16, a netlink.Attribute) error {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{a})
	if err != nil {
		return err
	}
	head := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}
	binary.BigEndian.PutUint16(head[2:], group)
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_ULOG<<8 | nfulnlMsgConfig),
			Flags: netlink.Request | netlink.Acknowledge,
		},
		Data: append(head, data...),
	})
	return err
}

// run reads until the socket is closed.
func (t *tap) run(deliver func(packet)) {
	defer close(t.done)
	var lost uint64
	for {
		msgs, err := t.conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			lost++
			continue
		}
		if err != nil {
			return
		}
		for _, m := range msgs {
			p, ok := parsePacket(m)
			if !ok {
				continue
			}
			p.lost, lost = lost, 0
			deliver(p)
		}
	}
}

func parsePacket(m netlink.Message) (packet, bool) {
	if m.Header.Type != netlink.HeaderType(unix.NFNL_SUBSYS_ULOG<<8|nfulnlMsgPacket) || len(m.Data) < 4 {
		return packet{}, false
	}
	attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		return packet{}, false
	}
	p := packet{group: binary.BigEndian.Uint16(m.Data[2:])}
	for _, a := range attrs {
		switch a.Type {
		case nfulaPrefix:
			p.prefix = strings.TrimSpace(strings.TrimRight(string(a.Data), "\x00"))
		case nfulaPayload:
			p.parse(a.Data)
		}
	}
	return p, p.prefix != ""
}

// parse reads the headers of an IPv4 packet; what is not there stays zero. Only the first fragment has
// ports.
func (p *packet) parse(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	p.protocol, p.id = fabric.Protocol(b[9]), binary.BigEndian.Uint16(b[4:])
	var sport, dport uint16
	head := int(b[0]&0x0f) * 4
	first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0
	if (p.protocol == fabric.TCP || p.protocol == fabric.UDP) && first && head >= 20 && len(b) >= head+4 {
		sport = binary.BigEndian.Uint16(b[head:])
		dport = binary.BigEndian.Uint16(b[head+2:])
	}
	p.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), sport)
	p.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), dport)
}
