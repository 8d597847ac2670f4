package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// Flow is the beginning or the end of a connection that a router let pass, as its connection tracking tells.
type Flow struct {
	Time      time.Time
	Namespace string // fabric.RouterNS of the VNet
	End       bool   // it has ended; else it has begun
	Protocol  fabric.Protocol
	// Src and Dst of the first packet as it arrived at the router; ports are 0 for what has none.
	Src, Dst netip.AddrPort
	// ReplySrc is who answers: Dst after its translation. ReplyDst is to whom: Src after its translation.
	ReplySrc, ReplyDst netip.AddrPort
	// Answered: something came back.
	Answered bool
	// Packets and bytes in both directions, of an End and of a listing.
	SentPackets, SentBytes, ReceivedPackets, ReceivedBytes uint64
}

// The protocol of conntrack's events (linux/netfilter/nfnetlink_conntrack.h), which x/sys does not have.
const (
	ctnlMsgNew    = 0
	ctnlMsgGet    = 1
	ctnlMsgDelete = 2

	nfnlGroupNew     = 1
	nfnlGroupDestroy = 3

	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaCountersOrig  = 9
	ctaCountersReply = 10

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ipsSeenReply = 1 << 1 // linux/netfilter/nf_conntrack_common.h

	ctaIPv4Src = 1
	ctaIPv4Dst = 2

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaCountersPackets = 1
	ctaCountersBytes   = 2
)

// flowReaders are the readers of connections: one a router, opened and closed by FollowFlows.
type flowReaders struct {
	mu      sync.Mutex
	readers map[string]*tap
}

