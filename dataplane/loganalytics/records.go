package loganalytics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/store"
)

// Kinds of the store. A batch is what came at once for a table, its key WORKSPACE/TABLE/TIME-ID; its value is JSON, a
// record on each line. The state of a table has the key WORKSPACE/TABLE.
const (
	kindBatch = "loganalytics-batch"
	kindTable = "loganalytics-table"
)

// batchMost is how much is written or removed at once.
const batchMost = 256 << 10

// Record is a row of a table: values of JSON by column. A column that the table does not have is dropped, but for
// AzureDiagnostics, which takes any.
type Record struct {
	Table string
	Row   map[string]any // TimeGenerated and _ResourceId are always there
}

// state is what is known of a table of a workspace.
type state struct {
	Bytes int64 `json:"bytes"`
	Rows  int64 `json:"rows"`
	// Columns are those that records brought along, with their types; of AzureDiagnostics only.
	Columns map[string]string `json:"columns,omitempty"`
}

func tableKey(workspace, table string) string { return strings.ToLower(workspace) + "/" + table }

func batchKey(workspace, table string, came time.Time) string {
	return fmt.Sprintf("%s/%s-%s", tableKey(workspace, table), stamp(came), uuid.NewString())
}

// stamp is a time as keys have it: as texts they are in order.
func stamp(t time.Time) string { return fmt.Sprintf("%019d", max(t.UnixNano(), 0)) }

// Append keeps records.
func (s *Service) Append(ctx context.Context, workspace string, records []Record) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return s.AppendIn(tx, workspace, records) })
}

// AppendIn keeps records, in a transaction of the caller's.
func (s *Service) AppendIn(tx store.Tx, workspace string, records []Record) error {
	byTable := map[string][]Record{}
	for _, r := range records {
		byTable[r.Table] = append(byTable[r.Table], r)
	}
	for table, list := range byTable {
		if err := s.appendTable(tx, workspace, table, list); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) appendTable(tx store.Tx, workspace, table string, records []Record) error {
	st, err := readState(tx, tableKey(workspace, table))
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	var b bytes.Buffer
	flush := func() error {
		if b.Len() == 0 {
			return nil
		}
		st.Bytes += int64(b.Len())
		_, err := tx.Put(kindBatch, batchKey(workspace, table, now), slices.Clone(b.Bytes()), store.None)
		b.Reset()
		return err
	}
	for _, r := range records {
		if table == diagnostics {
			st.learn(r.Row)
		}
		line, err := json.Marshal(r.Row)
		if err != nil {
			return err
		}
		if b.Len()+len(line) >= batchMost {
			if err := flush(); err != nil {
				return err
			}
		}
		b.Write(append(line, '\n'))
		st.Rows++
	}
	if err := flush(); err != nil {
		return err
	}
	if st.Bytes > s.TableBytes { // by an eighth, so that not every append removes something
		if err := st.shrink(tx, tableKey(workspace, table), "", st.Bytes-s.TableBytes*7/8); err != nil {
			return err
		}
	}
	return st.write(tx, tableKey(workspace, table))
}

func readState(tx store.Tx, key string) (st state, err error) {
	doc, err := tx.Get(kindTable, key)
	if errors.Is(err, store.ErrNotFound) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(doc.Value, &st)
	}
	return st, err
}

func (st *state) write(tx store.Tx, key string) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	_, err = tx.Put(kindTable, key, b, store.Any)
	return err
}

// shrink removes the oldest batches: those that came before a time, "" for all, until enough bytes are gone.
func (st *state) shrink(tx store.Tx, key, before string, enough int64) error {
	var gone []string
	var size, rows int64
	err := tx.Scan(kindBatch, key+"/", "", func(d store.Doc) bool {
		if size >= enough || before != "" && d.Key >= key+"/"+before {
			return false
		}
		gone = append(gone, d.Key)
		size += int64(len(d.Value))
		rows += int64(bytes.Count(d.Value, []byte{'\n'}))
		return true
	})
	for i := 0; i < len(gone) && err == nil; i++ {
		err = tx.Delete(kindBatch, gone[i], store.Any)
	}
	st.Bytes, st.Rows = max(st.Bytes-size, 0), max(st.Rows-rows, 0)
	return err
}

// Sweep removes what is too old, and what is of workspaces that are gone, once.
func (s *Service) Sweep(ctx context.Context) error {
	var keys []string
	err := s.Store.View(ctx, func(tx store.Tx) error {
		return tx.Scan(kindTable, "", "", func(d store.Doc) bool {
			keys = append(keys, d.Key)
			return true
		})
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	all, err := s.Workspaces.All(ctx) // after the keys: whose records these are was there before
	if err != nil {
		return err
	}
	since := map[string]string{}
	for _, w := range all {
		since[strings.ToLower(w.CustomerID)] = stamp(w.keptSince(s.Clock.Now()))
	}
	for _, key := range keys {
		workspace, _, _ := strings.Cut(key, "/")
		err = errors.Join(err, s.sweepTable(ctx, key, since[workspace]))
	}
	return err
}

// sweepTable removes what came to a table before a time, all of it if that is "", some at a time.
func (s *Service) sweepTable(ctx context.Context, key, before string) error {
	for ctx.Err() == nil {
		more := false
		err := s.Store.Update(ctx, func(tx store.Tx) error {
			st, err := readState(tx, key)
			if err != nil {
				return err
			}
			had := st.Bytes
			if err := st.shrink(tx, key, before, 16*batchMost); err != nil {
				return err
			}
			if more = st.Bytes < had; !more && before == "" {
				return tx.Delete(kindTable, key, store.Any)
			}
			if !more {
				return nil
			}
			return st.write(tx, key)
		})
		if err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// read calls yield for the records of a table that came since a time, the first first.
func (s *Service) read(ctx context.Context, workspace, table string, since time.Time, yield func(row map[string]any) error) error {
	prefix := tableKey(workspace, table) + "/"
	return s.Store.View(ctx, func(tx store.Tx) error {
		var bad error
		err := tx.Scan(kindBatch, prefix, prefix+stamp(since), func(d store.Doc) bool {
			for line := range bytes.Lines(d.Value) {
				dec := json.NewDecoder(bytes.NewReader(line))
				dec.UseNumber()
				row := map[string]any{}
				if bad = dec.Decode(&row); bad == nil {
					bad = yield(row)
				}
				if bad != nil {
					return false
				}
			}
			bad = ctx.Err()
			return bad == nil
		})
		return errors.Join(bad, err)
	})
}
