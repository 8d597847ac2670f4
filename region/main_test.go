package region_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vauban.dev/region"
)

// The test binary is also the program that it tests: holder, server, `up`, `exec` and a client.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		goleak.VerifyTestMain(m)
		return
	}
	ctx := context.Background()
	var err error
	switch os.Args[1] {
	case region.HoldCommand:
		err = region.Hold(ctx)
	case region.ServeCommand:
		err = region.Serve(ctx, os.Args[3], slog.New(slog.NewTextHandler(os.Stderr, nil)), serveTest)
	case "up":
		err = upTest(ctx, os.Args[2])
	case "down":
		err = region.Stop(ctx, os.Args[2])
	case "inspect":
		err = printJSON(region.Inspect(ctx, os.Args[2]))
	case "call":
		var out json.RawMessage
		if _, err = region.Call(ctx, os.Args[2], os.Args[3], json.RawMessage(os.Args[4]), &out); err == nil {
			fmt.Println(string(out))
		}
	case "exec":
		execTest(ctx, os.Args[2], os.Args[3:])
	case "ask": // says that it runs, waits for a line, then asks the address and prints the answer
		err = askTest(os.Args[2])
	default:
		goleak.VerifyTestMain(m)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func printJSON[T any](v T, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

func upTest(ctx context.Context, dir string) error {
	r, err := region.Open(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Start(ctx); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s, err := r.StartServer(ctx, region.ServerOptions{Stderr: log})
	if err != nil {
		return err
	}
	return printJSON(s.Ready(ctx))
}

func execTest(ctx context.Context, dir string, argv []string) {
	end, err := region.Exec(ctx, dir, region.PlaceParams{From: "internet"}, argv, os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	if end.Signal != 0 {
		region.DieBy(end.Signal)
	}
	os.Exit(end.Code)
}

func askTest(addr string) error {
	fmt.Println("inside")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("connected")
	b, err := io.ReadAll(conn)
	fmt.Printf("%s\n", b)
	return err
}

// facts is what the test server tells of itself.
type facts struct {
	PID        int
	Namespaces map[string]string
	Kept       string // address of its held listener
}

// serveTest answers its own pid, in the region, on a held listener and on the loopback listener.
func serveTest(ctx context.Context, s *region.Server) error {
	kept, err := keptListener(ctx, s.Keeper)
	if err != nil {
		return err
	}
	defer kept.Close()
	f := facts{PID: os.Getpid(), Namespaces: map[string]string{}, Kept: kept.Addr().String()}
	for _, ns := range []string{"user", "pid", "mnt", "net"} {
		if f.Namespaces[ns], err = os.Readlink("/proc/self/ns/" + ns); err != nil {
			return err
		}
	}
	bundle, err := region.SystemBundle()
	if err != nil {
		return err
	}
	place := region.PlaceResult{Title: "test", ResolvConf: filepath.Join(s.Dir, "resolv.conf"), Bundle: filepath.Join(s.Dir, "bundle")}
	err = errors.Join(
		os.WriteFile(place.ResolvConf, []byte("nameserver 168.63.129.16\n"), 0o644),
		os.WriteFile(place.Bundle, append(bundle, "# the region's\n"...), 0o644))
	if err != nil {
		return err
	}

	s.Control.Handle(region.MethodPlace, func(context.Context, region.Request) (region.Reply, error) {
		fds, err := region.PlaceFiles("")
		return region.Reply{Result: place, Files: fds}, err
	})
	s.Control.Handle(region.MethodStatus, func(context.Context, region.Request) (region.Reply, error) {
		st, err := region.Describe()
		return region.Reply{Result: st}, err
	})
	s.Control.Handle("facts", func(context.Context, region.Request) (region.Reply, error) {
		return region.Reply{Result: f}, nil
	})
	s.Control.Handle("spawn", func(_ context.Context, r region.Request) (region.Reply, error) {
		var argv []string
		if err := r.Decode(&argv); err != nil {
			return region.Reply{}, err
		}
		p, err := region.SpawnIn(region.Command{Argv: argv, Env: os.Environ()})
		return region.Reply{Result: p}, err
	})
	s.Control.Handle("alive", func(_ context.Context, r region.Request) (region.Reply, error) {
		var p region.Process
		err := r.Decode(&p)
		return region.Reply{Result: p.Alive()}, err
	})
	s.Control.Handle("kill", func(ctx context.Context, r region.Request) (region.Reply, error) {
		var p region.Process
		err := r.Decode(&p)
		if err == nil {
			err = errors.Join(p.Signal(unix.SIGKILL), p.Wait(ctx))
		}
		return region.Reply{}, err
	})
	s.Control.Handle("panic", func(context.Context, region.Request) (region.Reply, error) { panic("on purpose") })

	answer := func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "server %d", f.PID)
			c.Close()
		}
	}
	go answer(kept)
	go answer(s.Loopback)
	if err := s.Ready(region.ReadyResult{Loopback: s.Loopback.Addr().String()}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func keptListener(ctx context.Context, k *region.Keeper) (net.Listener, error) {
	const name = "test/tcp"
	f, err := k.Get(ctx, name)
	if err == nil {
		defer f.Close()
		return net.FileListener(f)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f, err = l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return l, k.Put(ctx, name, f)
}

// patience ends tests that hang; nothing is measured by it.
const patience = 30 * time.Second
