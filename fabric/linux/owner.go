package linux

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/fabric"
)

// SocketID is a flow as one of its ends sees it. Remote may be zero for UDP.
type SocketID struct {
	Protocol      fabric.Protocol
	Local, Remote netip.AddrPort
}

// Owners tells which processes hold the sockets of flows that begin at a place: the name of each as the kernel has it
// (comm), with the script that an interpreter runs; "" of a flow whose socket is gone, or that is the kernel's own.
// ErrNoNamespace.
func (d *Driver) Owners(at fabric.Place, flows []SocketID) ([]string, error) {
	ns, err := d.open(fabric.NSName(at))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return d.owners(ns, flows, nil), nil
}

// Processes tells which processes have sockets, by inode: those of a network namespace, by the name that /proc has for it.
// "" is of a socket that no process has which this one may see.
type Processes func(space string, inodes []string) (names []string)

// lookups is how often a socket's process is looked for: one that hands its socket on to a process which came after the
// list of processes was made is found by the next.
const lookups = 2

// owners looks for processes itself first, then asks others.
func (d *Driver) owners(ns *os.File, flows []SocketID, others []Processes) []string {
	owners := make([]string, len(flows))
	if len(flows) == 0 {
		return owners
	}
	inodes, space, err := d.inodes(ns, flows)
	if err != nil {
		d.log.Warn("the sockets of a place are not known", "error", err)
	}
	for _, find := range append(slices.Repeat([]Processes{VisibleProcesses}, lookups), others...) {
		var missing []string
		for i, inode := range inodes {
			if inode != "" && owners[i] == "" && !slices.Contains(missing, inode) {
				missing = append(missing, inode)
			}
		}
		if len(missing) == 0 {
			break
		}
		names := find(space, missing)
		for i, inode := range inodes {
			if at := slices.Index(missing, inode); owners[i] == "" && at >= 0 && at < len(names) {
				owners[i] = names[at]
			}
		}
	}
	return owners
}

// inodes are those of the flows' sockets, "" of what has none, and the namespace as /proc names it.
func (d *Driver) inodes(ns *os.File, flows []SocketID) (inodes []string, space string, err error) {
	inodes = make([]string, len(flows))
	err = d.enter(ns, func() (err error) {
		if space, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		for file, protocol := range map[string]fabric.Protocol{"tcp": fabric.TCP, "tcp6": fabric.TCP, "udp": fabric.UDP, "udp6": fabric.UDP} {
			if !slices.ContainsFunc(flows, func(f SocketID) bool { return f.Protocol == protocol }) {
				continue
			}
			f, err := os.Open("/proc/thread-self/net/" + file)
			if err != nil {
				continue // a kernel without IPv6
			}
			err = findSockets(f, protocol, flows, inodes)
			f.Close()
			if err != nil {
				return fmt.Errorf("/proc/net/%s: %w", file, err)
			}
		}
		return nil
	})
	return inodes, space, err
}

// VisibleProcesses looks at the processes that /proc shows here.
func VisibleProcesses(space string, inodes []string) []string {
	names := make([]string, len(inodes))
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return names
	}
	for _, p := range processes {
		if link, err := os.Readlink(p + "/ns/net"); err != nil || link != space {
			continue // another place's, or one that has ended
		}
		fds, err := os.ReadDir(p + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			link, err := os.Readlink(p + "/fd/" + fd.Name())
			if i := slices.Index(inodes, strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")); err == nil && i >= 0 && names[i] == "" {
				names[i] = processName(p)
			}
		}
	}
	return names
}

var _ Processes = VisibleProcesses

// findSockets reads one of /proc/net's tables (proc(5)) and notes the inodes of the flows' sockets.
func findSockets(r io.Reader, protocol fabric.Protocol, flows []SocketID, inodes []string) error {
	lines := bufio.NewScanner(r)
	lines.Scan() // the head
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[9] == "0" {
			continue
		}
		local, ok1 := hexAddr(f[1])
		remote, ok2 := hexAddr(f[2])
		if !ok1 || !ok2 {
			continue
		}
		for i, x := range flows {
			same := x.Protocol == protocol && x.Local.Port() == local.Port() && (local.Addr() == x.Local.Addr() || local.Addr().IsUnspecified())
			connected := remote == x.Remote || protocol == fabric.UDP && remote.Port() == 0
			if same && connected && inodes[i] == "" {
				inodes[i] = f[9]
			}
		}
	}
	return lines.Err()
}

// hexAddr is an address as /proc/net has it: words of the machine's order, which is little-endian wherever this runs.
func hexAddr(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), ok
}

// scripts are the endings of what interpreters run.
var scripts = []string{".py", ".sh", ".R", ".pl", ".js", ".jar"}

// processName tells no arguments but the script's name: secrets may be among them.
func processName(proc string) string {
	comm, err := os.ReadFile(proc + "/comm")
	if err != nil {
		return ""
	}
	name := strings.TrimSpace(string(comm))
	line, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return name
	}
	if args := strings.Split(string(line), "\x00"); len(args) > 1 && slices.ContainsFunc(scripts, func(end string) bool { return strings.HasSuffix(args[1], end) }) {
		name += " " + filepath.Base(args[1])
	}
	return name
}
