package oci

import "fmt"

// Isolation says what holds for the containers of this machine, for `vauban status` and the demo.
type Isolation struct {
	Engine string // the OCI runtime and its version
	// Limits that a control group enforces on a container as a whole.
	Memory, CPU, Pids bool
	// OwnIDs: a container's users are nobody on the host. Without, they are the caller's user, and only the
	// namespaces stand between.
	OwnIDs bool
	IDs    IDMap
	// WhyNoLimits says what hindered the limits that do not hold, "" if all do.
	WhyNoLimits string
}

// Isolation of the containers that this runtime starts.
func (r *Runtime) Isolation() Isolation {
	i := Isolation{Engine: r.engine.String(), Memory: r.cg.has("memory"), CPU: r.cg.has("cpu"), Pids: r.cg.has("pids"),
		OwnIDs: r.ids.Size > 1, IDs: r.ids}
	if !i.Memory || !i.CPU || !i.Pids {
		i.WhyNoLimits = r.cg.why
	}
	return i
}

// Lines are sentences for a person, what holds first.
func (i Isolation) Lines() []string {
	out := []string{
		fmt.Sprintf("containers by %s: own user, pid, ipc, uts, cgroup and mount namespaces, network of the NIC only", i.Engine),
		"seccomp filter, no new privileges, 7 capabilities over its own files and processes only",
		"of the host's files only /usr is visible (without /usr/local), read-only",
	}
	if i.OwnIDs {
		out = append(out, fmt.Sprintf("users of a container are ids %d to %d, which own nothing else", i.IDs.Host, i.IDs.Host+i.IDs.Size-1))
	} else {
		out = append(out, "WARNING: no subordinate user ids (newuidmap, /etc/subuid): a container runs with your own user id, hidden by its namespaces only")
	}
	limit := func(what string, holds bool, otherwise string) {
		if holds {
			out = append(out, what+" limit enforced by a control group")
			return
		}
		out = append(out, fmt.Sprintf("WARNING: %s: %s", otherwise, i.WhyNoLimits))
	}
	limit("memory", i.Memory, "memory is limited per process only (address space), not per container")
	limit("CPU", i.CPU, "CPU is not limited")
	limit("process number", i.Pids, "the number of processes is not limited")
	return out
}
