// Package region runs a region's processes, so that a restart hurts nobody:
//
//   - the holder, process 1 of the region's pid namespace, owns its user, network, mount and pid
//     namespaces and keeps listening sockets;
//   - the server does everything else inside them, and may be killed and started at any time;
//   - `up` stands outside: it locks the data directory, makes the holder, starts the server in it.
//
// It also starts programs at a place in the region (Exec), from outside. Nothing here knows what a
// region serves.
package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

// ErrInUse says that a region already runs on a data directory.
type ErrInUse struct {
	Dir string
	PID int // of its server or its `up`; 0 if unknown
}

func (e *ErrInUse) Error() string {
	if e.PID == 0 {
		return "a region is already up on " + e.Dir
	}
	return fmt.Sprintf("a region is already up on %s (process %d)", e.Dir, e.PID)
}

// Region is a data directory that this process has locked.
type Region struct {
	dir    string
	lock   *os.File
	keeper *Keeper
}

// Open makes dir if need be and locks it. The lock holds until Close, and as long as a server that
// StartServer has started lives. Errors: *ErrInUse, or why dir cannot be a data directory.
func Open(dir string) (*Region, error) {
	dir, err := prepareDir(dir)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := takeLock(dir, lock); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	r := &Region{dir: dir, lock: lock, keeper: Dial(dir)}
	r.sign(os.Getpid())
	return r, nil
}

// dyingTime is how long a server that was killed may take to let go of the lock.
const dyingTime = 3 * time.Second

// takeLock locks the directory, or returns *ErrInUse at once when a living process has it. One that is
// dying, or left the lock to a child that was about to exec, is waited for.
func takeLock(dir string, lock *os.File) error {
	for deadline := time.Now().Add(dyingTime); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", dir, err)
		}
		pid := lockedBy(lock)
		if running(pid) || time.Now().After(deadline) {
			return &ErrInUse{Dir: dir, PID: pid}
		}
	}
}

// running tells whether a process of this id runs; one that has ended and was not reaped does not.
func running(pid int) bool {
	_, state, err := readStat(pid)
	return err == nil && state != 'Z' && state != 'X'
}

// prepareDir returns dir as a clean path without links: holder and server see it from another mount
// namespace, and it is compared as text.
func prepareDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return ResolveDir(dir)
}

// ResolveDir returns the data directory dir as the region calls it. It is an error that is
// fs.ErrNotExist when there is none, and one that names the remedy when it is somebody else's.
func ResolveDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s belongs to user %d: run as that user (sudo -u '#%d' vauban …), or choose another directory with --data", dir, st.Uid, st.Uid)
	}
	return dir, nil
}

// sign leaves a process id in the lock, for the message of whoever finds it locked.
func (r *Region) sign(pid int) {
	if r.lock.Truncate(0) == nil {
		r.lock.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	}
}

