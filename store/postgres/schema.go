package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// formatVersion is the layout of the tables that this code reads and writes.
const formatVersion = 1

// The tables stand in the first schema of the connection's search_path, so that several regions can share a database.
//
//	doc     the documents; kinds and keys as bytes, which PostgreSQL orders byte by byte
//	clock   one row: the version of the latest write. Who writes holds its lock: writers go one after the other.
//	server  who serves the region from this database, until when, and what it has seen and committed
//	change  what was committed while there was more than one server, until all have seen it
const schema = `
CREATE TABLE IF NOT EXISTS doc (kind bytea NOT NULL, key bytea NOT NULL, version bigint NOT NULL, value bytea NOT NULL, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS clock (one integer PRIMARY KEY CHECK (one = 1), version bigint NOT NULL, format integer NOT NULL);
CREATE TABLE IF NOT EXISTS server (id uuid PRIMARY KEY, expires timestamptz NOT NULL, seen bigint NOT NULL, committed bigint NOT NULL);
CREATE TABLE IF NOT EXISTS change (version bigint PRIMARY KEY, kind bytea NOT NULL, key bytea NOT NULL, value bytea);
INSERT INTO clock VALUES (1, 0, 1) ON CONFLICT DO NOTHING;
`

// schemaLock is held while the tables are made: two servers may start at once. The number has no meaning.
const schemaLock = 0x7661756261

func prepareTables(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", schemaLock); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, schema); err != nil {
			return err
		}
		var format int
		if err := tx.QueryRow(ctx, "SELECT format FROM clock").Scan(&format); err != nil {
			return err
		}
		if format != formatVersion {
			return fmt.Errorf("the tables have format %d, this program knows %d", format, formatVersion)
		}
		return nil
	})
}
