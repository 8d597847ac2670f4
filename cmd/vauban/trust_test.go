package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vauban.dev/internal/ca"
)

// TestTrust: the authority is added once, only after yes, is taken back when the machine cannot take it, and removed.
func TestTrust(t *testing.T) {
	dir, store := t.TempDir(), t.TempDir()
	if _, err := ca.Open(filepath.Join(dir, "ca"), "vauban", wallClock{}); err != nil {
		t.Fatal(err)
	}
	updates := 0
	var failing error
	m := machineTrust{store, func(context.Context, io.Writer, bool) error { updates++; return failing }}
	run := func(m machineTrust, dir, answer string, remove, yes bool) (string, error) {
		var out bytes.Buffer
		err := (&app{stdout: &out}).trust(t.Context(), m, dir, strings.NewReader(answer), remove, yes)
		return out.String(), err
	}
	files := func() int {
		all, err := os.ReadDir(store)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if _, err := run(m, t.TempDir(), "y\n", false, false); err == nil || !strings.Contains(err.Error(), "no region") {
		t.Error(err)
	}
	for _, no := range []string{"", "\n", "n\n", "yess\n"} {
		if out, err := run(m, dir, no, false, false); err == nil || files() != 0 || !strings.Contains(out, "SHA-256") {
			t.Errorf("%q: %s, %v", no, out, err)
		}
	}
	failing = errors.New("broken")
	if _, err := run(m, dir, "y\n", false, false); err == nil || files() != 0 {
		t.Errorf("half trusted: %v", err)
	}
	failing = nil
	if out, err := run(m, dir, "yes\n", false, false); err != nil || files() != 1 || !strings.Contains(out, "trusts the region: ") {
		t.Error(out, err)
	}
	if out, err := run(m, dir, "", false, true); err != nil || !strings.Contains(out, "already") {
		t.Error(out, err)
	}
	if out, err := run(m, dir, "y\n", true, false); err != nil || files() != 0 || !strings.Contains(out, "not trust the region any more") {
		t.Error(out, err)
	}
	if out, err := run(m, dir, "", true, true); err != nil || !strings.Contains(out, "nothing to remove") || updates != 3 {
		t.Error(out, err, updates)
	}
	if _, err := run(machineTrust{filepath.Join(store, "none"), m.update}, dir, "y\n", false, false); err == nil || !strings.Contains(err.Error(), "vauban env") {
		t.Error(err)
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(store, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := run(m, dir, "y\n", false, false); err == nil || !strings.Contains(err.Error(), "needs root: sudo") {
			t.Error(err)
		}
	}
}
