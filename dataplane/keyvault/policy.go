package keyvault

import (
	"strings"

	"vauban.dev/dataplane/keyvault/certs"
	"vauban.dev/dataplane/keyvault/jwk"
)

// Types of what the secret of a certificate holds.
const (
	typePFX = "application/x-pkcs12"
	typePEM = "application/x-pem-file"
)

// Names of issuers that are no documents.
const (
	issuerSelf    = "Self"
	issuerUnknown = "Unknown"
)

// certificatePolicy is a certificate's policy on the wire (CertificatePolicy), and in the store.
type certificatePolicy struct {
	ID         string            `json:"id,omitempty"`
	Key        *policyKey        `json:"key_props,omitempty"`
	Secret     *policySecret     `json:"secret_props,omitempty"`
	X509       *policyX509       `json:"x509_props,omitempty"`
	Actions    []policyAction    `json:"lifetime_actions,omitempty"`
	Issuer     *policyIssuer     `json:"issuer,omitempty"`
	Attributes *policyAttributes `json:"attributes,omitempty"`
}

type policyKey struct {
	Exportable *bool  `json:"exportable,omitempty"`
	Type       string `json:"kty,omitempty"`
	Size       int    `json:"key_size,omitempty"`
	Reuse      bool   `json:"reuse_key"`
	Curve      string `json:"crv,omitempty"`
}

type policySecret struct {
	ContentType string `json:"contentType,omitempty"`
}

type policyX509 struct {
	Subject   string      `json:"subject"`
	SANs      *policySANs `json:"sans,omitempty"`
	EKUs      []string    `json:"ekus,omitempty"`
	KeyUsages []string    `json:"key_usage,omitempty"`
	Months    int         `json:"validity_months,omitempty"`
	Basic     *struct {
		CA bool `json:"ca"`
	} `json:"basic_constraints,omitempty"`
}

type policySANs struct {
	Emails []string `json:"emails,omitempty"`
	DNS    []string `json:"dns_names,omitempty"`
	UPNs   []string `json:"upns,omitempty"`
	IPs    []string `json:"ipAddresses,omitempty"`
	URIs   []string `json:"uris,omitempty"`
}

type policyAction struct {
	Trigger struct {
		Percentage int `json:"lifetime_percentage,omitempty"`
		Days       int `json:"days_before_expiry,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"action_type"` // AutoRenew, EmailContacts
	} `json:"action"`
}

type policyIssuer struct {
	Name         string `json:"name,omitempty"`
	Type         string `json:"cty,omitempty"`
	Transparency *bool  `json:"cert_transparency,omitempty"`
}

type policyAttributes struct {
	Enabled *bool  `json:"enabled,omitempty"`
	Created *int64 `json:"created,omitempty"`
	Updated *int64 `json:"updated,omitempty"`
}

// certificateDoc is a certificate's policy with when it was made and changed, in Unix seconds.
type certificateDoc struct {
	Policy  certificatePolicy `json:"policy"`
	Created int64             `json:"created"`
	Updated int64             `json:"updated"`
}

