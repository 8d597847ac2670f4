package policyinsights

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
	"vauban.dev/provider/policy"
	"vauban.dev/store"
)

// dueKind are the deployments that deployIfNotExists will look into, by the time at which it does.
const dueKind = "policy.due"

// due is one of them.
type due struct {
	ResourceID string    `json:"resourceId"`
	Assignment string    `json:"policyAssignmentId"`
	Reference  string    `json:"policyDefinitionReferenceId,omitempty"`
	At         time.Time `json:"at"`
}

// noteEvent remembers a resource that was written; the scanner's lock is held.
func (p *Provider) noteEvent(c store.Change) {
	var e rp.Event
	if c.Value == nil || json.Unmarshal(c.Value, &e) != nil || e.Type != "Microsoft.Resources.ResourceWriteSuccess" {
		return
	}
	p.written = append(p.written, written{e.Subject, e.Time})
}

// written is a resource that was written.
type written struct {
	id string
	at time.Time
}

func (p *Provider) takeWritten() []written {
	p.scans.mu.Lock()
	defer p.scans.mu.Unlock()
	w := p.written
	p.written = nil
	return w
}

// deployDue plans the deployments of what was written and makes those whose time has come. It returns when the next
// one is due.
func (p *Provider) deployDue(ctx context.Context) (next time.Time, err error) {
	index, err := p.cfg.Policies.Index(ctx)
	if err != nil {
		return next, err
	}
	seen := map[string]bool{}
	for _, w := range p.takeWritten() {
		if key := strings.ToLower(w.id); !seen[key] {
			seen[key] = true
			if err := p.plan(ctx, index, w); err != nil {
				return next, err
			}
		}
	}
	now := p.cfg.Clock.Now()
	ready := map[string]due{}
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		var bad error
		err := tx.Scan(dueKind, "", "", func(d store.Doc) bool {
			var one due
			if bad = json.Unmarshal(d.Value, &one); bad != nil {
				return false
			}
			if one.At.After(now) {
				next = one.At
				return false
			}
			ready[d.Key] = one
			return true
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return next, err
	}
	for key, one := range ready {
		if err := p.deployOne(ctx, index, one); err != nil {
			if ctx.Err() != nil {
				return next, ctx.Err()
			}
			p.cfg.Log.Warn("deployIfNotExists", "resource", one.ResourceID, "assignment", one.Assignment, "err", err)
		}
		if err := p.engine.Update(ctx, func(tx *rp.Tx) error { return tx.Delete(dueKind, key, store.Any) }); err != nil && !errors.Is(err, store.ErrNotFound) {
			return next, err
		}
	}
	return next, nil
}

// plan notes when the definitions that deploy look at a resource that was written.
func (p *Provider) plan(ctx context.Context, index *rules.Index, w written) error {
	id, err := arm.ParseID(w.id)
	if err != nil || !index.Concerns(policy.TypeName(id.Type().String())) {
		return nil
	}
	found, rc, res, err := p.deploying(ctx, index, id)
	if err != nil {
		return err
	}
	for _, f := range found {
		after, _ := f.Delay(rc, res)
		one := due{ResourceID: id.String(), Assignment: f.Assignment.ID, Reference: f.ReferenceID, At: w.at.Add(after)}
		b, err := json.Marshal(one)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%020d/%s %s %s", one.At.UnixNano(), id.Key(), strings.ToLower(one.Assignment), strings.ToLower(one.Reference))
		if err := p.engine.Update(ctx, func(tx *rp.Tx) error { _, err := tx.Put(dueKind, key, b, store.Any); return err }); err != nil {
			return err
		}
	}
	return nil
}

// deploying are the definitions with deployIfNotExists whose condition holds for a resource that exists.
func (p *Provider) deploying(ctx context.Context, index *rules.Index, id arm.ID) (found []*rules.Finding, rc *rules.RequestContext, res *rules.Resource, err error) {
	var doc *rp.Document
	err = p.engine.View(ctx, func(tx *rp.Tx) error { doc, err = rp.ReadDocument(ctx, tx, id); return err })
	if arm.AsError(err) != nil {
		return nil, nil, nil, nil // gone again
	}
	if err != nil {
		return nil, nil, nil, err
	}
	scopes, err := p.cfg.Policies.Enclosing(ctx, id)
	if err != nil {
		return nil, nil, nil, err
	}
	res = policy.NewResource(doc.ID, doc.Type, doc.Kind, doc.Body)
	rc = p.cfg.Policies.ScanContext(ctx, id, doc.Version)
	for _, f := range index.Write(rc, scopes, res, false).After {
		if f.Effect == rules.DeployIfNotExists {
			found = append(found, f)
		}
	}
	return found, rc, res, nil
}

// deployOne deploys what still does not exist.
func (p *Provider) deployOne(ctx context.Context, index *rules.Index, one due) error {
	id, err := arm.ParseID(one.ResourceID)
	if err != nil {
		return err
	}
	found, rc, res, err := p.deploying(ctx, index, id)
	if err != nil {
		return err
	}
	for _, f := range found {
		if !strings.EqualFold(f.Assignment.ID, one.Assignment) || !strings.EqualFold(f.ReferenceID, one.Reference) {
			continue
		}
		satisfied := false
		err := p.engine.View(ctx, func(tx *rp.Tx) error {
			satisfied, err = f.Satisfied(rc, res, related(ctx, tx))
			return err
		})
		if err != nil || satisfied {
			return err
		}
		d, err := f.Deployment(rc, res)
		if err != nil {
			return err
		}
		_, err = p.deploy(ctx, f.Bound, d)
		return err
	}
	return nil
}
