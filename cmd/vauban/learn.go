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
	"vauban.dev/ml"
	"vauban.dev/reach"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

func (a *app) rulesLearn() *cobra.Command {
	var job, format, group string
	var asJSON bool
	c := &cobra.Command{
		Use:   "learn --job WORKSPACE/JOB",
		Short: "Watch a job, and write the least outbound rules for what its node has reached",
		Long: `Watch the packets of the node that runs a job until the job ends: what the node began flows to, and which names DNS
answered it. Start it before the job, which need not exist yet, in a network that lets the job through. The
destinations go to standard error, a security group that lets these pass and nothing else leave to standard output:
of a service's address its smallest service tag, of any other the address itself. It is proved on the model; give the
subnet the group and run the job again to see it run closed.

What nothing came back of gets no rule. The rules are outbound ones: the subnet's inbound rules are for you to
keep. Names are those of answers by UDP. Which process began a flow is not told.`,
		Example: `  vauban rules learn --job myws/train-1 --format bicep >nsg.bicep
  vauban rules learn --job myws/train-1 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(rulegen.Formats, format) {
				return &usageError{fmt.Errorf("--format %q: %s", format, strings.Join(rulegen.Formats, ", "))}
			}
			cut := strings.LastIndexByte(job, '/')
			if cut <= 0 || cut == len(job)-1 {
				return &usageError{fmt.Errorf("--job %q: write WORKSPACE/JOB", job)}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
			defer stop()
			w := &jobWatch{dir: dir, workspace: job[:cut], job: job[cut+1:], told: a.stderr, nodes: map[string]*nodeWatch{}}
			status, err := w.run(ctx)
			if err != nil {
				return err
			}
			out, err := w.learn(ctx)
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
			if err == nil && status != ml.Completed {
				err = fmt.Errorf("the job is %s: the rules are for what it reached until then", status)
			}
			return err
		},
	}
	c.Flags().StringVar(&job, "job", "", "WORKSPACE/JOB; the workspace by name or resource id")
	c.Flags().StringVar(&format, "format", "az", strings.Join(rulegen.Formats, ", "))
	c.Flags().StringVar(&group, "name", "nsg-learned", "of the security group")
	c.Flags().BoolVar(&asJSON, "json", false, "destinations and rules as JSON")
	c.MarkFlagRequired("job")
	c.MarkFlagsMutuallyExclusive("json", "format")
	return c
}

// watchInterval is how often the nodes and the job are asked for.
const watchInterval = 200 * time.Millisecond

// jobWatch records what the nodes of a job's workspace begin, of which those count that ran the job.
type jobWatch struct {
	dir, workspace, job string
	told                io.Writer
	nodes               map[string]*nodeWatch // by interface
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
			return status, err
		}
		switch {
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
			return status, ctx.Err()
		}
	}
}

// look asks how the job stands, and begins to read the packets of nodes that have come.
func (w *jobWatch) look(ctx, reading context.Context) (ml.Status, error) {
	p := watchParams{Workspace: w.workspace, Job: w.job}
	for nic := range w.nodes {
		p.Watched = append(p.Watched, nic)
	}
	var out watched
	sockets, err := region.Call(ctx, w.dir, methodWatch, p, &out)
	if err != nil {
		return "", err
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

// learn asks for the rules of what the job's nodes have reached.
func (w *jobWatch) learn(ctx context.Context) (out learned, err error) {
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
	fmt.Fprintf(t, "From %s\nDESTINATION\tTAG\tFLOWS\tNAMES\tRULE\n", reach.ShortID(l.Subnet))
	for _, d := range l.Destinations {
		rule := d.Rule
		if rule == "" {
			rule = "none: " + d.Why
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", d.Destination, dash(d.Tag), d.Flows, dash(strings.Join(d.Names, " ")), rule)
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
