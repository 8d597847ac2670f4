// Package door is the one door of the control plane: every Azure Resource Manager request passes its
// stages in their order, and nothing reaches a provider by another way.
package door

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/internal/httpx"
	"vauban.dev/locks"
	"vauban.dev/store"
)

// Authenticator names the caller of a request. Its *arm.Error says why it cannot, with status 401 and the
// WWW-Authenticate header.
type Authenticator interface {
	Authenticate(r *http.Request) (authz.Principal, error)
}

// Policy decides about writes and deletions before the provider sees them.
type Policy interface {
	// Before may rewrite the request's body. Its *arm.Error refuses (403 RequestDisallowedByPolicy). done, if not nil, is
	// called when the operation has succeeded, to record what was audited or modified.
	Before(ctx context.Context, t *rp.Target, r *rp.Request) (done func(context.Context) error, err error)
}

// Config of a Door.
type Config struct {
	Engine        *rp.Engine
	Authenticator Authenticator
	Authorizer    authz.Authorizer
	Policy        Policy // nil: there are no policies
	// Open are the paths that anybody may GET, in lower case: cloud metadata (see Endpoints).
	Open  map[string]http.Handler
	Clock clock.Clock
	Log   *slog.Logger // nil: none
	// Region is the name of the region, for x-ms-routing-request-id.
	Region string
	// Throttle counts requests; nil: one that refuses none.
	Throttle *Throttle
}

// Door is the http.Handler of management.azure.com.
type Door struct {
	cfg    Config
	stages []stage
}

// stage is one step of the door. It may refuse with an *arm.Error.
type stage struct {
	name   string
	run    func(*call) error
	always bool // also after a refusal
}

// New makes the door. Without an engine, an authenticator or an authorizer there is none.
func New(cfg Config) (*Door, error) {
	if cfg.Engine == nil || cfg.Authenticator == nil || cfg.Authorizer == nil {
		return nil, errors.New("door: an engine, an authenticator and an authorizer are needed")
	}
	if cfg.Clock == nil {
		cfg.Clock = &clock.Region{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Throttle == nil {
		cfg.Throttle = &Throttle{}
	}
	d := &Door{cfg: cfg}
	// Roles come before the provider sees the body: an unauthorised caller must not learn its schema.
	d.stages = []stage{
		{name: "normalise", run: d.normalise},
		{name: "authenticate", run: d.authenticate},
		{name: "throttle", run: d.throttle},
		{name: "type and api-version", run: d.resolve},
		{name: "parse", run: d.parse},
		{name: "role", run: d.role},
		{name: "lock", run: d.lock},
		{name: "policy", run: d.policy},
		{name: "provider", run: d.serve},
		{name: "policy events", run: d.policyEvents},
		{name: "activity log", run: d.log, always: true},
	}
	return d, nil
}

// call is a request on its way through the stages.
type call struct {
	ctx      context.Context
	w        http.ResponseWriter
	r        *http.Request
	req      rp.Request
	target   *rp.Target                  // after resolve
	response *rp.Response                // after serve
	decided  func(context.Context) error // what policy records of a success; nil: nothing
	err      error                       // the refusal
	cause    string                      // who refused: gateway or service
	done     bool                        // an open handler has answered
}

func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{ctx: r.Context(), w: w, r: r}
	d.identify(c)
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		d.cfg.Log.Error("panic while serving", "method", r.Method, "path", r.URL.Path, "correlation", c.req.CorrelationID, "panic", p, "stack", string(debug.Stack()))
		d.writeError(c, internal())
	}()
	for _, s := range d.stages {
		if c.err != nil && !s.always {
			continue
		}
		if err := s.run(c); err != nil && c.err == nil {
			c.err = err
			c.cause = "gateway"
			if s.name == "provider" {
				c.cause = "service"
			}
		}
		if c.done {
			return
		}
	}
	if c.err != nil {
		d.writeError(c, c.err)
		return
	}
	d.write(c, c.response)
}

