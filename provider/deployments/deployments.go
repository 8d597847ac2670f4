// Package deployments is Microsoft.Resources/deployments at the four scopes: it reads templates, puts their resources
// through the one door as who deploys, and keeps the record ("Deploy resources with ARM templates").
package deployments

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
)

// Type is the resource type.
const Type = "Microsoft.Resources/deployments"

var versions = []string{
	"2015-01-01", "2015-11-01", "2016-02-01", "2016-06-01", "2016-07-01", "2016-09-01", "2017-05-01", "2017-05-10", "2018-01-01", "2018-02-01",
	"2018-05-01", "2018-06-01", "2018-07-01", "2018-08-01", "2018-09-01", "2018-11-01", "2019-03-01", "2019-04-01", "2019-05-01", "2019-05-10",
	"2019-06-01", "2019-07-01", "2019-08-01", "2019-09-01", "2019-10-01", "2019-11-01", "2020-01-01", "2020-05-01", "2020-06-01", "2020-08-01",
	"2020-10-01", "2021-01-01", "2021-04-01", "2022-01-01", "2022-06-01", "2022-09-01", "2022-12-01", "2023-03-01-preview", "2023-07-01", "2023-08-01",
	"2024-03-01", "2024-07-01", "2024-08-01", "2024-11-01", "2025-03-01", "2025-04-01", "2026-06-01",
}

// Door serves requests of this region for a caller; *door.Door does.
type Door interface {
	Do(ctx context.Context, in door.Inside) (door.Answer, error)
}

// Config of a Provider.
type Config struct {
	TenantID, TenantName string
	Authorizer           authz.Authorizer // of the door
	Policy               door.Policy      // of the door; nil: there are no policies
	Clock                clock.Clock
	Log                  *slog.Logger
	// Environment is the object of the function environment().
	Environment *expr.Object
	// Fetch reads a linked template or parameter file; nil: there are no links. Its errors say why it cannot.
	Fetch func(ctx context.Context, uri string) ([]byte, error)
	// Secret reads a secret of a vault, which the caller may use for deployments; nil: no references to vaults.
	Secret func(ctx context.Context, vault arm.ID, name, version string) (string, error)
	// Parallel is how many resources of one deployment are written at a time; 0 = 10.
	Parallel int
}

// Provider is the deployments of a region.
type Provider struct {
	cfg    Config
	engine *rp.Engine
	door   Door

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	begun   context.Context // done once Run works what an earlier process left
	resumed context.CancelFunc
	running map[string]*running
	wg      sync.WaitGroup
}

// running is a deployment under way.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// New makes a provider. Attach has to be called before it serves, and Run for deployments to go on.
func New(cfg Config) *Provider {
	if cfg.Clock == nil {
		cfg.Clock = &clock.Region{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 10
	}
	p := &Provider{cfg: cfg, running: map[string]*running{}}
	p.begun, p.resumed = context.WithCancel(context.Background())
	return p
}

// Attach gives it the engine, which keeps its records, and the door, through which resources are written.
func (p *Provider) Attach(e *rp.Engine, d Door) { p.engine, p.door = e, d }

// scopes are the paths under which deployments stand.
var scopes = []string{
	"/subscriptions/{subscription}/resourceGroups/{group}",
	"/subscriptions/{subscription}",
	"/providers/Microsoft.Management/managementGroups/{managementGroup}",
	"",
}

// Types are the routes.
func (p *Provider) Types() []rp.Registration {
	var routes []rp.Route
	add := func(method, pattern, permission string, serve func(context.Context, *rp.Request, map[string]string) (*rp.Response, error), how ...func(*rp.Route)) {
		r := rp.Route{Method: method, Pattern: pattern, Permission: Type + "/" + permission, Versions: versions, Serve: serve}
		for _, f := range how {
			f(&r)
		}
		routes = append(routes, r)
	}
	lenient := func(r *rp.Route) { r.Lenient = true }
	reads := func(r *rp.Route) { r.Reads = true }
	for _, scope := range scopes {
		all := scope + "/providers/Microsoft.Resources/deployments"
		one := all + "/{deployment}"
		add(http.MethodGet, all, "read", p.list)
		add(http.MethodGet, one, "read", p.get)
		add(http.MethodPut, one, "write", p.put, lenient)
		add(http.MethodDelete, one, "delete", p.remove)
		add(http.MethodPost, one+"/validate", "validate/action", p.validate, lenient, reads)
		add(http.MethodPost, one+"/whatIf", "whatIf/action", p.whatIf, lenient, reads)
		add(http.MethodPost, one+"/cancel", "cancel/action", p.cancel)
		add(http.MethodPost, one+"/exportTemplate", "exportTemplate/action", p.export, reads)
		add(http.MethodGet, one+"/operationStatuses/{operation}", "read", p.operationStatus)
		add(http.MethodGet, one+"/operationResults/{operation}", "read", p.removed)
		add(http.MethodGet, one+"/operations", "operations/read", p.operations)
		add(http.MethodGet, one+"/operations/{operation}", "operations/read", p.operation)
	}
	group := scopes[0] + "/deployments/{deployment}/operations" // as older clients ask
	add(http.MethodGet, group, "operations/read", p.operations)
	add(http.MethodGet, group+"/{operation}", "operations/read", p.operation)
	routes = append(routes, rp.Route{Method: http.MethodPost, Pattern: "/providers/Microsoft.Resources/calculateTemplateHash", Permission: "-", Versions: versions, Serve: p.hash, Lenient: true, Reads: true})
	return append(specs(), rp.Routes(routes...))
}

// Name of the subsystem in the log.
func (p *Provider) Name() string { return "deployments" }

// Run continues the deployments that a previous process left, and works new ones until ctx ends.
func (p *Provider) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	defer p.wg.Wait()
	left, err := p.unfinished(ctx)
	if err != nil {
		return err
	}
	for _, key := range left {
		p.start(key)
	}
	p.resumed()
	<-ctx.Done()
	p.mu.Lock()
	p.ctx = nil
	p.mu.Unlock()
	return nil
}

// start works a deployment whose record is stored. Before Run it is left for Run to find.
func (p *Provider) start(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil || p.ctx.Err() != nil || p.running[key] != nil {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	r := &running{cancel: cancel, done: make(chan struct{})}
	p.running[key] = r
	p.wg.Go(func() {
		defer cancel()
		p.deploy(ctx, key)
		p.mu.Lock()
		delete(p.running, key)
		p.mu.Unlock()
		close(r.done)
	})
}

// await waits until a deployment is no longer worked on.
func (p *Provider) await(ctx context.Context, key string) error {
	select {
	case <-p.begun.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	r := p.running[key]
	p.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// caller is who makes a request or made a deployment.
func caller(ctx context.Context) authz.Principal {
	p, _ := authz.FromContext(ctx)
	return p
}
