package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vauban.dev/region"
)

// TestPowerCut: everything is killed at once while a job runs, as when the power fails. The data stand, the
// network and the nodes come back, the job runs again from its beginning and completes.
func TestPowerCut(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	first := w.gate()
	w.submit("job", first.command("mark-before")+"\n", nil)
	first.hear()
	w.submit("quick", "mkdir -p outputs; echo kept >outputs/x.txt", nil)
	w.completed("quick")

	s := g.status()
	if err := syscall.Kill(s.Holder, syscall.SIGKILL); err != nil { // process 1 of the region takes all with it
		t.Fatal(err)
	}
	g.eventually("the region is gone", func() bool { return g.status().State == region.Stopped })
	g.http.CloseIdleConnections()
	if p := alive("mark-before"); len(p) > 0 {
		t.Fatalf("the job lives on without a region: %v", p)
	}
	g.up()
	if got := w.artifact("quick", "outputs/x.txt"); got != "kept\n" {
		t.Errorf("an output from before: %q", got)
	}
	if s := w.jobStatus("quick"); s != "Completed" {
		t.Errorf("a job from before is %s", s)
	}
	// The job's second attempt finds nobody at its gate any more, and says so by its end.
	if s := w.ended("job"); s == "Canceled" {
		t.Errorf("the job that was cut is %s", s)
	}
	w.submit("after", "true", nil)
	w.completed("after")
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")
	g.reaches("hub/jumpbox", "tcp", blobHost+":443", "answered")
	g.reaches("other/default", "tcp", "198.51.100.80:443", "answered")
}

// alive are the processes of this machine with a mark in their command line.
func alive(mark string) (out []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range all {
		if line := contents(f); strings.Contains(line, mark) {
			out = append(out, strings.ReplaceAll(line, "\x00", " "))
		}
	}
	return out
}

