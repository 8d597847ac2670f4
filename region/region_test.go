package region_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vauban.dev/region"
)

// ground is a data directory and the program, run as a user.
type ground struct {
	t    *testing.T
	uid  int
	dir  string
	self string
}

// eachUser runs a test as this user and, when that is root, as an ordinary one too.
func eachUser(t *testing.T, f func(t *testing.T, g *ground)) {
	users := map[string]int{"as-user": os.Getuid()}
	if os.Getuid() == 0 {
		users = map[string]int{"as-root": 0, "as-user": 64321}
	}
	for name, uid := range users {
		t.Run(name, func(t *testing.T) { f(t, newGround(t, uid)) })
	}
}

func newGround(t *testing.T, uid int) *ground {
	t.Helper()
	base, err := os.MkdirTemp("", "region-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	g := &ground{t: t, uid: uid, dir: filepath.Join(base, "data"), self: filepath.Join(base, "vauban-test")}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile("/proc/self/exe") // the go command's folder is closed to other users
	if err == nil {
		err = os.WriteFile(g.self, exe, 0o755)
	}
	if err == nil {
		err = os.Mkdir(g.dir, 0o700)
	}
	if err == nil {
		err = os.Chown(g.dir, uid, uid)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := g.cmd("down", g.dir).CombinedOutput(); err != nil && !strings.Contains(string(out), "not running") {
			t.Errorf("down: %v: %s", err, out)
		}
		if t.Failed() {
			for _, log := range []string{"server.log", "holder.log"} {
				b, _ := os.ReadFile(filepath.Join(g.dir, log))
				t.Logf("%s:\n%s", log, b)
			}
		}
	})
	return g
}

func (g *ground) cmd(args ...string) *exec.Cmd {
	c := exec.Command(g.self, args...)
	c.Dir = "/"
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector makes every process linger for a second
	if g.uid != os.Getuid() {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(g.uid), Gid: uint32(g.uid)}}
	}
	return c
}

func (g *ground) run(args ...string) string {
	g.t.Helper()
	out, err := g.cmd(args...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

func (g *ground) exec(argv ...string) *exec.Cmd {
	return g.cmd(append([]string{"exec", g.dir}, argv...)...)
}

func call[T any](g *ground, method string, params any) (v T) {
	g.t.Helper()
	b, err := json.Marshal(params)
	if err != nil {
		g.t.Fatal(err)
	}
	return decode[T](g, g.run("call", g.dir, method, string(b)))
}

func decode[T any](g *ground, s string) (v T) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		g.t.Fatalf("%v in %q", err, s)
	}
	return v
}

// The promise of the package: the server's death hurts nobody.
func TestServerKilled(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		ready := decode[region.ReadyResult](g, g.run("up", g.dir))
		before := call[facts](g, "facts", nil)
		job := call[region.Process](g, "spawn", []string{"/bin/sleep", "1000"})
		short := call[region.Process](g, "spawn", []string{"/bin/true"})

		inside := g.exec(g.self, "ask", before.Kept)
		stdin, err := inside.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := inside.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := inside.Start(); err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(stdout)
		if line, err := answer.ReadString('\n'); err != nil || line != "inside\n" { // only the server lets it in
			t.Fatalf("before the server is killed: %q, %v", line, err)
		}

		status := decode[region.Status](g, g.run("inspect", g.dir))
		if status.State != region.Running {
			t.Fatalf("state %q", status.State)
		}
		killAndWait(t, status.Server)
		if status = decode[region.Status](g, g.run("inspect", g.dir)); status.State != region.Held {
			t.Fatalf("state %q after the server was killed", status.State)
		}
		outside, err := net.Dial("tcp", ready.Loopback)
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		fmt.Fprintln(stdin)
		if line, err := answer.ReadString('\n'); err != nil || line != "connected\n" {
			t.Fatalf("while the server is away: %q, %v", line, err)
		}

		again := decode[region.ReadyResult](g, g.run("up", g.dir))
		if again.Loopback != ready.Loopback {
			t.Errorf("loopback %s, was %s", again.Loopback, ready.Loopback)
		}
		after := call[facts](g, "facts", nil)
		if after.PID == before.PID {
			t.Error("the server is the old one")
		}
		if diff := cmp.Diff(before.Namespaces, after.Namespaces); diff != "" {
			t.Errorf("namespaces (-before +after):\n%s", diff)
		}
		want := fmt.Sprintf("server %d", after.PID)
		if got, err := io.ReadAll(outside); err != nil || string(got) != want {
			t.Errorf("waited on the loopback: %q, %v; want %q", got, err, want)
		}
		if got, err := io.ReadAll(answer); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("waited on the held listener: %q, %v; want %q", got, err, want)
		}
		if err := inside.Wait(); err != nil {
			t.Error(err)
		}

		if !call[bool](g, "alive", job) {
			t.Error("the job ended with the server")
		}
		if call[bool](g, "alive", short) {
			t.Error("a program that has ended counts as alive")
		}
		other := job
		other.Start++
		if call[bool](g, "alive", other) {
			t.Error("another process of the same pid counts as the job")
		}
		g.cmd("call", g.dir, "kill", marshal(t, job)).Run()
		if call[bool](g, "alive", job) {
			t.Error("the job was killed and counts as alive")
		}
	})
}

