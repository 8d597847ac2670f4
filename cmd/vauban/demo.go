package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"vauban.dev/demo"
	"vauban.dev/reach"
	"vauban.dev/region"
)

// codeInterrupted is what shells give for a program that Ctrl-C has ended.
const codeInterrupted = 130

// demoData is where the demo's region lives, unless --data says otherwise.
const demoData = ".vauban/demo"

func newDemoCmd(a *app) *cobra.Command {
	d := &demoRun{app: a}
	var mode string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run the scenario: a workspace comes up, trains, and shows what cannot get in or out",
		Long: `Run the scenario twice by one script of real clients, first without a virtual network, then secured: make
the resources, upload data, submit a training job, stream its log, register the model; then try every
connection from every place and compare what happened with what was expected.

It runs in a fresh region of its own, whose data are in ` + demoData + ` unless --data says otherwise. The region
ends with the demo unless --keep is given. demo/setup.sh makes the Python environments that it needs.

The exit status is 1 when a step failed or a cell of the reach table differs.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if d.modes, err = parseMode(mode); err != nil {
				return &usageError{err}
			}
			if !c.Flag("data").Changed {
				a.data = demoData
			}
			return d.run(c.Context())
		},
	}
	c.Flags().StringVar(&mode, "mode", "both", "which scenarios: public, secured, both")
	c.Flags().BoolVar(&d.json, "json", false, "the outcome as JSON on standard output; the steps go to standard error")
	c.Flags().BoolVar(&d.keep, "keep", false, "leave the region running, to go on in it")
	c.Flags().StringVar(&d.envs, "environments", ".cache", "where demo/setup.sh made the Python environments az and sdk")
	c.Flags().DurationVar(&d.idle, "idle", 30*time.Second, "how long a node without work stays")
	c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"public", "secured", "both"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// demoRun is one run of the demo.
type demoRun struct {
	*app
	modes      []reach.Mode
	json, keep bool
	envs       string
	idle       time.Duration
}

func (d *demoRun) run(ctx context.Context) (err error) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	began := time.Now()
	progress := d.stdout
	if d.json {
		progress = d.stderr
	}
	if err := d.findEnvironments(); err != nil {
		return err
	}
	dir, err := d.freshDir(ctx)
	if err != nil {
		return err
	}
	account := demo.NewAccount(progress)
	fmt.Fprintf(progress, "A secured workspace on this machine. The region's data: %s\n", dir)
	account.Chapter("The region")
	// From here on there are processes: they end with the demo, whatever happens, unless they are to stay.
	defer func() {
		if d.keep && ctx.Err() == nil {
			return
		}
		interrupted := ctx.Err() != nil
		if interrupted {
			fmt.Fprintln(progress, "\nInterrupted: the region ends.")
		}
		switch ended := d.end(dir); {
		case ended != nil:
			err = errors.Join(err, ended)
		case interrupted:
			err = &exitError{region.Exit{Code: codeInterrupted}}
		}
	}()
	err = account.Do("", "vauban up", func() error {
		u := &up{app: &app{data: dir, stdout: io.Discard, stderr: d.stderr}, detach: true, images: []string{demo.Image + "=" + d.envs + "/sdk"}}
		return u.run(ctx)
	})
	if err != nil {
		return &exitError{region.Exit{Code: codeFailed}} // it is said
	}
	runner, err := d.runner(dir, account)
	if err != nil {
		return err
	}
	outcomes, err := d.scenarios(ctx, dir, runner)
	if err != nil {
		return err
	}
	return d.conclude(ctx, dir, progress, account, outcomes, time.Since(began))
}

// findEnvironments makes envs absolute and looks whether setup has been there.
func (d *demoRun) findEnvironments() error {
	abs, err := filepath.Abs(d.envs)
	if err != nil {
		return err
	}
	d.envs = abs
	for _, program := range []string{"sdk/bin/python", "az/bin/az"} {
		if _, err := os.Stat(filepath.Join(abs, program)); err != nil {
			return fmt.Errorf("%w: run demo/setup.sh first (`make demo` does), or say where it was run with --environments", err)
		}
	}
	return nil
}

// freshDir is the demo's data directory, empty but for the mark of a demo. What an earlier demo left there
// is ended and removed; anything else is not touched.
func (d *demoRun) freshDir(ctx context.Context) (string, error) {
	dir, err := region.ResolveDir(d.data)
	switch {
	case err == nil:
		if err := d.clear(ctx, dir); err != nil {
			return "", err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.MkdirAll(d.data, 0o700); err != nil {
		return "", err
	}
	if dir, err = region.ResolveDir(d.data); err != nil {
		return "", err
	}
	return dir, demo.State{}.Write(dir)
}

func (d *demoRun) clear(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	if _, err := demo.ReadState(dir); err != nil {
		return fmt.Errorf("%s is not empty and no demo's: give another directory with --data (%w)", dir, err)
	}
	if err := region.Stop(ctx, dir); err != nil && !errors.Is(err, region.ErrNotRunning) {
		return err
	}
	return os.RemoveAll(dir)
}

func (d *demoRun) runner(dir string, account *demo.Account) (*demo.Runner, error) {
	work := filepath.Join(dir, "demo")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	if err := demo.WriteClients(filepath.Join(work, "clients")); err != nil {
		return nil, err
	}
	creds, err := readCredentials(dir)
	if err != nil {
		return nil, err
	}
	secret := filepath.Join(work, "secret")
	if err := os.WriteFile(secret, []byte(creds.ClientSecret), 0o600); err != nil {
		return nil, err
	}
	return &demo.Runner{
		Region: demoRegion{dir}, Account: account, Dir: work, Secret: secret, Stranger: strangerName,
		Python: filepath.Join(d.envs, "sdk/bin/python"), AZ: filepath.Join(d.envs, "az/bin/az"),
		Env: map[string]string{
			"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
			"AZURE_CORE_NO_COLOR": "true", "AZURE_CORE_COLLECT_TELEMETRY": "false",
		},
		Settle: d.idle + 2*time.Minute,
	}, nil
}

// scenarios runs the modes one after another. The cluster of one goes back to no nodes while the next runs.
func (d *demoRun) scenarios(ctx context.Context, dir string, runner *demo.Runner) ([]*demo.Outcome, error) {
	creds, err := readCredentials(dir)
	if err != nil {
		return nil, err
	}
	given, err := readSettings(dir)
	if err != nil {
		return nil, err
	}
	key, err := makeSSHKey(filepath.Join(runner.Dir, "id_ed25519"))
	if err != nil {
		return nil, err
	}
	caller := demo.Caller{Subscription: creds.SubscriptionID, PartnerSubscription: creds.Partner, Tenant: creds.TenantID, ObjectID: creds.ObjectID}
	var outcomes []*demo.Outcome
	for _, m := range d.modes {
		o, err := runner.Run(ctx, demo.NewConfig(m, caller, given.Location, key, d.idle))
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
	}
	runner.Account.Chapter("The clusters")
	for _, o := range outcomes {
		if o.Emptied != nil {
			<-o.Emptied
		}
	}
	return outcomes, errors.Join(ctx.Err(), demo.State{Facts: demo.Facts(outcomes)}.Write(dir))
}

// makeSSHKey writes a key pair and returns the public half as authorized_keys has it.
func makeSSHKey(path string) (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "vauban demo")
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// conclude prints how it ended. It fails when a step or a cell did.
func (d *demoRun) conclude(ctx context.Context, dir string, progress io.Writer, account *demo.Account, outcomes []*demo.Outcome, took time.Duration) error {
	status, err := region.Inspect(ctx, dir)
	if err != nil {
		return err
	}
	s := demo.Summary{
		Seconds: took.Seconds(), Data: dir, Steps: account.Steps(), Outcomes: outcomes, OK: demo.Verdict(account.Steps(), outcomes),
		Isolation: demo.Isolate([]string{
			fmt.Sprintf("%-10s %s", "region", isolationText(status.Isolation)),
			fmt.Sprintf("%-10s %s", "limits", limitsText(status.Limits)),
			fmt.Sprintf("%-10s %s", "runtime", runtimeText(status.Runtime)),
		}, outcomes),
	}
	if d.json {
		enc := json.NewEncoder(d.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(s)
	} else {
		err = errors.Join(s.Render(progress), d.goOn(progress, dir))
	}
	if err != nil {
		return err
	}
	failed := 0
	for _, r := range s.Steps {
		if r.State != "ok" {
			failed++
		}
	}
	if !s.OK {
		return fmt.Errorf("the demo failed after %s: %d steps failed", took.Round(time.Second), failed)
	}
	fmt.Fprintf(progress, "\nEvery step succeeded and every cell is as expected, in %s.\n", took.Round(time.Second))
	return nil
}

// goOn prints how to work in the region.
func (d *demoRun) goOn(w io.Writer, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	v := fromHere(self) + " --data " + fromHere(dir)
	fmt.Fprintln(w, "\nHow to go on")
	type hint struct{ command, what string }
	hints := []hint{}
	if !d.keep {
		hints = append(hints, hint{v + " up -d", "the region again, with everything in it"})
	}
	from := "internet"
	if slices.Contains(d.modes, reach.Secured) {
		from = demo.JumpboxSubnet
		hints = append(hints,
			hint{v + " exec --subnet " + from + " -- bash", "a shell on the jump box"},
			hint{v + " exec -- " + fromHere(filepath.Join(d.envs, "az/bin/az")) + " resource list --output table", "a client on the region's internet"})
	}
	hints = append(hints,
		hint{v + " explain --from " + from + " --to " + strangerName + ":443", "what becomes of a connection, and why"},
		hint{v + " reach", "the tables again, after you changed something (training nodes are there while a job runs)"},
		hint{v + " down", "end it; the data stay"})
	for _, h := range hints {
		fmt.Fprintf(w, "  # %s\n  %s\n", h.what, h.command)
	}
	return nil
}

// fromHere is a path as one types it here: relative to the working directory if it is below it, and quoted
// for a shell if need be.
func fromHere(path string) string {
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
			path = rel
		}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return !strings.ContainsRune("/._-+:@%=", r) && !isAlphanumeric(r) }) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// demoRegion is the region at a directory as the demo uses it.
type demoRegion struct{ dir string }

var _ demo.Region = demoRegion{}

func (r demoRegion) Command(ctx context.Context, place string, argv ...string) (*exec.Cmd, error) {
	at, err := parseFrom(place)
	if err != nil {
		return nil, err
	}
	return placed(ctx, r.dir, at, argv...)
}

func (r demoRegion) Nodes(ctx context.Context, workspaceID string) (out []demo.Node, err error) {
	nodes, err := demoNodes(ctx, r.dir, workspaceID)
	for _, n := range nodes {
		out = append(out, demo.Node{ID: n.ID, State: n.State, Private: n.Private, Public: n.Public, Isolation: n.Isolation})
	}
	return out, err
}

func (r demoRegion) Measure(ctx context.Context, f reach.Facts) (*reach.Table, error) {
	return measureReach(ctx, r.dir, f)
}
