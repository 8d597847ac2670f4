// Package machinelearning is Microsoft.MachineLearningServices: workspaces, computes, datastores, assets
// and jobs, and what drives the nodes of clusters. Runs, metrics and parameters are kept by package ml;
// the data planes in dataplane/ serve them.
package machinelearning

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/compute"
	"vauban.dev/diagnose"
	"vauban.dev/internal/clock"
	"vauban.dev/ml"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// The resource types.
const (
	Namespace     = "Microsoft.MachineLearningServices"
	WorkspaceType = Namespace + "/workspaces"
	ComputeType   = WorkspaceType + "/computes"
	DatastoreType = WorkspaceType + "/datastores"
	JobType       = WorkspaceType + "/jobs"
)

var versions = []string{
	"2018-03-01-preview", "2018-11-19", "2019-05-01", "2019-06-01", "2019-11-01", "2020-01-01", "2020-02-02", "2020-02-18-preview", "2020-03-01",
	"2020-04-01", "2020-05-01-preview", "2020-05-15-preview", "2020-06-01", "2020-08-01", "2020-09-01-preview", "2021-01-01", "2021-03-01-preview",
	"2021-04-01", "2021-07-01", "2022-01-01-preview", "2022-02-01-preview", "2022-05-01", "2022-06-01-preview", "2022-10-01", "2022-10-01-preview",
	"2022-12-01-preview", "2023-02-01-preview", "2023-04-01", "2023-04-01-preview", "2023-06-01-preview", "2023-08-01-preview", "2023-10-01",
	"2024-01-01-preview", "2024-04-01", "2024-04-01-preview", "2024-05-01-preview", "2024-07-01-preview", "2024-10-01", "2024-10-01-preview",
	"2025-01-01-preview", "2025-04-01", "2025-04-01-preview", "2025-06-01", "2025-07-01-preview", "2025-09-01", "2025-10-01-preview", "2025-12-01",
	"2026-01-15-preview", "2026-03-01", "2026-03-15-preview", "2026-05-01", "2026-05-01-preview", "2026-05-15-preview",
}

// SAS makes URLs that open one container of an account for a while.
type SAS interface {
	// ContainerSAS returns the container's URL with a service SAS of these permissions ("rcwl").
	ContainerSAS(tx *rp.Tx, account, container, permissions string, expiry time.Time) (string, error)
	// KeySAS is the same with an account key that the caller has.
	KeySAS(account, container string, key []byte, permissions string, expiry time.Time) (string, error)
}

// RunTokens makes the token by which a job speaks to its workspace.
type RunTokens interface {
	// IssueRun returns a token that holds for one run.
	IssueRun(ctx context.Context, run RunScope) (token string, expires time.Time, err error)
}

// RunScope is what a run's token is good for.
type RunScope struct {
	Workspace   string // resource id
	WorkspaceID string // GUID
	Experiment  string
	RunID       string
	PrincipalID string // whose roles apply
}

// Network is what computes need of the network.
type Network interface {
	// CheckSubnet returns why nodes of a workspace in location cannot stand in the subnet, nil if they can.
	CheckSubnet(tx *rp.Tx, subnet arm.ID, location string) error
	// MayEnter returns what keeps the service from making a compute's load balancer, public address and security group in
	// the group of the subnet's network: a policy, a lock, a quota. Nil where they are there already.
	MayEnter(ctx context.Context, cluster, subnet arm.ID, location string) error
	// AllocateNode takes an address in the subnet for a node and makes its NIC, and for the first public one of a compute
	// what MayEnter is about. *arm.Error when the subnet is full.
	AllocateNode(tx *rp.Tx, r NodeRequest) (NIC, error)
	// RemoveEntry removes the compute's load balancer, public address and security group, when no node has them any more;
	// no error for a compute without.
	RemoveEntry(tx *rp.Tx, cluster arm.ID) error
	// Call connects to a node as the service does, from the internet; NIC.Inbound is where.
	Call(ctx context.Context, nic NIC) (net.Conn, error)
	// WhyCalled is Why of Call.
	WhyCalled(ctx context.Context, nic NIC) string
	// ReleaseNode gives it back; no error when it is gone.
	ReleaseNode(tx *rp.Tx, nic string) error
	// ManagedSubnet returns the subnet of the network that the service itself makes for a cluster
	// that has none of its user's; it makes it when it is missing.
	ManagedSubnet(tx *rp.Tx, cluster arm.ID, location string, ssh bool) (arm.ID, error)
	// Egress is the address that the NIC has at a host on the internet; zero when it does not get there.
	Egress(nic, host string) netip.Addr
	// RemoveManagedSubnet removes what ManagedSubnet made.
	RemoveManagedSubnet(tx *rp.Tx, cluster arm.ID) error
	// Why says in words what the model holds of a connection from the NIC to host:port: what refuses it,
	// or that nothing does.
	Why(ctx context.Context, nic, host string, port uint16) string
	// Sync returns when the kernel holds what the store says.
	Sync(ctx context.Context) error
}

