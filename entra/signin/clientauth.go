package signin

import (
	"context"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is defined over SHA-1 (RFC 7515, 4.1.7); it names a certificate and protects nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/entra"
	"vauban.dev/entra/directory"
)

// clientCredentials are what a client sends of itself.
type clientCredentials struct {
	id, secret, assertion string
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertion bounds an assertion, in bytes.
const maxAssertion = 16 << 10

// read takes the client's credentials from the form or from an Authorization header, where they are form-encoded
// (RFC 6749, 2.3.1). Two of them are refused.
func (c *clientCredentials) read(r *http.Request, form url.Values) error {
	c.id, c.secret, c.assertion = form.Get("client_id"), form.Get("client_secret"), form.Get("client_assertion")
	if user, password, ok := r.BasicAuth(); ok {
		id, err := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(password)
		if err != nil || err2 != nil || c.secret != "" || c.id != "" && c.id != id {
			return malformedRequest()
		}
		c.id, c.secret = id, secret
	}
	switch {
	case c.secret != "" && c.assertion != "":
		return malformedRequest()
	case c.assertion != "" && form.Get("client_assertion_type") != assertionType:
		return badAssertion("client_assertion_type must be " + assertionType)
	case len(c.assertion) > maxAssertion:
		return badAssertion("it is too long")
	}
	if c.id == "" && c.assertion != "" { // RFC 7521, 4.2: the assertion names the client
		if cl, err := peek(c.assertion); err == nil {
			c.id = cl.Subject
		}
	}
	return nil
}

// proofOf is how a client has proved itself.
type proofOf struct {
	keyID string
	kind  entra.Proof
}

// identify has a client prove itself that may be public.
func (s *Service) identify(t *tokenCall, c client, proofs directory.Credentials) (proofOf, error) {
	given := t.creds.secret != "" || t.creds.assertion != ""
	if c.public() && !given {
		return proofOf{kind: entra.ProofNone}, nil
	}
	if c.first != nil || given && c.public() && len(proofs.Secrets)+len(proofs.Keys)+len(proofs.Federated) == 0 {
		return proofOf{}, publicWithCredential()
	}
	if !given {
		return proofOf{}, needsCredential()
	}
	keyID, kind, err := s.prove(t, c, proofs)
	return proofOf{keyID, kind}, err
}

// prove checks the client's secret or assertion; *signInError. keyID is the credential that fits.
func (s *Service) prove(t *tokenCall, c client, proofs directory.Credentials) (keyID string, kind entra.Proof, err error) {
	if t.creds.assertion == "" {
		keyID, state := proofs.TrySecret(t.creds.secret, s.clock.Now())
		switch state {
		case directory.SecretValid:
			return keyID, entra.ProofSecret, nil
		case directory.SecretExpired:
			return "", "", expiredSecret(c.AppID)
		}
		return "", "", wrongSecret(c.AppID)
	}
	cl, err := peek(t.creds.assertion)
	if err != nil {
		return "", "", badAssertion("it is no signed JWT")
	}
	if strings.EqualFold(cl.Issuer, c.AppID) {
		keyID, err = s.certificateAssertion(t, c, proofs)
	} else {
		keyID, err = s.federatedAssertion(t.r.Context(), t.creds.assertion, cl, proofs)
	}
	return keyID, entra.ProofCertificate, err
}

// peek reads the claims of an assertion before anything is proved: they say which key is to be asked for.
func peek(assertion string) (cl jwt.Claims, err error) {
	parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return cl, err
	}
	return cl, parsed.UnsafeClaimsWithoutVerification(&cl)
}

// leeway is how far clocks of clients may be off.
const leeway = 5 * time.Minute

