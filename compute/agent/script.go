package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/compute"
	"vauban.dev/compute/oci"
)

// Script makes the agent one that runs a deployment script and ends: it needs neither Token nor Batch. What came of
// it is in StateDir (ReadScriptResult, ScriptLog). A script runs once: an agent that is started again on the same disk
// says that it was interrupted.
type Script struct {
	Content    string            `json:"content,omitempty"`
	URI        string            `json:"uri,omitempty"` // of the script, instead of Content
	Supporting []string          `json:"supporting,omitempty"`
	Args       []string          `json:"args,omitempty"`
	Env        map[string]string `json:"env,omitempty"` // secure values too
	Timeout    compute.Duration  `json:"timeout"`
	// Image is the key of the Azure CLI in Config.Images, "" for none.
	Image string `json:"image,omitempty"`
	// Login signs the CLI in before the script begins.
	Login *ScriptLogin `json:"login,omitempty"`
}

// ScriptLogin is the user-assigned identity that a script has.
type ScriptLogin struct {
	ClientID     string `json:"clientId"`
	ResourceID   string `json:"resourceId"`
	Subscription string `json:"subscription"`
}

// ScriptResult is what came of a script.
type ScriptResult struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Outputs is the JSON object that the script wrote, nil when it wrote none.
	Outputs json.RawMessage `json:"outputs,omitempty"`
	// Code is Azure's error code, "" when the script succeeded; Message and Lines (of its standard error) say why.
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Lines   []string `json:"lines,omitempty"`
}

// Places of a script in its container, where Azure has them
// (https://learn.microsoft.com/azure/azure-resource-manager/templates/deployment-script-template-configure-dev).
const (
	scriptMount   = "/mnt/azscripts"
	scriptInput   = "azscriptinput"
	scriptOutput  = "azscriptoutput"
	scriptFile    = "userscript.sh"
	scriptOutputs = "scriptoutputs.json"
)

const (
	maxScriptLog     = 4 << 20 // what a container instance keeps
	maxScriptFile    = 4 << 20
	maxScriptOutputs = 1 << 20
	maxErrorLines    = 20
	loginTimeout     = 2 * time.Minute
)

// ErrNoResult is that a script has not ended.
var ErrNoResult = errors.New("the script has no result")

func scriptResultFile(stateDir string) string { return filepath.Join(stateDir, "script-result.json") }
func scriptLogFile(stateDir string) string    { return filepath.Join(stateDir, "script.log") }
func scriptStarted(stateDir string) string    { return filepath.Join(stateDir, "script-started") }

