package runhistory

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/authz"
	"vauban.dev/entra"
	"vauban.dev/firewall"
	"vauban.dev/internal/httpx"
	"vauban.dev/ml"
	"vauban.dev/origin"
	"vauban.dev/store"
)

// request is one request on its way: workspace, firewall, caller, permission, operation.
type request struct {
	s         *Service
	w         http.ResponseWriter
	r         *http.Request
	id        string // of the request
	operation string
	place     place
	target    target
	ws        Workspace
	path      map[string]string // the route's variables
	caller    ml.Caller
	run       *entra.Run // of a run token
	principal authz.Principal
}

// serve answers one request. It is the one place that writes errors.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	q := &request{s: s, w: w, r: r, id: uuid.NewString(), operation: strings.ReplaceAll(uuid.NewString(), "-", "")}
	h := w.Header()
	h.Set("x-ms-request-id", q.id)
	h.Set("x-request-id", q.id)
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 1024 {
		h.Set("x-ms-client-request-id", id)
	}
	if err := q.handle(r.Context()); err != nil {
		q.fail(err)
	}
}

func (q *request) handle(ctx context.Context) error {
	if err := q.findPlace(ctx); err != nil {
		return err
	}
	if isDiscovery(q.r.URL.Path) {
		return q.discover(ctx)
	}
	if err := q.findWorkspace(ctx); err != nil {
		return err
	}
	if err := q.passFirewall(q.ws); err != nil {
		return err
	}
	if err := q.authenticate(ctx); err != nil {
		return err
	}
	// Resource Manager, which keeps the models, notes who writes.
	ctx = authz.NewContext(ctx, q.principal)
	q.r = q.r.WithContext(ctx)
	if q.target.service == "mlflow" {
		return q.mlflow(ctx)
	}
	route, err := q.findRoute()
	if err != nil {
		return err
	}
	if err := q.authorize(ctx, route.permission); err != nil {
		return err
	}
	answer, err := route.run(ctx, q)
	if err != nil {
		return err
	}
	q.send(http.StatusOK, answer)
	return nil
}

// findPlace reads the host. On a workspace's own host the workspace's firewall is passed before anything
// else is told.
func (q *request) findPlace(ctx context.Context) error {
	var ok bool
	if q.place, ok = parseHost(q.r.Host, q.s.Suffix); !ok {
		return notFound("The host '%s' is no workspace's.", q.r.Host)
	}
	if q.place.guid == "" {
		return nil
	}
	var err error
	q.ws, err = q.s.Workspaces.ByGUID(ctx, q.place.guid)
	if errors.Is(err, ErrNoWorkspace) || err == nil && !strings.EqualFold(q.ws.Location, q.place.location) {
		return notFound("There is no workspace '%s' in %s.", q.place.guid, q.place.location)
	}
	if err != nil {
		return err
	}
	return q.passFirewall(q.ws)
}

// findWorkspace finds the workspace that the path names; it must be one that the host serves.
func (q *request) findWorkspace(ctx context.Context) error {
	var ok bool
	if q.target, ok = parsePath(q.r.URL.EscapedPath()); !ok {
		return notFound("The requested resource '%s' was not found.", q.r.URL.Path)
	}
	ws, err := q.s.Workspaces.Lookup(ctx, q.target.workspace)
	if errors.Is(err, ErrNoWorkspace) {
		return notFound("Workspace not found: %s", q.target.workspace)
	}
	if err != nil {
		return err
	}
	if q.place.guid != "" && !strings.EqualFold(ws.GUID, q.ws.GUID) {
		return userError(http.StatusForbidden, "Forbidden", "The host '%s' is workspace %s's own; the path names %s.", q.place.host, q.ws.ID, ws.ID)
	}
	if !strings.EqualFold(ws.Location, q.place.location) {
		return notFound("Workspace not found in %s: %s is in %s.", q.place.location, ws.ID, ws.Location)
	}
	q.ws = ws
	return nil
}

// passFirewall applies the workspace's network rules before anything of the request is believed.
func (q *request) passFirewall(ws Workspace) error {
	o := origin.FromContext(q.r.Context())
	d := firewall.Decide(ws.Firewall, o)
	if d.Allowed {
		return nil
	}
	return userError(http.StatusForbidden, "Forbidden",
		"Access to workspace was denied based on workspace private link configuration. Workspace %s refused %s: %s.", ws.ID.Name(), o, d.Rule)
}

// audiences of tokens for the workspace's services: Resource Manager's, in its two names, and its own.
var audiences = []string{"https://management.azure.com/", "https://management.core.windows.net/", "https://ml.azure.com"}

