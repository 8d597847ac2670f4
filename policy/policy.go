// Package policy is the Azure Policy rule language: definitions, initiatives, assignments and exemptions in,
// decisions about a resource out. It is pure: whoever keeps the documents makes an Index of them and asks it.
//
// https://learn.microsoft.com/azure/governance/policy/concepts/definition-structure-basics
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Definition is the properties of a policy definition (Policy REST: PolicyDefinitionProperties).
type Definition struct {
	ID          string               `json:"-"`
	DisplayName string               `json:"displayName,omitempty"`
	PolicyType  string               `json:"policyType,omitempty"` // BuiltIn, Custom
	Mode        string               `json:"mode,omitempty"`
	Description string               `json:"description,omitempty"`
	Metadata    json.RawMessage      `json:"metadata,omitempty"`
	Parameters  map[string]Parameter `json:"parameters,omitempty"`
	Rule        json.RawMessage      `json:"policyRule,omitempty"`
	Version     string               `json:"version,omitempty"`
	Versions    []string             `json:"versions,omitempty"`
}

// Parameter is the declaration of a parameter.
type Parameter struct {
	Type          string          `json:"type"` // String, Array, Object, Boolean, Integer, Float, DateTime
	Metadata      json.RawMessage `json:"metadata,omitempty"`
	AllowedValues []any           `json:"allowedValues,omitempty"`
	DefaultValue  any             `json:"defaultValue,omitempty"`
	Schema        json.RawMessage `json:"schema,omitempty"`
}

// SetDefinition is the properties of an initiative (PolicySetDefinitionProperties).
type SetDefinition struct {
	ID          string               `json:"-"`
	DisplayName string               `json:"displayName,omitempty"`
	PolicyType  string               `json:"policyType,omitempty"`
	Description string               `json:"description,omitempty"`
	Metadata    json.RawMessage      `json:"metadata,omitempty"`
	Parameters  map[string]Parameter `json:"parameters,omitempty"`
	Definitions []Reference          `json:"policyDefinitions"`
	Groups      []Group              `json:"policyDefinitionGroups,omitempty"`
	Version     string               `json:"version,omitempty"`
	Versions    []string             `json:"versions,omitempty"`
}

// Reference is a definition in an initiative.
type Reference struct {
	DefinitionID string           `json:"policyDefinitionId"`
	Version      string           `json:"definitionVersion,omitempty"`
	ReferenceID  string           `json:"policyDefinitionReferenceId,omitempty"`
	Parameters   map[string]Value `json:"parameters,omitempty"`
	GroupNames   []string         `json:"groupNames,omitempty"`
}

// Group is a control of an initiative.
type Group struct {
	Name                 string `json:"name"`
	DisplayName          string `json:"displayName,omitempty"`
	Category             string `json:"category,omitempty"`
	Description          string `json:"description,omitempty"`
	AdditionalMetadataID string `json:"additionalMetadataId,omitempty"`
}

// Value is a parameter's value.
type Value struct {
	Value any `json:"value"`
}

// Assignment is the properties of a policy assignment (PolicyAssignmentProperties).
type Assignment struct {
	ID                   string           `json:"-"`
	PrincipalID          string           `json:"-"` // of its identity
	DisplayName          string           `json:"displayName,omitempty"`
	DefinitionID         string           `json:"policyDefinitionId"`
	DefinitionVersion    string           `json:"definitionVersion,omitempty"`
	Scope                string           `json:"scope,omitempty"`
	NotScopes            []string         `json:"notScopes,omitempty"`
	Parameters           map[string]Value `json:"parameters,omitempty"`
	Description          string           `json:"description,omitempty"`
	Metadata             json.RawMessage  `json:"metadata,omitempty"`
	EnforcementMode      string           `json:"enforcementMode,omitempty"` // Default, DoNotEnforce
	NonComplianceMessage []Message        `json:"nonComplianceMessages,omitempty"`
	ResourceSelectors    []Selectors      `json:"resourceSelectors,omitempty"`
	Overrides            []Override       `json:"overrides,omitempty"`
}

// Enforced says whether the assignment's effects take place, not only its compliance results.
func (a *Assignment) Enforced() bool { return !strings.EqualFold(a.EnforcementMode, "DoNotEnforce") }

// Message is what a refusal says besides.
type Message struct {
	Message     string `json:"message"`
	ReferenceID string `json:"policyDefinitionReferenceId,omitempty"`
}

// Selectors narrow down which resources something applies to: all of its Selectors hold.
type Selectors struct {
	Name      string     `json:"name,omitempty"`
	Selectors []Selector `json:"selectors,omitempty"`
}

// Selector is one condition: resourceLocation, resourceType, resourceWithoutLocation, policyDefinitionReferenceId.
type Selector struct {
	Kind  string   `json:"kind"`
	In    []string `json:"in,omitempty"`
	NotIn []string `json:"notIn,omitempty"`
}

// Override replaces the effect of definitions in an assignment.
type Override struct {
	Kind      string     `json:"kind"` // policyEffect, definitionVersion
	Value     string     `json:"value"`
	Selectors []Selector `json:"selectors,omitempty"`
}

// Exemption is the properties of a policy exemption (PolicyExemptionProperties).
type Exemption struct {
	ID                string          `json:"-"`
	AssignmentID      string          `json:"policyAssignmentId"`
	ReferenceIDs      []string        `json:"policyDefinitionReferenceIds,omitempty"`
	Category          string          `json:"exemptionCategory"` // Waiver, Mitigated
	ExpiresOn         *time.Time      `json:"expiresOn,omitempty"`
	DisplayName       string          `json:"displayName,omitempty"`
	Description       string          `json:"description,omitempty"`
	Metadata          json.RawMessage `json:"metadata,omitempty"`
	ResourceSelectors []Selectors     `json:"resourceSelectors,omitempty"`
	ScopeValidation   string          `json:"assignmentScopeValidation,omitempty"`
}

// Resource is what a rule is asked about, as Resource Manager's JSON has it: location, tags, kind, sku,
// identity, properties. Members are looked up without regard to case.
type Resource struct {
	ID, Type, Name string // Name is the last one
	FullName       string // parent/child
	Body           map[string]any
	Tracked        bool // has location and tags: mode Indexed sees it
}

// RequestContext is what a rule knows besides the resource.
type RequestContext struct {
	Now        time.Time
	APIVersion string         // of the request; in a scan the newest of the type
	Action     string         // the authorization action; "": the write of the resource's type
	Identity   map[string]any // of the caller: idtyp, appid, acrs; nil in a scan
	// ResourceGroup and Subscription are what the functions of that name return; nil: there are none.
	ResourceGroup, Subscription func() map[string]any
}

// Error says what is wrong with a document; Code is Azure's.
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Message }

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ErrLimit ends the evaluation of a rule that takes too long or grows too large.
var ErrLimit = errors.New("the evaluation exceeds the limits of a policy rule")

// Limits of a rule ("Policy rule limits").
const (
	maxConditions     = 4096
	maxThenConditions = 128
	maxValueCounts    = 10
	maxDepth          = 64
	maxIterations     = 100_000 // conditions evaluated for one resource
	maxValueIteration = 100     // of a value count, and of value counts nested in each other
)
