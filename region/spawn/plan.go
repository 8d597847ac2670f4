// Package spawn starts programs from a single-threaded child of this process, which first makes a list
// of raw system calls. setns(2) into a user namespace is refused to a process with threads, and every
// Go program has them: os/exec cannot enter a region, this can.
package spawn

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Error is a step that the kernel refused. It unwraps to the errno.
type Error struct {
	Step  string
	Errno syscall.Errno
}

func (e *Error) Error() string { return e.Step + ": " + e.Errno.Error() }
func (e *Error) Unwrap() error { return e.Errno }

// Parent says whose child the process of a second fork is.
type Parent uint8

const (
	// Ours: the new process is a child of this process, which must wait for it.
	Ours Parent = iota
	// Init: the new process is an orphan; the init process of its pid namespace reaps it.
	Init
)

// Plan is what a child does before it becomes another program. A Plan is used once, by one goroutine.
// Steps run in the order in which they were added; the first that fails ends the child and is told by
// Start.
type Plan struct {
	steps []step
	keep  []any // memory that steps point to
	dups  []int // our duplicates, above every number that a step uses as a target
	forks bool
	err   error

	exe  int // descriptor of the program, or -1
	path *byte
	argv []*byte
	env  []*byte
}

type kind uint8

const (
	call kind = iota
	callSaved
	fork
)

type step struct {
	name string
	kind kind
	nr   uintptr
	args [6]uintptr
	save bool // keep the result for the callSaved steps that follow
	must bool // the result must equal want
	want uintptr
}

// New returns an empty plan.
func New() *Plan { return &Plan{exe: -1} }

// Call adds a raw system call. Pointers among args must come from String.
func (p *Plan) Call(name string, nr uintptr, args ...uintptr) {
	s := step{name: name, nr: nr}
	copy(s.args[:], args)
	p.steps = append(p.steps, s)
}

// Expect adds a system call whose result must be want; else the step fails with ESRCH.
func (p *Plan) Expect(name string, want uintptr, nr uintptr, args ...uintptr) {
	p.Call(name, nr, args...)
	s := &p.steps[len(p.steps)-1]
	s.must, s.want = true, want
}

// String is the address of a zero-terminated copy of s that lives as long as the plan.
func (p *Plan) String(s string) uintptr {
	b, err := syscall.BytePtrFromString(s)
	if err != nil {
		p.fail(fmt.Errorf("%q: %w", s, err))
		return 0
	}
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(b))
}

// Bytes is the address of b, which lives as long as the plan.
func (p *Plan) Bytes(b []byte) uintptr {
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// Setns enters the namespace that f stands for; flag is its CLONE_NEW… constant.
func (p *Plan) Setns(name string, f *os.File, flag uintptr) {
	p.Call("setns "+name, unix.SYS_SETNS, uintptr(p.fd(f)), flag)
}

// Mount is mount(2) without data.
func (p *Plan) Mount(source, target, fstype string, flags uintptr) {
	p.Call("mount "+target, unix.SYS_MOUNT, p.String(source), p.String(target), p.String(fstype), flags, 0)
}

// WriteFile writes data to a file that exists, in one write(2), as the files of /proc want it.
func (p *Plan) WriteFile(path, data string) {
	p.Call("open "+path, unix.SYS_OPENAT, atCwd, p.String(path), unix.O_WRONLY|unix.O_CLOEXEC)
	p.steps[len(p.steps)-1].save = true
	p.Call("write "+path, unix.SYS_WRITE, 0, p.Bytes([]byte(data)), uintptr(len(data)))
	p.steps[len(p.steps)-1].kind = callSaved
	p.Call("close "+path, unix.SYS_CLOSE, 0)
	p.steps[len(p.steps)-1].kind = callSaved
}

// WriteTo writes data to an open file.
func (p *Plan) WriteTo(name string, f *os.File, data string) {
	p.Call("write "+name, unix.SYS_WRITE, uintptr(p.fd(f)), p.Bytes([]byte(data)), uintptr(len(data)))
}

// Fork makes a second process; the steps that follow are its own. After setns into a pid namespace
// only a new process is inside it. One Fork a plan.
func (p *Plan) Fork(parent Parent) {
	if p.forks {
		p.fail(fmt.Errorf("two forks in one plan"))
		return
	}
	p.forks = true
	flags := uintptr(unix.SIGCHLD)
	if parent == Ours {
		flags |= unix.CLONE_PARENT
	}
	p.Call("fork", unix.SYS_CLONE, flags)
	p.steps[len(p.steps)-1].kind = fork
}

// Files makes the descriptors 0, 1, … of the program; without it the program keeps those of ours that
// are not close-on-exec. nil entries are /dev/null.
func (p *Plan) Files(files ...*os.File) {
	for i, f := range files {
		if f == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				p.fail(err)
				return
			}
			defer null.Close()
			f = null
		}
		p.Call("dup", unix.SYS_DUP3, uintptr(p.fd(f)), uintptr(i), 0)
	}
}

