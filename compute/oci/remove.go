package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// deleteState makes the OCI runtime forget a container whose launcher is gone, killing it if it lives.
func (r *Runtime) deleteState(ctx context.Context, id string) error {
	args := append([]string{"--root", filepath.Join(r.dir, "state")}, r.engine.flags...)
	out, err := exec.CommandContext(ctx, r.engine.path, append(args, "delete", "--force", id)...).CombinedOutput()
	if err == nil {
		return nil
	}
	// A state that was left half made cannot be read by the runtime; it is only files.
	if rm := os.RemoveAll(filepath.Join(r.dir, "state", id)); rm != nil {
		return errors.Join(fmt.Errorf("%s: %w", strings.TrimSpace(string(out)), err), rm)
	}
	return nil
}

// Containers lists the containers that this runtime's directory holds, running or ended.
func (r *Runtime) Containers() ([]string, error) {
	es, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range es {
		if id, ok := strings.CutPrefix(e.Name(), "c-"); ok {
			out = append(out, id)
		}
	}
	return out, nil
}

// Sweep ends and removes every container of a runtime directory, whoever started them. It needs no Runtime:
// it is how a node's disk is given back after its agent has gone. A directory that is not there has none.
func Sweep(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	r := &Runtime{dir: dir, cg: findCgroups("/proc", dir)}
	if cs := candidates(); len(cs) > 0 {
		r.engine = cs[0]
	}
	return r.RemoveOthers(ctx, func(string) bool { return false })
}

// RemoveOthers ends and removes the containers that keep does not want.
func (r *Runtime) RemoveOthers(ctx context.Context, keep func(id string) bool) error {
	ids, err := r.Containers()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if keep(id) {
			continue
		}
		c, err := r.Attach(ctx, id)
		if c == nil {
			errs = append(errs, fmt.Errorf("container %s: %w", id, err))
			continue
		}
		if err := c.Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}
