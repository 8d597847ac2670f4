package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/blob"
	"vauban.dev/dataplane/loganalytics"
	"vauban.dev/firewall"
	"vauban.dev/provider/insights"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// exported is the number of the last entry that was written, and its time.
type exported struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
}

const (
	exportEvery = 2 * time.Second  // after entries were written; Azure's takes minutes
	exportRetry = time.Minute      // after one that failed: an account's firewall may have changed
	exportMost  = 1000             // entries written at a time
	clockSlack  = 10 * time.Minute // by which this machine's clock may be set back
)

// exportLog writes new entries of the activity log where diagnostic settings want them, until ctx ends.
func (w *world) exportLog(ctx context.Context) {
	changes := w.db.Watch(ctx, activity.ChainKind, rp.StoreKind(insights.SettingType))
	retry := time.NewTicker(exportRetry)
	defer retry.Stop()
	for {
		w.exportAll(ctx)
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
		case <-retry.C:
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(exportEvery): // what comes meanwhile goes along
		}
	}
}

func (w *world) exportAll(ctx context.Context) {
	var all []*rp.Resource[insights.Setting]
	err := w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		all, err = rp.List[insights.Setting](tx, insights.SettingType, arm.MustParseID("/"))
		return err
	})
	for _, s := range all {
		err = errors.Join(err, w.exportOne(ctx, s))
	}
	if err != nil && ctx.Err() == nil {
		w.log.Error("the activity log was not exported", "err", err)
	}
}

// exportOne writes what a setting has not exported yet, to each of its destinations: one that does not take it keeps none
// from the other.
func (w *world) exportOne(ctx context.Context, s *rp.Resource[insights.Setting]) (err error) {
	scope := s.ID.Scope()
	if scope.Namespace() != "" && !strings.EqualFold(scope.Type().String(), machinelearning.WorkspaceType) {
		return nil // other resources' logs are no part of the activity log (resourceLogs)
	}
	if insights.Given(s.Properties.StorageAccountID) {
		err = w.exportTo(ctx, s, insights.PlaceOf(s.ID), w.exportToAccount)
	}
	if insights.Given(s.Properties.WorkspaceID) {
		err = errors.Join(err, w.exportTo(ctx, s, insights.WorkspacePlaceOf(s.ID), w.exportToWorkspace))
	}
	return err
}

// exportLine is an entry as it is exported.
type exportLine struct {
	activity.Entry
	category string // of the resource logs; "" for the activity log
	line     []byte
}

