package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/capture"
	"vauban.dev/fabric/linux"
	"vauban.dev/ml"
	"vauban.dev/reach"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

func (a *app) rulesLearn() *cobra.Command {
	var job, format, group string
	var asJSON bool
	var place region.PlaceParams
	var forTime time.Duration
	c := &cobra.Command{
		Use:   "learn --job WORKSPACE/JOB | --subnet VNET/SUBNET | --nic NAME",
		Short: "Watch a job, a subnet or an interface, and write the least outbound rules for what was reached",
		Long: `Watch the packets of the node that runs a job until the job ends: what the node began flows to, and which names DNS
answered it. Start it before the job, which need not exist yet, in a network that lets the job through. The
destinations go to standard error, a security group that lets these pass and nothing else leave to standard output:
of a service's address its smallest service tag, of any other the address itself. It is proved on the model; give the
subnet the group and run the job again to see it run closed.

With --subnet or --nic it watches those interfaces, for --for or until it is interrupted, instead of a job's node.

What nothing came back of gets no rule. The rules are outbound ones: the subnet's inbound rules are for you to
keep. Each destination has its service tag, the names that it was asked for by, and the processes that began the
flows: a flow's first packet waits in the node until its process is known, which takes some milliseconds. "unknown" are flows
whose socket was gone all the same: of UDP that is sent and closed at once, of a process that was killed while it connected, of
ping; and flows that had ended before the interface was watched.`,
		Example: `  vauban rules learn --job myws/train-1 --format bicep >nsg.bicep
  vauban rules learn --subnet hub/training --for 10m
  vauban rules learn --job myws/train-1 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(rulegen.Formats, format) {
				return &usageError{fmt.Errorf("--format %q: %s", format, strings.Join(rulegen.Formats, ", "))}
			}
			cut := strings.LastIndexByte(job, '/')
			if job != "" && (cut <= 0 || cut == len(job)-1) {
				return &usageError{fmt.Errorf("--job %q: write WORKSPACE/JOB", job)}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
			defer stop()
			w := &jobWatch{dir: dir, told: a.stderr, nodes: map[string]*nodeWatch{}}
			if job != "" {
				w.workspace, w.job = job[:cut], job[cut+1:]
			} else if w.place = &place; forTime > 0 {
				limited, cancel := context.WithTimeout(ctx, forTime)
				defer cancel()
				ctx = limited
			}
			status, err := w.run(ctx)
			if err != nil {
				return err
			}
			out, err := w.learn(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(out)
			} else {
				err = errors.Join(printLearned(a.stderr, out), rulegen.Write(a.stdout, format, rulegen.Names{Group: group}, out.Location, out.Rules, nil))
			}
			if err == nil && job != "" && status != ml.Completed {
				err = fmt.Errorf("the job is %s: the rules are for what it reached until then", status)
			}
			return err
		},
	}
	c.Flags().StringVar(&job, "job", "", "WORKSPACE/JOB; the workspace by name or resource id")
	c.Flags().StringVar(&format, "format", "az", strings.Join(rulegen.Formats, ", "))
	c.Flags().StringVar(&group, "name", "nsg-learned", "of the security group")
	c.Flags().BoolVar(&asJSON, "json", false, "destinations and rules as JSON")
	c.Flags().StringVar(&place.Subnet, "subnet", "", "watch all interfaces of a subnet, VNET/SUBNET or its resource id")
	c.Flags().StringVar(&place.NIC, "nic", "", "watch an interface, NAME or GROUP/NAME, or its resource id")
	c.Flags().DurationVar(&forTime, "for", 0, "with --subnet or --nic: how long, such as 10m; 0 until interrupted")
	c.MarkFlagsOneRequired("job", "subnet", "nic")
	c.MarkFlagsMutuallyExclusive("job", "subnet", "nic")
	c.MarkFlagsMutuallyExclusive("job", "for")
	c.MarkFlagsMutuallyExclusive("json", "format")
	return c
}

// watchInterval is how often the nodes and the job are asked for.
const watchInterval = 200 * time.Millisecond

// jobWatch records what the nodes of a job's workspace begin, of which those count that ran the job.
type jobWatch struct {
	dir, workspace, job string
	place               *region.PlaceParams // instead of a job
	told                io.Writer
	nodes               map[string]*nodeWatch // by interface
	id                  string                // of the region's watch
	socket              *os.File              // of its messages
	owned               []owner               // read after wg
	wg                  sync.WaitGroup
}

type nodeWatch struct {
	subnet   string
	recorder *rulegen.Recorder
	job      bool   // it ran the job
	other    string // another job that it ran
	failed   error  // of its reader; read after the jobWatch's wg
}

// run watches until the job has ended, and returns how.
func (w *jobWatch) run(ctx context.Context) (status ml.Status, err error) {
	reading, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		end(w.socket)
		w.wg.Wait()
		for _, n := range w.nodes {
			if !errors.Is(n.failed, unix.ENETDOWN) { // a node that has gone
				err = errors.Join(err, n.failed)
			}
		}
	}()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for first := true; ; first = false {
		ended := status.Terminal()
		if status, err = w.look(ctx, reading); err != nil {
			if w.place != nil && ctx.Err() != nil { // while it asked
				return "", nil
			}
			return status, err
		}
		switch {
		case first && w.place != nil:
			fmt.Fprintf(w.told, "watching %d interfaces\n", len(w.nodes))
		case first && status.Terminal():
			return status, fmt.Errorf("job %s is %s already: start to learn before it starts", w.job, status)
		case first:
			fmt.Fprintf(w.told, "watching %d nodes for job %s\n", len(w.nodes), w.job)
		case ended: // and what its node said last has been read
			return status, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if w.place != nil {
				return "", nil
			}
			return status, ctx.Err()
		}
	}
}

// look asks how the job stands, and begins to read the packets of nodes that have come.
func (w *jobWatch) look(ctx, reading context.Context) (ml.Status, error) {
	p := watchParams{Workspace: w.workspace, Job: w.job, Place: w.place, Watch: w.id}
	for nic := range w.nodes {
		p.Watched = append(p.Watched, nic)
	}
	var out watched
	sockets, err := region.Call(ctx, w.dir, methodWatch, p, &out)
	if err != nil {
		return "", err
	}
	if w.id == "" && len(sockets) > 0 {
		socket := sockets[0]
		w.id, w.socket, sockets = out.Watch, socket, sockets[1:]
		w.wg.Go(func() { w.owners(socket) })
	}
	for _, x := range out.Nodes {
		n := w.nodes[x.NIC]
		if x.New && len(sockets) > 0 {
			n = &nodeWatch{subnet: x.Subnet, recorder: rulegen.NewRecorder(x.Addrs)}
			for _, f := range x.Began {
				n.recorder.Began(f.Protocol, f.Src, f.Dst, f.Answered)
			}
			socket := sockets[0]
			sockets = sockets[1:]
			w.wg.Go(func() { n.failed = capture.Read(reading, socket, n.recorder.Packet) })
			w.nodes[x.NIC] = n
		}
		if n != nil {
			n.job = n.job || x.Job
			if x.Other != "" {
				n.other = x.Other
			}
		}
	}
	return out.Status, nil
}

// maxOwned bounds what is kept of who began what.
const maxOwned = 200_000

// owners reads which process has begun each flow, until the region has said all.
func (w *jobWatch) owners(socket *os.File) {
	defer socket.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := socket.Read(buf)
		if err != nil || n == 0 {
			return
		}
		var o owner
		switch err := json.Unmarshal(buf[:n], &o); {
		case err != nil:
		case o.Ask > 0:
			if b, err := json.Marshal(ownerAnswer{o.Ask, linux.VisibleProcesses(o.Space, o.Inodes)}); err == nil {
				socket.Write(b)
			}
		case o.Process != "" && len(w.owned) < maxOwned:
			w.owned = append(w.owned, o)
		}
	}
}

// end tells the region that nobody watches any more.
func end(socket *os.File) {
	if socket == nil {
		return
	}
	if c, err := socket.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}

// learn asks for the rules of what the job's nodes have reached.
func (w *jobWatch) learn(ctx context.Context) (out learned, err error) {
	for _, o := range w.owned {
		if n := w.nodes[o.NIC]; n != nil {
			n.recorder.Owner(o.Flow.Protocol, o.Flow.Local, o.Flow.Remote, o.Process)
		}
	}
	p := learnParams{Workspace: w.workspace}
	for nic, n := range w.nodes {
		if !n.job {
			continue
		}
		all, complete := n.recorder.Destinations()
		if !complete {
			return out, fmt.Errorf("%s has begun more flows than can be kept", reach.ShortID(nic))
		}
		if n.other != "" {
			fmt.Fprintf(w.told, "%s has also run job %s: what that reached is in the list\n", reach.ShortID(nic), n.other)
		}
		p.Subnet, p.Destinations = n.subnet, append(p.Destinations, all...)
	}
	if p.Subnet == "" && w.place != nil {
		return out, errors.New("no interface was seen there")
	}
	if p.Subnet == "" {
		return out, fmt.Errorf("no node of workspace %s was seen to run job %s", w.workspace, w.job)
	}
	p.Destinations = rulegen.Merge(p.Destinations)
	_, err = region.Call(ctx, w.dir, methodLearn, p, &out)
	return out, err
}

// printLearned writes the destinations as a table.
func printLearned(to io.Writer, l learned) error {
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "From %s\nDESTINATION\tTAG\tFLOWS\tNAMES\tPROCESSES\tRULE\n", reach.ShortID(l.Subnet))
	for _, d := range l.Destinations {
		rule := d.Rule
		if rule == "" {
			rule = "none: " + d.Why
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", d.Destination, dash(d.Tag), d.Flows, dash(strings.Join(d.Names, " ")), processes(d), rule)
	}
	return t.Flush()
}

// processes are those of a destination, the unknown ones too.
func processes(d rulegen.Learned) string {
	all := slices.Clone(d.Processes)
	if d.UnknownProcess > 0 {
		all = append(all, fmt.Sprintf("unknown (%d flows)", d.UnknownProcess))
	}
	return dash(strings.Join(all, ", "))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