// identify gives the request its ids and sets the headers that every answer has ("ARM RPC: common response
// headers").
func (d *Door) identify(c *call) {
	h := c.w.Header()
	c.req.Start = d.cfg.Clock.Now()
	c.req.RequestID = uuid.NewString()
	c.req.CorrelationID = c.req.RequestID
	if id, err := uuid.Parse(c.r.Header.Get("x-ms-correlation-request-id")); err == nil {
		c.req.CorrelationID = id.String()
	}
	h.Set("x-ms-request-id", c.req.RequestID)
	h.Set("x-ms-correlation-request-id", c.req.CorrelationID)
	h.Set("x-ms-routing-request-id", fmt.Sprintf("%s:%s:%s", strings.ToUpper(d.cfg.Region), c.req.Start.UTC().Format("20060102T150405Z"), c.req.RequestID))
	if id := c.r.Header.Get("x-ms-client-request-id"); printable(id) && strings.EqualFold(c.r.Header.Get("x-ms-return-client-request-id"), "true") {
		h.Set("x-ms-client-request-id", id)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
}

func printable(id string) bool {
	return id != "" && len(id) <= 256 && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' })
}

func (d *Door) authenticate(c *call) error {
	p, inside := insider(c.ctx)
	if !inside {
		var err error
		if p, err = d.cfg.Authenticator.Authenticate(c.r); err != nil {
			return err
		}
	}
	if p.ObjectID == "" {
		return arm.Errorf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The token names no caller.")
	}
	c.ctx = authz.NewContext(c.ctx, p)
	c.req.Check = func(ctx context.Context, action string, scope arm.ID) (authz.Decision, error) {
		return d.cfg.Authorizer.Check(ctx, p, authz.Request{Action: action, Scope: scope.String()})
	}
	return nil
}

func (d *Door) resolve(c *call) (err error) {
	c.target, err = d.cfg.Engine.Resolve(c.ctx, c.req.Method, c.req.Path, c.req.Query.Get("api-version"))
	return err
}

// role refuses a caller who may not do this here (403 AuthorizationFailed), saying what was looked at. An
// operation without a permission is refused to all.
func (d *Door) role(c *call) error {
	if c.target.Permission == "-" {
		return nil
	}
	scope, anybody, err := c.target.RoleScope(c.ctx, c.req.Body)
	if err != nil || anybody {
		return err
	}
	p, _ := authz.FromContext(c.ctx)
	decision := authz.Decision{By: "The operation has no permission and is refused to everybody."}
	if c.target.Permission != "" {
		decision, err = d.cfg.Authorizer.Check(c.ctx, p, authz.Request{
			Action: c.target.Permission, Scope: scope.String(), Attributes: c.target.Attributes(c.ctx, c.req.Body)})
		if err != nil {
			return fmt.Errorf("door: role check: %w", err)
		}
	}
	if decision.Allowed {
		return nil
	}
	return refusal(p, c.target.Permission, scope, decision)
}

// refusal is Azure's answer to who may not do this here, with the reason behind it.
func refusal(p authz.Principal, action string, scope arm.ID, decision authz.Decision) *arm.Error {
	why := decision.Info()
	var e *arm.Error
	switch {
	case why.Denied != nil:
		e = arm.Errorf(http.StatusForbidden, "DenyAssignmentAuthorizationFailed", "The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, the access is denied because of the deny assignment with name '%s' and Id '%s' at scope '%s'.",
			p.Name, p.ObjectID, action, scope, why.Denied.Name, why.Denied.ID, why.Denied.Scope)
	case why.ConditionFailed():
		e = arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization or an ABAC condition not fulfilled to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
			p.Name, p.ObjectID, action, scope)
	default:
		e = arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
			p.Name, p.ObjectID, action, scope)
	}
	if decision.By != "" && why.Denied == nil {
		e.Message += " " + strings.ToUpper(decision.By[:1]) + decision.By[1:]
		if !strings.HasSuffix(e.Message, ".") {
			e.Message += "."
		}
	}
	e.AdditionalInfo = []arm.AdditionalInfo{{Type: "RoleDecision", Info: why}}
	return e
}

// lock refuses what a management lock holds (409 ScopeLocked), and any write in a disabled subscription. Both bind all
// callers, whatever their roles.
func (d *Door) lock(c *call) error {
	if !c.target.Write {
		return nil
	}
	if err := d.cfg.Engine.CheckEnabled(c.ctx, c.target); err != nil {
		return err
	}
	verb := locks.Write
	if c.req.Method == http.MethodDelete {
		verb = locks.Delete
	}
	target := c.target.ID
	if id, err := arm.ParseID(c.req.Path); err == nil && !id.Type().IsZero() { // also what only its data plane keeps (a container)
		target = id
	}
	return d.cfg.Engine.CheckLocks(c.ctx, verb, target)
}

