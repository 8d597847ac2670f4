// Package loganalytics is Log Analytics: workspaces' tables of records, and the query API over them ("Azure Monitor Log
// Analytics API"). Package kql reads and runs the queries. Records come from the region itself; see
// docs/architecture/loganalytics.md.
package loganalytics

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// ErrNoWorkspace is what Workspaces returns for what no workspace is called.
var ErrNoWorkspace = errors.New("loganalytics: no such workspace")

// Workspace is what the service needs to know of a workspace.
type Workspace struct {
	ID            string // ARM id
	CustomerID    string // the workspace id of the query API
	RetentionDays int
	QueryDisabled bool // publicNetworkAccessForQuery is not Enabled
	// ByResource: who may read a resource's logs needs no right on the workspace (enableLogAccessUsingOnlyResourcePermissions).
	ByResource bool
}

// Workspaces finds workspaces; whatever the case of what they are called.
type Workspaces interface {
	// Find returns the workspace with this workspace id, ARM id or name, or ErrNoWorkspace.
	Find(ctx context.Context, called string) (Workspace, error)
	// All are the region's, in the order of their ids.
	All(ctx context.Context) ([]Workspace, error)
}

// Tokens verifies bearer tokens in full: signature, issuer, times and audience (one of audiences).
type Tokens interface {
	Verify(ctx context.Context, token string, audiences ...string) (authz.Principal, error)
}

// Config is what a Service is made of. All fields but TableBytes are needed.
type Config struct {
	Store      store.Store
	Clock      clock.Clock
	Log        *slog.Logger
	Workspaces Workspaces
	Tokens     Tokens
	Authorizer authz.Authorizer
	// Exists tells whether there is a resource with this ARM id.
	Exists func(ctx context.Context, id string) (bool, error)
	// TableBytes is how much a table keeps, as JSON: what came first goes when there is more. 0: 32 MiB.
	TableBytes int64
}

// Service keeps what is in workspaces, and answers queries. Safe for use by many goroutines.
type Service struct {
	Config
	housekeeping storagehttp.Housekeeping
	running      chan struct{} // a place for each query that runs
}

// queriesAtOnce bounds what queries hold in memory.
const queriesAtOnce = 4

// New returns the service over cfg. Call Run for its housekeeping.
func New(cfg Config) *Service {
	if cfg.TableBytes == 0 {
		cfg.TableBytes = 32 << 20
	}
	return &Service{Config: cfg, housekeeping: storagehttp.NewHousekeeping(), running: make(chan struct{}, queriesAtOnce)}
}

// Run does the housekeeping until ctx ends: it removes records that are older than their workspace keeps them, and those
// of workspaces that are gone.
func (s *Service) Run(ctx context.Context) error {
	s.housekeeping.Run(ctx, "log analytics", s.Log, s.Sweep)
	return nil
}

// keptSince is when records came that a workspace still has.
func (w Workspace) keptSince(now time.Time) time.Time {
	return now.AddDate(0, 0, -max(w.RetentionDays, 1))
}
