package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// check reads back what was loaded, and nothing else: rules expression by expression, sets by their declaration and
// elements. It returns the first difference, "" if there is none.
func (l *loaded) check(c *netlink.Conn) (string, error) {
	rules, err := l.readRules(c)
	if err != nil {
		return "", err
	}
	sets := map[string]*elementSet{}
	for name, s := range l.sets {
		sets[name] = s
	}
	for chain, want := range l.rules {
		if diff := sameRules(want, rules[chain], sets); diff != "" {
			return fmt.Sprintf("chain %s: %s", chain, diff), nil
		}
	}
	if len(sets) == 0 {
		return "", nil
	}
	declared, err := readSets(c)
	if err != nil {
		return "", err
	}
	for name, want := range sets {
		have := declared[name]
		if have == nil {
			return fmt.Sprintf("set %s is missing", name), nil
		}
		if have.elements, err = readElements(c, name); err != nil {
			return "", err
		}
		if diff := want.difference(have); diff != "" {
			return fmt.Sprintf("set %s: %s", name, diff), nil
		}
	}
	return "", nil
}

// fewChains are read one by one; more, with the whole table.
const fewChains = 64

func (l *loaded) readRules(c *netlink.Conn) (map[string][]attrs, error) {
	out := map[string][]attrs{}
	if len(l.rules) > fewChains {
		return out, readRules(c, "", out)
	}
	for chain := range l.rules {
		if err := readRules(c, chain, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readRules adds the expressions of each rule of a chain, or of all, to out.
func readRules(c *netlink.Conn, chain string, out map[string][]attrs) error {
	var a attrs
	a.text(unix.NFTA_RULE_TABLE, fabric.TableName)
	if chain != "" {
		a.text(unix.NFTA_RULE_CHAIN, chain)
	}
	return readAll(c, unix.NFT_MSG_GETRULE, a, func(b []byte) bool {
		var chain string
		var list attrs
		ok := parseAttrs(b, func(typ uint16, v []byte) {
			switch typ {
			case unix.NFTA_RULE_CHAIN:
				chain = text(v)
			case unix.NFTA_RULE_EXPRESSIONS:
				list = v
			}
		})
		out[chain] = append(out[chain], list)
		return ok
	})
}

// readAll asks for objects and calls f for the attributes of each.
func readAll(c *netlink.Conn, typ uint16, a attrs, f func([]byte) bool) error {
	msgs, err := c.Execute(message(typ, netlink.Dump, a))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	for _, m := range msgs {
		if len(m.Data) < 4 || !f(m.Data[4:]) {
			return fmt.Errorf("read back: an answer of %d bytes makes no sense", len(m.Data))
		}
	}
	return nil
}

func text(v []byte) string { return strings.TrimRight(string(v), "\x00") }

// sameRules compares rules, and adds to sets the anonymous sets that stand in them, by the kernel's names.
func sameRules(want [][]expression, have []attrs, sets map[string]*elementSet) string {
	if len(want) != len(have) {
		return fmt.Sprintf("%d rules instead of %d", len(have), len(want))
	}
	for i, rule := range want {
		var got []expression
		ok := parseAttrs(have[i], func(_ uint16, v []byte) {
			var e expression
			parseAttrs(v, func(typ uint16, v []byte) {
				switch typ {
				case unix.NFTA_EXPR_NAME:
					e.name = text(v)
				case unix.NFTA_EXPR_DATA:
					e.data = v
				}
			})
			got = append(got, e)
		})
		if !ok || len(got) != len(rule) {
			return fmt.Sprintf("rule %d has %d expressions instead of %d", i, len(got), len(rule))
		}
		for j, e := range rule {
			if !e.same(got[j], sets) {
				return fmt.Sprintf("rule %d: %s %x instead of %s %x", i, got[j].name, []byte(got[j].data), e.name, []byte(e.data))
			}
		}
	}
	return ""
}

func (e expression) same(got expression, sets map[string]*elementSet) bool {
	if e.in == nil {
		return e.name == got.name && bytes.Equal(e.data, got.data)
	}
	if len(got.data) < 4 || e.name != got.name {
		return false
	}
	first := (int(binary.NativeEndian.Uint16(got.data)) + 3) &^ 3
	if first > len(got.data) || binary.NativeEndian.Uint16(got.data[2:]) != unix.NFTA_LOOKUP_SET {
		return false
	}
	name := text(got.data[4:first])
	if sets[name] != nil {
		return false // of another rule
	}
	sets[name] = e.in
	return bytes.Equal(e.data, got.data[first:])
}

// readSets lists the declarations of the table's sets.
func readSets(c *netlink.Conn) (map[string]*elementSet, error) {
	out := map[string]*elementSet{}
	var a attrs
	a.text(unix.NFTA_SET_TABLE, fabric.TableName)
	err := readAll(c, unix.NFT_MSG_GETSET, a, func(b []byte) bool {
		s := &elementSet{}
		name := ""
		ok := parseAttrs(b, func(typ uint16, v []byte) {
			number := func() uint32 {
				if len(v) != 4 {
					return 0
				}
				return binary.BigEndian.Uint32(v)
			}
			switch typ {
			case unix.NFTA_SET_NAME:
				name = text(v)
			case unix.NFTA_SET_FLAGS:
				s.flags = number()
			case unix.NFTA_SET_KEY_TYPE:
				s.keyType = number()
			case unix.NFTA_SET_KEY_LEN:
				s.keyLen = int(number())
			case unix.NFTA_SET_DATA_TYPE:
				s.verdicts = number() == unix.NFT_DATA_VERDICT
			case unix.NFTA_SET_DESC:
				parseAttrs(v, func(typ uint16, v []byte) {
					if typ == unix.NFTA_SET_DESC_SIZE && len(v) == 4 {
						s.size = binary.BigEndian.Uint32(v)
					}
				})
			}
		})
		out[name] = s
		return ok
	})
	return out, err
}

func readElements(c *netlink.Conn, set string) (out []element, err error) {
	var a attrs
	a.text(unix.NFTA_SET_ELEM_LIST_TABLE, fabric.TableName)
	a.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	err = readAll(c, unix.NFT_MSG_GETSETELEM, a, func(b []byte) bool {
		good := true
		ok := parseAttrs(b, func(typ uint16, v []byte) {
			if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			good = parseAttrs(v, func(_ uint16, v []byte) {
				e, ok := parseElementAttrs(v)
				good = good && ok
				out = append(out, e)
			}) && good
		})
		return ok && good
	})
	return out, err
}

// parseElementAttrs is false for an element that has more than one of ours may have.
func parseElementAttrs(b []byte) (e element, ok bool) {
	known := true
	ok = parseAttrs(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			parseAttrs(v, func(_ uint16, v []byte) { e.key = v })
		case unix.NFTA_SET_ELEM_DATA:
			e.then = v
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = len(v) == 4 && binary.BigEndian.Uint32(v) == unix.NFT_SET_ELEM_INTERVAL_END
			known = known && e.end
		case unix.NFTA_SET_ELEM_USERDATA:
			e.open = true
		default:
			known = false
		}
	})
	return e, ok && known
}

func (s *elementSet) difference(have *elementSet) string {
	if s.flags != have.flags || s.keyType != have.keyType || s.keyLen != have.keyLen || s.verdicts != have.verdicts || s.size != have.size {
		return fmt.Sprintf("declared with flags %#x, type %d, size %d instead of %#x, %d, %d", have.flags, have.keyType, have.size, s.flags, s.keyType, s.size)
	}
	want, got := slices.SortedFunc(slices.Values(s.elements), element.compare), slices.SortedFunc(slices.Values(have.elements), element.compare)
	if len(want) != len(got) {
		return fmt.Sprintf("%d elements instead of %d", len(got), len(want))
	}
	for i, e := range want {
		if g := got[i]; !bytes.Equal(e.key, g.key) || e.end != g.end || !bytes.Equal(e.then, g.then) {
			return fmt.Sprintf("element %x (end %v, %x) instead of %x (end %v, %x)", g.key, g.end, []byte(g.then), e.key, e.end, []byte(e.then))
		}
	}
	return ""
}
