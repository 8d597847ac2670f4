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

// exportOne writes what a setting has not exported yet. The place that it has reached is noted after the records are
// durable: a crash in between may write some of them twice, none is left out.
func (w *world) exportOne(ctx context.Context, s *rp.Resource[insights.Setting]) error {
	scope := s.ID.Scope()
	ofWorkspace := strings.EqualFold(scope.Type().String(), machinelearning.WorkspaceType)
	if id := s.Properties.StorageAccountID; id == nil || *id == "" || scope.Namespace() != "" && !ofWorkspace {
		return nil // other resources' logs are no part of the activity log (resourceLogs)
	}
	account, err := arm.ParseID(*s.Properties.StorageAccountID)
	if err != nil {
		return err
	}
	from := exported{Time: s.SystemData.CreatedAt}
	var entries []activity.Entry
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		doc, err := tx.Get(insights.PlaceKind, s.ID.Key())
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
	type blobName struct{ container, name string }
	hours := map[blobName]*bytes.Buffer{}
	var names []blobName
	for _, e := range entries {
		from.Seq = max(from.Seq, e.Seq)
		if e.Time.After(from.Time) {
			from.Time = e.Time
		}
		category, name := cmp.Or(e.Category, activity.Administrative), blobName{insights.Container, insights.BlobName(s.ID.Subscription(), e.Time)}
		if ofWorkspace {
			if category = insights.WorkspaceCategory(e); category == "" || !within(scope, e.Resource) {
				continue
			}
			name = blobName{insights.LogContainer(category), insights.LogBlob(scope, e.Time)}
		}
		if !s.Properties.Exports(category) {
			continue
		}
		var line []byte
		if ofWorkspace {
			line = insights.WorkspaceLine(e, scope)
		} else if line, err = insights.Record(e, w.entra.Tenant().ID); err != nil {
			return err
		}
		if hours[name] == nil {
			hours[name] = &bytes.Buffer{}
			names = append(names, name)
		}
		hours[name].Write(line)
	}
	for _, name := range names {
		if err := w.writeExport(ctx, s.ID, account, name.container, name.name, hours[name].Bytes()); err != nil {
			return fmt.Errorf("%s to %s: %w", s.ID, account, err)
		}
	}
	return w.engine.Update(ctx, func(tx *rp.Tx) error {
		if _, err := rp.Get[insights.Setting](tx, s.ID); err != nil {
			return nil // it was deleted meanwhile, and its place with it
		}
		b, err := json.Marshal(from)
		if err != nil {
			return err
		}
		_, err = tx.Put(insights.PlaceKind, s.ID.Key(), b, store.Any)
		return err
	})
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