func marshal(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func killAndWait(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("process %d lives: %v", pid, err)
	}
}

func TestSecondUpIsRefused(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		status := decode[region.Status](g, g.run("inspect", g.dir))
		out, err := g.cmd("up", g.dir).CombinedOutput()
		want := (&region.ErrInUse{Dir: g.dir, PID: status.Server}).Error()
		if err == nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("second up: %v, %q, want %q", err, out, want)
		}
	})
}

func TestDownEndsEverything(t *testing.T) {
	eachUser(t, func(t *testing.T, g *ground) {
		g.run("up", g.dir)
		call[region.Process](g, "spawn", []string{"/bin/sleep", "1000.25"})
		status := decode[region.Status](g, g.run("inspect", g.dir))
		g.run("down", g.dir)
		if s := decode[region.Status](g, g.run("inspect", g.dir)); s.State != region.Stopped {
			t.Errorf("state %q", s.State)
		}
		for _, pid := range []int{status.Server, status.Holder} {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !bytes.Contains(b, []byte(") Z ")) {
				if fd, err := unix.PidfdOpen(pid, 0); err == nil {
					n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
					unix.Close(fd)
					if n != 1 {
						t.Errorf("process %d lives", pid)
					}
				}
			}
		}
		if out, err := g.cmd("down", g.dir).CombinedOutput(); err == nil || !strings.Contains(string(out), region.ErrNotRunning.Error()) {
			t.Errorf("second down: %v, %s", err, out)
		}
		if first, again := readFile(t, g, "loopback"), decode[region.ReadyResult](g, g.run("up", g.dir)); again.Loopback != first {
			t.Errorf("loopback %s, was %s", again.Loopback, first)
		}
	})
}

func readFile(t *testing.T, g *ground, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// `pkill vauban` looks at the name, `pkill -f vauban` at the command line.
func TestHolderIsNamedApart(t *testing.T) {
	g := newGround(t, os.Getuid())
	g.run("up", g.dir)
	pid := decode[region.Status](g, g.run("inspect", g.dir)).Holder
	for file, want := range map[string]string{"comm": "region-holder\n", "cmdline": "region-holder\x00hold\x00"} {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", file, b, err, want)
		}
	}
}

func TestHolderSurvivesGarbage(t *testing.T) {
	g := newGround(t, os.Getuid())
	g.run("up", g.dir)
	for _, socket := range []string{"hold.sock", "ctl.sock"} {
		for _, in := range []string{"", "\x00", "\x00\x00\x00\x02{}", "\xff\xff\xff\xff", "\x00\x00\x00\x04null", "\x00\x00\x00\x10{\"method\":\"put\"}",
			"\x00\x00\x00\x12{\"method\":\"panic\"}", "\x00\x00\x00\x03[1]", "GET / HTTP/1.1\r\n\r\n"} {
			conn, err := net.Dial("unix", filepath.Join(g.dir, socket))
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte(in))
			conn.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}
	if s := decode[region.Status](g, g.run("inspect", g.dir)); s.State != region.Running || s.Kept != 3 {
		t.Errorf("after garbage: %+v", s)
	}
}
