package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
)

// idOf is the id of the deployment that a path goes through.
func idOf(r *rp.Request) (arm.ID, error) {
	segments := strings.Split(r.Path, "/")
	for i := len(segments) - 2; i > 0; i-- {
		if !strings.EqualFold(segments[i], "deployments") {
			continue
		}
		path := strings.Join(segments[:i+2], "/")
		if !strings.EqualFold(segments[i-1], "Microsoft.Resources") { // the older path
			path = strings.Join(segments[:i], "/") + "/providers/Microsoft.Resources/deployments/" + segments[i+1]
		}
		return arm.ParseID(canonical(path))
	}
	return arm.ID{}, arm.Errorf(http.StatusNotFound, "NotFound", "No operation matches the request URI '%s'.", r.Path)
}

// canonical spells the fixed segments of a deployment's path as Azure does.
func canonical(path string) string {
	for _, word := range []string{"resourceGroups", "providers", "Microsoft.Resources", "deployments", "subscriptions", "Microsoft.Management", "managementGroups"} {
		segments := strings.Split(path, "/")
		for i, s := range segments {
			named := i > 0 && (strings.EqualFold(segments[i-1], "resourceGroups") || strings.EqualFold(segments[i-1], "deployments") || strings.EqualFold(segments[i-1], "managementGroups"))
			if strings.EqualFold(s, word) && !named {
				segments[i] = word
			}
		}
		path = strings.Join(segments, "/")
	}
	return path
}

// standing refuses a group that is being deleted.
func standing(tx *rp.Tx, group arm.ID) error {
	g, err := rp.Get[resources.Group](tx, group)
	if err == nil && g.State == arm.Deleting {
		return arm.Errorf(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", group.ResourceGroup())
	}
	return err
}

func (p *Provider) put(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	q, err := p.read(ctx, id, r.Body)
	if err != nil {
		return nil, err
	}
	s := sessionOf(ctx, r)
	if old, err := p.find(ctx, id); err == nil && old.active() {
		return nil, activeError(old)
	}
	d, err := p.checked(ctx, q, s)
	if err != nil {
		return nil, err
	}
	rec, c, err := p.recordOf(q, d, s)
	if err != nil {
		return nil, err
	}
	rec.Operation = fmt.Sprintf("%020d", expr.Hash(rec.key()+rec.CorrelationID+rec.Start.String()))
	created, err := p.begin(ctx, rec, c)
	if err != nil {
		return nil, err
	}
	p.start(rec.key())
	res := &rp.Response{Status: http.StatusOK, Header: http.Header{}, Body: p.show(rec)}
	if created {
		res.Status = http.StatusCreated
	}
	res.Header.Set("Azure-AsyncOperation", r.Base+rec.ID+"/operationStatuses/"+rec.Operation+"?api-version="+r.Query.Get("api-version"))
	res.Header.Set("Retry-After", "0")
	return res, nil
}

func (p *Provider) validate(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	q, err := p.read(ctx, id, r.Body)
	if err != nil {
		return nil, err
	}
	s := sessionOf(ctx, r)
	d, err := p.checked(ctx, q, s)
	if err != nil {
		return nil, err
	}
	rec, _, err := p.recordOf(q, d, s)
	if err != nil {
		return nil, err
	}
	rec.State = succeeded
	shown := p.show(rec)
	validated := []map[string]string{}
	for _, r := range deployed(d) {
		validated = append(validated, map[string]string{"id": r.ID})
	}
	shown.Properties["validatedResources"] = validated
	return &rp.Response{Status: http.StatusOK, Body: shown}, nil
}

func (p *Provider) get(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	rec, err := p.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodHead {
		return &rp.Response{Status: http.StatusNoContent}, nil
	}
	return &rp.Response{Status: http.StatusOK, Body: p.show(rec)}, nil
}

// list is the history of a scope, the newest first. $filter knows provisioningState eq '…'; $top.
func (p *Provider) list(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	scope, err := arm.ParseID(canonical(r.Path[:strings.LastIndex(strings.ToLower(r.Path), "/providers/")] + "/"))
	if err != nil {
		return nil, err
	}
	state := ""
	if f := r.Query.Get("$filter"); f != "" {
		words := strings.Fields(f)
		if len(words) != 3 || !strings.EqualFold(words[0], "provisioningState") || !strings.EqualFold(words[1], "eq") {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string.", f)
		}
		state = strings.Trim(words[2], "'")
	}
	top, err := topOf(r)
	if err != nil {
		return nil, err
	}
	var all []*record
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		if scope.ResourceGroup() != "" {
			if _, err := rp.Get[resources.Group](tx, scope); err != nil {
				return err
			}
		}
		all, err = scan[record](tx, recordKind, prefix(scope))
		return err
	})
	if err != nil {
		return nil, err
	}
	newestFirst(all)
	value := []any{}
	for _, rec := range all {
		if (state == "" || strings.EqualFold(rec.State, state)) && (top == 0 || len(value) < top) {
			value = append(value, p.show(rec))
		}
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"value": value}}, nil
}

