package signin

import (
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"vauban.dev/entra"
)

// loginAliases are the names of the public cloud's login service; clients share their caches over them.
var loginAliases = []string{entra.LoginHost, "login.windows.net", "login.microsoft.com", "sts.windows.net"}

// base is where clients find the endpoints of this service: under the name that they came by, so that
// one which was pointed at the region by another name is not led to the real Azure.
func (s *Service) base(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if s.ours(host) {
		return "https://" + host
	}
	return "https://" + entra.LoginHost
}

// ours reports whether host names this login service: Azure's names, the region's further ones, and
// the loopback addresses of its listener.
func (s *Service) ours(host string) bool {
	host = strings.ToLower(host)
	if slices.Contains(loginAliases, host) || slices.Contains(s.hosts, host) {
		return true
	}
	if ap, err := netip.ParseAddrPort(host); err == nil {
		return ap.Addr().IsLoopback()
	}
	name, _, _ := strings.Cut(host, ":")
	return name == "localhost"
}

// openID is the OpenID Connect discovery document (OpenID Connect Discovery 1.0, section 3) in the
// form of either endpoint.
func (s *Service) openID(w http.ResponseWriter, r *http.Request, segment string, v2 bool) error {
	if strings.EqualFold(segment, "consumers") {
		return noConsumers()
	}
	t, err := s.anyTenant(r, segment)
	if err != nil {
		return err
	}
	id, issuer := t.ID, t.IssuerV1()
	if v2 {
		issuer = t.IssuerV2()
	}
	if word := strings.ToLower(segment); word == "common" || word == "organizations" {
		issuer = strings.Replace(issuer, id, "{tenantid}", 1)
		id = word
	}
	base, v := s.base(r)+"/"+id, "oauth2/"
	keys, info := base+"/discovery/keys", base+"/openid/userinfo"
	if v2 {
		v, keys, info = "oauth2/v2.0/", base+"/discovery/v2.0/keys", entra.AudienceGraph+"/oidc/userinfo"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"token_endpoint":                                   base + "/" + v + "token",
		"token_endpoint_auth_methods_supported":            []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"token_endpoint_auth_signing_alg_values_supported": []string{"RS256", "PS256"},
		"jwks_uri":                                       keys,
		"response_modes_supported":                       []string{"query", "fragment", "form_post"},
		"subject_types_supported":                        []string{"pairwise"},
		"id_token_signing_alg_values_supported":          []string{"RS256"},
		"response_types_supported":                       []string{"code", "id_token", "code id_token"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", "client_credentials", deviceGrant, "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               oidcScopes,
		"issuer":                                         issuer,
		"authorization_response_iss_parameter_supported": true,
		"request_uri_parameter_supported":                false,
		"userinfo_endpoint":                              info,
		"authorization_endpoint":                         base + "/" + v + "authorize",
		"device_authorization_endpoint":                  base + "/" + v + "devicecode",
		"http_logout_supported":                          true,
		"frontchannel_logout_supported":                  false,
		"end_session_endpoint":                           base + "/" + v + "logout",
		"claims_supported":                               []string{"sub", "iss", "aud", "exp", "iat", "nbf", "nonce", "c_hash", "name", "preferred_username", "email", "sid", "tid", "oid", "uti", "ver"},
		"tenant_region_scope":                            "EU",
		"cloud_instance_name":                            "microsoftonline.com",
		"cloud_graph_host_name":                          "graph.windows.net",
		"msgraph_host":                                   "graph.microsoft.com",
		"rbac_url":                                       "https://pas.windows.net",
	})
	return nil
}

func (s *Service) jwks(w http.ResponseWriter, r *http.Request, segment string, v2 bool) error {
	t, err := s.anyTenant(r, segment)
	if err != nil {
		return err
	}
	issuer := ""
	if v2 {
		issuer = t.IssuerV2()
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": s.dir.PublicKeys(issuer)})
	return nil
}

// instance is instance discovery, by which MSAL makes sure that it talks to a login service of Azure
// before it sends a credential there.
func (s *Service) instance(w http.ResponseWriter, r *http.Request) error {
	asked := r.URL.Query().Get("authorization_endpoint")
	if asked == "" {
		return missingParameter("authorization_endpoint")
	}
	u, err := url.Parse(asked)
	if err != nil || u.Scheme != "https" || !s.ours(u.Host) {
		return unknownInstance()
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if _, err := s.anyTenant(r, tenant); err != nil {
		return err
	}
	at := "https://" + strings.ToLower(u.Host) + "/" + strings.ToLower(tenant)
	if strings.Contains(rest, "v2.0") {
		at += "/v2.0"
	}
	type cloud struct {
		Network string   `json:"preferred_network"`
		Cache   string   `json:"preferred_cache"`
		Aliases []string `json:"aliases"`
	}
	clouds := []cloud{{entra.LoginHost, "login.windows.net", loginAliases}}
	if host := strings.ToLower(u.Host); !slices.Contains(loginAliases, host) {
		clouds = append(clouds, cloud{host, host, []string{host}})
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": at + "/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  clouds,
	})
	return nil
}

// userRealm tells clients how a user signs in: users of the region's tenants by its own pages.
func (s *Service) userRealm(w http.ResponseWriter, r *http.Request) error {
	name := r.URL.Query().Get("user")
	if name == "" { // Clients write UserRealm, userrealm and Userrealm.
		name = path.Base(r.URL.Path)
	}
	_, domain, _ := strings.Cut(name, "@")
	kind := "Unknown"
	if t, err := s.anyTenant(r, domain); err == nil && t.ID != "" && strings.EqualFold(t.Domain, domain) {
		kind = "Managed"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"ver":                   "1.0",
		"account_type":          kind,
		"NameSpaceType":         kind,
		"domain_name":           domain,
		"Login":                 name,
		"DomainName":            domain,
		"cloud_instance_name":   "microsoftonline.com",
		"cloud_audience_urn":    "urn:federation:MicrosoftOnline",
		"federation_protocol":   nil,
		"federation_active_url": nil,
	})
	return nil
}
