package rp

import (
	"context"
	"net/http"
	"time"

	"vauban.dev/activity"
	"vauban.dev/arm"
)

// eventValues is GET /subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values:
// the activity log ("Activity Logs - List"), the newest entry first.
func (e *Engine) eventValues(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	conditions, err := parseFilter(r.Query.Get("$filter"))
	if err != nil {
		return nil, err
	}
	top, after, err := paging(r.Query)
	if err != nil {
		return nil, err
	}
	q := activity.Query{Subscription: path["subscription"], Until: e.clock.Now(), Limit: top, After: after}
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
			body.Value = append(body.Value, eventData(entry, e.tenant))
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
	case "channels", "eventchannels", "levels": // all entries are of the channels Admin and Operation
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
