package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	"vauban.dev/ml"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

// watchParams ask how a job stands, and for the packets of its workspace's nodes.
type watchParams struct {
	Workspace string `json:"workspace"`
	Job       string `json:"job"`
	// Watched are the interfaces whose packets the caller has already.
	Watched []string `json:"watched"`
}

// watched is how a job stands. A reply has one packet socket for each node with an Interface, in order.
type watched struct {
	Status ml.Status     `json:"status"` // "" while there is no such job
	Nodes  []watchedNode `json:"nodes"`
}

type watchedNode struct {
	NIC    string       `json:"nic"`
	Subnet string       `json:"subnet"`
	Job    bool         `json:"job"`   // it runs the job
	Other  string       `json:"other"` // it runs another
	New    bool         `json:"new"`   // its packets come with the reply
	Addrs  []netip.Addr `json:"addresses"`
	Began  []beganFlow  `json:"began"` // flows that it had begun by then, of a new one
}

type beganFlow struct {
	Protocol fabric.Protocol `json:"protocol"`
	Src      netip.AddrPort  `json:"src"`
	Dst      netip.AddrPort  `json:"dst"`
	Answered bool            `json:"answered"`
}

// learnParams ask for the rules that let pass what was reached from a subnet.
type learnParams struct {
	Workspace    string                `json:"workspace"`
	Subnet       string                `json:"subnet"`
	Destinations []rulegen.Destination `json:"destinations"`
}

type learned struct {
	Location     string            `json:"location"`
	Subnet       string            `json:"subnet"`
	Destinations []rulegen.Learned `json:"destinations"`
	Rules        []rulegen.Rule    `json:"rules"`
}

// watch tells how a job stands and opens the packets of the nodes that its workspace has, before the job is there:
// nobody knows then which of them gets it.
func (w *world) watch(ctx context.Context, r region.Request) (reply region.Reply, err error) {
	var p watchParams
	if err := r.Decode(&p); err != nil {
		return reply, err
	}
	var out watched
	var ws *rp.Resource[machinelearning.Workspace]
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		if ws, err = findWorkspace(tx, p.Workspace); err != nil {
			return err
		}
		run, err := w.ml.Runs.RunTx(tx, ws.Properties.WorkspaceID, p.Job)
		if errors.Is(err, ml.ErrNotFound) {
			return nil
		}
		if err == nil {
			out.Status = run.Status
		}
		return err
	})
	if err != nil {
		return reply, err
	}
	nodes, err := w.ml.Nodes(ctx)
	if err != nil {
		return reply, err
	}
	defer func() {
		if err != nil {
			for _, f := range reply.Files {
				f.Close()
			}
			reply.Files = nil
		}
	}()
	for _, n := range nodes {
		cluster, err := arm.ParseID(n.Cluster)
		if err != nil {
			return reply, err
		}
		net, nic, ok := w.guest(n.NIC)
		if !ok || !cluster.Within(ws.ID) { // an interface that is not there yet comes with a later call
			continue
		}
		x := watchedNode{NIC: nic.ID, Subnet: nic.Subnet, Addrs: nic.Addrs, Job: n.Run == p.Job}
		if !x.Job {
			x.Other = n.Run
		}
		if !slices.Contains(p.Watched, nic.ID) {
			if len(reply.Files) == maxCaptured {
				continue // the next call's
			}
			socket, err := w.packetSocket(nic.ID)
			if errors.Is(err, linux.ErrNoNamespace) { // it has gone since
				continue
			}
			if err != nil {
				return reply, err
			}
			reply.Files = append(reply.Files, socket)
			x.New = true
			if x.Began, err = w.began(ctx, net, nic.Addrs); err != nil {
				return reply, err
			}
		}
		out.Nodes = append(out.Nodes, x)
	}
	reply.Result = out
	return reply, nil
}

// guest finds an interface in the network as it stands.
func (w *world) guest(id string) (vnet string, nic *fabric.NIC, ok bool) {
	v := w.sync.current.Load()
	if v == nil {
		return "", nil, false
	}
	for i := range v.topology.VNets {
		net := &v.topology.VNets[i]
		for j := range net.NICs {
			if n := &net.NICs[j]; n.Kind == fabric.Guest && strings.EqualFold(n.ID, id) {
				return net.ID, n, true
			}
		}
	}
	return "", nil, false
}

// began are the flows of a node that its network's router has let pass and tracks now.
func (w *world) began(ctx context.Context, vnet string, addrs []netip.Addr) (out []beganFlow, err error) {
	flows, err := w.driver.Flows(ctx, fabric.RouterNS(vnet))
	for _, f := range flows {
		if slices.Contains(addrs, f.Src.Addr()) {
			out = append(out, beganFlow{f.Protocol, f.Src, f.Dst, f.ReceivedPackets > 0})
		}
	}
	return out, err
}

// securityFeature marks the tags of the list that security rules may name.
const securityFeature = "NSG"

// learn proposes rules, by the tags in force and the network as it stands.
func (w *world) learn(ctx context.Context, r region.Request) (region.Reply, error) {
	var p learnParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	out := learned{Subnet: p.Subnet}
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		ws, err := findWorkspace(tx, p.Workspace)
		if err == nil {
			out.Location = ws.Location
		}
		return err
	})
	if err != nil {
		return region.Reply{}, err
	}
	var tags []rulegen.Tag
	for _, e := range w.tags.Now().List().Values {
		if slices.Contains(e.Properties.NetworkFeatures, securityFeature) {
			tags = append(tags, rulegen.Tag{Name: e.Name, Prefixes: e.Properties.AddressPrefixes})
		}
	}
	out.Destinations, out.Rules, err = rulegen.Learn(w.sync.current.Load().topology, p.Subnet, tags, p.Destinations)
	return region.Reply{Result: out}, err
}
