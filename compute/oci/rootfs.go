package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hostLayout is how the host's root refers to its /usr: Debian's merged-usr has symbolic links, others have
// directories of their own.
type hostLayout struct {
	links map[string]string // "/bin" → "usr/bin"
	binds []string          // directories of the host that are bound read-only at the same place
	cache []byte            // ld.so.cache: without it only libraries in the default directories are found
}

// readLayout looks at the host's root (tests pass another one).
func readLayout(root string) (hostLayout, error) {
	l := hostLayout{links: map[string]string{}}
	for _, d := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		fi, err := os.Lstat(filepath.Join(root, d))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return l, err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			l.binds = append(l.binds, d)
			continue
		}
		if l.links[d], err = os.Readlink(filepath.Join(root, d)); err != nil {
			return l, err
		}
	}
	// Neither holds a secret: the alternatives are symbolic links into /usr, the cache names libraries.
	if fi, err := os.Stat(filepath.Join(root, "/etc/alternatives")); err == nil && fi.IsDir() {
		l.binds = append(l.binds, "/etc/alternatives")
	}
	var err error
	if l.cache, err = os.ReadFile(filepath.Join(root, "/etc/ld.so.cache")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	return l, nil
}

// makeRoot makes the container's root directory below dir/rootfs: mount points, links, an /etc of its own.
func makeRoot(dir string, s *Spec, host hostLayout) error {
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"usr", "etc/ssl/certs", "tmp", "proc", "sys", "dev", "run", "root", "work", "opt", "mnt", "home", "var/lib", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"var/tmp", "/tmp"}, {"var/run", "/run"}, {"etc/mtab", "/proc/self/mounts"}} {
		if err := os.Symlink(l[1], filepath.Join(root, l[0])); err != nil {
			return err
		}
	}
	for at, to := range host.links {
		if err := os.Symlink(to, filepath.Join(root, at)); err != nil {
			return err
		}
	}
	if err := writeEtc(filepath.Join(root, "etc"), s, host.cache); err != nil {
		return err
	}
	for _, m := range host.binds {
		if err := mountPoint(root, Mount{Source: m, Target: m}); err != nil {
			return err
		}
	}
	for _, ms := range [][]Mount{s.Layers, s.Mounts} {
		for _, m := range ms {
			if err := mountPoint(root, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeEtc(etc string, s *Spec, cache []byte) error {
	files := map[string]string{
		"passwd":        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
		"group":         "root:x:0:\nnogroup:x:65534:\n",
		"hosts":         fmt.Sprintf("127.0.0.1\tlocalhost %s\n", hostname(s)),
		"hostname":      hostname(s) + "\n",
		"resolv.conf":   resolvConf(s),
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	}
	if len(cache) > 0 {
		files["ld.so.cache"] = string(cache)
	}
	if s.CABundle != "" {
		pem, err := os.ReadFile(s.CABundle)
		if err != nil {
			return fmt.Errorf("CA bundle: %w", err)
		}
		// OpenSSL's default file and default directory, and everybody else's path.
		files["ssl/certs/ca-certificates.crt"], files["ssl/cert.pem"] = string(pem), string(pem)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func resolvConf(s *Spec) string {
	var b strings.Builder
	servers := s.Nameservers
	if len(servers) == 0 {
		servers = []netip.Addr{netip.AddrFrom4([4]byte{168, 63, 129, 16})}
	}
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if s.Search != "" {
		fmt.Fprintf(&b, "search %s\n", s.Search)
	}
	return b.String()
}

// mountPoint makes the directory or empty file that m is mounted on. Below /work nothing can be made
// before /work is mounted: the runtime does that.
func mountPoint(root string, m Mount) error {
	if rel, err := filepath.Rel("/work", m.Target); err == nil && filepath.IsLocal(rel) {
		return nil
	}
	fi, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	at := filepath.Join(root, m.Target)
	if fi.IsDir() {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o644)
}

func writeConfig(dir string, c *specs.Spec) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
}
