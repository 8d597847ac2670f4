// Package oci runs one container on this machine's kernel with an OCI runtime (crun, else runc), from a
// bundle that it makes itself: the host's /usr read-only, a fresh root around it, one directory that can
// be written, and the network namespace of one NIC. A nested user namespace is always made, so that root
// in the container has no power over anything outside it, its own NIC included.
//
// The package works as root and in the user namespace of an ordinary user. What holds in which case is
// said by Runtime.Isolation, honestly.
package oci

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vauban.dev/compute"
)

// OwnNetns is the Spec.Netns of a caller that already runs in the NIC's network namespace.
const OwnNetns = "/proc/self/ns/net"

// Where the trusted certificates are in the container.
const caPath = "/etc/ssl/certs/ca-certificates.crt"

// Spec says what one container is. Nothing in it is interpreted by a shell.
type Spec struct {
	ID    string   // compute.ValidID; a second container of the same id is refused while the first has not been removed
	Netns string   // path of the network namespace; required
	Args  []string // Args[0] is looked up in the container's PATH
	Env   []string // "K=V", added to and winning over the base variables (PATH, HOME, LANG, certificates)
	Cwd   string   // absolute; "" is /work
	// WorkDir of the host is bound read-write at /work and given to the container's root.
	WorkDir string
	Layers  []Mount // read-only directories of the environment, for instance at /opt/env; their bin goes first in PATH
	Mounts  []Mount // other directories and files
	Limits  compute.Limits
	// Hostname of the container; "" is ID.
	Hostname string
	// Nameservers of resolv.conf, in order; none is Azure's 168.63.129.16. Search is its search domain, "" for none.
	Nameservers []netip.Addr
	Search      string
	// CABundle is the PEM file of the certificates that the container trusts, "" for none.
	CABundle string
	// IDs maps the container's users; the zero value lets the runtime choose (Runtime.IDs).
	IDs IDMap
	// Terminal: the standard streams are a terminal, which the command shall control.
	Terminal bool
}

// Mount binds Source of the host at Target (absolute) in the container.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Writable bool   `json:"writable,omitempty"` // ignored for layers
}

// IDMap maps users and groups 0 to Size-1 of the container to Host and following, as they are numbered in
// the caller's user namespace.
type IDMap struct {
	Host uint32 `json:"host"`
	Size uint32 `json:"size"`
}

// ErrSpec is what errors about a Spec wrap.
var ErrSpec = errors.New("container specification")

// Directories of the host that are never bound whole, whatever a configuration says.
var never = []string{"/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/var", "/var/lib", "/var/run"}

// Targets that the bundle makes itself.
var reserved = []string{"/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/work"}

// check returns the reason why s cannot be run. hidden are directories that no container may see.
func (s *Spec) check(hidden []string) error {
	if !compute.ValidID(s.ID) {
		return fmt.Errorf("%w: id %q", ErrSpec, s.ID)
	}
	if s.Netns == "" {
		return fmt.Errorf("%w: no network namespace", ErrSpec)
	}
	if len(s.Args) == 0 || s.Args[0] == "" {
		return fmt.Errorf("%w: nothing to run", ErrSpec)
	}
	if s.Cwd != "" && !path.IsAbs(s.Cwd) {
		return fmt.Errorf("%w: working directory %q is not absolute", ErrSpec, s.Cwd)
	}
	if s.WorkDir == "" {
		return fmt.Errorf("%w: no work directory", ErrSpec)
	}
	if slices.ContainsFunc(s.Env, func(e string) bool { return strings.IndexByte(e, '=') < 1 }) {
		return fmt.Errorf("%w: an environment variable without a name or value", ErrSpec)
	}
	if err := checkSource(s.WorkDir, hidden); err != nil {
		return err
	}
	for _, m := range slices.Concat(s.Layers, s.Mounts) {
		if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || slices.Contains(reserved, m.Target) {
			return fmt.Errorf("%w: mount target %q", ErrSpec, m.Target)
		}
		if err := checkSource(m.Source, hidden); err != nil {
			return err
		}
	}
	return nil
}

// checkSource refuses a source that is, or contains, something no container may see.
func checkSource(source string, hidden []string) error {
	if !filepath.IsAbs(source) {
		return fmt.Errorf("%w: mount source %q is not absolute", ErrSpec, source)
	}
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		return fmt.Errorf("%w: mount source: %w", ErrSpec, err)
	}
	if slices.Contains(never, real) {
		return fmt.Errorf("%w: %s of the host is never given to a container", ErrSpec, real)
	}
	if h, ok := contains(real, hidden); ok {
		return fmt.Errorf("%w: mount source %s would show %s", ErrSpec, real, h)
	}
	return nil
}

// contains returns the first of hidden that is dir or lies below it.
func contains(dir string, hidden []string) (string, bool) {
	for _, h := range hidden {
		if rel, err := filepath.Rel(dir, h); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return h, true
		}
	}
	return "", false
}
