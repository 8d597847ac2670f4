package linux

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This file turns statements as a diagram has them into the expressions of nf_tables, as the nft program does: tests of
// addresses, ports and protocol, verdict maps, counters, logs and verdicts. What it does not know, nft has to load.

// foreignError says that a statement has to be loaded by nft.
type foreignError struct{ what string }

func (e *foreignError) Error() string { return fmt.Sprintf("%q is not encoded here", e.what) }

// expression is one of a rule. A lookup in an anonymous set has its data without the set's name, which the
// kernel gives.
type expression struct {
	name string
	data attrs
	in   *elementSet
}

// elementSet is what a set or map is made of.
type elementSet struct {
	flags    uint32
	keyType  uint32
	keyLen   int
	verdicts bool
	size     uint32
	elements []element
}

// element of a set; end says that an interval ends before it.
type element struct {
	key  []byte
	end  bool
	open bool // the last interval has no end
	then attrs
}

func (e element) compare(f element) int {
	return cmp.Or(bytes.Compare(e.key, f.key), compareBool(f.end, e.end), bytes.Compare(e.then, f.then))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// datatypes of nft by the type of a set, with their length in bytes.
var datatypes = map[string]struct {
	number uint32
	length int
}{"ipv4_addr": {7, 4}, "inet_service": {13, 2}, "inet_proto": {12, 1}}

// selector is what a test looks at.
type selector struct {
	datatype     string
	base, offset uint32 // of the payload
	meta         uint32
}

var selectors = map[string]selector{
	"ip saddr":     {datatype: "ipv4_addr", base: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 12},
	"ip daddr":     {datatype: "ipv4_addr", base: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 16},
	"th sport":     {datatype: "inet_service", base: unix.NFT_PAYLOAD_TRANSPORT_HEADER},
	"th dport":     {datatype: "inet_service", base: unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2},
	"meta l4proto": {datatype: "inet_proto", meta: unix.NFT_META_L4PROTO},
}

// encoder of one rule.
type encoder struct {
	line string
	toks []token
	out  []expression
	ipv4 bool // the rule is for IPv4 already
}

// encodeRule returns the expressions of a rule, or a *foreignError.
func encodeRule(line string) ([]expression, error) {
	toks, err := tokens(line)
	if err != nil {
		return nil, err
	}
	e := &encoder{line: line, toks: toks}
	for len(e.toks) > 0 {
		if !e.statement() {
			return nil, &foreignError{line}
		}
	}
	return e.out, nil
}

func (e *encoder) next() string {
	if len(e.toks) == 0 {
		return ""
	}
	t := e.toks[0].text
	e.toks = e.toks[1:]
	return t
}

// take takes words that have to be next.
func (e *encoder) take(words ...string) bool {
	for _, w := range words {
		if len(e.toks) == 0 || e.toks[0].text != w || e.toks[0].quoted {
			return false
		}
		e.toks = e.toks[1:]
	}
	return true
}

func (e *encoder) add(name string, data attrs) {
	e.out = append(e.out, expression{name: name, data: data})
}

func (e *encoder) statement() bool {
	switch w := e.next(); w {
	case "return", "drop", "accept":
		return e.verdict(w, "")
	case "goto", "jump":
		return e.verdict(w, e.next())
	case "counter":
		var a attrs
		if !e.take("name") {
			return false
		}
		a.text(unix.NFTA_OBJREF_IMM_NAME, e.next())
		a.number(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER)
		e.add("objref", a)
		return true
	case "log":
		return e.log()
	case "ip", "th", "meta":
		s, ok := selectors[w+" "+e.next()]
		return ok && e.test(s)
	}
	return false
}

// verdict ends a rule.
func (e *encoder) verdict(word, chain string) bool {
	v, ok := verdictData(word, chain)
	if !ok || len(e.toks) > 0 {
		return false
	}
	var a attrs
	a.number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	a.put(unix.NFTA_IMMEDIATE_DATA, v)
	e.add("immediate", a)
	return true
}

// verdictData is a verdict as data of a register or element.
func verdictData(word, chain string) (attrs, bool) {
	codes := map[string]int32{"drop": 0, "accept": 1, "return": unix.NFT_RETURN, "goto": unix.NFT_GOTO, "jump": unix.NFT_JUMP}
	code, ok := codes[word]
	if !ok || (chain != "") != (word == "goto" || word == "jump") {
		return nil, false
	}
	var v, data attrs
	v.number(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		v.text(unix.NFTA_VERDICT_CHAIN, chain)
	}
	data.put(unix.NFTA_DATA_VERDICT, v)
	return data, true
}

// log is `log prefix P group N snaplen N`.
func (e *encoder) log() bool {
	var a attrs
	if !e.take("prefix") {
		return false
	}
	a.text(unix.NFTA_LOG_PREFIX, e.next())
	group, ok1 := e.numberAfter("group", 16)
	length, ok2 := e.numberAfter("snaplen", 32)
	if !ok1 || !ok2 {
		return false
	}
	a.short(unix.NFTA_LOG_GROUP, uint16(group))
	a.number(unix.NFTA_LOG_SNAPLEN, uint32(length))
	e.add("log", a)
	return true
}

func (e *encoder) numberAfter(word string, bits int) (uint64, bool) {
	if !e.take(word) {
		return 0, false
	}
	n, err := strconv.ParseUint(e.next(), 10, bits)
	return n, err == nil
}

// test loads what is looked at, and compares it or looks it up.
func (e *encoder) test(s selector) bool {
	kind := datatypes[s.datatype]
	if s.datatype == "ipv4_addr" && !e.ipv4 {
		e.ipv4 = true
		e.meta(unix.NFT_META_NFPROTO)
		e.compare(unix.NFT_CMP_EQ, []byte{unix.NFPROTO_IPV4})
	}
	if s.meta != 0 {
		e.meta(s.meta)
	} else {
		var a attrs
		a.number(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
		a.number(unix.NFTA_PAYLOAD_BASE, s.base)
		a.number(unix.NFTA_PAYLOAD_OFFSET, s.offset)
		a.number(unix.NFTA_PAYLOAD_LEN, uint32(kind.length))
		e.add("payload", a)
	}
	verdicts := e.take("vmap")
	switch {
	case len(e.toks) == 0 || e.toks[0].quoted:
		return false
	case e.toks[0].text == "{":
		return e.anonymous(s.datatype, verdicts)
	case strings.HasPrefix(e.toks[0].text, "@"):
		var a attrs
		a.text(unix.NFTA_LOOKUP_SET, e.next()[1:])
		e.add("lookup", append(a, lookupData(verdicts)...))
		return true
	case verdicts:
		return false
	}
	lo, hi, ok := parseKey(e.next(), kind.length)
	if !ok {
		return false
	}
	if bytes.Equal(lo, hi) {
		e.compare(unix.NFT_CMP_EQ, lo)
		return true
	}
	e.compare(unix.NFT_CMP_GTE, lo)
	e.compare(unix.NFT_CMP_LTE, hi)
	return true
}

func (e *encoder) meta(key uint32) {
	var a attrs
	a.number(unix.NFTA_META_KEY, key)
	a.number(unix.NFTA_META_DREG, unix.NFT_REG_1)
	e.add("meta", a)
}

func (e *encoder) compare(op uint32, value []byte) {
	var a, data attrs
	a.number(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
	a.number(unix.NFTA_CMP_OP, op)
	data.put(unix.NFTA_DATA_VALUE, value)
	a.put(unix.NFTA_CMP_DATA, data)
	e.add("cmp", a)
}

// lookupData is a lookup without the name of its set.
func lookupData(verdicts bool) (a attrs) {
	a.number(unix.NFTA_LOOKUP_SREG, unix.NFT_REG_1)
	if verdicts {
		a.number(unix.NFTA_LOOKUP_DREG, unix.NFT_REG_VERDICT)
	}
	a.number(unix.NFTA_LOOKUP_FLAGS, 0)
	return a
}

// anonymous is a lookup in a set that stands in the rule.
func (e *encoder) anonymous(datatype string, verdicts bool) bool {
	end := closing(e.toks, 0)
	if end >= len(e.toks) {
		return false
	}
	set, ok := encodeSet(datatype, splitElements(e.toks[1:end]), verdicts, nil)
	if !ok {
		return false
	}
	set.flags |= unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT
	set.elements = slices.DeleteFunc(set.elements, func(el element) bool { // the next beginning is the end
		return el.end && slices.ContainsFunc(set.elements, func(o element) bool { return !o.end && bytes.Equal(o.key, el.key) })
	})
	set.size = uint32(len(set.elements))
	e.toks = e.toks[end+1:]
	e.out = append(e.out, expression{name: "lookup", data: lookupData(verdicts), in: set})
	return true
}

// encodeSet is the content of a set or map. Interval says whether it has intervals; nil: where some element is one.
func encodeSet(datatype string, list [][]token, verdicts bool, interval *bool) (*elementSet, bool) {
	kind, ok := datatypes[datatype]
	s := &elementSet{keyType: kind.number, keyLen: kind.length, verdicts: verdicts}
	if verdicts {
		s.flags |= unix.NFT_SET_MAP
	}
	var all []keyRange
	ranged := false
	for _, toks := range list {
		k, good := parseElement(toks, kind.length, verdicts)
		ok = ok && good
		all = append(all, k)
		ranged = ranged || !bytes.Equal(k.lo, k.hi)
	}
	if interval == nil {
		interval = &ranged
	}
	switch {
	case !ok || ranged && !*interval:
		return nil, false
	case !*interval:
		for _, k := range all {
			s.elements = append(s.elements, element{key: k.lo, then: k.then})
		}
		return s, true
	}
	s.flags |= unix.NFT_SET_INTERVAL
	s.elements, ok = intervals(all)
	return s, ok
}

// keyRange is an interval of a set, with a map's verdict.
type keyRange struct {
	lo, hi []byte
	then   attrs
}

// intervals are elements that begin and end intervals. They must be disjoint.
func intervals(all []keyRange) (out []element, ok bool) {
	slices.SortFunc(all, func(a, b keyRange) int { return bytes.Compare(a.lo, b.lo) })
	for i, k := range all {
		if i > 0 && bytes.Compare(all[i-1].hi, k.lo) >= 0 {
			return nil, false
		}
		end, wraps := after(k.hi)
		out = append(out, element{key: k.lo, then: k.then, open: wraps})
		if !wraps {
			out = append(out, element{key: end, end: true})
		}
	}
	slices.SortFunc(out, element.compare)
	return out, true
}

// after is the next key; wraps where there is none.
func after(key []byte) (next []byte, wraps bool) {
	next = slices.Clone(key)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next, false
		}
	}
	return nil, true
}

func parseElement(toks []token, length int, verdicts bool) (k keyRange, ok bool) {
	if len(toks) == 0 || toks[0].quoted {
		return k, false
	}
	if k.lo, k.hi, ok = parseKey(toks[0].text, length); !ok || !verdicts {
		return k, ok && len(toks) == 1
	}
	if len(toks) < 3 || len(toks) > 4 || toks[1].text != ":" {
		return k, false
	}
	chain := ""
	if len(toks) == 4 {
		chain = toks[3].text
	}
	k.then, ok = verdictData(toks[2].text, chain)
	return k, ok
}

// parseKey reads an address, a number, or a range of them.
func parseKey(s string, length int) (lo, hi []byte, ok bool) {
	r, ok := parseRange(s)
	if !ok || r.addr() != (length == 4) {
		return nil, nil, false
	}
	if r.addr() {
		if !r.lo4.Is4() || !r.hi4.Is4() || r.hi4.Less(r.lo4) {
			return nil, nil, false
		}
		return r.lo4.AsSlice(), r.hi4.AsSlice(), true
	}
	if r.hi>>(8*length) != 0 || r.hi < r.lo {
		return nil, nil, false
	}
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n)[8-length:] }
	return number(r.lo), number(r.hi), true
}
