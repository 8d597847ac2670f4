package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestJobs: what a job can do, what it cannot, and how it ends.
func TestJobs(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.secured()
	w.environment()
	outside := filepath.Join(filepath.Dir(g.dir), "outside.txt")
	if err := os.WriteFile(outside, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}

	t.Run("ends", func(t *testing.T) {
		w := w.with1(t)
		w.submit("fails", "echo to the log; exit 3", nil)
		w.submit("killed", "kill -9 $$", nil)
		w.submit("slow", `trap 'exit 1' TERM; sleep 600 & wait`, obj{"limits": obj{"jobLimitsType": "Command", "timeout": "PT2S"}})
		if s := w.ended("fails"); s != "Failed" {
			t.Errorf("a job that exits with 3 is %s", s)
		}
		if log := w.artifact("fails", "user_logs/std_log.txt"); !strings.Contains(log, "to the log") {
			t.Errorf("its log: %q", log)
		}
		if s := w.ended("killed"); s != "Failed" {
			t.Errorf("a job that was killed is %s", s)
		}
		if s := w.ended("slow"); s == "Completed" {
			t.Errorf("a job that ran out of time is %s", s)
		}
		gate := w.gate()
		w.submit("endless", gate.command("mark-endless"), nil)
		gate.hear()
		if a := w.send(request{Method: "POST", URL: w.workspace + "/jobs/endless/cancel?api-version=" + vML}); !a.ok() {
			t.Fatalf("cancel: %s", a)
		}
		if s := w.ended("endless"); s != "Canceled" {
			t.Errorf("a job that was cancelled is %s", s)
		}
	})

	t.Run("escape", func(t *testing.T) {
		w := w.with1(t)
		hidden := []string{g.dir, outside, bin, "/root/.ssh", "/etc/sudoers", "/etc/ssh", "/boot", "/var/lib/dpkg", "/work/../" + g.dir, "/proc/1/root" + g.dir}
		w.submit("escape", "mkdir -p outputs; escape "+strings.Join(hidden, " ")+" >outputs/found.json", nil)
		w.completed("escape")
		var found escaped
		if err := json.Unmarshal([]byte(w.artifact("escape", "outputs/found.json")), &found); err != nil {
			t.Fatal(err)
		}
		for _, s := range found.Succeeded {
			t.Errorf("a job can: %s", s)
		}
		if t.Failed() {
			t.Log(w.artifact("escape", "user_logs/std_log.txt"))
		}
		known := strings.Fields("bin dev etc home lib lib32 lib64 libx32 mnt opt proc root run sbin sys tmp usr var work")
		for _, name := range found.Root {
			if !slices.Contains(known, name) {
				t.Errorf("a job sees /%s", name)
			}
		}
		if found.Processes > 8 {
			t.Errorf("a job sees %d processes", found.Processes)
		}
		if found.Seccomp != "2" || found.NoNew != "1" {
			t.Errorf("seccomp %s, no new privileges %s", found.Seccomp, found.NoNew)
		}
		for _, name := range []string{"AZURE_CLIENT_SECRET", "VAUBAN_DATA", "HTTPS_PROXY"} {
			if v, ok := found.Env[name]; ok {
				t.Errorf("a job has the variable %s=%s", name, v)
			}
		}
		t.Logf("capabilities %s, ids %s", found.Caps, found.UID)
		for line := range strings.Lines(found.Mounts) {
			f := strings.Fields(line)
			if at := f[4]; (at == "/usr" || strings.HasPrefix(at, "/opt")) && !strings.Contains(","+f[5]+",", ",ro,") {
				t.Errorf("%s is not read-only: %s", at, line)
			}
		}
	})

	t.Run("network", func(t *testing.T) {
		w := w.with1(t)
		w.submit("network", `mkdir -p outputs
{ PROBE_WAIT=300ms probe tcp 198.51.100.80:443
  PROBE_WAIT=300ms probe udp 198.51.100.80:53
  PROBE_WAIT=300ms probe tcp 10.30.0.4:22
  probe tcp `+blobHost+`:443
  probe address; } >outputs/reach.txt 2>&1`, nil)
		w.completed("network")
		got := w.artifact("network", "outputs/reach.txt")
		if want := "dropped\ndropped\ndropped\nanswered\n10.20.1."; !strings.HasPrefix(got, want) {
			t.Errorf("from a job: %q, want %q…", got, want)
		}
	})

	t.Run("others", func(t *testing.T) {
		w := w.with1(t)
		// One after the other on a node, and beside each other on two: nobody finds what another wrote.
		const mark = "secret-of-a-job"
		write := `for d in . /tmp /run /dev/shm /work /root /home /var/tmp; do echo ` + mark + ` >$d/mark.txt || true; done; mkdir -p outputs`
		look := `; grep -rl ` + mark + ` / --include=mark.txt 2>/dev/null | grep -v '^/proc' | sort >outputs/seen.txt`
		one, two := w.gate(), w.gate()
		w.submit("writer", write+"\n"+one.command("mark-writer"), nil)
		one.hear()
		w.submit("neighbour", "mkdir -p outputs"+look+"\n"+two.command("mark-neighbour"), nil)
		two.hear()
		one.say("end")
		two.say("end")
		w.completed("writer")
		w.completed("neighbour")
		w.submit("later1", "mkdir -p outputs"+look, nil)
		w.submit("later2", "mkdir -p outputs"+look, nil)
		for _, job := range []string{"neighbour", "later1", "later2"} {
			w.completed(job)
			if seen := w.artifact(job, "outputs/seen.txt"); seen != "" {
				t.Errorf("%s sees files of another job: %s", job, seen)
			}
		}
	})

	t.Run("logs", func(t *testing.T) {
		logs, _ := filepath.Glob(filepath.Join(g.dir, "nodes", "*", "agent.log"))
		for _, f := range append(logs, filepath.Join(g.dir, "server.log")) {
			for line := range strings.Lines(contents(f)) {
				if strings.Contains(line, "level=ERROR") {
					t.Errorf("%s: %s", filepath.Base(f), line)
				}
			}
		}
	})

	t.Run("secrets", func(t *testing.T) {
		w := w.with1(t)
		w.submit("secrets", "mkdir -p outputs; env >outputs/env.txt", obj{"environmentVariables": obj{"MY_PASSWORD": "user-secret-4711"}})
		w.completed("secrets")
		env := w.artifact("secrets", "outputs/env.txt")
		if !strings.Contains(env, "MY_PASSWORD=user-secret-4711") {
			t.Fatalf("the job's environment: %s", env)
		}
		secrets := []string{"user-secret-4711"}
		for _, m := range regexp.MustCompile(`(?m)^[A-Z_]*(TOKEN|SECRET|KEY)[A-Z_]*=(.{20,})$`).FindAllStringSubmatch(env, -1) {
			secrets = append(secrets, m[2])
		}
		if len(secrets) < 2 {
			t.Errorf("no run token in %s", env)
		}
		w.withoutSecrets(t, secrets)
		for _, log := range []string{"user_logs/std_log.txt", "system_logs/lifecycler/lifecycler.log"} {
			text := w.artifact("secrets", log)
			for _, s := range secrets {
				if strings.Contains(text, s) {
					t.Errorf("%s holds a secret: %s", log, text)
				}
			}
			if s := signature.FindString(text); s != "" {
				t.Errorf("%s holds a signature: %s", log, text)
			}
		}
	})
}

