// Package agent is the process on a node that takes tasks from the batch service and runs each in a
// container. It runs in the network namespace of the node's NIC and reaches everything through it: names by
// the DNS at 168.63.129.16, tokens by the metadata service at 169.254.169.254, the batch service and the
// storage accounts by HTTPS. What the network's rules forbid, the agent cannot do.
//
// It writes what happened to a task to its disk before it says so, and says it until it is answered. Its
// containers outlive it: started again, it finds them.
package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"vauban.dev/compute"
	"vauban.dev/compute/oci"
)

// Config of one node's agent, as its file has it. The file holds the node's token: mode 0600.
type Config struct {
	Node  string `json:"node"`  // id at the batch service
	Token string `json:"token"` // minted at allocation
	Batch string `json:"batch"` // https://<region>.service.batch.azure.com
	// StateDir is the node's disk: tasks, logs, containers. It is gone when the node is deallocated.
	StateDir string `json:"stateDir"`
	// Netns is the network namespace of the NIC; "" is the agent's own, where it must run anyway.
	Netns    string `json:"netns,omitempty"`
	Hostname string `json:"hostname,omitempty"` // of the containers; "" is Node
	// CABundle is the PEM file of the authorities that the agent and its containers trust.
	CABundle string `json:"caBundle,omitempty"`
	// Images by reference; DefaultImage (a key of Images, or "") is for tasks that name none.
	Images       map[string]Image `json:"images,omitempty"`
	DefaultImage string           `json:"defaultImage,omitempty"`
	// Limits of the node's size: a task's own may only be lower.
	Limits compute.Limits `json:"limits"`
	// Slot gives the node's containers user ids of their own (oci.Options.Slot).
	Slot int `json:"slot,omitempty"`
	// Hidden directories that no container may see, the region's data first.
	Hidden []string `json:"hidden,omitempty"`
	SSH    *SSH     `json:"ssh,omitempty"`
	// Called: the service calls the node (batch.CallPort) before it gives it work.
	Called bool `json:"called,omitempty"`
	// Home makes the agent a virtual machine's: it takes no tasks, and its SSH sessions share this directory,
	// which outlives them, as their home. Token and Batch are not needed then, SSH is.
	Home string `json:"home,omitempty"`
	// Script makes it a deployment script's.
	Script *Script `json:"script,omitempty"`
	// DNS are the servers that the node and its containers ask, in order; none is Azure's. Search is the domain
	// in which containers look single labels up.
	DNS    []netip.Addr `json:"dns,omitempty"`
	Search string       `json:"search,omitempty"`
	// IMDS is for tests; "" is Azure's.
	IMDS string `json:"imds,omitempty"`
}

// Image is an environment that is on this machine: read-only directories and variables.
type Image struct {
	Layers []oci.Mount       `json:"layers"`
	Env    map[string]string `json:"env,omitempty"`
}

// ReadConfig reads and checks a configuration file. A key that is not known is an error.
func ReadConfig(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	var c Config
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, c.check()
}

func (c *Config) check() error {
	switch {
	case !compute.ValidID(c.Node):
		return fmt.Errorf("agent: node id %q", c.Node)
	case c.Home != "":
		if c.SSH == nil || c.StateDir == "" {
			return errors.New("agent: a virtual machine needs ssh and stateDir")
		}
	case c.Script != nil:
		if c.StateDir == "" || c.Script.Timeout <= 0 {
			return errors.New("agent: a script needs stateDir and timeout")
		}
	case c.Token == "" || c.Batch == "" || c.StateDir == "":
		return errors.New("agent: token, batch and stateDir are required")
	}
	if c.DefaultImage != "" {
		if _, err := c.image(c.DefaultImage); err != nil {
			return err
		}
	}
	return nil
}

// image by reference; "" is the default one, and without a default the host's /usr alone.
func (c *Config) image(ref string) (Image, error) {
	if ref == "" {
		ref = c.DefaultImage
	}
	if ref == "" {
		return Image{}, nil
	}
	if im, ok := c.Images[ref]; ok {
		return im, nil
	}
	have := strings.Join(slices.Sorted(maps.Keys(c.Images)), ", ")
	if have == "" {
		have = "none"
	}
	return Image{}, &taskError{compute.FailureUser, "ImageNotFound",
		fmt.Sprintf("the environment image %q is not on this node (it has: %s)", ref, have), nil}
}

// limits of a task on this node: the lower of both where both are set.
func (c *Config) limits(t compute.Limits) compute.Limits {
	return compute.Limits{
		MemoryBytes: lower(t.MemoryBytes, c.Limits.MemoryBytes),
		CPUs:        lower(t.CPUs, c.Limits.CPUs),
		Pids:        lower(t.Pids, c.Limits.Pids),
	}
}

func lower[N int64 | float64](a, b N) N {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// taskError is why a task failed, as it will be reported.
type taskError struct {
	kind    compute.FailureKind
	code    string
	message string
	cause   error
}

func (e *taskError) Error() string {
	if e.cause != nil {
		return e.message + ": " + e.cause.Error()
	}
	return e.message
}

func (e *taskError) Unwrap() error { return e.cause }

func (e *taskError) failure() *compute.Failure {
	return &compute.Failure{Kind: e.kind, Code: e.code, Message: e.Error()}
}
