package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// userHz is the unit of times in /proc, on every architecture that Go runs on (proc_pid_stat(5), sysconf(3)).
const userHz = 100

// ProcessCPU reads the processor time that a process has used, of all its threads.
func ProcessCPU(pid int) func() (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	return func() (time.Duration, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		return parseStat(b)
	}
}

// parseStat takes utime and stime, fields 14 and 15. The second field is a name in parentheses that may
// hold anything.
func parseStat(b []byte) (time.Duration, error) {
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("a process's stat is not understood: %q", b)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHz), nil
}

// Memory is what a process has in memory, in bytes, as /proc/PID/smaps_rollup says (proc(5)).
type Memory struct {
	RSS int64 // resident pages, shared ones in full
	PSS int64 // resident pages, each shared one by its share
}

// ProcessMemory reads it. It needs the right to trace the process.
func ProcessMemory(pid int) (m Memory, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	return parseMemory(b)
}

func parseMemory(b []byte) (m Memory, err error) {
	found := 0
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 || string(f[2]) != "kB" {
			continue
		}
		var into *int64
		switch string(f[0]) {
		case "Rss:":
			into = &m.RSS
		case "Pss:":
			into = &m.PSS
		default:
			continue
		}
		kib, err := strconv.ParseInt(string(f[1]), 10, 64)
		if err != nil {
			return m, err
		}
		*into = kib << 10
		found++
	}
	if found != 2 {
		return m, fmt.Errorf("a process's memory is not understood: %q", b)
	}
	return m, nil
}
