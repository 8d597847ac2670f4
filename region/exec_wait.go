package region

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

// forwarded lists the signals that Exec passes on: those that ask a program to do something. A signal
// that was ignored when this process started (nohup) stays ignored.
func forwarded() []os.Signal {
	var out []os.Signal
	for _, s := range []os.Signal{
		unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGWINCH,
	} {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}

// forward passes signals on to pid until done. The terminal sends its own to the program as well, which
// is in the same process group: those are not sent twice.
func forward(pid int, signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			if fromTerminal(s) {
				continue
			}
			unix.Kill(pid, s.(unix.Signal))
		case <-done:
			return
		}
	}
}

// fromTerminal tells whether a signal came from the terminal: one of its kind, while this process group
// is in the terminal's foreground.
func fromTerminal(s os.Signal) bool {
	if s != unix.SIGINT && s != unix.SIGQUIT && s != unix.SIGWINCH {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	foreground, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// waitStopping waits for pid to end; whenever it stops, this process stops too, so that the shell takes
// the terminal back, and goes on together with it.
func waitStopping(pid int) (Exit, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return Exit{}, err
		case ws.Stopped():
			if _, state, err := readStat(pid); err == nil && state == 'T' { // else it went on meanwhile
				unix.Kill(os.Getpid(), unix.SIGSTOP)
				unix.Kill(pid, unix.SIGCONT)
			}
		case ws.Signaled():
			return Exit{Signal: ws.Signal()}, nil
		default:
			return Exit{Code: ws.ExitStatus()}, nil
		}
	}
}

// DieBy ends this process by a signal, so that its parent sees what a program that it ran would have
// shown. It returns if the kernel does not let it.
func DieBy(sig unix.Signal) {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // the core, if any, is the program's
	// The Go runtime would print its goroutines for some signals; the kernel's default does not.
	var byDefault struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	// To this very thread: it acts before the call returns.
	runtime.LockOSThread()
	unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
}

// softFileLimit finds the limit on open files that this process was started with, in the background.
// The Go runtime raises its own and gives the old one back to those that it starts, but has no way to
// tell: so a child is asked. ok is false when nothing is to be restored.
func softFileLimit() func() (lim unix.Rlimit, ok bool) {
	type answer struct {
		lim unix.Rlimit
		ok  bool
	}
	c := make(chan answer, 1)
	go func() {
		var a answer
		defer func() { c <- a }()
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &a.lim) != nil || a.lim.Cur < a.lim.Max-1 {
			return // not raised: the runtime goes to the maximum, or one below
		}
		out, err := exec.Command("/bin/sh", "-c", "ulimit -S -n").Output()
		if err != nil {
			return
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(out)), 10, 64)
		a.ok = err == nil && n < a.lim.Max
		a.lim.Cur = n
	}()
	return func() (unix.Rlimit, bool) {
		a := <-c
		return a.lim, a.ok
	}
}

func restoreFileLimit(p *spawn.Plan, lim unix.Rlimit) {
	p.Call("prlimit", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, p.Bytes(limitBytes(lim)), 0)
}

func limitBytes(lim unix.Rlimit) []byte {
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&lim)), unsafe.Sizeof(lim)))
}
