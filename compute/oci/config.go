package oci

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What root in the container may do, over its own files and processes only.
var capabilities = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"}

// Docker's lists: what /proc tells of the host, and what it lets one change.
var (
	maskedPaths   = []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// supervise is process 1 of a container. The kernel keeps signals without a handler from a process 1, so
// the command is its child, in a process group of its own that gets SIGTERM; orphans are reaped. What the
// shell has to say of its jobs ("Done") is not the command's output. A wait that a signal cut short says
// nothing of the command, even if it has ended meanwhile: waiting again does, the shell remembers its status.
const supervise = `exec 3>&2 2>/dev/null
set -m
"$@" <&0 2>&3 3>&- &
child=$!
set +m
exec 3>&-
trap 'told=1; kill -TERM -- -$child 2>/dev/null' TERM
until told=; wait $child 2>/dev/null; rc=$?; [ -z "$told" ]; do :; done
exit $rc`

// config is the bundle's config.json. addressSpace (bytes) limits that of each process, for memory limits
// without a control group; 0 does not.
func config(s *Spec, host hostLayout, netns string, addressSpace uint64) (*specs.Spec, error) {
	ns := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
		{Type: specs.MountNamespace}, {Type: specs.UserNamespace}, {Type: specs.CgroupNamespace},
		{Type: specs.NetworkNamespace, Path: netns},
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: s.IDs.Host, Size: s.IDs.Size}}
	oomScore := 500 // the launcher shares the cgroup and must not be the one that is killed
	c := &specs.Spec{
		Version: "1.0.0",
		Process: &specs.Process{
			User:            specs.User{UID: 0, GID: 0},
			Args:            command(s, addressSpace),
			Env:             environment(s),
			Cwd:             cwd(s),
			NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
			},
			Rlimits:     rlimits(),
			OOMScoreAdj: &oomScore,
		},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: hostname(s),
		Mounts:   mounts(s, host),
		Linux: &specs.Linux{
			Namespaces: ns, UIDMappings: ids, GIDMappings: ids,
			MaskedPaths: maskedPaths, ReadonlyPaths: readonlyPaths,
		},
	}
	profile, err := seccomp.GetDefaultProfile(c)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	c.Linux.Seccomp = profile
	return c, nil
}

// command is what process 1 runs. The address space is limited by a shell in the container, after the
// runtime's own program, which may need more, has gone.
func command(s *Spec, addressSpace uint64) []string {
	limit := ""
	if addressSpace > 0 {
		limit = fmt.Sprintf("ulimit -v %d\n", addressSpace>>10)
	}
	if s.Terminal {
		return append([]string{"/bin/bash", "-c", limit + `exec /usr/bin/setsid --ctty --wait "$@"`, "init"}, s.Args...)
	}
	return append([]string{"/bin/bash", "-c", limit + supervise, "init"}, s.Args...)
}

func cwd(s *Spec) string {
	if s.Cwd == "" {
		return "/work"
	}
	return path.Clean(s.Cwd)
}

func hostname(s *Spec) string {
	if s.Hostname == "" {
		return s.ID
	}
	return s.Hostname
}

// environment is the base and then the caller's, which wins.
func environment(s *Spec) []string {
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, l := range slices.Backward(s.Layers) {
		search = l.Target + "/bin:" + search
	}
	base := []string{"PATH=" + search, "HOME=/root", "USER=root", "LANG=C.UTF-8"}
	if s.CABundle != "" {
		for _, k := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
			base = append(base, k+"="+caPath)
		}
	}
	var out []string
	for _, kv := range base {
		k, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(s.Env, func(e string) bool { return strings.HasPrefix(e, k+"=") }) {
			out = append(out, kv)
		}
	}
	return append(out, s.Env...)
}

func rlimits() []specs.POSIXRlimit {
	files := uint64(65536)
	var have unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &have) == nil {
		files = min(files, have.Max) // it cannot be raised in a user namespace
	}
	return []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Soft: files, Hard: files},
		{Type: "RLIMIT_CORE", Soft: 0, Hard: 0},
	}
}

func mounts(s *Spec, host hostLayout) []specs.Mount {
	tmpfs := func(at, size string, opts ...string) specs.Mount {
		return specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs",
			Options: append([]string{"nosuid", "nodev", "size=" + size}, opts...)}
	}
	bind := func(from, to string, writable bool) specs.Mount {
		o := []string{"rbind", readonly(from), "nosuid", "nodev"}
		if writable {
			o[1] = "rw"
		}
		return specs.Mount{Destination: to, Type: "bind", Source: from, Options: o}
	}
	scratch := scratchSize(s.Limits.MemoryBytes)
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		bind("/usr", "/usr", false),
		tmpfs("/usr/local", "4k", "ro"),
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		tmpfs("/dev/shm", scratch, "noexec", "mode=1777"),
		tmpfs("/tmp", scratch, "mode=1777"),
		tmpfs("/run", scratch, "mode=755"),
		tmpfs("/root", scratch, "mode=700"),
		bind(s.WorkDir, "/work", true),
	}
	for _, m := range host.binds {
		out = append(out, bind(m, m, false))
	}
	for _, m := range s.Layers {
		out = append(out, bind(m.Source, m.Target, false))
	}
	for _, m := range s.Mounts {
		out = append(out, bind(m.Source, m.Target, m.Writable))
	}
	return out
}

// readonly is the option that makes a bind mount read-only, with the mounts below a directory. crun 1.8 cannot
// open a file for it; there is nothing below one.
func readonly(source string) string {
	if fi, err := os.Stat(source); err == nil && !fi.IsDir() {
		return "ro"
	}
	return "rro"
}

// scratchSize bounds what a container keeps in memory as files: without a cgroup nothing else would.
func scratchSize(memory int64) string {
	const most = 1 << 30
	if memory > 0 && memory < most {
		return strconv.FormatInt(memory, 10)
	}
	return strconv.Itoa(most)
}
