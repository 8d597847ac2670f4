package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// The protocol of nfnetlink_queue (linux/netfilter/nfnetlink_queue.h), which x/sys does not have.
const (
	nfqnlMsgPacket       = 0
	nfqnlMsgConfig       = 2
	nfqnlMsgVerdictBatch = 3

	nfqaPacketHdr  = 1
	nfqaVerdictHdr = 2
	nfqaMark       = 3
	nfqaPayload    = 10

	nfqaCfgCmd    = 1
	nfqaCfgParams = 2
	nfqaCfgMask   = 4
	nfqaCfgFlags  = 5

	nfqnlCfgCmdBind   = 1
	nfqnlCopyPacket   = 2
	nfqaCfgFFailOpen  = 1
	nfAccept          = 1
	nftTableFOwner    = 2
	xtNFQueueBypass   = 1 // linux/netfilter/xt_NFQUEUE.h: a queue that nobody reads lets packets pass
	xtNFQueueRevision = 3
)

const (
	holdTable = "vauban_hold"
	holdQueue = 8611
	heldMark  = 0x76620001
	// held packets of a place at most: the kernel queues 1,024, and lets pass what does not fit.
	maxHeld = 1024
)

// holders hold back first packets: one a namespace, as long as anybody follows.
type holders struct {
	mu   sync.Mutex
	open map[string]*holder
}

// holder of a namespace. Its table belongs to the socket that made it: it goes with the process.
type holder struct {
	ns           *os.File
	table, queue *netlink.Conn
	packets      chan held
	done         chan struct{}

	mu   sync.Mutex
	next int
	tell map[int]Follower
}

// Follower is told who begins flows.
type Follower struct {
	// Tell must not block.
	Tell func(f SocketID, process string)
	// Others is asked for what nobody has whom this process sees, as of a command's process outside the region; nil: nobody
	// is. What it asks for waits until it returns.
	Others Processes
}

type held struct {
	id   uint32
	flow SocketID
	ok   bool // it is TCP's or UDP's
}

// FollowOwners tells who begins flows by TCP or UDP at a place, until stop is called: the first packet of a flow leaves the
// place after Tell was called with it and its process, as Owners names it. Nobody can end a connection before it was looked
// up, except by ending its process or socket while connect waits. "" is told of a socket that was gone by then, as of UDP
// that is sent and closed at once. Of a flow that began earlier it is told at the next packet that the place sends.
// ErrNoNamespace; it ends by itself when the place goes.
func (d *Driver) FollowOwners(at fabric.Place, f Follower) (stop func(), err error) {
	name := fabric.NSName(at)
	hs := &d.holders
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.open[name]
	if h == nil {
		ns, err := d.open(name)
		if err != nil {
			return nil, err
		}
		if h, err = d.newHolder(ns); err != nil {
			return nil, errors.Join(fmt.Errorf("hold packets of %s: %w", name, err), ns.Close())
		}
		if hs.open == nil {
			hs.open = map[string]*holder{}
		}
		hs.open[name] = h
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	key := h.next
	h.tell[key] = f
	return sync.OnceFunc(func() { hs.leave(name, h, key) }), nil
}

// leave ends a holder with its last follower.
func (hs *holders) leave(name string, h *holder, key int) {
	h.mu.Lock()
	delete(h.tell, key)
	last := len(h.tell) == 0
	h.mu.Unlock()
	if !last {
		return
	}
	hs.mu.Lock()
	if hs.open[name] != h { // the place has gone, or another left
		hs.mu.Unlock()
		return
	}
	delete(hs.open, name)
	hs.mu.Unlock()
	h.close()
}

// closeOne ends the holder of a namespace that goes.
func (hs *holders) closeOne(name string) {
	hs.mu.Lock()
	h := hs.open[name]
	delete(hs.open, name)
	hs.mu.Unlock()
	if h != nil {
		h.close()
	}
}

func (hs *holders) closeAll() {
	hs.mu.Lock()
	all := maps.Clone(hs.open)
	hs.mu.Unlock()
	for name := range all {
		hs.closeOne(name)
	}
}

func (d *Driver) newHolder(ns *os.File) (h *holder, err error) {
	h = &holder{ns: ns, packets: make(chan held, maxHeld), done: make(chan struct{}), tell: map[int]Follower{}}
	err = d.enter(ns, func() (err error) {
		if h.queue, err = newQueue(); err != nil {
			return err
		}
		if h.table, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
			return err
		}
		return holdRules().commit(h.table)
	})
	if err != nil {
		for _, c := range []*netlink.Conn{h.queue, h.table} {
			if c != nil {
				c.Close()
			}
		}
		return nil, err
	}
	go h.read()
	go h.answer(d)
	return h, nil
}

