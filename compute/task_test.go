package compute_test

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/compute"
)

func valid() compute.Task {
	return compute.Task{
		ID: "calm_bread_1", Command: "python train.py", Env: map[string]string{"AZUREML_RUN_ID": "x"}, Timeout: compute.Duration(90 * time.Minute),
		Code:    []compute.File{{URL: "https://a.blob.core.windows.net/c/p", Path: ".", Folder: true}},
		Inputs:  []compute.Input{{Name: "data", File: compute.File{URL: "https://a.blob.core.windows.net/c/x.csv?sig=s"}}},
		Outputs: []compute.Output{{Name: "default", Dir: "outputs", URL: "https://a.blob.core.windows.net/c/o"}},
		Logs:    compute.Logs{URL: "https://a.blob.core.windows.net/c/l"}, Limits: compute.Limits{MemoryBytes: 1 << 30, CPUs: 0.5, Pids: 100},
		Identity: &compute.Identity{ClientID: "id"},
	}
}

func TestTaskTravels(t *testing.T) {
	in := valid()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"timeout":"1h30m0s"`) {
		t.Error(string(b))
	}
	var out compute.Task
	if err := json.Unmarshal(b, &out); err != nil || cmp.Diff(in, out) != "" {
		t.Error(err, cmp.Diff(in, out))
	}
}

func TestValidate(t *testing.T) {
	ok := valid()
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*compute.Task){
		"id with a path":     func(t *compute.Task) { t.ID = "../x" },
		"hidden id":          func(t *compute.Task) { t.ID = ".x" },
		"no command":         func(t *compute.Task) { t.Command = " " },
		"code outside":       func(t *compute.Task) { t.Code[0].Path = "../x" },
		"absolute code":      func(t *compute.Task) { t.Code[0].Path = "/etc/x" },
		"code without path":  func(t *compute.Task) { t.Code[0].Path, t.Code[0].Folder = "", false },
		"not clean":          func(t *compute.Task) { t.Code[0].Path = "a//b" },
		"input name":         func(t *compute.Task) { t.Inputs[0].Name = "a/b" },
		"output outside":     func(t *compute.Task) { t.Outputs[0].Dir = ".." },
		"file URL":           func(t *compute.Task) { t.Outputs[0].URL = "file:///etc" },
		"variable name":      func(t *compute.Task) { t.Env["A=B"] = "" },
		"variable with NUL":  func(t *compute.Task) { t.Secrets = map[string]string{"A": "\x00"} },
		"negative timeout":   func(t *compute.Task) { t.Timeout = -1 },
		"negative memory":    func(t *compute.Task) { t.Limits.MemoryBytes = -1 },
		"logs without place": func(t *compute.Task) { t.Logs.URL = "https:///x?sig=secret" },
	} {
		v := valid()
		change(&v)
		if err := v.Validate(); !errors.Is(err, compute.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzTask: what Validate lets pass stays in its directories.
func FuzzTask(f *testing.F) {
	b, _ := json.Marshal(valid())
	f.Add(b)
	f.Add([]byte(`{"id":"x","command":"y","code":[{"url":"https://h/c","path":"a/../.."}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var task compute.Task
		if json.Unmarshal(b, &task) != nil || task.Validate() != nil {
			return
		}
		inside := func(base, p string) {
			if got := path.Join(base, p); got != base && !strings.HasPrefix(got, base+"/") {
				t.Errorf("%q leaves %s", p, base)
			}
		}
		inside("/tasks", task.ID)
		for _, c := range task.Code {
			inside(compute.CodePath, c.Path)
		}
		for _, in := range task.Inputs {
			inside(compute.InputsPath, in.Name)
			inside(compute.InputsPath+"/"+in.Name, in.Path)
		}
		for _, o := range task.Outputs {
			inside(compute.CodePath, o.Dir)
			inside(compute.OutputsPath, o.Name)
		}
	})
}
