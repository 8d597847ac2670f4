package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/compute"
	"vauban.dev/compute/agent"
	"vauban.dev/compute/batch"
	"vauban.dev/compute/internal/nstest"
	"vauban.dev/compute/oci"
	"vauban.dev/origin"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(agentConfig); file != "" {
		os.Exit(runSpawned(file))
	}
	os.Exit(nstest.Main(m))
}

// world is a batch service, a storage account, a metadata service and a node's configuration.
type world struct {
	t     *testing.T
	q     *queue
	svc   *service
	store *storage
	conf  agent.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	token, sum := batch.MintToken()
	w := &world{t: t, q: newQueue(sum), store: newStorage(t)}
	w.svc = newService(t, w.q)
	w.conf = agent.Config{Node: "node1", Token: token, Batch: w.svc.URL, StateDir: t.TempDir(), Netns: nstest.Netns(t), IMDS: imds(t).URL}
	return w
}

// task with logs below /logs/ID.
func (w *world) task(id, command string) compute.Task {
	return compute.Task{ID: id, Command: command, Logs: compute.Logs{URL: w.store.URL + "/logs/" + id + "?sv=1&sig=good"}}
}

func (w *world) log(id string) string { return w.store.blob("/logs/" + id + "/user_logs/std_log.txt") }

func TestTaskToItsEnd(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // runs last
	w := newWorld(t)
	w.store.blobs["/code/c1/train.py"] = "import os\nprint('train', open(os.environ['IN'] + '/data.csv').read(), open('/work/inputs/one/x.txt').read(), os.environ['PASS'])\n" +
		"os.makedirs('outputs/sub', exist_ok=True); open('outputs/model.pkl', 'w').write('model'); open('outputs/sub/m.json', 'w').write('{}')\n" +
		"os.symlink('/etc/passwd', 'outputs/link'); open('/work/outputs/out/o', 'w').write('o')\n"
	w.store.blobs["/code/c1/lib/util.py"] = "x = 1\n"
	w.store.blobs["/data/set/data.csv"] = "1,2"
	w.store.blobs["/data/x.txt"] = "one"
	task := w.task("run-1", "python3 train.py && cat lib/util.py && pwd && exit 0")
	task.Identity = &compute.Identity{ClientID: "me"}
	task.Env = map[string]string{"IN": "/work/inputs/set"}
	task.Secrets = map[string]string{"PASS": "pass-word"}
	task.Code = []compute.File{{URL: w.store.URL + "/code/c1", Path: "", Folder: true}}
	task.Code[0].Path = "."
	task.Inputs = []compute.Input{
		{Name: "set", File: compute.File{URL: w.store.URL + "/data/set/", Folder: true}},
		{Name: "one", File: compute.File{URL: w.store.URL + "/data/x.txt?sig=good"}},
	}
	task.Outputs = []compute.Output{
		{Name: "default", Dir: "outputs", URL: w.store.URL + "/art/run-1/outputs"},
		{Name: "out", URL: w.store.URL + "/data/out?sig=good"},
	}
	w.q.submit(task)
	_, done := startAgent(t, w.conf)
	r := w.q.until(t, "run-1", final)
	if r.State != compute.TaskCompleted || r.ExitCode == nil || *r.ExitCode != 0 {
		t.Errorf("%+v %+v: %s", r, r.Failure, w.log("run-1"))
	}
	if got, want := w.log("run-1"), "train 1,2 one pass-word\nx = 1\n/work/code\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	for path, want := range map[string]string{"/art/run-1/outputs/model.pkl": "model", "/art/run-1/outputs/sub/m.json": "{}", "/data/out/o": "o", "/art/run-1/outputs/link": ""} {
		if got := w.store.blob(path); got != want {
			t.Errorf("%s is %q", path, got)
		}
	}
	want := []compute.TaskState{compute.TaskPreparing, compute.TaskRunning, compute.TaskFinalizing, compute.TaskCompleted}
	if d := cmp.Diff(want, w.q.states("run-1")); d != "" {
		t.Error(d)
	}
	sys := w.store.blob("/logs/run-1/system_logs/lifecycler/lifecycler.log")
	if !strings.Contains(sys, "downloading 4 files") || strings.Contains(sys, "pass-word") || strings.Contains(sys, "sig=") {
		t.Error(sys)
	}
	// The node leaves when it is told to, and nothing of the task is left on its disk.
	w.q.signal(batch.Signal{ID: "s1", Kind: batch.Leave})
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(w.conf.StateDir, "tasks")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(w.conf.StateDir, "oci", "c-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t)
	w.conf.Images = map[string]agent.Image{"sklearn:1": {Layers: []oci.Mount{{Source: t.TempDir(), Target: "/opt/env"}}}}
	w.conf.DefaultImage = "sklearn:1"
	startAgent(t, w.conf)
	for name, c := range map[string]struct {
		change func(*compute.Task)
		code   string
		kind   compute.FailureKind
		text   string
	}{
		"exit": {func(t *compute.Task) { t.Command = "echo out; exit 3" }, "UserProcessExited", compute.FailureUser, "exit code 3"},
		"image": {func(t *compute.Task) { t.Image = "torch:2" }, "ImageNotFound", compute.FailureUser,
			`the environment image "torch:2" is not on this node (it has: sklearn:1)`},
		"forbidden": {func(t *compute.Task) { t.Code = []compute.File{{URL: w.store.URL + "/x/y?sig=bad", Path: "y"}} }, "DataDownload", compute.FailureUser, "AuthorizationFailure"},
		"missing": {func(t *compute.Task) {
			t.Inputs = []compute.Input{{Name: "i", File: compute.File{URL: w.store.URL + "/x/none?sig=good"}}}
		}, "DataDownload", compute.FailureUser, "404 Not Found (BlobNotFound)"},
		"escape": {func(t *compute.Task) { t.Code = []compute.File{{URL: w.store.URL + "/x/y?sig=good", Path: "../../x"}} }, "TaskInvalid", compute.FailureUser, "path"},
		"timeout": {func(t *compute.Task) {
			t.Command, t.Timeout, t.Grace = "trap '' TERM; while :; do sleep 0.05; done", compute.Duration(300*time.Millisecond), compute.Duration(50*time.Millisecond)
		}, "JobTimeout", compute.FailureUser, "300ms"},
		"upload": {func(t *compute.Task) {
			t.Command, t.Outputs = "echo x >outputs/x", []compute.Output{{Name: "o", Dir: "outputs", URL: w.store.URL + "/o?sig=bad"}}
		}, "DataUpload", compute.FailureUser, "AuthorizationFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			task := w.task("f-"+name, "true")
			c.change(&task)
			w.q.submit(task)
			r := w.q.until(t, task.ID, final)
			if r.State != compute.TaskFailed || r.Failure == nil {
				t.Fatalf("%+v", r)
			}
			if r.Failure.Code != c.code || r.Failure.Kind != c.kind || !strings.Contains(r.Failure.Message, c.text) || strings.Contains(r.Failure.Message, "sig=") {
				t.Errorf("%+v", r.Failure)
			}
		})
	}
}

