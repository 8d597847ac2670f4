// Command vauban runs a region: a secured Azure Machine Learning workspace, and the network around it,
// on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

// Exit codes of vauban itself. exec gives those of the program that it ran; its own failures are told
// apart from the program's as env(1) and docker do.
const (
	codeFailed     = 1
	codeUsage      = 2
	codeNotRunning = 3
	codeExecFailed = 125
	codeCannotRun  = 126
	codeNotFound   = 127
)

func main() {
	err := newRoot(os.Stdout, os.Stderr).ExecuteContext(context.Background())
	exit(os.Stderr, err)
}

// app is what the commands share.
type app struct {
	data           string // --data
	stdout, stderr io.Writer
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "vauban",
		Short: "The secured Azure Machine Learning workspace on this machine",
		Long: `Vauban runs a region of Azure on this machine: the same API, the same unmodified clients, and every
network rule enforced by the kernel. No root is needed and nothing of the machine's network is touched.

  vauban up -d                              start the region
  vauban exec -- az group list              run a client on the region's internet
  vauban exec --subnet vnet/subnet -- CMD   run it inside a subnet
  vauban down                               end it; the data stay`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.PersistentFlags().StringVar(&a.data, "data", defaultData(), "directory of the region's data ($VAUBAN_DATA)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w\nSee `%s --help`.", err, c.CommandPath())}
	})
	root.AddCommand(commands(a)...)
	return root
}

// commands is the list of everything vauban does.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newUpCmd(a),
		newDownCmd(a),
		newStatusCmd(a),
		newExecCmd(a),
		newExplainCmd(a),
		newAuditCmd(a),
		newCheckCmd(a),
		newRulesCmd(a),
		newCaptureCmd(a),
		newDNSCmd(a),
		newReachCmd(a),
		newVPNCmd(a),
		newExpressRouteCmd(a),
		newFirewallCmd(a),
		newDemoCmd(a),
		newExportCmd(a),
		newImportCmd(a),
		newDestroyCmd(a),
		newEnvCmd(a),
		newTrustCmd(a),
		newUserCmd(a),
		newTenantCmd(a),
		newClockCmd(a),
		newThrottleCmd(a),
		newQuotaCmd(a),
		newScrubCmd(a),
		newTagsCmd(a),
		newVersionCmd(a),
		newServeCmd(a),
		newHoldCmd(),
		newDialCmd(),
		newNodeAgentCmd(),
		newBenchCmd(a),
		newConformanceCmd(a),
		newProbeCmd(a),
	}
}

// defaultData is where a region keeps its state when nothing else is said.
func defaultData() string {
	if d := os.Getenv("VAUBAN_DATA"); d != "" {
		return d
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "vauban-data"
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "vauban")
}

// dir is the data directory of a region that is expected to exist.
func (a *app) dir() (string, error) {
	dir, err := region.ResolveDir(a.data)
	if errors.Is(err, fs.ErrNotExist) {
		return "", region.ErrNotRunning
	}
	return dir, err
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// exitError ends vauban with a code, or by a signal, without a word: all is said.
type exitError struct{ region.Exit }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.Code) }

// execError is a failure of `vauban exec` itself.
type execError struct{ error }

func (e *execError) Unwrap() error { return e.error }

// exit ends the process as err says.
func exit(stderr io.Writer, err error) {
	var silent *exitError
	if errors.As(err, &silent) {
		if silent.Signal != 0 {
			region.DieBy(silent.Signal)
			os.Exit(128 + int(silent.Signal))
		}
		os.Exit(silent.Code)
	}
	if err == nil {
		return
	}
	text := err.Error()
	if errors.Is(err, region.ErrNotRunning) {
		text += ": start it with `vauban up -d`"
	}
	fmt.Fprintln(stderr, "vauban: "+text)
	os.Exit(codeOf(err))
}

func codeOf(err error) int {
	var inExec *execError
	var usage *usageError
	var program *exec.Error // the user's program, as it was looked up
	switch {
	case errors.As(err, &usage):
		return codeUsage
	case errors.As(err, &inExec) && errors.As(err, &program) && (errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)):
		return codeNotFound
	case errors.As(err, &inExec) && errors.Is(err, fs.ErrPermission):
		return codeCannotRun
	case errors.As(err, &inExec):
		return codeExecFailed
	case errors.Is(err, region.ErrNotRunning):
		return codeNotRunning
	}
	return codeFailed
}
