package spawn_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

func wait(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return ws
	}
}

func TestStepsFilesAndEnvironment(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	target := t.TempDir() + "/f"
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := spawn.New()
	p.Call("chdir", unix.SYS_CHDIR, p.String("/usr"))
	p.WriteFile(target, "written")
	p.Files(nil, w, w, w)
	p.Exec("/bin/sh", []string{"sh", "-c", `echo "$A $(pwd) $#" >&3; read x || echo "no input"`}, []string{"A=a"})
	pid, err := p.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil || string(out) != "a /usr 0\nno input\n" {
		t.Errorf("%q, %v", out, err)
	}
	wait(t, pid)
	if b, _ := os.ReadFile(target); string(b) != "written" {
		t.Errorf("file holds %q", b)
	}
}

func TestRefusedStepsAreNamed(t *testing.T) {
	for _, test := range []struct {
		name, want string
		errno      error
		plan       func(*spawn.Plan)
	}{
		{"step", "chdir", unix.ENOENT, func(p *spawn.Plan) { p.Call("chdir", unix.SYS_CHDIR, p.String("/no/such")) }},
		{"step of a second process", "chdir", unix.ENOENT, func(p *spawn.Plan) {
			p.Fork(spawn.Ours)
			p.Call("chdir", unix.SYS_CHDIR, p.String("/no/such"))
		}},
		{"file", "open /no/such", unix.ENOENT, func(p *spawn.Plan) { p.WriteFile("/no/such", "x") }},
		{"expectation", "parent", unix.ESRCH, func(p *spawn.Plan) { p.Expect("parent", 1<<30, unix.SYS_GETPPID) }},
		{"program", "exec", unix.ENOENT, func(*spawn.Plan) {}},
	} {
		p := spawn.New()
		test.plan(p)
		p.Exec("/no/such/program", []string{"x"}, nil)
		_, err := p.Start()
		var refused *spawn.Error
		if !errors.As(err, &refused) || refused.Step != test.want || !errors.Is(err, test.errno) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("children are left: %v", err)
	}
}

func TestForks(t *testing.T) {
	for parent, want := range map[spawn.Parent]string{spawn.Ours: "ours", spawn.Init: "not ours"} {
		p := spawn.New()
		p.Fork(parent)
		p.Exec("/bin/true", []string{"true"}, nil)
		pid, err := p.Start()
		if err != nil {
			t.Fatal(err)
		}
		got := "ours"
		if _, err := unix.Wait4(pid, nil, 0, nil); err == unix.ECHILD {
			got = "not ours"
		}
		if got != want {
			t.Errorf("parent %d: child is %s", parent, got)
		}
	}
}

func TestMistakesAreErrors(t *testing.T) {
	for name, plan := range map[string]func(*spawn.Plan){
		"zero byte": func(p *spawn.Plan) { p.String("a\x00b") },
		"two forks": func(p *spawn.Plan) { p.Fork(spawn.Ours); p.Fork(spawn.Ours) },
		"argument":  func(p *spawn.Plan) { p.Exec("/bin/true", []string{"a\x00"}, nil) },
		"closed file": func(p *spawn.Plan) {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			p.Setns("net", f, unix.CLONE_NEWNET)
		},
	} {
		p := spawn.New()
		plan(p)
		if pid, err := p.Start(); err == nil {
			wait(t, pid)
			t.Errorf("%s: started", name)
		}
	}
}

func TestExecSelf(t *testing.T) {
	if os.Getenv("SPAWN_TEST") == "child" {
		os.Stdout.WriteString("child of " + os.Args[0])
		os.Exit(5)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := spawn.New()
	p.Files(nil, w, w)
	p.ExecSelf([]string{"myself", "-test.run=TestExecSelf"}, append(os.Environ(), "SPAWN_TEST=child"))
	pid, err := p.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(out), "child of myself") {
		t.Errorf("%q, %v", out, err)
	}
	if ws := wait(t, pid); ws.ExitStatus() != 5 {
		t.Errorf("status %v", ws)
	}
}
