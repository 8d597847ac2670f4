package region

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

// Process identifies a process of the region beyond the life of the server that started it: a pid may
// come again, but not with the same start, in the same pid namespace, since the same boot. It can be
// stored as JSON and asked again later.
type Process struct {
	PID   int    `json:"pid"`   // in the region
	Start uint64 `json:"start"` // clock ticks between boot and the start of the process (proc_pid_stat(5))
	Epoch string `json:"epoch"` // the boot and the pid namespace
}

// Identify returns the identity of a process that runs. An error that is fs.ErrNotExist says that it
// does not.
func Identify(pid int) (Process, error) {
	start, _, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	epoch, err := currentEpoch()
	return Process{PID: pid, Start: start, Epoch: epoch}, err
}

// Alive tells whether the process still runs; one that has ended but was not reaped yet does not.
func (p Process) Alive() bool {
	epoch, err := currentEpoch()
	if err != nil || epoch != p.Epoch {
		return false
	}
	start, state, err := readStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// Signal sends a signal to exactly this process; os.ErrProcessDone says that it has ended.
func (p Process) Signal(sig unix.Signal) error {
	fd, err := p.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		if err == unix.ESRCH {
			return os.ErrProcessDone
		}
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// Wait waits until the process has ended, whoever its parent is. Its exit status is its parent's alone.
func (p Process) Wait(ctx context.Context) error {
	fd, err := p.open()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return waitPidfd(ctx, fd)
}

// open returns a descriptor of this very process.
func (p Process) open() (int, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == unix.ESRCH || err == unix.EINVAL {
		return -1, os.ErrProcessDone
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	if !p.Alive() { // the descriptor is of whoever has the pid now
		unix.Close(fd)
		return -1, os.ErrProcessDone
	}
	return fd, nil
}

func currentEpoch() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(string(boot)) + " " + ns, err
}

func readStat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, unix.ESRCH) {
		err = os.ErrNotExist
	}
	if err != nil {
		return 0, 0, err
	}
	return parseStat(b)
}

// parseStat reads state and start time (fields 3 and 22 of proc_pid_stat(5)). The second field, the
// name, may hold spaces and parentheses.
func parseStat(b []byte) (start uint64, state byte, err error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("stat: %q", b)
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("stat: %q", b)
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, f[0][0], err
}

// Command is a program to start in the region. It is for the server.
type Command struct {
	NetNS   string     // name of a network namespace in /run/netns; "" for the region's own
	Argv    []string   // Argv[0] is the program's absolute path
	Env     []string   // the whole environment
	Dir     string     // "" is /
	Output  *os.File   // standard output and error; nil: /dev/null
	Files   []*os.File // descriptors 3, 4, …
	Cgroups []*os.File // cgroup.procs files, open for writing, of the cgroups to start in
}

// SpawnIn starts c as an orphan in a session of its own: the holder reaps it, and it goes on when the
// server ends. A step that the kernel refuses is a *spawn.Error.
func SpawnIn(c Command) (Process, error) {
	if len(c.Argv) == 0 || !filepath.IsAbs(c.Argv[0]) {
		return Process{}, fmt.Errorf("spawn %q: not an absolute path", c.Argv)
	}
	p := spawn.New()
	if c.NetNS != "" {
		ns, err := openNetNS(c.NetNS)
		if err != nil {
			return Process{}, err
		}
		defer ns.Close()
		p.Setns("net "+c.NetNS, ns, unix.CLONE_NEWNET)
	}
	for _, g := range c.Cgroups {
		p.WriteTo(g.Name(), g, "0")
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	p.Call("chdir "+dir, unix.SYS_CHDIR, p.String(dir))
	p.Fork(spawn.Init)
	p.Call("setsid", unix.SYS_SETSID)
	p.Files(append([]*os.File{nil, c.Output, c.Output}, c.Files...)...)
	p.Exec(c.Argv[0], c.Argv, c.Env)
	pid, err := p.Start()
	if err != nil {
		return Process{}, fmt.Errorf("spawn %s: %w", c.Argv[0], err)
	}
	id, err := Identify(pid)
	if errors.Is(err, os.ErrNotExist) { // it has ended and was reaped already
		epoch, err := currentEpoch()
		return Process{PID: pid, Epoch: epoch}, err
	}
	return id, err
}

// netnsDir is where the region's network namespaces are bound by name.
const netnsDir = "/run/netns"

func openNetNS(name string) (*os.File, error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%q is no name of a network namespace", name)
	}
	return os.Open(filepath.Join(netnsDir, name))
}

// PlaceFiles opens what MethodPlace answers with for the network namespace netns ("" for the region's
// own): the user and the network namespace. It is for the server.
func PlaceFiles(netns string) ([]*os.File, error) {
	user, err := os.Open("/proc/self/ns/user")
	if err != nil {
		return nil, err
	}
	var net *os.File
	if netns == "" {
		net, err = os.Open("/proc/self/ns/net")
	} else {
		net, err = openNetNS(netns)
	}
	if err != nil {
		user.Close()
		return nil, err
	}
	return []*os.File{user, net}, nil
}
