package oci

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"vauban.dev/compute"
)

// Controllers that limits need.
var controllers = []string{"memory", "pids", "cpu"}

const cpuPeriod = 100_000 // µs, the kernel's default

// cgroups makes one control group a container, before it starts: the launcher enters it, so everything that
// it starts is in it. Neither runtime is asked to: on hosts that mount both versions they disagree.
type cgroups struct {
	parents map[string]string // controller → directory under which groups are made; absent: no such limit
	prefix  string            // of the names of groups: several runtimes of one host share the parents
	unified bool              // cgroup v2: the parents are one directory
	why     string            // why a controller is absent
}

// findCgroups looks for the groups of this process and tries which of them can have children of ours, for the
// runtime of a directory.
func findCgroups(proc, dir string) *cgroups {
	sum := sha256.Sum256([]byte(dir))
	cg := &cgroups{parents: map[string]string{}, prefix: "vauban-" + hex.EncodeToString(sum[:4]) + "-"}
	own, err := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		cg.why = err.Error()
		return cg
	}
	mi, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		cg.why = err.Error()
		return cg
	}
	defer mi.Close()
	places := locate(string(own), mi)
	for _, c := range controllers {
		if dir, ok := places[c]; ok {
			if err := tryV1(dir); err != nil {
				cg.why = err.Error()
				continue
			}
			cg.parents[c] = dir
		}
	}
	if len(cg.parents) > 0 {
		return cg
	}
	if dir, ok := places["unified"]; ok {
		cg.unified = true
		cg.findUnified(dir, places["unified root"])
	}
	if cg.why == "" && len(cg.parents) < len(controllers) {
		cg.why = "no control group of this host may be divided by this user"
	}
	return cg
}

// locate maps each v1 controller, and "unified", to the directory of the caller's own group.
func locate(own string, mountinfo io.Reader) map[string]string {
	group := map[string]string{} // controllers as listed → path
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if f[1] == "" {
			group["unified"] = f[2]
		}
		for c := range strings.SplitSeq(f[1], ",") {
			group[c] = f[2]
		}
	}
	out := map[string]string{}
	for sc := bufio.NewScanner(mountinfo); sc.Scan(); {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		root, at := f[3], f[4]
		dir := func(path string) string {
			rel, err := filepath.Rel(root, path)
			if err != nil || !filepath.IsLocal(rel) {
				rel = "." // our group is outside what is mounted
			}
			return filepath.Join(at, rel)
		}
		switch g[0] {
		case "cgroup2":
			out["unified"], out["unified root"] = dir(group["unified"]), at
		case "cgroup":
			for c := range strings.SplitSeq(g[2], ",") {
				if path, ok := group[c]; ok && slices.Contains(controllers, c) {
					out[c] = dir(path)
				}
			}
		}
	}
	return out
}

// makeProbe makes a group to look at.
func makeProbe(dir string) (string, error) {
	probe, err := os.MkdirTemp(dir, "vauban-probe-")
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = fmt.Errorf("no control group can be made in %s: %w", dir, pe.Err)
	}
	return probe, err
}

func tryV1(dir string) error {
	probe, err := makeProbe(dir)
	if err != nil {
		return err
	}
	defer os.Remove(probe)
	return unix.Access(filepath.Join(probe, "cgroup.procs"), unix.W_OK)
}

// findUnified goes up from the own group to the first that lets us make children with controllers. A
// group that has processes cannot (the root can), so it is usually a parent.
func (cg *cgroups) findUnified(own, root string) {
	for dir := own; ; dir = filepath.Dir(dir) {
		if enabled, err := tryUnified(dir); err != nil {
			cg.why = err.Error()
		} else if len(enabled) > 0 {
			for _, c := range enabled {
				cg.parents[c] = dir
			}
			return
		}
		if dir == root || !strings.HasPrefix(dir, root) {
			return
		}
	}
}

