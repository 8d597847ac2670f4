// Package origin says where an accepted connection comes from. The kernel tells it (which listener, in
// which network namespace, accepted the connection, and its source address, which anti-spoofing makes
// true); no header ever does. Service firewalls decide on it.
package origin

import (
	"context"
	"fmt"
	"net/netip"
)

// Kind of an Origin.
type Kind uint8

const (
	Unknown         Kind = iota // no origin is known: refuse
	Internet                    // came to the service's public address
	ServiceEndpoint             // came to the public address through a subnet's service endpoint
	PrivateEndpoint             // came to a private endpoint's address in a VNet
	Loopback                    // came to the region's loopback listener on the host (vauban env)
	Platform                    // came to a platform address (the metadata service) inside a VNet
)

func (k Kind) String() string {
	return [...]string{"unknown", "internet", "service endpoint", "private endpoint", "loopback", "platform"}[k]
}

// Origin of one connection. Ids are ARM resource ids as the topology carries them.
type Origin struct {
	Kind     Kind
	Source   netip.Addr // the client's address as the service sees it
	VNet     string     // ServiceEndpoint, PrivateEndpoint: the client's VNet
	Subnet   string     // the client's subnet, "" if not known
	NIC      string     // the client's NIC, "" if not known
	Endpoint string     // PrivateEndpoint: the endpoint's id
	Target   string     // PrivateEndpoint: the id of the resource the endpoint leads to
	GroupID  string     // PrivateEndpoint: the sub-resource (blob, vault, amlworkspace …)
}

// String is how refusals name the caller.
func (o Origin) String() string {
	switch o.Kind {
	case PrivateEndpoint:
		return fmt.Sprintf("%s through private endpoint %s", o.Source, o.Endpoint)
	case ServiceEndpoint:
		return fmt.Sprintf("%s through the service endpoint of subnet %s", o.Source, o.Subnet)
	case Internet:
		return fmt.Sprintf("%s from the internet", o.Source)
	case Platform:
		return fmt.Sprintf("%s at a platform address of virtual network %s", o.Source, o.VNet)
	case Loopback:
		return fmt.Sprintf("%s by the region's loopback listener (counts as the internet)", o.Source)
	}
	return "a connection of unknown origin"
}

type key struct{}

// NewContext returns ctx carrying o.
func NewContext(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, key{}, o)
}

// FromContext returns the origin of the connection that ctx belongs to; Kind is Unknown without one.
func FromContext(ctx context.Context) Origin {
	o, _ := ctx.Value(key{}).(Origin)
	return o
}
