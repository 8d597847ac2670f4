package oci

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/compute"
)

func TestChooseIDs(t *testing.T) {
	for name, c := range map[string]struct {
		uids, gids string
		want       IDMap
	}{
		"root":                  {"0 0 4294967295", "0 0 4294967295", IDMap{1000000, 65536}},
		"subordinate ids":       {"0 1000 1\n1 100000 65536", "0 1000 1\n1 100000 65536", IDMap{1, 65536}},
		"few subordinate ids":   {"0 1000 1\n1 100000 1000", "0 1000 1\n1 100000 65536", IDMap{1, 1000}},
		"subordinate uids only": {"0 1000 1\n1 100000 65536", "0 1000 1", IDMap{0, 1}},
		"one id":                {"0 1000 1", "0 1000 1", IDMap{0, 1}},
		"in two parts":          {"1 100000 10\n0 1000 1\n11 200000 20", "0 0 100", IDMap{1, 30}},
	} {
		uids, err := parseExtents(strings.NewReader(c.uids))
		if err != nil {
			t.Fatal(err)
		}
		gids, err := parseExtents(strings.NewReader(c.gids))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, chooseIDs(uids, gids)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := parseExtents(strings.NewReader("0 x 1")); err == nil {
		t.Error("read nonsense")
	}
}

func TestLocateCgroups(t *testing.T) {
	for name, c := range map[string]struct {
		own, mounts string
		want        map[string]string
	}{
		"hybrid": {"4:memory:/a\n2:cpu,cpuacct:/\n0::/u\n",
			"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			map[string]string{"memory": "/sys/fs/cgroup/memory/a", "cpu": "/sys/fs/cgroup/cpu", "unified": "/sys/fs/cgroup/unified/u", "unified root": "/sys/fs/cgroup/unified"}},
		"v2": {"0::/user.slice/user-1000.slice/session-1.scope\n", "30 1 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
			map[string]string{"unified": "/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope", "unified root": "/sys/fs/cgroup"}},
		"v2, a part mounted": {"0::/docker/x\n", "30 1 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
			map[string]string{"unified": "/sys/fs/cgroup", "unified root": "/sys/fs/cgroup"}},
		"none": {"", "22 27 0:21 / /proc rw - proc proc rw\n", map[string]string{}},
	} {
		if d := cmp.Diff(c.want, locate(c.own, strings.NewReader(c.mounts))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestLimitValues(t *testing.T) {
	l := compute.Limits{MemoryBytes: 1 << 28, CPUs: 1.5, Pids: 64}
	values := func(unified bool) map[string]string {
		out := map[string]string{}
		for _, v := range (&cgroups{unified: unified}).values(l) {
			out[v.file] = v.value
		}
		return out
	}
	want := map[string]string{"memory.max": "268435456", "memory.swap.max": "0", "pids.max": "64", "cpu.max": "150000 100000"}
	if d := cmp.Diff(want, values(true)); d != "" {
		t.Error(d)
	}
	want = map[string]string{"memory.limit_in_bytes": "268435456", "memory.memsw.limit_in_bytes": "268435456", "pids.max": "64",
		"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}
	if d := cmp.Diff(want, values(false)); d != "" {
		t.Error(d)
	}
}

// TestConfigGolden: what every container has, as a person would check it.
func TestConfigGolden(t *testing.T) {
	s := &Spec{ID: "c", Args: []string{"python3", "x.py"}, WorkDir: "/data/work", Layers: []Mount{{Source: "/data/env", Target: "/opt/env"}},
		IDs: IDMap{1000000, 65536}, CABundle: "/data/ca.pem", Env: []string{"LANG=de", "A=b"}}
	c, err := config(s, hostLayout{links: map[string]string{"/bin": "usr/bin"}, binds: []string{"/etc/alternatives"}}, "/run/netns/nic", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range c.Linux.Namespaces {
		got = append(got, strings.TrimSpace("namespace "+string(n.Type)+" "+n.Path))
	}
	for _, m := range c.Mounts {
		got = append(got, strings.Join([]string{"mount", m.Destination, m.Type, m.Source, strings.Join(m.Options, ",")}, " "))
	}
	for _, e := range c.Process.Env {
		got = append(got, "env "+e)
	}
	got = append(got, "cwd "+c.Process.Cwd, "capabilities "+strings.Join(c.Process.Capabilities.Bounding, " "))
	text := strings.Join(got, "\n") + "\n"
	golden, err := os.ReadFile("testdata/config.txt")
	if err != nil || string(golden) != text {
		t.Errorf("testdata/config.txt differs (%v):\n%s", err, cmp.Diff(string(golden), text))
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile("testdata/config.txt", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !c.Process.NoNewPrivileges || !c.Root.Readonly || c.Linux.Seccomp == nil || c.Linux.Seccomp.DefaultAction != "SCMP_ACT_ERRNO" {
		t.Errorf("%+v", c.Process)
	}
	for _, call := range c.Linux.Seccomp.Syscalls {
		if call.Action == "SCMP_ACT_ALLOW" && slices.ContainsFunc([]string{"mount", "setns", "bpf", "unshare", "keyctl", "io_uring_setup"}, func(n string) bool { return slices.Contains(call.Names, n) }) {
			t.Errorf("allowed: %v", call.Names)
		}
	}
}

func TestReadLayout(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"usr/bin", "lib64", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin", filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	l, err := readLayout(root)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(l.links, map[string]string{"/bin": "usr/bin"}) || !slices.Equal(l.binds, []string{"/lib64"}) || l.cache != nil {
		t.Errorf("%+v", l)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a b) c) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, started, err := parseStat(b); err == nil && started == "" {
			t.Error("no start and no error")
		}
	})
}
