package signin

import (
	"slices"
	"strings"

	"vauban.dev/entra"
)

// oidcScopes are the scopes that ask for nothing of a resource.
var oidcScopes = []string{"openid", "profile", "email", "offline_access"}

// defaultScope asks for all that was consented to ("The .default scope").
const defaultScope = ".default"

// scopeRequest is what a client asks for: permissions of one resource.
type scopeRequest struct {
	OIDC     []string `json:"oidc,omitempty"`
	Resource string   `json:"resource"`           // identifier, as the client wrote it
	Scopes   []string `json:"scopes,omitempty"`   // of the resource; ".default" among them
	Implicit bool     `json:"implicit,omitempty"` // no resource was named: Microsoft Graph stands for none
}

func (q scopeRequest) has(oidc string) bool { return slices.Contains(q.OIDC, oidc) }

// isDefault reports whether everything is asked for that was consented to.
func (q scopeRequest) isDefault() bool { return slices.Contains(q.Scopes, defaultScope) }

// maxScopes bounds the scopes of a request.
const maxScopes = 100

// parseScopes reads the scope parameter of the v2 endpoints: identifiers of a resource with a permission behind
// the last slash, so that an identifier keeps its own slash ("https://management.core.windows.net//.default").
func parseScopes(text string) (scopeRequest, error) {
	var q scopeRequest
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return q, missingParameter("scope")
	}
	if len(fields) > maxScopes {
		return q, badUserScope("more than 100 scopes")
	}
	for _, f := range fields {
		if slices.Contains(oidcScopes, strings.ToLower(f)) {
			q.OIDC = append(q.OIDC, strings.ToLower(f))
			continue
		}
		resource, scope := entra.AudienceGraph, f
		if at := strings.LastIndexByte(f, '/'); at >= 0 {
			resource, scope = f[:at], f[at+1:]
		}
		if resource == "" || scope == "" || strings.ContainsAny(scope, "\"\\") {
			return q, badUserScope(f)
		}
		if q.Resource != "" && !strings.EqualFold(strings.TrimSuffix(q.Resource, "/"), strings.TrimSuffix(resource, "/")) {
			return q, severalResources(f)
		}
		q.Resource = resource
		if !slices.Contains(q.Scopes, scope) {
			q.Scopes = append(q.Scopes, scope)
		}
	}
	if q.Resource == "" {
		q.Resource, q.Implicit = entra.AudienceGraph, true
	}
	return q, nil
}

// resourceScope is what the v1 endpoints ask for by their resource parameter: all that was consented to.
func resourceScope(resource string) scopeRequest {
	return scopeRequest{OIDC: []string{"openid", "profile", "offline_access"}, Resource: resource, Scopes: []string{defaultScope}}
}

// answer is the scope parameter of an answer: what is granted, and what was asked for, since clients look for
// their tokens by it.
func (q scopeRequest) answer(granted []string) string {
	var out []string
	add := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, s := range q.OIDC {
		if s != "offline_access" {
			add(s)
		}
	}
	for _, s := range slices.Concat(granted, q.Scopes) {
		if slices.Contains(oidcScopes, s) {
			continue
		}
		add(q.Resource + "/" + s)
	}
	return strings.Join(out, " ")
}