// newQueue must run on a thread in the namespace.
func newQueue() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	params := make([]byte, 5)
	binary.BigEndian.PutUint32(params, copyRange)
	params[4] = nfqnlCopyPacket
	flag := binary.BigEndian.AppendUint32(nil, nfqaCfgFFailOpen)
	for _, a := range [][]netlink.Attribute{
		{{Type: nfqaCfgCmd, Data: []byte{nfqnlCfgCmdBind, 0, 0, unix.AF_INET}}},
		{{Type: nfqaCfgParams, Data: params}},
		{{Type: nfqaCfgMask, Data: flag}, {Type: nfqaCfgFlags, Data: flag}},
	} {
		m, err := queueMessage(nfqnlMsgConfig, netlink.Acknowledge, a)
		if err == nil {
			_, err = c.Execute(m)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("packet queue: %w", err), c.Close())
		}
	}
	return c, nil
}

func queueMessage(kind uint16, flags netlink.HeaderFlags, a []netlink.Attribute) (netlink.Message, error) {
	data, err := netlink.MarshalAttributes(a)
	head := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}
	binary.BigEndian.PutUint16(head[2:], holdQueue)
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8 | kind), Flags: netlink.Request | flags},
		Data:   append(head, data...),
	}, err
}

// holdRules send the first packet of a flow to the queue, and remember by the flow's mark that it was there.
//
//	table ip vauban_hold { flags owner
//		chain hold { type filter hook output priority -150; ct state new ct mark 0 queue flags bypass to 8611 }
//		chain held { type filter hook output priority -149; meta mark 0x76620001 ct mark set meta mark }
//	}
//
// The queue is xtables' target: kernels have it wherever iptables-nft works, and not all have nft's own.
func holdRules() *batch {
	b := &batch{loaded: newLoaded()}
	var table attrs
	table.text(unix.NFTA_TABLE_NAME, holdTable)
	table.number(unix.NFTA_TABLE_FLAGS, nftTableFOwner)
	b.put4(unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Excl, table)
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	info := make([]byte, 8) // aligned to 8 bytes
	binary.NativeEndian.PutUint16(info, holdQueue)
	binary.NativeEndian.PutUint16(info[2:], 1)
	binary.NativeEndian.PutUint16(info[4:], xtNFQueueBypass)
	var queue attrs
	queue.text(unix.NFTA_TARGET_NAME, "NFQUEUE")
	queue.number(unix.NFTA_TARGET_REV, xtNFQueueRevision)
	queue.put(unix.NFTA_TARGET_INFO, info)
	var set attrs
	set.number(unix.NFTA_CT_KEY, unix.NFT_CT_MARK)
	set.number(unix.NFTA_CT_SREG, unix.NFT_REG_1)
	const stateNew = 1 << 3 // linux/netfilter/nf_conntrack_common.h: NF_CT_STATE_BIT(IP_CT_NEW)
	for priority, c := range []struct {
		name  string
		exprs []expression
	}{
		{"hold", []expression{
			load("ct", unix.NFTA_CT_KEY, unix.NFT_CT_STATE, unix.NFTA_CT_DREG), masked(number(stateNew)), compare(unix.NFT_CMP_NEQ, number(0)),
			load("ct", unix.NFTA_CT_KEY, unix.NFT_CT_MARK, unix.NFTA_CT_DREG), compare(unix.NFT_CMP_EQ, number(0)),
			{name: "target", data: queue},
		}},
		{"held", []expression{
			load("meta", unix.NFTA_META_KEY, unix.NFT_META_MARK, unix.NFTA_META_DREG), compare(unix.NFT_CMP_EQ, number(heldMark)),
			{name: "ct", data: set},
		}},
	} {
		var chain, hook attrs
		hook.number(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT)
		hook.number(unix.NFTA_HOOK_PRIORITY, uint32(int32(priority-150)))
		chain.text(unix.NFTA_CHAIN_TABLE, holdTable)
		chain.text(unix.NFTA_CHAIN_NAME, c.name)
		chain.put(unix.NLA_F_NESTED|unix.NFTA_CHAIN_HOOK, hook)
		chain.text(unix.NFTA_CHAIN_TYPE, "filter")
		b.put4(unix.NFT_MSG_NEWCHAIN, netlink.Create, chain)
		var rule, list attrs
		for _, e := range c.exprs {
			var x attrs
			x.text(unix.NFTA_EXPR_NAME, e.name)
			x.put(unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, e.data)
			list.put(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, x)
		}
		rule.text(unix.NFTA_RULE_TABLE, holdTable)
		rule.text(unix.NFTA_RULE_CHAIN, c.name)
		rule.put(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, list)
		b.put4(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, rule)
	}
	return b
}

// put4 adds a message for a table of family ip: xtables' targets are not for inet.
func (b *batch) put4(kind uint16, flags netlink.HeaderFlags, a attrs) {
	b.add(kind, flags, a)
	b.msgs[len(b.msgs)-1].Data[0] = unix.NFPROTO_IPV4
}

