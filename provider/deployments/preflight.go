package deployments

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
	"vauban.dev/authz"
)

// preflight asks policies, locks, providers and quotas about all that a deployment would write, before anything is
// written. A resource of which only the deployment will know all (reference, list*) is asked about when it is written.
func (p *Provider) preflight(ctx context.Context, d *template.Deployment, s session) error {
	drafts, err := p.drafts(ctx, d, host{p, s})
	if err != nil {
		return err
	}
	allowed, details, err := p.govern(ctx, drafts, s)
	if err != nil {
		return err
	}
	policies := len(details)
	refused, err := p.engine.Preflight(ctx, allowed)
	if err != nil {
		return err
	}
	for _, r := range refused {
		detail := *r.Error
		if detail.Target == "" {
			detail.Target = r.ID.String()
		}
		details = append(details, &detail)
	}
	if len(details) == 0 {
		return nil
	}
	if !slices.ContainsFunc(details, func(e *arm.Error) bool { return e.Status != http.StatusNotImplemented }) {
		return details[0] // the region's own refusal stands for itself
	}
	message := "The template deployment failed with multiple errors. Please see details for more information."
	switch {
	case policies == 0:
		message = fmt.Sprintf("The template deployment '%s' is not valid according to the validation procedure. The tracking id is '%s'. See inner errors for details.", d.Source.Name, s.correlation)
	case len(details) == 1:
		message = "The template deployment failed because of policy violation. Please see details for more information."
	}
	return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidTemplateDeployment", Message: message, Details: details}
}

// drafts are the resources of a template and of those nested in it whose bodies are known.
func (p *Provider) drafts(ctx context.Context, d *template.Deployment, h host) (all []rp.Draft, err error) {
	for _, r := range deployed(d) {
		body, err := d.Judged(ctx, r)
		if err != nil {
			if e := arm.AsError(err); e != nil {
				continue // told when it is deployed
			}
			return nil, err
		}
		id, err := arm.ParseID(r.ID)
		if err != nil {
			return nil, err
		}
		if r.Nested() {
			inner, err := p.nestedDrafts(ctx, d, id, body, h)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
			continue
		}
		if !settled(body) {
			continue
		}
		b, err := expr.Encode(body, maxTemplate)
		if err != nil {
			continue // as it is too large to be sent
		}
		all = append(all, rp.Draft{ID: id, Version: r.Version, Body: b})
	}
	return all, nil
}

// nestedDrafts are none where the nested template depends on what is not there yet.
func (p *Provider) nestedDrafts(ctx context.Context, d *template.Deployment, id arm.ID, body *expr.Object, h host) ([]rp.Draft, error) {
	data, err := expr.Encode(relative(body, d.Source.Link), maxTemplate)
	if err != nil {
		return nil, nil
	}
	q, err := p.read(ctx, id, data)
	var inner *template.Deployment
	if err == nil {
		inner, err = p.plan(ctx, q, h.s)
	}
	if arm.AsError(err) != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p.drafts(ctx, inner, h)
}

// settled says that nothing in a body is left to be evaluated. A text that only looks so is taken for an expression.
func settled(v any) bool {
	switch v := v.(type) {
	case string:
		return !strings.HasPrefix(v, "[")
	case []any:
		for _, x := range v {
			if !settled(x) {
				return false
			}
		}
	case *expr.Object:
		for _, x := range v.All() {
			if !settled(x) {
				return false
			}
		}
	}
	return true
}

// govern takes drafts past the policies, which may rewrite them.
func (p *Provider) govern(ctx context.Context, drafts []rp.Draft, s session) (allowed []rp.Draft, disallowed []*arm.Error, err error) {
	if p.cfg.Policy == nil {
		return drafts, nil, nil
	}
	ctx = authz.NewContext(ctx, s.caller)
	for _, d := range drafts {
		target, err := p.engine.Resolve(ctx, http.MethodPut, d.ID.String(), d.Version)
		if arm.AsError(err) != nil {
			continue // told by resolve, or when it is deployed
		}
		if err != nil {
			return nil, nil, err
		}
		r := &rp.Request{Method: http.MethodPut, Path: d.ID.String(), Query: url.Values{"api-version": {d.Version}}, Header: http.Header{}, Body: d.Body, Base: s.base,
			ClientAddress: s.address, CorrelationID: s.correlation, Start: p.cfg.Clock.Now()}
		_, err = p.cfg.Policy.Before(ctx, target, r)
		if e := arm.AsError(err); e != nil {
			if e.Code != "RequestDisallowedByPolicy" {
				continue // such as a group that the template makes: told when it is deployed
			}
			detail := *e
			if detail.Target == "" {
				detail.Target = d.ID.Name()
			}
			disallowed = append(disallowed, &detail)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		d.Body = r.Body
		allowed = append(allowed, d)
	}
	return allowed, disallowed, nil
}
