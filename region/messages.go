package region

import "time"

// Methods that every server answers on its control socket.
const (
	MethodStatus = "status" // → Status
	MethodPlace  = "place"  // PlaceParams → PlaceResult, and the user and network namespace as files
	MethodClock  = "clock"  // ClockParams → ClockResult
	MethodReady  = "ready"  // → ReadyResult, once the region is ready
	MethodStop   = "stop"   // answers at once; the server then ends
)

// PlaceParams name a place in the region; exactly one field is set.
type PlaceParams struct {
	From   string `json:"from,omitempty"`   // "internet"
	Subnet string `json:"subnet,omitempty"` // VNET/SUBNET, or the subnet's id
	Node   string `json:"node,omitempty"`   // a compute node's name
	NIC    string `json:"nic,omitempty"`    // a network interface, NAME or GROUP/NAME, or its id
}

// PlaceResult is where a process of this place stands. With it travel two descriptors: the region's
// user namespace and the place's network namespace.
type PlaceResult struct {
	Title      string `json:"title"`      // for messages: "subnet hub/training"
	NetNS      string `json:"netns"`      // name of the network namespace in the region, "" for the region's own
	ResolvConf string `json:"resolvConf"` // files in the data directory, that the region's user may read
	Bundle     string `json:"bundle"`     // the system's and the region's certificate authorities, PEM
	// Env are variables that a process there gets unless its caller has set any of them: whom the region's
	// own credentials belong to.
	Env map[string]string `json:"env,omitempty"`
	// Defaults go with Env, each unless the caller has set it: where clients keep what they make of Env.
	Defaults map[string]string `json:"defaults,omitempty"`
}

// ClockParams move the region's clock; it never goes back.
type ClockParams struct {
	Advance time.Duration `json:"advanceNs,omitempty"` // ≥ 0; 0 only asks
}

// ClockResult is the region's time.
type ClockResult struct {
	Now    time.Time     `json:"now"`
	Offset time.Duration `json:"offsetNs"` // ahead of the machine's clock by this much
}

// ReadyResult is what a region tells when it has come up.
type ReadyResult struct {
	Loopback string `json:"loopback"` // address of the loopback listener, HOST:PORT
	// Env are the environment variables that lead clients outside the region to the loopback listener.
	Env map[string]string `json:"env,omitempty"`
}

// State of a region.
type State string

const (
	Running State = "running" // holder and server
	Held    State = "held"    // the holder keeps namespaces, jobs and listeners; `up` starts the server
	Stopped State = "stopped"
)

// Status describes a region.
type Status struct {
	State     State       `json:"state"`
	Dir       string      `json:"data"`
	Version   string      `json:"version,omitempty"`
	Server    int         `json:"serverPid,omitempty"` // as the caller sees it
	Holder    int         `json:"holderPid,omitempty"` // as the caller sees it
	Started   time.Time   `json:"started,omitzero"`    // of the server
	Loopback  string      `json:"loopback,omitempty"`
	Kept      int         `json:"keptListeners"`
	Isolation Isolation   `json:"isolation"`
	Limits    Limits      `json:"limits"`
	Runtime   Runtime     `json:"runtime"`
	Clock     ClockResult `json:"clock,omitzero"`
	// Warnings say in a sentence each what does not hold on this machine.
	Warnings []string `json:"warnings,omitempty"`
	// ObjectOnly are the resource types without their service.
	ObjectOnly []string `json:"objectOnly,omitempty"`
}

// Isolation is how a region is kept apart from its machine.
type Isolation struct {
	Mode   string `json:"mode"`   // "root" or "rootless"
	UID    int    `json:"uid"`    // who the region is, outside
	SubIDs int    `json:"subIds"` // further ids, for containers; 0: containers run under UID
}

// Limits says which limits on nodes the machine lets this region set, by cgroups.
type Limits struct {
	Memory bool   `json:"memory"`
	CPU    bool   `json:"cpu"`
	Pids   bool   `json:"pids"`
	How    string `json:"how"` // "cgroup v2", "cgroup v1", or why there are none
}

// Runtime is the OCI runtime that nodes run by.
type Runtime struct {
	Name string `json:"name,omitempty"` // "crun", "runc"; "" if there is none
	Path string `json:"path,omitempty"`
}
