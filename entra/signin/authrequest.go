package signin

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/entra"
)

// authRequest is a request to the authorization endpoint, checked for form (OpenID Connect Core 1.0, 3.1.2.1;
// RFC 7636; "Microsoft identity platform and OAuth 2.0 authorization code flow"). Client and redirect URI are
// checked against the directory before anything is sent to them.
type authRequest struct {
	Tenant       string       `json:"tenant"` // segment of the path: an id, a domain, common, organizations
	V2           bool         `json:"v2"`
	ClientID     string       `json:"client"`
	Redirect     string       `json:"redirect"`
	Platform     platform     `json:"platform"`
	Types        []string     `json:"types"` // of the response: code, id_token
	Mode         string       `json:"mode"`  // query, fragment, form_post
	State        string       `json:"state,omitempty"`
	Nonce        string       `json:"nonce,omitempty"`
	Scope        scopeRequest `json:"scope"`
	Prompt       string       `json:"prompt,omitempty"` // "", none, login, select_account, consent
	Hint         string       `json:"hint,omitempty"`
	Challenge    string       `json:"challenge,omitempty"` // S256
	Capabilities []string     `json:"cc,omitempty"`
	Factor       bool         `json:"factor,omitempty"` // the client asks for a second factor
	Base         string       `json:"base"`             // where the browser found this service
}

// maxQuery bounds the parameters of an authorization request, in bytes.
const maxQuery = 16 << 10

var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// parseTarget reads the parameters that say where an answer goes. Until they are checked, refusals are shown to
// the user and never sent on.
func parseTarget(q url.Values) (clientID, redirect, mode string, err error) {
	for name, values := range q {
		if len(values) > 1 {
			return "", "", "", refuse(http.StatusBadRequest, "invalid_request", 9002313, "Invalid request. The parameter '%s' stands more than once.", printable(name))
		}
	}
	clientID, redirect, mode = q.Get("client_id"), q.Get("redirect_uri"), q.Get("response_mode")
	switch {
	case clientID == "":
		return "", "", "", missingParameter("client_id")
	case mode != "" && mode != "query" && mode != "fragment" && mode != "form_post":
		return "", "", "", refuse(http.StatusBadRequest, "invalid_request", 70007, "The value '%s' is not supported for the parameter 'response_mode'.", printable(mode))
	}
	return clientID, redirect, mode, nil
}

// parse reads the other parameters; its errors go to the client.
func (a *authRequest) parse(q url.Values) error {
	a.State, a.Nonce, a.Hint = q.Get("state"), q.Get("nonce"), q.Get("login_hint")
	if err := a.parseResponse(q); err != nil {
		return err
	}
	if err := a.parseScope(q); err != nil {
		return err
	}
	if err := a.parseChallenge(q); err != nil {
		return err
	}
	switch a.Prompt = q.Get("prompt"); a.Prompt {
	case "", "none", "login", "select_account", "consent":
	case "admin_consent":
		a.Prompt = "consent"
	default:
		return refuse(http.StatusBadRequest, "invalid_request", 90023, "Unsupported 'prompt' value '%s'.", printable(a.Prompt))
	}
	a.Factor = slices.Contains(strings.Fields(q.Get("amr_values")), "mfa") || slices.Contains(strings.Fields(q.Get("acr_values")), "urn:microsoft:policies:mfa")
	caps, err := declaredCapabilities(q.Get("claims"))
	a.Capabilities = caps
	return err
}

func (a *authRequest) parseResponse(q url.Values) error {
	a.Types = strings.Fields(q.Get("response_type"))
	slices.Sort(a.Types)
	kind := strings.Join(slices.Compact(a.Types), " ")
	switch kind {
	case "code":
	case "id_token", "code id_token":
		if a.Nonce == "" {
			return missingParameter("nonce")
		}
	case "":
		return missingParameter("response_type")
	default:
		return unsupportedResponse(kind)
	}
	switch {
	case a.Mode == "" && kind == "code":
		a.Mode = "query"
	case a.Mode == "":
		a.Mode = "fragment"
	case a.Mode == "query" && kind != "code":
		return refuse(http.StatusBadRequest, "invalid_request", 70007, "'query' is not a supported value of 'response_mode' when requesting a token.")
	}
	return nil
}

func (a *authRequest) parseScope(q url.Values) (err error) {
	if !a.V2 {
		if resource := q.Get("resource"); resource != "" {
			a.Scope = resourceScope(resource)
			return nil
		}
		if q.Get("scope") == "" {
			a.Scope = scopeRequest{OIDC: []string{"openid", "profile", "offline_access"}, Implicit: true, Resource: entra.AudienceGraph}
			return nil
		}
	}
	if a.Scope, err = parseScopes(q.Get("scope")); err != nil {
		return err
	}
	if slices.Contains(a.Types, "id_token") && !a.Scope.has("openid") {
		return refuse(http.StatusBadRequest, "invalid_request", 70005, "response_type 'id_token' requires the 'openid' scope.")
	}
	return nil
}

// parseChallenge takes S256 alone: a plain challenge is the verifier itself, and protects from nobody who sees it.
func (a *authRequest) parseChallenge(q url.Values) error {
	challenge, method := q.Get("code_challenge"), q.Get("code_challenge_method")
	switch {
	case challenge == "" && method == "":
		return nil
	case challenge == "":
		return badChallenge("it is missing.")
	case method != "S256":
		return badChallenge("only the method S256 is accepted here.")
	case !challengeForm.MatchString(challenge):
		return badChallenge("it must be 43 characters of base64url.")
	}
	a.Challenge = challenge
	return nil
}
