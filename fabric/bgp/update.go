package bgp

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/jwhited/corebgp"
)

// update is what is used of an UPDATE message (RFC 4271).
type update struct {
	withdrawn, nlri []netip.Prefix
	asPath          []uint32
}

var decoder = corebgp.NewUpdateDecoder[*update](
	corebgp.NewWithdrawnRoutesDecodeFn(func(u *update, p []netip.Prefix) error { u.withdrawn = p; return nil }),
	func(u *update, code uint8, flags corebgp.PathAttrFlags, b []byte) error {
		switch code {
		case corebgp.PATH_ATTR_ORIGIN:
			var o corebgp.OriginPathAttr
			return o.Decode(flags, b)
		case corebgp.PATH_ATTR_AS_PATH:
			var a corebgp.ASPathAttr
			err := a.Decode(flags, b)
			u.asPath = slices.Concat(a.ASSequence, a.ASSet)
			return err
		case corebgp.PATH_ATTR_NEXT_HOP:
			var n corebgp.NextHopPathAttr
			return n.Decode(flags, b)
		}
		return nil
	},
	corebgp.NewNLRIDecodeFn(func(u *update, p []netip.Prefix) error { u.nlri = p; return nil }),
)

func decode(message []byte) (*update, error) {
	u := new(update)
	return u, decoder.Decode(u, message)
}

// usable tells whether a prefix can be a route: unicast, not this machine's, and not heard back from us.
func (u *update) usable(p netip.Prefix, own uint32) bool {
	a := p.Addr()
	return a.Is4() && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !slices.Contains(u.asPath, own)
}

// perMessage is how many prefixes surely fit into one message of 4,096 bytes.
const perMessage = 700

// updates are the messages that withdraw some prefixes and announce others.
func updates(p Peer, gone, fresh []netip.Prefix) (out [][]byte) {
	for c := range slices.Chunk(gone, perMessage) {
		routes := encodePrefixes(c)
		m := binary.BigEndian.AppendUint16(nil, uint16(len(routes)))
		out = append(out, binary.BigEndian.AppendUint16(append(m, routes...), 0))
	}
	attrs := attributes(p)
	for c := range slices.Chunk(fresh, perMessage) {
		m := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
		out = append(out, slices.Concat(m, attrs, encodePrefixes(c)))
	}
	return out
}

// attributes are ORIGIN (IGP), AS_PATH (our number) and NEXT_HOP (our address), all well-known and mandatory.
func attributes(p Peer) []byte {
	const transitive = 0x40
	b := []byte{transitive, corebgp.PATH_ATTR_ORIGIN, 1, 0}
	b = append(b, transitive, corebgp.PATH_ATTR_AS_PATH, 6, 2, 1) // a sequence of one
	b = binary.BigEndian.AppendUint32(b, p.LocalASN)
	b = append(b, transitive, corebgp.PATH_ATTR_NEXT_HOP, 4)
	return append(b, p.Local.AsSlice()...)
}

// encodePrefixes writes each as its length in bits and as many bytes as it needs.
func encodePrefixes(list []netip.Prefix) (b []byte) {
	for _, p := range list {
		a := p.Masked().Addr().As4()
		b = append(append(b, byte(p.Bits())), a[:(p.Bits()+7)/8]...)
	}
	return b
}
