// Package runhistory is the data plane of Azure Machine Learning workspaces on {region}.api.azureml.ms and
// {guid}.workspace.{region}.api.azureml.ms: discovery, run history, artifacts and metrics over the runs of
// package ml, as azure-ai-ml, azureml-core and azureml-mlflow call them; MLflow's own API is mounted beside.
// See docs/architecture/runhistory.md.
package runhistory

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/entra"
	"vauban.dev/firewall"
	"vauban.dev/internal/clock"
	"vauban.dev/ml"
)

var (
	// ErrNoWorkspace is what Workspaces returns for an id or GUID that no workspace has.
	ErrNoWorkspace = errors.New("runhistory: no such workspace")
	// ErrNoBlob is what Blobs.Stat returns for a blob that is not there.
	ErrNoBlob = errors.New("runhistory: no such blob")
)

// Workspace is what the data plane needs to know of a workspace.
type Workspace struct {
	ID       arm.ID
	GUID     string
	Location string // as in host names: westeurope
	Host     string // where its discoveryUrl sends clients
	// Firewall are its network rules, with its group ids.
	Firewall         firewall.Rules
	StorageAccount   string // name of the account that holds its artifacts
	IdentityObjectID string
}

// Workspaces finds workspaces. It is asked on every request: it must be quick.
type Workspaces interface {
	// Lookup returns the workspace with this id, whatever its case, or ErrNoWorkspace.
	Lookup(ctx context.Context, id arm.ID) (Workspace, error)
	// ByGUID returns the workspace that a host name's GUID names, or ErrNoWorkspace.
	ByGUID(ctx context.Context, guid string) (Workspace, error)
}

// Tokens verifies and renews tokens; *entra.Directory is one. Errors' texts go to the client as the reason.
type Tokens interface {
	Verify(ctx context.Context, token string, audiences ...string) (authz.Principal, error)
	VerifyRun(ctx context.Context, token string) (entra.Run, authz.Principal, error)
	IssueRun(ctx context.Context, r entra.Run) (entra.Token, error)
}

// Blob is one blob of a listing.
type Blob struct {
	Name    string
	ETag    string
	Size    int64 // bytes
	Created time.Time
}

// Blobs is the storage that artifacts and logs lie in. Clients themselves go there, with the URLs that
// SAS makes: no content passes this service.
type Blobs interface {
	// List returns up to limit blobs whose names start with prefix and come after a name ("" = from the
	// first), in the order of names.
	List(ctx context.Context, account, container, prefix, after string, limit int) ([]Blob, error)
	// Stat returns ErrNoBlob for a blob that is not there.
	Stat(ctx context.Context, account, container, name string) (Blob, error)
	// SAS returns the blob's URL with a signature for the permissions (r, c, w, as in Azure) until expiry.
	SAS(ctx context.Context, account, container, blob, permissions string, expiry time.Time) (string, error)
}

// MLflow serves MLflow's API; *mlflow.Service does.
type MLflow interface {
	// Permission is the action that a request takes on the workspace, or "" when there is no such operation.
	Permission(method, path string) string
	// Serve answers a request of a caller who has that permission.
	Serve(w http.ResponseWriter, r *http.Request, ws ml.Workspace, c ml.Caller)
}

// Config is what a Service is made of. All fields but Log and Suffix are needed.
type Config struct {
	Runs       *ml.Store
	Workspaces Workspaces
	Tokens     Tokens
	Authorizer authz.Authorizer
	Blobs      Blobs
	MLflow     MLflow
	Clock      clock.Clock
	Log        *slog.Logger
	Suffix     string // of the host names; "" = ".api.azureml.ms"
}

// Service serves the hosts. Safe for use by many goroutines.
type Service struct {
	Config
	routes map[string][]route // by service and version: "history/v1.0"
}

// New returns the service over cfg.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Suffix == "" {
		cfg.Suffix = ".api.azureml.ms"
	}
	return &Service{Config: cfg, routes: table()}
}

// Handler serves all hosts of the region's workspaces, chosen by the request's Host. The connection's origin
// must be in the request's context.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Name names the service in logs.
func (s *Service) Name() string { return "runhistory" }
