package batch

import (
	"context"
	"errors"
	"net/netip"

	"vauban.dev/compute"
)

// Errors of a Queue that the service understands.
var (
	ErrNoNode = errors.New("no such node")                              // Node, all others: 404 to the agent, which ends
	ErrLost   = errors.New("the task is no longer leased to this node") // Report: 409, the agent drops it
)

// Queue is what the batch service needs of whoever keeps tasks and nodes. Every method is safe for
// concurrent use and durable before it returns.
type Queue interface {
	// Node returns the node by id. Errors: ErrNoNode.
	Node(ctx context.Context, id string) (Node, error)
	// Registered notes that the node's agent has come up (starting → idle). It may be called again.
	Registered(ctx context.Context, node string, r Register) error
	// Polled notes what the node says of itself, renews the leases of what it holds, and returns
	// what it must do: one assignment that it does not hold yet (the same one until it does),
	// all signals that stand, held attempts it has lost. It does not wait.
	Polled(ctx context.Context, node string, p Poll) (Reply, error)
	// Changed returns a channel that is closed when Polled for this node may answer otherwise
	// than it did before Changed was called.
	Changed(node string) <-chan struct{}
	// Report notes a report. A repeated one (same task, attempt, seq or a lower one) is no error.
	// Errors: ErrLost.
	Report(ctx context.Context, node string, r compute.Report) error
}

// Node as the service knows it.
type Node struct {
	ID string
	// NIC is the id of the node's NIC as origin.Origin carries it; required.
	NIC string
	// Source is the address with which the node's connections leave its network. It counts only for an
	// origin of which the kernel does not know the NIC; zero: such a connection is refused.
	Source netip.Addr
	// TokenSHA256 of the token that was minted for it (MintToken).
	TokenSHA256 [32]byte
}
