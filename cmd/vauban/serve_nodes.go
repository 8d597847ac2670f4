package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/compute/agent"
	"vauban.dev/compute/oci"
	"vauban.dev/fabric"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/network"
	"vauban.dev/region"
)

// nodeLauncher starts the agents of compute nodes as orphans of the region: the holder reaps them, and they
// go on when the server ends. A node's directory holds its configuration and who its process is.
type nodeLauncher struct {
	dir    string // DATA/nodes
	data   string // DATA, which no container may see
	exe    string
	bundle string
	images map[string]agent.Image
	// resolver is what a NIC's machine is told about names when it starts.
	resolver func(nic string) network.Resolver
	// starting is told of an interface before its agent starts.
	starting func(nic string)
}

// environments are the region's images: each is a directory with a Python environment, which stands at
// /opt/env in containers.
func environments(images map[string]string) map[string]agent.Image {
	out := map[string]agent.Image{}
	for ref, dir := range images {
		out[ref] = agent.Image{
			Layers: []oci.Mount{{Source: dir, Target: "/opt/env"}},
			Env:    map[string]string{"PATH": "/opt/env/bin:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": "/opt/env"},
		}
	}
	return out
}

// slot spreads nodes over the ranges of user ids that containers have.
func slot(node string) int {
	sum := sha256.Sum256([]byte(node))
	return int(sum[0])
}

var _ machinelearning.Launcher = (*nodeLauncher)(nil)

// agentFile is the configuration that `vauban node-agent` reads.
const agentFile = "agent.json"

func (l *nodeLauncher) path(node string) string { return filepath.Join(l.dir, node) }

func (l *nodeLauncher) Start(ctx context.Context, n machinelearning.NodeSpec) error {
	// What a crash between start and note left has not the token that the store now has.
	if err := l.Stop(ctx, n.ID); err != nil {
		return err
	}
	dir := l.path(n.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cfg := agent.Config{
		Node: n.ID, Token: n.Token, Batch: "https://" + n.Host, StateDir: filepath.Join(dir, "work"), CABundle: l.bundle,
		Images: l.images, Limits: n.Limits, Slot: slot(n.ID), Hidden: []string{l.data}, Called: n.Called,
	}
	names := l.resolver(n.NIC)
	cfg.DNS, cfg.Search = names.Servers, names.Search
	if n.User != "" && n.Key != "" {
		cfg.SSH = &agent.SSH{User: n.User, AuthorizedKeys: []string{n.Key}}
	}
	return l.launch(n.ID, n.NIC, cfg)
}

// launch starts an agent of this configuration in the interface's network namespace, and notes its process.
func (l *nodeLauncher) launch(id, nic string, cfg agent.Config) error {
	dir, ns := l.path(id), fabric.NSName(fabric.Place{Kind: fabric.AtNIC, ID: nic})
	b, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, agentFile), b, 0o600); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	l.starting(nic)
	proc, err := region.SpawnIn(region.Command{
		NetNS: ns, Argv: []string{l.exe, "node-agent", "--config", filepath.Join(dir, agentFile)},
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Output: out,
	})
	if err != nil {
		return fmt.Errorf("start the agent of %s: %w", id, err)
	}
	if b, err = json.Marshal(proc); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "process.json"), b, 0o600)
}

func (l *nodeLauncher) process(node string) (p region.Process, ok bool) {
	b, err := os.ReadFile(filepath.Join(l.path(node), "process.json"))
	return p, err == nil && json.Unmarshal(b, &p) == nil
}

func (l *nodeLauncher) Alive(node string) bool {
	p, ok := l.process(node)
	return ok && p.Alive()
}

// Stop ends the agent and removes the node's files.
func (l *nodeLauncher) Stop(ctx context.Context, node string) error {
	if err := l.end(ctx, node); err != nil {
		return err
	}
	if err := os.RemoveAll(l.path(node)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// end lets the agent end what it runs, then makes sure. The disk stays.
func (l *nodeLauncher) end(ctx context.Context, node string) error {
	if p, ok := l.process(node); ok && p.Alive() {
		for _, step := range []struct {
			sig  unix.Signal
			wait time.Duration
		}{{unix.SIGTERM, 5 * time.Second}, {unix.SIGKILL, 5 * time.Second}} {
			if err := p.Signal(step.sig); errors.Is(err, os.ErrProcessDone) {
				break
			}
			waiting, cancel := context.WithTimeout(ctx, step.wait)
			err := p.Wait(waiting)
			cancel()
			if err == nil {
				break
			}
		}
	}
	// An agent that was killed leaves its containers running.
	if err := agent.Destroy(ctx, filepath.Join(l.path(node), "work")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func newNodeAgentCmd() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "node-agent", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := agent.ReadConfig(config)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return agent.Run(ctx, cfg, newLogger(c.ErrOrStderr()))
		},
	}
	c.Flags().StringVar(&config, "config", "", "the node's configuration file")
	return c
}
