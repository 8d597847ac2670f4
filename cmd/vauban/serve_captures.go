package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/capture"
	"vauban.dev/dataplane/blob"
	"vauban.dev/fabric"
	"vauban.dev/firewall"
	"vauban.dev/provider/networkwatcher"
	"vauban.dev/provider/storage"
)

// captures run Network Watcher's packet captures: from an interface's namespace straight into a blob, so that no
// packet lies unsealed on the disk.
type captures struct {
	w *world

	mu      sync.Mutex
	ctx     context.Context // of run; nil before it
	wg      sync.WaitGroup
	running map[string]*runningCapture // by lower-case id
	waiting map[string]func()          // asked for before run, by lower-case id
}

type runningCapture struct {
	stop context.CancelFunc
	done chan struct{}
}

var _ networkwatcher.Captures = (*captures)(nil)

// run lets captures run until ctx ends; those that run then are written as far as they came.
func (c *captures) run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx, c.running = ctx, map[string]*runningCapture{}
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, start := range waiting {
		start()
	}
	<-ctx.Done()
	c.mu.Lock()
	c.ctx = nil
	c.mu.Unlock()
	c.wg.Wait()
	return nil
}

func (c *captures) Start(id arm.ID, spec networkwatcher.Capture) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		if c.waiting == nil {
			c.waiting = map[string]func(){}
		}
		c.waiting[id.Key()] = func() { c.Start(id, spec) }
		return
	}
	if c.running[id.Key()] != nil {
		return
	}
	left := spec.Status.Started.Add(time.Duration(spec.Seconds) * time.Second).Sub(c.w.clock.Now())
	ctx, cancel := context.WithTimeout(c.ctx, max(left, 0))
	r := &runningCapture{stop: cancel, done: make(chan struct{})}
	c.running[id.Key()] = r
	region := c.ctx
	c.wg.Go(func() {
		defer close(r.done)
		defer cancel()
		reason, err := c.capture(ctx, id, spec)
		c.mu.Lock()
		delete(c.running, id.Key())
		c.mu.Unlock()
		c.save(region, id, reason, err)
	})
}

// save notes how a capture ended. One that the server's end cut short is no end: it begins again.
func (c *captures) save(region context.Context, id arm.ID, reason string, err error) {
	if err == nil && region.Err() != nil {
		return
	}
	s := networkwatcher.CaptureStatus{Reason: reason}
	if err != nil {
		c.w.log.Error("packet capture", "capture", id, "error", err)
		s = networkwatcher.CaptureStatus{Error: err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(region), drainTime)
	defer cancel()
	if err := c.w.engine.Update(ctx, func(tx *rp.Tx) error { return networkwatcher.SaveCapture(tx, id, s) }); err != nil {
		c.w.log.Error("packet capture", "capture", id, "error", err)
	}
}

func (c *captures) Stop(ctx context.Context, id arm.ID) {
	c.mu.Lock()
	r := c.running[id.Key()]
	c.mu.Unlock()
	if r == nil {
		return
	}
	r.stop()
	select {
	case <-r.done:
	case <-ctx.Done():
	}
}

// capture writes packets into the blob until ctx ends or the file is full.
func (c *captures) capture(ctx context.Context, id arm.ID, spec networkwatcher.Capture) (reason string, err error) {
	nic, addrs := c.interfaceOf(spec.Target)
	if nic == "" {
		return "", fmt.Errorf("the network has no interface %s", spec.Target)
	}
	filters, err := spec.Taken()
	if err != nil {
		return "", err
	}
	socket, err := c.w.packetSocket(nic)
	if err != nil {
		return "", err
	}
	in, out := io.Pipe()
	stored := make(chan error, 1)
	go func() {
		err := c.store(context.WithoutCancel(ctx), id, spec, in)
		in.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		stored <- err
	}()
	full := false
	w, err := capture.NewWriter(out, capture.Limits{PerPacket: spec.PerPacket, Total: spec.Total}, filters, addrs)
	if err == nil {
		err = capture.Read(ctx, socket, func(p capture.Packet) (bool, error) {
			var err error
			full, err = w.Write(p)
			return full, err
		})
	} else {
		socket.Close()
	}
	out.Close()
	err = errors.Join(err, <-stored)
	switch {
	case full:
		return networkwatcher.StopSize, err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return networkwatcher.StopTime, err
	}
	return networkwatcher.StopAsked, err
}

func (c *captures) interfaceOf(id string) (nic string, addrs []netip.Addr) {
	target, err := arm.ParseID(id)
	if err != nil {
		return "", nil
	}
	for _, v := range c.w.sync.current.Load().topology.VNets {
		for _, n := range v.NICs {
			if n.Kind == fabric.Guest && strings.EqualFold(n.ID, target.String()) {
				return n.ID, n.Addrs
			}
		}
	}
	return "", nil
}

// store writes the file as the platform itself, which the account's firewall must admit as a trusted service.
func (c *captures) store(ctx context.Context, id arm.ID, spec networkwatcher.Capture, file io.Reader) error {
	account, err := arm.ParseID(spec.Location.StorageID)
	if err != nil {
		return err
	}
	err = c.w.engine.View(ctx, func(tx *rp.Tx) error {
		a, err := rp.Get[storage.Account](tx, account)
		if err != nil {
			return err
		}
		if d := firewall.DecideInstance(storage.Firewall(a, "blob"), c.w.entra.Tenant().ID, id.String(), true); !d.Allowed {
			return fmt.Errorf("the firewall of %s: %s", account, d.Rule)
		}
		return nil
	})
	if err != nil {
		return err
	}
	container, name, err := spec.Blob(id, spec.Status.Started)
	if err != nil {
		return err
	}
	_, err = c.w.blobs.CreateContainer(ctx, accountName(account), container, blob.ContainerOptions{})
	if err != nil && !blob.IsCode(err, blob.CodeContainerAlreadyExists) {
		return err
	}
	_, err = c.w.blobs.Put(ctx, accountName(account), container, name, file, blob.PutOptions{Headers: blob.Headers{ContentType: "application/octet-stream"}})
	return err
}
