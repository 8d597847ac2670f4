package compute

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Places inside a task's container. A task sees nothing else that can be written, but /tmp, /run and
// its home.
const (
	WorkPath    = "/work"         // the task's own directory, kept while it runs
	CodePath    = "/work/code"    // the code snapshot and the working directory of the command
	InputsPath  = "/work/inputs"  // one entry an input, by its name
	OutputsPath = "/work/outputs" // one directory an output, by its name
)

// Task is all that a node needs to run one job: the batch service sends it, the node agent executes
// it. Substitution of ${{inputs.x}} has been done by the sender. It travels as JSON.
type Task struct {
	// ID is unique in the region: a run id, of letters, digits, '.', '_' and '-', 255 at most.
	ID string `json:"id"`
	// Command is run by /bin/bash -c in CodePath.
	Command string `json:"command"`
	// Env is added to the container's own variables; Secrets too, and their values are never logged.
	Env     map[string]string `json:"env,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"`
	// Image names the environment; the node's configuration maps it to read-only directories. ""
	// is the node's default image.
	Image string `json:"image,omitempty"`
	// Code is downloaded below CodePath, Inputs below InputsPath, before the command starts.
	Code   []File  `json:"code,omitempty"`
	Inputs []Input `json:"inputs,omitempty"`
	// Outputs are uploaded after the command has ended, also when it failed.
	Outputs []Output `json:"outputs,omitempty"`
	Logs    Logs     `json:"logs"`
	// Timeout ends the command, first SIGTERM, after Grace SIGKILL. Zero: none. Grace zero: 30 s.
	Timeout Duration `json:"timeout,omitempty"`
	Grace   Duration `json:"grace,omitempty"`
	Limits  Limits   `json:"limits"`
	// Identity is the managed identity whose token (by IMDS on the node's NIC) opens every URL below
	// that carries no SAS. Nil: such a URL is asked without a token.
	Identity *Identity `json:"identity,omitempty"`
}

// File is one blob, or with Folder all blobs below a prefix. URL is the blob's address
// (https://account.blob.core.windows.net/container/name), with or without a SAS. Path is where it
// goes, relative to the place that the field says.
type File struct {
	URL    string `json:"url"`
	Path   string `json:"path,omitempty"`
	Folder bool   `json:"folder,omitempty"`
}

// Input is data that is there before the command starts. With Folder, InputsPath/Name is a directory;
// without, InputsPath/Name/<File.Path> is the file (uri_file; Path "" takes the blob's last segment).
type Input struct {
	Name string `json:"name"`
	File
}

// Output is a directory whose files are uploaded below URL (a container or a prefix in it). Dir is
// relative to CodePath ("outputs" for Azure ML's ./outputs) or, when empty, is OutputsPath/Name.
type Output struct {
	Name string `json:"name"`
	Dir  string `json:"dir,omitempty"`
	URL  string `json:"url"`
}

// Logs is where the logs go, as blobs below URL: user_logs/std_log.txt while the command runs,
// system_logs/lifecycler/lifecycler.log at each step. An empty URL keeps them on the node only.
type Logs struct {
	URL string `json:"url,omitempty"`
}

// Limits of a container; zero is no limit of ours.
type Limits struct {
	MemoryBytes int64   `json:"memoryBytes,omitempty"`
	CPUs        float64 `json:"cpus,omitempty"`
	Pids        int64   `json:"pids,omitempty"`
}

// Identity is a managed identity of the node. ClientID "" is the only or system-assigned one.
type Identity struct {
	ClientID string `json:"clientId,omitempty"`
}

// Duration travels as text ("1h30m"), as a person can read it.
type Duration time.Duration

// MarshalText writes time.Duration's own form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// ErrInvalid is what Task.Validate wraps.
var ErrInvalid = errors.New("invalid task")

var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$`)
	envForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

// ValidID tells whether s can be a task's, a node's or a container's id; such an id is also a safe
// file name.
func ValidID(s string) bool { return idForm.MatchString(s) }

// Validate checks what can be checked without the node: an agent refuses a task that is not valid,
// whoever sent it, because its paths become paths of the node. Errors wrap ErrInvalid.
func (t *Task) Validate() error {
	if !ValidID(t.ID) {
		return fmt.Errorf("%w: id %q", ErrInvalid, t.ID)
	}
	if strings.TrimSpace(t.Command) == "" {
		return fmt.Errorf("%w: no command", ErrInvalid)
	}
	if t.Timeout < 0 || t.Grace < 0 || t.Limits.MemoryBytes < 0 || t.Limits.CPUs < 0 || t.Limits.Pids < 0 {
		return fmt.Errorf("%w: a negative limit", ErrInvalid)
	}
	for _, env := range []map[string]string{t.Env, t.Secrets} {
		for _, k := range slices.Sorted(maps.Keys(env)) {
			if !envForm.MatchString(k) || strings.ContainsRune(env[k], 0) {
				return fmt.Errorf("%w: environment variable %q", ErrInvalid, k)
			}
		}
	}
	for _, f := range t.Code {
		if err := f.validate(f.Folder); err != nil {
			return err
		}
	}
	for _, in := range t.Inputs {
		if !nameForm.MatchString(in.Name) {
			return fmt.Errorf("%w: input name %q", ErrInvalid, in.Name)
		}
		if err := in.validate(true); err != nil {
			return err
		}
	}
	for _, o := range t.Outputs {
		if !nameForm.MatchString(o.Name) || (o.Dir != "" && !local(o.Dir)) {
			return fmt.Errorf("%w: output %q in %q", ErrInvalid, o.Name, o.Dir)
		}
		if err := checkURL(o.URL); err != nil {
			return err
		}
	}
	if t.Logs.URL != "" {
		return checkURL(t.Logs.URL)
	}
	return nil
}

func (f File) validate(pathOptional bool) error {
	if f.Path == "" && !pathOptional || f.Path != "" && !local(f.Path) {
		return fmt.Errorf("%w: path %q", ErrInvalid, f.Path)
	}
	return checkURL(f.URL)
}

// local: a clean relative path that stays below where it starts.
func local(p string) bool {
	return p != "" && path.Clean(p) == p && !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../") &&
		!strings.ContainsRune(p, 0)
}

// checkURL does not show the URL: its query may be a SAS.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return fmt.Errorf("%w: not the URL of a blob", ErrInvalid)
	}
	return nil
}
