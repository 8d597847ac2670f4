// Package certs is what Key Vault does with X.509: bundles of a certificate and its private key in PFX and PEM, certificates
// and requests made by a policy. It is pure. Errors of type Error are the client's fault, and their text is for the client.
package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"vauban.dev/dataplane/keyvault/jwk"
)

// Error is what is wrong with what a client sent.
type Error string

func (e Error) Error() string { return string(e) }

func wrong(format string, args ...any) error { return Error(fmt.Sprintf(format, args...)) }

// Bundle is a certificate with its private key and the certificates above it.
type Bundle struct {
	Key   *jwk.Key // nil where it must not leave the vault
	Leaf  *x509.Certificate
	Chain []*x509.Certificate
}

// maxIterations bounds the work that a PFX file can ask of its reader; clients write at most some hundred thousand.
const maxIterations = 2_000_000

// ParsePFX reads a PKCS #12 file with one private key.
func ParsePFX(b []byte, password string) (Bundle, error) {
	if err := checkIterations(b); err != nil {
		return Bundle{}, err
	}
	key, leaf, chain, err := pkcs12.DecodeChain(b, password)
	if err != nil {
		return Bundle{}, wrong("The specified PKCS#12 X.509 certificate content can not be read. Please check if certificate is in valid PKCS#12 format and the password is the right one.")
	}
	return bundle(key, leaf, chain)
}

// checkIterations looks for iteration counts in the key derivation parameters anywhere in the file: small integers that directly
// follow a salt. What is encrypted inside has no counts of its own that are read before it is decrypted.
func checkIterations(b []byte) error {
	var walk func(b []byte, depth int) error
	walk = func(b []byte, depth int) error {
		salted := false
		for len(b) > 0 {
			var v asn1.RawValue
			rest, err := asn1.Unmarshal(b, &v)
			if err != nil {
				return nil // not structure: the reader says what is wrong
			}
			if n := new(big.Int).SetBytes(v.Bytes); salted && v.Class == 0 && v.Tag == asn1.TagInteger && n.Cmp(big.NewInt(maxIterations)) > 0 {
				return wrong("The PKCS#12 file asks for %s rounds of key derivation: at most %d are made.", n, maxIterations)
			}
			salted = v.Class == 0 && v.Tag == asn1.TagOctetString
			if (v.IsCompound || salted) && depth < 16 {
				if err := walk(v.Bytes, depth+1); err != nil {
					return err
				}
			}
			b = rest
		}
		return nil
	}
	return walk(b, 0)
}

// ParsePEM reads PEM blocks: one private key and certificates, its own among them.
func ParsePEM(b []byte) (Bundle, error) {
	var key any
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		var err error
		switch block.Type {
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				all = append(all, c)
			}
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			if key != nil {
				return Bundle{}, wrong("The PEM content has more than one private key.")
			}
			key, err = parseKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			err = wrong("The private key of the PEM content is encrypted.")
		}
		if err != nil {
			return Bundle{}, wrong("The PEM block %s can not be read.", strings.ToLower(block.Type))
		}
	}
	if key == nil || len(all) == 0 {
		return Bundle{}, wrong("The PEM content needs a private key (PKCS#8) and its X.509 certificate.")
	}
	for i, c := range all {
		if matches(key, c) {
			return bundle(key, c, append(append([]*x509.Certificate{}, all[:i]...), all[i+1:]...))
		}
	}
	return Bundle{}, wrong("None of the certificates belongs to the private key.")
}

func parseKey(b []byte) (key any, err error) {
	if key, err = x509.ParsePKCS8PrivateKey(b); err == nil {
		return key, nil
	}
	if key, err = x509.ParsePKCS1PrivateKey(b); err == nil {
		return key, nil
	}
	return x509.ParseECPrivateKey(b)
}

func matches(key any, c *x509.Certificate) bool {
	s, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	pub, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}

func bundle(key any, leaf *x509.Certificate, chain []*x509.Certificate) (Bundle, error) {
	k, err := jwk.Of(key)
	if err != nil {
		return Bundle{}, Error(err.Error())
	}
	if !matches(key, leaf) {
		return Bundle{}, wrong("The certificate does not belong to the private key.")
	}
	return Bundle{k, leaf, chain}, nil
}

// Belongs reports whether the certificate is of the key.
func Belongs(k *jwk.Key, c *x509.Certificate) bool { return matches(k.Signer(), c) }

// PFX is the bundle as a PKCS #12 file without a password.
func (b Bundle) PFX() ([]byte, error) {
	if b.Key == nil {
		return pkcs12.Modern.EncodeTrustStore(append([]*x509.Certificate{b.Leaf}, b.Chain...), "")
	}
	return pkcs12.Modern.Encode(b.Key.Signer(), b.Leaf, b.Chain, "")
}

// PEM is the bundle as PEM blocks, the private key first.
func (b Bundle) PEM() ([]byte, error) {
	var out bytes.Buffer
	if b.Key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(b.Key.Signer())
		if err != nil {
			return nil, err
		}
		_ = pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: der}) // a buffer takes all
	}
	for _, c := range append([]*x509.Certificate{b.Leaf}, b.Chain...) {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return out.Bytes(), nil
}

// Spec is what a policy says of a certificate.
type Spec struct {
	Subject   string // X.500 name: CN=…, O=…
	DNS       []string
	Emails    []string
	IPs       []string
	URIs      []string
	EKUs      []string // object identifiers
	KeyUsages []string // digitalSignature, keyEncipherment …
	Months    int
}

