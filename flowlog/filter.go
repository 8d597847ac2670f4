package flowlog

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/fabric"
)

// Filter says which flows a log records: any of its alternatives, each of which is conditions that all must hold. The
// zero Filter takes every flow (Azure: "Filter virtual network flow logs").
type Filter struct {
	any    [][]condition
	states []State // of recordTypes; none is all
}

// condition is FIELD=VALUES or FIELD!=VALUES.
type condition struct {
	not bool
	has func(*seen) bool // one of the values is the flow's
}

// seen is what a filter judges: a flow as the tuple of one interface has it.
type seen struct {
	src, dst  netip.AddrPort
	protocol  fabric.Protocol
	direction fabric.Direction
	state     State
}

// maxFilter is how long Azure lets a filter be, in characters.
const maxFilter = 1000

// ParseFilter reads properties.enabledFilteringCriteria of a flow log; an empty one takes all. The error says which part is wrong and which rule it breaks, without the name of the property.
func ParseFilter(criteria string) (*Filter, error) {
	f := &Filter{}
	if criteria = strings.TrimSpace(criteria); criteria == "" {
		return f, nil
	}
	if n := len([]rune(criteria)); n > maxFilter {
		return nil, fmt.Errorf("it has %d characters, of at most %d", n, maxFilter)
	}
	for _, alternative := range strings.Split(criteria, "||") { // AND comes before OR
		var all []condition
		for _, text := range strings.Split(alternative, "&&") {
			c, err := parseCondition(strings.TrimSpace(text))
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
		f.any = append(f.any, all)
	}
	return f, nil
}

// RecordTypes keeps the records of these states alone: B, C, E and D, with commas; an empty text keeps all.
func (f *Filter) RecordTypes(text string) error {
	f.states = nil
	if strings.TrimSpace(text) == "" {
		return nil
	}
	for _, one := range strings.Split(text, ",") {
		state, err := parseState(strings.TrimSpace(one))
		if err != nil {
			return err
		}
		f.states = append(f.states, state)
	}
	return nil
}

func parseState(text string) (State, error) {
	state := State(strings.ToUpper(text))
	if !slices.Contains([]State{Begin, Continue, End, Deny}, state) {
		return "", fmt.Errorf("'%s' is none of the record types B, C, E and D", text)
	}
	return state, nil
}

// takes tells whether a flow is to be recorded.
func (f *Filter) takes(s *seen) bool {
	if f == nil {
		return true
	}
	if len(f.states) > 0 && !slices.Contains(f.states, s.state) {
		return false
	}
	holds := func(c condition) bool { return c.has(s) != c.not }
	return len(f.any) == 0 || slices.ContainsFunc(f.any, func(all []condition) bool {
		return !slices.ContainsFunc(all, func(c condition) bool { return !holds(c) })
	})
}

func parseCondition(text string) (condition, error) {
	if strings.ContainsAny(text, "()") {
		return condition{}, fmt.Errorf("'%s' has brackets, which filters cannot have", text)
	}
	field, list, ok := strings.Cut(text, "=")
	if !ok {
		return condition{}, fmt.Errorf("'%s' is no condition of the form field=value or field!=value", text)
	}
	field, not := strings.CutSuffix(strings.TrimSpace(field), "!")
	field = strings.TrimSpace(field)
	parse := fields[strings.ToLower(field)]
	if parse == nil {
		return condition{}, fmt.Errorf("'%s' is none of the fields Direction, SrcIP, SrcPort, DstIP, DstPort, Protocol, Encryption, Action and RecordTypes", field)
	}
	var values []func(*seen) bool
	for _, value := range strings.Split(list, ",") {
		has, err := parse(strings.TrimSpace(value))
		if err != nil {
			return condition{}, fmt.Errorf("%s: %w", field, err)
		}
		values = append(values, has)
	}
	return condition{not, func(s *seen) bool {
		return slices.ContainsFunc(values, func(has func(*seen) bool) bool { return has(s) })
	}}, nil
}

// fields read a value of each field, by the field's name in lower case.
var fields = map[string]func(value string) (func(*seen) bool, error){
	"srcip":   addresses(func(s *seen) netip.Addr { return s.src.Addr() }),
	"dstip":   addresses(func(s *seen) netip.Addr { return s.dst.Addr() }),
	"srcport": ports(func(s *seen) uint16 { return s.src.Port() }),
	"dstport": ports(func(s *seen) uint16 { return s.dst.Port() }),
	"protocol": words(map[string]func(*seen) bool{
		"tcp": func(s *seen) bool { return s.protocol == fabric.TCP }, "udp": func(s *seen) bool { return s.protocol == fabric.UDP },
		"icmp": func(s *seen) bool { return s.protocol == fabric.ICMP },
	}, "TCP, UDP and ICMP"),
	"direction": words(map[string]func(*seen) bool{
		"inbound": func(s *seen) bool { return s.direction == fabric.Inbound }, "outbound": func(s *seen) bool { return s.direction == fabric.Outbound },
	}, "Inbound and Outbound"),
	"action": words(map[string]func(*seen) bool{
		"allow": func(s *seen) bool { return s.state != Deny }, "deny": func(s *seen) bool { return s.state == Deny },
	}, "Allow and Deny"),
	"recordtypes": func(value string) (func(*seen) bool, error) {
		state, err := parseState(value)
		return func(s *seen) bool { return s.state == state }, err
	},
	"encryption": encryption,
}

// encryption: no flow of a region is encrypted by the network, and the tuples say NX of each.
func encryption(value string) (func(*seen) bool, error) {
	switch value = strings.ToUpper(value); value {
	case "NX", "NX_ALL":
		return func(*seen) bool { return true }, nil
	case "X", "NX_HW_NOT_SUPPORTED", "NX_SW_NOT_READY", "NX_NOT_ACCEPTED", "NX_NOT_SUPPORTED", "NX_LOCAL_DST", "NX_FALLBACK":
		return func(*seen) bool { return false }, nil
	}
	return nil, fmt.Errorf("'%s' is no state of encryption that flow logs have", value)
}

func words(known map[string]func(*seen) bool, names string) func(string) (func(*seen) bool, error) {
	return func(value string) (func(*seen) bool, error) {
		has, ok := known[strings.ToLower(value)]
		if !ok {
			return nil, fmt.Errorf("'%s' is none of %s", value, names)
		}
		return has, nil
	}
}

func addresses(of func(*seen) netip.Addr) func(string) (func(*seen) bool, error) {
	return func(value string) (func(*seen) bool, error) {
		prefix, err := netip.ParsePrefix(value)
		if err != nil {
			a, err := netip.ParseAddr(value)
			if err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("'%s' is neither an address nor a CIDR range", value)
			}
			prefix = netip.PrefixFrom(a, a.BitLen())
		}
		return func(s *seen) bool { return prefix.Contains(of(s)) }, nil
	}
}

func ports(of func(*seen) uint16) func(string) (func(*seen) bool, error) {
	return func(value string) (func(*seen) bool, error) {
		first, last, isRange := strings.Cut(value, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
		to, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
		if err != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("'%s' is neither a port nor a range of ports", value)
		}
		return func(s *seen) bool { return uint64(of(s)) >= from && uint64(of(s)) <= to }, nil
	}
}
