// Package file is Azure Files' REST API over sealed files and the region's store: what unmodified azure-storage-file-share,
// azfile, az and azureml call, and what Resource Manager asks of shares. See docs/architecture/file.md.
package file

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"vauban.dev/internal/clock"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/payloads"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Kinds of documents in the store and their keys.
const (
	kindShare      = "file.share"      // account/share → shareDoc
	kindSnapshot   = "file.snapshot"   // account/uid/time → shareDoc of that moment
	kindDeleted    = "file.deleted"    // account/share/version → deletedDoc
	kindEntry      = "file.entry"      // account/tree/directory/name in lower case → entryDoc
	kindExtent     = "file.extent"     // account/tree/file/bucket → where the bytes of 4 MiB of a file are
	kindInline     = "file.data"       // account/ref → sealed bytes of a short payload
	kindShared     = "file.shared"     // account/ref → how many extents lists of files name a payload, when several do
	kindUsage      = "file.usage"      // account/tree → bytes that are written
	kindPermission = "file.permission" // account/uid/key → a security descriptor
	kindTrash      = "file.trash"      // account/tree → a tree whose entries are to be removed
)

// Settings tells how long deleted shares are kept. The provider of Microsoft.Storage implements it.
type Settings interface {
	// DeletedShareDays is asked when a share is deleted; 0: not at all.
	DeletedShareDays(ctx context.Context, account string) (int, error)
}

// Config is what a Service is made of; all but Log and Settings are needed.
type Config struct {
	storagehttp.Config
	Dir      string   // payload files; made if missing
	Settings Settings // nil: nothing is kept
}

// Service keeps shares, directories and files. Its methods do no authorization and pass no firewall. Errors are
// *storagehttp.Error with Azure's code, or unexpected. Safe for use by many goroutines.
type Service struct {
	front        storagehttp.Front
	store        store.Store
	keys         *seal.Keyring
	files        *payloads.Files
	clock        clock.Clock
	log          *slog.Logger
	policy       Settings
	lastTick     atomic.Int64
	housekeeping storagehttp.Housekeeping
}

// Open returns the service over cfg. Call Run for its housekeeping.
func Open(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	return &Service{
		front: cfg.Front("file"), store: cfg.Store, keys: cfg.Keys, files: payloads.New("file", cfg.Dir), clock: cfg.Clock, log: cfg.Log,
		policy: cfg.Settings, housekeeping: storagehttp.NewHousekeeping(),
	}, nil
}

// Handler serves the file endpoint of every account. The connection's origin must be in the request's context.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Name names the service in logs.
func (s *Service) Name() string { return "file" }

// Now is the time of leases.
func (s *Service) Now() time.Time { return s.clock.Now() }

// stamp is the time of a write, in 100 ns, which no other write has: ETags are made of it.
func (s *Service) stamp() time.Time {
	tick := s.clock.Now().UnixNano() / 100
	for {
		last := s.lastTick.Load()
		next := max(tick, last+1)
		if s.lastTick.CompareAndSwap(last, next) {
			return time.Unix(0, next*100).UTC()
		}
	}
}

// dotNetEpoch is 1970 in ticks of 100 ns since the year 1, which Azure's ETags are made of.
const dotNetEpoch = 621355968000000000

func etag(modified time.Time) string {
	return fmt.Sprintf(`"0x%X"`, dotNetEpoch+modified.UnixNano()/100)
}

func (s *Service) key(ctx context.Context, account string) (*seal.Key, error) {
	if !storagehttp.IsAccountName(account) { // it becomes a directory's name
		return nil, storagehttp.InvalidInput("The account name '%s' is not valid.", account)
	}
	return s.keys.Key(ctx, "file/"+account)
}

// usable reports whether the account's data key, where it has one, can be used: *seal.Unavailable.
func (s *Service) usable(ctx context.Context, account string) error {
	_, err := s.keys.Existing(ctx, "file/"+account)
	if errors.Is(err, seal.ErrNoKey) {
		return nil
	}
	return err
}

func getDoc(tx store.Tx, kind, key string, into any) error {
	d, err := tx.Get(kind, key)
	if err != nil {
		return err
	}
	return decode(d.Value, into)
}

func putDoc(tx store.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, store.Any)
	return err
}

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("file: a stored document is damaged: %w", err)
	}
	return nil
}

func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// DeleteAccount makes all files of an account unreadable at once, by destroying its key, and then removes them.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	if !storagehttp.IsAccountName(account) {
		return storagehttp.InvalidInput("The account name '%s' is not valid.", account)
	}
	if err := s.keys.Destroy(ctx, "file/"+account); err != nil {
		return err
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		for _, kind := range []string{kindShare, kindSnapshot, kindDeleted} {
			for {
				docs, err := storagehttp.FirstDocs(tx, kind, account+"/")
				if err != nil {
					return err
				}
				for _, d := range docs {
					var doc shareDoc
					if err := decode(d.Value, &doc); err != nil {
						return err
					}
					if err := trash(tx, account, doc.Tree); err != nil {
						return err
					}
					if err := tx.Delete(kind, d.Key, store.Any); err != nil {
						return err
					}
				}
				if len(docs) == 0 {
					break
				}
			}
		}
		return s.front.ForgetProperties(tx, account)
	})
	s.housekeeping.Wake()
	if err != nil {
		return err
	}
	return s.files.RemoveAccount(account)
}

func trash(tx store.Tx, account, tree string) error {
	return putDoc(tx, kindTrash, account+"/"+tree, struct{}{})
}
