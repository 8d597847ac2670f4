package main

import (
	"context"
	"os"
	"strings"

	"vauban.dev/capture"
	"vauban.dev/fabric"
	"vauban.dev/region"
)

// captured is an interface whose packets are seen.
type captured struct {
	NIC       string   `json:"nic"`
	Addresses []string `json:"addresses"`
}

// maxCaptured bounds the sockets that one answer carries.
const maxCaptured = region.MaxFiles

// capture opens a packet socket in the namespace of each interface; the caller reads it.
func (w *world) capture(ctx context.Context, r region.Request) (reply region.Reply, err error) {
	var p region.PlaceParams
	if err := r.Decode(&p); err != nil {
		return reply, err
	}
	nics, err := w.captureNICs(ctx, p)
	if err != nil {
		return reply, err
	}
	out := []captured{}
	defer func() {
		if err != nil {
			for _, f := range reply.Files {
				f.Close()
			}
			reply.Files = nil
		}
	}()
	for _, n := range nics {
		socket, err := w.packetSocket(n.ID)
		if err != nil {
			return reply, err
		}
		reply.Files = append(reply.Files, socket)
		c := captured{NIC: n.ID}
		for _, a := range n.Addrs {
			c.Addresses = append(c.Addresses, a.String())
		}
		out = append(out, c)
	}
	reply.Result = out
	return reply, nil
}

// packetSocket sees the packets of an interface from inside.
func (w *world) packetSocket(nic string) (f *os.File, err error) {
	err = w.driver.Do(fabric.Place{Kind: fabric.AtNIC, ID: nic}, func() (err error) {
		f, err = capture.Open(fabric.GuestInterface)
		return err
	})
	return f, err
}

// captureNICs are the interfaces of a place: the one that it is, or all of a subnet.
func (w *world) captureNICs(ctx context.Context, p region.PlaceParams) ([]fabric.NIC, error) {
	title, at, err := w.where(ctx, p, false)
	if err != nil {
		return nil, err
	}
	wanted := func(n *fabric.NIC) bool { return n.ID == at.ID }
	if p.Subnet != "" {
		subnet := strings.TrimSuffix(at.ID, execSuffix)
		wanted = func(n *fabric.NIC) bool { return strings.EqualFold(n.Subnet, subnet) }
	}
	var out []fabric.NIC
	t := w.sync.current.Load().topology
	for i := range t.VNets {
		for _, n := range t.VNets[i].NICs {
			if n.Kind == fabric.Guest && wanted(&n) {
				out = append(out, n)
			}
		}
	}
	switch {
	case len(out) == 0:
		return nil, notFound("%s has no interface to capture", title)
	case len(out) > maxCaptured:
		return nil, badRequest("%s has %d interfaces, and %d can be captured at a time", title, len(out), maxCaptured)
	}
	return out, nil
}
