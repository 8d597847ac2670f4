// Package compute is Microsoft.Compute: virtual machines, as jump boxes and development environments in a virtual
// network. A machine is a process in its interface's network namespace that lets its administrator in by SSH
// (compute/agent); its disk is a directory that outlives it. What is desired stands in the store, and reconcile
// makes the processes follow it.
package compute

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	nodes "vauban.dev/compute"
	"vauban.dev/provider/network"
)

// The resource types.
const (
	Namespace = "Microsoft.Compute"
	Type      = Namespace + "/virtualMachines"
)

var versions = []string{
	"2015-06-15", "2016-03-30", "2016-04-30-preview", "2017-03-30", "2017-12-01", "2018-04-01", "2018-06-01", "2018-10-01", "2019-03-01", "2019-07-01",
	"2019-12-01", "2020-06-01", "2020-12-01", "2021-03-01", "2021-04-01", "2021-07-01", "2021-11-01", "2022-03-01", "2022-08-01", "2022-11-01",
	"2023-03-01", "2023-07-01", "2023-09-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-04-01", "2025-11-01", "2026-03-01", "2026-04-01",
}

// Launcher starts and stops the processes of machines. They live on when the server ends.
type Launcher interface {
	// Start starts the machine's process; what an earlier one left running is ended first.
	Start(ctx context.Context, m Machine) error
	// Alive reports whether the process is there.
	Alive(id string) bool
	// Stop ends the process and all that it runs; the disk stays. No error when it is gone.
	Stop(ctx context.Context, id string) error
	// Remove is Stop, and removes the disk.
	Remove(ctx context.Context, id string) error
}

// Machine is what a process is started with.
type Machine struct {
	ID           string // vmId
	NIC          string // id, which names the network namespace
	Hostname     string
	User         string
	PasswordHash string // bcrypt, "" for none
	Keys         []string
	Limits       nodes.Limits // of a session: the machine's size
}

// Engine is what the provider needs of rp.Engine outside the functions of its types.
type Engine interface {
	View(ctx context.Context, f func(*rp.Tx) error) error
	Update(ctx context.Context, f func(*rp.Tx) error) error
	Wake(id arm.ID)
}

// Config of a Provider.
type Config struct {
	Engine   Engine
	Sync     network.Syncer
	Launcher Launcher
	// Locations of the region, in lower case.
	Locations []string
	Log       *slog.Logger
}

// Provider is Microsoft.Compute.
type Provider struct {
	cfg   Config
	locks sync.Map // vmId to the *sync.Mutex that keeps one hand on a machine at a time
}

// New makes the provider.
func New(cfg Config) *Provider {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Provider{cfg: cfg}
}

// Types are the registrations of all types and operations of the provider.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{p.vmType(), rp.Routes(p.routes()...)}
}

// Run has every machine looked at once after a start; from then on they ask for it themselves.
func (p *Provider) Run(ctx context.Context) error {
	return p.cfg.Engine.View(ctx, func(tx *rp.Tx) error {
		all, err := rp.List[VM](tx, Type, root)
		for _, r := range all {
			p.cfg.Engine.Wake(r.ID)
		}
		return err
	})
}

// ByNIC is the machine of an interface; nil when it has none.
func ByNIC(tx *rp.Tx, nic arm.ID) (*rp.Resource[VM], error) {
	n, err := rp.Get[network.Interface](tx, nic)
	if err != nil || n.Properties.VirtualMachine == nil {
		return nil, err
	}
	id, err := arm.ParseID(n.Properties.VirtualMachine.ID)
	if err != nil {
		return nil, err
	}
	return rp.Get[VM](tx, id)
}

// NICOf is the interface of a machine.
func NICOf(tx *rp.Tx, vm arm.ID) (arm.ID, error) {
	r, err := rp.Get[VM](tx, vm)
	if err != nil {
		return arm.ID{}, err
	}
	return r.Properties.nic()
}

var root = arm.MustParseID("/")

func bad(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}

// invalid is Compute's refusal of a value; target names the field.
func invalid(target, format string, args ...any) *arm.Error {
	e := bad("InvalidParameter", format, args...)
	e.Target = target
	return e
}

// unchangeable is Compute's refusal to change what only a new machine can have.
func unchangeable(target string) *arm.Error {
	e := arm.Errorf(http.StatusConflict, "PropertyChangeNotAllowed", "Changing property '%s' is not allowed.", target)
	e.Target = target
	return e
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
