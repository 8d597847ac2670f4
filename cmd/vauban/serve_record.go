package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/signin"
	"vauban.dev/ml"
	"vauban.dev/origin"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/store"
)

// What Azure's activity log leaves out, ours has: who starts a run and what becomes of it, who registers a model on the
// workspace's own host (specification, enterprise security: monitoring).
const (
	runOperation   = machinelearning.WorkspaceType + "/experiments/runs/"
	modelOperation = machinelearning.WorkspaceType + "/models/"
)

// byCaller fills in who acts, and from where.
func byCaller(ctx context.Context, e activity.Entry, otherwise ml.User) activity.Entry {
	if p, ok := authz.FromContext(ctx); ok {
		e.Caller = p
	} else {
		e.Caller = authz.Principal{ObjectID: otherwise.ObjectID, TenantID: otherwise.TenantID, Name: otherwise.Name}
	}
	if o := origin.FromContext(ctx); o.Source.IsValid() {
		e.Address, e.Origin = o.Source.String(), o.String()
	}
	return e
}

// recordRun writes that a run is made, or has come into a state that somebody may look for.
func (w *world) recordRun(ctx context.Context, s store.Tx, guid string, before, now *ml.Run) error {
	verb, status, words := "write", activity.Succeeded, "was created"
	switch {
	case before == nil && now.Status != ml.Running:
	case before == nil || before.Status != now.Status && now.Status == ml.Running:
		verb, status, words = "start/action", activity.Started, "was started"
	case now.Deleted && !before.Deleted:
		verb, words = "delete", "was deleted"
	case !now.Deleted && before.Deleted:
		words = "was restored"
	case now.Status == ml.Completed:
		verb, words = "start/action", "has completed"
	case now.Status == ml.Failed:
		verb, status, words = "start/action", activity.Failed, "has failed"
	case now.Status == ml.Canceled:
		verb, status, words = "start/action", activity.Canceled, "was canceled"
	default:
		return nil
	}
	tx := w.engine.In(ctx, s)
	space, err := machinelearning.ByGUID(tx, guid)
	if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
		return nil // it is on its way out
	}
	if err != nil {
		return err
	}
	e := activity.Entry{
		Operation: runOperation + verb, Resource: space.ID.String() + "/experiments/" + now.Experiment + "/runs/" + now.ID, Status: status,
		CorrelationID: now.ID, Description: "The run '" + now.ID + "' of experiment '" + now.Experiment + "' " + words + ".",
		Properties: map[string]string{"runId": now.ID, "experiment": now.Experiment, "runStatus": string(now.Status), "runType": now.Type,
			"submittedBy": now.User.Name, "submittedByObjectId": now.User.ObjectID, "plane": "data"},
	}
	if now.Error != nil && status == activity.Failed {
		e.Code = now.Error.Code // its message is the job's own text
	}
	if now.Target != "" {
		e.Properties["target"] = now.Target
	}
	if before == nil || before.Status != now.Status {
		w.measureRun(space.ID.String(), now)
	}
	return rp.Record(tx, byCaller(ctx, e, now.User))
}

// recordModel writes that a model, or a version of one, was registered with MLflow.
func recordModel(ctx context.Context, engine *rp.Engine, workspace arm.ID, name, version string) error {
	return recordModelChange(ctx, engine, workspace, name, version, "write", "registered")
}

// recordModelGone writes that a model, or a version of it, was deleted by the data plane.
func recordModelGone(ctx context.Context, engine *rp.Engine, workspace arm.ID, name, version string) error {
	return recordModelChange(ctx, engine, workspace, name, version, "delete", "deleted")
}

func recordModelChange(ctx context.Context, engine *rp.Engine, workspace arm.ID, name, version, verb, done string) error {
	e := activity.Entry{
		Operation: modelOperation + verb, Resource: workspace.String() + "/models/" + name, Status: activity.Succeeded,
		Description: "The model '" + name + "' was " + done + ".", Properties: map[string]string{"model": name, "plane": "data"},
	}
	if version != "" {
		e.Operation, e.Resource = modelOperation+"versions/"+verb, e.Resource+"/versions/"+version
		e.Description, e.Properties["version"] = "Version "+version+" of the model '"+name+"' was "+done+".", version
	}
	return engine.Record(ctx, byCaller(ctx, e, ml.User{}))
}

// recordLockOut writes that a user was locked out into the activity log of the region's first subscription, under Security, as
// alerts are written there ("Azure activity log event schema", Security alert).
func (w *world) recordLockOut(ctx context.Context, l signin.LockOut) error {
	var u directory.User
	if err := w.db.View(ctx, func(tx store.Tx) (err error) {
		u, err = w.entra.User(tx, l.UserID)
		return err
	}); err != nil {
		return err
	}
	alert, until := activity.NewID(), l.Until.UTC().Format(time.RFC3339)
	return w.engine.Record(ctx, activity.Entry{
		Category: activity.Security, Level: "Warning", Status: activity.Active, Operation: "Microsoft.Security/locations/alerts/activate/action",
		Resource:      "/subscriptions/" + w.first.SubscriptionID + "/providers/Microsoft.Security/locations/" + w.settings.Location + "/alerts/" + alert,
		CorrelationID: alert, Address: l.Address.String(),
		Description: "Nobody signs in as " + u.UserPrincipalName + " from places like " + l.Address.String() + " until " + until + ": too many wrong passwords or codes.",
		Properties: map[string]string{"alertName": "AccountLockedOut", "compromisedEntity": u.UserPrincipalName, "userObjectId": u.ID, "attackerAddress": l.Address.String(),
			"lockedUntil": until, "severity": "Medium", "actionTaken": "Blocked"},
	})
}
