package policyinsights

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	rules "vauban.dev/policy"
	"vauban.dev/provider/policy"
)

// The states of a remediation.
const (
	accepted   = "Accepted"
	evaluating = "Evaluating"
	succeeded  = "Succeeded"
	failed     = "Failed"
	canceled   = "Canceled"
)

// Remediation is the properties of a remediation (PolicyInsights REST: RemediationProperties).
type Remediation struct {
	AssignmentID  string     `json:"policyAssignmentId"`
	ReferenceID   string     `json:"policyDefinitionReferenceId,omitempty"`
	DiscoveryMode string     `json:"resourceDiscoveryMode,omitempty"` // ExistingNonCompliant, ReEvaluateCompliance
	Filters       *Filters   `json:"filters,omitempty"`
	ResourceCount int        `json:"resourceCount,omitempty"`
	Parallel      int        `json:"parallelDeployments,omitempty"`
	Threshold     *Threshold `json:"failureThreshold,omitempty"`
	State         string     `json:"provisioningState" rp:"readonly"`
	CreatedOn     time.Time  `json:"createdOn,omitzero" rp:"readonly"`
	UpdatedOn     time.Time  `json:"lastUpdatedOn,omitzero" rp:"readonly"`
	Status        Counts     `json:"deploymentStatus" rp:"readonly"`
	Message       string     `json:"statusMessage" rp:"readonly"`
	CorrelationID string     `json:"correlationId" rp:"readonly"`
	Deployments   []Deployed `json:"deployments,omitempty" rp:"private"`
}

// Filters narrow a remediation down.
type Filters struct {
	Locations []string `json:"locations,omitempty"`
}

// Threshold is the share of failures, from 0 to 1, beyond which a remediation has failed.
type Threshold struct {
	Percentage float64 `json:"percentage"`
}

// Counts of a remediation's changes.
type Counts struct {
	Total     int `json:"totalDeployments"`
	Succeeded int `json:"successfulDeployments"`
	Failed    int `json:"failedDeployments"`
}

// Deployed is the change of one resource (RemediationDeployment).
type Deployed struct {
	ResourceID string     `json:"remediatedResourceId"`
	Deployment string     `json:"deploymentId,omitempty"` // of deployIfNotExists
	Status     string     `json:"status"`
	Location   string     `json:"resourceLocation,omitempty"`
	Error      *arm.Error `json:"error,omitempty"`
	CreatedOn  time.Time  `json:"createdOn"`
	UpdatedOn  time.Time  `json:"lastUpdatedOn"`
}

// defaultCount is how many resources a remediation changes unless it says otherwise; Azure allows 50,000.
const defaultCount, maxCount = 500, 50_000

func (p *Provider) remediations() rp.Type[Remediation] {
	return rp.Type[Remediation]{
		Name: RemediationType, Kind: rp.Extension, Versions: rp.Versions[Remediation](remediationVersions...), StateProperty: "-", SyncDelete: true,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "RemediationNotFound", "The remediation '%s' could not be found.", id.Name())
		},
		Default: func(_ string, r *rp.Resource[Remediation]) {
			if r.Properties.DiscoveryMode == "" {
				r.Properties.DiscoveryMode = "ExistingNonCompliant"
			}
		},
		Validate: validateRemediation, Admit: p.admitRemediation, Reconcile: p.remediate,
		Actions: map[string]rp.Action[Remediation]{
			"cancel":          {Do: cancel},
			"listDeployments": {Permission: RemediationType + "/listDeployments/read", Do: listDeployments},
		},
	}
}

func validateRemediation(_ rp.Op, r, _ *rp.Resource[Remediation]) error {
	m := &r.Properties
	bad := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidRemediation", format, args...)
	}
	switch {
	case !slices.ContainsFunc([]string{"ExistingNonCompliant", "ReEvaluateCompliance"}, func(s string) bool { return strings.EqualFold(s, m.DiscoveryMode) }):
		return bad("The resource discovery mode '%s' is not ExistingNonCompliant or ReEvaluateCompliance: properties.resourceDiscoveryMode.", m.DiscoveryMode)
	case m.ResourceCount < 0 || m.ResourceCount > maxCount:
		return bad("properties.resourceCount is not from 1 to %d.", maxCount)
	case m.Parallel < 0 || m.Parallel > 30:
		return bad("properties.parallelDeployments is not from 1 to 30.")
	case m.Threshold != nil && (m.Threshold.Percentage < 0 || m.Threshold.Percentage > 1):
		return bad("properties.failureThreshold.percentage is not from 0 to 1.")
	}
	return nil
}

func (p *Provider) admitRemediation(ctx context.Context, tx *rp.Tx, op rp.Op, r, old *rp.Resource[Remediation]) error {
	m := &r.Properties
	if err := assignmentReaches(ctx, p, tx, m.AssignmentID, m.ReferenceID, r.ID, "InvalidRemediation"); err != nil {
		return err
	}
	m.UpdatedOn = tx.Now
	if op == rp.Update {
		if !strings.EqualFold(old.Properties.AssignmentID, m.AssignmentID) || !strings.EqualFold(old.Properties.ReferenceID, m.ReferenceID) {
			return arm.Errorf(http.StatusBadRequest, "InvalidRemediation", "The policy assignment of the remediation '%s' cannot be changed.", r.ID.Name())
		}
		return nil
	}
	m.State, m.CreatedOn, m.CorrelationID = accepted, tx.Now, uuid.NewString()
	return nil
}

