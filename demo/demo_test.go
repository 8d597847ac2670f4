package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/reach"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var caller = Caller{Subscription: "s", PartnerSubscription: "p", Tenant: "t", ObjectID: "o"}

// The scripts read CONFIG["key"] (or .get): every key is one that Config has.
func TestConfigHasWhatScriptsRead(t *testing.T) {
	b, err := json.Marshal(NewConfig(reach.Secured, caller, "westeurope", "ssh-ed25519 A", 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	read := regexp.MustCompile(`CONFIG(?:\.get\(|\[)"(\w+)"`)
	keys := 0
	err = fs.WalkDir(clients, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(clients, path)
		for _, m := range read.FindAllStringSubmatch(string(text), -1) {
			keys++
			if _, ok := config[m[1]]; !ok {
				t.Errorf("%s reads %q, which the configuration lacks", path, m[1])
			}
		}
		return err
	})
	if err != nil || keys == 0 {
		t.Errorf("%d keys, %v", keys, err)
	}
}

func TestWriteClients(t *testing.T) {
	dir := t.TempDir()
	if err := WriteClients(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"common.py", "provision.py", "train.py", "job/train.py"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

func TestParseLine(t *testing.T) {
	for text, want := range map[string]Line{
		`{"step": "a", "state": "ok", "seconds": 0.5, "error": null}`:  {Step: &Step{Name: "a", State: "ok", Seconds: 0.5}},
		`{"step": "a", "state": "failed", "seconds": 1, "error": "e"}`: {Step: &Step{Name: "a", State: "failed", Seconds: 1, Error: "e"}},
		`{"step": "a", "state": "other"}`:                              {Text: `{"step": "a", "state": "other"}`},
		`{"result": {"job": "j"}}`:                                     {Result: map[string]any{"job": "j"}},
		`{"loss": 0.5}`:                                                {Text: `{"loss": 0.5}`},
		`{`:                                                            {Text: `{`},
		`Uploading`:                                                    {Text: `Uploading`},
		``:                                                             {},
	} {
		if diff := cmp.Diff(want, ParseLine(text)); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                           "plain",
		"\x1b[32mgreen\x1b[0m \x1b]0;t\a": "green 0;t",
		"10%\r50%\r100%":                  "100%",
		"a\tb":                            "a    b",
		"\x07\x7fbell":                    "bell",
		"   ":                             "",
		"🏃 View run":                      "🏃 View run",
	} {
		if got := visible(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestClientEnv(t *testing.T) {
	got := clientEnv([]string{"HOME=/h", "AZURE_CLIENT_ID=mine", "PYTHONPATH=/x", "MLFLOW_TRACKING_URI=u", "A=1"}, map[string]string{"A": "2", "PYTHONUNBUFFERED": "1"})
	slices.Sort(got)
	if diff := cmp.Diff([]string{"A=2", "HOME=/h", "PYTHONUNBUFFERED=1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	var got []string
	lines(strings.NewReader("a\r\n\nb\n"+long+"\nlast"), func(s string) { got = append(got, s) })
	if strings.Join(got, "") != "ab"+long+"last" || got[len(got)-1] != "last" {
		t.Errorf("%d lines", len(got))
	}
}

// shell is a region whose places are this machine and whose clients are shell scripts.
type shell struct {
	scripts map[string]string // by the base name of what is run
	mu      sync.Mutex
	ran     []string
	nodes   []Node
	asked   int
	table   *reach.Table
}

func (s *shell) Command(ctx context.Context, place string, argv ...string) (*exec.Cmd, error) {
	name := filepath.Base(argv[len(argv)-1])
	if slices.Contains(argv, "az") {
		name = "az"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran = append(s.ran, place+" "+name)
	return exec.CommandContext(ctx, "/bin/sh", "-c", s.scripts[name]), nil
}

func (s *shell) Nodes(context.Context, string) ([]Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked++; s.asked > 2 {
		return nil, nil
	}
	return s.nodes, nil
}

func (s *shell) Measure(_ context.Context, f reach.Facts) (*reach.Table, error) {
	return s.table, nil
}

const (
	okStep     = `echo '{"step":"made","state":"ok","seconds":0.25,"error":null}'; `
	failedStep = `echo '{"step":"broke","state":"failed","seconds":1,"error":"AuthorizationFailed"}'; `
)

func runWith(t *testing.T, scripts map[string]string) (*shell, *Account, *Outcome, string) {
	t.Helper()
	region := &shell{scripts: scripts, nodes: []Node{{ID: "n", Isolation: []string{"a namespace"}}}, table: &reach.Table{Mode: reach.Secured}}
	var out bytes.Buffer
	account := NewAccount(&out)
	r := &Runner{Region: region, Account: account, Dir: t.TempDir(), Python: "python", AZ: "az", Stranger: "www.example.com", Settle: time.Minute}
	o, err := r.Run(t.Context(), NewConfig(reach.Secured, caller, "westeurope", "", time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if o.Emptied != nil {
		<-o.Emptied
	}
	return region, account, o, out.String()
}

func TestRun(t *testing.T) {
	region, account, o, out := runWith(t, map[string]string{
		"provision.py": okStep + `echo '{"result":{"discoveryUrl":"https://guid.workspace.westeurope.api.azureml.ms/discovery"}}'`,
		"az":           `echo ws-secured`,
		"train.py":     okStep + `echo; echo "$VAUBAN_DEMO" | cut -c1-19; echo warning >&2; echo '{"result":{"job":"j","metrics":{"accuracy":0.979021}}}'`,
	})
	if f := account.Failed(); len(f) > 0 {
		t.Errorf("failed: %v\n%s", f, out)
	}
	want := []string{"internet provision.py", "demo-vnet/jumpbox az", "demo-vnet/jumpbox az", "demo-vnet/jumpbox train.py"}
	if diff := cmp.Diff(want, region.ran); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{
		"Secured: ", "  from demo-vnet/jumpbox: train.py", "    ✓   0.25 s  made", `             │ {"subscription":"s"`, "             │ warning", "the cluster is back at 0 nodes",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no line with %q in\n%s", line, out)
		}
	}
	if o.Facts.WorkspaceHost != "guid.workspace.westeurope.api.azureml.ms" || o.Facts.Jumpbox == "" || o.Table == nil {
		t.Errorf("%+v", o)
	}
	if !Verdict(account.Steps(), []*Outcome{o}) {
		t.Error("the verdict is that it failed")
	}
	s := Summary{Outcomes: []*Outcome{o}, Isolation: Isolate([]string{"region"}, []*Outcome{o})}
	var b strings.Builder
	if err := s.Render(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"job        j", "metrics    accuracy 0.97902", "jobs       a namespace"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
}

func TestFailures(t *testing.T) {
	good := okStep + `echo '{"result":{"discoveryUrl":"https://h/discovery"}}'`
	for name, test := range map[string]struct {
		scripts map[string]string
		failed  []string // steps
		ran     int
	}{
		"a step of the first script": {map[string]string{"provision.py": failedStep + "exit 1"}, []string{"broke"}, 1},
		"a script without a word":    {map[string]string{"provision.py": "exit 3"}, []string{"provision.py"}, 1},
		"az, and the rest goes on":   {map[string]string{"provision.py": good, "az": "exit 1", "train.py": okStep}, []string{"az login"}, 3},
		"a step of the second":       {map[string]string{"provision.py": good, "az": "true", "train.py": okStep + failedStep + "exit 1"}, []string{"broke"}, 4},
	} {
		region, account, o, out := runWith(t, test.scripts)
		var failed []string
		for _, r := range account.Failed() {
			failed = append(failed, r.Name)
		}
		if diff := cmp.Diff(test.failed, failed); diff != "" || len(region.ran) != test.ran {
			t.Errorf("%s: %s ran %v\n%s", name, diff, region.ran, out)
		}
		if Verdict(account.Steps(), []*Outcome{o}) {
			t.Errorf("%s: the verdict is that it succeeded", name)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	region := &shell{scripts: map[string]string{"provision.py": okStep + "exec sleep 60"}}
	var out bytes.Buffer
	r := &Runner{Region: region, Account: NewAccount(&watcher{&out, cancel}), Dir: t.TempDir(), Python: "python"}
	if _, err := r.Run(ctx, NewConfig(reach.Public, caller, "westeurope", "", time.Second)); err != context.Canceled {
		t.Errorf("%v", err)
	}
	if strings.Contains(out.String(), "✗") {
		t.Errorf("an interruption is no failure:\n%s", out.String())
	}
}

// watcher cancels when a step was printed.
type watcher struct {
	out    *bytes.Buffer
	cancel func()
}

func (w *watcher) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("✓")) {
		w.cancel()
	}
	return w.out.Write(b)
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	want := State{Facts: map[reach.Mode]reach.Facts{reach.Public: {Mode: reach.Public, Storage: "s"}}}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadState(dir)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
