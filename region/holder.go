package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// HoldCommand is the hidden subcommand under which the program must call Hold.
const HoldCommand = "hold"

// holderName is the holder's name in process listings: `pkill vauban` must not be a power cut.
const holderName = "region-holder"

// holdEnv carries the holder's order in its environment: nothing of it, such as a path with the word
// vauban, stands in its command line.
const holdEnv = "REGION_HOLD"

// Descriptors that the holder is started with.
const (
	holdGo     = 3 // a byte once its ids are mapped; end of file: give up
	holdStatus = 4 // the holder's answer: a holdReport
)

type holdOrder struct {
	Dir    string `json:"dir"`
	Mapped bool   `json:"mapped,omitempty"` // the second life, with capabilities
}

type holdReport struct {
	Error string `json:"error,omitempty"`
}

// holderNamespaces are what a server enters, in order: the user namespace first, it gives the right to
// enter the others.
var holderNamespaces = [...]struct {
	name string
	flag uintptr
}{
	{"user", unix.CLONE_NEWUSER},
	{"pid", unix.CLONE_NEWPID},
	{"mnt", unix.CLONE_NEWNS},
	{"net", unix.CLONE_NEWNET},
}

// Hold is the holder: process 1 of the region's pid namespace. It owns the namespaces, reaps orphans
// and keeps sockets, and does nothing else: it has no policy and reads nothing but small frames of the
// region's own user. It returns when it was told to end or could not start.
func Hold(ctx context.Context) error {
	var order holdOrder
	if err := json.Unmarshal([]byte(os.Getenv(holdEnv)), &order); err != nil {
		return fmt.Errorf("%s is started by `vauban up`", HoldCommand)
	}
	status := os.NewFile(holdStatus, "status")
	err := hold(ctx, order, status)
	if err != nil {
		json.NewEncoder(status).Encode(holdReport{Error: err.Error()})
	}
	return err
}

func hold(ctx context.Context, order holdOrder, status *os.File) error {
	if !order.Mapped {
		return holdAgain(order)
	}
	unix.CloseOnExec(holdGo)
	unix.CloseOnExec(holdStatus)
	// No process but those of the region's owner outside can trace it, or read its memory.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(holderName), 0); err != nil {
		return err
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	if err := holdMounts(order.Dir); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}

	ctx, end := context.WithCancel(ctx)
	defer end()
	orphans := make(chan os.Signal, 1)
	signal.Notify(orphans, unix.SIGCHLD)
	go reapOrphans(ctx, orphans)

	l, err := listenDir(order.Dir, holderSocket)
	if err != nil {
		return err
	}
	var c Control
	new(fdStore).register(&c)
	c.Handle(methodNamespaces, ownNamespaces)
	c.Handle(methodEnd, func(_ context.Context, r Request) (Reply, error) {
		defer end()
		closeAll(r.Files)
		l.Close() // from here on the region is gone for everybody
		return Reply{}, killAll()
	})
	if err := json.NewEncoder(status).Encode(holdReport{}); err != nil {
		return err // whoever started us is gone
	}
	status.Close()
	if err := c.Serve(ctx, l); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// killAll ends every process of the region but the holder and returns when all have ended. A server is
// `up`'s child, or its heir's: that one has ended before, but may wait for its parent to notice.
func killAll() error {
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return err
	}
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		switch err {
		case nil, unix.EINTR:
		case unix.ECHILD:
			return nil
		default:
			return err
		}
	}
}

// holdAgain waits for the parent to map the ids of the new user namespace, then starts the program
// again: exec as the root of the namespace is what gives its capabilities.
func holdAgain(order holdOrder) error {
	if _, err := io.ReadFull(os.NewFile(holdGo, "go"), make([]byte, 1)); err != nil {
		return errors.New("the parent ended")
	}
	order.Mapped = true
	env, err := order.env()
	if err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", []string{holderName, HoldCommand}, env)
}

func (o holdOrder) env() ([]string, error) {
	b, err := json.Marshal(o)
	return []string{holdEnv + "=" + string(b)}, err
}

// holdMounts gives the region its own /proc, of its pid namespace, and an empty /run: named network
// namespaces live in /run/netns, and sockets of the host's daemons do not belong in here.
func holdMounts(dir string) error {
	kept, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer kept.Close()
	for _, m := range []struct {
		source, target, fstype, data string
		flags                        uintptr
	}{
		{"none", "/", "", "", unix.MS_REC | unix.MS_SLAVE},
		{"proc", "/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"run", "/run", "tmpfs", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if strings.HasPrefix(dir, "/run/") { // the data directory shines through
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return os.Mkdir("/run/netns", 0o755)
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// reapOrphans waits for every child: the holder starts none, so all of them are orphans.
func reapOrphans(ctx context.Context, child <-chan os.Signal) {
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err != unix.EINTR && pid <= 0 {
				break
			}
		}
		select {
		case <-child:
		case <-ctx.Done():
			return
		}
	}
}

func ownNamespaces(_ context.Context, r Request) (Reply, error) {
	closeAll(r.Files)
	var files []*os.File
	for _, ns := range holderNamespaces {
		f, err := os.Open(filepath.Join("/proc/self/ns", ns.name))
		if err != nil {
			closeAll(files)
			return Reply{}, err
		}
		files = append(files, f)
	}
	return Reply{Files: files}, nil
}