func lockedBy(lock *os.File) int {
	b, _ := io.ReadAll(io.NewSectionReader(lock, 0, 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// Dir is the data directory, absolute and free of links.
func (r *Region) Dir() string { return r.dir }

// Close gives up this process's part of the lock.
func (r *Region) Close() error { return r.lock.Close() }

// Start makes the holder, unless one stands from before; resumed tells which.
func (r *Region) Start(ctx context.Context) (resumed bool, err error) {
	if Alive(r.dir) {
		return true, nil
	}
	maps, err := mapsForUser()
	if err != nil {
		return false, err
	}
	if err := startHolder(ctx, r.dir, maps); err != nil {
		return false, fmt.Errorf("start the region's holder: %w", err)
	}
	return false, nil
}

// Alive tells whether a holder stands for the data directory dir.
func Alive(dir string) bool {
	conn, err := dialDir(dir, holderSocket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func startHolder(ctx context.Context, dir string, maps idMaps) error {
	env, err := holdOrder{Dir: dir}.env()
	if err != nil {
		return err
	}
	goR, goW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer goR.Close()
	defer goW.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer statusR.Close()
	defer statusW.Close()
	log, err := os.OpenFile(filepath.Join(dir, "holder.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()

	cmd := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{holderName, HoldCommand},
		Env:        env,
		Dir:        "/",
		Stdout:     log,
		Stderr:     log,
		ExtraFiles: []*os.File{goR, statusW},
		SysProcAttr: &unix.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
			Setsid:     true,
		},
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	goR.Close()
	statusW.Close()
	go cmd.Wait() // a zombie until this process ends, if it ends first
	report, err := func() (holdReport, error) {
		if err := maps.write(cmd.Process.Pid); err != nil {
			return holdReport{}, fmt.Errorf("map ids: %w", err)
		}
		if _, err := goW.Write([]byte{1}); err != nil {
			return holdReport{}, err
		}
		return readPipe[holdReport](ctx, statusR)
	}()
	if err == nil && report.Error != "" {
		err = errors.New(report.Error)
	}
	if err != nil {
		cmd.Process.Kill()
	}
	return err
}

// readPipe reads one JSON value that another process leaves in a pipe.
func readPipe[T any](ctx context.Context, r *os.File) (v T, err error) {
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = json.NewDecoder(r).Decode(&v)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, io.EOF):
		err = errors.New("it ended before it was ready")
	}
	return v, err
}

// ServerOptions say how a server is started.
type ServerOptions struct {
	// Listen is the address of the loopback listener, "127.0.0.1:0" by default. Once chosen, the port
	// stays for the life of the data directory, as long as nobody else takes it.
	Listen string
	// Datagrams is the UDP address at which VPN clients outside the region reach its gateways,
	// "127.0.0.1:0" by default; the port stays as Listen's does.
	Datagrams string
	// Dial are the addresses outside, HOST:PORT, to which Server.Dial connects; none: there is no way out at all.
	Dial   []string
	Stdout *os.File // nil: /dev/null
	Stderr *os.File // nil: /dev/null
}

// ServeCommand is the hidden subcommand under which the program must call Serve.
const ServeCommand = "serve"

// Descriptors that a server is started with.
const (
	serveLoopback = 3
	serveReady    = 4
	serveLock     = 5
	serveDial     = 6 // if anything may be dialled
)

// ServerProcess is a running server, seen from `up`.
type ServerProcess struct {
	PID   int
	ready *os.File
}

// StartServer starts the server inside the region, as a child of this process; it outlives this
// process if that ends first.
func (r *Region) StartServer(ctx context.Context, o ServerOptions) (*ServerProcess, error) {
	namespaces, err := r.keeper.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll(namespaces)
	loopback, err := r.loopback(ctx, o.Listen)
	if err != nil {
		return nil, err
	}
	defer loopback.Close()
	if err := r.keepDatagrams(ctx, o.Datagrams); err != nil {
		return nil, err
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer readyW.Close()

	p := spawn.New()
	for i, ns := range holderNamespaces {
		p.Setns(ns.name, namespaces[i], ns.flag)
	}
	p.Fork(spawn.Ours)
	p.Call("setsid", unix.SYS_SETSID)
	files := []*os.File{nil, o.Stdout, o.Stderr, loopback, readyW, r.lock}
	if len(o.Dial) > 0 {
		dial, err := startDialer(o.Dial)
		if err != nil {
			readyR.Close()
			return nil, err
		}
		defer dial.Close()
		files = append(files, dial)
	}
	p.Files(files...)
	p.ExecSelf([]string{"vauban", ServeCommand, "--data", r.dir}, withSbin(os.Environ()))
	pid, err := p.Start()
	if err != nil {
		readyR.Close()
		return nil, fmt.Errorf("enter the region: %w", err)
	}
	r.sign(pid)
	return &ServerProcess{PID: pid, ready: readyR}, nil
}

// Ready waits until the server is ready. It is called once.
func (s *ServerProcess) Ready(ctx context.Context) (ReadyResult, error) {
	defer s.ready.Close()
	return readPipe[ReadyResult](ctx, s.ready)
}

// Wait waits for the server to end; nil is an exit with status 0.
func (s *ServerProcess) Wait() error {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(s.PID, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	switch {
	case ws.Signaled():
		return fmt.Errorf("the server was ended by signal %d (%v)", ws.Signal(), ws.Signal())
	case ws.ExitStatus() != 0:
		return fmt.Errorf("the server ended with status %d", ws.ExitStatus())
	}
	return nil
}

// keptLoopback is the loopback listener's name in the holder: it stays open while the server is away.
const keptLoopback = "region/loopback"

// loopback returns the listener on the host's loopback: the one that the holder has kept, or a new one
// on the port that this data directory had before.
func (r *Region) loopback(ctx context.Context, listen string) (*os.File, error) {
	f, err := r.keeper.Get(ctx, keptLoopback)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	remembered := filepath.Join(r.dir, "loopback")
	l, err := listenLoopback(ctx, listen, remembered)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := os.WriteFile(remembered, []byte(l.Addr().String()+"\n"), 0o600); err != nil {
		return nil, err
	}
	f, err = l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	if err := r.keeper.Put(ctx, keptLoopback, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func listenLoopback(ctx context.Context, listen, remembered string) (net.Listener, error) {
	var lc net.ListenConfig
	if listen != "" {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, err
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("%s: a region listens on a loopback address only", listen)
		}
		return lc.Listen(ctx, "tcp", listen)
	}
	if b, err := os.ReadFile(remembered); err == nil {
		if l, err := lc.Listen(ctx, "tcp", strings.TrimSpace(string(b))); err == nil {
			return l, nil
		}
	}
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}
