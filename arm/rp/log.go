package rp

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
)

// eventCategories is GET /providers/Microsoft.Insights/eventcategories ("Event Categories - List").
func (e *Engine) eventCategories(context.Context, *Request, map[string]string) (*Response, error) {
	body := page{Value: []any{}}
	for _, c := range []string{activity.Administrative, activity.Security, "ServiceHealth", "Alert", "Recommendation", activity.Policy, "Autoscale", "ResourceHealth"} {
		body.Value = append(body.Value, same(c))
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}

// selection reads $select: the members of events that are shown, all of them for "".
func selection(s string) (func(map[string]any) map[string]any, error) {
	if strings.TrimSpace(s) == "" {
		return func(event map[string]any) map[string]any { return event }, nil
	}
	known := eventData(activity.Entry{}, "")
	want := map[string]bool{}
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		found := false
		for k := range known {
			if strings.EqualFold(k, name) {
				want[k], found = true, true
			}
		}
		if !found {
			return nil, arm.Errorf(http.StatusBadRequest, "BadRequest", "$select: events have no member '%s'.", name)
		}
	}
	return func(event map[string]any) map[string]any {
		maps.DeleteFunc(event, func(k string, _ any) bool { return !want[k] })
		return event
	}, nil
}

// eventValues is GET {scope}/providers/Microsoft.Insights/eventtypes/management/values: the activity log of a subscription, the
// tenant or a management group ("Activity Logs - List", "Tenant Activity Logs - List"), the newest entry first.
func (e *Engine) eventValues(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	conditions, err := parseFilter(r.Query.Get("$filter"))
	if err != nil {
		return nil, err
	}
	top, after, err := paging(r.Query)
	if err != nil {
		return nil, err
	}
	chosen, err := selection(r.Query.Get("$select"))
	if err != nil {
		return nil, err
	}
	q := activity.Query{Subscription: path["subscription"], Until: e.clock.Now(), Limit: top, After: after}
	if g := path["management"]; g != "" {
		q.Within = "/providers/Microsoft.Management/managementGroups/" + g
	}
	q.Since = q.Until.Add(-keepActivity)
	for _, c := range conditions {
		if err := narrow(&q, c); err != nil {
			return nil, err
		}
	}
	body := &page{Value: []any{}}
	err = e.View(ctx, func(tx *Tx) error {
		entries, last, err := activity.List(tx.Tx, q)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			body.Value = append(body.Value, chosen(eventData(entry, e.tenant)))
		}
		if last != "" {
			body.NextLink = next(r, last)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}

// narrow applies one condition of a $filter.
func narrow(q *activity.Query, c condition) error {
	switch c.member {
	case "eventtimestamp":
		t, err := time.Parse(time.RFC3339Nano, c.value)
		if err != nil { // az writes UTC without saying so
			t, err = time.Parse("2006-01-02T15:04:05.999999999", c.value)
		}
		if err != nil {
			return badFilter(c.value)
		}
		switch c.op {
		case "ge", "gt":
			q.Since = t
		case "le", "lt":
			q.Until = t
		default:
			return badFilter(c.member + " " + c.op)
		}
		return nil
	case "channels", "eventchannels": // all entries are of the channels Admin and Operation
		return nil
	case "levels":
		for l := range strings.SplitSeq(c.value, ",") {
			q.Levels = append(q.Levels, strings.TrimSpace(l))
		}
		return nil
	}
	if c.op != "eq" {
		return badFilter(c.member + " " + c.op)
	}
	switch c.member {
	case "resourcegroupname":
		q.ResourceGroup = c.value
	case "resourceid", "resourceuri":
		q.Resource = c.value
	case "resourceprovider":
		q.Provider = c.value
	case "correlationid":
		q.CorrelationID = c.value
	case "caller":
		q.Caller = c.value
	case "category":
		q.Category = c.value
	case "operationname", "operations":
		q.Operation = c.value
	case "status":
		q.Status = activity.Status(c.value)
	default:
		return badFilter(c.member)
	}
	return nil
}

// LogRefusal writes the activity entry of a request that failed. The entries of requests that succeed are
// written in their transactions.
func (e *Engine) LogRefusal(ctx context.Context, r *Request, t *Target, failure *arm.Error) error {
	return e.Update(ctx, func(tx *Tx) error {
		entry := r.Entry(ctx, t)
		entry.Status, entry.HTTPStatus, entry.Code, entry.Message = activity.Failed, failure.Status, failure.Code, failure.Message
		return tx.logged(entry)
	})
}

// LogSuccess writes the activity entry of an operation that succeeded and is not Logged.
func (e *Engine) LogSuccess(ctx context.Context, r *Request, t *Target, status int) error {
	return e.Update(ctx, func(tx *Tx) error {
		entry := r.Entry(ctx, t)
		entry.Status, entry.HTTPStatus = activity.Succeeded, status
		return tx.logged(entry)
	})
}

// Record writes the entry of something that did not come by Resource Manager: an act on a data plane, or the region's own
// finding. Its ID and Time are set where they are not.
func (e *Engine) Record(ctx context.Context, entry activity.Entry) error {
	return e.Update(ctx, func(tx *Tx) error { return Record(tx, entry) })
}

// Record is Engine.Record in a transaction.
func Record(tx *Tx, entry activity.Entry) error {
	if entry.ID == "" {
		entry.ID = activity.NewID()
	}
	if entry.CorrelationID == "" {
		entry.CorrelationID = activity.NewID()
	}
	if entry.Time.IsZero() {
		entry.Time = tx.Now
	}
	return tx.append(entry)
}

// append writes an entry into the log, with the time at which it does.
func (tx *Tx) append(entry activity.Entry) error {
	entry.Submitted = tx.engine.clock.Now()
	return tx.engine.activity.Append(tx.Tx, entry)
}
