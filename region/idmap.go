package region

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// idRange maps Size ids from Inside the region to Outside.
type idRange struct{ Inside, Outside, Size uint32 }

// idMaps is what the user namespace of a region maps.
type idMaps struct {
	uid, gid []idRange
	// helpers: written by newuidmap and newgidmap, which alone may map the subordinate ids of a user.
	helpers bool
}

// subIDs is how many subordinate ids a rootless region takes: all of Unix's first 16 bits.
const subIDs = 65536

// mapsForUser decides the maps. Root keeps every id it has: files, and their owners, look as outside.
// A user is the region's root; with subordinate ids (subuid(5)) and their helpers installed the region
// has more ids than this one, so that a container's root is somebody else than the region's.
func mapsForUser() (idMaps, error) {
	if os.Geteuid() == 0 {
		uid, err := identity("/proc/self/uid_map")
		if err != nil {
			return idMaps{}, err
		}
		gid, err := identity("/proc/self/gid_map")
		return idMaps{uid: uid, gid: gid}, err
	}
	m := idMaps{
		uid: []idRange{{0, uint32(os.Geteuid()), 1}},
		gid: []idRange{{0, uint32(os.Getegid()), 1}},
	}
	if lookTool("newuidmap") == "" || lookTool("newgidmap") == "" {
		return m, nil
	}
	subuid, err := subRange("/etc/subuid")
	if err != nil {
		return idMaps{}, err
	}
	subgid, err := subRange("/etc/subgid")
	if err != nil {
		return idMaps{}, err
	}
	if subuid.Size == 0 || subgid.Size == 0 {
		return m, nil
	}
	m.uid, m.gid, m.helpers = append(m.uid, subuid), append(m.gid, subgid), true
	return m, nil
}

// identity maps what the map at path maps, to itself.
func identity(path string) ([]idRange, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	have, err := parseIDMap(b)
	for i := range have {
		have[i].Outside = have[i].Inside
	}
	return have, err
}

// parseIDMap reads the form of /proc/PID/uid_map (user_namespaces(7)).
func parseIDMap(b []byte) ([]idRange, error) {
	var out []idRange
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("id map: %q", line)
		}
		var v [3]uint32
		for i, s := range f {
			n, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("id map: %w", err)
			}
			v[i] = uint32(n)
		}
		out = append(out, idRange{v[0], v[1], v[2]})
	}
	if len(out) == 0 {
		return nil, errors.New("this user namespace maps no ids")
	}
	return out, nil
}

// subRange is the first range of subIDs subordinate ids that path (subuid(5), subgid(5)) gives to this
// user, as ids 1 and up of the region; zero if there is none.
func subRange(path string) (idRange, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return idRange{}, nil
	}
	if err != nil {
		return idRange{}, err
	}
	defer f.Close()
	uid := strconv.Itoa(os.Geteuid())
	names := []string{uid}
	if u, err := user.LookupId(uid); err == nil {
		names = append(names, u.Username)
	}
	return parseSubIDs(f, names)
}

func parseSubIDs(r io.Reader, names []string) (idRange, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 || f[0] != names[0] && f[0] != names[len(names)-1] {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || count < subIDs || first == 0 || first+subIDs > 1<<32-1 {
			continue
		}
		return idRange{1, uint32(first), subIDs}, nil
	}
	return idRange{}, lines.Err()
}

// write gives pid's new user namespace its maps.
func (m idMaps) write(pid int) error {
	if m.helpers {
		return errors.Join(runMapHelper("newuidmap", pid, m.uid), runMapHelper("newgidmap", pid, m.gid))
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	if os.Geteuid() != 0 { // the price of mapping one's own group without privilege
		if err := os.WriteFile(proc+"setgroups", []byte("deny"), 0); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(proc+"uid_map", formatIDMap(m.uid), 0),
		os.WriteFile(proc+"gid_map", formatIDMap(m.gid), 0))
}

func formatIDMap(ranges []idRange) []byte {
	var b bytes.Buffer
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.Inside, r.Outside, r.Size)
	}
	return b.Bytes()
}

func runMapHelper(tool string, pid int, ranges []idRange) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(string(formatIDMap(ranges)))...)
	out, err := exec.Command(lookTool(tool), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, bytes.TrimSpace(out))
	}
	return nil
}