// TestDownUp: what was in a region that was ended is there when it is started again, and what lies on the disk
// meanwhile can be read by nobody who has not the platform's key.
func TestDownUp(t *testing.T) {
	const mark = "confidential-4711"
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	w.submit("job", "echo "+mark[:5]+"; true", nil)
	w.completed("job")
	blob, secret := "https://"+blobHost+"/data/a.txt", "https://"+vaultName+".vault.azure.net/secrets/s1?api-version=7.4"
	large := strings.Repeat(mark+" ", 200_000)
	for url, body := range map[string]string{blob: mark, "https://" + blobHost + "/data/large.txt": large, secret: `{"value":"` + mark + `"}`} {
		cmd := w.at("hub/jumpbox", "rest", "PUT", url, "-")
		cmd.Stdin = strings.NewReader(body)
		if out, err := w.output(cmd); err != nil || !strings.HasPrefix(out, "20") {
			t.Fatalf("PUT %s: %.300s %v", url, out, err)
		}
	}
	g.vauban("down")
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 && filepath.Base(filepath.Dir(path)) != "exec" && d.Name() != "ca.pem" {
			t.Errorf("%s can be read by others: %s", path, info.Mode())
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), mark) {
			t.Errorf("%s holds what is confidential", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	g.up()
	for url, want := range map[string]string{blob: mark, "https://" + blobHost + "/data/large.txt": large, secret: `"value":"` + mark + `"`} {
		if a, err := w.sendFrom("hub/jumpbox", "GET", url); err != nil || !strings.Contains(string(a.Body), want) {
			t.Errorf("GET %s: %.300v %v", url, a, err)
		}
	}
	if s := w.jobStatus("job"); s != "Completed" {
		t.Errorf("the job is %s", s)
	}
	w.submit("again", "true", nil)
	w.completed("again")
}

// TestDeleteGroup: deleting the resource group of a running workspace takes everything with it: resources,
// nodes, processes, interfaces; and its names can be used again.
func TestDeleteGroup(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	before := g.namespaces()
	w := g.secured()
	if n := len(g.namespaces()); n < len(before)+3 { // two routers and a node
		t.Fatalf("%d namespaces, before the group %d", n, len(before))
	}
	if len(alive("node-agent --config "+g.dir)) == 0 && len(alive(g.dir+"/nodes")) == 0 {
		t.Fatal("no node runs")
	}
	for url, body := range map[string]string{"https://" + blobHost + "/data/old.txt": "old", "https://" + vaultName + ".vault.azure.net/secrets/old?api-version=7.4": `{"value":"old"}`} {
		if a, err := w.sendFrom("hub/jumpbox", "PUT", url, body); err != nil || !a.ok() {
			t.Fatalf("PUT %s: %v %v", url, a, err)
		}
	}
	// A crash in the midst of it: what was acknowledged is done afterwards.
	url := w.group + "?api-version=" + vResources
	if a := w.send(request{Method: "DELETE", URL: url}); a.Status != 202 {
		t.Fatalf("DELETE: %s", a)
	}
	g.kill()
	g.up()
	g.eventually("the group is gone", func() bool { return g.send(request{Method: "GET", URL: url}).Status == 404 })
	g.eventually("all namespaces of the group are gone", func() bool { return fmt.Sprint(g.namespaces()) == fmt.Sprint(before) })
	g.eventually("its nodes have ended", func() bool { return len(alive(g.dir+"/nodes")) == 0 })
	if left, _ := filepath.Glob(filepath.Join(g.dir, "nodes", "*")); len(left) > 0 {
		t.Errorf("nodes' disks are left: %v", left)
	}
	for _, name := range []string{blobHost, w.guid + ".workspace." + location + ".api.azureml.ms"} {
		if out, err := g.output(g.at("internet", "getent", "hosts", name)); err == nil {
			t.Errorf("%s still resolves: %s", name, out)
		}
	}
	// The names are free once the vault's soft deletion is over, and what stood under them has gone.
	deleted := "/subscriptions/" + g.sub + "/providers/Microsoft.KeyVault/locations/" + location + "/deletedVaults/" + vaultName
	if a := g.send(request{Method: "POST", URL: deleted + "/purge?api-version=" + vVault}); a.Status != 202 {
		t.Fatalf("purge of the vault: %s", a)
	}
	g.eventually("the vault is purged", func() bool {
		return g.send(request{Method: "GET", URL: deleted + "?api-version=" + vVault}).Status == 404
	})
	again := g.network()
	again.services("Enabled")
	for _, url := range []string{"https://" + blobHost + "/data/old.txt", "https://" + vaultName + ".vault.azure.net/secrets/old?api-version=7.4"} {
		if a := g.send(request{Method: "GET", URL: url}); a.Status != 404 {
			t.Errorf("%s of the resource that was deleted: %s", url, a)
		}
	}
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")
}

// TestRules: a change of rules holds for new connections; those that stand are not judged again.
func TestRules(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	server := g.serve("hub/endpoints")
	held := g.at("hub/jumpbox", "probe", "hold", server.addr)
	stdin, err := held.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &gate{w: w, stdin: stdin, lines: g.start(held)}
	said.say("before")
	said.hear()
	deny := w.group + "/providers/Microsoft.Network/networkSecurityGroups/endpoints/securityRules/DenyAll"
	w.put(deny, vNetwork, rule("DenyAll", 100, "Inbound", "Deny", "*", "10.20.2.0/24", "*", "*"))
	g.reaches("hub/jumpbox", "tcp", server.addr, "dropped")
	said.say("after")
	if got := said.hear(); got != "after" {
		t.Errorf("the connection that stands: %q", got)
	}
	w.gone(deny, vNetwork)
	g.reaches("hub/jumpbox", "tcp", server.addr, "answered")
}

// TestOtherUsers: the region of one user is closed to another: its sockets, its files, its programs' powers.
func TestOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		return // there is no other user whom one could be
	}
	g := newGround(t, nil)
	g.up()
	if err := os.Chmod(filepath.Dir(g.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	other := g.with(t)
	other.user = &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, args := range [][]string{{"status"}, {"env"}, {"clock", "+1h"}, {"exec", "--", "true"}, {"up", "-d"}, {"down"}} {
		cmd := other.command(args...)
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("vauban %v as another user: %s", args, out)
		}
		if !strings.Contains(string(out), "belongs to user 0: run as that user") {
			t.Errorf("vauban %v as another user does not say why: %s", args, out)
		}
	}
	if s := g.status(); s.State != region.Running || s.Clock.Offset != 0 {
		t.Errorf("afterwards the region is %+v", s)
	}
}