// NodeRequest asks for a node's NIC.
type NodeRequest struct {
	Subnet, Cluster arm.ID
	Node, Location  string
	Public          bool // called by the service through a load balancer, by which it also goes out
	SSH             bool // and by the internet at port 22
}

// NIC of a node.
type NIC struct {
	ID      string `json:"id"`
	Private string `json:"private"`
	Public  string `json:"public,omitempty"`
	// Inbound is the address and port on the internet by which the service calls it ("20.0.0.4:44224"), "" for never; SSH is
	// the port of Public that leads to its port 22, 0 for none.
	Inbound string `json:"inbound,omitempty"`
	SSH     int    `json:"ssh,omitempty"`
}

// Launcher starts and stops the agents of nodes. Agents live on when the server ends.
type Launcher interface {
	// Start starts the node's agent, or finds it running; idempotent.
	Start(ctx context.Context, n NodeSpec) error
	// Alive reports whether the agent's process is there.
	Alive(node string) bool
	// Stop ends the agent and all that it runs, and removes the node's files; no error when it is gone.
	Stop(ctx context.Context, node string) error
}

// NodeSpec is what an agent is started with.
type NodeSpec struct {
	ID    string
	NIC   string // id, which names the network namespace
	Token string
	Host  string // of the batch service
	// Called: the service calls the node before it gives it work.
	Called bool
	User   string // SSH; "" for none
	Key    string // authorized key
	// Limits of a task: the node's size.
	Limits compute.Limits
}

// Config of the provider.
type Config struct {
	Clock clock.Clock
	// Steady is the time by which nodes are heard or silent; nil: the machine's. It is not the region's, which
	// users move forward.
	Steady     clock.Clock
	Log        *slog.Logger
	Runs       *ml.Store
	Containers storage.Containers
	SAS        SAS
	Tokens     RunTokens
	Access     authz.Authorizer // data roles of who submits jobs
	Network    Network
	Launcher   Launcher
	TenantID   string
	// Diagnose finds what is wrong with a workspace; nil: nobody does.
	Diagnose func(ctx context.Context, workspace arm.ID) (*diagnose.Report, error)
	// Images are the environments that this region has, by image reference.
	Images map[string]bool
}

// Provider is Microsoft.MachineLearningServices.
type Provider struct {
	Config
	engine *rp.Engine
	links  *privatelink.Links
	nodes  *nodeSet
}

// New returns the provider. Attach must be called before it serves.
func New(cfg Config) *Provider {
	if cfg.Steady == nil {
		cfg.Steady = new(clock.Region)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Provider{Config: cfg, nodes: newNodeSet(cfg.Steady.Now)}
}

// Attach gives the provider the engine that its types were registered with, and the region's links.
func (p *Provider) Attach(e *rp.Engine, l *privatelink.Links) { p.engine, p.links = e, l }

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	regs := []rp.Registration{p.workspaceType(), p.computeType(), datastoreType(), p.jobType(), p.codeRoutes(), rp.Routes(
		rp.Route{Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/" + Namespace + "/locations/{location}/vmSizes",
			Permission: Namespace + "/locations/vmSizes/read", Versions: versions, Do: listSizes},
		rp.Route{Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/" + Namespace + "/locations/{location}/usages",
			Permission: Namespace + "/locations/usages/read", Versions: versions, Do: listUsages},
		rp.Route{Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/" + Namespace + "/locations/{location}/quotas",
			Permission: Namespace + "/locations/quotas/read", Versions: versions, Do: listQuotas},
	), rp.Operations(rp.Actions(WorkspaceType + "/PrivateEndpointConnectionsApproval/action")...)}
	return append(regs, assetTypes()...)
}

func isNotFound(err error) bool {
	e := arm.AsError(err)
	return e != nil && e.Status == http.StatusNotFound || errors.Is(err, store.ErrNotFound)
}

// userError is a refusal in the form that the ML service gives its own.
func userError(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "ValidationError", format, args...)
}
