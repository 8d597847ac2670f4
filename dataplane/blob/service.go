// Package blob is Azure Blob Storage's REST API over encrypted files on the local disk: what unmodified
// azure-storage-blob, az, azure-ai-ml, azureml-mlflow and rslex call, and an in-process API for the region's
// own services. See docs/architecture/blob.md.
package blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/payloads"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Config is what a Service is made of. All fields but Log and HostSuffix are needed; Accounts, Tokens and
// Authorizer only by Handler and SAS.
type Config struct {
	Store      store.Store
	Keys       *seal.Keyring
	Dir        string // payload files; made if missing
	Clock      clock.Clock
	Accounts   storagehttp.Accounts
	Settings   Settings // nil: every account has the zero BlobSettings
	Tokens     storagehttp.Tokens
	Authorizer authz.Authorizer
	Log        *slog.Logger
	HostSuffix string // "" = ".blob.core.windows.net"
}

// Service keeps containers and blobs. Its methods do no authorization and pass no firewall: they are for the
// region's own services and for Handler, which does both. Accounts are named by their lower-case name.
// Errors are *Error with Azure's code, or unexpected. Safe for use by many goroutines.
type Service struct {
	front storagehttp.Front
	store store.Store
	keys  *seal.Keyring
	files *payloads.Files
	clock clock.Clock
	log   *slog.Logger

	policy Settings
	handle func(*request) error // of a part of a batch

	lastTick     atomic.Int64
	housekeeping storagehttp.Housekeeping

	cmu        sync.RWMutex
	containers map[string]containerDoc // cache of every container looked at, by key
}

// Open returns the service over cfg. Call Run for its housekeeping.
func Open(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.HostSuffix == "" {
		cfg.HostSuffix = defaultSuffix
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return &Service{
		front: storagehttp.Front{
			Service: "blob", Suffix: cfg.HostSuffix, GroupIDs: []string{"blob", "blob_secondary"},
			Accounts: cfg.Accounts, Tokens: cfg.Tokens, Authorizer: cfg.Authorizer, Clock: cfg.Clock, Log: cfg.Log,
		},
		store: cfg.Store, keys: cfg.Keys, policy: cfg.Settings, handle: (*request).handle, files: payloads.New("blob", cfg.Dir), clock: cfg.Clock, log: cfg.Log,
		housekeeping: storagehttp.NewHousekeeping(), containers: map[string]containerDoc{},
	}, nil
}

// Handler serves the blob endpoint of every account, {account}.blob.core.windows.net, chosen by the request's host.
// The connection's origin must be in the request's context.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Name names the service in logs.
func (s *Service) Name() string { return "blob" }

// stamp returns the next ETag, unique and rising, and the time now.
func (s *Service) stamp() (etag int64, now time.Time) {
	now = s.clock.Now().UTC()
	tick := dotNetEpoch + now.UnixNano()/100
	for {
		last := s.lastTick.Load()
		next := max(tick, last+1)
		if s.lastTick.CompareAndSwap(last, next) {
			return next, now
		}
	}
}

// dotNetEpoch is 1970 in ticks of 100 ns since the year 1, which Azure's ETags are made of.
const dotNetEpoch = 621355968000000000

func formatETag(tick int64) string { return fmt.Sprintf(`"0x%X"`, tick) }

// key returns the account's data key; the name is checked, as it becomes a directory's name.
func (s *Service) key(ctx context.Context, account string) (*seal.Key, error) {
	if !storagehttp.IsAccountName(account) {
		return nil, errInvalidInput("The account name '%s' is not valid.", account)
	}
	return s.keys.Key(ctx, "blob/"+account)
}

// usable reports whether the account's data key, where it has one, can be used: *seal.Unavailable.
func (s *Service) usable(ctx context.Context, account string) error {
	_, err := s.keys.Existing(ctx, "blob/"+account)
	if errors.Is(err, seal.ErrNoKey) {
		return nil
	}
	return err
}

// DeleteAccount makes all data of an account unreadable at once, by destroying its key, and then removes it.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	if !storagehttp.IsAccountName(account) {
		return errInvalidInput("The account name '%s' is not valid.", account)
	}
	if err := s.keys.Destroy(ctx, "blob/"+account); err != nil {
		return err
	}
	if err := s.trashContainers(ctx, account); err != nil {
		return err
	}
	if err := s.expireContainers(ctx, account+"/"); err != nil {
		return err
	}
	return s.files.RemoveAccount(account)
}

// defaultSuffix follows the account's name in its host name.
const defaultSuffix = ".blob.core.windows.net"