// certificateAssertion checks an assertion that is signed by one of the application's certificates ("Microsoft
// identity platform application authentication certificate credentials").
func (s *Service) certificateAssertion(t *tokenCall, c client, proofs directory.Credentials) (string, error) {
	parsed, err := jwt.ParseSigned(t.creds.assertion, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil || len(parsed.Headers) != 1 {
		return "", badAssertion("it is no JWT signed by RS256 or PS256")
	}
	key, public, err := certificateOf(parsed.Headers[0], proofs.Keys)
	if err != nil {
		return "", err
	}
	var cl jwt.Claims
	if parsed.Claims(public, &cl) != nil {
		return "", badAssertion("its signature does not fit the certificate " + key.KeyID)
	}
	now := s.clock.Now()
	switch {
	case now.Before(key.Start) || !now.Before(key.End):
		return "", expiredAssertion("The certificate " + key.KeyID + " is not valid now.")
	case !strings.EqualFold(cl.Issuer, c.AppID) || !strings.EqualFold(cl.Subject, c.AppID):
		return "", badAssertion("iss and sub must both be the application's id")
	case cl.Expiry == nil:
		return "", badAssertion("it has no exp")
	case !slices.ContainsFunc(cl.Audience, func(a string) bool { return s.isTokenEndpoint(a, t.tenant) }):
		return "", badAssertion("its aud is not this token endpoint")
	}
	if err := within(cl, now); err != nil {
		return "", err
	}
	return key.KeyID, nil
}

func within(cl jwt.Claims, now time.Time) error {
	if err := cl.ValidateWithLeeway(jwt.Expected{Time: now}, leeway); err != nil {
		return expiredAssertion(fmt.Sprintf("Current time: %s, expiry time of assertion %s.", now.UTC().Format(time.RFC3339), cl.Expiry.Time().UTC().Format(time.RFC3339)))
	}
	return nil
}

// certificateOf finds the certificate that the header names: by x5t#S256, by x5t, or by kid, the thumbprint in
// hexadecimal digits.
func certificateOf(h jose.Header, all []directory.Key) (directory.Key, *rsa.PublicKey, error) {
	sha, _ := h.ExtraHeaders["x5t#S256"].(string)
	old, _ := h.ExtraHeaders["x5t"].(string)
	if sha == "" && old == "" && h.KeyID == "" {
		return directory.Key{}, nil, badAssertion("its header names no certificate: x5t#S256, x5t or kid")
	}
	for _, k := range all {
		s1 := sha1.Sum(k.Certificate) //nolint:gosec // see the import
		s256 := sha256.Sum256(k.Certificate)
		named := false
		switch {
		case sha != "":
			named = same(sha, s256[:])
		case old != "":
			named = same(old, s1[:])
		default:
			named = strings.EqualFold(h.KeyID, hex.EncodeToString(s1[:])) || same(h.KeyID, s1[:])
		}
		if !named {
			continue
		}
		cert, err := x509.ParseCertificate(k.Certificate)
		if err != nil {
			return k, nil, err
		}
		public, ok := cert.PublicKey.(*rsa.PublicKey)
		if !ok {
			return k, nil, badAssertion("the certificate's key is not RSA")
		}
		return k, public, nil
	}
	return directory.Key{}, nil, badAssertion("no certificate of the application has this thumbprint")
}

// same compares a thumbprint in base64url, with or without padding; MSAL for Go writes plain base64.
func same(text string, sum []byte) bool {
	b, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text))
	return err == nil && string(b) == string(sum)
}

// isTokenEndpoint reports whether an audience names this service's token endpoint or its issuer, for this tenant.
func (s *Service) isTokenEndpoint(audience, tenant string) bool {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" || !s.ours(u.Host) {
		return false
	}
	segment, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !strings.EqualFold(segment, tenant) && !strings.EqualFold(segment, s.tenant.ID) && !strings.EqualFold(segment, s.tenant.Domain) {
		return false
	}
	return slices.Contains([]string{"", "v2.0", "oauth2/token", "oauth2/v2.0/token"}, strings.Trim(rest, "/"))
}

