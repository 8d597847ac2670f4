package signin

import (
	"errors"
	"slices"
	"strings"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

type user = directory.User

// client is the application that asks, as the tenant knows it.
type client struct {
	directory.ServicePrincipal
	app   *directory.Application // nil: one of Microsoft's, or a managed identity
	first *directory.FirstParty  // one of Microsoft's
}

// client returns the application with this id in a tenant; *signInError when there is none or it is disabled.
func (s *Service) client(tx store.Tx, tenant directory.Tenant, appID string) (client, error) {
	p, err := s.dir.PrincipalIn(tx, tenant.ID, appID)
	if errors.Is(err, directory.ErrNoPrincipal) {
		return client{}, unknownApplication(appID, tenant.Name)
	}
	if err != nil {
		return client{}, err
	}
	if p.Disabled {
		return client{}, disabledApplication(p.AppID)
	}
	c := client{ServicePrincipal: p}
	if f, ok := directory.FirstPartyApp(p.AppID); ok {
		c.first = &f
		return c, nil
	}
	a, err := s.dir.ApplicationByAppID(tx, p.AppID)
	switch {
	case err == nil:
		c.app = &a
	case !errors.Is(err, directory.ErrNotFound):
		return client{}, err
	}
	return c, nil
}

// redirects are the client's redirect URIs by platform.
func (c client) redirects() map[platform][]string {
	switch {
	case c.first != nil:
		return map[platform][]string{platformPublic: c.first.Public}
	case c.app != nil:
		return map[platform][]string{platformWeb: c.app.Web.RedirectURIs, platformSPA: c.app.SPA.RedirectURIs, platformPublic: c.app.PublicClient.RedirectURIs}
	}
	return nil
}

// redirect checks the redirect URI that a request names, and says which platform it is of. A client that has
// exactly one need not name it.
func (c client) redirect(asked string) (string, platform, error) {
	all := c.redirects()
	if asked == "" {
		var only string
		var of platform
		n := 0
		for p, uris := range all {
			for _, u := range uris {
				only, of = u, p
				n++
			}
		}
		if n != 1 {
			return "", "", noRedirect()
		}
		return only, of, nil
	}
	for _, p := range []platform{platformPublic, platformSPA, platformWeb} {
		if slices.ContainsFunc(all[p], func(registered string) bool { return matchRedirect(registered, asked) }) {
			return asked, p, nil
		}
	}
	return "", "", badRedirect(asked, c.AppID)
}

// public reports whether the client may go without a credential: what it is registered for says so.
func (c client) public() bool {
	return c.first != nil || c.app != nil && (c.app.FallbackPublicClient != nil && *c.app.FallbackPublicClient || len(c.app.PublicClient.RedirectURIs) > 0 && len(c.app.Web.RedirectURIs) == 0)
}

// wantsGroups reports whether the client's tokens list the user's groups.
func (c client) wantsGroups() bool {
	return c.app != nil && (strings.Contains(c.app.GroupMembershipClaims, "SecurityGroup") || strings.Contains(c.app.GroupMembershipClaims, "All"))
}

// permissions of a request: what is granted, and what the user must be asked for.
type permissions struct {
	granted []string
	ask     []consentScope
}

// userImpersonation is the one permission of most of Azure's services.
const userImpersonation = "user_impersonation"

// offered are the delegated permissions of a resource.
func offered(resource directory.ServicePrincipal) []directory.Scope {
	if _, first := directory.FirstPartyApp(resource.AppID); first && len(resource.Scopes) == 0 {
		return []directory.Scope{{Value: userImpersonation, Type: "User", Enabled: true, UserConsentDisplayName: "Access " + resource.DisplayName + " as you"}}
	}
	return resource.Scopes
}

// graphDefaults are what Microsoft's own command-line clients are granted on Microsoft Graph.
var graphDefaults = []string{"Application.ReadWrite.All", "AuditLog.Read.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.AccessAsUser.All", "Group.ReadWrite.All", "Policy.ReadWrite.ConditionalAccess", "User.ReadWrite.All"}

// permissions finds out which delegated permissions of the resource the client has for the user, and which it
// asks for and does not have. Microsoft's own clients need no consent.
func (s *Service) permissions(tx store.Tx, c client, to entra.Target, userID string, q scopeRequest) (permissions, error) {
	var p permissions
	offers := offered(to.Principal)
	if c.first != nil {
		for _, o := range offers {
			if !o.Enabled {
				continue
			}
			if q.isDefault() && (to.AppID != directory.GraphAppID || slices.Contains(graphDefaults, o.Value)) || slices.Contains(q.Scopes, o.Value) {
				p.granted = append(p.granted, o.Value)
			}
		}
		return p, nil
	}
	has, err := s.dir.Consented(tx, c.ServicePrincipal, to.Principal, userID)
	if err != nil {
		return p, err
	}
	has = append(has, s.preauthorized(tx, to, c.AppID)...)
	for _, name := range s.wanted(c, to, q) {
		at := slices.IndexFunc(offers, func(o directory.Scope) bool { return strings.EqualFold(o.Value, name) && o.Enabled })
		switch {
		case slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, name) }):
			p.granted = append(p.granted, name)
		case at < 0:
			return p, badUserScope(q.Resource + "/" + name)
		default:
			o := offers[at]
			text := o.UserConsentDisplayName
			if text == "" {
				text = o.AdminConsentDisplayName
			}
			p.ask = append(p.ask, consentScope{Value: o.Value, Text: text, Admin: o.Type == "Admin"})
		}
	}
	if q.isDefault() {
		for _, h := range has {
			if !slices.Contains(p.granted, h) {
				p.granted = append(p.granted, h)
			}
		}
	}
	return p, nil
}

// wanted are the permissions that a request needs: those that it names; for .default, those of the application's
// registration; for none, signing in alone (User.Read of Graph when openid is asked for).
func (s *Service) wanted(c client, to entra.Target, q scopeRequest) []string {
	var out []string
	for _, name := range q.Scopes {
		if name != defaultScope {
			out = append(out, name)
		}
	}
	if !q.isDefault() || c.app == nil {
		return out
	}
	for _, need := range c.app.RequiredAccess {
		if !strings.EqualFold(need.ResourceAppID, to.AppID) {
			continue
		}
		for _, a := range need.Access {
			for _, o := range to.Principal.Scopes {
				if a.Type == "Scope" && strings.EqualFold(a.ID, o.ID) && !slices.Contains(out, o.Value) {
					out = append(out, o.Value)
				}
			}
			if _, first := directory.FirstPartyApp(to.AppID); first && len(to.Principal.Scopes) == 0 && a.Type == "Scope" && !slices.Contains(out, userImpersonation) {
				out = append(out, userImpersonation)
			}
		}
	}
	return out
}

// preauthorized are the scopes of a resource for which it asks no consent of this client.
func (s *Service) preauthorized(tx store.Tx, to entra.Target, clientID string) (out []string) {
	a, err := s.dir.ApplicationByAppID(tx, to.AppID)
	if err != nil {
		return nil
	}
	for _, p := range a.API.PreAuthorized {
		if !strings.EqualFold(p.AppID, clientID) {
			continue
		}
		for _, sc := range a.API.Scopes {
			if slices.ContainsFunc(p.ScopeIDs, func(id string) bool { return strings.EqualFold(id, sc.ID) }) {
				out = append(out, sc.Value)
			}
		}
	}
	return out
}
