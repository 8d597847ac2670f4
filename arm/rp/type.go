// Package rp is the resource provider engine: a resource type is one literal, and from it follow its
// verbs, async operations, provisioning state, ETags, paging, merge PATCH, RBAC action names and the
// provider's listing. Resource, operation, event and activity entry commit in one transaction.
package rp

import (
	"context"
	"encoding/json"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// Kind of a resource type (ARM RPC "resource types").
type Kind uint8

const (
	Tracked   Kind = iota // lives in a resource group, has a location and tags
	Proxy                 // no location: a child, or a group-level resource without one
	Extension             // attached to any scope (role assignments)
)

// Resource is the envelope of every resource, with the properties that its type interprets in T.
// What a client sent and T does not interpret is kept and given back: the engine merges
// Encode(Properties) over the client's tree.
type Resource[T any] struct {
	ID         arm.ID
	Location   string
	Tags       map[string]string
	Kind       string
	SKU        json.RawMessage
	Identity   *arm.Identity
	Zones      []string
	SystemData arm.SystemData
	ETag       string
	State      arm.ProvisioningState
	// Properties are persisted as encoding/json makes them of T. Fields of structs (and of
	// pointers to structs, not inside slices and maps) may be tagged: `rp:"readonly"` keeps the old value
	// whatever a client writes; `rp:"private"` is, besides, in no answer; `rp:"secret"` is written by clients
	// (an absent one keeps its old value) and is in no answer.
	Properties T
}

// Version is one api-version of a type. Nil converters mean encoding/json on T.
type Version[T any] struct {
	Name   string                              // "2024-11-01", "2023-04-01-preview"
	Decode func(properties []byte, t *T) error // *arm.Error for a bad value
	Encode func(t *T) (properties map[string]any, err error)
}

// Versions makes plain versions of these names.
func Versions[T any](names ...string) []Version[T] {
	v := make([]Version[T], len(names))
	for i, n := range names {
		v[i].Name = n
	}
	return v
}

// Op is the verb that a validation runs for.
type Op uint8

const (
	Create Op = iota
	Update
)

// Type is one resource type. Nil functions are not called. Functions return *arm.Error for what a
// client did wrong.
type Type[T any] struct {
	Name     string // Microsoft.Network/virtualNetworks
	Kind     Kind
	Versions []Version[T]

	// NamePattern is a regular expression of allowed names, NameRule says it in words.
	NamePattern, NameRule string
	// NameError is the refusal of a name that does not match, for services whose own differs from
	// InvalidResourceName.
	NameError func(name string) *arm.Error
	// NotFound is the answer for a resource that is not there, for services whose own differs from ResourceNotFound.
	NotFound func(id arm.ID) *arm.Error
	// ImplicitParent creates a missing parent with empty properties (models/x for models/x/versions/1).
	ImplicitParent bool
	// NoPut, NoDelete: clients get 405; only the system writes it.
	NoPut, NoDelete bool
	// CreateStatus is the answer of a PUT that creates; 0 = 201 Created. Some services answer 200. With 202 a type without
	// Reconcile answers no body, and what was made is at Location, as of storage accounts.
	CreateStatus int
	// UpdateStatus is the answer of a PUT of what exists; 0 = 200 OK. Some services answer 201 whatever they did.
	UpdateStatus int
	// SyncDelete: DELETE answers 200/204 at once instead of 202 with an operation.
	SyncDelete bool
	// ShowDeleted: the 200 of a synchronous DELETE carries what was deleted; clients of such services read it.
	ShowDeleted bool
	// Inline maps a property of this type to a child type whose resources are embedded there:
	// {"subnets": "Microsoft.Network/virtualNetworks/subnets"}. A PUT that has the property creates,
	// updates and deletes the children in the same transaction; a GET embeds them. The children are admitted
	// and written before the parent's Admit runs, which therefore sees them as they will be; they see the
	// parent as it was sent. The parent's operation ends when those of its children have.
	Inline map[string]string
	// StateProperty is where the provisioning state is shown: "" = properties.provisioningState, a name =
	// properties.<name>, "-" = the type has none. A type with "-" and Reconcile has no operations either: PUT
	// answers at once, and Reconcile runs after it (jobs).
	StateProperty string
	// ShowETag puts the ETag in bodies too, as Microsoft.Network does.
	ShowETag bool
	// ETagName is what it is called there, for services that do not call it etag; set, it is shown.
	ETagName string

	// ListReadable: anybody may list, and sees what they may read, as of subscriptions and resource groups.
	ListReadable bool
	// CreateScope is where the role of a PUT is checked that creates id, from a body that is JSON and no more: where
	// Azure asks at the parent that the body names. The zero ID lets every caller create. nil: at id itself.
	CreateScope func(tx *Tx, id arm.ID, body []byte) (arm.ID, error)
	// Attributes are what a role's condition may ask about a PUT, PATCH or DELETE of id, from a body that is JSON and no
	// more ("@Request[Microsoft.Authorization/roleAssignments:PrincipalId]"; names in lower case).
	Attributes func(tx *Tx, method string, id arm.ID, body []byte) (map[authz.Attribute][]string, error)
	// PatchForm turns the body of a PATCH into a merge patch of the resource, for services that spell it otherwise.
	PatchForm func(patch []byte) ([]byte, error)

	// Select tells whether a listing with this query holds r (filters other than paging); nil: all.
	Select func(query map[string]string, r *Resource[T]) bool

	Default   func(version string, r *Resource[T])                                  // defaults differ by api-version
	Validate  func(op Op, new, old *Resource[T]) error                              // pure; old is nil on Create
	Admit     func(ctx context.Context, tx *Tx, op Op, new, old *Resource[T]) error // sees and writes other resources in the transaction
	Links     func(r *Resource[T]) []Link                                           // pure; after Default: what the caller needs permission on besides r (403 LinkedAuthorizationFailed)
	Reconcile func(ctx context.Context, r *Resource[T]) (Result, error)             // nil: synchronous. Idempotent; survives a crash after any line. May change r.Properties
	Present   func(ctx context.Context, tx *Tx, r *Resource[T]) error               // fills read-only properties before every answer
	// Kept says that Present fills in what follows from documents that it reads by tx alone, not from the time, the
	// caller or what runs. Then answers to GET are kept until a document of a kind that was read is written.
	Kept     bool
	Release  func(ctx context.Context, tx *Tx, r *Resource[T]) error   // before deletion, in its transaction: in-use checks, and giving back what Admit took
	Finalize func(ctx context.Context, r *Resource[T]) (Result, error) // after deletion was accepted, before the record goes; idempotent
	Erase    func(ctx context.Context, tx *Tx, r *Resource[T]) error   // in the transaction in which the record goes: giving back what nobody may take before (a global name)
	Actions  map[string]Action[T]                                      // POST {id}/{name}
	// OtherAction makes the action of a name that is not among Actions; nil: there is none.
	OtherAction func(name string) Action[T]
	// Move is called in the transaction that moves a resource to another group, once it is stored under its new id, for
	// what else is kept under the old one. nil: resources of the type cannot be moved.
	Move func(ctx context.Context, tx *Tx, from arm.ID, r *Resource[T]) error
}

// Moved is the Move of types of which nothing else is kept.
func Moved[T any](context.Context, *Tx, arm.ID, *Resource[T]) error { return nil }

// Action is POST {id}/{name}. Permission defaults to {type}/{name}/action.
type Action[T any] struct {
	Permission string
	// Links is what the caller needs permission on besides, from a body that is JSON and no more (403
	// LinkedAuthorizationFailed). Pure.
	Links  func(r *Resource[T], body []byte) []Link
	Method string                                                                      // "" = POST
	Do     func(ctx context.Context, tx *Tx, r *Resource[T], body []byte) (any, error) // in a write transaction; the answer is marshalled with 200, nil gives 204; r's changes are saved
	// Async makes the action asynchronous: 202 at once, and what it returns is the result at Location. It runs
	// outside of any transaction, may take its time, and runs again after a restart that cut it short. Do, if
	// there is one, runs before the 202 and can refuse the request; what it returns is dropped.
	Async func(ctx context.Context, r *Resource[T], body []byte) (any, error)
}

// Missing is an action of Azure's that the region does not have: 501 NotImplemented, with why.
func Missing[T any](why string) Action[T] {
	return Action[T]{Do: func(context.Context, *Tx, *Resource[T], []byte) (any, error) {
		return nil, arm.NotImplemented("%s", why)
	}}
}

// Result of a reconcile step: done (zero), or call again after a while or when Wake is called for the id.
// Ready with After says that the resource has reached its state (its operation ends) and wants to be
// called again all the same.
type Result struct {
	After time.Duration
	Ready bool
}

// Route is an operation that is not on a stored resource (checkNameAvailability, vmSizes, listings).
// No permission, no route: Permission "" is refused at registration; "-" allows any authenticated
// caller, and is for what Azure lets every caller of the tenant see.
type Route struct {
	Method     string
	Pattern    string // "/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability", segments compared without case
	Permission string // action checked at the scope before /providers/
	Versions   []string
	// Reads: the operation changes nothing, whatever its method: it runs on a snapshot and is not in the activity log.
	Reads bool
	// Links is what the caller needs permission on besides Permission (403 LinkedAuthorizationFailed); it runs before Do,
	// on a snapshot.
	Links func(ctx context.Context, tx *Tx, path map[string]string, body []byte) ([]Link, error)
	Do    func(ctx context.Context, tx *Tx, path map[string]string, query map[string]string, body []byte) (any, error)
	// Serve is for what is more than one transaction; it makes its own. Instead of Do. The target of such a route is
	// the resource of its path, if it names one.
	Serve func(ctx context.Context, r *Request, path map[string]string) (*Response, error)
	// Lenient bodies may be JSON with comments, as templates are.
	Lenient bool
}

// Tx is a transaction of the engine. Get, List, Save and Remove (functions below, in tx.go) read and
// write resources of any registered type in it.
type Tx struct {
	store.Tx
	Now    time.Time
	Caller authz.Principal
	engine *Engine
	wake   []string // resources to reconcile once the transaction is committed
	ended  []string // operations that it ends

	warnings []string
}
