// Package nstest runs a package's tests on the real kernel, in namespaces of their own, as the region's
// processes run: root in a user namespace with its own network, mounts and process numbers. It works for
// root and for ordinary users (with subordinate ids where newuidmap gives them).
package nstest

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const marker = "VAUBAN_NSTEST"

// Main runs m in fresh namespaces and returns the exit code for TestMain's os.Exit.
func Main(m *testing.M) int {
	switch os.Getenv(marker) {
	case "":
		return parent()
	case "unmapped": // wait for newuidmap, then start again to have the capabilities
		_, _ = os.NewFile(3, "go").Read(make([]byte, 1))
		os.Setenv(marker, "mapped")
		fmt.Fprintln(os.Stderr, "nstest:", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
		return 1
	}
	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
		return 1
	}
	return m.Run()
}

func parent() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	runtime.LockOSThread() // the death signal is the thread's
	state, finish := "mapped", func() error { return nil }
	switch {
	case os.Getuid() == 0:
		all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: math.MaxUint32}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings, cmd.SysProcAttr.GidMappingsEnableSetgroups = all, all, true
	case subordinate():
		r, w, err := os.Pipe()
		if err != nil {
			fmt.Fprintln(os.Stderr, "nstest:", err)
			return 1
		}
		cmd.ExtraFiles = []*os.File{r}
		state, finish = "unmapped", func() error { defer w.Close(); return mapIDs(cmd.Process.Pid) }
	default:
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.Env = append(os.Environ(), marker+"="+state)
	signal.Ignore(syscall.SIGINT) // the child decides
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "nstest: namespaces:", err)
		return 1
	}
	if err := finish(); err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

func subordinate() bool {
	if os.Getenv("VAUBAN_NSTEST_SINGLE") != "" { // try the case without, on a machine that has them
		return false
	}
	_, err := exec.LookPath("newuidmap")
	return err == nil && subid("/etc/subuid") != nil && subid("/etc/subgid") != nil
}

// subid returns the user's first range in a subid file as newuidmap's arguments.
func subid(file string) []string {
	u, err := user.Current()
	b, ferr := os.ReadFile(file)
	if err != nil || ferr != nil {
		return nil
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Split(line, ":"); len(f) == 3 && (f[0] == u.Username || f[0] == u.Uid) {
			return f[1:]
		}
	}
	return nil
}

func mapIDs(pid int) error {
	for _, m := range []struct{ tool, file, own string }{
		{"newuidmap", "/etc/subuid", strconv.Itoa(os.Getuid())},
		{"newgidmap", "/etc/subgid", strconv.Itoa(os.Getgid())},
	} {
		r := subid(m.file)
		out, err := exec.Command(m.tool, strconv.Itoa(pid), "0", m.own, "1", "1", r[0], r[1]).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", m.tool, err, out)
		}
	}
	return nil
}

// enter makes the namespaces' own /proc, /run and loopback.
func enter() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := unix.Mount("run", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	return loopbackUp()
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// Netns makes a network namespace with a loopback, bound to a file, for the duration of the test.
func Netns(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `ip link set lo up && mount --bind /proc/self/ns/net "$0"`, path)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("network namespace: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}
