package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// ours is the alias of lo in every namespace that a Driver makes. It lives in the kernel with what it
// marks, so there is no list on disk that could be wrong after a crash.
const ours = "vauban"

// space is an open network namespace and what the driver knows it to hold.
type space struct {
	name  string
	fd    *os.File
	inode uint64
	ours  bool
	// has is what was applied last, nil when unknown: the next Apply reads the kernel back.
	has *desired
	// rules is the table as it was read back after loading, nil when unknown; gen is the generation of
	// the namespace's ruleset at that time.
	rules ruleset
	gen   uint32
}

// enter runs f on a thread that is in the namespace, and only there.
func (d *Driver) enter(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := setns(ns); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		// A goroutine that ends while locked takes its thread with it: a thread that could not come
		// home is never used for anything else.
		back := false
		defer func() {
			if !back {
				done <- errors.New("a function in a network namespace did not return")
			}
		}()
		err := f()
		back = true
		if herr := setns(d.home); herr == nil {
			runtime.UnlockOSThread()
		} else {
			err = errors.Join(err, fmt.Errorf("leave network namespace: %w", herr))
		}
		done <- err
	}()
	return <-done
}

// handle opens a route netlink socket in the namespace; the caller closes it.
func (d *Driver) handle(s *space) (*netlink.Handle, error) {
	var h *netlink.Handle
	err := d.enter(s.fd, func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlink socket in %s: %w", s.name, err)
	}
	return h, nil
}

func setns(ns *os.File) error {
	rc, err := ns.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := rc.Control(func(fd uintptr) { serr = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return err
	}
	return serr
}

// Do runs f on an operating system thread that is in the namespace of a place. f must not start
// goroutines that expect to be there too. It fails with ErrNoNamespace.
func (d *Driver) Do(at fabric.Place, f func() error) error {
	ns, err := d.open(fabric.NSName(at))
	if err != nil {
		return err
	}
	defer ns.Close()
	return d.enter(ns, f)
}

// open opens a bound namespace by name: ErrNoNamespace where none is bound.
func (d *Driver) open(name string) (*os.File, error) {
	f, err := os.Open(filepath.Join(d.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNoNamespace)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if ok, err := isNamespace(f); err != nil || !ok {
		f.Close()
		return nil, errors.Join(fmt.Errorf("%s: %w", name, ErrNoNamespace), err)
	}
	return f, nil
}

// isNamespace tells a bound namespace from the empty file that a crash left before the bind.
func isNamespace(f *os.File) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false, fmt.Errorf("statfs: %w", err)
	}
	return int64(st.Type) == unix.NSFS_MAGIC, nil
}

func inode(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("stat of a network namespace: %w", err)
	}
	return st.Ino, nil
}

// load opens a namespace and finds out whether a Driver made it.
func (d *Driver) load(name string) (*space, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	s := &space{name: name, fd: f}
	if s.inode, err = inode(f); err != nil {
		f.Close()
		return nil, err
	}
	h, err := d.handle(s)
	if err != nil {
		f.Close()
		return nil, err
	}
	defer h.Close()
	lo, err := h.LinkByIndex(1)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read lo of %s: %w", name, err)
	}
	s.ours = lo.Attrs().Alias == ours
	return s, nil
}

// create makes a namespace, marks it as ours and binds it by name. The mark comes before the bind: a
// bound namespace without the mark was made by someone else.
func (d *Driver) create(name string) (*space, error) {
	path := filepath.Join(d.dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, fmt.Errorf("create network namespace: %w", err)
	}
	f.Close()
	err = d.enter(d.home, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("create network namespace %s: %w", name, err)
		}
		if err := markLoopback(); err != nil {
			return fmt.Errorf("mark network namespace %s: %w", name, err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind network namespace %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d.load(name)
}

// markLoopback runs inside a new namespace.
func markLoopback() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByIndex(1)
	if err != nil {
		return err
	}
	if err := h.LinkSetAlias(lo, ours); err != nil {
		return err
	}
	return h.LinkSetUp(lo)
}

// unbind lets go of a namespace by name. It dies when nothing else (a process, a socket) holds it.
func (d *Driver) unbind(name string) error {
	path := filepath.Join(d.dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !gone(err) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !gone(err) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// discover fills d.spaces with the namespaces that a Driver made, this one or one before it, and drops those
// that are bound no more or bound to something else.
func (d *Driver) discover() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		found[name] = true
		if s := d.space(name); s != nil {
			var st unix.Stat_t
			if unix.Stat(filepath.Join(d.dir, name), &st) == nil && st.Ino == s.inode {
				continue
			}
			d.forget(name)
		}
		s, err := d.load(name)
		if errors.Is(err, ErrNoNamespace) {
			continue
		}
		if err != nil {
			return err
		}
		if !s.ours {
			s.fd.Close()
			continue
		}
		d.remember(s)
	}
	for _, name := range d.names() {
		if !found[name] {
			d.forget(name)
		}
	}
	return nil
}

func (d *Driver) space(name string) *space {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.spaces[name]
}

func (d *Driver) remember(s *space) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spaces[s.name] = s
}

func (d *Driver) forget(name string) {
	d.mu.Lock()
	s := d.spaces[name]
	delete(d.spaces, name)
	d.mu.Unlock()
	if s != nil {
		s.fd.Close()
	}
}

func (d *Driver) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := make([]string, 0, len(d.spaces))
	for n := range d.spaces {
		names = append(names, n)
	}
	return names
}
