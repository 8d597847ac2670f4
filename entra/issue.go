package entra

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/store"
)

const (
	appTokenLife      = time.Hour
	identityTokenLife = 24 * time.Hour // managed identities' tokens (Azure: "Managed identity tokens are cached for up to 24 hours")
	maxTokenLife      = identityTokenLife
	// backdate is how far Entra sets iat and nbf back, for verifiers whose clock is late.
	backdate = 5 * time.Minute
)

// Token is an access token as it is handed to a client.
type Token struct {
	AccessToken string
	Audience    string
	ClientID    string
	NotBefore   time.Time
	ExpiresOn   time.Time
	ExpiresIn   time.Duration
}

// claims of an access token; v1 and v2 name the client differently ("Access token claims reference").
type claims struct {
	Audience  string   `json:"aud"`
	Issuer    string   `json:"iss"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	AppID     string   `json:"appid,omitempty"`    // v1
	AppIDACR  string   `json:"appidacr,omitempty"` // v1: "1" a secret, "2" a certificate
	AZP       string   `json:"azp,omitempty"`      // v2
	AZPACR    string   `json:"azpacr,omitempty"`   // v2
	IDP       string   `json:"idp,omitempty"`
	IDTyp     string   `json:"idtyp,omitempty"`
	OID       string   `json:"oid"`
	Roles     []string `json:"roles,omitempty"`
	Subject   string   `json:"sub"`
	TenantID  string   `json:"tid"`
	UTI       string   `json:"uti,omitempty"`
	Version   string   `json:"ver"`
	CC        []string `json:"xms_cc,omitempty"`
	MIRID     string   `json:"xms_mirid,omitempty"` // managed identities: the ARM id they belong to
}

// IssueFor makes a token for the principal with this object id, for an audience such as AudienceARM.
// It is how managed identities get theirs: the caller has found out that it may ask. Tokens of managed
// identities live for a day, others for an hour. Errors: ErrNoPrincipal; a resource that the tenant
// does not have.
func (d *Directory) IssueFor(ctx context.Context, objectID, audience string) (Token, error) {
	var p ServicePrincipal
	var to target
	err := d.store.View(ctx, func(tx store.Tx) (err error) {
		if p, err = d.ByObjectID(tx, objectID); err != nil {
			return err
		}
		to, err = d.target(tx, audience)
		return err
	})
	if err != nil {
		return Token{}, fmt.Errorf("token of %s for %q: %w", objectID, audience, err)
	}
	return d.issue(p, to, nil)
}

func (d *Directory) issue(p ServicePrincipal, to target, capabilities []string) (Token, error) {
	now := d.clock.Now().Truncate(time.Second)
	life, proof := appTokenLife, "1"
	if p.Managed() {
		life, proof = identityTokenLife, "2"
	}
	c := claims{
		Audience:  to.audience,
		Issuer:    d.tenant.issuerV1(),
		IssuedAt:  now.Add(-backdate).Unix(),
		NotBefore: now.Add(-backdate).Unix(),
		Expires:   now.Add(life).Unix(),
		IDP:       d.tenant.issuerV1(),
		IDTyp:     "app",
		OID:       p.ObjectID,
		Subject:   p.ObjectID,
		TenantID:  d.tenant.ID,
		UTI:       random(16),
		Version:   "1.0",
		CC:        capabilities,
		MIRID:     p.Resource,
	}
	if to.graph {
		c.Roles = p.GraphRoles
	}
	if to.version == 2 {
		c.Issuer, c.Version, c.IDP = d.tenant.issuerV2(), "2.0", ""
		c.AZP, c.AZPACR = p.AppID, proof
	} else {
		c.AppID, c.AppIDACR = p.AppID, proof
	}
	text, err := d.sign(c)
	if err != nil {
		return Token{}, err
	}
	return Token{
		AccessToken: text,
		Audience:    to.audience,
		ClientID:    p.AppID,
		NotBefore:   now.Add(-backdate),
		ExpiresOn:   now.Add(life),
		ExpiresIn:   life - time.Second, // Entra says 3599
	}, nil
}

func (d *Directory) sign(payload any) (string, error) {
	text, err := jwt.Signed(d.keys.Load().current.signer).Claims(payload).Serialize()
	if err != nil {
		return "", fmt.Errorf("entra: sign: %w", err)
	}
	return text, nil
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails: crypto/rand ends the program first
	return base64.RawURLEncoding.EncodeToString(b)
}
