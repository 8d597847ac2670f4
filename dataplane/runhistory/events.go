package runhistory

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"vauban.dev/ml"
)

type event struct {
	Time stamp           `json:"timestamp"`
	Name string          `json:"name"`
	Data json.RawMessage `json:"data"`
}

// eventStatus is the status that each event of a run's life stands for: Microsoft.MachineLearning.Run.{name}.
var eventStatus = map[string]ml.Status{
	"queued": ml.Queued, "prepare": ml.Preparing, "preparing": ml.Preparing, "starting": ml.Starting, "start": ml.Running, "running": ml.Running,
	"finalizing": ml.Finalizing, "completed": ml.Completed, "complete": ml.Completed, "failed": ml.Failed, "fail": ml.Failed,
	"cancelrequested": ml.CancelRequested, "canceled": ml.Canceled, "cancel": ml.Canceled,
}

const eventPrefix = "Microsoft.MachineLearning.Run."

// apply changes r as the event says; others than those of the run's life are refused, as nobody would
// read them.
func (e event) apply(r *ml.Run, now time.Time) error {
	name := strings.TrimPrefix(e.Name, eventPrefix)
	to, ok := eventStatus[strings.ToLower(name)]
	if !ok {
		return badRequest("'%s' is no event of a run's life.", e.Name)
	}
	if !ownsStatus(r) {
		return nil
	}
	if t := time.Time(e.Time); !t.IsZero() {
		now = t
	}
	if to == ml.Failed && !r.Status.Terminal() {
		r.Error = e.failure()
	}
	return r.SetStatus(to, now)
}

func (e event) failure() *ml.RunError {
	var data struct {
		ErrorDetails struct {
			Error struct {
				Code    string `json:"code"`
				Message string `json:"message"`
			} `json:"error"`
		} `json:"ErrorDetails"`
		Message string `json:"message"`
	}
	if len(e.Data) == 0 || json.Unmarshal(e.Data, &data) != nil {
		return &ml.RunError{Code: "UserError", Message: "The run failed."}
	}
	out := &ml.RunError{Code: data.ErrorDetails.Error.Code, Message: data.ErrorDetails.Error.Message}
	if out.Code == "" {
		out.Code = "UserError"
	}
	if out.Message == "" {
		out.Message = data.Message
	}
	return out
}

func postEvent(ctx context.Context, q *request) (any, error) {
	var in event
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	_, err := q.changeRun(ctx, func(r *ml.Run) error { return in.apply(r, q.s.Clock.Now()) })
	return struct{}{}, err
}

// postEvents takes events of several runs; each names its run in data.runId.
func postEvents(ctx context.Context, q *request) (any, error) {
	var in struct {
		Events []event `json:"events"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	type failure struct {
		Key   event     `json:"key"`
		Value errorBody `json:"value"`
	}
	errs, done := []failure{}, []string{}
	for _, e := range in.Events {
		var data struct {
			RunID string `json:"runId"`
		}
		err := json.Unmarshal(e.Data, &data)
		if err != nil || data.RunID == "" {
			err = badRequest("The event does not name its run in data.runId.")
		} else {
			q.path["run"] = data.RunID
			_, err = q.changeRun(ctx, func(r *ml.Run) error { return e.apply(r, q.s.Clock.Now()) })
		}
		if bad := asError(err); bad != nil {
			errs = append(errs, failure{e, q.errorBody(bad)})
		} else if err != nil {
			return nil, err
		} else {
			done = append(done, data.RunID)
		}
	}
	return map[string]any{"errors": errs, "successes": done}, nil
}
