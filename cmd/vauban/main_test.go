package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vauban.dev/region"
)

// vauban runs a command line in this process.
func vauban(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	root := newRoot(&out, &errOut)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String() + errOut.String(), err
}

func TestCommandLines(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, test := range []struct {
		args []string
		code int
		text string // in the output or the error
	}{
		{[]string{"version"}, 0, "vauban "},
		{[]string{"--help"}, 0, "vauban exec --subnet"},
		{[]string{"completion", "bash"}, 0, "bash completion"},
		{[]string{"stats"}, codeFailed, "status"},
		{[]string{"up", "--nosuch"}, codeUsage, "vauban up --help"},
		{[]string{"exec"}, codeUsage, "needs a command"},
		{[]string{"exec", "--from", "internet", "--subnet", "a/b", "--", "true"}, codeFailed, "none of the others can be"},
		{[]string{"exec", "--data", none, "--", "true"}, codeExecFailed, "not running"},
		{[]string{"status", "--data", none}, codeNotRunning, "stopped"},
		{[]string{"status", "--json", "--data", none}, codeNotRunning, `"state": "stopped"`},
		{[]string{"down", "--data", none}, 0, "was not running"},
		{[]string{"env", "--data", none}, codeNotRunning, "not running"},
		{[]string{"clock", "--data", none}, codeNotRunning, "not running"},
		{[]string{"clock", "7d"}, codeUsage, "+7d"},
	} {
		out, err := vauban(t, test.args...)
		if err != nil {
			out += err.Error()
		}
		var silent *exitError
		code := codeOf(err)
		switch {
		case err == nil:
			code = 0
		case errors.As(err, &silent):
			code = silent.Code
		}
		if code != test.code || !strings.Contains(out, test.text) {
			t.Errorf("%v: code %d, want %d: %s", test.args, code, test.code, out)
		}
	}
}

func TestExecCodes(t *testing.T) {
	for _, test := range []struct {
		want int
		err  error
	}{
		{codeNotFound, &exec.Error{Name: "x", Err: exec.ErrNotFound}},
		{codeNotFound, &exec.Error{Name: "/x", Err: &fs.PathError{Op: "stat", Path: "/x", Err: fs.ErrNotExist}}},
		{codeCannotRun, &exec.Error{Name: "/x", Err: fs.ErrPermission}},
		{codeCannotRun, &fs.PathError{Op: "exec", Path: "x", Err: fs.ErrPermission}},
		{codeExecFailed, &fs.PathError{Op: "open", Path: "resolv.conf", Err: fs.ErrNotExist}},
		{codeExecFailed, fmt.Errorf("place: %w", region.ErrNotRunning)},
	} {
		if got := codeOf(&execError{test.err}); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestParseAdvance(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"+7d": 7 * day, "+1w": 7 * day, "+1d12h": 36 * time.Hour, "+90s": 90 * time.Second, "+1w2d3h4m": 9*day + 3*time.Hour + 4*time.Minute, "+1.5h": 90 * time.Minute,
		"": 0, "+": 0, "7d": 0, "-7d": 0, "+-7d": 0, "+7": 0, "+d": 0, "+1d-1h": 0, "+0s": 0, "+1d1w": 0, "+99999999d": 0, "+60000w": 0, "yesterday": 0,
	} {
		got, err := parseAdvance(in)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestPrintEnv(t *testing.T) {
	env := map[string]string{"B": `it's \ here`, "A": "1"}
	for shell, want := range map[string]string{
		"sh":   "export A='1'\nexport B='it'\\''s \\ here'\n",
		"fish": "set -gx A '1'\nset -gx B 'it\\'s \\\\ here'\n",
		"pwsh": "$env:A = '1'\n$env:B = 'it''s \\ here'\n",
		"json": `{"A":"1","B":"it's \\ here"}` + "\n",
	} {
		var out bytes.Buffer
		if err := printEnv(&out, shell, env); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", shell, out.String(), err, want)
		}
	}
	if err := printEnv(&bytes.Buffer{}, "csh", env); codeOf(err) != codeUsage {
		t.Errorf("csh: %v", err)
	}
}

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	printStatus(&out, region.Status{
		State: region.Running, Dir: "/d", Server: 2, Holder: 1, Started: now.Add(-time.Hour), Loopback: "127.0.0.1:1", Kept: 3,
		Isolation:  region.Isolation{Mode: "rootless", UID: 1000, SubIDs: 65536},
		Limits:     region.Limits{Memory: true, Pids: true, How: "cgroup v2"},
		Runtime:    region.Runtime{Name: "crun", Path: "/usr/bin/crun"},
		Clock:      region.ClockResult{Now: now, Offset: 24 * time.Hour},
		Warnings:   []string{"w"},
		ObjectOnly: []string{"A.B/x", "A.B/x/y", "C.D/z"},
	}, now)
	want := `data       /d
state      running for 1h0m0s
processes  server 2, holder 1
loopback   127.0.0.1:1
listeners  3 kept
isolation  rootless as user 1000, with 65536 subordinate ids for containers
limits     memory, processes of nodes, by cgroup v2
runtime    crun (/usr/bin/crun)
clock      2026-01-02T03:04:05Z (24h0m0s ahead)
objects    3 types of 2 namespaces without their service: stored and deployed, their actions answer NotImplemented; --json names them
warning    w
`
	if out.String() != want {
		t.Errorf("got:\n%s", out.String())
	}
}
