package storagehttp

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"vauban.dev/authz"
	"vauban.dev/origin"
)

// CallerKind is how a caller proved who it is.
type CallerKind uint8

const (
	Anonymous CallerKind = iota
	ByKey
	ByAccountSAS
	ByServiceSAS
	ByDelegationSAS
	ByToken
)

// Caller of a request.
type Caller struct {
	Kind      CallerKind
	SAS       *SAS            // By…SAS
	Principal authz.Principal // ByToken, ByDelegationSAS
}

func (c Caller) String() string {
	switch c.Kind {
	case ByKey:
		return "a holder of the account's key"
	case ByAccountSAS:
		return "a holder of an account SAS"
	case ByServiceSAS:
		return "a holder of a service SAS"
	case ByDelegationSAS:
		return "a holder of a user delegation SAS of " + principalName(c.Principal)
	case ByToken:
		return principalName(c.Principal)
	}
	return "an anonymous caller"
}

func principalName(p authz.Principal) string {
	if p.Name == "" {
		return p.ObjectID
	}
	return p.Name + " (" + p.ObjectID + ")"
}

// Authenticate finds out who calls: by the Authorization header, else a signature in the query, which the service reads,
// else nobody. table chooses the Table service's string to sign.
func (q *Request) Authenticate(table bool, signature func() (Caller, error)) (Caller, error) {
	c, err := q.authenticate(table, signature)
	q.noted.Caller = c
	return c, err
}

func (q *Request) authenticate(table bool, signature func() (Caller, error)) (Caller, error) {
	scheme, value, _ := strings.Cut(q.R.Header.Get("Authorization"), " ")
	switch {
	case scheme == "" && q.Query.Get("sig") != "":
		return signature()
	case scheme == "":
		return Caller{Kind: Anonymous}, nil
	case scheme == "SharedKey" || scheme == "SharedKeyLite":
		return q.sharedKey(scheme, value, table)
	case strings.EqualFold(scheme, "Bearer"):
		return q.Bearer(strings.TrimSpace(value))
	}
	return Caller{}, invalidAuthentication()
}

func invalidAuthentication() *Error {
	return NewError(http.StatusBadRequest, "InvalidAuthenticationInfo", "The authentication information was not provided in the correct format. Verify the value of Authorization header.")
}

// Bearer verifies a token of Microsoft Entra for Azure Storage or for this account.
func (q *Request) Bearer(token string) (Caller, error) {
	if q.R.TLS == nil && q.Account.HTTPSOnly {
		return Caller{}, NewError(http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Tokens are accepted over https only.")
	}
	p, err := q.verify(token)
	if err != nil {
		return Caller{}, NewError(http.StatusUnauthorized, "InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.").
			WithDetail("%v", err).WithHeader("WWW-Authenticate", q.Challenge())
	}
	return Caller{Kind: ByToken, Principal: p}, nil
}

// verify takes tokens for Azure Storage and for this account.
func (q *Request) verify(token string) (authz.Principal, error) {
	host := "https://" + q.Account.Name + q.Front.Suffix
	return q.Front.Tokens.Verify(q.Ctx, token, "https://storage.azure.com/", "https://storage.azure.com", host, host+"/")
}

// bearerToken is the token that the request presents.
func (q *Request) bearerToken() (string, bool) {
	scheme, token, _ := strings.Cut(q.R.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// Challenge is the WWW-Authenticate header that tells clients the tenant and the resource.
func (q *Request) Challenge() string {
	return fmt.Sprintf("Bearer authorization_uri=https://login.microsoftonline.com/%s/oauth2/authorize resource_id=https://storage.azure.com", q.Account.TenantID)
}

// NoCredentials refuses an anonymous caller and tells where to get a token.
func (q *Request) NoCredentials() *Error {
	return NewError(http.StatusUnauthorized, "NoAuthenticationInformation", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.").
		WithHeader("WWW-Authenticate", q.Challenge())
}

// Environment answers conditions of roles about the environment of a request; name is in lower case.
func (q *Request) Environment(name string) ([]string, bool, error) {
	value := ""
	switch name {
	case "utcnow":
		value = q.Front.Clock.Now().UTC().Format(time.RFC3339Nano)
	case "isprivatelink":
		value = map[bool]string{true: "true", false: "false"}[q.Origin.Kind == origin.PrivateEndpoint]
	case "microsoft.network/privateendpoints":
		value = q.Origin.Endpoint
	case "microsoft.network/virtualnetworks/subnets":
		value = q.Origin.Subnet
	}
	if value == "" {
		return nil, false, nil
	}
	return []string{value}, true, nil
}
