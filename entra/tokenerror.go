package entra

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/entra/directory"
)

// Reason is why a token is refused.
type Reason uint8

const (
	Missing      Reason = iota // there is no Authorization header
	BadHeader                  // the header does not have the form "Bearer token"
	Malformed                  // it is no signed token, or lacks claims
	BadSignature               // algorithm, key or signature
	WrongTenant                // issued by, or for, another tenant
	WrongAudience
	Expired
	NotYetValid
	Revoked // what it hangs on does not stand any more
)

// TokenError is the refusal of a token.
type TokenError struct {
	Reason  Reason
	Got     string    // WrongTenant: the issuer; WrongAudience: the audience
	Want    []string  // what was expected in its place
	At, Now time.Time // Expired, NotYetValid
	Detail  string    // BadSignature, Revoked: what is wrong
	// Challenge: the client knows what to do with a claims challenge (xms_cc CP1). Revoked only.
	Challenge bool
}

// Error is the message that Azure Resource Manager gives.
func (e *TokenError) Error() string {
	const stamp = "1/2/2006 3:04:05 PM"
	switch e.Reason {
	case Missing:
		return "Authentication failed. The 'Authorization' header is missing."
	case BadHeader:
		return "Authentication failed. The 'Authorization' header is provided in an invalid format."
	case BadSignature:
		return "The access token is invalid: " + e.Detail + "."
	case Revoked:
		return "The access token has been revoked: " + e.Detail + ". Sign in again."
	case WrongTenant:
		want := ""
		if len(e.Want) > 0 {
			want = e.Want[0]
		}
		authority := strings.Replace(strings.TrimSuffix(want, "/"), "https://sts.windows.net/", "https://"+LoginHost+"/", 1)
		return fmt.Sprintf("The access token is from the wrong issuer '%s'. It must match the tenant '%s' associated with this subscription. Please use the authority (URL) '%s' to get the token.", printable(e.Got), want, authority)
	case WrongAudience:
		return fmt.Sprintf("The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences %s.", printable(e.Got), quoted(e.Want))
	case Expired:
		return fmt.Sprintf("The access token expiry UTC time '%s' is earlier than current UTC time '%s'.", e.At.UTC().Format(stamp), e.Now.UTC().Format(stamp))
	case NotYetValid:
		return fmt.Sprintf("The access token is not valid before UTC time '%s'; the current UTC time is '%s'.", e.At.UTC().Format(stamp), e.Now.UTC().Format(stamp))
	}
	return "The access token is invalid."
}

// Code is Azure Resource Manager's error code.
func (e *TokenError) Code() string {
	switch e.Reason {
	case Missing:
		return "AuthenticationFailed"
	case BadHeader:
		return "AuthenticationFailedInvalidHeader"
	case WrongTenant:
		return "InvalidAuthenticationTokenTenant"
	case WrongAudience:
		return "InvalidAuthenticationTokenAudience"
	case Expired:
		return "ExpiredAuthenticationToken"
	}
	return "InvalidAuthenticationToken"
}

// Response is the refusal as Azure Resource Manager answers it: 401 with the challenge that leads a
// client to the tenant's token endpoint.
func (e *TokenError) Response(t directory.Tenant) *arm.Error {
	out := arm.Errorf(http.StatusUnauthorized, e.Code(), "%s", e.Error())
	if e.Reason == Revoked && e.Challenge {
		out.Header = map[string]string{"WWW-Authenticate": e.claimsChallenge(t)}
		return out
	}
	out.Header = map[string]string{"WWW-Authenticate": fmt.Sprintf(
		`Bearer authorization_uri="https://%s/%s", error="invalid_token", error_description="%s"`,
		LoginHost, t.ID, strings.ReplaceAll(e.Error(), `"`, "'"))}
	return out
}

// claimsChallenge leads a client that knows of continuous access evaluation to a new token ("Claims
// challenges, claims requests, and client capabilities"): it signs in again with these claims.
func (e *TokenError) claimsChallenge(t directory.Tenant) string {
	claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, e.Now.Unix())
	return fmt.Sprintf(`Bearer realm="", authorization_uri="https://%s/%s/oauth2/authorize", error="insufficient_claims", claims="%s"`,
		LoginHost, t.ID, base64.StdEncoding.EncodeToString([]byte(claims)))
}

// Bearer returns the authentication of a service that takes tokens for these audiences. Its errors
// are *arm.Error when the caller is refused.
func (d *Directory) Bearer(audiences ...string) func(*http.Request) (authz.Principal, error) {
	want := expand(audiences)
	return func(r *http.Request) (authz.Principal, error) {
		p, err := d.bearer(r, want)
		if refused := new(TokenError); errors.As(err, &refused) {
			return p, refused.Response(d.Tenant())
		}
		return p, err
	}
}

func (d *Directory) bearer(r *http.Request, audiences []string) (authz.Principal, error) {
	token, err := BearerToken(r)
	if err != nil {
		return authz.Principal{}, err
	}
	return d.Verify(r.Context(), token, audiences...)
}

// BearerToken takes the token from a request's Authorization header; the error is a *TokenError.
func BearerToken(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 || values[0] == "" {
		return "", &TokenError{Reason: Missing}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", &TokenError{Reason: BadHeader}
	}
	return token, nil
}

// expand lists each audience with and without the slash at its end, as Azure's refusals do.
func expand(audiences []string) []string {
	var out []string
	for _, a := range audiences {
		a = strings.TrimSuffix(a, "/")
		out = append(out, a+"/", a)
	}
	return out
}

func quoted(list []string) string {
	return "'" + strings.Join(list, "','") + "'"
}

// printable makes a stranger's text fit for a message and a header: short, printable ASCII, no quotes.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\'' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s[:min(len(s), 256)])
	return s
}
