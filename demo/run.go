package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"vauban.dev/reach"
)

// Region is what the scenario needs of a running region.
type Region interface {
	// Command is a command line at a place, as `vauban explain --from` takes it, ended with ctx.
	Command(ctx context.Context, place string, argv ...string) (*exec.Cmd, error)
	// Nodes are those of the workspace's clusters.
	Nodes(ctx context.Context, workspaceID string) ([]Node, error)
	// Measure measures the reach table, with a node that is up if there is one.
	Measure(ctx context.Context, f reach.Facts) (*reach.Table, error)
}

// Node of a cluster.
type Node struct {
	ID        string   `json:"id"`
	State     string   `json:"state"`
	Private   string   `json:"privateAddress,omitempty"`
	Public    string   `json:"publicAddress,omitempty"`
	Isolation []string `json:"isolation,omitempty"` // what holds on it, as its agent reported
}

// Runner runs the scenario in one mode.
type Runner struct {
	Region   Region
	Account  *Account
	Dir      string            // for the scripts and what they leave
	Python   string            // interpreter with the SDKs
	AZ       string            // the az command
	Secret   string            // file with the caller's secret: az takes it from there
	Env      map[string]string // for the clients
	Stranger string            // a web server on the region's internet
	Settle   time.Duration     // how long a cluster may take to be empty again
}

// Outcome of a mode.
type Outcome struct {
	Mode    reach.Mode      `json:"mode"`
	Config  Config          `json:"-"`
	Facts   reach.Facts     `json:"facts"`
	Results map[string]any  `json:"results,omitempty"` // what the scripts handed over
	Nodes   []Node          `json:"nodes,omitempty"`   // that were up after the job
	Table   *reach.Table    `json:"reach,omitempty"`
	Emptied <-chan struct{} `json:"-"` // closed when the cluster is back at no nodes, or has not come back
}

// errStep says that a step failed: it is printed already.
var errStep = errors.New("a step failed")

// Run runs the mode and returns as much as there is; what failed is in the account. The error is ctx's.
func (r *Runner) Run(ctx context.Context, c Config) (*Outcome, error) {
	o := &Outcome{Mode: reach.Public, Config: c, Results: map[string]any{}}
	title := "Public: no virtual network, every service open to the internet"
	if c.Secured {
		o.Mode, title = reach.Secured, "Secured: private endpoints in a virtual network, nodes without public addresses"
	}
	r.Account.Chapter(title)
	err := r.scenario(ctx, o)
	if err != nil && !errors.Is(err, errStep) && ctx.Err() == nil {
		r.Account.Step(Record{Mode: o.Mode, Step: Step{Name: "the scenario", State: "failed", Error: err.Error()}})
	}
	return o, ctx.Err()
}

func (r *Runner) scenario(ctx context.Context, o *Outcome) error {
	c := o.Config
	if err := r.script(ctx, o, "internet", "provision.py", "azure-mgmt-*, azure-ai-ml"); err != nil {
		return err
	}
	url, _ := o.Results["discoveryUrl"].(string)
	o.Facts = c.Facts(url, r.Stranger)
	var work error
	if c.Secured {
		work = r.az(ctx, o)
	}
	work = errors.Join(work, r.script(ctx, o, c.Place(), "train.py", "azure-storage-blob, azure-ai-ml, mlflow"))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(work, r.reach(ctx, o))
}

// reach measures the table while a node is up, and then watches the cluster go back to no nodes.
func (r *Runner) reach(ctx context.Context, o *Outcome) error {
	nodes, err := r.Region.Nodes(ctx, o.Facts.WorkspaceID)
	if err != nil {
		return err
	}
	o.Nodes = nodes
	err = r.Account.Do(o.Mode, "reach table: every connection from every place", func() error {
		t, err := r.Region.Measure(ctx, o.Facts)
		if err != nil {
			return err
		}
		o.Table = t
		if n := len(t.Differing()); n > 0 {
			return fmt.Errorf("%d cells differ from what is expected: see the table below", n)
		}
		return nil
	})
	emptied := make(chan struct{})
	o.Emptied = emptied
	go func() {
		defer close(emptied)
		r.watch(ctx, o)
	}()
	if err != nil {
		return errStep
	}
	return nil
}

