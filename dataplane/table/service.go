// Package table is Azure Table Storage's REST API over the region's store, in JSON: what unmodified azure-data-tables,
// aztables, az and ParallelRunStep call, and what Resource Manager asks of tables. See docs/architecture/table.md.
package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"vauban.dev/internal/clock"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Kinds of documents in the store and their keys.
const (
	kindTable  = "table.table"  // account/table in lower case → tableDoc
	kindEntity = "table.entity" // account/uid/PartitionKey 0x01 RowKey → sealed entityDoc
	kindTrash  = "table.trash"  // account/uid → a deleted table whose entities are to be removed
)

// Service keeps tables and their entities. Its methods do no authorization and pass no firewall. Errors are
// *storagehttp.Error with Azure's code, or unexpected. Safe for use by many goroutines.
type Service struct {
	front        storagehttp.Front
	store        store.Store
	keys         *seal.Keyring
	clock        clock.Clock
	log          *slog.Logger
	lastTick     atomic.Int64
	housekeeping storagehttp.Housekeeping
}

// Open returns the service over cfg. Call Run for its housekeeping.
func Open(cfg storagehttp.Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	front := cfg.Front("table")
	front.ErrorBody = errorBody
	return &Service{
		front: front,
		store: cfg.Store, keys: cfg.Keys, clock: cfg.Clock, log: cfg.Log, housekeeping: storagehttp.NewHousekeeping(),
	}
}

// Handler serves the table endpoint of every account. The connection's origin must be in the request's context.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Name names the service in logs.
func (s *Service) Name() string { return "table" }

// stamp is the time of a write: its ETag is made of it, so no two writes have the same.
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

func (s *Service) key(ctx context.Context, account string) (*seal.Key, error) {
	return s.keys.Key(ctx, "table/"+account)
}

// Table as callers see it.
type Table struct {
	Name     string
	Policies []storagehttp.Policy
}

type tableDoc struct {
	UID      string               `json:"u"`
	Name     string               `json:"n"` // as it was written; names have no case
	Policies []storagehttp.Policy `json:"p,omitempty"`
}

var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// checkName as "Understanding the Table service data model" says.
func checkName(name string) error {
	switch {
	case len(name) < 3 || len(name) > 63:
		return storagehttp.NewError(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.").Because("table name '%s' is not of 3 to 63 characters", name)
	case !tableName.MatchString(name), strings.EqualFold(name, "tables"):
		return storagehttp.NewError(http.StatusBadRequest, "InvalidResourceName", "The specifed resource name contains invalid characters.").Because("table name '%s'", name)
	}
	return nil
}

func errTableNotFound(name string) error {
	return storagehttp.NewError(http.StatusNotFound, "TableNotFound", "The table specified does not exist.").Because("table '%s'", name)
}

func tableKey(account, name string) string { return account + "/" + strings.ToLower(name) }

func getTable(tx store.Tx, account, name string) (doc tableDoc, err error) {
	d, err := tx.Get(kindTable, tableKey(account, name))
	if errors.Is(err, store.ErrNotFound) {
		return doc, errTableNotFound(name)
	}
	if err != nil {
		return doc, err
	}
	return doc, decode(d.Value, &doc)
}

func putTable(tx store.Tx, account string, doc tableDoc) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = tx.Put(kindTable, tableKey(account, doc.Name), b, store.Any)
	return err
}

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("table: a stored document is damaged: %w", err)
	}
	return nil
}

// GetTx returns a table; TableNotFound.
func (s *Service) GetTx(tx store.Tx, account, name string) (Table, error) {
	doc, err := getTable(tx, account, name)
	return Table{doc.Name, doc.Policies}, err
}

// CreateTx makes a table; TableAlreadyExists.
func (s *Service) CreateTx(tx store.Tx, account, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := getTable(tx, account, name)
	if err == nil {
		return storagehttp.NewError(http.StatusConflict, "TableAlreadyExists", "The table specified already exists.").Because("table '%s'", name)
	}
	if !storagehttp.IsCode(err, "TableNotFound") {
		return err
	}
	return putTable(tx, account, tableDoc{UID: randomID(), Name: name})
}

// SetPoliciesTx gives a table its stored access policies; TableNotFound.
func (s *Service) SetPoliciesTx(tx store.Tx, account, name string, list []storagehttp.Policy) error {
	doc, err := getTable(tx, account, name)
	if err != nil {
		return err
	}
	doc.Policies = list
	return putTable(tx, account, doc)
}

// DeleteTx removes a table; TableNotFound. Its entities are gone at once for every caller.
func (s *Service) DeleteTx(tx store.Tx, account, name string) error {
	doc, err := getTable(tx, account, name)
	if err != nil {
		return err
	}
	if _, err := tx.Put(kindTrash, account+"/"+doc.UID, []byte("{}"), store.Any); err != nil {
		return err
	}
	return tx.Delete(kindTable, tableKey(account, name), store.Any)
}

// ListTx calls yield for each table that follows after, by name without case, until it returns false.
func (s *Service) ListTx(tx store.Tx, account, after string, yield func(Table) (bool, error)) error {
	if after != "" {
		after = tableKey(account, after)
	}
	var bad error
	err := tx.Scan(kindTable, account+"/", after, func(d store.Doc) bool {
		var doc tableDoc
		if bad = decode(d.Value, &doc); bad != nil {
			return false
		}
		var more bool
		more, bad = yield(Table{doc.Name, doc.Policies})
		return more && bad == nil
	})
	return errors.Join(err, bad)
}

// DeleteAccount makes all entities of an account unreadable at once, by destroying its key, and then removes them.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	if err := s.keys.Destroy(ctx, "table/"+account); err != nil {
		return err
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		var names []string
		err := s.ListTx(tx, account, "", func(t Table) (bool, error) {
			names = append(names, t.Name)
			return true, nil
		})
		for i := 0; i < len(names) && err == nil; i++ {
			err = s.DeleteTx(tx, account, names[i])
		}
		if err != nil {
			return err
		}
		return s.front.ForgetProperties(tx, account)
	})
	s.housekeeping.Wake()
	return err
}

// Run removes the entities of deleted tables until ctx ends. Nobody sees them before either.
func (s *Service) Run(ctx context.Context) error {
	s.housekeeping.Run(ctx, "table", s.log, s.Sweep)
	return nil
}

// Sweep removes what nobody sees any more, once.
func (s *Service) Sweep(ctx context.Context) error {
	return storagehttp.EmptyTrash(ctx, s.store, kindTrash, func(tx store.Tx, key string) (int, func(), error) {
		n, err := storagehttp.DeleteSome(tx, key+"/", kindEntity)
		return n, nil, err
	})
}