func TestLogStreamsWhileRunning(t *testing.T) {
	w := newWorld(t)
	startAgent(t, w.conf)
	w.q.submit(w.task("stream", `echo first; while [ ! -e go ]; do sleep 0.02; done; echo second; echo error >&2`))
	r := w.q.until(t, "stream", running)
	w.store.until(t, "/logs/stream/user_logs/std_log.txt", "first\n")
	if err := os.WriteFile(procRoot(r.PID, "work/code/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.q.until(t, "stream", final)
	if got := w.log("stream"); got != "first\nsecond\nerror\n" {
		t.Errorf("%q", got)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	startAgent(t, w.conf)
	w.q.submit(w.task("c", `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`))
	w.store.until(t, "/logs/c/user_logs/std_log.txt", "ready")
	w.q.signal(batch.Signal{ID: "s", Kind: batch.Cancel, Task: "c"})
	if r := w.q.until(t, "c", final); r.State != compute.TaskCanceled {
		t.Errorf("%+v", r)
	}
	if got := w.log("c"); !strings.HasSuffix(got, "bye\n") {
		t.Errorf("%q", got)
	}
	// The signal stands; the node works on.
	w.q.submit(w.task("after", "true"))
	if r := w.q.until(t, "after", final); r.State != compute.TaskCompleted {
		t.Errorf("%+v", r)
	}
}

func TestPreempted(t *testing.T) {
	w := newWorld(t)
	_, done := startAgent(t, w.conf)
	w.q.submit(w.task("p", "while :; do sleep 0.05; done"))
	w.q.until(t, "p", running)
	w.q.signal(batch.Signal{ID: "s", Kind: batch.Preempt, Grace: compute.Duration(time.Second)})
	if r := w.q.until(t, "p", final); r.Failure == nil || r.Failure.Kind != compute.FailurePreempted {
		t.Errorf("%+v", r)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestServiceAbsent: the job runs to its end while the batch service is away, and its result is delivered when
// it is back.
func TestServiceAbsent(t *testing.T) {
	w := newWorld(t)
	startAgent(t, w.conf)
	w.q.submit(w.task("a", "while [ ! -e go ]; do sleep 0.02; done; exit 4"))
	r := w.q.until(t, "a", running)
	root := openRoot(t, r.PID)
	w.svc.setDown(true)
	if err := root.WriteFile("work/code/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.store.until(t, "/logs/a/system_logs/lifecycler/lifecycler.log", "exit code 4")
	w.svc.setDown(false)
	if r := w.q.until(t, "a", final); r.ExitCode == nil || *r.ExitCode != 4 {
		t.Errorf("%+v", r)
	}
}

// TestAgentKilled: the container outlives the agent; the next one waits for it. And a result that was not
// delivered is replayed.
func TestAgentKilled(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(func() {
		if err := agent.Destroy(context.Background(), w.conf.StateDir); err != nil {
			t.Error(err)
		}
	})
	kill := spawnAgent(t, w.conf)
	w.q.submit(w.task("r", "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; exit 6"))
	r := w.q.until(t, "r", running)
	root := openRoot(t, r.PID)
	kill()
	if err := syscall.Kill(r.PID, 0); err != nil {
		t.Fatalf("the container died with the agent: %v", err)
	}
	kill = spawnAgent(t, w.conf)
	w.store.until(t, "/logs/r/user_logs/std_log.txt", "one") // it follows the log again
	w.svc.setDown(true)
	if err := root.WriteFile("work/code/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.store.until(t, "/logs/r/system_logs/lifecycler/lifecycler.log", "failed\n")
	kill()
	w.svc.setDown(false)
	spawnAgent(t, w.conf)
	if r := w.q.until(t, "r", final); r.ExitCode == nil || *r.ExitCode != 6 || r.Failure.Code != "UserProcessExited" {
		t.Errorf("%+v", r)
	}
	if got := w.log("r"); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
}

// TestPowerOff: the end of the agent's context ends what runs; so does Destroy after a kill.
func TestPowerOff(t *testing.T) {
	w := newWorld(t)
	end, done := startAgent(t, w.conf)
	w.q.submit(w.task("p", "while :; do sleep 0.05; done"))
	r := w.q.until(t, "p", running)
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if syscall.Kill(r.PID, 0) == nil {
		t.Error("it runs on")
	}

	w = newWorld(t)
	kill := spawnAgent(t, w.conf)
	w.q.submit(w.task("d", "while :; do sleep 0.05; done"))
	r = w.q.until(t, "d", running)
	kill()
	if err := agent.Destroy(t.Context(), w.conf.StateDir); err != nil {
		t.Error(err)
	}
	if syscall.Kill(r.PID, 0) == nil {
		t.Error("it runs on")
	}
	if left, _ := filepath.Glob(filepath.Join(w.conf.StateDir, "oci", "c-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestLeaseLost: a node whose task was given to another ends it and says nothing.
func TestLeaseLost(t *testing.T) {
	w := newWorld(t)
	startAgent(t, w.conf)
	w.q.submit(w.task("l", "while :; do sleep 0.05; done"))
	r := w.q.until(t, "l", running)
	w.q.edit(func() { w.q.leased["l"] = 2 })
	w.q.submit(w.task("next", "true"))
	w.q.until(t, "next", final)
	if err := syscall.Kill(r.PID, 0); err == nil {
		t.Error("it still runs")
	}
	if slices.ContainsFunc(w.q.states("l"), compute.TaskState.Final) {
		t.Errorf("%v", w.q.states("l"))
	}
}

func TestOneAgentADisk(t *testing.T) {
	w := newWorld(t)
	startAgent(t, w.conf)
	w.q.submit(w.task("x", "true"))
	w.q.until(t, "x", final)
	_, second := startAgent(t, w.conf)
	if err := <-second; err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("%v", err)
	}
}

// TestOrigin: the right token from another NIC is refused.
func TestOrigin(t *testing.T) {
	w := newWorld(t)
	c := batch.NewClient(w.svc.URL, "node1", w.conf.Token, w.svc.Client())
	if _, err := c.Register(t.Context(), batch.Register{}); err != nil {
		t.Fatal(err)
	}
	for _, o := range []origin.Origin{{}, {Kind: origin.Internet}, {Kind: origin.Internet, NIC: "/subscriptions/s/nics/node2"}} {
		w.svc.mu.Lock()
		w.svc.origin = o
		w.svc.mu.Unlock()
		if _, err := c.Register(t.Context(), batch.Register{}); err != batch.ErrUnauthorized {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func procRoot(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), "root", name)
}

func openRoot(t *testing.T, pid int) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(filepath.Join("/proc", strconv.Itoa(pid), "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
