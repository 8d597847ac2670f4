package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Guard is what the data plane is to keep from being changed in a container.
type Guard struct {
	Hold    bool // a legal hold
	Days    int  // an immutability period since a blob's creation; 0: none
	Appends bool // append blobs may grow under the period
}

// managed is what Resource Manager keeps of a container, beside what the data plane knows.
type managed struct {
	Hold   []holdTag           `json:"hold,omitempty"`
	Policy *immutabilityPolicy `json:"policy,omitempty"`
	Scope  string              `json:"scope,omitempty"` // defaultEncryptionScope
	Deny   bool                `json:"deny,omitempty"`  // denyEncryptionScopeOverride
}

// holdTag is a tag of a legal hold (Storage REST: TagProperty).
type holdTag struct {
	Tag    string    `json:"tag"`
	At     time.Time `json:"timestamp"`
	Object string    `json:"objectIdentifier,omitempty"`
	Tenant string    `json:"tenantId,omitempty"`
}

// immutabilityPolicy is a container's time-based policy, with its history.
type immutabilityPolicy struct {
	ETag       string         `json:"etag"`
	Days       int            `json:"days"`
	State      string         `json:"state"` // Unlocked, Locked
	Appends    bool           `json:"appends,omitempty"`
	AppendsAll bool           `json:"appendsAll,omitempty"`
	History    []policyUpdate `json:"history,omitempty"`
}

type policyUpdate struct {
	Update string    `json:"update"` // put, lock, extend
	Days   int       `json:"immutabilityPeriodSinceCreationInDays"`
	At     time.Time `json:"timestamp"`
	Object string    `json:"objectIdentifier,omitempty"`
	Tenant string    `json:"tenantId,omitempty"`
}

func readManaged(raw json.RawMessage) (m managed, err error) {
	if len(raw) == 0 {
		return m, nil
	}
	return m, json.Unmarshal(raw, &m)
}

func (m managed) guard() Guard {
	g := Guard{Hold: len(m.Hold) > 0}
	if p := m.Policy; p != nil {
		g.Days, g.Appends = p.Days, p.Appends || p.AppendsAll
	}
	return g
}

// show adds to the properties of a container what is kept of it.
func (m managed) show(properties map[string]any) {
	properties["hasLegalHold"], properties["hasImmutabilityPolicy"] = len(m.Hold) > 0, m.Policy != nil
	if len(m.Hold) > 0 {
		properties["legalHold"] = map[string]any{"hasLegalHold": true, "tags": m.Hold}
	}
	if p := m.Policy; p != nil {
		properties["immutabilityPolicy"] = map[string]any{"etag": p.ETag, "properties": p.properties(), "updateHistory": p.History}
	}
	if m.Scope != "" {
		properties["defaultEncryptionScope"] = m.Scope
	}
	properties["denyEncryptionScopeOverride"] = m.Deny
}

func (p *immutabilityPolicy) properties() map[string]any {
	out := map[string]any{"immutabilityPeriodSinceCreationInDays": p.Days, "state": p.State}
	if p.Appends {
		out["allowProtectedAppendWrites"] = true
	}
	if p.AppendsAll {
		out["allowProtectedAppendWritesAll"] = true
	}
	return out
}

// guardRoutes are legal holds and immutability policies of containers.
func (p *Provider) guardRoutes() []rp.Route {
	permission := AccountType + "/blobServices/containers/"
	one := containerPath + "/{container}"
	policy := one + "/immutabilityPolicies/{policy}"
	route := func(method, pattern, action string, do guardFunc) rp.Route {
		return rp.Route{Method: method, Pattern: pattern, Permission: permission + action, Versions: versions, Do: p.guarded(do)}
	}
	return []rp.Route{
		route(http.MethodPost, one+"/setLegalHold", "setLegalHold/action", setHold),
		route(http.MethodPost, one+"/clearLegalHold", "clearLegalHold/action", clearHold),
		route(http.MethodGet, policy, "immutabilityPolicies/read", readPolicy),
		route(http.MethodPut, policy, "immutabilityPolicies/write", putPolicy),
		route(http.MethodDelete, policy, "immutabilityPolicies/delete", deletePolicy),
		route(http.MethodPost, policy+"/lock", "immutabilityPolicies/lock/action", lockPolicy),
		route(http.MethodPost, policy+"/extend", "immutabilityPolicies/extend/action", extendPolicy),
	}
}

