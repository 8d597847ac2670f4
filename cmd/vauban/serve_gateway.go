package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/linux"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/gateway"
	"vauban.dev/region"
)

// lateWire is the engine of the tunnels, which is made after the providers.
type lateWire struct{ w *world }

func (l lateWire) Peers(tunnel string) ([]vpn.PeerState, error) { return l.w.vpn.Peers(tunnel) }
func (l lateWire) Restart(tunnel string) error                  { return l.w.vpn.Restart(tunnel) }

// openVPN makes the engine, with the socket on the machine's own network.
func (w *world) openVPN(ctx context.Context) error {
	w.vpn = vpn.New(w.driver, w.log)
	w.sync.vpn = w.vpn
	w.sync.bgp = bgp.New(w.sync.poke, w.log)
	c, err := w.region.Datagrams(ctx)
	if err != nil {
		return err
	}
	w.outside = netip.MustParseAddrPort(c.LocalAddr().String())
	w.vpn.Serve("", c)
	return nil
}

// serveVPN opens each gateway's socket, on its own address, and makes the tunnels run.
func (s *netSync) serveVPN(ctx context.Context, view *netView, want map[linux.Socket]bool) error {
	gateways := map[string]bool{}
	for _, t := range view.gateways.Tunnels {
		gateways[t.NIC] = true
	}
	for _, v := range view.topology.VNets {
		for _, n := range v.NICs {
			if !gateways[n.ID] {
				continue
			}
			at := fabric.Place{Kind: fabric.AtNIC, ID: n.ID}
			sock := linux.Socket{At: at, Network: "udp", Addr: netip.AddrPortFrom(n.Addrs[0], vpn.Port).String()}
			want[sock] = true
			if s.sockets[sock] {
				continue
			}
			c, err := s.driver.ListenPacket(ctx, at, sock.Addr)
			if err != nil {
				return err
			}
			s.vpn.Serve(n.ID, c)
			s.sockets[sock] = true
		}
	}
	return s.vpn.Set(view.gateways.Tunnels)
}

// What vpnCall is asked for.
const (
	vpnProfile  = "profile"  // of a client, or of a site by its connection
	vpnRevoke   = "revoke"   // a client
	vpnClients  = "clients"  // of a gateway
	vpnUnderlay = "underlay" // where a gateway's address is on the machine's network
)

type vpnParams struct {
	Do         string         `json:"do"`
	Gateway    string         `json:"gateway,omitempty"` // name, GROUP/NAME or id
	Client     string         `json:"client,omitempty"`
	Connection string         `json:"connection,omitempty"`
	Endpoint   string         `json:"endpoint,omitempty"` // what the profile is to name; "" is the machine's socket
	Address    netip.Addr     `json:"address,omitzero"`
	At         netip.AddrPort `json:"at,omitzero"`
}

type vpnResult struct {
	Profile string      `json:"profile,omitempty"`
	Clients []vpnClient `json:"clients,omitempty"`
}

type vpnClient struct {
	Name       string     `json:"name"`
	Address    netip.Addr `json:"address"`
	Thumbprint string     `json:"thumbprint"`
	Connected  bool       `json:"connected"`
	Received   uint64     `json:"received"`
	Sent       uint64     `json:"sent"`
}

func (w *world) vpnCall(ctx context.Context, r region.Request) (region.Reply, error) {
	var p vpnParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	var out vpnResult
	var err error
	switch {
	case p.Do == vpnProfile && p.Connection != "":
		out.Profile, err = w.siteProfile(ctx, p)
	case p.Do == vpnProfile:
		out.Profile, err = w.clientProfile(ctx, p)
	case p.Do == vpnRevoke:
		err = w.revokeClient(ctx, p)
	case p.Do == vpnClients:
		out.Clients, err = w.listClients(ctx, p)
	case p.Do == vpnUnderlay:
		if err = w.engine.Update(ctx, func(tx *rp.Tx) error { return gateway.SetUnderlay(tx, p.Address, p.At) }); err == nil {
			err = w.sync.Sync(ctx)
		}
	default:
		err = &region.CallError{Code: region.CodeBadRequest, Message: "there is no such request: " + p.Do}
	}
	if e := arm.AsError(err); e != nil && e.Status < 500 {
		err = &region.CallError{Code: region.CodeBadRequest, Message: e.Message}
	}
	return region.Reply{Result: out}, err
}

