//go:build clients

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestManagementClients manages a region with the management SDKs for Python and the ARM clients of azure-sdk-for-go,
// unmodified: create, list by pages, update, wait, delete, and refusals as typed errors.
func TestManagementClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	t.Run("python", func(t *testing.T) { g.with(t).clientScript("management", "management.py", "managed") })
	t.Run("go", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "gosdk")
		build := exec.Command("go", "build", "-mod=readonly", "-o", program, ".") // a module of its own
		build.Dir = filepath.Join("testdata", "clients", "gosdk")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		if out, err := g.output(g.with(t).command("exec", "--", program)); err != nil || !strings.HasSuffix(strings.TrimSpace(out), "managed") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestTerraformClients applies a configuration by an unmodified provider: the plan after an apply is empty, a change is
// applied and the plan after it is empty again, a refresh finds nothing else, and all of it goes.
// azurerm is built by `sh demo/setup.sh azurerm`, which takes ten minutes: without it azapi alone is tested.
func TestTerraformClients(t *testing.T) {
	providers, err := filepath.Abs(filepath.Join("..", ".cache", "terraform"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"azapi"}
	if _, err := os.Stat(filepath.Join(providers, "terraform-provider-azurerm")); err == nil {
		names = append(names, "azurerm")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			g := newGround(t, nil)
			g.up()
			f := newTerraform(t, g, providers, name)
			f.run(0, "apply", "-auto-approve")
			f.run(0, "plan", "-detailed-exitcode")
			f.run(0, "apply", "-auto-approve", "-var=changed=true")
			f.run(0, "plan", "-detailed-exitcode", "-var=changed=true")
			f.run(0, "apply", "-refresh-only", "-auto-approve", "-var=changed=true")
			f.run(0, "destroy", "-auto-approve", "-var=changed=true")
		})
	}
}

// terraform is a working directory with a configuration.
type terraform struct {
	t   *testing.T
	g   *ground
	dir string
	env []string
}

func newTerraform(t *testing.T, g *ground, providers, name string) *terraform {
	t.Helper()
	f := &terraform{t: t, g: g, dir: t.TempDir()}
	text, err := os.ReadFile(filepath.Join("testdata", "clients", "terraform", name, "main.tf"))
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir, "main.tf"), text, 0o600)
	}
	rc := filepath.Join(f.dir, "terraform.rc")
	if err == nil {
		err = os.WriteFile(rc, []byte("provider_installation {\n  dev_overrides {\n    \"hashicorp/azurerm\" = \""+providers+"\"\n    \"azure/azapi\" = \""+providers+"\"\n  }\n}\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.env = []string{"TF_CLI_CONFIG_FILE=" + rc, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1"}
	return f
}

func (f *terraform) run(want int, args ...string) {
	f.t.Helper()
	args = append([]string{"exec", "--", "terraform", "-chdir=" + f.dir, args[0], "-no-color", "-input=false"}, args[1:]...)
	out, err := f.g.with(f.t, f.env...).command(args...).CombinedOutput()
	code := 0
	if e := new(exec.ExitError); errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		f.t.Fatal(err)
	}
	if code != want {
		f.t.Fatalf("terraform %s: status %d, want %d\n%s", strings.Join(args[4:], " "), code, want, tail(out, 8<<10))
	}
}
