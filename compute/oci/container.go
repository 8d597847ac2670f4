package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Container is one container, running or ended, until Remove. Its methods may be called concurrently.
type Container struct {
	r        *Runtime
	id, dir  string
	launcher *pidfd

	mu   sync.Mutex
	init *pidfd // the container's process 1
	pid  int
}

// Status is how a container ended.
type Status struct {
	Code        int  // exit code of the command; 128 + n when signal n ended it
	OutOfMemory bool // the kernel killed one of its processes at the memory limit
}

// ID is Spec.ID.
func (c *Container) ID() string { return c.id }

// PID of the container's process 1 as this pid namespace numbers it.
func (c *Container) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Attach returns a container that an earlier process of this runtime directory started, running or
// ended. Errors: ErrNoSuch; ErrNotStarted when that process died before it had started one (Remove it).
func (r *Runtime) Attach(ctx context.Context, id string) (*Container, error) {
	c := &Container{r: r, id: id, dir: filepath.Join(r.dir, "c-"+id)}
	if _, err := os.Stat(c.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoSuch, id)
	} else if err != nil {
		return nil, err
	}
	written, err := os.ReadFile(filepath.Join(c.dir, "launcher"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%w: %s", ErrNotStarted, id)
	} else if err != nil {
		return nil, err
	}
	pid, started, err := parseStat(written)
	if err != nil {
		return nil, err
	}
	fd, err := openPidfd(pid)
	if errors.Is(err, unix.ESRCH) {
		return c, nil // ended: Wait reads what it left
	} else if err != nil {
		return nil, err
	}
	// The number may be another's by now: only the same start time makes it the same process.
	now, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		if _, s, err := parseStat(now); err == nil && s == started {
			c.launcher = fd
			return c, c.waitStarted(ctx)
		}
	}
	fd.close()
	return c, nil
}

// parseStat reads the pid and the start time (clock ticks) from a /proc/PID/stat line.
func parseStat(b []byte) (pid int, started string, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return 0, "", fmt.Errorf("not a stat line: %q", b)
	}
	f := strings.Fields(string(b[end+1:]))
	if pid, err = strconv.Atoi(strings.TrimSpace(string(b[:open]))); err != nil || len(f) < 20 {
		return 0, "", fmt.Errorf("not a stat line: %q", b)
	}
	return pid, f[19], nil
}

// waitStarted returns when the runtime has written the container's pid, or the launcher has ended.
func (c *Container) waitStarted(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		ended := c.launcher.ended()
		if pid, ok := c.readPID(); ok {
			fd, err := openPidfd(pid)
			if err == nil || ended || errors.Is(err, unix.ESRCH) { // ESRCH: it has come and gone
				c.mu.Lock()
				c.init, c.pid = fd, pid
				c.mu.Unlock()
				return c.engineError(ended)
			}
			return err
		}
		if ended {
			if err := c.engineError(true); err != nil {
				return err
			}
			return fmt.Errorf("%w: the launcher ended first", ErrNotStarted)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (c *Container) readPID() (int, bool) {
	b, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid, err == nil && pid > 0
}

// engineError is what the runtime program complained about, if it failed to run the container.
func (c *Container) engineError(ended bool) error {
	if !ended {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(c.dir, "engine.log"))
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	if st, err := c.readExit(); err == nil && st.Code == 0 {
		return nil // it warned
	}
	return fmt.Errorf("%w: %s", ErrNotStarted, engineMessage(b))
}

// engineMessage is the last message of a log in text or JSON.
func engineMessage(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	last := lines[len(lines)-1]
	var j struct{ Msg string }
	if json.Unmarshal([]byte(last), &j) == nil && j.Msg != "" {
		return j.Msg
	}
	return last
}

// Wait waits for the end. Errors: ErrLauncher, when the launcher was killed and nobody knows the exit code;
// ctx's.
func (c *Container) Wait(ctx context.Context) (Status, error) {
	if c.launcher != nil {
		if err := c.launcher.wait(ctx); err != nil {
			return Status{}, err
		}
	}
	return c.readExit()
}

func (c *Container) readExit() (Status, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, "exit"))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, fmt.Errorf("%w: %s", ErrLauncher, c.id)
	} else if err != nil {
		return Status{}, err
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return Status{}, fmt.Errorf("exit code of %s: %w", c.id, err)
	}
	return Status{Code: code, OutOfMemory: c.r.cg.killed(c.id, code)}, nil
}

// Signal sends a signal to process 1, which hands SIGTERM on to the command. An ended container is no
// error.
func (c *Container) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.init == nil {
		return nil
	}
	return c.init.signal(sig)
}

// Stop ends the container: SIGTERM, after grace SIGKILL. It returns when all its processes are gone.
func (c *Container) Stop(ctx context.Context, grace time.Duration) (Status, error) {
	if grace > 0 {
		if err := c.Signal(syscall.SIGTERM); err != nil {
			return Status{}, err
		}
		soft, cancel := context.WithTimeout(ctx, grace)
		st, err := c.Wait(soft)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return st, err
		}
	}
	if err := c.Signal(syscall.SIGKILL); err != nil {
		return Status{}, err
	}
	return c.Wait(ctx)
}

// Remove kills what still runs and removes every trace but the work directory. Removing twice is no error.
func (c *Container) Remove(ctx context.Context) error {
	var errs []error
	if c.launcher != nil && !c.launcher.ended() {
		_ = c.Signal(syscall.SIGKILL)
		if c.PID() == 0 { // not started yet: end the launcher and what it has started so far
			errs = append(errs, c.killLaunchers())
		}
		soft, cancel := context.WithTimeout(ctx, 10*time.Second)
		errs = append(errs, c.launcher.wait(soft))
		cancel()
	}
	if _, err := os.Stat(filepath.Join(c.r.dir, "state", c.id)); err == nil {
		errs = append(errs, c.r.deleteState(ctx, c.id))
	}
	errs = append(errs, c.r.cg.remove(ctx, c.id), os.RemoveAll(c.dir))
	c.Close()
	return errors.Join(errs...)
}

// killLaunchers ends the launcher and the runtime program that it runs: they are a session of their own.
func (c *Container) killLaunchers() error {
	pid := c.launcher.pid
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Close lets go of the container without touching it.
func (c *Container) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.init.close()
	c.launcher.close()
	c.init = nil
}