// ReadScriptResult reads what an agent left on its disk. ErrNoResult while the script runs.
func ReadScriptResult(stateDir string) (ScriptResult, error) {
	var r ScriptResult
	b, err := os.ReadFile(scriptResultFile(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return r, ErrNoResult
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// ScriptLog is what a script has printed so far, the end of it when it is long.
func ScriptLog(stateDir string) ([]byte, error) {
	b, err := os.ReadFile(scriptLogFile(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if len(b) > maxScriptLog {
		b = b[len(b)-maxScriptLog:]
	}
	return b, err
}

// scriptError is a failure with Azure's code.
type scriptError struct {
	code, message string
	lines         []string
}

func (e *scriptError) Error() string { return e.message }

func scriptFailure(code, format string, args ...any) *scriptError {
	return &scriptError{code: code, message: fmt.Sprintf(format, args...)}
}

// script runs the script and writes its result.
func (a *Agent) script(ctx context.Context) error {
	s := a.cfg.Script
	if _, err := ReadScriptResult(a.cfg.StateDir); !errors.Is(err, ErrNoResult) {
		return err
	}
	r := ScriptResult{Start: time.Now().UTC()}
	again, err := a.firstTime()
	if err != nil {
		return err
	}
	if again {
		err = scriptFailure("DeploymentScriptExecutionFailed", "The execution of the script was interrupted.")
	} else {
		err = a.runScript(ctx, s, &r)
	}
	if ctx.Err() != nil { // the power switch: whoever ended it knows
		return nil
	}
	if err != nil {
		var e *scriptError
		if !errors.As(err, &e) {
			a.log.Error("deployment script", "error", err)
			e = scriptFailure("DeploymentScriptOperationFailed", "The container that would run the script could not be started.")
		}
		r.Code, r.Message, r.Lines = e.code, e.message, e.lines
	}
	r.End = time.Now().UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeWhole(scriptResultFile(a.cfg.StateDir), b)
}

// firstTime notes that the script begins; again says that it has begun before.
func (a *Agent) firstTime() (again bool, err error) {
	f, err := os.OpenFile(scriptStarted(a.cfg.StateDir), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// writeWhole writes a file that is either whole or not there.
func writeWhole(file string, b []byte) error {
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (a *Agent) runScript(ctx context.Context, s *Script, r *ScriptResult) error {
	limited, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	dir := filepath.Join(a.cfg.StateDir, "script")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	work, err := openWork(dir, int(a.rt.IDs().Host))
	if err != nil {
		return err
	}
	defer work.close()
	if err := a.scriptFiles(limited, s, work); err != nil {
		return overdue(ctx, limited, s, err)
	}
	log, err := newTailFile(scriptLogFile(a.cfg.StateDir), maxScriptLog)
	if err != nil {
		return err
	}
	defer log.Close()
	if s.Login != nil {
		if err := a.scriptLogin(limited, s, dir, log); err != nil {
			return overdue(ctx, limited, s, err)
		}
	}
	args := append([]string{"/bin/bash", "./" + scriptFile}, s.Args...)
	code, complaint, err := a.scriptCommand(limited, s, dir, "script", args, log)
	if err != nil {
		return overdue(ctx, limited, s, err)
	}
	if code != 0 {
		return failed(code, complaint)
	}
	r.Outputs, err = readScriptOutputs(work)
	return err
}

// overdue is the failure of a script that ran out of its time, else err.
func overdue(ctx, limited context.Context, s *Script, err error) error {
	if ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		return scriptFailure("DeploymentScriptExceededMaxAllowedTime", "The deployment script execution exceeded its timeout of %s.", time.Duration(s.Timeout))
	}
	return err
}

// failed is the failure of a script by what it wrote to its standard error.
func failed(code int, complaint []string) error {
	first := fmt.Sprintf("exit code %d", code)
	if len(complaint) > 0 {
		first = complaint[0]
	}
	e := scriptFailure("DeploymentScriptError", "The provided script failed with exit code %d. First error:\r\n%s. Please refer to https://aka.ms/DeploymentScriptsTroubleshoot for more deployment script information.", code, strings.TrimSuffix(first, "."))
	e.lines = complaint
	return e
}

// scriptFiles writes the script and what supports it.
func (a *Agent) scriptFiles(ctx context.Context, s *Script, work *workDir) error {
	if err := errors.Join(work.mkdir(scriptInput), work.mkdir(scriptOutput), work.mkdir("bin")); err != nil {
		return err
	}
	content := []byte(s.Content)
	if s.URI != "" {
		var err error
		if content, err = a.scriptDownload(ctx, s.URI); err != nil {
			return err
		}
	}
	// Templates are often written on Windows.
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	if err := work.write(path.Join(scriptInput, scriptFile), bytes.NewReader(content)); err != nil {
		return err
	}
	for _, uri := range s.Supporting {
		b, err := a.scriptDownload(ctx, uri)
		if err != nil {
			return err
		}
		name := lastSegment(uri)
		if !safePath(name) || name == scriptFile {
			return scriptFailure("DeploymentScriptDownloadFailure", "The supporting script '%s' has no name that a file can have.", withoutQuery(uri))
		}
		if err := work.write(path.Join(scriptInput, name), bytes.NewReader(b)); err != nil {
			return err
		}
	}
	if s.Image == "" {
		return nil
	}
	return work.write("bin/az", strings.NewReader("#!/bin/sh\nexec python3 -sm azure.cli \"$@\"\n"))
}

// withoutQuery is a URI without what may be a signature.
func withoutQuery(uri string) string {
	before, _, _ := strings.Cut(uri, "?")
	return before
}

// scriptDownload reads a script by way of the container's interface.
func (a *Agent) scriptDownload(ctx context.Context, uri string) ([]byte, error) {
	refuse := func(why string) error {
		return scriptFailure("DeploymentScriptDownloadFailure", "Failed to download the script '%s': %s", withoutQuery(uri), why)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, refuse("it is not a URI.")
	}
	req.Header.Set("x-ms-version", "2021-08-06")
	res, err := a.http.Do(req)
	if err != nil {
		var u *url.Error // it names the URI, with its signature
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, refuse(err.Error())
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refuse(fmt.Sprintf("the server answered %s.", res.Status))
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxScriptFile+1))
	if err != nil {
		return nil, refuse(err.Error())
	}
	if len(b) > maxScriptFile {
		return nil, refuse(fmt.Sprintf("it has more than %d bytes.", maxScriptFile))
	}
	return b, nil
}

// scriptLogin signs the CLI in as the script's identity.
func (a *Agent) scriptLogin(ctx context.Context, s *Script, dir string, log io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	const login = `az login --identity --client-id "$1" --allow-no-subscriptions --only-show-errors --output none && { az account set --subscription "$2" --only-show-errors 2>/dev/null; :; }`
	code, complaint, err := a.scriptCommand(ctx, s, dir, "login", []string{"/bin/bash", "-c", login, "login", s.Login.ClientID, s.Login.Subscription}, log)
	if err == nil && code != 0 || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &scriptError{"DeploymentScriptContainerInstancesServiceLoginFailure", "The user-assigned managed identity '" + s.Login.ResourceID + "' was not able to sign in.", complaint}
	}
	return err
}

// scriptCommand runs a command in a container with the script's directory, and returns its exit code and the last lines
// of its standard error.
func (a *Agent) scriptCommand(ctx context.Context, s *Script, dir, id string, args []string, log io.Writer) (code int, complaint []string, err error) {
	image, err := a.scriptImage()
	if err != nil {
		return 0, nil, err
	}
	spec := oci.Spec{ID: id, Netns: a.netns(), Hostname: a.hostname(), CABundle: a.cfg.CABundle, Nameservers: a.cfg.DNS, Search: a.cfg.Search,
		Args: args, WorkDir: dir, Cwd: path.Join(scriptMount, scriptInput), Layers: image.Layers, Limits: a.cfg.Limits,
		Mounts: []oci.Mount{{Source: dir, Target: scriptMount, Writable: true}}, Env: scriptEnvironment(s, image)}
	var out, complaints [2]*os.File
	for _, p := range []*[2]*os.File{&out, &complaints} {
		if p[0], p[1], err = os.Pipe(); err != nil {
			return 0, nil, err
		}
		defer p[0].Close()
		defer p[1].Close()
	}
	c, err := a.rt.Start(ctx, spec, oci.Stdio{Out: out[1], Err: complaints[1]})
	_, _ = out[1].Close(), complaints[1].Close()
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, c.Remove(context.WithoutCancel(ctx))) }()
	last := &lastLines{}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(log, out[0]) })
	wg.Go(func() { _, _ = io.Copy(io.MultiWriter(log, last), complaints[0]) })
	status, err := c.Wait(ctx)
	if err != nil {
		_, _ = c.Stop(context.WithoutCancel(ctx), 0)
	}
	wg.Wait() // nothing holds the pipes once the container has ended
	return status.Code, last.lines(), err
}

// scriptImage is the Azure CLI's environment, which stands before the host's /usr.
func (a *Agent) scriptImage() (Image, error) {
	if a.cfg.Script.Image == "" {
		return Image{}, nil
	}
	return a.cfg.image(a.cfg.Script.Image)
}

// scriptEnvironment is what Azure's images set, then the script's own variables, then what the script is told.
func scriptEnvironment(s *Script, image Image) []string {
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if p := image.Env["PATH"]; p != "" {
		search = p
	}
	env := map[string]string{"AZURE_CONFIG_DIR": scriptMount + "/azure", "AZURE_CORE_COLLECT_TELEMETRY": "false", "AZURE_CORE_NO_COLOR": "true"}
	for k, v := range image.Env {
		env[k] = v
	}
	for k, v := range s.Env {
		env[k] = v
	}
	env["PATH"] = scriptMount + "/bin:" + search
	for k, v := range map[string]string{
		"INPUT_DIRECTORY": scriptMount + "/" + scriptInput, "OUTPUT_DIRECTORY": scriptMount + "/" + scriptOutput,
		"USER_SCRIPT_FILE_NAME": scriptFile, "SCRIPT_OUTPUT_FILE_NAME": scriptOutputs,
		"PRIMARY_SCRIPT_URI_FILE_NAME": "primaryscripturi.config", "SUPPORTING_SCRIPT_URI_FILE_NAME": "supportingscripturi.config",
		"EXECUTION_RESULTS_FILE_NAME": "executionresult.json",
	} {
		env["AZ_SCRIPTS_PATH_"+k] = v
	}
	env["AZ_SCRIPTS_OUTPUT_PATH"] = scriptMount + "/" + scriptOutput + "/" + scriptOutputs
	if s.Login != nil {
		env["AZ_SCRIPTS_USER_ASSIGNED_IDENTITY"] = s.Login.ResourceID
	}
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

// readScriptOutputs reads what the script wrote to $AZ_SCRIPTS_OUTPUT_PATH; nil when there is no such file.
func readScriptOutputs(work *workDir) (json.RawMessage, error) {
	f, err := work.root.OpenFile(path.Join(scriptOutput, scriptOutputs), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	invalid := func(why string) error {
		return scriptFailure("DeploymentScriptInvalidOutputs", "The output of the deployment script is not a valid JSON object: %s", why)
	}
	if err != nil {
		return nil, invalid("the file could not be read.")
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, invalid("it is not a regular file.")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxScriptOutputs+1))
	if err != nil {
		return nil, invalid("the file could not be read.")
	}
	if len(b) > maxScriptOutputs {
		return nil, invalid(fmt.Sprintf("it has more than %d bytes.", maxScriptOutputs))
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return nil, invalid("its contents must be saved as key-value pairs.")
	}
	return json.Marshal(object)
}
