package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	"vauban.dev/ml"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/region"
)

// watchParams ask how a job stands, and for the packets of its workspace's nodes.
type watchParams struct {
	Workspace string `json:"workspace"`
	Job       string `json:"job"`
	// Watch is what the first answer said; "" begins a watch.
	Watch string `json:"watch,omitempty"`
	// Watched are the interfaces whose packets the caller has already.
	Watched []string `json:"watched"`
	// Place is watched instead of a workspace's nodes: an interface, or all of a subnet.
	Place *region.PlaceParams `json:"place,omitempty"`
}

// watched is how a job stands. A reply has one packet socket for each New node, in order; the first one of a watch has, before
// these, the socket of owner messages, whose end ends the watch.
type watched struct {
	Watch  string        `json:"watch"`
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

// owner is a message on a watch's socket: which process has begun a flow. One with an Ask wants an answer: the
// server does not see the processes of `vauban exec`, which are the user's, outside the region.
type owner struct {
	NIC     string         `json:"nic"`
	Flow    linux.SocketID `json:"flow"`
	Process string         `json:"process"`
	Ask     int            `json:"ask,omitempty"`
	Space   string         `json:"space,omitempty"` // network namespace
	Inodes  []string       `json:"inodes,omitempty"`
}

// ownerAnswer is the answer.
type ownerAnswer struct {
	Ask   int      `json:"ask"`
	Names []string `json:"names"`
}

// answerTime is how long a packet waits for a watcher's answer. A watcher that let it pass is asked no more.
const answerTime = 5 * time.Second

// watches are what `vauban rules learn` follows at the time.
type watches struct {
	w    *world
	mu   sync.Mutex
	ctx  context.Context // of run; nil before it and after
	wg   sync.WaitGroup
	last int
	open map[string]*flowWatch
}

// flowWatch follows interfaces from before anything runs there until its socket ends.
type flowWatch struct {
	workspace bool // it is of a workspace's nodes
	owners    *net.UnixConn
	mu        sync.Mutex
	nodes     map[string]*watchedNIC // by lower-case id

	asking  sync.Mutex // one at a time
	asked   int
	deaf    bool
	answers chan ownerAnswer
	ended   chan struct{}
}

// watchedNIC is an interface whose packets are kept by the kernel until the watcher takes the socket.
type watchedNIC struct {
	packets *os.File // nil: taken
	began   []beganFlow
	stop    func() // of following owners
}

// run lets watches go on until ctx ends.
func (s *watches) run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// begin returns the caller's end of the socket.
func (s *watches) begin(workspace bool) (id string, f *flowWatch, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "owners"), os.NewFile(uintptr(fds[1]), "owners")
	c, err := net.FileConn(ours)
	err = errors.Join(err, ours.Close())
	if err != nil {
		return "", nil, nil, errors.Join(err, theirs.Close())
	}
	f = &flowWatch{workspace: workspace, owners: c.(*net.UnixConn), nodes: map[string]*watchedNIC{}, answers: make(chan ownerAnswer, 1), ended: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return "", nil, nil, errors.Join(errors.New("the region is ending"), theirs.Close(), c.Close())
	}
	s.last++
	id = strconv.Itoa(s.last)
	if s.open == nil {
		s.open = map[string]*flowWatch{}
	}
	s.open[id] = f
	ctx := s.ctx
	s.wg.Go(func() {
		stop := context.AfterFunc(ctx, func() { f.owners.Close() })
		defer stop()
		f.listen()
		s.mu.Lock()
		delete(s.open, id)
		s.mu.Unlock()
		f.close()
	})
	return id, f, theirs, nil
}

// starting follows an interface for all watches of workspaces, before a node begins to run there: which workspace
// it is of, the watcher hears when it next asks.
func (s *watches) starting(nic string) {
	s.mu.Lock()
	ctx := s.ctx
	var all []*flowWatch
	for _, f := range s.open {
		if f.workspace {
			all = append(all, f)
		}
	}
	s.mu.Unlock()
	for _, f := range all {
		if _, err := f.follow(ctx, s.w, nic); err != nil && !errors.Is(err, linux.ErrNoNamespace) {
			s.w.log.Warn("the flows of a node are not followed from its start", "interface", nic, "error", err)
		}
	}
}

