package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/bench"
	"vauban.dev/fabric/linux"
)

// tcpKind is a security group whose cost for a new connection is measured.
type tcpKind struct{ kind, figure string }

var tcpKinds = []tcpKind{
	{"tags", "TCP setup, 4 NSGs of 100 rules with service tags"},
	{"narrow", "TCP setup, 4 NSGs of 1,000 narrow rules"},
}

// tcp measures in namespaces of its own, which end with their process.
func (b *benchmark) tcp(ctx context.Context, k tcpKind, add func(bench.Figure) error) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.exe, "bench", "tcp", k.kind)
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var r linux.SetupResult
	if err := json.Unmarshal(out, &r); err != nil {
		return err
	}
	return add(bench.Figure{
		Name: k.figure, Value: float64(r.Filtered.Nanoseconds()) / 1e3, Unit: "µs",
		Reference: bench.Reference{Name: "router with conntrack only", Value: float64(r.Baseline.Nanoseconds()) / 1e3}, Ratio: r.Ratio,
		Target: bench.Target{On: bench.OnRatio, Bound: bench.AtMost, Limit: 1.15},
	})
}

func newBenchTCPCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "tcp KIND", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make mounts private: %w", err)
			}
			if err := unix.Mount("run", "/run", "tmpfs", 0, "mode=755"); err != nil {
				return fmt.Errorf("mount tmpfs on /run: %w", err)
			}
			r, err := linux.MeasureTCPSetup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return json.NewEncoder(a.stdout).Encode(r)
		},
	}
}