func tryUnified(dir string) ([]string, error) {
	probe, err := makeProbe(dir)
	if err != nil {
		return nil, err
	}
	defer os.Remove(probe)
	// Processes may only be moved by one who may write to the common ancestor's list.
	if err := unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	for _, c := range controllers {
		// Refused when it is not available or already on: what counts is read below.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	have, err := os.ReadFile(filepath.Join(probe, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range strings.Fields(string(have)) {
		if slices.Contains(controllers, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func (cg *cgroups) has(controller string) bool { return cg.parents[controller] != "" }

// dirs are the distinct directories of one container's groups.
func (cg *cgroups) dirs(id string) []string {
	var out []string
	for _, p := range cg.parents {
		if d := filepath.Join(p, cg.prefix+id); !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// create makes the groups with their limits and returns the files to which the launcher writes its pid.
func (cg *cgroups) create(id string, l compute.Limits) (procs []string, err error) {
	for _, d := range cg.dirs(id) {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		procs = append(procs, filepath.Join(d, "cgroup.procs"))
	}
	for _, v := range cg.values(l) {
		if !cg.has(v.controller) {
			continue
		}
		file := filepath.Join(cg.parents[v.controller], cg.prefix+id, v.file)
		if err := os.WriteFile(file, []byte(v.value), 0); err != nil && !(v.optional && errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("limit: %w", err)
		}
	}
	return procs, nil
}

type cgroupValue struct {
	controller, file, value string
	optional                bool // a kernel without swap accounting has no such file
}

func (cg *cgroups) values(l compute.Limits) []cgroupValue {
	var out []cgroupValue
	if l.MemoryBytes > 0 {
		n := strconv.FormatInt(l.MemoryBytes, 10)
		if cg.unified {
			out = append(out, cgroupValue{"memory", "memory.max", n, false}, cgroupValue{"memory", "memory.swap.max", "0", true})
		} else {
			out = append(out, cgroupValue{"memory", "memory.limit_in_bytes", n, false}, cgroupValue{"memory", "memory.memsw.limit_in_bytes", n, true})
		}
	}
	if l.Pids > 0 {
		out = append(out, cgroupValue{"pids", "pids.max", strconv.FormatInt(l.Pids, 10), false})
	}
	if l.CPUs > 0 {
		quota := max(1000, int64(l.CPUs*cpuPeriod))
		if cg.unified {
			out = append(out, cgroupValue{"cpu", "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod), false})
		} else {
			out = append(out, cgroupValue{"cpu", "cpu.cfs_period_us", strconv.Itoa(cpuPeriod), false},
				cgroupValue{"cpu", "cpu.cfs_quota_us", strconv.FormatInt(quota, 10), false})
		}
	}
	return out
}

// killed tells whether the kernel ended a process of the container for want of memory; code is how the
// container ended.
func (cg *cgroups) killed(id string, code int) bool {
	if !cg.has("memory") {
		return false
	}
	group := filepath.Join(cg.parents["memory"], cg.prefix+id)
	if cg.unified {
		return counter(group, "memory.events", "oom_kill ") > 0
	}
	// Version 1 counts kills in the group of the victim alone, and a runtime may have made one below ours.
	return counter(group, "memory.oom_control", "oom_kill ") > 0 ||
		code == 128+int(unix.SIGKILL) && counter(group, "memory.max_usage_in_bytes", "") >= counter(group, "memory.limit_in_bytes", "")
}

// counter reads the number after key in a file of a group; 0 if there is none.
func counter(group, file, key string) int64 {
	b, err := os.ReadFile(filepath.Join(group, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), key); ok {
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
	}
	return 0
}

// remove removes the groups. The last process of a container leaves its group a moment after it has
// been reaped, so a busy group is tried again.
func (cg *cgroups) remove(ctx context.Context, id string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for _, d := range cg.dirs(id) {
		for range 500 {
			err := os.Remove(d)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return nil
}
