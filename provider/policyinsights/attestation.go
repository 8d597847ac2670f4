package policyinsights

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
)

// Attestation is the properties of an attestation (PolicyInsights REST: AttestationProperties).
type Attestation struct {
	AssignmentID   string          `json:"policyAssignmentId"`
	ReferenceID    string          `json:"policyDefinitionReferenceId,omitempty"`
	Compliance     string          `json:"complianceState,omitempty"` // Compliant, NonCompliant, Unknown
	ExpiresOn      *time.Time      `json:"expiresOn,omitempty"`
	Owner          string          `json:"owner,omitempty"`
	Comments       string          `json:"comments,omitempty"`
	Evidence       []Evidence      `json:"evidence,omitempty"`
	AssessmentDate *time.Time      `json:"assessmentDate,omitempty"`
	Metadata       json.RawMessage `json:"metadata,omitempty"`
	ChangedAt      *time.Time      `json:"lastComplianceStateChangeAt,omitempty" rp:"readonly"`
}

// Evidence supports an attestation.
type Evidence struct {
	Description string `json:"description,omitempty"`
	SourceURI   string `json:"sourceUri,omitempty"`
}

func (p *Provider) attestations() rp.Type[Attestation] {
	return rp.Type[Attestation]{
		Name: AttestationType, Kind: rp.Extension, Versions: rp.Versions[Attestation](attestationVersions...), SyncDelete: true,
		NotFound: func(id arm.ID) *arm.Error {
			return arm.Errorf(http.StatusNotFound, "AttestationNotFound", "The attestation '%s' could not be found.", id.Name())
		},
		Validate: validateAttestation, Admit: p.admitAttestation,
	}
}

func validateAttestation(_ rp.Op, r, _ *rp.Resource[Attestation]) error {
	a := &r.Properties
	switch strings.ToLower(a.Compliance) {
	case "", "compliant", "noncompliant", "unknown":
	default:
		return arm.Errorf(http.StatusBadRequest, "InvalidAttestation", "The compliance state '%s' is not Compliant, NonCompliant or Unknown: properties.complianceState.", a.Compliance)
	}
	if _, err := arm.ParseID(a.AssignmentID); err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidAttestation", "The policy assignment '%s' is not the id of one: properties.policyAssignmentId.", a.AssignmentID)
	}
	return nil
}

func (p *Provider) admitAttestation(ctx context.Context, tx *rp.Tx, _ rp.Op, r, old *rp.Resource[Attestation]) error {
	a := &r.Properties
	if err := assignmentReaches(ctx, p, tx, a.AssignmentID, a.ReferenceID, r.ID, "InvalidAttestation"); err != nil {
		return err
	}
	if old == nil || !strings.EqualFold(old.Properties.Compliance, a.Compliance) {
		now := tx.Now
		a.ChangedAt = &now
	}
	return nil
}

// assignmentReaches refuses an assignment that does not exist, that does not enclose what is made for it, or that
// lacks the reference.
func assignmentReaches(ctx context.Context, p *Provider, tx *rp.Tx, assignment, reference string, at arm.ID, code string) error {
	id, err := arm.ParseID(assignment)
	if err != nil {
		return arm.Errorf(http.StatusBadRequest, code, "The policy assignment '%s' is not the id of one.", assignment)
	}
	a, err := rp.Get[rules.Assignment](tx, id)
	if arm.AsError(err) != nil {
		return arm.Errorf(http.StatusBadRequest, code, "The policy assignment '%s' could not be found: properties.policyAssignmentId.", assignment)
	} else if err != nil {
		return err
	}
	scopes, err := p.cfg.Policies.Enclosing(ctx, at.Scope())
	if err != nil {
		return err
	}
	if !slices.Contains(scopes, id.Scope().Key()) && !id.Scope().Within(at.Scope()) {
		return arm.Errorf(http.StatusBadRequest, code, "The policy assignment '%s' does not reach '%s'.", assignment, at.Scope())
	}
	if isSet := rules.IsSet(a.Properties.DefinitionID); isSet && reference == "" {
		return arm.Errorf(http.StatusBadRequest, code, "The policy assignment '%s' is of an initiative: properties.policyDefinitionReferenceId says which of its definitions is meant.", assignment)
	}
	return nil
}

// attestation is one that is stored.
type attestation struct {
	Attestation
	scope string // lower case
}

func readAttestations(tx *rp.Tx) ([]attestation, error) {
	all, err := rp.List[Attestation](tx, AttestationType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	out := make([]attestation, len(all))
	for i, r := range all {
		out[i] = attestation{r.Properties, r.ID.Scope().Key()}
	}
	return out, nil
}

// attestedBy answers what the innermost attestation in force says of a resource.
func attestedBy(all []attestation, scopes []string, now time.Time) rules.Attested {
	return func(b *rules.Bound, res *rules.Resource) string {
		best, state := -1, ""
		for _, a := range all {
			if a.ExpiresOn != nil && !now.Before(*a.ExpiresOn) || !strings.EqualFold(a.AssignmentID, b.Assignment.ID) || !strings.EqualFold(a.ReferenceID, b.ReferenceID) {
				continue
			}
			if at := slices.Index(scopes, a.scope); at > best {
				best, state = at, a.Compliance
			}
		}
		return state
	}
}
