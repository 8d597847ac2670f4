package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt is one thing that a job must not be able to do: nil means that it could.
type attempt struct {
	name string
	try  func() error
}

// escaped is what escapeProgram found.
type escaped struct {
	Succeeded []string // attempts that should not have
	Root      []string // names in /
	Processes int
	Env       map[string]string
	Mounts    string
	UID       string // maps of the user namespace
	Caps      string
	Seccomp   string
	NoNew     string
}

// escapeProgram runs inside a job and tries to get out of it. Its arguments are paths of the host that it
// must not see.
func escapeProgram(args []string) int {
	runtime.LockOSThread()
	var out escaped
	for _, a := range attempts(args) {
		if err := a.try(); err == nil {
			out.Succeeded = append(out.Succeeded, a.name)
		} else {
			fmt.Fprintf(os.Stderr, "%-40s %v\n", a.name, err)
		}
	}
	root, err := os.ReadDir("/")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, e := range root {
		out.Root = append(out.Root, e.Name())
	}
	pids, _ := filepath.Glob("/proc/[0-9]*")
	out.Processes = len(pids)
	out.Env = map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		out.Env[k] = v
	}
	out.Mounts, out.UID = contents("/proc/self/mountinfo"), contents("/proc/self/uid_map")
	for line := range strings.Lines(contents("/proc/self/status")) {
		k, v, _ := strings.Cut(line, ":")
		switch v = strings.TrimSpace(v); k {
		case "CapBnd":
			out.Caps = v
		case "Seccomp":
			out.Seccomp = v
		case "NoNewPrivs":
			out.NoNew = v
		}
	}
	sort.Strings(out.Root)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 1
	}
	return 0
}

func contents(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

func attempts(hidden []string) []attempt {
	list := []attempt{
		{"read the host's shadow file", func() error { return readable("/etc/shadow") }},
		{"read kernel memory", func() error { return readable("/dev/mem", "/dev/kmem", "/proc/kcore", "/proc/kallsyms.real") }},
		{"read the kernel's log", func() error {
			_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 64))
			return err
		}},
		{"read a disk", func() error {
			return readable(globs("/dev/sd*", "/dev/vd*", "/dev/nvme*", "/dev/dm-*", "/dev/loop*")...)
		}},
		{"make a device", func() error { return unix.Mknod("/tmp/sda", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))) }},
		{"open a device that it made", func() error { return readable("/tmp/sda") }},
		{"mount proc", func() error { return mount("proc", "/mnt", "proc") }},
		{"mount tmpfs", func() error { return mount("tmpfs", "/mnt", "tmpfs") }},
		{"mount sysfs", func() error { return mount("sysfs", "/mnt", "sysfs") }},
		{"bind mount", func() error { return unix.Mount("/usr", "/mnt", "", unix.MS_BIND, "") }},
		{"make /usr writable", func() error { return unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{"unmount", func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) }},
		{"the new mount calls", func() error { fd, err := unix.Fsopen("tmpfs", 0); return closing(fd, err) }},
		{"open the tree", func() error {
			fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
			return closing(fd, err)
		}},
		{"change the root", func() error { return unix.Chroot("/tmp") }},
		{"pivot", func() error { return unix.PivotRoot("/", "/mnt") }},
		{"open a file by handle", func() error {
			fd, err := unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, make([]byte, 8)), unix.O_RDONLY)
			return closing(fd, err)
		}},
		{"write to /usr", func() error { return os.WriteFile("/usr/bin/e2e", nil, 0o755) }},
		{"write to the environment", func() error { return os.WriteFile("/opt/env/e2e", nil, 0o755) }},
		{"write to /proc/sys", func() error { return os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|/tmp/x"), 0) }},
		{"forwarding", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }},
		{"sysrq", func() error { return os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0) }},
		{"see /sys", func() error {
			return readable("/sys/kernel/notes", "/sys/class/net", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory")
		}},
		{"a new user namespace", func() error { return clone(unix.CLONE_NEWUSER) }},
		{"a new network namespace", func() error { return clone(unix.CLONE_NEWNET) }},
		{"a new mount namespace", func() error { return clone(unix.CLONE_NEWNS) }},
		{"another's namespace", func() error {
			fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return unix.Setns(fd, unix.CLONE_NEWNS)
		}},
		{"raw IP socket", func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
		{"raw packets", func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, int(htons(unix.ETH_P_ALL))) }},
		{"cooked packets", func() error { return socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(htons(unix.ETH_P_ALL))) }},
		{"a virtual machine's socket", func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) }},
		{"kernel cryptography", func() error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) }},
		{"netfilter", func() error { return runs("nft", "list", "ruleset") }},
		{"another address", func() error { return runs("ip", "addr", "add", "10.20.1.200/32", "dev", "eth0") }},
		{"another route", func() error { return runs("ip", "route", "replace", "default", "dev", "eth0") }},
		{"another hardware address", func() error { return runs("ip", "link", "set", "eth0", "address", "02:00:00:00:00:01") }},
		{"another interface", func() error { return runs("ip", "link", "add", "x", "type", "dummy") }},
		{"bind to another address", func() error { return listen("tcp4", "10.20.1.200:4000") }},
		{"transparent proxy", func() error { return sockopt(unix.IPPROTO_IP, unix.IP_TRANSPARENT) }},
		{"mark packets", func() error { return sockopt(unix.SOL_SOCKET, unix.SO_MARK) }},
		{"load a program into the kernel", func() error { return call(unix.SYS_BPF, 5, 0, 0) }},
		{"load a module", func() error { return unix.InitModule(make([]byte, 16), "") }},
		{"count the kernel's events", func() error {
			fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}, -1, 0, -1, 0)
			return closing(fd, err)
		}},
		{"handle page faults", func() error { return call(unix.SYS_USERFAULTFD, 0, 0, 0) }},
		{"io_uring", func() error { return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[120]byte{})), 0) }},
		{"keyrings", func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true); return err }},
		{"the clock", func() error {
			now := unix.NsecToTimeval(time.Now().UnixNano())
			return unix.Settimeofday(&now)
		}},
		{"the host name", func() error { return unix.Sethostname([]byte("x")) }},
		{"swap", func() error { return call(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(&[2]byte{'/', 0})), 0, 0) }},
		{"restart the machine", func() error {
			// With arguments that the kernel refuses from those who may, too.
			if err := call(unix.SYS_REBOOT, 1, 2, 3); !errors.Is(err, unix.EPERM) {
				return nil
			}
			return unix.EPERM
		}},
		{"more memory than its limit lets it lock", func() error { return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}) }},
		{"gain privileges from a file", func() error {
			if strings.Contains(contents("/proc/self/status"), "NoNewPrivs:\t1") {
				return fs.ErrPermission
			}
			return nil
		}},
		{"find a socket of the host", func() error {
			return readable(globs("/run/*.sock", "/run/*/*.sock", "/tmp/*.sock", "/var/run/docker*", "/run/user/*")...)
		}},
		{"abstract sockets of the host", func() error {
			if strings.Contains(contents("/proc/net/unix"), "@") {
				return nil
			}
			return fs.ErrNotExist
		}},
	}
	for _, h := range hidden {
		list = append(list, attempt{"see " + h, func() error { _, err := os.Stat(h); return err }})
	}
	return list
}

