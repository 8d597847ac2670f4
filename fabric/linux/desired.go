package linux

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"

	"vauban.dev/fabric"
)

// desired is everything that a state says of one namespace.
type desired struct {
	fabric.Namespace
	Ends []end

	staged []fabric.Object
	rules  ruleset // what staged says
}

// same tells whether two states want the same of a namespace.
func (d *desired) same(e *desired) bool {
	return reflect.DeepEqual(d.Namespace, e.Namespace) && reflect.DeepEqual(d.Ends, e.Ends)
}

// stage computes the rules, or takes them from what was desired before.
func (d *desired) stage(before *desired) error {
	if before != nil && reflect.DeepEqual(before.Objects, d.Objects) {
		d.staged, d.rules = before.staged, before.rules
		return nil
	}
	var err error
	var known ruleset
	if before != nil {
		known = before.rules
	}
	if d.staged, err = stage(d.Objects); err == nil {
		d.rules, err = newRuleset(d.staged, known)
	}
	if err != nil {
		return fmt.Errorf("state: rules of %s: %w", d.Name, err)
	}
	return nil
}

// end is one end of a veth pair, seen from its namespace.
type end struct {
	fabric.End
	Peer    fabric.End
	MAC     string
	PeerMAC string
	Addrs   []netip.Prefix
	Outer   bool // end A
}

// maxInterface is IFNAMSIZ without its terminating zero.
const maxInterface = 15

// collect sorts a state by namespace and refuses one that cannot be meant.
func collect(s *fabric.State) (map[string]*desired, error) {
	all := make(map[string]*desired, len(s.Namespaces))
	for _, ns := range s.Namespaces {
		if ns.Name == "" || all[ns.Name] != nil {
			return nil, fmt.Errorf("state: namespace %q is empty or stands twice", ns.Name)
		}
		ns.NFT = "" // the same as Objects
		all[ns.Name] = &desired{Namespace: ns}
	}
	taken := map[fabric.End]bool{}
	add := func(e end) error {
		d := all[e.Namespace]
		switch {
		case d == nil:
			return fmt.Errorf("state: interface %s is in the unknown namespace %q", e.Interface, e.Namespace)
		case e.Interface == "" || len(e.Interface) > maxInterface:
			return fmt.Errorf("state: interface name %q is not of 1 to %d bytes", e.Interface, maxInterface)
		case taken[e.End]:
			return fmt.Errorf("state: interface %s of %s stands twice", e.Interface, e.Namespace)
		}
		if _, err := net.ParseMAC(e.MAC); err != nil {
			return fmt.Errorf("state: interface %s of %s: %w", e.Interface, e.Namespace, err)
		}
		taken[e.End] = true
		d.Ends = append(d.Ends, e)
		return nil
	}
	for _, v := range s.Veths {
		if err := add(end{End: v.A, Peer: v.B, MAC: v.MAC, PeerMAC: v.MACB, Addrs: v.AddrA, Outer: true}); err != nil {
			return nil, err
		}
		if err := add(end{End: v.B, Peer: v.A, MAC: v.MACB, PeerMAC: v.MAC, Addrs: v.AddrB}); err != nil {
			return nil, err
		}
	}
	return all, nil
}
