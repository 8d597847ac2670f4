// Package policyinsights is Microsoft.PolicyInsights: the compliance of resources with the policies in force, policy
// events, scans, attestations and remediation.
package policyinsights

import (
	"context"
	"log/slog"
	"net/http"

	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/policy"
	"vauban.dev/store"
)

// The resource types.
const (
	RemediationType = "Microsoft.PolicyInsights/remediations"
	AttestationType = "Microsoft.PolicyInsights/attestations"
)

// Act makes a request to Resource Manager as a principal, past no stage of the door but the token: remediations act
// as the identity of their assignment.
type Act func(ctx context.Context, who authz.Principal, method, path, version string, body []byte) (status int, answer []byte, err error)

// Config of a Provider.
type Config struct {
	Store    store.Store
	Policies *policy.Provider
	Clock    clock.Clock
	Log      *slog.Logger // nil: none
	TenantID string
	Act      Act // nil: remediations fail and say so
	// Kinds are further documents whose change may make something due: the region's clock.
	Kinds []string
}

// Provider scans resources and answers what it found.
type Provider struct {
	cfg     Config
	engine  *rp.Engine
	scans   *scanner
	written []written // resources written since the last plan of deployments; under the scanner's lock
}

// New returns the provider; Attach gives it the engine, Run follows the store.
func New(cfg Config) *Provider {
	if cfg.Clock == nil {
		cfg.Clock = &clock.Region{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Provider{cfg: cfg}
	p.scans = newScanner(p)
	return p
}

// Attach gives the provider the engine, once all types are registered.
func (p *Provider) Attach(e *rp.Engine) { p.engine = e }

// Follow sets the store that Run watches.
func (p *Provider) Follow(s store.Store) { p.cfg.Store = s }

// ActBy sets how requests are made in the name of others.
func (p *Provider) ActBy(act Act) { p.cfg.Act = act }

const (
	stateVersion       = "2019-10-01"
	subscription       = "/subscriptions/{subscription}"
	group              = subscription + "/resourceGroups/{group}"
	managementGroup    = "/providers/Microsoft.Management/managementGroups/{management}"
	provider           = "/providers/Microsoft.PolicyInsights/"
	authorization      = "/providers/Microsoft.Authorization/"
	resource           = group + "/providers/{namespace}/{type}/{name}"
	child              = resource + "/{type2}/{name2}"
	grandchild         = child + "/{type3}/{name3}"
	subscriptionObject = subscription + authorization
)

var (
	queryVersions       = []string{"2018-07-01-preview", "2019-10-01", "2024-10-01"}
	remediationVersions = []string{"2018-07-01-preview", "2019-07-01", "2021-10-01", "2024-10-01"}
	attestationVersions = []string{"2021-01-01", "2022-09-01", "2024-10-01"}
	restrictionVersions = []string{"2020-07-01", "2020-07-01-preview", "2022-03-01", "2023-03-01", "2024-10-01"}
)

// places are the paths at which states and events are asked for.
var places = []string{
	managementGroup, subscription, group, resource, child, grandchild,
	subscriptionObject + "policySetDefinitions/{set}", subscriptionObject + "policyDefinitions/{definition}",
	subscriptionObject + "policyAssignments/{assignment}", group + authorization + "policyAssignments/{assignment}",
}

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	var routes []rp.Route
	post := func(pattern, permission string, versions []string, serve serveFunc) {
		routes = append(routes, rp.Route{Method: http.MethodPost, Pattern: pattern, Permission: permission, Versions: versions, Serve: serve, Reads: true})
	}
	for _, at := range places {
		post(at+provider+"policyStates/{view}/queryResults", "Microsoft.PolicyInsights/policyStates/queryResults/action", queryVersions, p.queryStates)
		post(at+provider+"policyStates/{view}/summarize", "Microsoft.PolicyInsights/policyStates/summarize/action", queryVersions, p.summarize)
		post(at+provider+"policyEvents/default/queryResults", "Microsoft.PolicyInsights/policyEvents/queryResults/action", queryVersions, p.queryEvents)
	}
	for _, at := range []string{subscription, group} {
		post(at+provider+"policyStates/latest/triggerEvaluation", "Microsoft.PolicyInsights/policyStates/triggerEvaluation/action", queryVersions, p.triggerEvaluation)
		post(at+provider+"checkPolicyRestrictions", "Microsoft.PolicyInsights/checkPolicyRestrictions/read", restrictionVersions, p.checkRestrictions)
	}
	get := func(pattern string, serve serveFunc) {
		routes = append(routes, rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: "-", Versions: queryVersions, Serve: serve})
	}
	get(provider+"policyMetadata", listMetadata)
	get(provider+"policyMetadata/{metadata}", getMetadata)
	get(subscription+provider+"asyncOperationResults/{scan}", p.scanResult)
	return []rp.Registration{rp.Of(p.remediations()), rp.Of(p.attestations()), rp.Routes(routes...)}
}

type serveFunc = func(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error)