// readable is nil when one of the files can be read.
func readable(files ...string) error {
	err := error(fs.ErrNotExist)
	for _, f := range files {
		var h *os.File
		if h, err = os.Open(f); err != nil {
			continue
		}
		defer h.Close()
		fi, e := h.Stat()
		if e != nil {
			continue
		}
		if fi.IsDir() {
			if names, e := h.Readdirnames(1); e == nil && len(names) > 0 {
				return nil
			}
			err = fs.ErrNotExist
			continue
		}
		n, e := h.Read(make([]byte, 16))
		if n > 0 {
			return nil
		}
		err = fmt.Errorf("%s is empty: %w", f, errors.Join(e, fs.ErrNotExist))
	}
	return err
}

func globs(patterns ...string) (out []string) {
	for _, p := range patterns {
		m, _ := filepath.Glob(p)
		out = append(out, m...)
	}
	return out
}

func mount(source, target, fstype string) error { return unix.Mount(source, target, fstype, 0, "") }

func closing(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func socket(family, kind, protocol int) error { return closing(unix.Socket(family, kind, protocol)) }

func sockopt(level, name int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, level, name, 1)
}

func call(number, a, b, c uintptr) error {
	r, _, errno := unix.Syscall(number, a, b, c)
	if errno != 0 {
		return errno
	}
	if int(r) > 2 {
		unix.Close(int(r))
	}
	return nil
}

func clone(flags uintptr) error {
	return exec.Command("/usr/bin/unshare", map[uintptr]string{unix.CLONE_NEWUSER: "-U", unix.CLONE_NEWNET: "-n", unix.CLONE_NEWNS: "-m"}[flags], "true").Run()
}

func runs(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func listen(network, addr string) error {
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	return l.Close()
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
