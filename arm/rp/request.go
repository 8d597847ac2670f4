package rp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
)

// Request is an ARM request whose caller is known and whose body is well-formed JSON. The caller is the
// principal in the context.
type Request struct {
	Method        string
	Path          string // normalised, unescaped
	Query         url.Values
	Header        http.Header
	Body          []byte
	Base          string // scheme and host that the client used, for the links in answers
	ClientAddress string // as the kernel tells it
	CorrelationID string
	RequestID     string
	Start         time.Time
	// Check decides whether the caller may do action on scope.
	Check func(ctx context.Context, action string, scope arm.ID) (authz.Decision, error)
}

type queryKey struct{}

// Query is that of the request whose write an Admit belongs to, or whose read a Present: some types take options
// there ($expand). It is empty for what is neither a client's write nor the read of one resource.
func Query(ctx context.Context) url.Values {
	q, _ := ctx.Value(queryKey{}).(url.Values)
	return q
}

type checkKey struct{}

// Allowed decides whether the caller of the route that ctx belongs to may do action on scope. Only for routes that
// read: the decision reads the store. Without a caller nothing is allowed.
func Allowed(ctx context.Context, action string, scope arm.ID) (bool, error) {
	check, _ := ctx.Value(checkKey{}).(func(context.Context, string, arm.ID) (authz.Decision, error))
	if check == nil {
		return false, nil
	}
	d, err := check(ctx, action, scope)
	return d.Allowed, err
}

// Response is what the engine answers; the Body is marshalled as JSON, nil is an empty body. Routes and
// actions may return one to choose the status.
type Response struct {
	Status int
	Header http.Header
	Body   any
}

func (r *Response) set(name, value string) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(name, value)
}

// warn puts the warnings of a transaction into the answer (RFC 9111, section 5.5: 199).
func (r *Response) warn(tx *Tx) {
	for _, w := range tx.warnings {
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Add("Warning", fmt.Sprintf("199 vauban %q", w))
	}
}

// Target is what a request is for: the operation found for method and path.
type Target struct {
	ID         arm.ID       // the resource, or the scope of a listing
	Permission string       // RBAC action; "-" = any authenticated caller
	Scope      arm.ID       // where the permission is checked
	Version    string       // api-version
	Write      bool         // the operation belongs in the activity log
	Logged     bool         // it writes its own activity entry when it succeeds, in its transaction
	Lenient    bool         // the body may be JSON with comments
	typ        arm.TypeName // for messages
	roleScope  func(ctx context.Context, body []byte) (arm.ID, error)
	attributes func(ctx context.Context, body []byte) (map[authz.Attribute][]string, error)
	definition *definition // of the resource that a verb is on; nil for routes, listings and actions
	serve      serveFunc
}

// RoleScope is where the role for a request with this body is checked, unless every caller may make it.
func (t *Target) RoleScope(ctx context.Context, body []byte) (scope arm.ID, anybody bool, err error) {
	if t.roleScope == nil {
		return t.Scope, false, nil
	}
	scope, err = t.roleScope(ctx, body)
	return scope, scope.IsZero(), err
}

// Attributes answers the conditions of roles about a request with this body; nil if its type has none.
func (t *Target) Attributes(ctx context.Context, body []byte) authz.Attributes {
	if t.attributes == nil {
		return nil
	}
	known := sync.OnceValues(func() (map[authz.Attribute][]string, error) { return t.attributes(ctx, body) })
	return func(a authz.Attribute) ([]string, bool, error) {
		all, err := known()
		values, ok := all[authz.Attribute{Source: a.Source, Name: strings.ToLower(a.Name)}]
		return values, ok, err
	}
}

// Serve runs the operation. The caller has checked the permission.
func (t *Target) Serve(ctx context.Context, r *Request) (*Response, error) { return t.serve(ctx, t, r) }
