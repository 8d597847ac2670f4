package oci

import (
	"context"
	"errors"
	"fmt"
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
