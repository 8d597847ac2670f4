package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute/agent"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/network"
)

// vmLauncher starts virtual machines as agents that take no tasks. A machine's directory, DATA/machines/VMID, is
// its disk: it goes with the machine.
type vmLauncher struct{ *nodeLauncher }

var _ compute.Launcher = vmLauncher{}

func (l vmLauncher) Start(ctx context.Context, m compute.Machine) error {
	if err := l.end(ctx, m.ID); err != nil {
		return err
	}
	dir := l.path(m.ID)
	cfg := agent.Config{
		Node: m.ID, Hostname: m.Hostname, StateDir: filepath.Join(dir, "work"), Home: filepath.Join(dir, "home"), CABundle: l.bundle,
		Limits: m.Limits, Slot: slot(m.ID), SSH: &agent.SSH{User: m.User, PasswordHash: m.PasswordHash, AuthorizedKeys: m.Keys},
	}
	// Its home is below the region's data, of which a container may see nothing else.
	cfg.Hidden = []string{l.data}
	names := l.resolver(m.NIC)
	cfg.DNS, cfg.Search = names.Servers, names.Search
	if err := os.MkdirAll(cfg.Home, 0o700); err != nil {
		return err
	}
	return l.launch(m.ID, m.NIC, cfg)
}

func (l vmLauncher) Stop(ctx context.Context, id string) error { return l.end(ctx, id) }

func (l vmLauncher) Remove(ctx context.Context, id string) error { return l.nodeLauncher.Stop(ctx, id) }

// vm is the virtual machine of an interface, nil when it has none.
func (m machines) vm(ctx context.Context, nic string) (r *rp.Resource[compute.VM], err error) {
	id, err := arm.ParseID(nic)
	if err != nil || !strings.EqualFold(id.Type().String(), network.NICType) { // a node's is no resource
		return nil, nil
	}
	err = m.engine.View(ctx, func(tx *rp.Tx) error {
		r, err = compute.ByNIC(tx, id)
		return err
	})
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound { // it has just gone
		return nil, nil
	}
	return r, err
}
