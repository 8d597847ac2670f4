package fabric

import "fmt"

// TopologyError says that a topology cannot be enforced, and what in it is to blame.
type TopologyError struct {
	Object string // id or name of the VNet, subnet, NIC, NSG or host
	Rule   string // name of the security rule, "" for none
	Reason string
}

func (e *TopologyError) Error() string {
	if e.Rule != "" {
		return fmt.Sprintf("fabric: %s: rule %s: %s", e.Object, e.Rule, e.Reason)
	}
	return fmt.Sprintf("fabric: %s: %s", e.Object, e.Reason)
}

func invalid(object, format string, args ...any) error {
	return &TopologyError{Object: object, Reason: fmt.Sprintf(format, args...)}
}
