package policyinsights

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
	"vauban.dev/provider/policy"
)

// triggerEvaluation is POST …/policyStates/latest/triggerEvaluation: the scan is made, then its end is told at
// Location, as clients of an asynchronous operation expect.
func (p *Provider) triggerEvaluation(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	scope, err := policy.ScopeOf(path)
	if err != nil {
		return nil, err
	}
	if err := p.engine.View(ctx, func(tx *rp.Tx) error { return rp.Exists(tx, scope) }); err != nil {
		return nil, err
	}
	if err := p.scans.everything(ctx); err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set("Location", r.Base+"/subscriptions/"+path["subscription"]+provider+"asyncOperationResults/"+uuid.NewString()+"?api-version="+stateVersion)
	h.Set("Retry-After", "1")
	return &rp.Response{Status: http.StatusAccepted, Header: h}, nil
}

// scanResult is the end of a scan: it was over when its Location was given out.
func (p *Provider) scanResult(_ context.Context, _ *rp.Request, path map[string]string) (*rp.Response, error) {
	if _, err := uuid.Parse(path["scan"]); err != nil {
		return nil, arm.Errorf(http.StatusNotFound, "NotFound", "There is no scan '%s'.", path["scan"])
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"status": "Succeeded"}}, nil
}

// restrictionRequest is the body of checkPolicyRestrictions.
type restrictionRequest struct {
	Details struct {
		Content    map[string]any `json:"resourceContent"`
		APIVersion string         `json:"apiVersion"`
		Scope      string         `json:"scope"`
	} `json:"resourceDetails"`
	Fields []struct {
		Field  string `json:"field"`
		Values []any  `json:"values"`
	} `json:"pendingFields"`
	Audit bool `json:"includeAuditEffect"`
}

// checkRestrictions is POST …/checkPolicyRestrictions ("Policy Restrictions - Check At Subscription Scope"): what
// policy would say of a resource that is not there yet. Which values a pending field may have is not worked out.
func (p *Provider) checkRestrictions(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	scope, err := policy.ScopeOf(path)
	if err != nil {
		return nil, err
	}
	var in restrictionRequest
	if err := json.Unmarshal(r.Body, &in); err != nil || in.Details.Content == nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidCheckRestrictionsRequest", "The request needs resourceDetails.resourceContent with the resource's type.")
	}
	typ, _ := in.Details.Content["type"].(string)
	name, _ := in.Details.Content["name"].(string)
	if name == "" {
		name = "pending"
	}
	if strings.Count(typ, "/") != 1 {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidCheckRestrictionsRequest", "resourceDetails.resourceContent.type '%s' is not the type of a resource in a group.", typ)
	}
	if at := in.Details.Scope; at != "" {
		inner, err := arm.ParseID(at)
		if err != nil || !inner.Within(scope) {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidCheckRestrictionsRequest", "resourceDetails.scope '%s' does not lie in '%s'.", at, scope)
		}
		scope = inner
	}
	id, err := arm.ParseID(strings.TrimSuffix(scope.String(), "/") + "/providers/" + typ + "/" + name)
	if err != nil {
		return nil, err
	}
	index, err := p.cfg.Policies.Index(ctx)
	if err != nil {
		return nil, err
	}
	enclosing, err := p.cfg.Policies.Enclosing(ctx, id)
	if err != nil {
		return nil, err
	}
	res := policy.NewResource(id, typ, rp.Tracked, in.Details.Content)
	d := index.Write(p.cfg.Policies.ScanContext(ctx, id, in.Details.APIVersion), enclosing, res, false)
	evaluations := []any{}
	add := func(all []*rules.Finding) {
		for _, f := range all {
			evaluations = append(evaluations, map[string]any{
				"policyInfo":       map[string]any{"policyAssignmentId": f.Assignment.ID, "policyDefinitionId": f.Definition.ID, "policySetDefinitionId": setID(f.Bound), "policyDefinitionReferenceId": f.ReferenceID},
				"evaluationResult": rules.NonCompliant, "evaluationDetails": map[string]any{"evaluatedExpressions": f.Expressions},
				"effectDetails": map[string]any{"policyEffect": rules.EffectName(f.Effect)},
			})
		}
	}
	add(d.Denied)
	if in.Audit {
		add(d.Audited)
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{
		"fieldRestrictions":       p.fieldRestrictions(ctx, index, enclosing, res, in),
		"contentEvaluationResult": map[string]any{"policyEvaluations": evaluations},
	}}, nil
}

// fieldRestrictions tries the candidate values of the pending fields: those that policy would refuse are told.
func (p *Provider) fieldRestrictions(ctx context.Context, index *rules.Index, enclosing []string, res *rules.Resource, in restrictionRequest) []any {
	out := []any{}
	id, err := arm.ParseID(res.ID)
	if err != nil {
		return out
	}
	for _, f := range in.Fields {
		restrictions := []any{}
		for _, v := range f.Values {
			tried := *res
			tried.Body = map[string]any{}
			for k, x := range res.Body {
				tried.Body[k] = x
			}
			if !rules.SetField(&tried, f.Field, v) {
				continue
			}
			for _, d := range index.Write(p.cfg.Policies.ScanContext(ctx, id, in.Details.APIVersion), enclosing, &tried, false).Denied {
				restrictions = append(restrictions, map[string]any{
					"result": "Deny", "values": []any{v}, "policyEffect": rules.EffectName(d.Effect),
					"policy": map[string]any{"policyAssignmentId": d.Assignment.ID, "policyDefinitionId": d.Definition.ID, "policySetDefinitionId": setID(d.Bound), "policyDefinitionReferenceId": d.ReferenceID},
				})
			}
		}
		if len(restrictions) > 0 {
			out = append(out, map[string]any{"field": f.Field, "restrictions": restrictions})
		}
	}
	return out
}

func setID(b *rules.Bound) any {
	if b.Set == nil {
		return nil
	}
	return b.Set.ID
}

// listMetadata is GET /providers/Microsoft.PolicyInsights/policyMetadata: regulatory texts, of which the region has none.
func listMetadata(context.Context, *rp.Request, map[string]string) (*rp.Response, error) {
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"value": []any{}}}, nil
}

func getMetadata(_ context.Context, _ *rp.Request, path map[string]string) (*rp.Response, error) {
	return nil, arm.Errorf(http.StatusNotFound, "PolicyMetadataNotFound", "The policy metadata '%s' could not be found.", path["metadata"])
}
