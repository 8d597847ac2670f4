package region

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Describe says how the region that this process serves stands on its machine: isolation, limits,
// runtime, and warnings about what does not hold.
func Describe() (Status, error) {
	uid, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return Status{}, err
	}
	ids, err := parseIDMap(uid)
	if err != nil {
		return Status{}, err
	}
	s := Status{State: Running, Isolation: isolationOf(ids), Limits: ownLimits("/sys/fs/cgroup", "/proc/self/cgroup"), Runtime: FindRuntime()}
	if s.Isolation.SubIDs == 0 {
		s.Warnings = append(s.Warnings, "No subordinate ids: containers run under your own user id, and only their namespaces keep them apart. Remedy: "+remedySubIDs(s.Isolation.UID))
	}
	if !s.Limits.Memory {
		s.Warnings = append(s.Warnings, "Nodes get no memory limit but on their address space ("+s.Limits.How+").")
	}
	if s.Runtime.Name == "" {
		s.Warnings = append(s.Warnings, "No OCI runtime: compute nodes cannot start. Remedy: "+remedyInstall("crun"))
	}
	return s, nil
}

func isolationOf(ids []idRange) Isolation {
	iso := Isolation{Mode: "rootless", UID: int(ids[0].Outside)}
	if ids[0].Outside == 0 {
		iso.Mode = "root"
	}
	for i, r := range ids {
		n := int(r.Size)
		if i == 0 && r.Inside == 0 {
			n-- // the region's root itself
		}
		iso.SubIDs += n
	}
	return iso
}

// FindRuntime finds the OCI runtime to prefer.
func FindRuntime() Runtime {
	for _, name := range []string{"crun", "runc"} {
		if p := lookTool(name); p != "" {
			return Runtime{Name: name, Path: p}
		}
	}
	return Runtime{}
}

// ownLimits tells which controllers this process may make cgroups under. root is where cgroups are
// mounted, self says where this process is (cgroups(7)).
func ownLimits(root, self string) Limits {
	b, err := os.ReadFile(self)
	if err != nil {
		return Limits{How: "no cgroups: " + err.Error()}
	}
	var l Limits
	seen := "none is mounted"
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		names, dir, how := strings.Split(f[1], ","), filepath.Join(root, f[1], f[2]), "cgroup v1"
		if f[0] == "0" { // the unified hierarchy: its root, or beside v1
			dir, how = filepath.Join(root, f[2]), "cgroup v2"
			have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
			if err != nil {
				continue
			}
			names = strings.Fields(string(have))
		}
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK, unix.AT_EACCESS) != nil {
			seen = "this user may not make groups in " + how
			continue
		}
		for _, n := range names {
			set := map[string]*bool{"memory": &l.Memory, "cpu": &l.CPU, "pids": &l.Pids}[n]
			if set != nil {
				*set, l.How = true, how
			}
		}
	}
	if l.How == "" {
		l.How = "no cgroup limits: " + seen
	}
	return l
}

// Inspect says how the region at dir stands, from outside. The server is asked for all that it knows;
// without it, what the holder's presence and the data directory tell.
func Inspect(ctx context.Context, dir string) (Status, error) {
	s := Status{State: Stopped, Dir: dir}
	holder, err := listenerPID(dir, holderSocket)
	if errors.Is(err, ErrNotRunning) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.State, s.Holder = Held, holder
	if names, err := Dial(dir).List(ctx); err == nil {
		s.Kept = len(names)
	}
	server, err := listenerPID(dir, controlSocket)
	if errors.Is(err, ErrNotRunning) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	full := s
	_, err = Call(ctx, dir, MethodStatus, nil, &full)
	if errors.Is(err, ErrNotRunning) { // the server ended while it was asked
		return s, nil
	}
	if err != nil {
		return s, err
	}
	full.State, full.Dir, full.Kept, full.Holder, full.Server = Running, dir, s.Kept, holder, server
	return full, nil
}

// listenerPID is the process that listens on a socket, as this process sees it.
func listenerPID(dir, socket string) (int, error) {
	conn, err := dialDir(dir, socket)
	if err != nil {
		return 0, dialError(err)
	}
	defer conn.Close()
	p, err := peerOf(conn)
	return p.PID, err
}
