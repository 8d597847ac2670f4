package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Server is what the server process has of its region. Its control socket answers from the start;
// MethodReady and MethodStop are its own, the program adds the others with Control.Handle before it
// calls Ready.
type Server struct {
	Dir      string
	Loopback net.Listener // on the host's loopback; the region itself has no way there
	Keeper   *Keeper
	Control  *Control
	// Dial connects to one of ServerOptions.Dial; nil when there is none.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	readyOnce sync.Once
	isReady   chan struct{}
	result    ReadyResult
	pipe      *os.File
}

// Serve is the server process: it takes over what StartServer has passed, answers on the control
// socket, and runs run until that returns. ctx ends for run when the region is told to stop.
func Serve(ctx context.Context, dir string, log *slog.Logger, run func(context.Context, *Server) error) error {
	for _, fd := range []int{serveLoopback, serveReady, serveLock} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("%s is started by `vauban up`", ServeCommand)
		}
		unix.CloseOnExec(fd) // the lock must not outlive this process in a child
	}
	// Started by descriptor, the process has no name of its own yet.
	if err := os.WriteFile("/proc/self/comm", []byte("vauban"), 0); err != nil {
		return err
	}
	// A log that nobody reads any more is no reason to end; to ignore SIGPIPE would bind children too.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	f := os.NewFile(serveLoopback, "loopback")
	loopback, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return err
	}
	defer loopback.Close()
	l, err := listenDir(dir, controlSocket)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &Server{
		Dir: dir, Loopback: loopback, Keeper: Dial(dir), Control: &Control{Log: log},
		isReady: make(chan struct{}), pipe: os.NewFile(serveReady, "ready"),
	}
	defer s.pipe.Close()
	if _, err := unix.FcntlInt(serveDial, unix.F_GETFD, 0); err == nil {
		unix.CloseOnExec(serveDial)
		d := dialer{os.NewFile(serveDial, "dialer")}
		defer d.f.Close()
		s.Dial = d.dial
	}
	s.Control.Handle(MethodReady, s.ready)
	s.Control.Handle(MethodStop, func(context.Context, Request) (Reply, error) { stop(); return Reply{}, nil })
	served := make(chan error, 1)
	go func() { served <- s.Control.Serve(ctx, l) }()
	err = run(ctx, s)
	stop()
	return errors.Join(err, <-served)
}

// Ready tells everybody who waits that the region is ready. Calls after the first do nothing.
func (s *Server) Ready(r ReadyResult) error {
	var err error
	s.readyOnce.Do(func() {
		s.result = r
		close(s.isReady)
		err = json.NewEncoder(s.pipe).Encode(r)
		if errors.Is(err, unix.EPIPE) {
			err = nil // `up` did not wait for it
		}
		s.pipe.Close()
	})
	return err
}

func (s *Server) ready(ctx context.Context, _ Request) (Reply, error) {
	select {
	case <-s.isReady:
		return Reply{Result: s.result}, nil
	case <-ctx.Done():
		return Reply{}, &CallError{Code: CodeNotReady, Message: "the region is still starting"}
	}
}
