package main

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
)

// This file serves what reaches the services by subnets' service endpoints: on the services' public
// addresses, in the router of the VNet, so that the connection has its private source.

// serviceAddresses are the region's public addresses that some subnet of the VNet has a service endpoint for.
func (s *netSync) serviceAddresses(v *fabric.VNet) (out []netip.Addr) {
	for _, p := range s.world.ServicePrefixes { // each one address
		for i := range v.Subnets {
			if v.ServiceEndpoint(&v.Subnets[i], p.Addr()) {
				out = append(out, p.Addr())
				break
			}
		}
	}
	return out
}

// openEndpoints listens before the rules lead anybody there. A VNet that is not in the kernel yet comes after it.
func (s *netSync) openEndpoints(ctx context.Context, view *netView) error {
	for i := range view.topology.VNets {
		err := s.serveEndpoints(ctx, &view.topology.VNets[i], map[linux.Socket]bool{}, map[string]bool{})
		if err != nil && !errors.Is(err, linux.ErrNoNamespace) {
			return err
		}
	}
	return nil
}

func (s *netSync) serveEndpoints(ctx context.Context, v *fabric.VNet, want map[linux.Socket]bool, fronts map[string]bool) error {
	router := fabric.Place{Kind: fabric.AtRouter, ID: v.ID}
	var errs []error
	for _, a := range s.serviceAddresses(v) {
		for _, port := range []uint16{443, 80} {
			addr := netip.AddrPortFrom(a, port)
			l := httpx.Listener{TLS: port == 443, Origin: s.originBy(v.ID), Serves: s.public.leads}
			errs = append(errs, s.serveOn(router, addr, l, want, fronts, func() (net.Listener, error) {
				return s.driver.ListenTransparent(ctx, router, addr.String())
			}))
		}
	}
	return errors.Join(errs...)
}

// originBy is the origin of what came by a service endpoint: the router marks such packets only where the
// source is the address of the sending NIC. One that has gone meanwhile is nobody.
func (s *netSync) originBy(vnet string) func(net.Conn) origin.Origin {
	return func(c net.Conn) origin.Origin {
		o := origin.Origin{Source: remote(c), VNet: vnet}
		if n, ok := s.current.Load().nics[vnet][o.Source]; ok {
			o.Kind, o.NIC, o.Subnet = origin.ServiceEndpoint, n.ID, n.Subnet
		}
		return o
	}
}
