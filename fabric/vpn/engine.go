// Package vpn is the wire of the region's gateways: WireGuard in user space, between a TUN device in the
// namespace of a gateway's interface and UDP sockets. It knows tunnels and peers, not what they are for.
package vpn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
)

// Port is where gateways listen, by UDP: WireGuard has no assigned one, this is what its tools use.
const Port = 51820

// Kernel gives the engine the other ends of tunnels (fabric/linux.Driver).
type Kernel interface {
	// OpenTunnel returns a descriptor of the TUN device, with virtio headers. It fails while
	// another has it.
	OpenTunnel(nic, tunnel string) (*os.File, error)
}

// Engine runs tunnels.
type Engine struct {
	kernel Kernel
	log    *slog.Logger
	mux    *mux

	mu      sync.Mutex
	tunnels map[string]*running
	wires   map[string]*wire
}

// New makes an engine without tunnels and sockets.
func New(k Kernel, log *slog.Logger) *Engine {
	return &Engine{kernel: k, log: log, mux: newMux(), tunnels: map[string]*running{}, wires: map[string]*wire{}}
}

// Serve takes a UDP socket for the tunnels of a gateway's interface; nic "" is one on the machine's own
// network, for all tunnels. The engine closes it.
func (e *Engine) Serve(nic string, c net.PacketConn) {
	if nic == "" {
		nic = hostPort
	}
	e.mux.add(nic, c)
}

// Set makes the tunnels those of the list: the whole of it. It is idempotent; sessions of peers that stay go
// on, a peer that is missing is cut off before Set returns. An error of one tunnel does not keep
// it from the others; call it again.
func (e *Engine) Set(list []Tunnel) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	want := map[string]Tunnel{}
	for _, t := range list {
		want[t.Name] = t
	}
	nics := map[string]bool{}
	for name, r := range e.tunnels {
		t, ok := want[name]
		if !ok || t.Private != r.tunnel.Private || t.NIC != r.tunnel.NIC {
			r.close(e.mux)
			delete(e.tunnels, name)
		}
	}
	var errs []error
	for _, t := range list {
		nics[t.NIC] = true
		errs = append(errs, e.setOne(t))
	}
	e.mux.keepOnly(nics)
	return errors.Join(errs...)
}

func (e *Engine) setOne(t Tunnel) error {
	if r := e.tunnels[t.Name]; r != nil {
		return r.set(t)
	}
	f, err := e.kernel.OpenTunnel(t.NIC, t.Name)
	if err != nil {
		return err
	}
	r, err := start(t, f, e.mux, func(format string, args ...any) {
		e.log.Warn("vpn", "tunnel", t.Name, "what", fmt.Sprintf(format, args...))
	})
	if err != nil {
		return fmt.Errorf("tunnel %s: %w", t.Name, err)
	}
	e.tunnels[t.Name] = r
	return nil
}

// Peers tells the state of a tunnel's peers; nil for one that does not run.
func (e *Engine) Peers(tunnel string) ([]PeerState, error) {
	e.mu.Lock()
	r := e.tunnels[tunnel]
	e.mu.Unlock()
	if r == nil {
		return nil, nil
	}
	return r.peers()
}

// Restart ends the sessions of a tunnel, which begin again by themselves. One that does not run is no error.
func (e *Engine) Restart(tunnel string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.tunnels[tunnel]
	if r == nil {
		return nil
	}
	t := r.tunnel
	r.close(e.mux)
	delete(e.tunnels, tunnel)
	return e.setOne(t)
}

// Close ends the tunnels and closes the sockets.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, r := range e.tunnels {
		r.close(e.mux)
		delete(e.tunnels, name)
	}
	for name, w := range e.wires {
		w.close()
		delete(e.wires, name)
	}
	e.mux.close()
}