// exportTo writes to one destination. to makes the records durable, or returns what does so in the transaction in which
// the place that is reached is noted: without it a crash in between may write some of them twice. None is left out.
func (w *world) exportTo(ctx context.Context, s *rp.Resource[insights.Setting], place string,
	to func(context.Context, *rp.Resource[insights.Setting], []exportLine) (func(*rp.Tx) error, error)) error {
	from := exported{Time: s.SystemData.CreatedAt}
	var entries []activity.Entry
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		doc, err := tx.Get(insights.PlaceKind, place)
		if err == nil {
			err = json.Unmarshal(doc.Value, &from)
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return err
		}
		since := from.Time
		if from.Seq > 0 {
			since = since.Add(-clockSlack)
		}
		// The newest come first: all since the last one are read, the oldest of them written.
		entries, _, err = activity.List(tx.Tx, activity.Query{Subscription: s.ID.Subscription(), Since: since})
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(entries)
	entries = slices.DeleteFunc(entries, func(e activity.Entry) bool { return e.Seq <= from.Seq })
	entries = entries[:min(len(entries), exportMost)]
	if len(entries) == 0 {
		return nil
	}
	var lines []exportLine
	for _, e := range entries {
		from.Seq = max(from.Seq, e.Seq)
		if e.Time.After(from.Time) {
			from.Time = e.Time
		}
		l, err := w.exportLineOf(s, e)
		if err != nil {
			return err
		}
		if l.line != nil {
			lines = append(lines, l)
		}
	}
	also, err := to(ctx, s, lines)
	if err != nil {
		return err
	}
	return w.engine.Update(ctx, func(tx *rp.Tx) error {
		if _, err := rp.Get[insights.Setting](tx, s.ID); err != nil {
			return nil // it was deleted meanwhile, and its place with it
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		b, err := json.Marshal(from)
		if err != nil {
			return err
		}
		_, err = tx.Put(insights.PlaceKind, place, b, store.Any)
		return err
	})
}

// exportLineOf is an entry as a setting exports it; its line is nil if the setting does not.
func (w *world) exportLineOf(s *rp.Resource[insights.Setting], e activity.Entry) (l exportLine, err error) {
	l.Entry = e
	scope := s.ID.Scope()
	if scope.Namespace() != "" {
		if l.category = insights.WorkspaceCategory(e); l.category != "" && within(scope, e.Resource) && s.Properties.Exports(l.category) {
			l.line = insights.WorkspaceLine(e, scope)
		}
		return l, nil
	}
	if s.Properties.Exports(cmp.Or(e.Category, activity.Administrative)) {
		l.line, err = insights.Record(e, w.entra.Tenant().ID)
	}
	return l, err
}

func (w *world) exportToAccount(ctx context.Context, s *rp.Resource[insights.Setting], lines []exportLine) (func(*rp.Tx) error, error) {
	account, err := arm.ParseID(*s.Properties.StorageAccountID)
	if err != nil {
		return nil, err
	}
	type blobName struct{ container, name string }
	hours := map[blobName]*bytes.Buffer{}
	var names []blobName
	for _, l := range lines {
		name := blobName{insights.Container, insights.BlobName(s.ID.Subscription(), l.Time)}
		if l.category != "" {
			name = blobName{insights.LogContainer(l.category), insights.LogBlob(s.ID.Scope(), l.Time)}
		}
		if hours[name] == nil {
			hours[name] = &bytes.Buffer{}
			names = append(names, name)
		}
		hours[name].Write(l.line)
	}
	for _, name := range names {
		if err := w.writeExport(ctx, s.ID, account, name.container, name.name, hours[name].Bytes()); err != nil {
			return nil, fmt.Errorf("%s to %s: %w", s.ID, account, err)
		}
	}
	return nil, nil
}

func (w *world) exportToWorkspace(ctx context.Context, s *rp.Resource[insights.Setting], lines []exportLine) (func(*rp.Tx) error, error) {
	to, err := w.logs.Workspaces.Find(ctx, *s.Properties.WorkspaceID)
	if err != nil {
		return nil, fmt.Errorf("%s to %s: %w", s.ID, *s.Properties.WorkspaceID, err)
	}
	var records []loganalytics.Record
	for _, l := range lines {
		r, err := loganalytics.Record{}, error(nil)
		if l.category == "" {
			r, err = loganalytics.Activity(l.line)
		} else {
			r, err = loganalytics.Line(l.line, s.Properties.Dedicated())
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return func(tx *rp.Tx) error { return w.logs.AppendIn(tx.Tx, to.CustomerID, records) }, nil
}

// writeRecords keeps records in the workspace with an ARM id. One that is gone takes none.
func (w *world) writeRecords(ctx context.Context, workspace string, records []loganalytics.Record) error {
	to, err := w.logs.Workspaces.Find(ctx, workspace)
	if err != nil {
		return err
	}
	return w.logs.Append(ctx, to.CustomerID, records)
}

// within tells whether a resource is a scope or stands under it.
func within(scope arm.ID, resource string) bool {
	return strings.HasPrefix(strings.ToLower(resource)+"/", strings.ToLower(scope.String())+"/")
}

// writeExport appends to a blob as the platform itself, which the account's firewall must admit as a trusted service.
func (w *world) writeExport(ctx context.Context, setting, id arm.ID, container, name string, lines []byte) error {
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		a, err := rp.Get[storage.Account](tx, id)
		if err != nil {
			return err
		}
		if d := firewall.DecideInstance(storage.Firewall(a, "blob"), w.entra.Tenant().ID, setting.String(), true); !d.Allowed {
			return fmt.Errorf("the account's firewall: %s", d.Rule)
		}
		return nil
	})
	if err != nil {
		return err
	}
	account := strings.ToLower(id.Name())
	for len(lines) > 0 {
		n := len(lines)
		if n > maxAppend { // whole lines
			n = bytes.LastIndexByte(lines[:maxAppend], '\n') + 1
		}
		_, err := w.blobs.Append(ctx, account, container, name, lines[:n])
		if blob.IsCode(err, blob.CodeContainerNotFound) {
			if _, err = w.blobs.CreateContainer(ctx, account, container, blob.ContainerOptions{}); err == nil || blob.IsCode(err, blob.CodeContainerAlreadyExists) {
				_, err = w.blobs.Append(ctx, account, container, name, lines[:n])
			}
		}
		if err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

const maxAppend = 4 << 20 // bytes of a block of an append blob
