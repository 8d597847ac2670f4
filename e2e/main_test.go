package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programs are what the test binary is under another name: small clients that run at a place of the region.
var programs = map[string]func(args []string) int{
	"rest":      restProgram,
	"asks":      asksProgram,
	"probe":     probeProgram,
	"escape":    escapeProgram,
	"vpnclient": vpnClientProgram,
	"office":    officeProgram,
}

// bin is the directory of the programs under test: vauban, and this binary under each of its names. It is
// open to all users of the machine, because some tests are run as another one.
var bin string

func TestMain(m *testing.M) {
	if program := programs[filepath.Base(os.Args[0])]; program != nil {
		os.Exit(program(os.Args[1:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vauban-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		bin, err = dir, install(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// install fills the directory of programs. $VAUBAN_BIN is a vauban that was built already.
func install(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if built := os.Getenv("VAUBAN_BIN"); built != "" {
		if err := copyFile(filepath.Join(dir, "vauban"), built); err != nil {
			return err
		}
	} else if err := build(filepath.Join(dir, "vauban")); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(dir, "e2e"), "/proc/self/exe"); err != nil {
		return err
	}
	for name := range programs {
		if err := os.Symlink("e2e", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func build(to string, flags ...string) error {
	args := append([]string{"build", "-o", to}, flags...)
	out, err := exec.Command("go", append(args, "vauban.dev/cmd/vauban")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}
