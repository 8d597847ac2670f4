package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/origin"
)

// vaultReader reads the intermediate certificate authorities that firewalls inspect TLS with, from key vaults, as
// Azure Firewall does: with the policy's user-assigned identity, by its public address.
type vaultReader struct{ w *world }

// authorityTime is how long a certificate authority is used before the vault is asked again: revoking the
// identity's access ends inspection within it.
const authorityTime = time.Minute

// authority returns the function that a firewall gets its certificate authority by.
func (v vaultReader) authority(firewall string) func(context.Context) (*tls.Certificate, error) {
	var mu sync.Mutex
	var have *tls.Certificate
	var until time.Time
	return func(ctx context.Context) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if have != nil && time.Now().Before(until) {
			return have, nil
		}
		ca, err := v.read(ctx, firewall)
		if err != nil {
			have = nil
			return nil, err
		}
		have, until = ca, time.Now().Add(authorityTime)
		return have, nil
	}
}

func (v vaultReader) read(ctx context.Context, firewall string) (*tls.Certificate, error) {
	var host, secret string
	var ok bool
	var identity *arm.Identity
	err := v.w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		host, secret, identity, ok, err = v.w.sync.firewalls.provider.CertificateAuthority(tx, arm.MustParseID(firewall))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the firewall policy has no transportSecurity.certificateAuthority")
	}
	if identity == nil || len(identity.UserAssignedIdentities) == 0 {
		return nil, errors.New("the firewall policy has no user-assigned identity to read the key vault with")
	}
	var last error
	for _, u := range identity.UserAssignedIdentities {
		value, err := v.secret(ctx, u.PrincipalID, host, secret, firewall)
		if err == nil {
			return parseAuthority(value)
		}
		last = err
	}
	return nil, last
}

// secret asks the vault for a secret as the identity.
func (v vaultReader) secret(ctx context.Context, principal, host, name, firewall string) (string, error) {
	token, err := v.w.entra.IssueFor(ctx, principal, "https://vault.azure.net")
	if err != nil {
		return "", err
	}
	ctx = origin.NewContext(ctx, origin.Origin{Kind: origin.Internet, Source: v.w.sync.publicOf(firewall)})
	u := url.URL{Scheme: "https", Host: host, Path: "/secrets/" + name, RawQuery: "api-version=7.4"}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+token.AccessToken)
	answer := &answerBuffer{header: http.Header{}, status: http.StatusOK}
	v.w.secrets.Handler().ServeHTTP(answer, r)
	var body struct {
		Value string
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(answer.body, &body); err != nil || answer.status != http.StatusOK {
		return "", fmt.Errorf("key vault %s answers %d %s: %s", host, answer.status, body.Error.Code, body.Error.Message)
	}
	return body.Value, nil
}

// answerBuffer is the answer of a handler in this process.
type answerBuffer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answerBuffer) Header() http.Header    { return a.header }
func (a *answerBuffer) WriteHeader(status int) { a.status = status }
func (a *answerBuffer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// parseAuthority reads a certificate and its key as key vaults keep them: PKCS #12 without a password in base64,
// or PEM.
func parseAuthority(value string) (*tls.Certificate, error) {
	if strings.Contains(value, "-----BEGIN") {
		c, err := tls.X509KeyPair(certificatesOf(value), []byte(value))
		if err != nil {
			return nil, fmt.Errorf("the secret is no certificate with its key: %w", err)
		}
		return signs(&c)
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return nil, errors.New("the secret is neither PKCS #12 in base64 nor PEM")
	}
	key, leaf, chain, err := pkcs12.DecodeChain(der, "")
	if err != nil {
		return nil, fmt.Errorf("the secret is no PKCS #12 without a password: %w", err)
	}
	c := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return signs(c)
}

// certificatesOf are the certificates of a PEM text, without its keys.
func certificatesOf(text string) (out []byte) {
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out
		}
		if b.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(b)...)
		}
	}
}

// signs checks that a certificate may sign others and its key can.
func signs(c *tls.Certificate) (*tls.Certificate, error) {
	_, able := c.PrivateKey.(crypto.Signer)
	if !c.Leaf.IsCA || !able || c.Leaf.KeyUsage != 0 && c.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("the certificate %s is no certificate authority's", c.Leaf.Subject)
	}
	return c, nil
}
