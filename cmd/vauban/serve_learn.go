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
	// Place is watched instead of a workspace's nodes: an interface, or all of a subnet.
	Place *region.PlaceParams `json:"place,omitempty"`
}

// ownersParams ask which processes hold the sockets of flows that begin at an interface.
type ownersParams struct {
	NIC   string           `json:"nic"`
	Flows []linux.SocketID `json:"flows"`
}

func (w *world) owners(_ context.Context, r region.Request) (region.Reply, error) {
	var p ownersParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	names, err := w.driver.Owners(fabric.Place{Kind: fabric.AtNIC, ID: p.NIC}, p.Flows)
	if errors.Is(err, linux.ErrNoNamespace) { // it has gone since
		return region.Reply{Result: make([]string, len(p.Flows))}, nil
	}
	return region.Reply{Result: names}, err
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
	out, err := w.candidates(ctx, p)
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
	candidates := out.Nodes
	out.Nodes = nil
	for _, x := range candidates {
		net, nic, ok := w.guest(x.NIC)
		if !ok { // an interface that is not there yet comes with a later call
			continue
		}
		x.NIC, x.Subnet, x.Addrs = nic.ID, nic.Subnet, nic.Addrs
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

// candidates are the interfaces that may be watched, and how the job stands.
func (w *world) candidates(ctx context.Context, p watchParams) (out watched, err error) {
	if p.Place != nil {
		nics, err := w.captureNICs(ctx, *p.Place)
		for _, n := range nics {
			out.Nodes = append(out.Nodes, watchedNode{NIC: n.ID, Job: true})
		}
		return out, err
	}
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
		return out, err
	}
	nodes, err := w.ml.Nodes(ctx)
	if err != nil {
		return out, err
	}
	for _, n := range nodes {
		cluster, err := arm.ParseID(n.Cluster)
		if err != nil {
			return out, err
		}
		if !cluster.Within(ws.ID) {
			continue
		}
		x := watchedNode{NIC: n.NIC, Job: n.Run == p.Job}
		if !x.Job {
			x.Other = n.Run
		}
		out.Nodes = append(out.Nodes, x)
	}
	return out, nil
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
	out := learned{Subnet: p.Subnet, Location: w.settings.Location}
	if p.Workspace != "" {
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
	}
	t := w.sync.current.Load().topology
	for i := range p.Destinations {
		d := &p.Destinations[i]
		for _, node := range d.Nodes {
			d.Names = append(d.Names, w.sync.asked.names(vnetOf(t, p.Subnet), node, d.Addr)...)
		}
	}
	p.Destinations = rulegen.Merge(p.Destinations)
	var tags []rulegen.Tag
	for _, e := range w.tags.Now().List().Values {
		if slices.Contains(e.Properties.NetworkFeatures, securityFeature) {
			tags = append(tags, rulegen.Tag{Name: e.Name, Prefixes: e.Properties.AddressPrefixes})
		}
	}
	var err error
	out.Destinations, out.Rules, err = rulegen.Learn(t, p.Subnet, tags, p.Destinations)
	return region.Reply{Result: out}, err
}

// vnetOf is the virtual network of a subnet.
func vnetOf(t *fabric.Topology, subnet string) string {
	for _, v := range t.VNets {
		for _, s := range v.Subnets {
			if strings.EqualFold(s.ID, subnet) {
				return v.ID
			}
		}
	}
	return ""
}
