// Package smalldisk gives a test a file system of a size of its own, so that it can be full.
package smalldisk

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variable tells the process that a test started for itself from the first one.
const variable = "VAUBAN_TEST_SMALL_DISK"

// Disk is a mounted file system.
type Disk struct{ Dir string }

// Run runs f in a process of its own, in user and mount namespaces of its own, where d.Dir is an empty file system of
// size bytes. The users are those of the caller. The caller is a test, not a subtest.
func Run(t *testing.T, size int64, f func(t *testing.T, d *Disk)) {
	t.Helper()
	if os.Getenv(variable) == "" {
		again(t)
		return
	}
	d := &Disk{Dir: t.TempDir()}
	if err := unix.Mount("small", d.Dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	f(t, d)
}

// Resize makes room, or takes it away.
func (d *Disk) Resize(t *testing.T, size int64) {
	t.Helper()
	if err := unix.Mount("small", d.Dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("resize: %v", err)
	}
}

// again runs the calling test once more, in the namespaces.
func again(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	users, err := same("/proc/self/uid_map", os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	groups, err := same("/proc/self/gid_map", os.Getegid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: users, GidMappings: groups,
		GidMappingsEnableSetgroups: os.Geteuid() == 0, AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN}, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in its namespaces: %v\n%s", err, out)
	}
}

// same maps every user to itself: all that the file says there are for root, who may, and else only the own one.
func same(file string, own int) ([]syscall.SysProcIDMap, error) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{ContainerID: own, HostID: own, Size: 1}}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []syscall.SysProcIDMap
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var inside, outside, size int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &size); err != nil {
			return nil, err
		}
		all = append(all, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return all, lines.Err()
}
