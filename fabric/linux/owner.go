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
func (d *Driver) Owners(at fabric.Place, flows []SocketID) (owners []string, err error) {
	inodes := make([]string, len(flows))
	var ns string
	err = d.Do(at, func() (err error) {
		if ns, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		for file, protocol := range map[string]fabric.Protocol{"tcp": fabric.TCP, "tcp6": fabric.TCP, "udp": fabric.UDP, "udp6": fabric.UDP} {
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
	owners = make([]string, len(flows))
	if err != nil || !slices.ContainsFunc(inodes, func(s string) bool { return s != "" }) {
		return owners, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return owners, err
	}
	for _, p := range processes {
		if link, err := os.Readlink(p + "/ns/net"); err != nil || link != ns {
			continue // another place's, or one that has ended
		}
		fds, err := os.ReadDir(p + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			link, err := os.Readlink(p + "/fd/" + fd.Name())
			if i := slices.Index(inodes, strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")); err == nil && i >= 0 && owners[i] == "" {
				owners[i] = processName(p)
			}
		}
	}
	return owners, nil
}

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