// complete lays Azure's defaults under a policy.
func (p *certificatePolicy) complete() {
	yes := true
	if p.Key == nil {
		p.Key = &policyKey{}
	}
	if p.Key.Type == "" {
		p.Key.Type = jwk.RSA
		if p.Key.Curve != "" {
			p.Key.Type = jwk.EC
		}
	}
	if p.Key.Exportable == nil {
		p.Key.Exportable = &yes
	}
	base, _ := strings.CutSuffix(p.Key.Type, "-HSM")
	if base == jwk.RSA && p.Key.Size == 0 {
		p.Key.Size = 2048
	}
	if base == jwk.EC && p.Key.Curve == "" {
		p.Key.Curve = "P-256"
	}
	if p.Secret == nil || p.Secret.ContentType == "" {
		p.Secret = &policySecret{typePFX}
	}
	if p.X509 == nil {
		p.X509 = &policyX509{}
	}
	if p.X509.Months == 0 {
		p.X509.Months = 12
	}
	if p.X509.EKUs == nil {
		p.X509.EKUs = []string{"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
	}
	if p.X509.KeyUsages == nil {
		p.X509.KeyUsages = []string{"digitalSignature"}
		if base == jwk.RSA {
			p.X509.KeyUsages = append(p.X509.KeyUsages, "keyEncipherment")
		}
	}
	if p.Actions == nil {
		p.Actions = []policyAction{p.usualAction()}
	}
	p.Attributes = nil
	p.ID = ""
}

// usualAction is AutoRenew at 80 %, or a mail to the contacts where nobody can renew.
func (p *certificatePolicy) usualAction() (a policyAction) {
	a.Trigger.Percentage, a.Action.Type = 80, "AutoRenew"
	if p.Issuer == nil || strings.EqualFold(p.Issuer.Name, issuerUnknown) {
		a.Action.Type = "EmailContacts"
	}
	return a
}

// check says what is wrong with a complete policy that a certificate is made by.
func (p *certificatePolicy) check(v Vault) error {
	base, _, err := v.keyType(p.Key.Type)
	if err != nil {
		return err
	}
	switch {
	case base == jwk.Oct:
		return errKeyType(p.Key.Type, ". Keys of certificates are of type RSA or EC.")
	case base == jwk.EC && p.Key.Curve == jwk.K256:
		return errNotImplemented("Certificates of keys on the curve %s are not there: no client of the region would verify them.", jwk.K256)
	case p.Secret.ContentType != typePFX && p.Secret.ContentType != typePEM:
		return errBadParameter("Invalid policy: secret_props.contentType '%s' is none of %s, %s.", p.Secret.ContentType, typePFX, typePEM)
	case p.Issuer == nil || p.Issuer.Name == "":
		return errBadParameter("Invalid policy: issuer.name is required: %s, %s or the name of an issuer of this vault.", issuerSelf, issuerUnknown)
	case p.X509.Subject == "" && (p.X509.SANs == nil || len(p.X509.SANs.DNS)+len(p.X509.SANs.Emails)+len(p.X509.SANs.UPNs)+len(p.X509.SANs.IPs)+len(p.X509.SANs.URIs) == 0):
		return errBadParameter("Invalid policy: x509_props.subject or a name in sans is required.")
	case p.X509.SANs != nil && len(p.X509.SANs.UPNs) > 0:
		return errNotImplemented("User principal names in certificates (sans.upns) are not there.")
	case p.X509.Basic != nil && p.X509.Basic.CA:
		return errBadParameter("Invalid policy: basic_constraints.ca: vaults make no certificate authorities.")
	}
	if err := p.checkActions(); err != nil {
		return err
	}
	return badCertificate(p.spec().Check())
}

func (p *certificatePolicy) checkActions() error {
	for i, a := range p.Actions {
		pct, days := a.Trigger.Percentage, a.Trigger.Days
		switch {
		case !strings.EqualFold(a.Action.Type, "AutoRenew") && !strings.EqualFold(a.Action.Type, "EmailContacts"):
			return errBadParameter("Invalid policy: lifetime_actions[%d].action.action_type '%s' is none of AutoRenew, EmailContacts.", i, a.Action.Type)
		case (pct == 0) == (days == 0):
			return errBadParameter("Invalid policy: lifetime_actions[%d].trigger has one of lifetime_percentage, days_before_expiry.", i)
		case pct < 0 || pct > 99:
			return errBadParameter("Invalid policy: lifetime_actions[%d].trigger.lifetime_percentage %d is not between 1 and 99.", i, pct)
		case days < 0 || days > p.X509.Months*27:
			return errBadParameter("Invalid policy: lifetime_actions[%d].trigger.days_before_expiry %d is not between 1 and %d, 27 for each month of validity.", i, days, p.X509.Months*27)
		}
	}
	return nil
}

func (p *certificatePolicy) spec() certs.Spec {
	s := certs.Spec{Subject: p.X509.Subject, EKUs: p.X509.EKUs, KeyUsages: p.X509.KeyUsages, Months: p.X509.Months}
	if n := p.X509.SANs; n != nil {
		s.DNS, s.Emails, s.IPs, s.URIs = n.DNS, n.Emails, n.IPs, n.URIs
	}
	return s
}

// policyOf is the policy that an imported certificate fits.
func policyOf(b certs.Bundle, contentType string) certificatePolicy {
	kind, size, curve := certs.KeyOf(b.Leaf)
	if kind == jwk.EC {
		size = 0
	}
	yes, s := true, certs.Of(b.Leaf)
	p := certificatePolicy{
		Key: &policyKey{Exportable: &yes, Type: kind, Size: size, Curve: curve}, Secret: &policySecret{contentType},
		X509:   &policyX509{Subject: s.Subject, EKUs: s.EKUs, KeyUsages: s.KeyUsages, Months: s.Months},
		Issuer: &policyIssuer{Name: issuerUnknown},
	}
	if len(s.DNS)+len(s.Emails)+len(s.IPs)+len(s.URIs) > 0 {
		p.X509.SANs = &policySANs{DNS: s.DNS, Emails: s.Emails, IPs: s.IPs, URIs: s.URIs}
	}
	return p
}

// over lays the parts of a policy that a client sent over p.
func (p certificatePolicy) over(in *certificatePolicy) certificatePolicy {
	if in == nil {
		return p
	}
	if in.Key != nil {
		p.Key = in.Key
	}
	if in.Secret != nil {
		p.Secret = in.Secret
	}
	if in.X509 != nil {
		p.X509 = in.X509
	}
	if in.Actions != nil {
		p.Actions = in.Actions
	}
	if in.Issuer != nil {
		p.Issuer = in.Issuer
	}
	return p
}
