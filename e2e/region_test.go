package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vauban.dev/region"
)

// ground is a data directory, and the user as whom vauban is run on it.
type ground struct {
	t    testing.TB
	dir  string
	user *syscall.Credential // nil: the test's own
	env  []string            // of commands, added to the bare minimum
	exe  string              // vauban
	// stubborn asks again when the server is away.
	stubborn bool
	*client
	sub, partner, tenant string
}

// newGround makes a data directory; what runs on it ends with the test.
func newGround(t testing.TB, user *syscall.Credential) *ground {
	t.Helper()
	base, err := os.MkdirTemp("", "ve-") // sockets' paths are short
	if err != nil {
		t.Fatal(err)
	}
	g := &ground{t: t, dir: filepath.Join(base, "d"), user: user, exe: filepath.Join(bin, "vauban")}
	if user != nil {
		err = os.Chown(base, int(user.Uid), int(user.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.checkLogs()
		if t.Failed() {
			g.logs()
		}
		out, err := g.down()
		if err != nil {
			t.Errorf("vauban down: %v\n%s", err, out)
		}
		os.RemoveAll(base)
	})
	return g
}

// down ends the region. The client's idle connections would be waited for.
func (g *ground) down() ([]byte, error) {
	if g.client != nil {
		g.http.CloseIdleConnections()
	}
	return g.command("down").CombinedOutput()
}

// with is the ground for a subtest, or for other variables.
func (g *ground) with(t testing.TB, env ...string) *ground {
	c := *g
	c.t, c.env = t, append(slices.Clip(c.env), env...)
	return &c
}

// logFiles are what the region writes for people.
func (g *ground) logFiles() []string {
	files := []string{filepath.Join(g.dir, "server.log"), filepath.Join(g.dir, "holder.log")}
	agents, _ := filepath.Glob(filepath.Join(g.dir, "nodes", "*", "agent.log"))
	machines, _ := filepath.Glob(filepath.Join(g.dir, "machines", "*", "agent.log"))
	return slices.Concat(files, agents, machines)
}

// logs shows them.
func (g *ground) logs() {
	for _, f := range g.logFiles() {
		if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
			g.t.Logf("%s:\n%s", f, tail(b, 3<<10))
		}
	}
}

// checkLogs looks for what no test may cause: a panic, a data race (where vauban was built to see them).
func (g *ground) checkLogs() {
	for _, f := range g.logFiles() {
		text := contents(f)
		for _, bad := range []string{"panic", "DATA RACE", "fatal error"} {
			if i := strings.Index(text, bad); i >= 0 {
				g.t.Errorf("%s: %s", f, text[i:min(len(text), i+6<<10)])
			}
		}
	}
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// command is a vauban command line on the ground's data.
func (g *ground) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.exe, args...)
	cmd.Env = append([]string{"VAUBAN_DATA=" + g.dir, "PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + filepath.Dir(g.dir), "LANG=C.UTF-8"}, g.env...)
	cmd.Dir = filepath.Dir(g.dir)
	if g.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: g.user}
	}
	return cmd
}

// vauban runs a command line that must succeed, and returns what it wrote.
func (g *ground) vauban(args ...string) string {
	g.t.Helper()
	out, err := g.output(g.command(args...))
	if err != nil {
		g.t.Fatalf("vauban %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// output runs a command and returns its standard output; the error has what it wrote to standard error.
func (g *ground) output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), err
}

// up starts the region, or its server again, and connects the client to its loopback listener.
func (g *ground) up(args ...string) {
	g.t.Helper()
	g.vauban(append([]string{"up", "-d"}, args...)...)
	g.connect()
}

func (g *ground) connect() {
	g.t.Helper()
	var env map[string]string
	if err := json.Unmarshal([]byte(g.vauban("env", "--shell", "json")), &env); err != nil {
		g.t.Fatal(err)
	}
	c, err := newClient(wire{Bundle: env["SSL_CERT_FILE"], Proxy: env["HTTPS_PROXY"]}, credentialsOf(func(k string) string { return env[k] }))
	if err != nil {
		g.t.Fatal(err)
	}
	var file struct {
		Partner string `json:"partnerSubscriptionId"`
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "credentials.json"))
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.client, g.sub, g.partner, g.tenant = c, env["AZURE_SUBSCRIPTION_ID"], file.Partner, env["AZURE_TENANT_ID"]
}

// call asks the server's control socket.
func (g *ground) call(method string, params, result any) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if _, err := region.Call(ctx, g.dir, method, params, result); err != nil {
		g.t.Fatalf("%s: %v", method, err)
	}
}

// status of the region, as `vauban status` tells it.
func (g *ground) status() (s region.Status) {
	g.t.Helper()
	out, err := g.output(g.command("status", "--json"))
	if code := exitCode(err); code != 0 && code != 3 {
		g.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// at is a command at a place of the region: "internet", "VNET/SUBNET" or "node:NAME".
func (g *ground) at(place string, argv ...string) *exec.Cmd {
	args := []string{"exec"}
	node, isNode := strings.CutPrefix(place, "node:")
	switch {
	case isNode:
		args = append(args, "--node", node)
	case place != "internet":
		args = append(args, "--subnet", place)
	}
	return g.command(append(append(args, "--"), argv...)...)
}

// send asks through the loopback listener and fails the test without an answer. A stubborn ground asks again,
// as Azure's clients do: when there was none, and when another operation is on its way.
func (g *ground) send(r request) *answer {
	g.t.Helper()
	if g.stubborn && r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			g.t.Fatal(err)
		}
		r.Body = bytes.NewReader(b)
	}
	var a *answer
	var err error
	ask := func() bool {
		if seeker, ok := r.Body.(io.Seeker); ok {
			seeker.Seek(0, io.SeekStart)
		}
		a, err = g.do(g.t.Context(), r)
		return err == nil && a.Code != "AnotherOperationInProgress"
	}
	if g.stubborn {
		g.eventually(r.Method+" "+r.URL+" is answered", ask)
	} else if ask(); err != nil {
		g.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return a
}

// sendFrom asks from a place of the region, by a process there.
func (g *ground) sendFrom(place string, args ...string) (*answer, error) {
	g.t.Helper()
	out, err := g.output(g.at(place, append([]string{"rest", "-json"}, args...)...))
	if err != nil {
		return nil, err
	}
	a := new(answer)
	return a, json.Unmarshal([]byte(out), a)
}

// eventually asks until ok, and fails the test when patience ends.
func (g *ground) eventually(what string, ok func() bool) {
	g.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			g.t.Fatalf("waited %s in vain for: %s", patience, what)
		case <-g.t.Context().Done():
			g.t.Fatalf("the test ended while it waited for: %s", what)
		}
	}
}

// refused checks a refusal: status, Azure's code, and that the message says why.
func refused(t testing.TB, a *answer, status int, code, why string) {
	t.Helper()
	if a.Status != status || a.Code != code && a.Inner != code || !strings.Contains(a.Message, why) {
		t.Errorf("answer %s\nwant   %d %s: …%s…", a, status, code, why)
	}
}

func exitCode(err error) int {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// start starts a program, which ends with the test, and returns the lines that it prints.
func (g *ground) start(cmd *exec.Cmd) *bufio.Scanner {
	g.t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() //nolint:errcheck // it was killed
	})
	return bufio.NewScanner(out)
}
