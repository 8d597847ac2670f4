package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/agent"
	"vauban.dev/entra"
	"vauban.dev/provider/deploymentscripts"
	"vauban.dev/provider/network"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// newDeploymentScripts makes the provider of deployment scripts. The Azure CLI that they run is an environment of the
// region, as those of jobs are.
func newDeploymentScripts(w *world) *deploymentscripts.Provider {
	launcher := *w.launcher
	launcher.dir = w.path("scripts")
	l := scriptLauncher{&launcher}
	return deploymentscripts.New(deploymentscripts.Config{
		Engine: w.engine, Network: scriptNetwork{mlNetwork{w}}, Launcher: l, Clock: w.clock, CLI: l.cli() != "", Account: scriptAccount,
	})
}

// scriptAccount finds an account of the user's for deployment scripts.
func scriptAccount(tx *rp.Tx, name string) (arm.ID, string, error) {
	a, err := storage.ByName(tx, strings.ToLower(name))
	if isStatus(err, http.StatusNotFound) || errors.Is(err, store.ErrNotFound) {
		return arm.ID{}, "", nil
	}
	if err != nil {
		return arm.ID{}, "", err
	}
	return a.ID, a.Kind, nil
}

// scriptMemory is what Azure gives the container of a script.
const scriptMemory = 2 << 30

// scriptLauncher runs deployment scripts as agents that end with them. DATA/scripts/RUN has the process's configuration,
// which holds the script's secrets, until the script has ended, and its result and log until the resource goes.
type scriptLauncher struct{ *nodeLauncher }

var _ deploymentscripts.Launcher = scriptLauncher{}

func (l scriptLauncher) work(id string) string { return filepath.Join(l.path(id), "work") }

// Start may be called again after a crash in it: the agent on the disk says whether the script has begun.
func (l scriptLauncher) Start(_ context.Context, t deploymentscripts.Task) error {
	if l.Alive(t.ID) {
		return nil
	}
	image := l.cli()
	cfg := agent.Config{
		Node: t.ID, Hostname: t.ContainerName, StateDir: l.work(t.ID), CABundle: l.bundle, Images: l.images, Slot: slot(t.ID), Hidden: []string{l.data},
		Limits: compute.Limits{MemoryBytes: scriptMemory, CPUs: 1, Pids: 4096},
		Script: &agent.Script{Content: t.Content, URI: t.URI, Supporting: t.Supporting, Args: t.Args, Env: t.Env, Timeout: compute.Duration(t.Timeout), Image: image},
	}
	if t.Identity != "" {
		cfg.Script.Login = &agent.ScriptLogin{ClientID: t.ClientID, ResourceID: t.Identity, Subscription: t.Subscription}
	}
	names := l.resolver(t.NIC)
	cfg.DNS, cfg.Search = names.Servers, names.Search
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return err
	}
	return l.launch(t.ID, t.NIC, cfg)
}

// cli is the image with the Azure CLI, "" when the region has none: the newest by its name.
func (l scriptLauncher) cli() (image string) {
	for ref := range l.images {
		if ref == deploymentscripts.CLIImage || strings.HasPrefix(ref, deploymentscripts.CLIImage+":") {
			image = max(image, ref)
		}
	}
	return image
}

func (l scriptLauncher) Result(id string) (deploymentscripts.Result, error) {
	alive := l.Alive(id) // before the result is read, which it writes last
	r, err := agent.ReadScriptResult(l.work(id))
	switch {
	case errors.Is(err, agent.ErrNoResult) && alive:
		return deploymentscripts.Result{}, deploymentscripts.ErrRunning
	case errors.Is(err, agent.ErrNoResult):
		return deploymentscripts.Result{Code: "DeploymentScriptExecutionFailed", Message: "The container that ran the script was ended from outside."}, nil
	}
	return deploymentscripts.Result{Start: r.Start, End: r.End, Outputs: r.Outputs, Code: r.Code, Message: r.Message, Lines: r.Lines}, err
}

func (l scriptLauncher) Log(id string) ([]byte, error) { return agent.ScriptLog(l.work(id)) }

func (l scriptLauncher) Clean(ctx context.Context, id string) error {
	if err := l.end(ctx, id); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(l.work(id), "script")), os.RemoveAll(filepath.Join(l.path(id), agentFile)))
}

func (l scriptLauncher) Remove(ctx context.Context, id string) error {
	return l.nodeLauncher.Stop(ctx, id)
}

// scriptNetwork gives scripts their interfaces.
type scriptNetwork struct{ mlNetwork }

var _ deploymentscripts.Network = scriptNetwork{}

// scriptContainer is the type of what stands behind a script's interface: a container below the script.
const scriptContainer = "containers"

func (n scriptNetwork) Allocate(tx *rp.Tx, script, subnet arm.ID, location, run string) (string, error) {
	r := network.NICRequest{Subnet: subnet, Owner: script.Child(scriptContainer, run).String(), Kind: "script"}
	if subnet.IsZero() {
		var err error
		if r.Subnet, err = n.ManagedSubnet(tx, script, location, false); err != nil {
			return "", err
		}
	} else {
		r.Service = "Microsoft.ContainerInstance/containerGroups"
	}
	nic, err := n.network.AllocateNIC(tx, r)
	return nic.ID, err
}

func (n scriptNetwork) Release(tx *rp.Tx, script arm.ID, nic string) error {
	return errors.Join(n.network.ReleaseNIC(tx, nic), n.RemoveManagedSubnet(tx, script))
}

// script is what runs behind an interface that is a script's; nil for another.
func (m machines) script(ctx context.Context, nic string) (r *rp.Resource[deploymentscripts.Script], err error) {
	id, err := arm.ParseID(nic)
	if err != nil || !strings.EqualFold(id.Type().String(), deploymentscripts.Type+"/"+scriptContainer) {
		return nil, nil
	}
	err = m.engine.View(ctx, func(tx *rp.Tx) error {
		r, err = rp.Get[deploymentscripts.Script](tx, id.Parent())
		return err
	})
	if isStatus(err, http.StatusNotFound) {
		return nil, entra.ErrNoMachine
	}
	return r, err
}
