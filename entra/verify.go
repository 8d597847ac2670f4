package entra

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/authz"
)

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// Caller is what a verified token says.
type Caller struct {
	authz.Principal
	Audience       string
	Roles          []string // application permissions on the audience
	DirectoryRoles []string // template ids of the directory roles that the principal has now
	Scopes         []string // delegated permissions on the audience; of users
	Session        string   // sid; of users
	Family         string   // the family of refresh tokens; of users
	Capabilities   []string // xms_cc
	NotBefore      time.Time
	Expires        time.Time
}

// Verify checks a token in full and returns the principal it names: signed RS256 by one of the
// region's keys, issued by this tenant, for one of the audiences, valid now by the region's clock, and of a
// principal, a credential and a session that still stand (standing.go). The error is a *TokenError.
func (d *Directory) Verify(ctx context.Context, token string, audiences ...string) (authz.Principal, error) {
	c, err := d.Authenticate(ctx, token, audiences...)
	return c.Principal, err
}

// Authenticate is Verify for those who need more of the token than its principal.
func (d *Directory) Authenticate(ctx context.Context, token string, audiences ...string) (Caller, error) {
	if len(token) > maxToken {
		return Caller{}, &TokenError{Reason: Malformed}
	}
	key := sha256.Sum256([]byte(token))
	known := d.cache.get(key)
	if known == nil {
		var err error
		if known, err = d.read(token); err != nil {
			return Caller{}, err
		}
		d.cache.put(key, known)
	}
	if err := known.caller.valid(d.clock.Now()); err != nil {
		return Caller{}, err
	}
	if !slices.ContainsFunc(audiences, func(a string) bool { return audienceAllowed(known.caller.Audience, a) }) {
		return Caller{}, &TokenError{Reason: WrongAudience, Got: known.caller.Audience, Want: audiences}
	}
	return d.standing(ctx, known)
}

func (c *Caller) valid(now time.Time) error {
	if !now.Before(c.Expires) {
		return &TokenError{Reason: Expired, At: c.Expires, Now: now}
	}
	if now.Before(c.NotBefore) {
		return &TokenError{Reason: NotYetValid, At: c.NotBefore, Now: now}
	}
	return nil
}

// read checks signature and issuer, and takes the claims.
func (d *Directory) read(token string) (*knownToken, error) {
	var cl claims
	if err := d.open(token, &cl); err != nil {
		return nil, err
	}
	if err := d.issuedHere(&cl); err != nil {
		return nil, err
	}
	if cl.AIO == "" { // from before tokens hung on anything
		return nil, &TokenError{Reason: Revoked, Detail: "it was issued by an earlier version of this region", Now: d.clock.Now(), Challenge: slices.Contains(cl.CC, "CP1")}
	}
	st, ok := parseStamp(cl.AIO)
	if !ok || cl.Audience == "" || cl.OID == "" || cl.Expires <= 0 || cl.NotBefore <= 0 {
		return nil, &TokenError{Reason: Malformed}
	}
	c := Caller{
		Principal: authz.Principal{
			TenantID: d.Tenant().ID,
			ObjectID: cl.OID,
			AppID:    cl.AppID + cl.AZP, // one of them, by the form
			Type:     "ServicePrincipal",
			Resource: cl.MIRID,
		},
		Audience:     cl.Audience,
		Roles:        cl.Roles,
		Session:      cl.SessionID,
		Capabilities: cl.CC,
		NotBefore:    time.Unix(cl.NotBefore, 0).UTC(),
		Expires:      time.Unix(cl.Expires, 0).UTC(),
	}
	switch {
	case cl.IDTyp == "user":
		c.Type, c.Scopes, c.Methods = "User", strings.Fields(cl.Scopes), cl.AMR
		if st.kind == ofFamily {
			c.Family = st.ref
		}
	case c.Resource != "":
		c.Type = "ManagedIdentity"
	}
	return &knownToken{caller: c, stamp: st}, nil
}

// Open checks that this directory signed a token, of whatever kind, and unmarshals its claims; *TokenError. It
// asks neither for times nor for an audience: the caller knows what the token is for.
func (d *Directory) Open(token string, into any) error {
	if len(token) > maxToken {
		return &TokenError{Reason: Malformed}
	}
	return d.open(token, into)
}

// open checks that one of the region's keys signed the token, by RS256 and nothing else, and
// unmarshals its claims.
func (d *Directory) open(token string, into any) error {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(parsed.Headers) != 1 {
		if alg := new(jose.ErrUnexpectedSignatureAlgorithm); errors.As(err, &alg) {
			return &TokenError{Reason: BadSignature, Detail: fmt.Sprintf("it is signed by %q; only RS256 is accepted", printable(string(alg.Got)))}
		}
		return &TokenError{Reason: Malformed}
	}
	key, known := d.signing().byKID[parsed.Headers[0].KeyID]
	if !known {
		return d.foreign(parsed)
	}
	if err := parsed.Claims(key.private.Public(), into); err != nil {
		if errors.Is(err, jose.ErrCryptoFailure) {
			return &TokenError{Reason: BadSignature, Detail: "its signature does not fit its contents"}
		}
		return &TokenError{Reason: Malformed}
	}
	return nil
}

// foreign says why a token with an unknown key is refused. The issuer that it claims is not proved,
// but it only picks the words of the refusal: a token of another tenant is told apart from a forged one.
func (d *Directory) foreign(parsed *jwt.JSONWebToken) error {
	var cl claims
	if parsed.UnsafeClaimsWithoutVerification(&cl) == nil && cl.Issuer != "" {
		if err := d.issuedHere(&cl); err != nil {
			return err
		}
	}
	return &TokenError{Reason: BadSignature, Detail: "its key is not one of this tenant's signing keys"}
}

func (d *Directory) issuedHere(cl *claims) error {
	version := ""
	switch cl.Issuer {
	case d.Tenant().IssuerV1():
		version = "1.0"
	case d.Tenant().IssuerV2():
		version = "2.0"
	}
	if version == "" || cl.Version != version || !strings.EqualFold(cl.TenantID, d.Tenant().ID) {
		return &TokenError{Reason: WrongTenant, Got: cl.Issuer, Want: []string{d.Tenant().IssuerV1()}}
	}
	return nil
}

// unprovedIssuer is the issuer that a token claims, "" if it has none.
func unprovedIssuer(token string) string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return ""
	}
	var cl claims
	if parsed.UnsafeClaimsWithoutVerification(&cl) != nil {
		return ""
	}
	return cl.Issuer
}
