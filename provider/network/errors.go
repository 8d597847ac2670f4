package network

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"vauban.dev/arm"
)

func bad(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}

// parsePrefix reads an IPv4 prefix of a resource, with the refusals that Azure has for malformed ones
// and for host bits that are set.
func parsePrefix(text string, of arm.ID) (netip.Prefix, error) {
	pre, err := netip.ParsePrefix(text)
	if err != nil {
		return pre, bad("InvalidAddressPrefixFormat", "Address prefix %s of resource %s is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.", clip(text), of)
	}
	if !pre.Addr().Is4() {
		return pre, arm.NotImplemented("Address prefix %s of resource %s: IPv6 address spaces are not implemented.", pre, of)
	}
	if pre.Masked() != pre {
		return pre, bad("InvalidCIDRNotation", "The address prefix %s in resource %s has an invalid CIDR notation. For the given prefix length, the address prefix should be %s.", pre, of, pre.Masked())
	}
	return pre, nil
}

func parsePrefixes(texts []string, of arm.ID) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, 0, len(texts))
	for _, t := range texts {
		pre, err := parsePrefix(t, of)
		if err != nil {
			return nil, err
		}
		list = append(list, pre)
	}
	return list, nil
}

// clip keeps a client's text short in a message.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

// parseRef reads a reference that must be a resource of one type.
func parseRef(ref *Ref, typ, property string, of arm.ID) (arm.ID, error) {
	id, err := arm.ParseID(ref.ID)
	if err != nil || !strings.EqualFold(id.Type().String(), typ) {
		return arm.ID{}, bad("InvalidReferenceId", "Value for reference id is not valid. Property %s of resource %s is '%s', which is not the id of a %s.", property, of, clip(ref.ID), typ)
	}
	return id, nil
}

// busy is Azure's answer to a write while another one runs; clients try again by themselves.
func busy(id arm.ID, state arm.ProvisioningState) *arm.Error {
	e := arm.Errorf(http.StatusTooManyRequests, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress: %s is %s.", id, state)
	e.Header = map[string]string{"Retry-After": "1"}
	return e
}

// missing is Azure's answer to a reference to nothing.
func missing(ref, of arm.ID) *arm.Error {
	return bad("InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", ref, of)
}

// absent is a reference in the store to what is not there: an error of the program, which stops the network
// instead of running it without the rules or routes that it was to have.
func absent(what, id string) error { return fmt.Errorf("%s %s does not exist", what, id) }

// notFound reports whether err says that a resource does not exist.
func notFound(err error) bool {
	e := arm.AsError(err)
	return e != nil && e.Status == http.StatusNotFound
}

// inUse joins ids as Azure's "in use" refusals do.
func inUse(ids []string) string { return strings.Join(ids, ", ") }
