package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"vauban.dev/store"
)

// querier is a connection, or a transaction on one.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// rows reads documents inside a transaction: a commit.Rows.
type rows struct {
	ctx context.Context
	on  querier
}

func (r rows) Get(kind, key string) (store.Doc, error) {
	d := store.Doc{Kind: kind, Key: key}
	err := r.on.QueryRow(r.ctx, "SELECT version, value FROM doc WHERE kind = $1 AND key = $2", []byte(kind), []byte(key)).Scan(&d.Version, &d.Value)
	if errors.Is(err, pgx.ErrNoRows) {
		return store.Doc{}, store.ErrNotFound
	}
	if err != nil {
		return store.Doc{}, fmt.Errorf("postgres: get %s %s: %w", kind, key, err)
	}
	return d, nil
}

func (r rows) Page(kind, from string, to []byte, n int) (docs []store.Doc, err error) {
	text := "SELECT key, version, value FROM doc WHERE kind = $1 AND key >= $2 ORDER BY key LIMIT $3"
	args := []any{[]byte(kind), []byte(from), n}
	if to != nil {
		text = "SELECT key, version, value FROM doc WHERE kind = $1 AND key >= $2 AND key < $4 ORDER BY key LIMIT $3"
		args = append(args, to)
	}
	found, err := r.on.Query(r.ctx, text, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (store.Doc, error) {
		d := store.Doc{Kind: kind}
		var key []byte
		err := row.Scan(&key, &d.Version, &d.Value)
		d.Key = string(key)
		return d, err
	})
}

// changes are the committed changes after a version, in their order. A deletion has a nil Value.
func changes(ctx context.Context, on querier, after int64) ([]store.Change, error) {
	found, err := on.Query(ctx, "SELECT version, kind, key, value FROM change WHERE version > $1 ORDER BY version", after)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (c store.Change, err error) {
		var kind, key []byte
		err = row.Scan(&c.Version, &kind, &key, &c.Value)
		c.Kind, c.Key = string(kind), string(key)
		return c, err
	})
	for i, c := range all {
		if c.Version != after+1+int64(i) {
			return nil, errGap
		}
	}
	return all, err
}
