package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/reach"
	"vauban.dev/reach/probe"
	"vauban.dev/region"
)

// probeCommand makes the connections of a reach table: []reach.Target on stdin, []reach.Result on stdout.
// It stands where `vauban exec` has put it.
const probeCommand = "probe"

func newProbeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    probeCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var targets []reach.Target
			if err := json.NewDecoder(c.InOrStdin()).Decode(&targets); err != nil {
				return &usageError{fmt.Errorf("targets on stdin: %w", err)}
			}
			return json.NewEncoder(a.stdout).Encode(probe.Run(c.Context(), targets))
		},
	}
}

// placed is a command line that runs argv at a place of the region at dir, by `vauban exec`. Its end is
// asked for by SIGTERM, which reaches the program, and enforced soon after.
func placed(ctx context.Context, dir string, at region.PlaceParams, argv ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--data", dir, "exec"}
	switch {
	case at.Node != "":
		args = append(args, "--node", at.Node)
	case at.Subnet != "":
		args = append(args, "--subnet", at.Subnet)
	default:
		args = append(args, "--from", at.From)
	}
	cmd := exec.CommandContext(ctx, self, append(append(args, "--"), argv...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// probeAt makes connections from a place, by a process that stands there. Tokens go by stdin alone.
func probeAt(ctx context.Context, dir string, at region.PlaceParams, targets []reach.Target) ([]reach.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd, err := placed(ctx, dir, at, self, probeCommand)
	if err != nil {
		return nil, err
	}
	in, err := json.Marshal(targets)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the probe: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var out []reach.Result
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return nil, fmt.Errorf("the probe's answer: %w", err)
	}
	return out, nil
}