// Exec ends the plan: the child becomes the program at path.
func (p *Plan) Exec(path string, argv, env []string) {
	b, err := syscall.BytePtrFromString(path)
	if err != nil {
		p.fail(fmt.Errorf("%q: %w", path, err))
		return
	}
	p.path = b
	p.argv, p.env = p.strings(argv), p.strings(env)
}

// ExecSelf ends the plan: the child becomes this very program again, whatever stands at its path now.
func (p *Plan) ExecSelf(argv, env []string) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		p.fail(err)
		return
	}
	defer f.Close()
	p.exe = p.fd(f)
	p.argv, p.env = p.strings(argv), p.strings(env)
}

// Exit ends the plan without a program: the child exits with status 0.
func (p *Plan) Exit() { p.Call("exit", unix.SYS_EXIT_GROUP, 0) }

// lowest is the smallest number of our duplicates: Files may use those below as targets.
const lowest = 64

// fd duplicates f above the targets of Files.
func (p *Plan) fd(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		p.fail(err)
		return -1
	}
	n := -1
	var dupErr error
	if err := raw.Control(func(fd uintptr) { n, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, lowest) }); err != nil {
		dupErr = err
	}
	if dupErr != nil {
		p.fail(fmt.Errorf("duplicate %s: %w", f.Name(), dupErr))
		return -1
	}
	p.dups = append(p.dups, n)
	return n
}

func (p *Plan) strings(ss []string) []*byte {
	out := make([]*byte, 0, len(ss)+1)
	for _, s := range ss {
		b, err := syscall.BytePtrFromString(s)
		if err != nil {
			p.fail(fmt.Errorf("%q: %w", s, err))
			return nil
		}
		out = append(out, b)
	}
	return append(out, nil)
}

func (p *Plan) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Start runs the plan and returns the process id of the program, as this process sees it, once the
// program runs. A refused step or exec is an *Error.
func (p *Plan) Start() (int, error) {
	defer func() {
		for _, fd := range p.dups {
			unix.Close(fd)
		}
		p.dups = nil
	}()
	if p.err != nil {
		return 0, p.err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer unix.Close(pipe[0])
	w, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD_CLOEXEC, lowest)
	unix.Close(pipe[1])
	if err != nil {
		return 0, err
	}

	syscall.ForkLock.Lock()
	pid, errno := run(p, uintptr(w), new(report))
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	unix.Close(w)
	if errno != 0 {
		return 0, &Error{"fork", errno}
	}
	return p.follow(int(pid), pipe[0])
}

// follow reads what the child reports until its end of the pipe closes: it has become its program, or
// has failed. Either process of a Fork may report first.
func (p *Plan) follow(child, r int) (int, error) {
	var m, failed report
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))
	mine := true
	for {
		n, err := unix.Read(r, buf)
		if err == unix.EINTR {
			continue
		}
		if n < len(buf) {
			break
		}
		if m.what == reportFail {
			failed = m
			continue
		}
		reap(child)
		child, mine = int(m.value), p.parent() == Ours
	}
	if failed.what == 0 {
		return child, nil
	}
	if mine {
		reap(child)
	}
	name := "exec"
	if i := int(failed.step); i >= 0 && i < len(p.steps) {
		name = p.steps[i].name
	}
	return 0, &Error{name, syscall.Errno(failed.value)}
}

func (p *Plan) parent() Parent {
	for _, s := range p.steps {
		if s.kind == fork && s.args[0]&unix.CLONE_PARENT == 0 {
			return Init
		}
	}
	return Ours
}

func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
