package deploymentscripts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/isotime"
	"vauban.dev/provider/resources"
)

const (
	followEvery = 300 * time.Millisecond // how often a running script is looked at
	expireEvery = time.Minute            // how often one that has ended is: the region's clock may be moved
)

// admit decides whether a PUT runs the script: one that says nothing new does not, unless the last run failed. What a run
// needs is taken here, so that whatever refuses does so before anything is changed.
func (p *Provider) admit(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Script]) error {
	s := &new.Properties
	var before *Run
	if op == rp.Update {
		before = old.Properties.Run
	}
	run, err := s.newRun(new, before)
	if err != nil {
		return err
	}
	if before != nil && before.Sum == run.Sum && (!before.Ended || old.State == arm.Succeeded) {
		s.Run = before
		return nil
	}
	if err := run.complete(s); err != nil {
		return err
	}
	if err := p.storage(tx, s); err != nil {
		return err
	}
	subnet, _ := s.subnet()
	if run.NIC, err = p.cfg.Network.Allocate(tx, new.ID, subnet, new.Location, run.ID); err != nil {
		return err
	}
	s.Run, s.Outputs = run, nil
	s.Status = &Status{}
	return nil
}

// newRun makes a run of what the client says, and takes the secure values out of the resource. A variable without a value
// keeps the sum of the one that it had: a PATCH does not repeat secrets.
func (s *Script) newRun(r *rp.Resource[Script], before *Run) (*Run, error) {
	run := &Run{ID: uuid.NewString(), Salt: rand.Text(), Secure: map[string]string{}, Sums: map[string]string{}}
	if before != nil {
		run.Salt, run.Before = before.Salt, before.ID
	}
	for i := range s.Environment {
		v := &s.Environment[i]
		switch {
		case v.Secure != "":
			run.Secure[v.Name], run.Sums[v.Name] = v.Secure, run.sum([]byte(v.Secure))
			v.Secure = ""
		case v.Value == "" && before != nil && before.Sums[v.Name] != "":
			run.Sums[v.Name] = before.Sums[v.Name]
		}
	}
	said := *s
	said.Status, said.Outputs, said.Run, said.Storage = nil, nil, nil, nil
	b, err := json.Marshal([]any{r.Kind, identity(r.Identity), said, run.Sums})
	if err != nil {
		return nil, err
	}
	run.Sum = run.sum(b)
	return run, nil
}

