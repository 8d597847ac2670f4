package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sysctls sets the sysctls of a namespace; those that have the value already are left alone. A net.ipv6
// key may be missing: then there is no IPv6 to restrict.
func (d *Driver) sysctls(s *space, want *desired) error {
	if len(want.Sysctls) == 0 {
		return nil
	}
	return d.enter(s.fd, func() error {
		for _, key := range slices.Sorted(maps.Keys(want.Sysctls)) {
			if err := sysctl(key, want.Sysctls[key]); err != nil {
				return fmt.Errorf("sysctl %s of %s: %w", key, s.name, err)
			}
		}
		return nil
	})
}

// sysctl writes one key of the calling thread's namespace.
func sysctl(key, value string) error {
	if !strings.HasPrefix(key, "net.") || strings.Contains(key, "/") {
		return errors.New("not a key of a network namespace")
	}
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net.ipv6.") {
		return nil
	}
	if err != nil {
		return err
	}
	if strings.Join(strings.Fields(string(have)), " ") == value {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}