// byName finds the one resource of a type called name: NAME, GROUP/NAME or an id.
func byName[T any](tx *rp.Tx, typ, name string) (*rp.Resource[T], error) {
	all, err := rp.List[T](tx, typ, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	var found []*rp.Resource[T]
	for _, r := range all {
		if strings.EqualFold(name, r.ID.String()) || strings.EqualFold(name, r.ID.Name()) || strings.EqualFold(name, r.ID.ResourceGroup()+"/"+r.ID.Name()) {
			found = append(found, r)
		}
	}
	what := typ[strings.LastIndex(typ, "/")+1:]
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, notFound("there is none of %s called %q", what, name)
	}
	return nil, notFound("%d of %s are called %q: write GROUP/NAME", len(found), what, name)
}

// endpoint is what a profile names as the gateway's address.
func (w *world) endpoint(p vpnParams, public netip.Addr) (netip.AddrPort, error) {
	switch p.Endpoint {
	case "":
		return w.outside, nil
	case "internet":
		return netip.AddrPortFrom(public, vpn.Port), nil
	}
	a, err := netip.ParseAddrPort(p.Endpoint)
	if err != nil {
		return a, &region.CallError{Code: region.CodeBadRequest, Message: fmt.Sprintf("%q is not ADDRESS:PORT", p.Endpoint)}
	}
	return a, nil
}

func (w *world) clientProfile(ctx context.Context, p vpnParams) (string, error) {
	var out vpn.Profile
	err := w.engine.Update(ctx, func(tx *rp.Tx) error {
		g, err := byName[gateway.Gateway](tx, gateway.Type, p.Gateway)
		if err != nil {
			return err
		}
		if out, err = w.gateways.ClientProfile(tx, g.ID, p.Client, w.sync.current.Load().topology); err != nil {
			return err
		}
		out.Endpoint, err = w.endpoint(p, g.Properties.Public)
		return err
	})
	if err != nil {
		return "", err
	}
	return out.Text(), w.sync.Sync(ctx)
}

func (w *world) siteProfile(ctx context.Context, p vpnParams) (string, error) {
	var out vpn.Profile
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		c, err := byName[gateway.Connection](tx, gateway.ConnectionType, p.Connection)
		if err != nil {
			return err
		}
		var public netip.Addr
		if out, public, err = w.gateways.SiteProfile(tx, c, w.sync.current.Load().topology); err != nil {
			return err
		}
		out.Endpoint, err = w.endpoint(p, public)
		return err
	})
	return out.Text(), err
}

func (w *world) revokeClient(ctx context.Context, p vpnParams) error {
	err := w.engine.Update(ctx, func(tx *rp.Tx) error {
		g, err := byName[gateway.Gateway](tx, gateway.Type, p.Gateway)
		if err != nil {
			return err
		}
		return w.gateways.RemoveClient(tx, g.ID, p.Client)
	})
	if err != nil {
		return err
	}
	return w.sync.Sync(ctx)
}

func (w *world) listClients(ctx context.Context, p vpnParams) (list []vpnClient, err error) {
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		g, err := byName[gateway.Gateway](tx, gateway.Type, p.Gateway)
		if err != nil {
			return err
		}
		clients, err := gateway.Clients(tx, g.ID)
		if err != nil {
			return err
		}
		states, err := w.gateways.ClientStates(g.ID)
		if err != nil {
			return err
		}
		for _, c := range clients {
			s := states[c.Public]
			list = append(list, vpnClient{Name: c.Name, Address: c.Addr, Thumbprint: c.Thumbprint(), Connected: s.Connected(time.Now()), Received: s.Received, Sent: s.Sent})
		}
		return nil
	})
	return list, err
}
