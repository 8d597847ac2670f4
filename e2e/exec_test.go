package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// started runs a command until it has printed its first line, which is returned.
func (g *ground) started(cmd *exec.Cmd) string {
	g.t.Helper()
	lines := g.start(cmd)
	if !lines.Scan() {
		g.t.Fatalf("%v says nothing", cmd.Args)
	}
	go func() {
		for lines.Scan() { // so that it never waits for us
		}
	}()
	return lines.Text()
}

// TestExecSignals: a program at a place gets the signals that are sent to `vauban exec`, ends with it, and its
// end is exec's own.
func TestExecSignals(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		cmd := g.at("internet", "sh", "-c", `trap 'exit 42' TERM INT HUP USR1; echo $$; while :; do sleep 0.05; done`)
		g.started(cmd)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(cmd.Wait()); code != 42 {
			t.Errorf("%s: exit status %d", sig, code)
		}
	}
	// A program that does not catch it dies by it, and so does exec.
	cmd := g.at("internet", "sh", "-c", "echo ready; exec sleep 600")
	g.started(cmd)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // looked at below
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("the end of exec: %v", cmd.ProcessState)
	}
	// kill -9 cannot be passed on: the program dies with its parent.
	cmd = g.at("internet", "sh", "-c", "echo $$; exec sleep 600")
	pid := g.started(cmd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	g.eventually("the program has ended with exec", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return err != nil || strings.Contains(contents("/proc/"+pid+"/status"), "State:\tZ")
	})
}

// TestUpForeground: up stays, its Ctrl-C ends the region, and of several at once one wins.
func TestUpForeground(t *testing.T) {
	g := newGround(t, nil)
	cmd := g.command("up")
	if line := g.started(cmd); !strings.Contains(line, "The region is up") {
		t.Fatalf("up says %q", line)
	}
	g.connect()
	if a := g.send(request{Method: "GET", URL: "/subscriptions?api-version=" + vResources}); !a.ok() {
		t.Error(a)
	}
	g.http.CloseIdleConnections()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("up after Ctrl-C: %v", err)
	}
	if s := g.status(); s.State != "stopped" {
		t.Errorf("after Ctrl-C the region is %s", s.State)
	}

	const callers = 5
	var wg sync.WaitGroup
	var mu sync.Mutex
	up, texts := 0, ""
	for range callers {
		wg.Go(func() {
			out, err := g.command("up", "-d").CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				up++
			}
			texts += string(out)
		})
	}
	wg.Wait()
	if up != 1 {
		t.Errorf("%d of %d `vauban up` at once succeeded:\n%s", up, callers, texts)
	}
	if n := strings.Count(texts, "already"); n != callers-1 {
		t.Errorf("%d of %d were told that it runs already:\n%s", n, callers-1, texts)
	}
	// A lock is no file: what a killed `up` leaves does not keep the next one from starting.
	s := g.status()
	for _, pid := range []int{s.Server, s.Holder} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	g.eventually("the region is gone", func() bool { return g.status().State == "stopped" })
	g.up()
	if after := g.status(); after.Holder == s.Holder {
		t.Errorf("the holder is still %s", strconv.Itoa(s.Holder))
	}
}
