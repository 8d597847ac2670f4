package region

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

// PlaceEnv is set, to the title of the place, in the environment of what Exec starts.
const PlaceEnv = "VAUBAN_PLACE"

// ErrInside says that this process already stands at a place of a region: there is no way from one
// place to another, as on a real machine.
type ErrInside struct{ Place string }

func (e *ErrInside) Error() string {
	where := "already inside a region, or in another user namespace"
	if e.Place != "" {
		where = "already inside a region (" + e.Place + ")"
	}
	return "this shell is " + where + ": `vauban exec` goes from the machine into the region, not from one place in it to another. Run it in a shell outside"
}

// Exit is how a program ended: by a signal, or with a code.
type Exit struct {
	Code   int
	Signal unix.Signal // 0: it exited
}

// Exec runs argv at a place in the region at dir and waits for it. The program stays what it would be
// without: the caller's user, files, working directory, session, terminal and environment. Its network,
// its name servers and its certificate authorities are the place's, and it has no power over them. It
// is a place, not a sandbox.
//
// Signals that this process gets reach the program; when it is stopped, so is this process. The calling
// goroutine's thread is taken for the duration. Errors: ErrNotRunning, *ErrInside, *exec.Error or
// fs.ErrPermission for the program, a *CallError from the server, *spawn.Error.
func Exec(ctx context.Context, dir string, place PlaceParams, argv, env []string) (Exit, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return Exit{}, err
	}
	soft := softFileLimit()
	var where PlaceResult
	files, err := Call(ctx, dir, MethodPlace, place, &where)
	if err != nil {
		return Exit{}, err
	}
	defer closeAll(files)
	if len(files) != 2 {
		return Exit{}, fmt.Errorf("place: the server answered with %d namespaces", len(files))
	}
	binds, err := placeBinds(dir, where)
	if err != nil {
		return Exit{}, err
	}

	// The program dies with the thread that started it, should this process be killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := spawn.New()
	enterPlace(p, files[0], files[1], binds)
	if os.Geteuid() == 0 {
		last, err := strconv.ParseUint(readSysctl("kernel.cap_last_cap"), 10, 8)
		if err != nil {
			return Exit{}, fmt.Errorf("capabilities of this kernel: %w", err)
		}
		dropPower(p, uintptr(last))
	} else {
		becomeUser(p, os.Getuid(), os.Getgid())
	}
	if lim, ok := soft(); ok {
		restoreFileLimit(p, lim)
	}
	p.Call("prctl", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	p.Expect("parent", uintptr(os.Getpid()), unix.SYS_GETPPID)
	p.Exec(path, argv, placeEnv(env, where, binds))

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	pid, err := p.Start()
	if err != nil {
		return Exit{}, explainEnter(err, path)
	}
	done := make(chan struct{})
	go forward(pid, signals, done)
	defer func() { done <- struct{}{} }()
	return waitStopping(pid)
}

// explainEnter names the usual reason of a refused step.
func explainEnter(err error, path string) error {
	var step *spawn.Error
	if !errors.As(err, &step) {
		return err
	}
	switch {
	case step.Step == "setns user" && (step.Errno == unix.EINVAL || step.Errno == unix.EPERM):
		return &ErrInside{Place: os.Getenv(PlaceEnv)}
	case step.Step == "exec":
		return &fs.PathError{Op: "exec", Path: path, Err: step.Errno}
	}
	return fmt.Errorf("enter the place: %w", err)
}

// enterPlace takes the child to the place: its network, and the files that say how to use it, bound in
// a mount namespace of its own.
func enterPlace(p *spawn.Plan, user, net *os.File, binds []bind) {
	p.Setns("user", user, unix.CLONE_NEWUSER)
	p.Setns("net", net, unix.CLONE_NEWNET)
	p.Call("unshare mount", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	p.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE)
	for _, b := range binds {
		p.Mount(b.source, b.target, "", unix.MS_BIND)
	}
}

// becomeUser gives the child the caller's ids back, in one more user namespace, which has no power over
// what the region's namespace owns. At exec a user who is not root has no capabilities left.
func becomeUser(p *spawn.Plan, uid, gid int) {
	p.Call("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	p.WriteFile("/proc/self/setgroups", "deny")
	p.WriteFile("/proc/self/uid_map", fmt.Sprintf("%d 0 1\n", uid))
	p.WriteFile("/proc/self/gid_map", fmt.Sprintf("%d 0 1\n", gid))
}

// rootKeeps are the capabilities that root has at a place: those over files, ids and its own processes.
var rootKeeps = [...]uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT,
}

// dropPower leaves root its files and takes its power over network, mounts and other processes: what is
// not in the bounding set is gone for good at exec. last is the kernel's last capability. Root may write /proc/sys by file mode alone,
// net.ipv4 of its place included, so that becomes read-only.
func dropPower(p *spawn.Plan, last uintptr) {
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	p.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND|unix.MS_REC)
	p.Mount("none", "/proc/sys", "", flags)
	keep := map[uintptr]bool{}
	for _, c := range rootKeeps {
		keep[c] = true
	}
	for c := uintptr(0); c <= last; c++ {
		if !keep[c] {
			p.Call("drop capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
		}
	}
}

// proxies would lead a client around the place's network.
var proxies = []string{"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"}

// placeEnv is env with the region's certificate authorities and without proxies.
func placeEnv(env []string, where PlaceResult, binds []bind) []string {
	bundle := where.Bundle
	for _, b := range binds {
		if b.source == where.Bundle {
			bundle = b.target // readable by users that cannot enter the data directory
			break
		}
	}
	set := map[string]string{
		"REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle,
		"NODE_EXTRA_CA_CERTS": bundle, PlaceEnv: where.Title,
	}
	if !hasAny(env, where.Env) {
		maps.Copy(set, where.Env)
		for name, value := range where.Defaults {
			if one := map[string]string{name: value}; !hasAny(env, one) {
				maps.Copy(set, one)
			}
		}
	}
	return setEnv(env, set, proxies)
}

// hasAny tells whether env has one of the names of set: a caller's own credentials are never mixed with
// the region's.
func hasAny(env []string, set map[string]string) bool {
	return slices.ContainsFunc(env, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, ok := set[name]
		return ok
	})
}

// setEnv returns env with set, and without the names in drop, whatever their case.
func setEnv(env []string, set map[string]string, drop []string) []string {
	out := make([]string, 0, len(env)+len(set))
next:
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := set[name]; ok {
			continue
		}
		for _, d := range drop {
			if strings.EqualFold(name, d) {
				continue next
			}
		}
		out = append(out, kv)
	}
	for name, v := range set {
		out = append(out, name+"="+v)
	}
	return out
}
