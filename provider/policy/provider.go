// Package policy is the part of Microsoft.Authorization that governs resources: policy definitions, initiatives,
// assignments and exemptions, and the gate by which they decide on writes. What a rule means is decided in
// vauban.dev/policy.
package policy

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	rules "vauban.dev/policy"
	"vauban.dev/store"
)

// The resource types.
const (
	DefinitionType        = "Microsoft.Authorization/policyDefinitions"
	DefinitionVersionType = DefinitionType + "/versions"
	SetType               = rules.SetType
	SetVersionType        = SetType + "/versions"
	AssignmentType        = "Microsoft.Authorization/policyAssignments"
	ExemptionType         = "Microsoft.Authorization/policyExemptions"
)

// Config of the provider.
type Config struct {
	// Hierarchy knows the management groups; nil: there are none.
	Hierarchy Hierarchy
	TenantID  string
	Clock     clock.Clock
}

// Provider keeps the documents and the index of what is in force.
type Provider struct {
	hierarchy Hierarchy
	tenant    string
	clock     clock.Clock
	engine    *rp.Engine
	index     *rp.Memo[*rules.Index]
	compiled  compiledCache
	secrets   map[string]bool // lower-case type and path of properties that no answer shows
}

// New returns the provider. Attach gives it the engine.
func New(cfg Config) *Provider {
	p := &Provider{hierarchy: cfg.Hierarchy, tenant: cfg.TenantID, clock: cfg.Clock}
	if p.clock == nil {
		p.clock = &clock.Region{}
	}
	return p
}

// Attach gives the provider the engine, once all types are registered.
func (p *Provider) Attach(e *rp.Engine) {
	p.engine = e
	p.index = rp.NewMemo(e, func(tx *rp.Tx, _ string) (*rules.Index, error) { return p.readIndex(tx) })
	p.secrets = map[string]bool{}
	for _, t := range e.Describe() {
		for _, f := range t.Fields {
			if f.Secret {
				p.secrets[strings.ToLower(t.Name.String()+" "+strings.ReplaceAll(f.Path, "[*]", ""))] = true
			}
		}
	}
}

// Index is all that is in force now.
func (p *Provider) Index(ctx context.Context) (*rules.Index, error) { return p.index.Get(ctx, "") }

var definitionVersions = []string{
	"2015-10-01-preview", "2015-11-01", "2016-04-01", "2016-12-01", "2017-06-01-preview", "2018-03-01", "2018-05-01", "2019-01-01", "2019-06-01",
	"2019-09-01", "2020-03-01", "2020-08-01", "2020-09-01", "2021-06-01", "2022-06-01", "2022-08-01-preview", "2023-04-01", "2024-04-01", "2024-05-01",
	"2025-01-01", "2025-03-01", "2025-11-01", "2025-12-01-preview", "2026-01-01-preview", "2026-06-01", "2026-07-01",
}

var exemptionVersions = []string{
	"2020-07-01-preview", "2022-07-01-preview", "2022-08-01-preview", "2024-12-01-preview", "2025-12-01-preview", "2026-01-01-preview",
}

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	return append([]rp.Registration{
		rp.Of(p.definitions()), rp.Of(p.definitionVersions()), rp.Of(p.sets()), rp.Of(p.setVersions()),
		rp.Of(p.assignments()), rp.Of(p.exemptions()),
	}, p.listings())
}

// invalid makes the answer of a document that the rule language refuses.
func invalid(err error) error {
	e, ok := err.(*rules.Error)
	if !ok {
		return err
	}
	status := http.StatusBadRequest
	if strings.HasSuffix(e.Code, "NotFound") {
		status = http.StatusNotFound
	}
	out := arm.Errorf(status, e.Code, "%s", e.Message)
	if e.Code == "InvalidPolicyRule" {
		out.Message = "The policy definition rule is invalid: " + e.Message + "."
	}
	return out
}

// Hierarchy knows the management groups that enclose a scope, the innermost first.
type Hierarchy interface {
	authz.Hierarchy
	// Within is ManagementGroups as a transaction sees them.
	Within(ctx context.Context, tx store.Tx, scope string) ([]string, error)
}

// enclosing are the scopes that enclose id, from the root to id itself.
func (p *Provider) enclosing(ctx context.Context, id arm.ID) ([]string, error) {
	return p.enclosed(id, func(scope string) ([]string, error) { return p.hierarchy.ManagementGroups(ctx, scope) })
}

// enclosingIn is enclosing in a transaction.
func (p *Provider) enclosingIn(ctx context.Context, tx *rp.Tx, id arm.ID) ([]string, error) {
	return p.enclosed(id, func(scope string) ([]string, error) { return p.hierarchy.Within(ctx, tx.Tx, scope) })
}

func (p *Provider) enclosed(id arm.ID, groupsOf func(scope string) ([]string, error)) ([]string, error) {
	var inner []string
	for at := id; !at.IsZero() && !at.Type().IsZero(); at = at.Parent() {
		inner = append(inner, at.Key())
	}
	slices.Reverse(inner)
	all := []string{"/"}
	if p.hierarchy != nil {
		scope := id
		if s := id.Subscription(); s != "" {
			scope, _ = arm.ParseID("/subscriptions/" + s)
		}
		if scope.Subscription() != "" || scope.ManagementGroup() != "" {
			groups, err := groupsOf(scope.String())
			if err != nil {
				return nil, err
			}
			for _, g := range slices.Backward(groups) {
				all = append(all, strings.ToLower(g))
			}
		}
	}
	for _, s := range inner {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all, nil
}

// Enclosing are the scopes that enclose a resource, from the root to itself.
func (p *Provider) Enclosing(ctx context.Context, id arm.ID) ([]string, error) {
	return p.enclosing(ctx, id)
}
