package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"vauban.dev/arm"
	rules "vauban.dev/policy"
)

// identifier names a definition in force, as the text of a refusal does.
type identifier struct {
	Assignment named  `json:"policyAssignment"`
	Definition named  `json:"policyDefinition"`
	Set        *named `json:"policySetDefinition,omitempty"`
}

type named struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Version string `json:"version,omitempty"`
}

// violation is the additionalInfo of a refusal (type PolicyViolation).
type violation struct {
	DefinitionDisplayName string           `json:"policyDefinitionDisplayName,omitempty"`
	SetDisplayName        string           `json:"policySetDefinitionDisplayName,omitempty"`
	Details               evaluationDetail `json:"evaluationDetails"`
	DefinitionID          string           `json:"policyDefinitionId"`
	SetID                 string           `json:"policySetDefinitionId,omitempty"`
	ReferenceID           string           `json:"policyDefinitionReferenceId,omitempty"`
	SetName               string           `json:"policySetDefinitionName,omitempty"`
	DefinitionName        string           `json:"policyDefinitionName"`
	Effect                string           `json:"policyDefinitionEffect"`
	AssignmentID          string           `json:"policyAssignmentId"`
	AssignmentName        string           `json:"policyAssignmentName"`
	AssignmentDisplayName string           `json:"policyAssignmentDisplayName,omitempty"`
	AssignmentScope       string           `json:"policyAssignmentScope"`
	AssignmentParameters  any              `json:"policyAssignmentParameters,omitempty"`
	Exemptions            []string         `json:"policyExemptionIds"`
	Version               string           `json:"policyDefinitionVersion,omitempty"`
}

type evaluationDetail struct {
	Expressions []rules.Expression `json:"evaluatedExpressions,omitempty"`
	Reason      string             `json:"reason,omitempty"`
}

// disallowed is Azure's refusal: 403 RequestDisallowedByPolicy, with the assignments' messages or the definitions'
// names, and a PolicyViolation for each.
func disallowed(res *rules.Resource, denied []*rules.Finding, deletion bool) *arm.Error {
	var ids []identifier
	var reasons []string
	e := &arm.Error{Status: http.StatusForbidden, Code: "RequestDisallowedByPolicy", Target: res.Name}
	for _, f := range denied {
		ids = append(ids, identify(f))
		if m := message(f); m != "" {
			reasons = append(reasons, "'"+m+"'")
		}
		e.AdditionalInfo = append(e.AdditionalInfo, arm.AdditionalInfo{Type: "PolicyViolation", Info: violated(f)})
	}
	what := fmt.Sprintf("Resource '%s'", res.Name)
	if deletion {
		what = fmt.Sprintf("Deletion of resource '%s'", res.Name)
	}
	if len(reasons) > 0 {
		e.Message = fmt.Sprintf("%s was disallowed by policy. Reasons: %s. See error details for policy resource IDs.", what, strings.Join(reasons, ","))
		return e
	}
	list, err := json.Marshal(ids)
	if err != nil {
		list = []byte("[]")
	}
	e.Message = fmt.Sprintf("%s was disallowed by policy. Policy identifiers: '%s'.", what, list)
	return e
}

func identify(f *rules.Finding) identifier {
	i := identifier{
		Assignment: named{Name: displayName(f.Assignment.DisplayName, f.Assignment.ID), ID: f.Assignment.ID},
		Definition: named{Name: displayName(f.Definition.DisplayName, f.Definition.ID), ID: f.Definition.ID, Version: f.Definition.Version},
	}
	if f.Set != nil {
		i.Set = &named{Name: displayName(f.Set.DisplayName, f.Set.ID), ID: f.Set.ID, Version: f.Set.Version}
	}
	return i
}

func displayName(display, id string) string {
	if display != "" {
		return display
	}
	return lastSegment(id)
}

func lastSegment(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// message is the assignment's own for the definition, else its general one.
func message(f *rules.Finding) string {
	general := ""
	for _, m := range f.Assignment.NonComplianceMessage {
		if m.ReferenceID == "" {
			general = m.Message
		} else if strings.EqualFold(m.ReferenceID, f.ReferenceID) {
			return m.Message
		}
	}
	return general
}

func violated(f *rules.Finding) violation {
	v := violation{
		DefinitionDisplayName: f.Definition.DisplayName, DefinitionID: f.Definition.ID, DefinitionName: lastSegment(f.Definition.ID),
		Effect: rules.EffectName(f.Effect), AssignmentID: f.Assignment.ID, AssignmentName: lastSegment(f.Assignment.ID),
		AssignmentDisplayName: f.Assignment.DisplayName, AssignmentScope: f.Assignment.Scope, Exemptions: []string{}, Version: f.Definition.Version,
		Details: evaluationDetail{Expressions: f.Expressions, Reason: f.Conflict},
	}
	if len(f.Assignment.Parameters) > 0 {
		v.AssignmentParameters = f.Assignment.Parameters
	}
	if f.Err != nil {
		v.Details.Reason = f.Err.Error()
	}
	if f.Set != nil {
		v.SetDisplayName, v.SetID, v.SetName, v.ReferenceID = f.Set.DisplayName, f.Set.ID, lastSegment(f.Set.ID), f.ReferenceID
	}
	return v
}
