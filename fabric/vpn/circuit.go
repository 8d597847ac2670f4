package vpn

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// Circuit is a private wire: a tunnel whose other end is a TUN device somewhere else, without
// encryption between them.
type Circuit struct {
	Name string // of the fabric.Tunnel
	NIC  string // id of the gateway's interface
	// Far opens the other device, with virtio headers.
	Far func() (*os.File, error)
}

// CircuitState is what is known of a running circuit.
type CircuitState struct {
	Up      bool   // both ends are there
	In, Out uint64 // bytes from the other device, and to it, with 10 bytes of header each packet
}

// wire is a running circuit.
type wire struct {
	circuit   Circuit
	near, far *os.File
	in, out   atomic.Uint64
	ended     chan struct{} // one of the ends is gone
}

// SetCircuits makes the circuits those of the list. One whose other end is gone is opened again; an error of
// one does not keep it from the others.
func (e *Engine) SetCircuits(list []Circuit) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	want := map[string]Circuit{}
	for _, c := range list {
		want[c.Name] = c
	}
	for name, w := range e.wires {
		if c, ok := want[name]; !ok || c.NIC != w.circuit.NIC || w.dead() {
			w.close()
			delete(e.wires, name)
		}
	}
	var errs []error
	for _, c := range list {
		if e.wires[c.Name] != nil {
			continue
		}
		w, err := lay(e.kernel, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("circuit %s: %w", c.Name, err))
			continue
		}
		e.wires[c.Name] = w
	}
	return errors.Join(errs...)
}

// Circuit is the state of one; the zero state for one that does not run.
func (e *Engine) Circuit(name string) CircuitState {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.wires[name]
	if w == nil || w.dead() {
		return CircuitState{}
	}
	return CircuitState{Up: true, In: w.in.Load(), Out: w.out.Load()}
}

func lay(k Kernel, c Circuit) (*wire, error) {
	far, err := c.Far()
	if err != nil {
		return nil, err
	}
	near, err := k.OpenTunnel(c.NIC, c.Name)
	if err != nil {
		far.Close()
		return nil, err
	}
	w := &wire{circuit: c, near: near, far: far, ended: make(chan struct{})}
	running := make(chan struct{}, 2)
	go func() { carry(near, far, &w.in); running <- struct{}{} }()
	go func() { carry(far, near, &w.out); running <- struct{}{} }()
	go func() {
		<-running
		near.Close()
		far.Close()
		<-running
		close(w.ended)
	}()
	return w, nil
}

func (w *wire) dead() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *wire) close() {
	w.near.Close()
	w.far.Close()
	<-w.ended
}

// largestFrame is a packet of 64 KiB and its virtio header.
const largestFrame = 1<<16 + 16

// carry copies packets until one end is gone. A packet that an end does not take (its device is down) is
// lost.
func carry(to, from *os.File, bytes *atomic.Uint64) {
	buf := make([]byte, largestFrame)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		} else if err == nil {
			bytes.Add(uint64(n))
		}
	}
}
