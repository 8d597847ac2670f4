"""A job that tries to break out of its container. Exit code 1 if anything succeeds that must not."""
import ctypes, os, socket, subprocess, sys

bad = 0


def check(name, ok, detail=""):
    global bad
    bad += not ok
    print("ok  " if ok else "FAIL", name, detail)


def refused(name, f):
    try:
        got = f()
    except (OSError, subprocess.SubprocessError) as e:
        check(name, True, f"{type(e).__name__}: {e}")
    else:
        check(name, False, repr(got)[:200])


def command_fails(name, *args):
    p = subprocess.run(args, capture_output=True, text=True)
    check(name, p.returncode != 0, (p.stderr or p.stdout).strip()[:120])


# files of the host, of other jobs, of the region
for path in ["/etc/shadow", "/etc/ssh", "/root/.bashrc", "/root/.ssh", "/var/lib/dpkg", "/boot/vmlinuz", "/sys/kernel", "/dev/mem", "/dev/kmsg"] + sys.argv[1:]:
    refused("read " + path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
for path in ["/home", "/root", "/mnt", "/usr/local", "/run", "/tmp", "/sys"]:
    check(path + " is empty", os.listdir(path) == [], os.listdir(path)[:5])
for path in ["/proc/1/root/../data", "/proc/self/root/etc/shadow", "/proc/1/cwd/../../../etc/shadow"]:
    refused("escape by " + path, lambda: open(path).read())
check("of /etc only ours", set(os.listdir("/etc")) <= {"alternatives", "group", "hostname", "hosts", "ld.so.cache", "mtab", "nsswitch.conf", "passwd", "resolv.conf", "ssl"}, sorted(os.listdir("/etc")))
for path in ["/usr/x", "/usr/bin/x", "/usr/local/x", "/etc/x", "/x", "/opt/x", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/x"]:
    refused("write " + path, lambda: open(path, "w").write("b"))
open("/work/mine", "w").write("mine")

# devices
refused("mknod block", lambda: os.mknod("/work/disk", 0o60600, os.makedev(254, 0)))
refused("mknod char", lambda: os.mknod("/work/mem", 0o20600, os.makedev(1, 1)))
check("few devices", set(os.listdir("/dev")) <= {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr", "core", "console"}, sorted(os.listdir("/dev")))

# network
refused("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
refused("raw ICMP socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
command_fails("add an address", "ip", "addr", "add", "10.1.0.99/32", "dev", "lo")
command_fails("take the interface down", "ip", "link", "set", "lo", "down")
command_fails("add a route", "ip", "route", "add", "10.9.0.0/16", "dev", "lo")
command_fails("read the firewall", "nft", "list", "ruleset") if os.path.exists("/usr/sbin/nft") else None
nets = [l.split(":")[0].strip() for l in open("/proc/net/dev") if ":" in l]
check("only the NIC's namespace", nets == ["lo"], nets)

# kernel
libc = ctypes.CDLL(None, use_errno=True)


def syscall(name, *args):
    def go():
        if getattr(libc, name)(*args) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return "done"
    refused(name, go)


syscall("mount", b"tmpfs", b"/work", b"tmpfs", 0, None)
syscall("umount2", b"/usr/local", 2)
syscall("mount", b"none", b"/usr", None, 0x1020, None)  # remount read-write
syscall("unshare", 0x10000000)
syscall("unshare", 0x40000000)
syscall("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
syscall("chroot", b"/work")
syscall("sethostname", b"x", 1)
syscall("swapon", b"/work/mine", 0)
syscall("personality", 0x0004000)
for n, name in {246: "kexec_load", 321: "bpf", 298: "perf_event_open", 313: "finit_module", 250: "keyctl", 425: "io_uring_setup", 304: "open_by_handle_at"}.items() if os.uname().machine == "x86_64" else {}.items():
    syscall_name = name
    def go():
        if libc.syscall(n, 0, 0, 0, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.set_errno(0)
    try:
        go()
    except OSError as e:
        check(name, e.errno in (1, 38), os.strerror(e.errno))
    else:
        check(name, False)

# processes and privileges
check("own processes only", all(int(p) < 100 for p in os.listdir("/proc") if p.isdigit()), [p for p in os.listdir("/proc") if p.isdigit()])
status = dict(l.rstrip("\n").split(":\t", 1) for l in open("/proc/self/status") if ":\t" in l)
check("no_new_privs", status["NoNewPrivs"] == "1")
check("seccomp filter", status["Seccomp"] == "2", status["Seccomp"])
allowed = sum(1 << c for c in (0, 1, 3, 4, 5, 6, 7))  # CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID
for k in ("CapEff", "CapPrm", "CapBnd"):
    check(k, int(status[k], 16) & ~allowed == 0, status[k])
check("no ambient or inheritable", int(status["CapAmb"], 16) == 0 and int(status["CapInh"], 16) == 0)
check("user namespace", open("/proc/self/uid_map").read().split()[2] != "4294967295", open("/proc/self/uid_map").read().split())
check("control group hidden", all(l.rstrip().endswith(":/") for l in open("/proc/self/cgroup")), [l for l in open("/proc/self/cgroup")][:2])
check("no descriptor of the host", all(int(f) <= 3 or not os.path.isdir(os.path.realpath(f"/proc/self/fd/{f}")) for f in os.listdir("/proc/self/fd")), os.listdir("/proc/self/fd"))
check("environment", not any(k.startswith(("VAUBAN", "SUDO", "GO")) for k in os.environ), sorted(os.environ))
sys.exit(1 if bad else 0)