func topOf(r *rp.Request) (int, error) {
	t := r.Query.Get("$top")
	if t == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(t)
	if err != nil || n < 1 {
		return 0, arm.Errorf(http.StatusBadRequest, "InvalidTopInQueryString", "The value '%s' of $top is not a positive number.", t)
	}
	return n, nil
}

func (p *Provider) remove(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		rec, err := read[record](tx, recordKind, id.Key())
		switch {
		case errors.Is(err, store.ErrNotFound):
			return notFound(id)
		case err != nil:
			return err
		case rec.active():
			return activeError(rec)
		}
		return erase(tx, id.Key())
	})
	if err != nil {
		return nil, err
	}
	res := &rp.Response{Status: http.StatusAccepted, Header: http.Header{}}
	res.Header.Set("Location", r.Base+id.String()+"/operationResults/"+uuid.NewString()+"?api-version="+r.Query.Get("api-version"))
	res.Header.Set("Retry-After", "1")
	return res, nil
}

// removed is the end of a deletion: it was over when its Location was given out.
func (p *Provider) removed(_ context.Context, _ *rp.Request, path map[string]string) (*rp.Response, error) {
	if uuid.Validate(path["operation"]) != nil {
		return nil, arm.Errorf(http.StatusNotFound, "NotFound", "There is no operation '%s'.", path["operation"])
	}
	return &rp.Response{Status: http.StatusNoContent}, nil
}

func (p *Provider) cancel(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		rec, err := read[record](tx, recordKind, id.Key())
		switch {
		case errors.Is(err, store.ErrNotFound):
			return notFound(id)
		case err != nil:
			return err
		case !rec.active():
			return arm.Errorf(http.StatusConflict, "DeploymentCannotBeCancelled", "The deployment '%s' cannot be cancelled because it has provisioning state '%s' or it has already expired (expiration time is '%s').", rec.name(), rec.State, azureTime(expires(rec)))
		}
		rec.Canceling = true
		return put(tx, recordKind, rec.key(), rec)
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if run := p.running[id.Key()]; run != nil {
		run.cancel()
	}
	p.mu.Unlock()
	if err := p.await(ctx, id.Key()); err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusNoContent}, nil
}

func (p *Provider) export(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	var c *content
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		c, err = read[content](tx, contentKind, id.Key())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(id)
	}
	if err != nil {
		return nil, err
	}
	template, err := spelled(c.Template)
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"template": template}}, nil
}

// longPoll is how long a poll of a running deployment waits for its end.
const longPoll = 2 * time.Second

func (p *Provider) operationStatus(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, longPoll)
	_ = p.await(wait, id.Key()) // then the state says whether it has ended
	cancel()
	rec, err := p.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if rec.Operation != path["operation"] {
		return nil, arm.Errorf(http.StatusNotFound, "DeploymentOperationNotFound", "The operation '%s' of the deployment '%s' could not be found.", path["operation"], rec.name())
	}
	body := map[string]any{"status": rec.State}
	if rec.Error != nil {
		body["error"] = rec.Error
	}
	res := &rp.Response{Status: http.StatusOK, Header: http.Header{}, Body: body}
	if rec.active() {
		res.Header.Set("Retry-After", "1")
	}
	return res, nil
}

func (p *Provider) operations(ctx context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	rec, steps, err := p.steps(ctx, id)
	if err != nil {
		return nil, err
	}
	top, err := topOf(r)
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, s := range steps {
		if top == 0 || len(value) < top {
			value = append(value, showStep(rec, s))
		}
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"value": value}}, nil
}

func (p *Provider) steps(ctx context.Context, id arm.ID) (rec *record, steps []*step, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		if rec, err = read[record](tx, recordKind, id.Key()); err != nil {
			return err
		}
		steps, err = scan[step](tx, operationKind, id.Key()+"/")
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = notFound(id)
	}
	inOrder(steps)
	return rec, steps, err
}

func (p *Provider) operation(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, err
	}
	rec, steps, err := p.steps(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if strings.EqualFold(s.ID, path["operation"]) {
			return &rp.Response{Status: http.StatusOK, Body: showStep(rec, s)}, nil
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "DeploymentOperationNotFound", "The operation '%s' of the deployment '%s' could not be found.", path["operation"], rec.name())
}

// hash is calculateTemplateHash.
func (p *Provider) hash(_ context.Context, r *rp.Request, _ map[string]string) (*rp.Response, error) {
	v, err := expr.Decode(r.Body)
	t, ok := v.(*expr.Object)
	if err != nil || !ok {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: the body must be a template.")
	}
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]string{"minifiedTemplate": string(b), "templateHash": template.Hash(t)}}, nil
}