func cancel(_ context.Context, tx *rp.Tx, r *rp.Resource[Remediation], _ []byte) (any, error) {
	m := &r.Properties
	if ended(m.State) {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidCancelRemediationRequest", "The remediation '%s' cannot be canceled: it is %s.", r.ID.Name(), m.State)
	}
	m.State, m.UpdatedOn = canceled, tx.Now
	shown := *m
	shown.Deployments = nil
	return map[string]any{"id": r.ID.String(), "name": r.ID.Name(), "type": RemediationType, "properties": shown}, nil
}

func listDeployments(_ context.Context, _ *rp.Tx, r *rp.Resource[Remediation], _ []byte) (any, error) {
	all := r.Properties.Deployments
	if all == nil {
		all = []Deployed{}
	}
	return map[string]any{"value": all}, nil
}

func ended(state string) bool { return state == succeeded || state == failed || state == canceled }

// pollAfter is how often the deployments of a remediation are looked at.
const pollAfter = time.Second

// remediate takes a remediation one step on: it finds what is not compliant, changes it, and follows its
// deployments. It may be called again after any step: what was changed is compliant.
func (p *Provider) remediate(ctx context.Context, r *rp.Resource[Remediation]) (rp.Result, error) {
	m := &r.Properties
	switch m.State {
	case accepted:
		if err := p.begin(ctx, r); err != nil {
			return rp.Result{}, err
		}
		m.State = evaluating
		if p.finish(m) {
			return rp.Result{}, nil
		}
		return rp.Result{After: pollAfter}, nil
	case evaluating:
		if err := p.followDeployments(ctx, m); err != nil {
			return rp.Result{}, err
		}
		if !p.finish(m) {
			return rp.Result{After: pollAfter}, nil
		}
	}
	return rp.Result{}, nil
}

// begin changes what is not compliant.
func (p *Provider) begin(ctx context.Context, r *rp.Resource[Remediation]) error {
	m := &r.Properties
	if strings.EqualFold(m.DiscoveryMode, "ReEvaluateCompliance") {
		if err := p.scans.everything(ctx); err != nil {
			return err
		}
	} else if err := p.scans.settle(ctx); err != nil {
		return err
	}
	index, err := p.cfg.Policies.Index(ctx)
	if err != nil {
		return err
	}
	b, ok := index.Find(m.AssignmentID, m.ReferenceID)
	if !ok {
		m.Message = "The policy assignment is not in force any more."
		return nil
	}
	records, err := p.toRemediate(ctx, r)
	if err != nil {
		return err
	}
	for _, rec := range records {
		d := Deployed{ResourceID: rec.ResourceID, Location: rec.Location, Status: succeeded, CreatedOn: p.cfg.Clock.Now(), UpdatedOn: p.cfg.Clock.Now()}
		if err := p.change(ctx, b, rec, &d); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d.Status, d.Error = failed, arm.AsError(err)
			if d.Error == nil {
				d.Error = arm.Errorf(http.StatusBadRequest, "RemediationFailed", "%s", err.Error())
			}
		}
		m.Deployments = append(m.Deployments, d)
	}
	return nil
}

// toRemediate are the records of what is not compliant at and under the remediation's scope.
func (p *Provider) toRemediate(ctx context.Context, r *rp.Resource[Remediation]) ([]policy.Record, error) {
	m := &r.Properties
	limit := m.ResourceCount
	if limit == 0 {
		limit = defaultCount
	}
	var all []policy.Record
	err := p.engine.View(ctx, func(tx *rp.Tx) error {
		scope := r.ID.Scope()
		if scope.ManagementGroup() != "" {
			scope = arm.MustParseID("/")
		}
		docs, err := readStates(tx, scope)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(keys(docs)) {
			for _, rec := range docs[key].Records {
				if rec.Compliance != rules.NonCompliant || !strings.EqualFold(rec.Assignment, m.AssignmentID) || !strings.EqualFold(rec.ReferenceID, m.ReferenceID) {
					continue
				}
				if m.Filters != nil && len(m.Filters.Locations) > 0 && !slices.ContainsFunc(m.Filters.Locations, func(l string) bool {
					return strings.EqualFold(strings.ReplaceAll(l, " ", ""), rec.Location)
				}) {
					continue
				}
				if len(all) < limit {
					all = append(all, rec)
				}
			}
		}
		return nil
	})
	return all, err
}

