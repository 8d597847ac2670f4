package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/bench"
	"vauban.dev/fabric/linux"
)

// tcpKind is a security group whose cost for a new connection is measured. The limit is that of the ratio.
type tcpKind struct {
	kind, figure string
	limit        float64
	quick        bool
}

var tcpKinds = []tcpKind{
	{"tags-10", "TCP setup, 4 NSGs of 10 rules with service tags", 1.12, false},
	{"tags-100", "TCP setup, 4 NSGs of 100 rules with service tags", 1.12, true},
	{"tags-300", "TCP setup, 4 NSGs of 300 rules with service tags", 1.12, false},
	{"narrow-100", "TCP setup, 4 NSGs of 100 narrow rules", 1.12, false},
	{"narrow-1000", "TCP setup, 4 NSGs of 1,000 narrow rules", 1.12, true},
	{"ports-1000", "TCP setup, 4 NSGs of 1,000 rules of one port", 1.12, false},
	{"adversarial-100", "TCP setup, 4 NSGs of 100 overlapping rules", 1.3, false},
	{"adversarial-300", "TCP setup, 4 NSGs of 300 overlapping rules", 1.3, false},
	{"routes", "TCP setup, 100 user routes", 1.12, false},
	{"peering", "TCP setup, peered virtual networks", 1.3, false},
	{"appliance", "TCP setup, through an appliance both ways", 2, false},
	{"nat", "TCP setup, by a NAT gateway to the internet", 1.35, false},
	{"service-endpoint", "TCP setup, by a service endpoint", 1.1, false},
	{"load-balancer", "TCP setup, by an internal frontend", 1.25, false},
}

// netMeasurements are what network rules cost, each in namespaces of its own, which end with their process.
func (b *benchmark) netMeasurements() (all []bench.Measurement) {
	for _, k := range tcpKinds {
		all = append(all, bench.Measurement{Name: "net-" + k.kind, About: k.figure, Quick: k.quick, Do: func(ctx context.Context, add func(bench.Figure) error) error {
			return b.tcp(ctx, k, add)
		}})
	}
	return append(all,
		bench.Measurement{Name: "net-firewall", About: "an Azure Firewall with network rules by name", Do: b.firewall},
		bench.Measurement{Name: "net-change", About: "rules put in place and changed, under a flow", Do: b.change},
		bench.Measurement{Name: "net-crowd", About: "a virtual network with 1,000 NICs", Do: b.crowd})
}

func (b *benchmark) tcp(ctx context.Context, k tcpKind, add func(bench.Figure) error) error {
	var r linux.SetupResult
	if err := b.inNamespaces(ctx, k.kind, &r); err != nil {
		return err
	}
	return add(bench.Figure{
		Name: k.figure, Value: float64(r.Filtered.Nanoseconds()) / 1e3, Unit: "µs",
		Reference: bench.Reference{Name: "router with conntrack only", Value: float64(r.Baseline.Nanoseconds()) / 1e3}, Ratio: r.Ratio,
		Target: bench.Target{On: bench.OnRatio, Bound: bench.AtMost, Limit: k.limit},
	})
}

// firewallRules is how many rules by name the measured firewall has: more than the tables of the specification ask for.
const firewallRules = 100

func (b *benchmark) firewall(ctx context.Context, add func(bench.Figure) error) error {
	var r linux.SetupResult
	if err := b.inNamespaces(ctx, workFirewall, &r); err != nil {
		return err
	}
	return add(bench.Figure{
		Name: "TCP setup through an Azure Firewall, 100 rules by name", Value: float64(r.Filtered.Nanoseconds()) / 1e3, Unit: "µs",
		Reference: bench.Reference{Name: "an appliance that passes everything on", Value: float64(r.Baseline.Nanoseconds()) / 1e3}, Ratio: r.Ratio,
		Target: bench.Target{On: bench.OnRatio, Bound: bench.AtMost, Limit: 1.5},
	})
}

func (b *benchmark) change(ctx context.Context, add func(bench.Figure) error) error {
	var r linux.ChangeResult
	if err := b.inNamespaces(ctx, workChange, &r); err != nil {
		return err
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	rule := ms(r.Rule)
	return errors.Join(
		add(bench.Figure{Name: "NSG of 1,000 narrow rules put in place", Value: ms(r.Load), Unit: "ms",
			Reference: bench.Reference{Name: "one of its rules changed", Value: rule}, Ratio: ms(r.Load) / rule,
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 250}}),
		add(bench.Figure{Name: "one of its rules changed", Value: rule, Unit: "ms",
			Reference: bench.Reference{Name: "all of them put in place", Value: ms(r.Load)}, Ratio: rule / ms(r.Load),
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 50}}),
		add(bench.Figure{Name: "datagrams lost meanwhile", Value: float64(r.Lost), Unit: "packets",
			Reference: bench.Reference{Name: "datagrams sent", Value: float64(r.Sent)}, Ratio: float64(r.Lost) / float64(r.Sent),
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 0}}))
}

func (b *benchmark) crowd(ctx context.Context, add func(bench.Figure) error) error {
	var few, many linux.CrowdResult
	if err := errors.Join(b.inNamespaces(ctx, workCrowd+"-100", &few), b.inNamespaces(ctx, workCrowd+"-1000", &many)); err != nil {
		return err
	}
	mib := func(r linux.CrowdResult) float64 { return float64(r.Memory) / (1 << 20) }
	return errors.Join(
		add(bench.Figure{Name: "1,000 NICs made", Value: many.Apply.Seconds(), Unit: "s",
			Reference: bench.Reference{Name: "100 NICs made", Value: few.Apply.Seconds()}, Ratio: many.Apply.Seconds() / few.Apply.Seconds(),
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 3}}),
		add(bench.Figure{Name: "kernel memory of 1,000 NICs", Value: mib(many), Unit: "MiB",
			Reference: bench.Reference{Name: "of 100 NICs", Value: mib(few)}, Ratio: mib(many) / mib(few),
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 400}}))
}

// Works of `vauban bench net` beside the kinds of security groups.
const (
	workChange   = "change"
	workCrowd    = "crowd"
	workFirewall = "firewall"
)

// inNamespaces runs `vauban bench net WORK` in user, network and mount namespaces of its own.
func (b *benchmark) inNamespaces(ctx context.Context, work string, result any) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.exe, "bench", "net", work)
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
	return json.Unmarshal(out, result)
}

func newBenchNetCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "net WORK", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make mounts private: %w", err)
			}
			if err := unix.Mount("run", "/run", "tmpfs", 0, "mode=755"); err != nil {
				return fmt.Errorf("mount tmpfs on /run: %w", err)
			}
			r, err := measureNet(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return json.NewEncoder(a.stdout).Encode(r)
		},
	}
}

func measureNet(ctx context.Context, work string) (any, error) {
	if count, ok := strings.CutPrefix(work, workCrowd+"-"); ok {
		n, err := strconv.Atoi(count)
		if err != nil {
			return nil, err
		}
		return linux.MeasureCrowd(ctx, n)
	}
	switch work {
	case workChange:
		return linux.MeasureChange(ctx)
	case workFirewall:
		return linux.MeasureFirewall(ctx, firewallRules)
	}
	return linux.MeasureTCPSetup(ctx, work)
}
