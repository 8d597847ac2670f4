package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// engine is an OCI runtime program in the way in which it works on this host.
type engine struct {
	name    string // crun, runc
	path    string
	version string
	flags   []string
	// cover: hide /sys/fs/cgroup from it. crun fails on hosts that mount both versions of cgroups, though
	// it is told to manage none; runc fails when it finds none.
	cover bool
	// stage: show it the bundle at a path that everybody may walk. runc goes to the root by its whole path as
	// the container's user, who may not enter the region's data.
	stage bool
}

func (e engine) String() string { return e.version }

// launch is the launcher of one container, run by /bin/sh in a mount namespace of its own. It outlives
// the agent: it writes down who it is, enters the container's groups, runs the container and leaves its
// exit code as a file. Traps keep stray signals away without handing ignored ones down.
const launch = `trap : HUP INT TERM
dir=$1 state=$2 id=$3 cover=$4 stage=$5 engine=$6 flags=$7; shift 7
bundle=$dir
read -r self </proc/self/stat
printf '%s\n' "$self" >"$dir/launcher.new" && mv "$dir/launcher.new" "$dir/launcher" || exit 125
for procs; do echo $$ >"$procs" || exit 125; done
if [ "$cover" = yes ]; then
  mount -t tmpfs -o size=4k,mode=755 none /sys/fs/cgroup || exit 125
fi
if [ -n "$stage" ]; then
  exec 9<"$dir"
  mount -t tmpfs -o size=4k,mode=755 none "$stage" && mkdir "$stage/bundle" && mount --bind /proc/self/fd/9 "$stage/bundle" || exit 125
  exec 9<&-
  bundle=$stage/bundle
fi
"$engine" --root "$state" --log "$dir/engine.log" $flags run --bundle "$bundle" --pid-file "$dir/pid" "$id"
echo $? >"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"`

// candidates in the order in which they are tried.
func candidates() []engine {
	var out []engine
	for _, name := range []string{"crun", "runc"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		e := engine{name: name, path: path, version: version(path)}
		if name == "crun" {
			e.flags = []string{"--cgroup-manager=disabled"}
		} else {
			e.flags = []string{"--rootless=true"} // it manages control groups if it can, and is content if not
		}
		for _, stage := range []bool{false, true} {
			for _, cover := range []bool{name == "crun", name != "crun"} { // what is likely first
				e.stage, e.cover = stage, cover
				out = append(out, e)
			}
		}
	}
	return out
}

// stagePlace is a directory of the host on which the launcher, in its own mount namespace, may put the
// bundle: one that hides none of what the container needs.
func stagePlace(sources []string) (string, error) {
	for _, d := range []string{"/mnt", "/media", "/srv", "/dev/shm"} {
		if fi, err := os.Lstat(d); err != nil || !fi.IsDir() {
			continue
		}
		if _, hides := contains(d, sources); !hides {
			return d, nil
		}
	}
	return "", errors.New("no place to show the bundle to the container runtime (/mnt, /media, /srv or /dev/shm)")
}

func version(path string) string {
	b, err := exec.Command(path, "--version").Output()
	first, _, _ := bytes.Cut(b, []byte("\n"))
	if err != nil || len(first) == 0 {
		return filepath.Base(path)
	}
	return strings.Replace(strings.TrimSpace(string(first)), " version", "", 1)
}

// ErrNoEngine is what Open wraps when no OCI runtime works here; the message says what each of them said.
var ErrNoEngine = errors.New("no container runtime works on this machine (install crun or runc)")

// pickEngine runs /usr/bin/true in a container with each candidate; the first that does it is taken.
func (r *Runtime) pickEngine(ctx context.Context) error {
	var why []error
	for i, e := range candidates() {
		r.engine = e
		err := r.probe(ctx, fmt.Sprintf("probe-%d-%d", os.Getpid(), i))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		why = append(why, fmt.Errorf("%s: %w", e.version, err))
	}
	r.engine = engine{}
	return fmt.Errorf("%w: %w", ErrNoEngine, errors.Join(why...))
}

func (r *Runtime) probe(ctx context.Context, id string) (err error) {
	work, err := os.MkdirTemp(r.dir, ".probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	c, err := r.start(ctx, Spec{ID: id, Args: []string{"/usr/bin/true"}, WorkDir: work}, Stdio{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove(ctx)) }()
	st, err := c.Wait(ctx)
	if err != nil {
		return err
	}
	if st.Code != 0 {
		return fmt.Errorf("/usr/bin/true ended with %d", st.Code)
	}
	return nil
}
