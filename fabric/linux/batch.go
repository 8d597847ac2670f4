package linux

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// batch is one transaction of nf_tables as netlink messages.
type batch struct {
	msgs   []netlink.Message
	size   int // of all messages, in bytes
	nextID uint32
	loaded *loaded
}

// loaded is what batches put under names, for comparison with what the kernel then holds.
type loaded struct {
	rules map[string][][]expression // by chain
	sets  map[string]*elementSet
}

func newLoaded() *loaded { return &loaded{map[string][][]expression{}, map[string]*elementSet{}} }

const family = unix.NFPROTO_INET

// batchSize is how much one batch may have: what a socket takes where its buffer may not exceed the usual limit.
const batchSize = 400_000

// header of a message of nf_tables.
func header(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

func message(typ uint16, flags netlink.HeaderFlags, a attrs) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ), Flags: netlink.Request | flags},
		Data:   append(header(family, 0), a...),
	}
}

func (b *batch) add(typ uint16, flags netlink.HeaderFlags, a attrs) {
	m := message(typ, flags, a)
	b.msgs = append(b.msgs, m)
	b.size += 16 + len(m.Data)
}

// put adds a statement, or returns a *foreignError.
func (b *batch) put(st statement) error {
	o := st.object
	name := func(table, name uint16) (a attrs) {
		a.text(table, fabric.TableName)
		a.text(name, o.Name)
		return a
	}
	switch st.verb {
	case addTable:
		var a attrs
		a.text(unix.NFTA_TABLE_NAME, fabric.TableName)
		b.add(unix.NFT_MSG_NEWTABLE, netlink.Create, a)
		return nil
	case addRules:
		return b.rules(o.Name, st.lines)
	case addElements:
		return b.named(o, st.lines)
	case flushObject:
		if o.Kind == fabric.ChainObject {
			b.loaded.rules[o.Name] = nil
			b.add(unix.NFT_MSG_DELRULE, 0, name(unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN))
			return nil
		}
	case declareObject:
		return b.declare(o)
	case removeObject:
		switch o.Kind {
		case fabric.ChainObject:
			delete(b.loaded.rules, o.Name)
			b.add(unix.NFT_MSG_DELCHAIN, 0, name(unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME))
			return nil
		case fabric.SetObject, fabric.MapObject:
			b.add(unix.NFT_MSG_DELSET, 0, name(unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME))
			return nil
		case fabric.CounterObject:
			a := name(unix.NFTA_OBJ_TABLE, unix.NFTA_OBJ_NAME)
			a.number(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
			b.add(unix.NFT_MSG_DELOBJ, 0, a)
			return nil
		}
	}
	return &foreignError{st.text()}
}

func (b *batch) declare(o object) error {
	var a attrs
	switch {
	case o.Kind == fabric.CounterObject:
		a.text(unix.NFTA_OBJ_TABLE, fabric.TableName)
		a.text(unix.NFTA_OBJ_NAME, o.Name)
		a.number(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
		a.put(unix.NFTA_OBJ_DATA, nil)
		b.add(unix.NFT_MSG_NEWOBJ, netlink.Create, a)
		return nil
	case o.Kind == fabric.ChainObject && len(o.Spec) == 0:
		a.text(unix.NFTA_CHAIN_TABLE, fabric.TableName)
		a.text(unix.NFTA_CHAIN_NAME, o.Name)
		b.loaded.rules[o.Name] = nil
		b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, a)
		return nil
	case o.Kind == fabric.SetObject || o.Kind == fabric.MapObject:
		s, err := encodeNamed(o, nil)
		if err != nil {
			return err
		}
		b.loaded.sets[o.Name] = s
		b.newSet(o.Name, s)
		return nil
	}
	return &foreignError{o.Name}
}

// encodeNamed is a declared set or map with some of its elements.
func encodeNamed(o object, lines []string) (*elementSet, error) {
	interval, size, datatype := false, uint32(0), ""
	for _, spec := range o.Spec {
		w := strings.Fields(spec)
		switch {
		case spec == "flags interval":
			interval = true
		case len(w) == 2 && w[0] == "size":
			n, err := strconv.ParseUint(w[1], 10, 32)
			if err != nil {
				return nil, &foreignError{spec}
			}
			size = uint32(n)
		case len(w) == 2 && w[0] == "type" && o.Kind == fabric.SetObject, len(w) == 4 && w[0] == "type" && w[3] == "verdict" && o.Kind == fabric.MapObject:
			datatype = w[1]
		default:
			return nil, &foreignError{spec}
		}
	}
	list := make([][]token, 0, len(lines))
	for _, l := range lines {
		toks, err := tokens(l)
		if err != nil {
			return nil, err
		}
		list = append(list, toks)
	}
	s, ok := encodeSet(datatype, list, o.Kind == fabric.MapObject, &interval)
	if !ok {
		return nil, &foreignError{o.Name}
	}
	s.size = size
	return s, nil
}

// named adds elements to a declared set.
func (b *batch) named(o object, lines []string) error {
	s, err := encodeNamed(o, lines)
	if err != nil {
		return err
	}
	known := b.loaded.sets[o.Name]
	if known == nil { // declared by others
		return &foreignError{o.Name}
	}
	known.elements = append(known.elements, s.elements...)
	b.elements(o.Name, 0, s.elements)
	return nil
}

// rules adds rules to the end of a chain, with the sets that stand in them.
func (b *batch) rules(chain string, lines []string) error {
	for _, l := range lines {
		rule, err := encodeRule(l)
		if err != nil {
			return err
		}
		b.loaded.rules[chain] = append(b.loaded.rules[chain], rule)
		var list attrs
		for _, e := range rule {
			data := e.data
			if e.in != nil {
				name, id := b.newSet("", e.in)
				b.elements(name, id, e.in.elements)
				data = nil
				data.text(unix.NFTA_LOOKUP_SET, name)
				data = append(data, e.data...)
				data.number(unix.NFTA_LOOKUP_SET_ID, id)
			}
			var x attrs
			x.text(unix.NFTA_EXPR_NAME, e.name)
			x.put(unix.NFTA_EXPR_DATA, data)
			list.put(unix.NFTA_LIST_ELEM, x)
		}
		var a attrs
		a.text(unix.NFTA_RULE_TABLE, fabric.TableName)
		a.text(unix.NFTA_RULE_CHAIN, chain)
		a.put(unix.NFTA_RULE_EXPRESSIONS, list)
		b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, a)
	}
	return nil
}