// change makes one resource compliant, as the assignment's identity.
func (p *Provider) change(ctx context.Context, b *rules.Bound, rec policy.Record, d *Deployed) error {
	id, err := arm.ParseID(rec.ResourceID)
	if err != nil {
		return err
	}
	var doc *rp.Document
	if err := p.engine.View(ctx, func(tx *rp.Tx) error { doc, err = rp.ReadDocument(ctx, tx, id); return err }); err != nil {
		return err
	}
	f := &rules.Finding{Bound: b, Effect: rec.Effect}
	res := policy.NewResource(doc.ID, doc.Type, doc.Kind, doc.Body)
	rc := p.cfg.Policies.ScanContext(ctx, id, doc.Version)
	switch rec.Effect {
	case rules.Modify:
		body, err := f.Remediation(rc, res)
		if err != nil || body == nil {
			return err
		}
		patch, err := json.Marshal(policy.Difference(doc.Body, body))
		if err != nil {
			return err
		}
		_, err = p.act(ctx, b, http.MethodPatch, id.String(), doc.Version, patch)
		return err
	case rules.DeployIfNotExists:
		deployment, err := f.Deployment(rc, res)
		if err != nil {
			return err
		}
		d.Deployment, err = p.deploy(ctx, b, deployment)
		d.Status = evaluating
		return err
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidRemediation", "The effect '%s' cannot be remediated: modify and deployIfNotExists can.", rules.EffectName(rec.Effect))
}

// deploymentVersion is the api-version of the deployments that policy makes.
const deploymentVersion = "2022-09-01"

// deploy begins a deployment and returns its id.
func (p *Provider) deploy(ctx context.Context, b *rules.Bound, d *rules.Deployment) (string, error) {
	body, err := json.Marshal(d.Body)
	if err != nil {
		return "", err
	}
	id := d.Scope + "/providers/Microsoft.Resources/deployments/PolicyDeployment_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:19]
	_, err = p.act(ctx, b, http.MethodPut, id, deploymentVersion, body)
	return id, err
}

// act makes a request as the identity of the assignment.
func (p *Provider) act(ctx context.Context, b *rules.Bound, method, path, version string, body []byte) ([]byte, error) {
	if b.Assignment.PrincipalID == "" {
		return nil, arm.Errorf(http.StatusBadRequest, "ResourceIdentityRequired", "The policy assignment '%s' has no managed identity to make changes with.", b.Assignment.ID)
	}
	if p.cfg.Act == nil {
		return nil, arm.NotImplemented("This region makes no requests in the name of policy assignments.")
	}
	who := authz.Principal{TenantID: p.cfg.TenantID, ObjectID: b.Assignment.PrincipalID, Name: b.Assignment.ID, Type: "ServicePrincipal"}
	status, answer, err := p.cfg.Act(ctx, who, method, path, version, body)
	if err != nil {
		return nil, err
	}
	if status >= 300 {
		var e struct {
			Error *arm.Error `json:"error"`
		}
		if json.Unmarshal(answer, &e) == nil && e.Error != nil {
			e.Error.Status = status
			return nil, e.Error
		}
		return nil, fmt.Errorf("%s %s: status %d", method, path, status)
	}
	return answer, nil
}

// followDeployments looks at the deployments that are under way.
func (p *Provider) followDeployments(ctx context.Context, m *Remediation) error {
	index, err := p.cfg.Policies.Index(ctx)
	if err != nil {
		return err
	}
	b, ok := index.Find(m.AssignmentID, m.ReferenceID)
	for i := range m.Deployments {
		d := &m.Deployments[i]
		if ended(d.Status) {
			continue
		}
		d.UpdatedOn = p.cfg.Clock.Now()
		if !ok {
			d.Status = canceled
			continue
		}
		answer, err := p.act(ctx, b, http.MethodGet, d.Deployment, deploymentVersion, nil)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if d.Status, d.Error = failed, arm.AsError(err); d.Error == nil {
				d.Error = arm.Errorf(http.StatusBadGateway, "DeploymentUnknown", "%s", err.Error())
			}
			continue
		}
		var got struct {
			Properties struct {
				State string     `json:"provisioningState"`
				Error *arm.Error `json:"error"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			return err
		}
		if ended(got.Properties.State) {
			d.Status, d.Error = got.Properties.State, got.Properties.Error
		}
	}
	return nil
}

// finish counts, and ends the remediation when nothing is under way.
func (p *Provider) finish(m *Remediation) bool {
	m.UpdatedOn = p.cfg.Clock.Now()
	m.Status = Counts{Total: len(m.Deployments)}
	running := 0
	for _, d := range m.Deployments {
		switch d.Status {
		case succeeded:
			m.Status.Succeeded++
		case failed, canceled:
			m.Status.Failed++
		default:
			running++
		}
	}
	if running > 0 {
		return false
	}
	limit := 0.0
	if m.Threshold != nil {
		limit = m.Threshold.Percentage
	}
	m.State = succeeded
	if m.Status.Failed > 0 && float64(m.Status.Failed) > limit*float64(m.Status.Total) {
		m.State = failed
	}
	if m.Message == "" && m.Status.Total == 0 {
		m.Message = "Remediation was successful. No resources were found that need to be remediated."
	}
	return true
}