func (q *request) authenticate(ctx context.Context) error {
	scheme, token, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return unauthorized("Bearer token not provided.")
	}
	var err error
	if !entra.IsRunToken(token) {
		if q.principal, err = q.s.Tokens.Verify(ctx, token, audiences...); err != nil {
			return unauthorized("Bearer token is not valid: " + err.Error())
		}
		q.caller.User = ml.User{ObjectID: q.principal.ObjectID, TenantID: q.principal.TenantID, Name: q.principal.Name}
		return nil
	}
	run, p, err := q.s.Tokens.VerifyRun(ctx, token)
	if err != nil {
		return unauthorized("The run token is not valid: " + err.Error())
	}
	if !strings.EqualFold(run.WorkspaceID, q.ws.GUID) {
		return userError(http.StatusForbidden, "Forbidden", "The run token is for run %s of another workspace.", run.RunID)
	}
	q.run, q.principal = &run, p
	q.caller = ml.Caller{Run: run.RunID, User: ml.User{ObjectID: p.ObjectID, TenantID: p.TenantID, Name: p.Name}}
	// What a run's code makes belongs to who submitted the run.
	if r, err := q.s.Runs.Run(ctx, q.ws.GUID, run.RunID); err == nil {
		q.caller.User = r.User
	} else if !errors.Is(err, ml.ErrNotFound) {
		return err
	}
	return nil
}

func unauthorized(message string) *Error {
	e := userError(http.StatusUnauthorized, "AuthorizationError", "%s", message)
	e.Header = map[string]string{"WWW-Authenticate": `Bearer authorization_uri="https://login.microsoftonline.com/common", resource="https://management.azure.com/"`}
	return e
}

// tokenGrants are what a run token itself permits; each operation holds it to its run. Anything else is
// asked of the roles of the identity that it acts as.
var tokenGrants = map[string]bool{readRuns: true, writeRuns: true, readExperiments: true}

func (q *request) authorize(ctx context.Context, permission string) error {
	if q.run != nil && tokenGrants[permission] {
		return nil
	}
	return q.checkRoles(ctx, authz.Request{Action: permission, Scope: q.ws.ID.String()})
}

// checkRoles asks the roles of the caller, for a run token those of the identity that the run acts as.
func (q *request) checkRoles(ctx context.Context, r authz.Request) error {
	d, err := q.s.Authorizer.Check(ctx, q.principal, r)
	if err != nil {
		return err
	}
	if d.Allowed {
		return nil
	}
	return userError(http.StatusForbidden, "Forbidden",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s': %s.",
		q.principal.Name, q.principal.ObjectID, r.Action, r.Scope, d.By)
}

// hold refuses a run token for a run that is not its own.
func (q *request) hold(r *ml.Run) error {
	if q.caller.Holds(r) {
		return nil
	}
	return userError(http.StatusForbidden, "Forbidden", "The token of run '%s' does not open run '%s'.", q.caller.Run, r.ID)
}

func (q *request) mlflow(ctx context.Context) error {
	permission := q.s.MLflow.Permission(q.r.Method, q.r.URL.Path)
	if permission == "" {
		permission = readRuns // MLflow's own form of "no such operation" is told to those who may read
	}
	if err := q.authorize(ctx, permission); err != nil {
		return err
	}
	q.s.MLflow.Serve(q.w, q.r, ml.Workspace{GUID: q.ws.GUID, ID: q.ws.ID, Host: q.place.host}, q.caller)
	return nil
}

const maxBody = 8 << 20

// decode reads the body into v; an empty one leaves v as it is.
func (q *request) decode(v any) error {
	b, err := httpx.ReadBody(q.w, q.r, maxBody)
	if err != nil {
		return userError(http.StatusRequestEntityTooLarge, "BadArgument", "The body could not be read, or is larger than 8 MiB.")
	}
	if len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return badRequest("The body is not valid JSON for this operation: %s", err)
	}
	return nil
}

// fail writes an error. One that is not ours is a bare 500 and a line in the log.
func (q *request) fail(err error) {
	e := asError(err)
	if e == nil {
		if q.r.Context().Err() != nil {
			return // the client went away
		}
		q.s.Log.Error("runhistory: request failed", "request", q.id, "method", q.r.Method, "path", q.r.URL.Path, "err", err)
		e = &Error{Status: http.StatusInternalServerError, Code: "ServiceError", Message: "InternalServerError"}
		if errors.Is(err, store.ErrFull) {
			e.Status, e.Message = http.StatusInsufficientStorage, httpx.DiskFull
		}
	}
	for k, v := range e.Header {
		q.w.Header().Set(k, v)
	}
	q.send(e.Status, q.errorBody(e))
}

// send answers with JSON.
func (q *request) send(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		q.s.Log.Error("runhistory: encode answer", "request", q.id, "err", err)
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"ServiceError","message":"InternalServerError"}}`)
	}
	q.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(b) // a client that went away misses nothing
	}
}
