package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/agent"
	"vauban.dev/compute/internal/nstest"
)

// runScript runs a script to its end.
func runScript(t *testing.T, s agent.Script) (agent.ScriptResult, string) {
	t.Helper()
	if s.Timeout == 0 {
		s.Timeout = compute.Duration(5 * time.Minute)
	}
	conf := agent.Config{Node: "script", StateDir: t.TempDir(), Netns: nstest.Netns(t), Script: &s}
	if err := agent.Run(t.Context(), conf, slog.New(slog.NewTextHandler(testWriter{t}, nil))); err != nil {
		t.Fatal(err)
	}
	r, err := agent.ReadScriptResult(conf.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := agent.ScriptLog(conf.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(log)
}

func TestScript(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/helper.sh" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "helped=yes\n")
	}))
	defer srv.Close()
	r, log := runScript(t, agent.Script{
		Content:    "set -e\r\n. ./helper.sh\r\necho \"$1|$2|$A|$helped|$PWD\"\r\nprintf '{\"a\": [1, 2]}' > $AZ_SCRIPTS_OUTPUT_PATH\r\n",
		Supporting: []string{srv.URL + "/helper.sh?sig=secret"}, Args: []string{"one", "two $(id)"}, Env: map[string]string{"A": "b"},
	})
	if r.Code != "" || string(r.Outputs) != `{"a":[1,2]}` || log != "one|two $(id)|b|yes|/mnt/azscripts/azscriptinput\n" {
		t.Errorf("%+v %s %q", r, r.Outputs, log)
	}
}

func TestScriptFails(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	for what, c := range map[string]struct {
		script     agent.Script
		code, says string
	}{
		"exit code":  {agent.Script{Content: "echo fine; echo first >&2; echo second >&2; exit 3"}, "DeploymentScriptError", "exit code 3. First error:\r\nfirst."},
		"no helper":  {agent.Script{Content: "true", Supporting: []string{gone.URL + "/a.sh?sig=hush-hush"}}, "DeploymentScriptDownloadFailure", "404"},
		"no time":    {agent.Script{Content: "sleep 1000", Timeout: compute.Duration(100 * time.Millisecond)}, "DeploymentScriptExceededMaxAllowedTime", "100ms"},
		"no sign-in": {agent.Script{Content: "true", Login: &agent.ScriptLogin{ClientID: "x", ResourceID: "/id"}}, "DeploymentScriptContainerInstancesServiceLoginFailure", "/id"},
	} {
		t.Run(what, func(t *testing.T) {
			r, _ := runScript(t, c.script)
			if r.Code != c.code || !strings.Contains(r.Message, c.says) || strings.Contains(r.Message, "hush") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A script whose agent was killed is not begun again.
func TestScriptInterrupted(t *testing.T) {
	conf := agent.Config{Node: "script", StateDir: t.TempDir(), Netns: nstest.Netns(t), Script: &agent.Script{Content: "sleep 1000", Timeout: compute.Duration(time.Hour)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx, conf, slog.New(slog.NewTextHandler(testWriter{t}, nil))) }()
	for { // until it has begun
		if m, _ := filepath.Glob(filepath.Join(conf.StateDir, "script-started")); len(m) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := agent.ReadScriptResult(conf.StateDir); err != agent.ErrNoResult {
		t.Fatal(err)
	}
	if err := agent.Run(t.Context(), conf, slog.New(slog.NewTextHandler(testWriter{t}, nil))); err != nil {
		t.Fatal(err)
	}
	if r, err := agent.ReadScriptResult(conf.StateDir); err != nil || r.Code != "DeploymentScriptExecutionFailed" {
		t.Errorf("%+v %v", r, err)
	}
}
