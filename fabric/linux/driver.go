// Package linux makes the kernel hold a fabric.State: network namespaces, veth pairs, addresses,
// routes, policy rules, sysctls and nftables rulesets. It takes the whole desired state and is
// idempotent: whatever a crash left behind, applying the state again repairs it. It also opens
// listeners and connections inside those namespaces, reads the rules' counters and the packets that
// they dropped.
//
// It is the only importer of netlink. It needs CAP_NET_ADMIN and CAP_SYS_ADMIN over its user namespace,
// not the host's root.
package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
	"vauban.dev/internal/clock"
)

// Keeper is where listening sockets outlive this process: the region's holder. Get returns an error
// that is fs.ErrNotExist for a name that is not kept. Put keeps a duplicate of f.
type Keeper interface {
	Get(ctx context.Context, name string) (*os.File, error)
	Put(ctx context.Context, name string, f *os.File) error
	Drop(ctx context.Context, name string) error
	List(ctx context.Context) ([]string, error)
}

// Config of a Driver. The zero value works.
type Config struct {
	NetnsDir string       // where namespaces are bound by name; "" is /run/netns
	Keeper   Keeper       // nil: listeners die with this process
	Log      *slog.Logger // nil: silent
	NFT      string       // the nft program; "" looks for it in PATH and the sbin folders
	Clock    clock.Clock  // stamps dropped packets; nil: the wall clock
}

// Driver applies states to this kernel. Its methods may be called from several goroutines.
type Driver struct {
	dir    string
	keeper Keeper
	log    *slog.Logger
	nft    string
	home   *os.File // the network namespace of this process

	applying sync.Mutex          // held by Apply, Verify and CleanUp: one at a time; guards what spaces hold
	known    map[string]*desired // what Apply was asked for last, by namespace

	// refs are the counters of the state applied last.
	refs atomic.Pointer[map[string]fabric.RuleRef]

	mu      sync.Mutex // guards what follows
	spaces  map[string]*space
	sockets map[string]io.Closer // by keeper name

	taps    taps
	flows   flowReaders
	holders holders
}

// New returns a Driver. It changes nothing in the kernel yet. It fails when nft cannot be found or the
// namespaces' folder cannot be made.
func New(c Config) (*Driver, error) {
	d := &Driver{dir: c.NetnsDir, keeper: c.Keeper, log: c.Log, nft: c.NFT,
		spaces: map[string]*space{}, sockets: map[string]io.Closer{}}
	if d.dir == "" {
		d.dir = "/run/netns"
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	nft, err := findNFT(c.NFT)
	if err != nil {
		return nil, err
	}
	d.nft = nft
	d.taps.clock = c.Clock
	if d.taps.clock == nil {
		d.taps.clock = new(clock.Region)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of network namespaces: %w", err)
	}
	if d.home, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, fmt.Errorf("own network namespace: %w", err)
	}
	return d, nil
}

// Close ends the subscriptions of Drops and Flows and gives back the driver's descriptors. Kernel state and listeners
// stay: they are the region's, not this process's.
func (d *Driver) Close() error {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.taps.closeAll()
	d.flows.close()
	d.holders.closeAll()
	for _, name := range d.names() {
		d.forget(name)
	}
	return d.home.Close()
}

// findNFT looks beyond PATH, which lacks the sbin folders for ordinary users of some distributions.
func findNFT(name string) (string, error) {
	if name == "" {
		name = "nft"
	}
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the nftables program %q is not installed: %w", name, fs.ErrNotExist)
}

// Path is where the namespace of a place is bound, for setns and OCI runtimes.
func (d *Driver) Path(at fabric.Place) string { return filepath.Join(d.dir, fabric.NSName(at)) }

// ErrNoNamespace says that a place has no network namespace (yet): the state applied last lacks it.
var ErrNoNamespace = errors.New("no such network namespace")

// gone reports errors that mean "it is not there any more": deleting it is done.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENOENT)
}
