package linux

import "encoding/binary"

// attrs are netlink attributes in the order in which nf_tables dumps them, so that what was sent can be compared with
// what is read.
type attrs []byte

func (a *attrs) put(typ uint16, value []byte) {
	*a = binary.NativeEndian.AppendUint16(*a, uint16(4+len(value)))
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	*a = append(*a, value...)
	for len(*a)%4 != 0 {
		*a = append(*a, 0)
	}
}

func (a *attrs) number(typ uint16, n uint32) { a.put(typ, binary.BigEndian.AppendUint32(nil, n)) }

func (a *attrs) short(typ uint16, n uint16) { a.put(typ, binary.BigEndian.AppendUint16(nil, n)) }

func (a *attrs) text(typ uint16, s string) { a.put(typ, append([]byte(s), 0)) }

// parseAttrs calls f for each attribute until it returns false. It is false for what are no attributes.
func parseAttrs(b []byte, f func(typ uint16, value []byte)) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return false
		}
		f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[4:n])
		b = b[min(len(b), (n+3)&^3):]
	}
	return true
}
