package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// upWithImage starts a region that has an environment for jobs: beside the host's /usr, this package's own
// programs.
func (g *ground) upWithImage() {
	g.t.Helper()
	dir := filepath.Join(filepath.Dir(g.dir), "image", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	for name := range programs {
		if err := os.Link(filepath.Join(bin, "e2e"), filepath.Join(dir, name)); err != nil {
			g.t.Fatal(err)
		}
	}
	g.up("--image", imageName+"="+filepath.Dir(dir))
}

// environment registers the image in the workspace.
func (w *world) environment() {
	w.t.Helper()
	w.put(w.workspace+"/environments/e2e/versions/1", vML, obj{"properties": obj{"image": imageName}})
}

// submit puts a command job.
func (w *world) submit(name, command string, more obj) {
	w.t.Helper()
	p := obj{"jobType": "Command", "command": command, "computeId": w.cluster, "environmentId": w.workspace + "/environments/e2e/versions/1", "experimentName": "e2e"}
	for k, v := range more {
		p[k] = v
	}
	if a := w.send(request{Method: "PUT", URL: w.workspace + "/jobs/" + name + "?api-version=" + vML, Body: jsonBody(obj{"properties": p})}); !a.ok() {
		w.t.Fatalf("job %s: %s", name, a)
	}
}

func (w *world) jobStatus(name string) string {
	w.t.Helper()
	a := w.send(request{Method: "GET", URL: w.workspace + "/jobs/" + name + "?api-version=" + vML})
	var job obj
	if err := a.json(&job); err != nil || !a.ok() {
		w.t.Fatalf("job %s: %s", name, a)
	}
	return w.text(job, "properties.status")
}

// ended waits for the end of a job and returns its status.
func (w *world) ended(name string) (status string) {
	w.t.Helper()
	w.eventually("job "+name+" ends", func() bool {
		status = w.jobStatus(name)
		return status == "Completed" || status == "Failed" || status == "Canceled"
	})
	return status
}

// completed waits for a job and fails the test, with its log, when it did not complete.
func (w *world) completed(name string) {
	w.t.Helper()
	if s := w.ended(name); s != "Completed" {
		w.t.Fatalf("job %s is %s; its log:\n%s", name, s, w.artifact(name, "user_logs/std_log.txt"))
	}
}

// artifact reads a file of a run, from the jump box: the account is closed to the internet.
func (w *world) artifact(run, path string) string {
	w.t.Helper()
	a, err := w.sendFrom("hub/jumpbox", "GET", "https://"+blobHost+"/azureml/ExperimentRun/dcid."+run+"/"+path)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.Status == http.StatusNotFound {
		return ""
	}
	if !a.ok() {
		w.t.Fatalf("%s of %s: %s", path, run, a)
	}
	return string(a.Body)
}

// gate is a program at the jump box that one job calls: what the job says comes out of it, and the job waits
// for what is said to it. The connection goes from NIC to NIC.
type gate struct {
	w     *world
	addr  string
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func (w *world) gate() *gate {
	w.t.Helper()
	cmd := w.at("hub/jumpbox", "probe", "gate")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	g := &gate{w: w, stdin: stdin, lines: w.start(cmd)}
	g.addr = g.hear()
	return g
}

// hear waits for a line of the job.
func (g *gate) hear() string {
	g.w.t.Helper()
	if !g.lines.Scan() {
		g.w.t.Fatalf("the job's connection has ended: %v", g.lines.Err())
	}
	return g.lines.Text()
}

// say gives the job a line.
func (g *gate) say(line string) {
	g.w.t.Helper()
	if _, err := fmt.Fprintln(g.stdin, line); err != nil {
		g.w.t.Fatal(err)
	}
}

// command of a job that calls the gate, tells its answers to what it is asked, and ends when it is told.
func (g *gate) command(mark string) string {
	host, port, _ := strings.Cut(g.addr, ":")
	return fmt.Sprintf(`exec 3<>/dev/tcp/%s/%s; echo "here %s" >&3
while read -r line <&3; do echo "heard $line"; [ "$line" = end ] && break; echo "answer $line" >&3; done
mkdir -p outputs; echo "result of %s" >outputs/result.txt`, host, port, mark, mark)
}

// process is a process of this machine, which is told from a later one with the same id.
type process struct {
	pid     int
	started string
	netns   string
}

// processOf finds the one whose command line has a mark in it, and whose parent's has not: the job itself, not
// what starts it.
func (g *ground) processOf(mark string) process {
	g.t.Helper()
	found := map[int]process{}
	parents := map[int]int{}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(line), mark) {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parents[pid], _ = strconv.Atoi(f[1])
		ns, err := os.Readlink(dir + "/ns/net")
		if err != nil {
			continue
		}
		found[pid] = process{pid, f[19], ns}
	}
	for pid, p := range found {
		if _, below := found[parents[pid]]; !below {
			return p
		}
	}
	g.t.Fatalf("no process with %s in its command line", mark)
	return process{}
}

// namespaces are the inode numbers of the region's network namespaces, by name.
func (g *ground) namespaces() map[string]string {
	g.t.Helper()
	holder := strconv.Itoa(g.status().Holder)
	cmd := exec.Command("nsenter", "-t", holder, "-U", "-m", "--preserve-credentials", "--", "sh", "-c", "stat -L -c '%n %i' /run/netns/*")
	cmd.Env, cmd.SysProcAttr = g.command().Env, g.command().SysProcAttr
	out, err := g.output(cmd)
	if err != nil {
		g.t.Fatal(err)
	}
	ns := map[string]string{}
	for line := range strings.Lines(out) {
		name, inode, _ := strings.Cut(strings.TrimSpace(line), " ")
		ns[name] = inode
	}
	return ns
}
