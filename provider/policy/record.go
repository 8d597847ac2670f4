package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
	"vauban.dev/store"
)

// Record is what a definition in force said of a resource: a policy event, or its latest state (PolicyInsights REST:
// PolicyState, PolicyEvent).
type Record struct {
	Timestamp      time.Time          `json:"timestamp"`
	ResourceID     string             `json:"resourceId"`
	ResourceType   string             `json:"resourceType"`
	Location       string             `json:"resourceLocation"`
	Tags           string             `json:"resourceTags,omitempty"`
	Assignment     string             `json:"policyAssignmentId"`
	AssignmentArgs string             `json:"policyAssignmentParameters,omitempty"`
	Scope          string             `json:"policyAssignmentScope"`
	Definition     string             `json:"policyDefinitionId"`
	Version        string             `json:"policyDefinitionVersion,omitempty"`
	Category       string             `json:"policyDefinitionCategory,omitempty"`
	Args           string             `json:"effectiveParameters,omitempty"`
	Effect         string             `json:"policyDefinitionAction"`
	Set            string             `json:"policySetDefinitionId,omitempty"`
	SetVersion     string             `json:"policySetDefinitionVersion,omitempty"`
	SetCategory    string             `json:"policySetDefinitionCategory,omitempty"`
	ReferenceID    string             `json:"policyDefinitionReferenceId,omitempty"`
	Groups         []string           `json:"policyDefinitionGroupNames,omitempty"`
	Compliance     string             `json:"complianceState"`
	Expressions    []rules.Expression `json:"evaluatedExpressions,omitempty"`
	Reason         string             `json:"reason,omitempty"`     // why the evaluation failed
	Exemptions     []string           `json:"exemptions,omitempty"` // ids
	Until          *time.Time         `json:"until,omitempty"`      // when an exemption of it ends
	Principal      string             `json:"principalOid,omitempty"`
}

// NewRecord makes the record of a finding.
func NewRecord(f *rules.Finding, res *rules.Resource, compliance string, at time.Time) Record {
	r := Record{
		Timestamp: at.UTC(), ResourceID: res.ID, ResourceType: res.Type, Assignment: f.Assignment.ID, Scope: f.Assignment.Scope,
		Definition: f.Definition.ID, Version: f.Definition.Version, Category: category(f.Definition.Metadata), Effect: strings.ToLower(f.Effect),
		ReferenceID: f.ReferenceID, Groups: f.GroupNames, Compliance: compliance, Expressions: f.Expressions,
	}
	r.Location, _ = res.Body["location"].(string)
	if tags, ok := res.Body["tags"].(map[string]any); ok {
		r.Tags = asJSON(tags)
	}
	if len(f.Assignment.Parameters) > 0 {
		r.AssignmentArgs = asJSON(f.Assignment.Parameters)
	}
	if len(f.Parameters) > 0 {
		args := map[string]rules.Value{}
		for k, v := range f.Parameters {
			args[k] = rules.Value{Value: v}
		}
		r.Args = asJSON(args)
	}
	if f.Set != nil {
		r.Set, r.SetVersion, r.SetCategory = f.Set.ID, f.Set.Version, category(f.Set.Metadata)
	}
	if f.Err != nil {
		r.Reason = f.Err.Error()
	}
	for _, e := range f.Exemptions {
		r.Exemptions = append(r.Exemptions, e.ID)
		if e.ExpiresOn != nil && (r.Until == nil || e.ExpiresOn.After(*r.Until)) {
			r.Until = e.ExpiresOn
		}
	}
	return r
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

func category(metadata json.RawMessage) string {
	var m struct {
		Category string `json:"category"`
	}
	_ = json.Unmarshal(metadata, &m) // metadata of another form has no category
	return m.Category
}

// EventKind are the documents of policy events, ordered by their time.
const EventKind = "policy.event"

func writeEvent(tx *rp.Tx, r Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = tx.Put(EventKind, fmt.Sprintf("%020d/%s", r.Timestamp.UnixNano(), uuid.NewString()), b, store.None)
	return err
}

// TypeName is the resource type as rules name it: groups are a child of subscriptions there.
func TypeName(registered string) string {
	if strings.EqualFold(registered, "Microsoft.Resources/resourceGroups") {
		return "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return registered
}

// NewResource is a stored resource, or one about to be, as rules see it.
func NewResource(id arm.ID, registered string, kind rp.Kind, body map[string]any) *rules.Resource {
	name := id.Name()
	full := strings.Join(id.Names(), "/")
	if full == "" {
		full = name
	}
	return &rules.Resource{ID: id.String(), Type: TypeName(registered), Name: name, FullName: full, Body: body, Tracked: kind == rp.Tracked}
}
