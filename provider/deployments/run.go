package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
	"vauban.dev/store"
)

// job is one deployment under way.
type job struct {
	p    *Provider
	rec  *record
	c    *content
	d    *template.Deployment
	host host
	done map[*template.Resource]bool // ended well
	bad  []*arm.Error
	ids  []string // of what was written
}

// deploy takes a stored deployment to its end. Cut short by the end of the process it leaves it as it is, for the
// next one to go on.
func (p *Provider) deploy(ctx context.Context, key string) {
	j, err := p.load(ctx, key)
	if err == nil {
		err = j.run(ctx)
	}
	if j == nil || j.rec == nil {
		if err != nil && ctx.Err() == nil {
			p.cfg.Log.Error("deployment", "key", key, "err", err)
		}
		return
	}
	// The end is written also when the deployment was canceled; a process that ends leaves it to the next.
	last := context.WithoutCancel(ctx)
	stopped := ctx.Err() != nil
	if stopped && !p.canceling(last, key) {
		return
	}
	if err := j.end(last, err, stopped); err != nil {
		p.cfg.Log.Error("deployment", "id", j.rec.ID, "err", err)
	}
}

func (p *Provider) canceling(ctx context.Context, key string) (yes bool) {
	_ = p.engine.View(ctx, func(tx *rp.Tx) error {
		r, err := read[record](tx, recordKind, key)
		yes = err == nil && r.Canceling
		return err
	})
	return yes
}

// load reads a deployment and lays it out again, with the parameters as they were.
func (p *Provider) load(ctx context.Context, key string) (*job, error) {
	j := &job{p: p, done: map[*template.Resource]bool{}}
	var steps []*step
	err := p.engine.View(ctx, func(tx *rp.Tx) (err error) {
		if j.rec, err = read[record](tx, recordKind, key); err != nil {
			return err
		}
		if j.c, err = read[content](tx, contentKind, key); err != nil {
			return err
		}
		steps, err = scan[step](tx, operationKind, key+"/")
		return err
	})
	if err != nil {
		j.rec = nil
		if errors.Is(err, store.ErrNotFound) {
			return j, nil // it went meanwhile
		}
		return j, err
	}
	id, err := arm.ParseID(j.rec.ID)
	if err != nil {
		return j, err
	}
	j.host = host{p, session{caller: j.rec.Caller, correlation: j.rec.CorrelationID, base: j.rec.Base, address: j.rec.Address}}
	q := &request{id: id, location: j.rec.Location}
	var resolved *expr.Object
	for _, m := range []struct {
		to   **expr.Object
		data json.RawMessage
	}{{&q.template, j.c.Template}, {&q.parameters, j.c.Sent}, {&q.link, j.rec.TemplateLink}, {&resolved, j.c.Parameters}} {
		if m.data == nil {
			continue
		}
		v, err := expr.Decode(m.data)
		if err != nil {
			return j, err
		}
		*m.to, _ = v.(*expr.Object)
	}
	src := p.source(q)
	src.Resolved = resolved
	if j.d, err = template.Read(ctx, j.host, src); err != nil {
		return j, err
	}
	for _, r := range j.d.Resources {
		if !r.Condition || r.Existing {
			j.done[r] = true
		}
		for _, s := range steps { // of an earlier process
			if s.State == succeeded && s.Resource == r.ID && !j.done[r] {
				j.done[r] = true
				j.wrote(r)
			}
		}
	}
	return j, nil
}

// wrote notes the resources that a finished one has brought.
func (j *job) wrote(r *template.Resource) {
	if !r.Nested() {
		j.ids = append(j.ids, r.ID)
		return
	}
	if id, err := arm.ParseID(r.ID); err == nil {
		if inner, err := j.p.find(context.Background(), id); err == nil {
			j.ids = append(j.ids, inner.Resources...)
		}
	}
}

// ended is the outcome of one resource.
type ended struct {
	r   *template.Resource
	err error
}