// follow begins to keep the packets of an interface and to tell the processes of its flows. ErrNoNamespace; a nil
// result without an error: the network as it stands lacks the interface.
func (f *flowWatch) follow(ctx context.Context, w *world, id string) (*watchedNIC, error) {
	net, nic, ok := w.guest(id)
	if !ok {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.ToLower(nic.ID)
	if f.nodes == nil || f.nodes[key] != nil { // closed, or followed
		return f.nodes[key], nil
	}
	n := &watchedNIC{}
	var err error
	tell := func(flow linux.SocketID, process string) { f.tell(owner{NIC: nic.ID, Flow: flow, Process: process}) }
	if n.packets, err = w.packetSocket(nic.ID); err != nil {
		return nil, err
	}
	place := fabric.Place{Kind: fabric.AtNIC, ID: nic.ID}
	if n.stop, err = w.driver.FollowOwners(place, linux.Follower{Tell: tell, Others: f.ask}); err != nil {
		return nil, errors.Join(err, n.packets.Close())
	}
	// What stands by now was not held: its sockets are there.
	if n.began, err = w.began(ctx, net, nic.Addrs); err != nil {
		n.close()
		return nil, err
	}
	flows := make([]linux.SocketID, len(n.began))
	for i, b := range n.began {
		flows[i] = linux.SocketID{Protocol: b.Protocol, Local: b.Src, Remote: b.Dst}
	}
	names, err := w.driver.Owners(place, flows)
	if err != nil {
		n.close()
		return nil, err
	}
	for i, name := range names {
		if name != "" {
			tell(flows[i], name)
		}
	}
	f.nodes[key] = n
	return n, nil
}

// listen takes answers until the watcher ends.
func (f *flowWatch) listen() {
	defer close(f.ended)
	buf := make([]byte, 64<<10)
	for {
		n, err := f.owners.Read(buf)
		if err != nil || n == 0 {
			return
		}
		var a ownerAnswer
		if json.Unmarshal(buf[:n], &a) != nil {
			return
		}
		select {
		case f.answers <- a:
		default: // not asked for
		}
	}
}

// ask asks the watcher for the processes that it sees.
func (f *flowWatch) ask(space string, inodes []string) []string {
	f.asking.Lock()
	defer f.asking.Unlock()
	if f.deaf {
		return nil
	}
	f.asked++
	f.tell(owner{Ask: f.asked, Space: space, Inodes: inodes})
	wait := time.NewTimer(answerTime)
	defer wait.Stop()
	for {
		select {
		case a := <-f.answers:
			if a.Ask == f.asked {
				return a.Names
			}
		case <-wait.C:
			f.deaf = true
			return nil
		case <-f.ended:
			return nil
		}
	}
}

// tell sends a message. It never waits: what a watcher that does not read cannot be told stays unknown to it.
func (f *flowWatch) tell(o owner) {
	b, err := json.Marshal(o)
	if err != nil {
		return
	}
	raw, err := f.owners.SyscallConn()
	if err != nil {
		return
	}
	raw.Write(func(fd uintptr) bool {
		unix.Send(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	})
}

// close ends what is followed; the watcher reads to the end what was told until then.
func (f *flowWatch) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		n.close()
	}
	f.nodes = nil
	f.owners.Close()
}

func (n *watchedNIC) close() {
	if n.stop != nil {
		n.stop()
	}
	if n.packets != nil {
		n.packets.Close()
	}
}

// watch tells how a job stands and hands over the packets of the nodes that its workspace has, before the job is there:
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
	w.watches.mu.Lock()
	f := w.watches.open[p.Watch]
	w.watches.mu.Unlock()
	out.Watch = p.Watch
	switch {
	case p.Watch == "":
		var theirs *os.File
		if out.Watch, f, theirs, err = w.watches.begin(p.Place == nil); err != nil {
			return reply, err
		}
		reply.Files = append(reply.Files, theirs)
	case f == nil:
		return reply, notFound("the region no longer follows this: its server was started again")
	}
	candidates := out.Nodes
	out.Nodes = nil
	for _, x := range candidates {
		if len(reply.Files) == region.MaxFiles && !slices.Contains(p.Watched, x.NIC) {
			continue // the next call's
		}
		n, err := f.follow(ctx, w, x.NIC)
		if errors.Is(err, linux.ErrNoNamespace) { // it has gone since
			continue
		}
		if err != nil {
			return reply, err
		}
		_, nic, ok := w.guest(x.NIC)
		if n == nil || !ok { // an interface that is not there yet comes with a later call
			continue
		}
		x.NIC, x.Subnet, x.Addrs = nic.ID, nic.Subnet, nic.Addrs
		f.mu.Lock()
		if n.packets != nil {
			reply.Files = append(reply.Files, n.packets)
			x.New, x.Began, n.packets, n.began = true, n.began, nil, nil
		}
		f.mu.Unlock()
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
			out = append(out, beganFlow{f.Protocol, f.Src, f.Dst, f.Answered})
		}
	}
	return out, err
}
