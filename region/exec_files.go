package region

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// bind is a file bound over another.
type bind struct{ source, target string }

// bundlePaths are where distributions keep the bundle of certificate authorities.
var bundlePaths = []string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
	"/etc/ssl/ca-bundle.pem",             // openSUSE
	"/etc/ssl/cert.pem",                  // Alpine
}

// SystemBundle reads the machine's certificate authorities, PEM.
func SystemBundle() ([]byte, error) {
	for _, p := range bundlePaths {
		b, err := os.ReadFile(p)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, errors.New("no bundle of certificate authorities on this machine: install ca-certificates")
}

// placeBinds lists what is bound at a place. Files that the machine does not have need no cover, but
// without resolv.conf a resolver asks 127.0.0.1.
func placeBinds(dir string, where PlaceResult) ([]bind, error) {
	resolv, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("/etc/resolv.conf leads nowhere (%w): make it a file, the place's name server is bound over it", err)
	}
	own, err := writeOwnFiles(filepath.Join(dir, "exec"))
	if err != nil {
		return nil, err
	}
	binds := []bind{{where.ResolvConf, resolv}}
	covered := map[string]bool{resolv: true}
	cover := func(source, target string) {
		target, err := filepath.EvalSymlinks(target)
		if err != nil || covered[target] {
			return
		}
		covered[target] = true
		binds = append(binds, bind{source, target})
	}
	for _, p := range bundlePaths {
		cover(where.Bundle, p)
	}
	for target, source := range own {
		cover(source, target)
	}
	return binds, nil
}

// writeOwnFiles makes the files that keep name resolution inside the place: no names of the machine's
// hosts file, and no resolver but DNS, as the machine's resolver daemons are reached by unix sockets,
// which no network namespace stops. It returns target → source.
func writeOwnFiles(dir string) (map[string]string, error) {
	nss, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	empty := filepath.Join(dir, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return nil, err
	}
	own := map[string]string{
		"/etc/nsswitch.conf": filepath.Join(dir, "nsswitch.conf"),
		"/etc/hosts":         filepath.Join(dir, "hosts"),
	}
	err = errors.Join(
		writeChanged(own["/etc/nsswitch.conf"], dnsOnly(nss)),
		writeChanged(own["/etc/hosts"], fmt.Appendf(nil, "127.0.0.1 localhost %s\n::1 localhost\n", host)))
	own["/run/nscd"], own["/var/run/nscd"] = empty, empty
	return own, err
}

// dnsOnly is nsswitch.conf(5) with host names from files and DNS alone.
func dnsOnly(nss []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(nss)) {
		if name, _, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "hosts" {
			continue
		}
		out.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	out.WriteString("hosts: files dns\n")
	return out.Bytes()
}

// writeChanged writes a file in one step, unless it holds b already: another exec may be reading it.
func writeChanged(path string, b []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, b) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
