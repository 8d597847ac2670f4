package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/bench"
)

func newBenchCmd(a *app) *cobra.Command {
	b := &benchmark{app: a}
	var only string
	var asJSON, list bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine's region beside what the machine can do",
		Long: `Measure a region of its own, beside --data's directory, and remove it: how fast it starts, makes the resources
of a secured workspace and starts jobs, what network rules cost, and how fast its services answer.

Each figure stands beside a reference that was measured in the same run: a minimal Go server that does the
work and nothing else, a router that only tracks connections, a bare process. Read the ratio first. A miss does not
fail the command; a figure that could not be measured does.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if only != "" {
				re, err := regexp.Compile(only)
				if err != nil {
					return &usageError{fmt.Errorf("--only: %w", err)}
				}
				b.selection.Only = re
			}
			if list {
				return b.list()
			}
			if len(b.selection.Of(b.measurements())) == 0 {
				return &usageError{fmt.Errorf("--only %q names no measurement; see --list", only)}
			}
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return b.run(ctx, asJSON)
		},
	}
	c.Flags().BoolVar(&b.selection.Quick, "quick", false, "only the figures of start, resources, jobs, rules and memory")
	c.Flags().StringVar(&only, "only", "", "only the measurements whose name matches this regular expression")
	c.Flags().BoolVar(&list, "list", false, "name the measurements and end")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON; the last line then goes to stderr")
	c.AddCommand(newBenchClientCmd(a), newBenchLimitCmd(a), newBenchNetCmd(a))
	return c
}

// benchmark is one run of the command.
type benchmark struct {
	*app
	selection bench.Selection
	exe, dir  string
	database  string       // PostgreSQL's connection string; "" = SQLite
	secured   *benchRegion // the region with the scenario's resources, once it is needed
	broken    error        // why there is none
}

// measurements is the list of everything that is measured, in its order.
func (b *benchmark) measurements() []bench.Measurement {
	all := []bench.Measurement{
		{Name: "start", About: "from `vauban up` on an empty directory to Resource Manager's first answer", Quick: true, Do: b.start},
		{Name: "memory", About: "the server's memory, idle", Quick: true, Do: b.memory},
		{Name: "resources", About: "the secured workspace's resources, created by REST", Quick: true, Do: b.resources},
	}
	all = append(all, b.netMeasurements()...)
	all = append(all, b.authzMeasurements()...)
	all = append(all, b.armMeasurements()...)
	for _, w := range benchWorks {
		all = append(all, bench.Measurement{Name: w.name, About: w.about, Quick: w.quick, Do: func(ctx context.Context, add func(bench.Figure) error) error {
			r, err := b.region(ctx)
			if err != nil {
				return err
			}
			return r.client(ctx, w.place, w.name, add)
		}})
	}
	return all
}

func (b *benchmark) list() error {
	for _, m := range b.selection.Of(b.measurements()) {
		if _, err := fmt.Fprintf(b.stdout, "%-18s %s\n", m.Name, m.About); err != nil {
			return err
		}
	}
	return nil
}

func (b *benchmark) run(ctx context.Context, asJSON bool) (err error) {
	if b.exe, err = os.Executable(); err != nil {
		return err
	}
	// On the file system where regions keep their data: what is durable depends on it.
	parent, err := filepath.Abs(filepath.Dir(b.data))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(parent, "vauban-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	rows, last := b.stdout, b.stdout
	if asJSON {
		rows, last = nil, b.stderr
	}
	t := bench.NewTable(rows)
	failures, err := t.Run(ctx, b.selection.Of(b.measurements()), func(f *bench.Failure) { fmt.Fprintln(b.stderr, "vauban: not measured:", f) })
	if err != nil {
		return err
	}
	if asJSON {
		if err := t.WriteJSON(b.stdout); err != nil {
			return err
		}
	}
	if err := lastLine(last, t); err != nil {
		return err
	}
	if failures > 0 {
		return fmt.Errorf("%d measurements could not be made", failures)
	}
	return nil
}

func lastLine(w io.Writer, t *bench.Table) error {
	_, err := fmt.Fprintln(w, t.Summary())
	return err
}

func (b *benchmark) close() error {
	var err error
	if b.secured != nil {
		err = b.secured.down()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// region is the one that holds the scenario's resources; it is made when it is first asked for.
func (b *benchmark) region(ctx context.Context) (*benchRegion, error) {
	if b.secured == nil && b.broken == nil {
		b.broken = b.provision(ctx, func(bench.Figure) error { return nil })
	}
	return b.secured, b.broken
}

// provision makes the scenario's resources in a new region, which takes the place of the former one.
func (b *benchmark) provision(ctx context.Context, add func(bench.Figure) error) error {
	if b.secured != nil {
		if err := b.secured.down(); err != nil {
			return err
		}
		b.secured = nil
	}
	r, err := b.up(ctx)
	if err != nil {
		return err
	}
	if err := r.client(ctx, "", workResources, add); err != nil {
		return errors.Join(err, r.down())
	}
	b.secured = r
	return nil
}