// FollowFlows reports the connections of these routers (namespaces) and no other's from now on, until it is
// called again; none ends all reports. Counting begins in a router when it is first named here. deliver is called
// by several goroutines and must not block. A router that does not exist yet is an error, and the others are
// followed all the same.
func (d *Driver) FollowFlows(ctx context.Context, routers map[string]bool, deliver func(Flow)) error {
	f := &d.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	var gone []*tap
	for name, r := range f.readers {
		if !routers[name] {
			gone = append(gone, r)
			delete(f.readers, name)
		}
	}
	stop(gone)
	var errs []error
	for name := range routers {
		if f.readers[name] != nil || ctx.Err() != nil {
			continue
		}
		if err := f.open(d, name, deliver); err != nil {
			errs = append(errs, fmt.Errorf("connections of %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (f *flowReaders) open(d *Driver, name string, deliver func(Flow)) error {
	ns, err := d.open(name)
	if err != nil {
		return err
	}
	defer ns.Close()
	var c *netlink.Conn
	err = d.enter(ns, func() (err error) {
		if err := sysctl("net.netfilter.nf_conntrack_acct", "1"); err != nil {
			return err
		}
		if c, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
			return err
		}
		for _, group := range []uint32{nfnlGroupNew, nfnlGroupDestroy} {
			if err := c.JoinGroup(group); err != nil {
				return errors.Join(err, c.Close())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := &tap{conn: c, done: make(chan struct{})}
	if f.readers == nil {
		f.readers = map[string]*tap{}
	}
	f.readers[name] = r
	go r.follow(func(flow Flow) {
		flow.Time, flow.Namespace = d.taps.clock.Now(), name
		deliver(flow)
	})
	return nil
}

func (f *flowReaders) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*tap
	for _, r := range f.readers {
		all = append(all, r)
	}
	f.readers = nil
	stop(all)
}

// Flows are the connections that a router tracks now, with their counts so far, if FollowFlows counts there.
// ErrNoNamespace.
func (d *Driver) Flows(ctx context.Context, router string) (out []Flow, err error) {
	ns, err := d.open(router)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var c *netlink.Conn
	if err := d.enter(ns, func() (err error) {
		c, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}); err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	msgs, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctnlMsgGet), Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return nil, fmt.Errorf("connections of %s: %w", router, err)
	}
	now := d.taps.clock.Now()
	for _, m := range msgs {
		if f, ok := parseFlow(m); ok {
			f.Time, f.Namespace = now, router
			out = append(out, f)
		}
	}
	return out, nil
}

// closeOne ends the reader of a namespace that goes.
func (f *flowReaders) closeOne(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.readers[name]; r != nil {
		delete(f.readers, name)
		stop([]*tap{r})
	}
}

// follow reads events until the socket is closed. Events that the kernel could not keep are lost.
func (t *tap) follow(deliver func(Flow)) {
	defer close(t.done)
	for {
		msgs, err := t.conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			continue
		}
		if err != nil {
			return
		}
		for _, m := range msgs {
			if f, ok := parseFlow(m); ok {
				deliver(f)
			}
		}
	}
}

// parseFlow reads an event; ok is false for what is none of an IPv4 connection.
func parseFlow(m netlink.Message) (f Flow, ok bool) {
	kind := uint16(m.Header.Type) & 0xff
	if uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_CTNETLINK || len(m.Data) < 4 || m.Data[0] != unix.AF_INET {
		return f, false
	}
	switch kind {
	case ctnlMsgNew:
	case ctnlMsgDelete:
		f.End = true
	default:
		return f, false
	}
	attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		return f, false
	}
	for _, a := range attrs {
		switch a.Type & nlaTypeMask {
		case ctaTupleOrig:
			f.Protocol, f.Src, f.Dst = parseTuple(a.Data)
		case ctaTupleReply:
			_, f.ReplySrc, f.ReplyDst = parseTuple(a.Data)
		case ctaStatus:
			f.Answered = len(a.Data) == 4 && binary.BigEndian.Uint32(a.Data)&ipsSeenReply != 0
		case ctaCountersOrig:
			f.SentPackets, f.SentBytes = parseCounters(a.Data)
		case ctaCountersReply:
			f.ReceivedPackets, f.ReceivedBytes = parseCounters(a.Data)
		}
	}
	return f, f.Src.IsValid() && f.Dst.IsValid()
}

// nlaTypeMask takes the flags of nested and byte-ordered attributes away.
const nlaTypeMask = 0x3fff

func parseTuple(data []byte) (p fabric.Protocol, src, dst netip.AddrPort) {
	var from, to netip.Addr
	var sport, dport uint16
	each(data, func(kind uint16, data []byte) {
		each(data, func(inner uint16, b []byte) {
			switch {
			case kind == ctaTupleIP && inner == ctaIPv4Src && len(b) == 4:
				from = netip.AddrFrom4([4]byte(b))
			case kind == ctaTupleIP && inner == ctaIPv4Dst && len(b) == 4:
				to = netip.AddrFrom4([4]byte(b))
			case kind == ctaTupleProto && inner == ctaProtoNum && len(b) == 1:
				p = fabric.Protocol(b[0])
			case kind == ctaTupleProto && inner == ctaProtoSrcPort && len(b) == 2:
				sport = binary.BigEndian.Uint16(b)
			case kind == ctaTupleProto && inner == ctaProtoDstPort && len(b) == 2:
				dport = binary.BigEndian.Uint16(b)
			}
		})
	})
	if !from.IsValid() || !to.IsValid() {
		return p, netip.AddrPort{}, netip.AddrPort{}
	}
	return p, netip.AddrPortFrom(from, sport), netip.AddrPortFrom(to, dport)
}

func parseCounters(data []byte) (packets, bytes uint64) {
	each(data, func(kind uint16, b []byte) {
		switch {
		case len(b) != 8:
		case kind == ctaCountersPackets:
			packets = binary.BigEndian.Uint64(b)
		case kind == ctaCountersBytes:
			bytes = binary.BigEndian.Uint64(b)
		}
	})
	return packets, bytes
}

// each yields nested attributes; malformed ones end it.
func each(data []byte, f func(kind uint16, data []byte)) {
	attrs, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return
	}
	for _, a := range attrs {
		f(a.Type&nlaTypeMask, a.Data)
	}
}
