// Package authz decides who may do what: role definitions, role assignments and deny assignments in, a decision out.
// It is pure; a Source supplies what is decided on, the built-in definitions are Azure's own (builtin.go).
package authz

import "context"

// Principal is the caller a verified token names.
type Principal struct {
	TenantID string
	ObjectID string
	AppID    string // client id of an application or managed identity
	Name     string // for messages and the activity log
	Type     string // User, ServicePrincipal, ManagedIdentity
	Resource string `json:",omitempty"` // managed identities: the ARM id they belong to; resource instance rules go by it
	Groups   []string
	Methods  []string `json:",omitempty"` // how a user proved who he is: pwd, otp, fido, mfa (RFC 8176)
}

// Request is one question: may the principal do Action on Scope?
type Request struct {
	Action string // Microsoft.Storage/storageAccounts/read, or a data action
	Data   bool   // Action is a data action
	Scope  string // resource id
	// SubOperations tell operations apart that need the same action: Blob.List.
	SubOperations []string
	// Attributes is what conditions may ask about the request, its resource and its environment; nil: nothing. What
	// they ask about the principal, the Evaluator's Directory answers.
	Attributes Attributes
}

// Decision is the answer with its reason.
type Decision struct {
	Allowed bool
	// By is the assignment that grants, as "role 'Reader' assigned at /subscriptions/…", or, when
	// nothing grants, why: which assignments were looked at and what they lack.
	By string
	// Why is the whole reason of a refusal; nil of what is allowed, and of a request that could not be judged.
	Why *Explanation
}

// Authorizer answers requests. An error means that the check could not be made: the caller must refuse.
type Authorizer interface {
	Check(ctx context.Context, p Principal, r Request) (Decision, error)
}

type key struct{}

// NewContext returns ctx carrying the caller.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, key{}, p)
}

// FromContext returns the caller that ctx carries; ok is false without one.
func FromContext(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(key{}).(Principal)
	return p, ok
}
