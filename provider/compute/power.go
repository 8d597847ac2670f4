package compute

import (
	"context"
	"net/http"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	nodes "vauban.dev/compute"
)

// Power is the state that a machine shall be in.
type Power string

const (
	running     Power = "running"
	stopped     Power = "stopped"
	deallocated Power = "deallocated"
)

const (
	watchEvery = 10 * time.Second // how often a running machine is looked at
	pids       = 4096             // processes and threads of a session
)

// want notes the desired state. A machine that is deallocated has nothing to power off.
func (p *Provider) want(to Power) func(context.Context, *rp.Tx, *rp.Resource[VM], []byte) (any, error) {
	return func(_ context.Context, tx *rp.Tx, r *rp.Resource[VM], _ []byte) (any, error) {
		v := &r.Properties
		if v.Power == to || to == stopped && v.Power == deallocated {
			return nil, nil
		}
		v.Power, v.Since = to, tx.Now
		return nil, rp.Save(tx, r)
	}
}

func (p *Provider) mayStart(ctx context.Context, tx *rp.Tx, r *rp.Resource[VM], body []byte) (any, error) {
	if r.Properties.Generalized {
		return nil, arm.Errorf(http.StatusConflict, "OperationNotAllowed", "Operation 'start' is not allowed on VM '%s' since the VM is generalized.", r.ID.Name())
	}
	return p.want(running)(ctx, tx, r, body)
}

// generalize marks a machine as one whose disk is for images; it never starts again.
func generalize(_ context.Context, _ *rp.Tx, r *rp.Resource[VM], _ []byte) (any, error) {
	if r.Properties.Power == running {
		return nil, arm.Errorf(http.StatusConflict, "OperationNotAllowed", "Operation 'generalize' is not allowed on VM '%s' since the VM is running. Power it off or deallocate it first.", r.ID.Name())
	}
	r.Properties.Generalized = true
	return map[string]any{}, nil
}

func capture(_ context.Context, _ *rp.Tx, r *rp.Resource[VM], _ []byte) (any, error) {
	if !r.Properties.Generalized {
		return nil, arm.Errorf(http.StatusConflict, "OperationNotAllowed", "Operation 'capture' is not allowed on VM '%s' since the VM is not generalized.", r.ID.Name())
	}
	return nil, arm.NotImplemented("capture: a machine's disk is a directory, of which no VHD is made.")
}

func mayRestart(_ context.Context, _ *rp.Tx, r *rp.Resource[VM], _ []byte) (any, error) {
	if r.Properties.Power != running {
		return nil, arm.Errorf(http.StatusConflict, "OperationNotAllowed", "Operation 'restart' is not allowed on VM '%s' since the VM is %s.", r.ID.Name(), r.Properties.Power)
	}
	return nil, nil
}

// settled is what the actions wait for.
func (p *Provider) settled(ctx context.Context, r *rp.Resource[VM], _ []byte) (any, error) {
	_, err := p.settle(ctx, r.ID, false)
	return nil, err
}

func (p *Provider) restart(ctx context.Context, r *rp.Resource[VM], _ []byte) (any, error) {
	_, err := p.settle(ctx, r.ID, true)
	return nil, err
}

func (p *Provider) reconcile(ctx context.Context, r *rp.Resource[VM]) (rp.Result, error) {
	on, err := p.settle(ctx, r.ID, false)
	if err != nil || !on {
		return rp.Result{}, err
	}
	return rp.Result{After: watchEvery, Ready: true}, nil
}

func (p *Provider) lock(vmID string) *sync.Mutex {
	m, _ := p.locks.LoadOrStore(vmID, new(sync.Mutex))
	return m.(*sync.Mutex)
}

// settle brings the process to what the store desires now, and tells whether it shall run. afresh ends it first.
func (p *Provider) settle(ctx context.Context, id arm.ID, afresh bool) (on bool, err error) {
	r, err := p.read(ctx, id)
	if r == nil || err != nil {
		return false, err
	}
	mu := p.lock(r.Properties.VMID)
	mu.Lock()
	defer mu.Unlock()
	if r, err = p.read(ctx, id); r == nil || err != nil { // what it was before is not what counts
		return false, err
	}
	v := &r.Properties
	if v.Power != running || afresh {
		if err := p.cfg.Launcher.Stop(ctx, v.VMID); err != nil {
			return false, err
		}
	}
	if v.Power != running {
		return false, nil
	}
	if p.cfg.Launcher.Alive(v.VMID) {
		return true, nil
	}
	return true, p.start(ctx, r)
}

// read is the machine as it is stored; nil when it is gone or goes.
func (p *Provider) read(ctx context.Context, id arm.ID) (r *rp.Resource[VM], err error) {
	err = p.cfg.Engine.View(ctx, func(tx *rp.Tx) error {
		r, err = rp.Get[VM](tx, id)
		return err
	})
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, nil
	}
	if err == nil && r.State == arm.Deleting {
		return nil, nil
	}
	return r, err
}

// start: the interface is in the store; the kernel must have it before the process starts.
func (p *Provider) start(ctx context.Context, r *rp.Resource[VM]) error {
	if err := p.cfg.Sync.Sync(ctx); err != nil {
		return err
	}
	m, err := p.machine(ctx, r)
	if err != nil {
		return err
	}
	p.cfg.Log.Info("a virtual machine starts", "vm", r.ID.String())
	return p.cfg.Launcher.Start(ctx, m)
}

// machine is what the process is started with. The interface has its id in the topology's spelling.
func (p *Provider) machine(ctx context.Context, r *rp.Resource[VM]) (Machine, error) {
	v := &r.Properties
	m := Machine{ID: v.VMID, Hostname: v.OS.ComputerName, User: v.OS.AdminUsername, PasswordHash: v.OS.AdminPassword}
	for _, k := range v.OS.keys() {
		m.Keys = append(m.Keys, k.Data)
	}
	if s, ok := sizeOf(v.Hardware.Size); ok {
		m.Limits = nodes.Limits{MemoryBytes: int64(s.MemoryMB) << 20, CPUs: float64(s.CPUs), Pids: pids}
	}
	err := p.cfg.Engine.View(ctx, func(tx *rp.Tx) error {
		nic, err := v.nic()
		if err != nil {
			return err
		}
		m.NIC, err = storedNIC(tx, nic)
		return err
	})
	return m, err
}

// finalize ends the machine and removes its disk.
func (p *Provider) finalize(ctx context.Context, r *rp.Resource[VM]) (rp.Result, error) {
	mu := p.lock(r.Properties.VMID)
	mu.Lock()
	defer mu.Unlock()
	if err := p.cfg.Launcher.Remove(ctx, r.Properties.VMID); err != nil {
		return rp.Result{}, err
	}
	p.locks.Delete(r.Properties.VMID)
	return rp.Result{}, nil
}