// run writes the resources, each when those it depends on are there. When one fails, those that do not depend on it
// go on, as in Azure.
func (j *job) run(ctx context.Context) error {
	if j.rec == nil {
		return nil
	}
	if err := j.state(ctx, runs); err != nil {
		return err
	}
	started := map[*template.Resource]bool{}
	results := make(chan ended)
	under := 0
	for {
		for _, r := range j.d.Resources {
			if under >= j.p.cfg.Parallel || ctx.Err() != nil {
				break
			}
			if started[r] || j.done[r] || !j.ready(r) {
				continue
			}
			started[r] = true
			under++
			go func() { results <- ended{r, j.write(ctx, r)} }()
		}
		if under == 0 {
			break
		}
		e := <-results
		under--
		failure := arm.AsError(e.err)
		switch {
		case e.err == nil:
			j.done[e.r] = true
			j.wrote(e.r)
		case failure != nil:
			j.bad = append(j.bad, failure)
		case ctx.Err() == nil:
			j.p.cfg.Log.Error("deployment", "id", j.rec.ID, "resource", e.r.ID, "err", e.err)
			j.bad = append(j.bad, arm.Errorf(http.StatusInternalServerError, "InternalServerError", "The resource '%s' could not be written.", e.r.ID))
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(j.bad) > 0 {
		e := arm.Errorf(http.StatusConflict, "DeploymentFailed", "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details.")
		e.Target, e.Details = j.rec.ID, j.bad
		return e
	}
	if j.rec.Mode == "Complete" {
		if err := j.complete(ctx); err != nil {
			return err
		}
	}
	return j.outputs(ctx)
}

func (j *job) ready(r *template.Resource) bool {
	return !slices.ContainsFunc(r.DependsOn, func(on *template.Resource) bool { return !j.done[on] })
}

// state writes the deployment's state.
func (j *job) state(ctx context.Context, state string) error {
	return j.p.engine.Update(ctx, func(tx *rp.Tx) error {
		rec, err := read[record](tx, recordKind, j.rec.key())
		if err != nil {
			return err
		}
		if rec.Canceling {
			return context.Canceled
		}
		rec.State, rec.Changed = state, tx.Now
		j.rec = rec
		return put(tx, recordKind, rec.key(), rec)
	})
}

func (j *job) step(operation string, r *template.Resource) *step {
	now := j.p.cfg.Clock.Now()
	s := &step{Operation: operation, State: runs, Start: now, Changed: now, Tracking: uuid.NewString()}
	what := operation
	if r != nil {
		s.Resource, s.Type, s.Name = r.ID, r.Type, r.Name
		what = r.ID
	}
	s.ID = fmt.Sprintf("%016X", expr.Hash(j.rec.Operation+strings.ToLower(what)))
	if r == nil {
		s.ID = j.rec.Operation
	}
	return s
}

func (j *job) save(ctx context.Context, s *step) error {
	s.Changed = j.p.cfg.Clock.Now()
	return j.p.engine.Update(ctx, func(tx *rp.Tx) error {
		if _, err := tx.Get(recordKind, j.rec.key()); err != nil {
			return err // the deployment went with its group
		}
		return put(tx, operationKind, j.rec.key()+"/"+s.ID, s)
	})
}

// write writes one resource and waits until its provider has ended.
func (j *job) write(ctx context.Context, r *template.Resource) error {
	s := j.step("Create", r)
	if err := j.save(ctx, s); err != nil {
		return err
	}
	err := j.send(ctx, r, s)
	failure := arm.AsError(err)
	switch {
	case err == nil:
		s.State = succeeded
		if s.StatusCode == "" {
			s.StatusCode = "OK"
		}
	case failure != nil:
		s.State, s.Failure = failed, map[string]any{"error": failure}
		s.StatusCode = strings.ReplaceAll(http.StatusText(failure.Status), " ", "")
	case ctx.Err() != nil && !j.p.canceling(context.WithoutCancel(ctx), j.rec.key()):
		return err // the process ends; the next one begins again here
	default:
		s.State, s.StatusCode = failed, "InternalServerError"
		if ctx.Err() != nil {
			s.State, s.StatusCode = canceled, "Conflict"
		}
	}
	if serr := j.save(context.WithoutCancel(ctx), s); serr != nil && err == nil {
		return serr
	}
	return err
}

// send makes the PUT and follows its operation.
func (j *job) send(ctx context.Context, r *template.Resource, s *step) error {
	body, err := j.d.Body(ctx, r)
	if err != nil {
		return err
	}
	if r.Nested() && j.rec.TemplateLink != nil {
		body = relative(body, j.d.Source.Link)
	}
	for try := 0; ; try++ {
		a, err := j.host.do(ctx, http.MethodPut, r.ID, r.Version, body)
		if a.Header != nil {
			s.Request = a.Header.Get("x-ms-request-id")
		}
		if e := arm.AsError(err); e != nil && try < 60 && busy(e) {
			if err := j.settle(ctx, e); err != nil {
				return err
			}
			continue
		}
		if e := arm.AsError(err); e != nil {
			if e.Target == "" {
				e.Target = r.ID
			}
			return e
		}
		if err != nil {
			return err
		}
		s.StatusCode = strings.ReplaceAll(http.StatusText(a.Status), " ", "")
		err = j.follow(ctx, r, a.Header)
		if err == nil && a.Status == http.StatusAccepted {
			s.StatusCode = "OK" // as the end of what was accepted answers
		}
		return err
	}
}

// busy says that another operation holds the resource, or something that it stands in.
func busy(e *arm.Error) bool {
	return e.Code == "AnotherOperationInProgress" || e.Code == "DeploymentActive" || e.Status == http.StatusTooManyRequests
}

var inProgress = regexp.MustCompile(`operation '([0-9a-f-]{36})'`)

// settle waits for the operation that stands in the way, as the refusal names it, or as long as it says.
func (j *job) settle(ctx context.Context, e *arm.Error) error {
	if m := inProgress.FindStringSubmatch(e.Message); m != nil {
		_, _, err := j.p.engine.Await(ctx, m[1])
		return err
	}
	seconds, _ := strconv.Atoi(e.Header["Retry-After"])
	t := time.NewTimer(time.Duration(max(seconds, 1)) * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow waits for the end of what a PUT began.
func (j *job) follow(ctx context.Context, r *template.Resource, h http.Header) error {
	link := h.Get("Azure-AsyncOperation")
	if link == "" {
		link = h.Get("Location")
	}
	if link == "" {
		return nil
	}
	link, _, _ = strings.Cut(link, "?")
	var failure *arm.Error
	state := arm.Succeeded
	if r.Nested() {
		id, err := arm.ParseID(r.ID)
		if err != nil {
			return err
		}
		if err := j.p.await(ctx, id.Key()); err != nil {
			return err
		}
		inner, err := j.p.find(ctx, id)
		if err != nil {
			return err
		}
		state, failure = arm.ProvisioningState(inner.State), inner.Error
	} else {
		var err error
		if state, failure, err = j.p.engine.Await(ctx, link[strings.LastIndexByte(link, '/')+1:]); err != nil {
			return err
		}
	}
	if failure == nil && state == arm.Succeeded {
		return nil
	}
	e := arm.Errorf(http.StatusConflict, "ResourceDeploymentFailure", "The resource write operation failed to complete successfully, because it reached terminal provisioning state '%s'.", state)
	e.Target = r.ID
	if failure != nil {
		e.Details = []*arm.Error{failure}
	}
	return e
}

// outputs evaluates the outputs into the record.
func (j *job) outputs(ctx context.Context) error {
	s := j.step("EvaluateDeploymentOutput", nil)
	list, err := j.d.Outputs(ctx)
	if err != nil {
		e := arm.AsError(err)
		if e == nil {
			return err
		}
		wrapped := arm.Errorf(e.Status, "DeploymentOutputEvaluationFailed", "Unable to evaluate template outputs. Please see error details and deployment operations. Please see https://aka.ms/arm-common-errors for usage details.")
		wrapped.Details, wrapped.Target = []*arm.Error{e}, j.rec.ID
		s.State, s.StatusCode, s.Failure = failed, "BadRequest", map[string]any{"error": e}
		return errors.Join(wrapped, j.save(ctx, s))
	}
	if len(list) > 0 {
		out := expr.NewObject(len(list))
		for _, o := range list {
			shown := expr.ObjectOf("type", o.Type)
			if !o.Secure {
				shown.Set("value", o.Value)
			}
			out.Set(o.Name, shown)
		}
		b, err := expr.Encode(out, maxTemplate)
		if err != nil {
			return arm.Errorf(http.StatusBadRequest, "DeploymentOutputEvaluationFailed", "Unable to evaluate template outputs: they have more than 4 MB.")
		}
		j.rec.Outputs = b
	}
	s.State, s.StatusCode = succeeded, "OK"
	return j.save(ctx, s)
}

// end writes the last state, drops the secrets, and begins what is to follow a failure.
func (j *job) end(ctx context.Context, err error, stopped bool) error {
	failure := arm.AsError(err)
	state := succeeded
	switch {
	case stopped || errors.Is(err, context.Canceled):
		state = canceled
		failure = arm.Errorf(http.StatusConflict, "DeploymentCanceled", "The deployment '%s' was canceled.", j.rec.name())
	case failure != nil:
		state = failed
	case err != nil:
		j.p.cfg.Log.Error("deployment", "id", j.rec.ID, "err", err)
		state, failure = failed, arm.Errorf(http.StatusInternalServerError, "InternalServerError", "The deployment ended by an internal error. The server's log has the details under its correlation id.")
	}
	err = j.p.engine.Update(ctx, func(tx *rp.Tx) error {
		rec, err := read[record](tx, recordKind, j.rec.key())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		rec.State, rec.Error, rec.Changed, rec.Canceling = state, failure, tx.Now, false
		rec.Outputs, rec.Resources = j.rec.Outputs, j.ids
		if state == failed {
			rec.Outputs = nil
		}
		if j.d != nil {
			if err := j.forget(tx); err != nil {
				return err
			}
		}
		j.rec = rec
		return put(tx, recordKind, rec.key(), rec)
	})
	if err != nil || state != failed || j.rec.OnError == nil {
		return err
	}
	return j.p.rollback(ctx, j.rec)
}

// forget drops the values of secure parameters from what is kept.
func (j *job) forget(tx *rp.Tx) error {
	kept := j.d.Public()
	b, err := expr.Encode(kept, 2*maxTemplate)
	if err != nil {
		return err
	}
	c := *j.c
	c.Parameters = b
	return put(tx, contentKind, j.rec.key(), &c)
}
