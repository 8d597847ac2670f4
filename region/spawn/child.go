package spawn

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime's own hooks around fork: they block signals in this thread, restore them in the parent,
// and reset handlers in the child.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

const (
	reportPid  = 1 // value: the pid of the second fork
	reportFail = 2 // value: the errno of step

	atCwd      = ^uintptr(99) // AT_FDCWD
	statusFail = 126
)

// report is what the child writes to its pipe.
type report struct{ what, step, value int64 }

// run forks; in the child it makes the steps and execs, and never returns. After the fork this is the
// only thread: no allocation, no lock, no growing of the stack, no call but raw system calls. m is
// allocated before for that reason, and everything happens in this one frame.
//
//go:noinline
//go:norace
//go:nocheckptr
func run(p *Plan, w uintptr, m *report) (uintptr, syscall.Errno) {
	var (
		pid, last, r uintptr
		e            syscall.Errno
		i            int
		s            *step
		empty        byte
		argv, env    = uintptr(unsafe.Pointer(unsafe.SliceData(p.argv))), uintptr(unsafe.Pointer(unsafe.SliceData(p.env)))
		steps        = p.steps
	)
	beforeFork()
	pid, _, e = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 || pid != 0 {
		afterFork()
		return pid, e
	}
	afterForkInChild()

	for i = 0; i < len(steps); i++ {
		s = &steps[i]
		if s.kind == callSaved {
			s.args[0] = last
		}
		r, _, e = syscall.RawSyscall6(s.nr, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		if e == 0 && s.must && r != s.want {
			e = unix.ESRCH
		}
		if e != 0 {
			goto fail
		}
		if s.save {
			last = r
		}
		if s.kind == fork && r != 0 { // we are the process between the two forks
			m.what, m.value = reportPid, int64(r)
			syscall.RawSyscall(unix.SYS_WRITE, w, uintptr(unsafe.Pointer(m)), unsafe.Sizeof(*m))
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	if p.exe >= 0 {
		_, _, e = syscall.RawSyscall6(unix.SYS_EXECVEAT, uintptr(p.exe), uintptr(unsafe.Pointer(&empty)), argv, env, unix.AT_EMPTY_PATH, 0)
	} else {
		_, _, e = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), argv, env)
	}
	i = -1
fail:
	m.what, m.step, m.value = reportFail, int64(i), int64(e)
	syscall.RawSyscall(unix.SYS_WRITE, w, uintptr(unsafe.Pointer(m)), unsafe.Sizeof(*m))
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, statusFail, 0, 0)
	}
}
