package entra

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

const (
	appTokenLife      = time.Hour
	identityTokenLife = 24 * time.Hour // managed identities' tokens (Azure: "Managed identity tokens are cached for up to 24 hours")
	maxTokenLife      = identityTokenLife
	// Backdate is how far Entra sets iat and nbf back, for verifiers whose clock is late.
	Backdate = 5 * time.Minute
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

// V1 is the answer of the v1 token endpoints and of IMDS, whose numbers are strings.
func (t Token) V1(resource string) map[string]string {
	life := strconv.Itoa(int(t.ExpiresIn.Seconds()))
	return map[string]string{
		"token_type":     "Bearer",
		"expires_in":     life,
		"ext_expires_in": life,
		"expires_on":     strconv.FormatInt(t.ExpiresOn.Unix(), 10),
		"not_before":     strconv.FormatInt(t.NotBefore.Unix(), 10),
		"resource":       resource,
		"access_token":   t.AccessToken,
	}
}

// Proof is how the client proved who it is, the values of appidacr and azpacr.
type Proof string

const (
	ProofNone        Proof = "0" // a public client
	ProofSecret      Proof = "1"
	ProofCertificate Proof = "2"
)

// Subject is whom an access token speaks of, and how that was proved.
type Subject struct {
	ObjectID     string
	Tenant       directory.Tenant // that the token is of; zero: the home tenant
	ClientID     string           // application id of the client
	Proof        Proof
	Capabilities []string // xms_cc that the client declares, such as CP1

	Managed    bool         // a managed identity
	Resource   string       // managed identities: the ARM id they belong to
	Roles      []string     // application permissions on the audience, of tokens without a user
	Credential string       // key id of the credential that an application has proved
	ValidFrom  time.Time    // the principal's SessionsValidFrom: when it moves, the token is void
	User       *UserSubject // tokens for a user; nil: the application itself
}

// UserSubject is what a token says of the user for whom a client acts.
type UserSubject struct {
	Name    string // display name
	UPN     string
	Scopes  []string // delegated permissions
	Session string   // sid
	Family  string   // the family of refresh tokens that the access token is of
	AMR     []string
	IDP     string   // issuer of a guest's own tenant; "" for members
	Roles   []string // app roles of the user on the resource
	Groups  []string // ids; nil when the client does not ask for groups in its tokens
	WIDs    []string // template ids of directory roles
	Address string   // of the client, as the kernel saw it
}

// claims of an access token; v1 and v2 name the client differently ("Access token claims reference").
type claims struct {
	Audience  string   `json:"aud"`
	Issuer    string   `json:"iss"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	ACR       string   `json:"acr,omitempty"`      // v1, users: "1"
	AIO       string   `json:"aio,omitempty"`      // opaque; see stamp
	AMR       []string `json:"amr,omitempty"`      // users: pwd, mfa, otp, fido
	AppID     string   `json:"appid,omitempty"`    // v1
	AppIDACR  string   `json:"appidacr,omitempty"` // v1: Proof
	AZP       string   `json:"azp,omitempty"`      // v2
	AZPACR    string   `json:"azpacr,omitempty"`   // v2
	Groups    []string `json:"groups,omitempty"`
	IDP       string   `json:"idp,omitempty"`
	IDTyp     string   `json:"idtyp,omitempty"` // app or user
	IPAddr    string   `json:"ipaddr,omitempty"`
	Name      string   `json:"name,omitempty"`
	OID       string   `json:"oid"`
	Preferred string   `json:"preferred_username,omitempty"` // v2
	Roles     []string `json:"roles,omitempty"`
	Scopes    string   `json:"scp,omitempty"`
	SessionID string   `json:"sid,omitempty"`
	Subject   string   `json:"sub"`
	TenantID  string   `json:"tid"`
	Unique    string   `json:"unique_name,omitempty"` // v1
	UPN       string   `json:"upn,omitempty"`
	UTI       string   `json:"uti,omitempty"`
	Version   string   `json:"ver"`
	WIDs      []string `json:"wids,omitempty"` // users: template ids of their directory roles
	CC        []string `json:"xms_cc,omitempty"`
	MIRID     string   `json:"xms_mirid,omitempty"` // managed identities: the ARM id they belong to
	// Overage of groups: where they can be asked for instead (OpenID Connect Core 1.0, 5.6.2).
	ClaimNames   map[string]string            `json:"_claim_names,omitempty"`
	ClaimSources map[string]map[string]string `json:"_claim_sources,omitempty"`
}

// IssueFor makes a token for the principal with this object id, for an audience such as AudienceARM.
// It is how managed identities get theirs: the caller has found out that it may ask. Tokens of managed
// identities live for a day, others for an hour. Errors: directory.ErrNoPrincipal; ErrNoResource.
func (d *Directory) IssueFor(ctx context.Context, objectID, audience string) (Token, error) {
	var who Subject
	var to Target
	err := d.store.View(ctx, func(tx store.Tx) error {
		p, err := d.ByObjectID(tx, objectID)
		if err != nil {
			return err
		}
		if to, err = d.Target(tx, audience); err != nil {
			return err
		}
		who, err = d.AppSubject(tx, p, to)
		return err
	})
	if err != nil {
		return Token{}, fmt.Errorf("token of %s for %q: %w", objectID, audience, err)
	}
	return d.Issue(who, to)
}

// AppSubject is what a token for the resource says of the principal itself, without a user: its application
// permissions on the resource among it.
func (d *Directory) AppSubject(tx store.Tx, p directory.ServicePrincipal, to Target) (Subject, error) {
	tenant, err := d.TenantBy(tx, p.TenantID)
	if err != nil {
		return Subject{}, err
	}
	s := Subject{ObjectID: p.ObjectID, Tenant: tenant, ClientID: p.AppID, Proof: ProofSecret, Resource: p.Resource}
	if p.Managed() {
		s.Managed, s.Proof = true, ProofCertificate
	}
	s.Roles, err = d.RolesOn(tx, p.ObjectID, nil, to.Principal)
	return s, err
}

// Issue makes an access token.
func (d *Directory) Issue(s Subject, to Target) (Token, error) {
	now := d.clock.Now().Truncate(time.Second)
	life := appTokenLife
	if s.Managed {
		life = identityTokenLife
	}
	tenant := s.Tenant
	if tenant.ID == "" {
		tenant = d.Tenant()
	}
	c := claims{
		Audience:  to.Audience,
		Issuer:    tenant.IssuerV1(),
		IssuedAt:  now.Add(-Backdate).Unix(),
		NotBefore: now.Add(-Backdate).Unix(),
		Expires:   now.Add(life).Unix(),
		AIO:       s.stamp().String(),
		IDP:       tenant.IssuerV1(),
		IDTyp:     "app",
		OID:       s.ObjectID,
		Roles:     s.Roles,
		Subject:   s.ObjectID,
		TenantID:  tenant.ID,
		UTI:       random(16),
		Version:   "1.0",
		CC:        s.Capabilities,
		MIRID:     s.Resource,
	}
	if to.Version == 2 {
		c.Issuer, c.Version, c.IDP = tenant.IssuerV2(), "2.0", ""
		c.AZP, c.AZPACR = s.ClientID, string(s.Proof)
	} else {
		c.AppID, c.AppIDACR = s.ClientID, string(s.Proof)
	}
	if s.User != nil {
		d.speakOf(&c, s.User, to)
	}
	text, err := d.Sign(c)
	if err != nil {
		return Token{}, err
	}
	return Token{
		AccessToken: text,
		Audience:    to.Audience,
		ClientID:    s.ClientID,
		NotBefore:   now.Add(-Backdate),
		ExpiresOn:   now.Add(life),
		ExpiresIn:   life - time.Second, // Entra says 3599
	}, nil
}

// maxGroups is how many groups a token lists; with more it says where to ask ("Groups overage claim").
const maxGroups = 200

// speakOf adds the claims of a user's token.
func (d *Directory) speakOf(c *claims, u *UserSubject, to Target) {
	c.IDTyp, c.IDP, c.Roles = "user", u.IDP, u.Roles
	c.Subject = Pairwise(c.OID, c.AppID+c.AZP)
	c.WIDs = u.WIDs
	c.Name, c.Scopes, c.SessionID, c.IPAddr = u.Name, strings.Join(u.Scopes, " "), u.Session, u.Address
	if to.Version == 2 {
		c.Preferred = u.UPN
	} else {
		c.ACR, c.AMR, c.UPN, c.Unique = "1", u.AMR, u.UPN, u.UPN
	}
	switch {
	case len(u.Groups) > maxGroups:
		c.ClaimNames = map[string]string{"groups": "src1"}
		c.ClaimSources = map[string]map[string]string{"src1": {"endpoint": AudienceGraph + "/v1.0/users/" + c.OID + "/getMemberObjects"}}
	default:
		c.Groups = u.Groups
	}
}

// Pairwise is the sub claim of a user: another one for each client, so that two of them cannot tell that they
// have the same user (OpenID Connect Core 1.0, 8.1).
func Pairwise(objectID, clientID string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(objectID + "/" + clientID)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Sign makes a JWT of the payload by the tenant's current key.
func (d *Directory) Sign(payload any) (string, error) {
	text, err := jwt.Signed(d.signing().current.signer).Claims(payload).Serialize()
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
