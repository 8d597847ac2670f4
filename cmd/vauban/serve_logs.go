package main

import (
	"context"
	"errors"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/loganalytics"
	"vauban.dev/provider/objects"
	"vauban.dev/store"
)

// newLogs is Log Analytics over the region's workspaces.
func newLogs(w *world) *loganalytics.Service {
	return loganalytics.New(loganalytics.Config{
		Store: w.db, Clock: w.clock, Log: w.log, Workspaces: newLogWorkspaces(w.engine), Tokens: verifier{w.entra}, Authorizer: w.access,
		Exists: func(ctx context.Context, id string) (found bool, err error) {
			parsed, err := arm.ParseID(id)
			if err != nil {
				return false, nil
			}
			err = w.engine.View(ctx, func(tx *rp.Tx) error {
				err := rp.Exists(tx, parsed)
				if arm.AsError(err) != nil || errors.Is(err, store.ErrNotFound) {
					return nil
				}
				found = err == nil
				return err
			})
			return found, err
		},
	})
}

// logWorkspaces answers dataplane/loganalytics from the workspaces of Resource Manager.
type logWorkspaces struct {
	known *rp.Memo[[]loganalytics.Workspace]
}

func newLogWorkspaces(engine *rp.Engine) logWorkspaces {
	return logWorkspaces{rp.NewMemo(engine, func(tx *rp.Tx, _ string) (out []loganalytics.Workspace, err error) {
		all, err := rp.List[objects.LogsWorkspace](tx, objects.LogsType, arm.MustParseID("/"))
		for _, r := range all {
			v := &r.Properties
			byResource, _ := v.Features["enableLogAccessUsingOnlyResourcePermissions"].(bool)
			out = append(out, loganalytics.Workspace{
				ID: r.ID.String(), CustomerID: v.CustomerID, RetentionDays: v.RetentionInDays, QueryDisabled: !strings.EqualFold(v.Query, "Enabled"), ByResource: byResource,
			})
		}
		return out, err
	})}
}

func (l logWorkspaces) All(ctx context.Context) ([]loganalytics.Workspace, error) {
	return l.known.Get(ctx, "")
}

func (l logWorkspaces) Find(ctx context.Context, called string) (loganalytics.Workspace, error) {
	all, err := l.All(ctx)
	if err != nil {
		return loganalytics.Workspace{}, err
	}
	for _, w := range all {
		if strings.EqualFold(called, w.CustomerID) || strings.EqualFold(called, w.ID) || strings.EqualFold(called, arm.MustParseID(w.ID).Name()) {
			return w, nil
		}
	}
	return loganalytics.Workspace{}, loganalytics.ErrNoWorkspace
}