// with1 is the world of a subtest.
func (w *world) with1(t testing.TB) *world {
	c := *w
	c.ground = w.ground.with(t)
	return &c
}

// signature is one of a SAS; logs show sig=… instead.
var signature = regexp.MustCompile(`sig=[A-Za-z0-9%+/]{4,}`)

// withoutSecrets checks what the region writes for people, and what `ps` shows of it.
func (g *ground) withoutSecrets(t *testing.T, secrets []string) {
	t.Helper()
	check := func(where, text string) {
		for _, s := range append(secrets, signature.FindAllString(text, 1)...) {
			if i := strings.Index(text, s); i >= 0 {
				t.Errorf("%s holds a secret: …%s…", where, text[max(0, i-200):min(len(text), i+len(s)+20)])
			}
		}
	}
	logs := 0
	for _, pattern := range []string{"*.log", "nodes/*/*.log", "nodes/*/work/*.log", "nodes/*/work/tasks/*/*.log"} {
		files, _ := filepath.Glob(filepath.Join(g.dir, pattern))
		for _, f := range files {
			logs++
			check(f, contents(f))
		}
	}
	if logs < 2 {
		t.Errorf("only %d logs were found", logs)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range all {
		if line := contents(f); strings.Contains(line, "vauban") || strings.Contains(line, g.dir) {
			check(fmt.Sprintf("the command line %q", strings.ReplaceAll(line, "\x00", " ")), line)
		}
	}
}