// guardFunc changes what is kept of a container, whose id is at, and answers.
type guardFunc func(tx *rp.Tx, at string, m *managed, in []byte) (any, error)

func (p *Provider) guarded(do guardFunc) func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	return func(_ context.Context, tx *rp.Tx, path, _ map[string]string, in []byte) (any, error) {
		a, err := accountOf(tx, path)
		if err != nil {
			return nil, err
		}
		if name, has := path["policy"]; has && name != "default" {
			return nil, invalid("The immutability policy of a container is named 'default', not '%s'.", name)
		}
		c, err := p.containers.Container(tx, a.ID, path["container"])
		if err != nil {
			return nil, err
		}
		m, err := readManaged(c.Managed)
		if err != nil {
			return nil, err
		}
		before := c.Managed
		answer, err := do(tx, containerID(a.ID, c.Name), &m, in)
		if err != nil {
			return nil, err
		}
		return answer, p.keep(tx, a.ID, c.Name, before, m)
	}
}

// keep stores what Resource Manager keeps of a container, if it changed, and has the data plane heed it.
func (p *Provider) keep(tx *rp.Tx, account arm.ID, name string, before json.RawMessage, m managed) error {
	after, err := json.Marshal(m)
	if err != nil || string(after) == string(before) || len(before) == 0 && string(after) == "{}" {
		return err
	}
	return p.containers.Guard(tx, account, name, m.guard(), after)
}

var holdName = regexp.MustCompile(`^[a-z0-9]{3,23}$`)

func readTags(in []byte) (tags []string, err error) {
	var req struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(in, &req); err != nil || len(req.Tags) == 0 {
		return nil, invalid("tags is missing: a legal hold has 1 to 10.")
	}
	for _, t := range req.Tags {
		t = strings.ToLower(t)
		if !holdName.MatchString(t) {
			return nil, invalid("The tag '%s' of a legal hold does not have 3 to 23 letters and digits.", t)
		}
		tags = append(tags, t)
	}
	return tags, nil
}

func holdAnswer(m *managed) any {
	tags := []string{}
	for _, t := range m.Hold {
		tags = append(tags, t.Tag)
	}
	return map[string]any{"hasLegalHold": len(tags) > 0, "tags": tags}
}

func setHold(tx *rp.Tx, _ string, m *managed, in []byte) (any, error) {
	tags, err := readTags(in)
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		if !slices.ContainsFunc(m.Hold, func(have holdTag) bool { return have.Tag == t }) {
			m.Hold = append(m.Hold, holdTag{Tag: t, At: tx.Now.UTC(), Object: tx.Caller.ObjectID, Tenant: tx.Caller.TenantID})
		}
	}
	if len(m.Hold) > 10 {
		return nil, invalid("A container has at most 10 tags of legal holds, not %d.", len(m.Hold))
	}
	return holdAnswer(m), nil
}

func clearHold(_ *rp.Tx, _ string, m *managed, in []byte) (any, error) {
	tags, err := readTags(in)
	if err != nil {
		return nil, err
	}
	m.Hold = slices.DeleteFunc(m.Hold, func(have holdTag) bool { return slices.Contains(tags, have.Tag) })
	return holdAnswer(m), nil
}

func policyBody(at string, p *immutabilityPolicy) any {
	return map[string]any{
		"id": at + "/immutabilityPolicies/default", "name": "default", "type": AccountType + "/blobServices/containers/immutabilityPolicies",
		"etag": p.ETag, "properties": p.properties(),
	}
}

// policyRefused is the 409 of what a policy's state does not allow.
func policyRefused(format string, args ...any) error {
	return arm.Errorf(http.StatusConflict, "ContainerImmutabilityPolicyFailure", format, args...)
}

func (m *managed) current() (*immutabilityPolicy, error) {
	if m.Policy == nil {
		return nil, arm.Errorf(http.StatusNotFound, "ContainerImmutabilityPolicyNotFound", "The container has no immutability policy.")
	}
	return m.Policy, nil
}

