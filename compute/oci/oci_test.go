package oci_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"vauban.dev/compute"
	"vauban.dev/compute/internal/nstest"
	"vauban.dev/compute/oci"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// open returns a runtime whose directory is the region's data, and hidden.
func open(t *testing.T) (*oci.Runtime, string) {
	t.Helper()
	data := t.TempDir()
	r, err := oci.Open(t.Context(), oci.Options{Dir: filepath.Join(data, "oci"), Hidden: []string{data}})
	if err != nil {
		t.Fatal(err)
	}
	return r, data
}

// run runs one command to its end and returns its status and combined output.
func run(t *testing.T, r *oci.Runtime, s oci.Spec) (oci.Status, string) {
	t.Helper()
	c, out := start(t, r, s)
	st, err := c.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st, read(t, out)
}

func start(t *testing.T, r *oci.Runtime, s oci.Spec) (*oci.Container, string) {
	t.Helper()
	if s.ID == "" {
		s.ID = "c1"
	}
	if s.Netns == "" {
		s.Netns = nstest.Netns(t)
	}
	if s.WorkDir == "" {
		s.WorkDir = t.TempDir()
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c, err := r.Start(t.Context(), s, oci.Stdio{Out: log, Err: log})
	if err != nil {
		t.Fatalf("start: %v\n%s", err, read(t, log.Name()))
	}
	t.Cleanup(func() {
		if err := c.Remove(context.Background()); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return c, log.Name()
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sh(script string) []string { return []string{"/bin/bash", "-c", script} }

func TestExitCode(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, _ := open(t)
	t.Log(strings.Join(r.Isolation().Lines(), "\n"))
	st, out := run(t, r, oci.Spec{Args: sh("echo hello; pwd; hostname; exit 7"), Hostname: "node-1", Env: []string{"A=b"}})
	if st.Code != 7 || out != "hello\n/work\nnode-1\n" {
		t.Errorf("status %+v, output %q", st, out)
	}
	if left, err := r.Containers(); err != nil || len(left) != 1 { // removed by the clean-up
		t.Errorf("containers %v, %v", left, err)
	}
}

func TestMissingProgram(t *testing.T) {
	r, _ := open(t)
	st, out := run(t, r, oci.Spec{Args: []string{"/no/such/program"}})
	if st.Code != 127 || !strings.Contains(out, "/no/such/program") {
		t.Errorf("status %+v, output %q", st, out)
	}
}

// TestJail is a job that tries to break out.
func TestJail(t *testing.T) {
	r, data := open(t)
	secret := filepath.Join(data, "secret")
	other := filepath.Join(data, "other-job")
	for _, f := range []string{secret, other} {
		if err := os.WriteFile(f, []byte("secret"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(data, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	job, err := os.ReadFile("testdata/breakout.py")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "breakout.py"), job, 0o644); err != nil {
		t.Fatal(err)
	}
	st, out := run(t, r, oci.Spec{WorkDir: work, Args: []string{"/usr/bin/python3", "/work/breakout.py", secret, other, data}})
	t.Log(out)
	if st.Code != 0 {
		t.Errorf("the job got out: %+v", st)
	}
	if _, err := os.Stat(filepath.Join(work, "mine")); err != nil {
		t.Errorf("the job could not write its own directory: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	r, data := open(t)
	netns := nstest.Netns(t)
	good := func() oci.Spec {
		return oci.Spec{ID: "x", Netns: netns, Args: sh("true"), WorkDir: t.TempDir()}
	}
	for name, change := range map[string]func(*oci.Spec){
		"id":                  func(s *oci.Spec) { s.ID = "../x" },
		"no network":          func(s *oci.Spec) { s.Netns = "" },
		"the region's netns":  func(s *oci.Spec) { s.Netns = "/proc/1/ns/net" },
		"nothing to run":      func(s *oci.Spec) { s.Args = nil },
		"relative source":     func(s *oci.Spec) { s.Layers = []oci.Mount{{Source: "x", Target: "/opt/env"}} },
		"missing source":      func(s *oci.Spec) { s.Layers = []oci.Mount{{Source: "/no/such", Target: "/opt/env"}} },
		"the host's /etc":     func(s *oci.Spec) { s.Mounts = []oci.Mount{{Source: "/etc", Target: "/opt/etc"}} },
		"the host's root":     func(s *oci.Spec) { s.Mounts = []oci.Mount{{Source: "/usr/..", Target: "/opt/h"}} },
		"the region's data":   func(s *oci.Spec) { s.Mounts = []oci.Mount{{Source: data, Target: "/opt/data"}} },
		"above the data":      func(s *oci.Spec) { s.WorkDir = filepath.Dir(data) },
		"over the host's usr": func(s *oci.Spec) { s.Mounts = []oci.Mount{{Source: t.TempDir(), Target: "/usr"}} },
		"dotted target":       func(s *oci.Spec) { s.Mounts = []oci.Mount{{Source: t.TempDir(), Target: "/opt/../etc"}} },
		"env without name":    func(s *oci.Spec) { s.Env = []string{"=x"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			change(&s)
			c, err := r.Start(t.Context(), s, oci.Stdio{})
			if !errors.Is(err, oci.ErrSpec) {
				t.Errorf("started: %v, %v", c, err)
			}
		})
	}
	if _, err := oci.Open(t.Context(), oci.Options{Dir: t.TempDir(), Hidden: []string{"/usr/share"}}); !errors.Is(err, oci.ErrSpec) {
		t.Errorf("data in /usr: %v", err)
	}
}

func TestTermReachesTheCommand(t *testing.T) {
	r, _ := open(t)
	c, out := start(t, r, oci.Spec{Args: sh(`trap 'echo got TERM; exit 3' TERM; echo ready >/work/ready; while :; do sleep 0.05; done`), WorkDir: t.TempDir()})
	waitFor(t, out, c, "/proc/"+strconv.Itoa(c.PID())+"/root/work/ready")
	st, err := c.Stop(t.Context(), time.Minute)
	if err != nil || st.Code != 3 {
		t.Errorf("%+v, %v: %s", st, err, read(t, out))
	}
}

func TestKillAfterGrace(t *testing.T) {
	r, _ := open(t)
	c, out := start(t, r, oci.Spec{Args: sh(`trap '' TERM; echo ready >/work/ready; while :; do sleep 0.05; done`)})
	waitFor(t, out, c, "/proc/"+strconv.Itoa(c.PID())+"/root/work/ready")
	st, err := c.Stop(t.Context(), 50*time.Millisecond)
	if err != nil || st.Code != 128+int(syscall.SIGKILL) {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestAttach: another Runtime on the same directory, as after a restart, finds the container, waits for
// it and reads its exit code.
func TestAttach(t *testing.T) {
	data := t.TempDir()
	r, err := oci.Open(t.Context(), oci.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	c, _ := start(t, r, oci.Spec{ID: "long", WorkDir: work, Args: sh(`while [ ! -e /work/go ]; do sleep 0.02; done; exit 9`)})
	again, err := oci.Open(t.Context(), oci.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Attach(t.Context(), "none"); !errors.Is(err, oci.ErrNoSuch) {
		t.Errorf("attach to nothing: %v", err)
	}
	a, err := again.Attach(t.Context(), "long")
	if err != nil {
		t.Fatal(err)
	}
	if a.PID() != c.PID() || a.PID() == 0 {
		t.Errorf("pid %d, was %d", a.PID(), c.PID())
	}
	if _, err := again.Start(t.Context(), oci.Spec{ID: "long", Netns: nstest.Netns(t), Args: sh("true"), WorkDir: work}, oci.Stdio{}); !errors.Is(err, oci.ErrExists) {
		t.Errorf("started twice: %v", err)
	}
	if err := os.WriteFile(filepath.Join(work, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st, err := a.Wait(t.Context()); err != nil || st.Code != 9 {
		t.Errorf("%+v, %v", st, err)
	}
	late, err := again.Attach(t.Context(), "long")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := late.Wait(t.Context()); err != nil || st.Code != 9 {
		t.Errorf("late: %+v, %v", st, err)
	}
}

func TestMemoryLimit(t *testing.T) {
	r, _ := open(t)
	st, out := run(t, r, oci.Spec{
		Args:   []string{"/usr/bin/python3", "-c", "b=[]\nwhile True: b.append(bytearray(b'x')*(16<<20))"},
		Limits: compute.Limits{MemoryBytes: 192 << 20, Pids: 64, CPUs: 1},
	})
	if iso := r.Isolation(); iso.Memory && (st.Code != 137 || !st.OutOfMemory || out != "") {
		t.Errorf("with a control group: %+v: %s", st, out)
	} else if !iso.Memory && (st.Code == 0 || !strings.Contains(out, "MemoryError")) {
		t.Errorf("with an address space limit: %+v: %s", st, out)
	}
}

func TestProcessLimit(t *testing.T) {
	r, _ := open(t)
	if !r.Isolation().Pids {
		t.Log("this machine gives no control group to this user; Isolation says so:", r.Isolation().WhyNoLimits)
		return
	}
	st, out := run(t, r, oci.Spec{Limits: compute.Limits{Pids: 16}, Args: []string{"/usr/bin/python3", "-c", `import os, time
n = 0
try:
    while n < 40:
        if os.fork() == 0:
            time.sleep(60)
        n += 1
except OSError:
    print(0 < n < 16)
`}})
	if st.Code != 0 || out != "True\n" {
		t.Errorf("%+v: %s", st, out)
	}
}

func TestStdioAndEnvironment(t *testing.T) {
	r, _ := open(t)
	layer := t.TempDir()
	if err := os.Chmod(layer, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(layer, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(layer, "bin", "tool"), []byte("#!/bin/sh\necho tool $SSL_CERT_FILE $X; cat; touch /opt/env/x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Start(t.Context(), oci.Spec{ID: "io", Netns: nstest.Netns(t), WorkDir: t.TempDir(), CABundle: ca,
		Layers: []oci.Mount{{Source: layer, Target: "/opt/env"}}, Mounts: []oci.Mount{{Source: ca, Target: "/opt/one/file"}}, Env: []string{"X=y"}, Args: sh("tool; cat /etc/ssl/cert.pem /etc/resolv.conf; echo x >/opt/one/file; cat /opt/one/file")},
		oci.Stdio{In: in, Out: out, Err: out})
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	defer c.Remove(context.Background())
	if _, err := w.WriteString("from stdin\n"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := read(t, out.Name())
	for _, want := range []string{"tool /etc/ssl/certs/ca-certificates.crt y\n", "from stdin\n", "Read-only file system", "certificate", "nameserver 168.63.129.16"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// waitFor waits until the job has made the file, or has ended.
func waitFor(t *testing.T, log string, c *oci.Container, file string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = c.Wait(ctx); cancel() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("ended before %s: %s", file, read(t, log))
		case <-tick.C:
		}
	}
}
