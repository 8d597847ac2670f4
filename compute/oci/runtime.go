package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"vauban.dev/compute"
)

// Options of a Runtime.
type Options struct {
	// Dir keeps the containers' bundles and states. Two runtimes may not share one.
	Dir string
	// Hidden are directories that no container may see (the region's data): a mount that would show
	// one is refused, and so is a machine whose /usr contains one.
	Hidden []string
	// Slot, from 0, gives the containers of this runtime user ids that no other slot has, where
	// the machine has that many.
	Slot int
}

// Runtime runs containers. Its methods may be called concurrently.
type Runtime struct {
	dir    string
	hidden []string
	engine engine
	host   hostLayout
	cg     *cgroups
	ids    IDMap
}

// Open finds out what works here: the OCI runtime, the limits, the user ids. It runs a container to be
// sure. Errors: ErrNoEngine; ErrSpec when a hidden directory lies in /usr.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	hidden := []string{}
	for _, h := range o.Hidden {
		real, err := filepath.EvalSymlinks(h)
		if err != nil {
			return nil, fmt.Errorf("hidden directory: %w", err)
		}
		hidden = append(hidden, real)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "state"), 0o700); err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(o.Dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	for _, h := range append(slices.Clone(hidden), dir) {
		// /usr/local is covered in a container.
		if _, local := contains("/usr/local", []string{h}); local {
			continue
		}
		if err := checkSource("/usr", []string{h}); err != nil {
			return nil, err
		}
	}
	r := &Runtime{dir: dir, hidden: hidden, cg: findCgroups("/proc", dir)}
	if r.host, err = readLayout("/"); err != nil {
		return nil, err
	}
	if r.ids, err = detectIDs(); err != nil {
		return nil, err
	}
	if r.ids.Host == firstRootID {
		r.ids.Host += uint32(max(0, o.Slot)%60_000) * idsPerContainer
	}
	if err := r.pickEngine(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// IDs is the map that a container gets without one of its own.
func (r *Runtime) IDs() IDMap { return r.ids }

// Stdio are the standard streams of a container; nil is /dev/null. The files are handed over: the caller
// closes its own after Start.
type Stdio struct{ In, Out, Err *os.File }

// Errors of Start, Attach and Wait.
var (
	ErrExists     = errors.New("a container of this id exists")
	ErrNoSuch     = errors.New("no such container")
	ErrNotStarted = errors.New("the container did not start")
	ErrLauncher   = errors.New("the container's launcher was killed")
)

// Start starts the container and returns when its first process runs. The container lives on when this
// process ends: see Attach. ctx bounds the start only. Errors: ErrSpec, ErrExists, ErrNotStarted with the
// runtime's own words (a missing program is one).
func (r *Runtime) Start(ctx context.Context, s Spec, io Stdio) (*Container, error) {
	if err := s.check(r.hidden); err != nil {
		return nil, err
	}
	if err := checkNetns(s.Netns); err != nil {
		return nil, err
	}
	return r.start(ctx, s, io)
}

// checkNetns refuses the network namespace of process 1, which is the region's own, and one of which that
// cannot be said.
func checkNetns(path string) error {
	ns, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: network namespace: %w", ErrSpec, err)
	}
	first, err := os.Stat("/proc/1/ns/net")
	if err != nil {
		return fmt.Errorf("%w: network namespace of the region: %w", ErrSpec, err)
	}
	if os.SameFile(ns, first) {
		return fmt.Errorf("%w: %s is the region's own network namespace, not a NIC's", ErrSpec, path)
	}
	return nil
}

// start with an empty Netns gives the container one without any interface.
func (r *Runtime) start(ctx context.Context, s Spec, io Stdio) (_ *Container, err error) {
	if s.IDs.Size == 0 {
		s.IDs = r.ids
	}
	c := &Container{r: r, id: s.ID, dir: filepath.Join(r.dir, "c-"+s.ID)}
	// Searchable: the runtime goes from here to the root as the container's user.
	if err := os.Mkdir(c.dir, 0o711); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %s", ErrExists, s.ID)
	} else if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
		}
	}()
	procs, err := r.prepare(c, &s)
	if err != nil {
		return nil, err
	}
	if err := c.launch(&s, procs, io); err != nil {
		return nil, err
	}
	return c, c.waitStarted(ctx)
}

// prepare makes the bundle and the control groups.
func (r *Runtime) prepare(c *Container, s *Spec) (procs []string, err error) {
	if err := makeRoot(c.dir, s, r.host); err != nil {
		return nil, err
	}
	if s.IDs.Host != 0 {
		if err := os.Lchown(s.WorkDir, int(s.IDs.Host), int(s.IDs.Host)); err != nil {
			return nil, err
		}
	}
	conf, err := config(s, r.host, s.Netns, r.addressSpace(s.Limits))
	if err != nil {
		return nil, err
	}
	if err := writeConfig(c.dir, conf); err != nil {
		return nil, err
	}
	return r.cg.create(s.ID, s.Limits)
}

// addressSpace is the second-best memory limit, per process, where there is no control group.
func (r *Runtime) addressSpace(l compute.Limits) uint64 {
	if r.cg.has("memory") {
		return 0
	}
	return uint64(l.MemoryBytes)
}

// launch starts the launcher in a session and a mount namespace of its own.
func (c *Container) launch(s *Spec, procs []string, io Stdio) error {
	e := c.r.engine
	cover, stage := "no", ""
	if e.cover {
		cover = "yes"
	}
	if e.stage {
		sources := []string{c.dir, s.WorkDir, s.Netns}
		for _, m := range slices.Concat(s.Layers, s.Mounts) {
			sources = append(sources, m.Source)
		}
		var err error
		if stage, err = stagePlace(sources); err != nil {
			return err
		}
	}
	args := []string{"-c", launch, "vauban-launcher", c.dir, filepath.Join(c.r.dir, "state"), c.id, cover, stage, e.path, strings.Join(e.flags, " ")}
	cmd := exec.Command("/bin/sh", append(args, procs...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	if io.In != nil {
		cmd.Stdin = io.In
	}
	if io.Out != nil {
		cmd.Stdout = io.Out
	}
	if io.Err != nil {
		cmd.Stderr = io.Err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("launcher: %w", err)
	}
	// Opened while the child cannot have been reaped, so it is surely this one.
	fd, err := openPidfd(cmd.Process.Pid)
	go cmd.Wait() // reaps; everybody else waits by the descriptor
	c.launcher = fd
	return err
}