var usages = map[string]x509.KeyUsage{
	"digitalsignature": x509.KeyUsageDigitalSignature, "nonrepudiation": x509.KeyUsageContentCommitment, "keyencipherment": x509.KeyUsageKeyEncipherment,
	"dataencipherment": x509.KeyUsageDataEncipherment, "keyagreement": x509.KeyUsageKeyAgreement, "keycertsign": x509.KeyUsageCertSign,
	"crlsign": x509.KeyUsageCRLSign, "encipheronly": x509.KeyUsageEncipherOnly, "decipheronly": x509.KeyUsageDecipherOnly,
}

// template is the certificate that the spec asks for, without serial number and times.
func (s Spec) template() (t *x509.Certificate, err error) {
	t = &x509.Certificate{BasicConstraintsValid: true, DNSNames: s.DNS, EmailAddresses: s.Emails}
	if t.RawSubject, err = ParseName(s.Subject); err != nil {
		return nil, err
	}
	for _, text := range s.IPs {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, wrong("Invalid policy: '%s' in sans is not an IP address.", text)
		}
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	for _, text := range s.URIs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" {
			return nil, wrong("Invalid policy: '%s' in sans is not a URI.", text)
		}
		t.URIs = append(t.URIs, u)
	}
	for _, text := range s.EKUs {
		oid, err := parseOID(text)
		if err != nil {
			return nil, wrong("Invalid policy: '%s' in ekus is not an object identifier.", text)
		}
		t.UnknownExtKeyUsage = append(t.UnknownExtKeyUsage, oid)
	}
	for _, text := range s.KeyUsages {
		u, ok := usages[strings.ToLower(text)]
		if !ok {
			return nil, wrong("Invalid policy: '%s' in key_usage is no key usage.", text)
		}
		t.KeyUsage |= u
	}
	return t, nil
}

func parseOID(s string) (oid asn1.ObjectIdentifier, err error) {
	for _, part := range strings.Split(s, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return nil, err
		}
		oid = append(oid, int(n))
	}
	if len(oid) < 2 || oid[0] > 2 || oid[0] < 2 && oid[1] >= 40 {
		return nil, wrong("not an object identifier")
	}
	return oid, nil
}

// Check says what is wrong with the spec.
func (s Spec) Check() error {
	if s.Months < 1 || s.Months > 1200 {
		return wrong("Invalid policy: validity_months %d is not between 1 and 1200.", s.Months)
	}
	_, err := s.template()
	return err
}

// SelfSigned makes a certificate of the key that the key itself signs, valid from ten minutes before now, as Azure's are.
func (s Spec) SelfSigned(k *jwk.Key, now time.Time) (Bundle, error) {
	t, err := s.template()
	if err != nil {
		return Bundle{}, err
	}
	signer := k.Signer().(crypto.Signer) // keys of certificates are of types that x509 knows
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, of full length
	t.SerialNumber = new(big.Int).SetBytes(serial)
	t.NotBefore = now.Add(-10 * time.Minute).UTC().Truncate(time.Second)
	t.NotAfter = now.AddDate(0, s.Months, 0).UTC().Truncate(time.Second)
	der, err := x509.CreateCertificate(rand.Reader, t, t, signer.Public(), signer)
	if err != nil {
		return Bundle{}, wrong("Invalid policy: no certificate can be made by it: %s.", strings.TrimPrefix(err.Error(), "x509: "))
	}
	leaf, err := x509.ParseCertificate(der)
	return Bundle{Key: k, Leaf: leaf}, err
}

// Request is the certificate signing request (PKCS #10) of the key.
func (s Spec) Request(k *jwk.Key) ([]byte, error) {
	t, err := s.template()
	if err != nil {
		return nil, err
	}
	r := &x509.CertificateRequest{RawSubject: t.RawSubject, DNSNames: t.DNSNames, EmailAddresses: t.EmailAddresses, IPAddresses: t.IPAddresses, URIs: t.URIs}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, k.Signer())
	if err != nil {
		return nil, wrong("Invalid policy: no request can be made by it: %s.", strings.TrimPrefix(err.Error(), "x509: "))
	}
	return der, nil
}

// Of is the spec that a certificate fits.
func Of(c *x509.Certificate) Spec {
	s := Spec{Subject: c.Subject.String(), DNS: c.DNSNames, Emails: c.EmailAddresses}
	for _, ip := range c.IPAddresses {
		s.IPs = append(s.IPs, ip.String())
	}
	for _, u := range c.URIs {
		s.URIs = append(s.URIs, u.String())
	}
	for _, e := range c.ExtKeyUsage {
		if oid := e.OID(); len(oid.String()) > 0 {
			s.EKUs = append(s.EKUs, oid.String())
		}
	}
	for _, oid := range c.UnknownExtKeyUsage {
		s.EKUs = append(s.EKUs, oid.String())
	}
	for _, u := range []string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"} {
		if c.KeyUsage&usages[strings.ToLower(u)] != 0 {
			s.KeyUsages = append(s.KeyUsages, u)
		}
	}
	from, to := c.NotBefore, c.NotAfter
	s.Months = max(1, (to.Year()-from.Year())*12+int(to.Month()-from.Month()))
	return s
}

// KeyOf tells the type, size in bits and curve of a certificate's key.
func KeyOf(c *x509.Certificate) (kind string, size int, curve string) {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return jwk.RSA, k.N.BitLen(), ""
	case *ecdsa.PublicKey:
		return jwk.EC, k.Curve.Params().BitSize, k.Curve.Params().Name
	}
	return "", 0, ""
}