// federatedAssertion checks the token of another issuer that the application trusts ("Workload identity
// federation"): issuer, subject and audience are equal to those of a federated credential, case and all, and the
// issuer's published keys, fetched inside the region, have signed it.
func (s *Service) federatedAssertion(ctx context.Context, assertion string, cl jwt.Claims, proofs directory.Credentials) (string, error) {
	at := slices.IndexFunc(proofs.Federated, func(f directory.FederatedCredential) bool {
		return f.Issuer == cl.Issuer && f.Subject == cl.Subject && slices.ContainsFunc(f.Audiences, func(a string) bool {
			return slices.Contains(cl.Audience, a) || a == directory.ExchangeURI && s.ownIssuer(cl.Issuer) && slices.Contains(cl.Audience, directory.ExchangeAppID)
		})
	})
	if at < 0 {
		return "", noFederatedMatch(cl.Issuer, cl.Subject, strings.Join(cl.Audience, ","))
	}
	trusted := proofs.Federated[at]
	parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(parsed.Headers) != 1 {
		return "", badAssertion("it is no JWT signed by RS256")
	}
	key, err := s.issuers.key(ctx, trusted.Issuer, parsed.Headers[0].KeyID, s.clock.Now())
	if err != nil {
		return "", refuse(http.StatusUnauthorized, "invalid_client", 700211, "The keys of the issuer '%s' could not be had inside the region: %s", printable(trusted.Issuer), printable(err.Error()))
	}
	if key == nil {
		return "", badAssertion("the issuer publishes no key with this kid")
	}
	var proved jwt.Claims
	if parsed.Claims(key, &proved) != nil {
		return "", badAssertion("its signature does not fit the issuer's key")
	}
	if proved.Expiry == nil {
		return "", badAssertion("it has no exp")
	}
	if err := within(proved, s.clock.Now()); err != nil {
		return "", err
	}
	return trusted.ID, nil
}

// ownIssuer reports whether an issuer is a tenant of this service.
func (s *Service) ownIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && s.ours(u.Host)
}

// issuers fetches and remembers the keys of other issuers.
type issuers struct {
	client *http.Client // that reaches hosts of the region alone; nil: none
	mu     sync.Mutex
	known  map[string]issuerKeys
}

type issuerKeys struct {
	keys    jose.JSONWebKeySet
	fetched time.Time
}

const (
	keysHold   = 5 * time.Minute
	keysAgain  = 10 * time.Second // an unknown kid has the keys fetched again, not more often than this
	maxIssuers = 1000
	maxKeys    = 1 << 20 // bytes of a document
)

// key returns an issuer's public key; nil when it has none with this id.
func (i *issuers) key(ctx context.Context, issuer, kid string, now time.Time) (any, error) {
	i.mu.Lock()
	have, known := i.known[issuer]
	i.mu.Unlock()
	found := have.keys.Key(kid)
	if age := now.Sub(have.fetched); !known || age > keysHold || len(found) == 0 && age > keysAgain {
		keys, err := i.fetch(ctx, issuer)
		if err != nil {
			return nil, err
		}
		i.mu.Lock()
		if len(i.known) >= maxIssuers {
			clear(i.known)
		}
		i.known[issuer] = issuerKeys{keys, now}
		i.mu.Unlock()
		found = keys.Key(kid)
	}
	for _, k := range found {
		if public, ok := k.Key.(*rsa.PublicKey); ok {
			return public, nil
		}
	}
	return nil, nil
}

// fetch reads the issuer's discovery document and its keys (OpenID Connect Discovery 1.0).
func (i *issuers) fetch(ctx context.Context, issuer string) (keys jose.JSONWebKeySet, err error) {
	if i.client == nil {
		return keys, errors.New("no host of the region serves it")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := i.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &doc); err != nil {
		return keys, err
	}
	if doc.Issuer != issuer {
		return keys, errors.New("its discovery document names another issuer")
	}
	return keys, i.get(ctx, doc.JWKS, &keys)
}

func (i *issuers) get(ctx context.Context, uri string, into any) error {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" {
		return errors.New("an issuer is reached by https")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return err
	}
	res, err := i.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", u.Host, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxKeys))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
