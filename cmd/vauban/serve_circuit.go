package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/linux"
	"vauban.dev/fabric/vpn"
	"vauban.dev/provider/gateway"
	"vauban.dev/region"
)

func (l lateWire) Circuit(name string) vpn.CircuitState { return l.w.vpn.Circuit(name) }
func (l lateWire) Session(name string) bgp.State        { return l.w.sync.bgp.State(name) }

// Far takes the device at a circuit's other end from the holder.
func (l lateWire) Far(circuit arm.ID) (*os.File, error) {
	return l.w.region.Keeper.Get(context.Background(), keptCircuit(circuit))
}

// keptCircuit is the holder's name for the device at a circuit's other end.
func keptCircuit(circuit arm.ID) string {
	sum := sha256.Sum256([]byte(circuit.Key()))
	return "circuit:" + hex.EncodeToString(sum[:10])
}

// serveCircuits makes the circuits run, and the BGP over them. A circuit whose device is gone is reported once a
// pass and does not hold up the rest of the network.
func (s *netSync) serveCircuits(ctx context.Context, view *netView, want map[linux.Socket]bool) error {
	if err := s.vpn.SetCircuits(view.gateways.Circuits); err != nil {
		s.log.Warn("expressroute", "error", err)
	}
	names := map[string]bool{}
	var errs []error
	for _, x := range view.gateways.Sessions {
		names[x.Name] = true
		at := fabric.Place{Kind: fabric.AtNIC, ID: x.NIC}
		sock := linux.Socket{At: at, Network: "tcp", Addr: netip.AddrPortFrom(x.Peer.Local, bgpPort).String()}
		want[sock] = true
		if s.bgp.Has(x.Name, x.Peer) {
			errs = append(errs, s.bgp.Set(x.Name, x.Peer, nil))
			continue
		}
		l, err := s.driver.Listen(ctx, at, "tcp4", sock.Addr)
		if err == nil {
			err = s.bgp.Set(x.Name, x.Peer, l)
		}
		errs = append(errs, err)
	}
	s.bgp.Keep(names)
	return errors.Join(errs...)
}

// bgpPort is where BGP listens (RFC 4271).
const bgpPort = 179

// poke asks for a pass without waiting for it.
func (s *netSync) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (w *world) circuitCall(ctx context.Context, r region.Request) (region.Reply, error) {
	var p circuitParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	var out circuitResult
	err := w.engine.Update(ctx, func(tx *rp.Tx) error {
		c, err := byName[gateway.Circuit](tx, gateway.CircuitType, p.Circuit)
		if err != nil {
			return err
		}
		out.Kept = keptCircuit(c.ID)
		switch p.Do {
		case circuitPlan:
			if at, ok, err := gateway.Attached(tx, c.ID); err != nil || ok && w.vpnHas(out.Kept) {
				return errors.Join(err, &region.CallError{Code: region.CodeBadRequest, Message: "the circuit is attached to " + at + ": detach it first"})
			}
			out.Customer, err = gateway.CustomerAddress(tx, c.ID)
			return err
		case circuitAttach:
			return gateway.Attach(tx, c.ID, p.At)
		case circuitDetach:
			return gateway.Detach(tx, c.ID)
		}
		return &region.CallError{Code: region.CodeBadRequest, Message: "there is no such request: " + p.Do}
	})
	if err != nil || p.Do == circuitPlan {
		return region.Reply{Result: out}, err
	}
	if err := w.sync.Sync(ctx); err != nil {
		return region.Reply{}, err
	}
	if p.Do == circuitDetach { // the last descriptor: the interface goes with it
		err = w.region.Keeper.Drop(ctx, out.Kept)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return region.Reply{Result: out}, err
}

// vpnHas tells whether the holder has a circuit's device: after the region was down it has not.
func (w *world) vpnHas(kept string) bool {
	f, err := w.region.Keeper.Get(context.Background(), kept)
	if err == nil {
		f.Close()
	}
	return err == nil
}