// policy asks what is in force for the resource, and may change the body that the provider gets.
func (d *Door) policy(c *call) (err error) {
	if d.cfg.Policy == nil || !c.target.Write {
		return nil
	}
	c.decided, err = d.cfg.Policy.Before(c.ctx, c.target, &c.req)
	return err
}

// policyEvents records what policy audited or modified, now that it has happened.
func (d *Door) policyEvents(c *call) error {
	if c.decided == nil {
		return nil
	}
	if err := c.decided(context.WithoutCancel(c.ctx)); err != nil { // the write is done: it is not undone by its record
		d.cfg.Log.Error("policy events", "path", c.req.Path, "correlation", c.req.CorrelationID, "err", err)
	}
	return nil
}

func (d *Door) serve(c *call) (err error) {
	c.response, err = c.target.Serve(c.ctx, &c.req)
	return err
}

// log writes what a write came to in the activity log, where its own transaction has not.
func (d *Door) log(c *call) error {
	if c.target == nil || !c.target.Write {
		return nil
	}
	// A client that hangs up must not escape the log.
	ctx := context.WithoutCancel(c.ctx)
	var err error
	switch {
	case c.err != nil:
		failure := arm.AsError(c.err)
		switch {
		case failure == nil && errors.Is(c.err, store.ErrFull):
			failure = full()
		case failure == nil:
			failure = internal()
		}
		err = d.cfg.Engine.LogRefusal(ctx, &c.req, c.target, failure)
	case !c.target.Logged:
		err = d.cfg.Engine.LogSuccess(ctx, &c.req, c.target, c.response.Status)
	}
	if err != nil {
		return fmt.Errorf("door: activity log: %w", err)
	}
	return nil
}

// full is the answer to a write for which there is no room. Clients do not repeat a 507 by themselves.
func full() *arm.Error {
	return arm.Errorf(http.StatusInsufficientStorage, "InsufficientStorage", httpx.DiskFull)
}

func internal() *arm.Error {
	return arm.Errorf(http.StatusInternalServerError, "InternalServerError", "The server encountered an internal error. Its log has the details under the request's correlation id.")
}

// write answers with JSON.
func (d *Door) write(c *call, res *rp.Response) {
	h := c.w.Header()
	for name, values := range res.Header {
		h[name] = values
	}
	if res.Body == nil || c.r.Method == http.MethodHead {
		c.w.WriteHeader(res.Status)
		return
	}
	b, encoded := res.Body.(json.RawMessage)
	if !encoded {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(res.Body); err != nil {
			d.writeError(c, fmt.Errorf("door: encoding the answer: %w", err))
			return
		}
		b = buf.Bytes()
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	c.w.WriteHeader(res.Status)
	_, _ = c.w.Write(b) // the client is gone: nobody to tell
}

// writeError is the one place where errors become answers.
func (d *Door) writeError(c *call, err error) {
	e := arm.AsError(err)
	switch {
	case e != nil && e.Status >= http.StatusBadRequest:
	case c.ctx.Err() != nil: // the client hung up
		e = arm.Errorf(http.StatusServiceUnavailable, "RequestCanceled", "The request was canceled.")
	case errors.Is(err, store.ErrClosed):
		e = arm.Errorf(http.StatusServiceUnavailable, "ServiceUnavailable", "The region is shutting down.")
		e.Header = map[string]string{"Retry-After": "1"}
	case errors.Is(err, store.ErrFull):
		d.cfg.Log.Error("the disk is full", "method", c.r.Method, "path", c.req.Path, "correlation", c.req.CorrelationID, "err", err)
		e = full()
	default:
		d.cfg.Log.Error("request failed", "method", c.r.Method, "path", c.req.Path, "correlation", c.req.CorrelationID, "err", err)
		e = internal()
	}
	h := http.Header{}
	if c.cause != "" {
		h.Set("x-ms-failure-cause", c.cause)
	}
	for name, value := range e.Header {
		h.Set(name, value)
	}
	d.write(c, &rp.Response{Status: e.Status, Header: h, Body: map[string]*arm.Error{"error": e}})
}