// load puts what an expression knows into the first register.
func load(name string, keyAttr uint16, key uint32, register uint16) expression {
	var a attrs
	a.number(keyAttr, key)
	a.number(register, unix.NFT_REG_1)
	return expression{name: name, data: a}
}

// masked keeps bits of the first register.
func masked(mask []byte) expression {
	var a attrs
	a.number(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1)
	a.number(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1)
	a.number(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
	a.put(unix.NLA_F_NESTED|unix.NFTA_BITWISE_MASK, value(mask))
	a.put(unix.NLA_F_NESTED|unix.NFTA_BITWISE_XOR, value(make([]byte, len(mask))))
	return expression{name: "bitwise", data: a}
}

// compare goes on if the first register is as said.
func compare(op uint32, data []byte) expression {
	var a attrs
	a.number(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
	a.number(unix.NFTA_CMP_OP, op)
	a.put(unix.NLA_F_NESTED|unix.NFTA_CMP_DATA, value(data))
	return expression{name: "cmp", data: a}
}

func value(b []byte) (a attrs) {
	a.put(unix.NFTA_DATA_VALUE, b)
	return a
}

// read takes packets until the socket ends, or until the kernel acknowledges the request of close: it does that
// behind the last packet.
func (h *holder) read() {
	defer close(h.packets)
	for {
		msgs, err := h.queue.Receive()
		if errors.Is(err, unix.ENOBUFS) { // what did not fit has passed
			continue
		}
		if err != nil {
			return
		}
		for _, m := range msgs {
			if m.Header.Type == netlink.Error {
				return
			}
			if p, ok := parseHeld(m); ok {
				h.packets <- p
			}
		}
	}
}

// answer looks up whose packets wait, all that do at once, and lets them go.
func (h *holder) answer(d *Driver) {
	defer close(h.done)
	for p := range h.packets {
		batch := []held{p}
		for more := true; more && len(batch) < maxHeld; {
			select {
			case p, ok := <-h.packets:
				if more = ok; ok {
					batch = append(batch, p)
				}
			default:
				more = false
			}
		}
		var flows []SocketID
		for _, p := range batch {
			if p.ok {
				flows = append(flows, p.flow)
			}
		}
		h.told(flows, d.owners(h.ns, flows, h.others()))
		if err := h.release(batch[len(batch)-1].id); err != nil {
			d.log.Error("held packets are lost", "error", err)
		}
	}
}

func (h *holder) others() (out []Processes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.tell {
		if f.Others != nil {
			out = append(out, f.Others)
		}
	}
	return out
}

func (h *holder) told(flows []SocketID, owners []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, x := range flows {
		for _, f := range h.tell {
			f.Tell(x, owners[i])
		}
	}
}

// release lets all packets up to this one go; their numbers rise.
func (h *holder) release(id uint32) error {
	verdict := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, nfAccept), id)
	m, err := queueMessage(nfqnlMsgVerdictBatch, 0, []netlink.Attribute{
		{Type: nfqaVerdictHdr, Data: verdict}, {Type: nfqaMark, Data: binary.BigEndian.AppendUint32(nil, heldMark)}})
	if err == nil {
		_, err = h.queue.Send(m)
	}
	return err
}

// close lets what waits go before it takes the rules away: with a hook, the kernel drops what the hook has queued.
func (h *holder) close() {
	var rules attrs
	rules.text(unix.NFTA_RULE_TABLE, holdTable)
	rules.text(unix.NFTA_RULE_CHAIN, "hold")
	b := &batch{loaded: newLoaded()}
	b.put4(unix.NFT_MSG_DELRULE, 0, rules)
	err := b.commit(h.table)
	if err == nil {
		gracePeriod()
		var last netlink.Message
		last, err = queueMessage(nfqnlMsgConfig, netlink.Acknowledge, []netlink.Attribute{
			{Type: nfqaCfgMask, Data: make([]byte, 4)}, {Type: nfqaCfgFlags, Data: make([]byte, 4)}})
		if err == nil {
			_, err = h.queue.Send(last)
		}
	}
	if err != nil {
		h.queue.Close()
	}
	<-h.done
	h.table.Close()
	h.queue.Close()
	h.ns.Close()
}

// parseHeld reads a packet of the queue.
func parseHeld(m netlink.Message) (p held, ok bool) {
	if m.Header.Type != netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8|nfqnlMsgPacket) || len(m.Data) < 4 {
		return p, false
	}
	each(m.Data[4:], func(kind uint16, data []byte) {
		switch {
		case kind == nfqaPacketHdr && len(data) >= 4:
			p.id, ok = binary.BigEndian.Uint32(data), true
		case kind == nfqaPayload:
			var x packet
			x.parse(data)
			p.flow = SocketID{Protocol: x.protocol, Local: x.src, Remote: x.dst}
			p.ok = (x.protocol == fabric.TCP || x.protocol == fabric.UDP) && x.src.Port() != 0 && x.src != (netip.AddrPort{})
		}
	})
	return p, ok
}