func (r *Run) sum(b []byte) string {
	h := hmac.New(sha256.New, []byte(r.Salt))
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

// complete refuses a run of which a secure value is known by its sum only.
func (r *Run) complete(s *Script) error {
	for _, v := range s.Environment {
		if _, have := r.Secure[v.Name]; !have && r.Sums[v.Name] != "" {
			return invalid("The environment variable '%s' needs its secureValue again: the script has changed and runs anew.", v.Name)
		}
	}
	return nil
}

// identity is the one that the CLI signs in as: the first by its id.
func identity(i *arm.Identity) string {
	if i == nil || len(i.UserAssignedIdentities) == 0 {
		return ""
	}
	return slices.Min(slices.Collect(maps.Keys(i.UserAssignedIdentities)))
}

// storage checks an account of the user's as Azure does.
func (p *Provider) storage(tx *rp.Tx, s *Script) error {
	if s.Storage == nil || s.Storage.Account == "" {
		return nil
	}
	id, kind, err := p.cfg.Account(tx, s.Storage.Account)
	switch {
	case err != nil:
		return err
	case id.IsZero():
		return bad("DeploymentScriptStorageAccountNotFound", "The storage account '%s' was not found.", clip(s.Storage.Account))
	case kind == "BlobStorage" || kind == "BlockBlobStorage":
		return bad("DeploymentScriptStorageAccountInvalidKind", "The storage account '%s' is of the kind %s, which does not support file shares.", s.Storage.Account, kind)
	}
	return nil
}

// reconcile starts the script, follows it, and removes its record when the retention interval is over.
func (p *Provider) reconcile(ctx context.Context, r *rp.Resource[Script]) (rp.Result, error) {
	s := &r.Properties
	if s.Run.Ended {
		return p.expire(ctx, r)
	}
	if !s.Run.Started {
		if err := p.start(ctx, r); err != nil {
			return rp.Result{}, err
		}
		s.Run.Started, s.Status.Start = true, p.cfg.Clock.Now().UTC()
		return rp.Result{After: followEvery}, nil
	}
	result, err := p.cfg.Launcher.Result(s.Run.ID)
	if errors.Is(err, ErrRunning) {
		return rp.Result{After: followEvery}, nil
	}
	if err != nil {
		return rp.Result{}, err
	}
	return p.ended(ctx, r, result)
}

func (p *Provider) start(ctx context.Context, r *rp.Resource[Script]) error {
	s := &r.Properties
	timeout, err := isotime.ParseDuration(s.Timeout)
	if err != nil {
		return err
	}
	t := Task{ID: s.Run.ID, NIC: s.Run.NIC, Content: s.Content, URI: s.PrimaryURI, Supporting: s.SupportingURIs, Args: splitArguments(s.Arguments),
		Env: map[string]string{}, Timeout: timeout, Subscription: r.ID.Subscription(), Identity: identity(r.Identity), ContainerName: "azscripts"}
	if t.Identity != "" {
		t.ClientID = r.Identity.UserAssignedIdentities[t.Identity].ClientID
	}
	if s.Container != nil && s.Container.Group != "" {
		t.ContainerName = s.Container.Group
	}
	for _, v := range s.Environment {
		t.Env[v.Name] = v.Value
	}
	maps.Copy(t.Env, s.Run.Secure)
	if s.Run.Before != "" {
		if err := p.cfg.Launcher.Remove(ctx, s.Run.Before); err != nil {
			return err
		}
	}
	if err := p.cfg.Network.Sync(ctx); err != nil {
		return err
	}
	return p.cfg.Launcher.Start(ctx, t)
}

// ended notes what came of the script, and gives back what the run had.
func (p *Provider) ended(ctx context.Context, r *rp.Resource[Script], result Result) (rp.Result, error) {
	s := &r.Properties
	if err := p.cfg.Engine.Update(ctx, func(tx *rp.Tx) error { return p.cfg.Network.Release(tx, r.ID, s.Run.NIC) }); err != nil {
		return rp.Result{}, err
	}
	if s.Cleanup == "Always" || s.Cleanup == "OnSuccess" && result.Code == "" {
		if err := p.cfg.Launcher.Clean(ctx, s.Run.ID); err != nil {
			return rp.Result{}, err
		}
	}
	retention, err := isotime.ParseDuration(s.Retention)
	if err != nil {
		return rp.Result{}, err
	}
	now := p.cfg.Clock.Now().UTC()
	s.Run.Ended, s.Run.Secure = true, nil
	s.Status.End, s.Status.Expiration = now, now.Add(retention)
	s.Outputs = result.Outputs
	after := rp.Result{After: expireEvery, Ready: true}
	if result.Code == "" {
		return after, nil
	}
	failure := arm.Errorf(http.StatusConflict, result.Code, "%s", result.Message)
	for _, line := range result.Lines {
		failure.Details = append(failure.Details, &arm.Error{Code: result.Code, Message: line})
	}
	s.Status.Error = failure
	return after, failure
}

// expire removes the resource when its retention interval is over ("Clean up deployment script resources").
func (p *Provider) expire(ctx context.Context, r *rp.Resource[Script]) (rp.Result, error) {
	if left := r.Properties.Status.Expiration.Sub(p.cfg.Clock.Now()); left > 0 {
		return rp.Result{After: min(left, expireEvery), Ready: true}, nil
	}
	return rp.Result{}, p.cfg.Engine.Update(ctx, func(tx *rp.Tx) error {
		now, err := rp.Get[Script](tx, r.ID)
		if err != nil || now.Properties.Run.ID != r.Properties.Run.ID {
			return ignoreGone(err)
		}
		return rp.Remove(tx, r.ID)
	})
}

func ignoreGone(err error) error {
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// release refuses to delete a script that runs, in its first hour, unless its group goes.
func release(_ context.Context, tx *rp.Tx, r *rp.Resource[Script]) error {
	s := &r.Properties
	if s.Run == nil || s.Run.Ended || tx.Now.Sub(s.Status.Start) > time.Hour && s.Run.Started {
		return nil
	}
	g, err := rp.Get[resources.Group](tx, r.ID.Scope())
	if err != nil || g.State == arm.Deleting {
		return ignoreGone(err)
	}
	return arm.Errorf(http.StatusConflict, "DeploymentScriptResourceConflict", "The deployment script '%s' cannot be deleted: it is in a non-terminal state and its execution has not exceeded one hour.", r.ID.Name())
}

func (p *Provider) finalize(ctx context.Context, r *rp.Resource[Script]) (rp.Result, error) {
	return rp.Result{}, p.cfg.Launcher.Remove(ctx, r.Properties.Run.ID)
}

func (p *Provider) erase(_ context.Context, tx *rp.Tx, r *rp.Resource[Script]) error {
	return p.cfg.Network.Release(tx, r.ID, r.Properties.Run.NIC)
}
