package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ordinaryUser is one that was just made, and goes with the test; without root it is whoever runs the test.
func ordinaryUser(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	name := "ve2e" + strconv.Itoa(os.Getpid())
	if out, err := exec.Command("useradd", "--no-create-home", "--shell", "/bin/sh", name).CombinedOutput(); err != nil {
		t.Fatalf("useradd: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("userdel", name).CombinedOutput(); err != nil {
			t.Errorf("userdel: %v %s", err, out)
		}
	})
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// TestOrdinaryUser: without root a region comes up, its network is enforced and a job trains in it.
func TestOrdinaryUser(t *testing.T) {
	g := newGround(t, ordinaryUser(t))
	g.upWithImage()
	s := g.status()
	if s.Isolation.Mode != "rootless" {
		t.Errorf("isolation %+v", s.Isolation)
	}
	w := g.secured()
	w.environment()
	for addr, want := range map[string]string{"198.51.100.80:443": "dropped", blobHost + ":443": "answered"} {
		g.reaches("hub/jumpbox", "tcp", addr, want)
	}
	if out, err := w.output(w.at("hub/jumpbox", "id", "-u")); err != nil || g.user != nil && strings.TrimSpace(out) != fmt.Sprint(g.user.Uid) {
		t.Errorf("who one is at a place: %q %v", out, err)
	}
	a, err := w.sendFrom("internet", "GET", "https://"+blobHost+"/data?restype=container&comp=list")
	if err != nil {
		t.Fatal(err)
	}
	refused(t, a, 403, "AuthorizationFailure", "publicNetworkAccess is Disabled")

	gate := w.gate()
	w.submit("job", gate.command("mark-user"), nil)
	if got := gate.hear(); got != "here mark-user" {
		t.Fatalf("the job says %q", got)
	}
	before := fmt.Sprint(g.processOf("mark-user"))
	g.kill()
	g.up()
	if after := fmt.Sprint(g.processOf("mark-user")); after != before {
		t.Errorf("after a restart the job is process %s, was %s", after, before)
	}
	gate.say("end")
	w.completed("job")
	if got := w.artifact("job", "outputs/result.txt"); got != "result of mark-user\n" {
		t.Errorf("the job's output is %q", got)
	}
	w.submit("escape", "mkdir -p outputs; escape "+g.dir+" >outputs/found.json", nil)
	w.completed("escape")
	if found := w.artifact("escape", "outputs/found.json"); !strings.Contains(found, `"Succeeded":null`) {
		t.Errorf("a job of an ordinary user can: %s", found)
	}
	out := g.vauban("down")
	if !strings.Contains(out, "The region is down") {
		t.Errorf("down says %s", out)
	}
	if g.user != nil { // the holder's process may linger after its answer
		g.eventually("no process is left", func() bool { return len(processesOf(g.user.Uid)) == 0 })
	}
}

// processesOf a user that live, by their command lines.
func processesOf(uid uint32) (out []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		status := contents(dir + "/status")
		if strings.Contains(status, fmt.Sprintf("Uid:\t%d\t", uid)) && !strings.Contains(status, "State:\tZ") {
			out = append(out, strings.ReplaceAll(contents(dir+"/cmdline"), "\x00", " "))
		}
	}
	return out
}

// TestNamespacesForbidden: where the machine gives no user namespaces, `up` says what to do. The limit is set
// in a namespace of the test's own.
func TestNamespacesForbidden(t *testing.T) {
	g := newGround(t, nil)
	up := g.command("up", "-d")
	cmd := exec.Command("unshare", append([]string{"-Ur", "--", "sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"`}, up.Args...)...)
	cmd.Env, cmd.Dir = up.Env, up.Dir
	out, err := cmd.CombinedOutput()
	if exitCode(err) != 1 {
		t.Errorf("exit status %d: %s", exitCode(err), out)
	}
	for _, want := range []string{"this machine cannot run a region yet", "user namespaces", "remedy:", "user.max_user_namespaces=15000"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in: %s", want, out)
		}
	}
}
