package oci

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidfd refers to one process for ever, whatever happens to its number. A nil pidfd is a process that has
// ended.
type pidfd struct {
	f   *os.File
	pid int
}

func openPidfd(pid int) (*pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &pidfd{os.NewFile(uintptr(fd), "pidfd"), pid}, nil
}

// control calls fn with the descriptor; after close it returns os.ErrClosed.
func (p *pidfd) control(fn func(fd int) error) error {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func (p *pidfd) signal(sig syscall.Signal) error {
	if p == nil {
		return nil
	}
	err := p.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func (p *pidfd) ended() bool {
	if p == nil {
		return true
	}
	ended := true
	_ = p.control(func(fd int) error { ended = readable(fd); return nil })
	return ended
}

// wait returns when the process has ended or ctx.
func (p *pidfd) wait(ctx context.Context) error {
	if p.ended() {
		return nil
	}
	raw, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	// Several may wait at once, so a deadline of one must not end the wait of another: each
	// waits on a duplicate.
	var dup *pidfd
	if err := raw.Control(func(fd uintptr) {
		var n int
		if n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			dup = &pidfd{os.NewFile(uintptr(n), "pidfd"), p.pid}
		}
	}); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	defer dup.close()
	stop := context.AfterFunc(ctx, func() { _ = dup.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if raw, err = dup.f.SyscallConn(); err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

func readable(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 && err == nil
}

func (p *pidfd) close() {
	if p != nil {
		_ = p.f.Close()
	}
}