func readPolicy(_ *rp.Tx, at string, m *managed, _ []byte) (any, error) {
	p, err := m.current()
	if err != nil {
		return nil, err
	}
	return policyBody(at, p), nil
}

// policyRequest is what a request wants a policy to be.
type policyRequest struct {
	Properties struct {
		Days       int  `json:"immutabilityPeriodSinceCreationInDays"`
		Appends    bool `json:"allowProtectedAppendWrites"`
		AppendsAll bool `json:"allowProtectedAppendWritesAll"`
	} `json:"properties"`
}

func readPolicyRequest(in []byte) (req policyRequest, err error) {
	if err := json.Unmarshal(in, &req); err != nil {
		return req, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	switch p := req.Properties; {
	case p.Days < 1 || p.Days > 146_000:
		return req, invalid("immutabilityPeriodSinceCreationInDays %d is not between 1 and 146000.", p.Days)
	case p.Appends && p.AppendsAll:
		return req, invalid("allowProtectedAppendWrites and allowProtectedAppendWritesAll are mutually exclusive.")
	}
	return req, nil
}

// wrote notes an update of the policy.
func (p *immutabilityPolicy) wrote(tx *rp.Tx, update string) {
	p.ETag = fmt.Sprintf("%q", fmt.Sprintf("%x", tx.Now.UnixNano()))
	p.History = append(p.History, policyUpdate{Update: update, Days: p.Days, At: tx.Now.UTC(), Object: tx.Caller.ObjectID, Tenant: tx.Caller.TenantID})
}

func putPolicy(tx *rp.Tx, at string, m *managed, in []byte) (any, error) {
	req, err := readPolicyRequest(in)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	switch {
	case m.Policy == nil:
		m.Policy, status = &immutabilityPolicy{State: "Unlocked"}, http.StatusCreated
	case m.Policy.State == "Locked":
		return nil, policyRefused("The immutability policy is locked: its period can be extended only.")
	}
	p := m.Policy
	p.Days, p.Appends, p.AppendsAll = req.Properties.Days, req.Properties.Appends, req.Properties.AppendsAll
	p.wrote(tx, "put")
	return &rp.Response{Status: status, Body: policyBody(at, p)}, nil
}

func deletePolicy(_ *rp.Tx, at string, m *managed, _ []byte) (any, error) {
	p, err := m.current()
	if err != nil {
		return nil, err
	}
	if p.State == "Locked" {
		return nil, policyRefused("The immutability policy is locked: it cannot be deleted.")
	}
	m.Policy = nil
	p.Days = 0
	return policyBody(at, p), nil
}

func lockPolicy(tx *rp.Tx, at string, m *managed, _ []byte) (any, error) {
	p, err := m.current()
	if err != nil {
		return nil, err
	}
	if p.State == "Locked" {
		return nil, policyRefused("The immutability policy is locked already.")
	}
	p.State = "Locked"
	p.wrote(tx, "lock")
	return policyBody(at, p), nil
}

// maxExtensions is how often a locked policy can be extended ("Time-based retention policies for immutable blob data").
const maxExtensions = 5

func extendPolicy(tx *rp.Tx, at string, m *managed, in []byte) (any, error) {
	p, err := m.current()
	if err != nil {
		return nil, err
	}
	req, err := readPolicyRequest(in)
	if err != nil {
		return nil, err
	}
	extensions := 0
	for _, u := range p.History {
		if u.Update == "extend" {
			extensions++
		}
	}
	switch {
	case p.State != "Locked":
		return nil, policyRefused("The immutability policy is not locked: write it instead of extending it.")
	case req.Properties.Days <= p.Days:
		return nil, policyRefused("The immutability policy's period of %d days can be extended only, not set to %d.", p.Days, req.Properties.Days)
	case extensions >= maxExtensions:
		return nil, policyRefused("The immutability policy was extended %d times: it can be no more.", extensions)
	}
	p.Days = req.Properties.Days
	p.wrote(tx, "extend")
	return policyBody(at, p), nil
}
