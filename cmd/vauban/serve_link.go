package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	"vauban.dev/internal/relay"
)

// serveLink carries what is sent to a private endpoint to the private link service that it leads to. The way
// is looked up for each connection, so that a change of the service needs no new listener.
func (s *netSync) serveLink(ctx context.Context, router fabric.Place, n *fabric.NIC, want map[linux.Socket]bool) error {
	for _, a := range n.Addrs {
		for _, port := range n.Service.Ports {
			at := netip.AddrPortFrom(a, port)
			sock := linux.Socket{At: router, Network: "tcp", Addr: at.String()}
			want[sock] = true
			if s.relays[sock] != nil {
				continue
			}
			l, err := s.driver.Listen(ctx, router, "tcp4", at.String())
			if err != nil {
				return err
			}
			endpoint := n.ID
			r := relay.Relay{Listener: l, Log: s.log,
				Dial:   func(ctx context.Context) (net.Conn, error) { return s.dialLink(ctx, endpoint, port) },
				Header: func(c net.Conn) []byte { return s.linkHeader(c, endpoint, at) },
			}
			serving, stop := context.WithCancel(context.WithoutCancel(ctx))
			run := &served{stop: stop, done: make(chan struct{})}
			s.relays[sock] = run
			go func() {
				defer close(run.done)
				if err := r.Serve(serving); err != nil {
					s.log.Error("private link service", "endpoint", endpoint, "address", at, "error", err)
				}
			}()
		}
	}
	return nil
}

// stopLinks ends what is not wanted any more, with its connections: the endpoint leads nowhere now.
func (s *netSync) stopLinks(want map[linux.Socket]bool) {
	for sock, run := range s.relays {
		if !want[sock] {
			run.stop()
			<-run.done
			delete(s.relays, sock)
		}
	}
}

// dialLink begins a connection in the provider's network, from one of the service's addresses to the frontend
// of its load balancer, which chooses a backend.
func (s *netSync) dialLink(ctx context.Context, endpoint string, port uint16) (net.Conn, error) {
	v := s.current.Load()
	way, ok := v.topology.LinkWay(v.relays[endpoint].Service)
	if !ok {
		return nil, fmt.Errorf("private endpoint %s leads nowhere", endpoint)
	}
	from := way.Sources[rand.IntN(len(way.Sources))]
	return s.driver.DialFrom(ctx, fabric.Place{Kind: fabric.AtRouter, ID: way.VNet}, from, netip.AddrPortFrom(way.Frontend, port))
}

// linkHeader is what a backend is told of a caller, if the service asks for it.
func (s *netSync) linkHeader(c net.Conn, endpoint string, at netip.AddrPort) []byte {
	r := s.current.Load().relays[endpoint]
	from, ok := c.RemoteAddr().(*net.TCPAddr)
	if !r.ProxyProtocol || !ok {
		return nil
	}
	client := from.AddrPort()
	return relay.ProxyHeader(netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), at, r.LinkID)
}