// newSet declares a set. One without a name is anonymous: the kernel numbers it, and the batch knows it by its id.
func (b *batch) newSet(name string, s *elementSet) (string, uint32) {
	b.nextID++
	if name == "" {
		name = "__set%d"
		if s.verdicts {
			name = "__map%d"
		}
	}
	var a, size attrs
	a.text(unix.NFTA_SET_TABLE, fabric.TableName)
	a.text(unix.NFTA_SET_NAME, name)
	a.number(unix.NFTA_SET_FLAGS, s.flags)
	a.number(unix.NFTA_SET_KEY_TYPE, s.keyType)
	a.number(unix.NFTA_SET_KEY_LEN, uint32(s.keyLen))
	if s.verdicts {
		a.number(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		a.number(unix.NFTA_SET_DATA_LEN, 16)
	}
	a.number(unix.NFTA_SET_ID, b.nextID)
	if s.size > 0 {
		size.number(unix.NFTA_SET_DESC_SIZE, s.size)
	}
	a.put(unix.NFTA_SET_DESC, size)
	a.put(unix.NFTA_SET_USERDATA, nftData(s))
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, a)
	return name, b.nextID
}

// nftData is what nft keeps with a set to list it by: the byte order of its keys and of its data.
func nftData(s *elementSet) (a attrs) {
	const keyByteorder, dataByteorder, dataInterval = 0, 1, 6
	const hostEndian, bigEndian = 1, 2
	order := byte(bigEndian)
	if s.keyLen == 1 {
		order = hostEndian
	}
	a = append(a, keyByteorder, 4, order, 0, 0, 0)
	if s.verdicts {
		a = append(a, dataByteorder, 4, 0, 0, 0, 0, dataInterval, 4, 0, 0, 0, 0)
	}
	return a
}

// elementsPerMessage keeps a list of elements below the 64 KiB of an attribute.
const elementsPerMessage = 400

func (b *batch) elements(name string, id uint32, elements []element) {
	for part := range slices.Chunk(elements, elementsPerMessage) {
		var a, list attrs
		for _, e := range part {
			list.put(unix.NFTA_LIST_ELEM, e.attrs())
		}
		a.text(unix.NFTA_SET_ELEM_LIST_TABLE, fabric.TableName)
		a.text(unix.NFTA_SET_ELEM_LIST_SET, name)
		if id != 0 {
			a.number(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
		}
		a.put(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)
		b.add(unix.NFT_MSG_NEWSETELEM, netlink.Create, a)
	}
}

func (e element) attrs() (a attrs) {
	var key attrs
	key.put(unix.NFTA_DATA_VALUE, e.key)
	a.put(unix.NFTA_SET_ELEM_KEY, key)
	if e.then != nil {
		a.put(unix.NFTA_SET_ELEM_DATA, e.then)
	}
	if e.end {
		a.number(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	if e.open {
		const flags, intervalOpen = 1, 1
		a.put(unix.NFTA_SET_ELEM_USERDATA, []byte{flags, 4, intervalOpen, 0, 0, 0})
	}
	return a
}

// batches packs statements, in order, into batches that a socket takes; with one, into one.
func batches(sts []statement, one bool, l *loaded) ([]*batch, error) {
	var out []*batch
	for _, st := range sts {
		if len(out) == 0 || !one && out[len(out)-1].size+st.size > batchSize {
			out = append(out, &batch{loaded: l})
		}
		if err := out[len(out)-1].put(st); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// commit sends a batch as one transaction: all of it takes effect, or nothing.
func (b *batch) commit(c *netlink.Conn) error {
	control := func(typ netlink.HeaderType) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request}, Data: header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)}
	}
	msgs := slices.Concat([]netlink.Message{control(unix.NFNL_MSG_BATCH_BEGIN)}, b.msgs, []netlink.Message{control(unix.NFNL_MSG_BATCH_END)})
	msgs[len(msgs)-2].Header.Flags |= netlink.Acknowledge // the kernel answers when all is done
	if _, err := c.SendMessages(msgs); err != nil {
		return fmt.Errorf("send %d rules and objects: %w", len(b.msgs), err)
	}
	if _, err := c.Receive(); err != nil {
		return fmt.Errorf("load %d rules and objects: %w", len(b.msgs), err)
	}
	return nil
}