// watch waits for the cluster to be empty.
func (r *Runner) watch(ctx context.Context, o *Outcome) {
	began := time.Now()
	step := Step{Name: fmt.Sprintf("%s: the cluster is back at 0 nodes", o.Mode), State: "ok"}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		nodes, err := r.Region.Nodes(ctx, o.Facts.WorkspaceID)
		if ctx.Err() != nil {
			return
		}
		waited := time.Since(began)
		if err == nil && len(nodes) > 0 && waited > r.Settle {
			err = fmt.Errorf("%d nodes are still there after %s", len(nodes), waited.Round(time.Second))
		}
		if err != nil {
			step.State, step.Error = "failed", err.Error()
		}
		if err != nil || len(nodes) == 0 {
			step.Seconds = waited.Seconds()
			r.Account.Step(Record{Mode: o.Mode, Step: step})
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// az signs in on the jump box and shows the workspace.
func (r *Runner) az(ctx context.Context, o *Outcome) error {
	r.Account.At(o.Config.Place(), "az")
	// The secret is not on the command line: az reads it from the file.
	login := `exec "$0" login --service-principal --username "$AZURE_CLIENT_ID" --password "@$1" --tenant "$AZURE_TENANT_ID" --output none`
	show := []string{r.AZ, "resource", "show", "--ids", o.Config.WorkspaceID(), "--api-version", "2024-10-01", "--output", "tsv",
		"--query", "join(' ', [name, location, properties.provisioningState, properties.publicNetworkAccess])"}
	for _, step := range []struct {
		name string
		argv []string
	}{
		{"az login", []string{"/bin/sh", "-c", login, r.AZ, r.Secret}},
		{"az resource show: the workspace", show},
	} {
		err := r.Account.Do(o.Mode, step.name, func() error {
			return r.run(ctx, o.Config, o.Config.Place(), step.argv, r.Account.Client)
		})
		if err != nil {
			return errStep
		}
	}
	return nil
}

// script runs one of the scripts and prints its steps.
func (r *Runner) script(ctx context.Context, o *Outcome, place, name, with string) error {
	r.Account.At(place, name+" ("+with+")")
	began, failed := time.Now(), false
	err := r.run(ctx, o.Config, place, []string{r.Python, filepath.Join(r.Dir, "clients", name)}, func(s string) {
		switch l := ParseLine(s); {
		case l.Step != nil:
			failed = failed || l.Step.State != "ok"
			r.Account.Step(Record{Mode: o.Mode, Place: place, Step: *l.Step})
		case l.Result != nil:
			maps.Copy(o.Results, l.Result)
		default:
			r.Account.Client(l.Text)
		}
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !failed {
		r.Account.Step(Record{Mode: o.Mode, Place: place, Step: Step{Name: name, State: "failed", Seconds: time.Since(began).Seconds(), Error: err.Error()}})
	}
	return errStep
}

// run runs argv at a place, with the configuration in its environment, and gives each line it prints to line.
func (r *Runner) run(ctx context.Context, c Config, place string, argv []string, line func(string)) error {
	cmd, err := r.Region.Command(ctx, place, argv...)
	if err != nil {
		return err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return err
	}
	cmd.Env = append(clientEnv(os.Environ(), r.Env), ConfigEnv+"="+string(config))
	cmd.Dir = r.Dir
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	var reading sync.WaitGroup
	reading.Go(func() { lines(out, line) })
	err = cmd.Run()
	in.Close()
	reading.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(argv[0]), err)
	}
	return nil
}

// lines gives each line of r to f; a line of more than a megabyte comes in pieces.
func lines(r io.Reader, f func(string)) {
	b := bufio.NewReaderSize(r, 1<<20)
	for {
		s, err := b.ReadSlice('\n')
		if len(s) > 0 {
			f(strings.TrimRight(string(s), "\r\n"))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// clientEnv is the user's environment without what would make the clients somebody else's: other Azure
// credentials and other Python libraries.
func clientEnv(env []string, set map[string]string) (out []string) {
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		_, replaced := set[name]
		if replaced || strings.HasPrefix(name, "AZURE") || strings.HasPrefix(name, "PYTHON") || strings.HasPrefix(name, "MLFLOW_") {
			continue
		}
		out = append(out, kv)
	}
	for name, v := range set {
		out = append(out, name+"="+v)
	}
	return out
}
