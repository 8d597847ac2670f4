package keyvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

const selfSigned = `{"policy":{"issuer":{"name":"Self"},"key_props":{"kty":"EC","reuse_key":false},"x509_props":{"subject":"CN=lab.example, O=\"Contoso, Ltd\"","sans":{"dns_names":["lab.example"]},"validity_months":12}},"tags":{"a":"b"}}`

func (f *fixture) operation(method, path, body string, status int) (o operation) {
	f.Helper()
	if err := json.Unmarshal([]byte(f.raw(method, path, body, status)), &o); err != nil {
		f.Fatal(err)
	}
	return o
}

func parseDER(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSelfSigned(t *testing.T) {
	f := newFixture(t)
	if o := f.operation("POST", "/certificates/web/create", selfSigned, 202); o.Status != pendingInProgress || o.Target != "" {
		t.Errorf("%+v", o)
	}
	o := f.operation("GET", "/certificates/web/pending", "", 200)
	if o.Status != pendingCompleted || !strings.HasSuffix(o.Target, "/certificates/web") {
		t.Errorf("%+v", o)
	}
	a := f.want("GET", "/certificates/web", "", 200, "", "")
	c := parseDER(t, a.CER)
	if c.Subject.CommonName != "lab.example" || c.Subject.Organization[0] != "Contoso, Ltd" || c.VerifyHostname("lab.example") != nil || !c.NotAfter.Equal(f.clock.Now().AddDate(0, 12, 0)) {
		t.Errorf("the certificate is %v until %v", c.Subject, c.NotAfter)
	}
	if c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		t.Error("it is not self-signed")
	}
	s := f.want("GET", strings.TrimPrefix(a.SID, "https://labkv.vault.azure.net"), "", 200, "", "")
	pfx, err := base64.StdEncoding.DecodeString(*s.Value)
	if err != nil {
		t.Fatal(err)
	}
	if key, leaf, err := pkcs12.Decode(pfx, ""); err != nil || !leaf.Equal(c) || !key.(*ecdsa.PrivateKey).PublicKey.Equal(c.PublicKey) {
		t.Errorf("the secret: %v", err)
	}
	if s.ContentType != typePFX || !s.Managed || s.KID == "" {
		t.Errorf("the secret is %s", s.raw)
	}
	k := f.want("GET", strings.TrimPrefix(a.KID, "https://labkv.vault.azure.net"), "", 200, "", "")
	if !k.Managed || k.Key.Type != "EC" {
		t.Errorf("the key is %s", k.raw)
	}
	f.raw("POST", strings.TrimPrefix(a.KID, "https://labkv.vault.azure.net")+"/sign", `{"alg":"ES256","value":"`+b64(make([]byte, 32))+`"}`, 200)
	for _, path := range []string{"/keys/web", "/secrets/web"} {
		f.want("DELETE", path, "", 403, "Forbidden", "")
	}
	f.want("PUT", "/secrets/web", `{"value":"x"}`, 403, "Forbidden", "")
	f.want("POST", "/keys/web/create", `{"kty":"EC"}`, 403, "Forbidden", "")
	f.want("PATCH", "/certificates/web", `{"attributes":{"enabled":false}}`, 200, "", "")
	f.want("GET", "/secrets/web", "", 403, "Forbidden", "SecretDisabled")
	f.want("PATCH", "/certificates/web", `{"attributes":{"enabled":true}}`, 200, "", "")

	backup := f.want("POST", "/certificates/web/backup", "", 200, "", "")
	f.want("DELETE", "/certificates/web", "", 200, "", "")
	for _, path := range []string{"/certificates/web", "/keys/web", "/secrets/web"} {
		if w := f.send("GET", path, "", "tok"); w.Code != 404 {
			t.Errorf("%s of a deleted certificate: %d", path, w.Code)
		}
	}
	f.want("DELETE", "/deletedkeys/web", "", 403, "Forbidden", "")
	f.want("POST", "/certificates/web/create", selfSigned, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	f.want("POST", "/deletedcertificates/web/recover", "", 200, "", "")
	f.want("GET", "/secrets/web", "", 200, "", "")
	f.want("DELETE", "/certificates/web", "", 200, "", "")
	f.want("DELETE", "/deletedcertificates/web", "", 204, "", "")
	f.noDocs()
	f.want("POST", "/certificates/restore", `{"value":"`+*backup.Value+`"}`, 200, "", "")
	if got := f.want("GET", "/certificates/web", "", 200, "", ""); string(got.CER) != string(a.CER) || got.Policy == nil {
		t.Errorf("restored: %s", got.raw)
	}
	if got := f.want("GET", "/secrets/web", "", 200, "", ""); *got.Value != *s.Value {
		t.Error("the restored secret is another")
	}
}

func TestMerge(t *testing.T) {
	f := newFixture(t)
	body := strings.Replace(selfSigned, "Self", "Unknown", 1)
	o := f.operation("POST", "/certificates/web/create", body, 202)
	if o.Status != pendingInProgress {
		t.Fatalf("%+v", o)
	}
	f.want("POST", "/certificates/web/create", body, 409, "Conflict", "PendingCertificateInProgress")
	f.want("GET", "/certificates/web", "", 404, "CertificateNotFound", "")
	if l := f.want("GET", "/certificates", "", 200, "", "").Items; len(l) != 0 {
		t.Errorf("a certificate that is pending is listed: %+v", l)
	}
	csr, err := x509.ParseCertificateRequest(o.CSR)
	if err != nil || csr.CheckSignature() != nil || csr.DNSNames[0] != "lab.example" {
		t.Fatalf("the request: %v", err)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, NotBefore: f.clock.Now(), NotAfter: f.clock.Now().AddDate(1, 0, 0)}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: csr.Subject, DNSNames: csr.DNSNames, NotBefore: f.clock.Now(), NotAfter: f.clock.Now().AddDate(0, 3, 0)}
	sign := func(pub any) string {
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, pub, caKey)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
	chain := `","` + base64.StdEncoding.EncodeToString(rootDER) + `"]}`
	f.want("POST", "/certificates/web/pending/merge", `{"x5c":["`+sign(caKey.Public())+chain, 400, "BadParameter", "")
	f.want("POST", "/certificates/web/pending/merge", `{"x5c":["AAAA"]}`, 400, "BadParameter", "")
	f.want("POST", "/certificates/web/pending/merge", `{}`, 400, "BadParameter", "")
	merge := `{"x5c":["` + sign(csr.PublicKey) + chain
	a := f.want("POST", "/certificates/web/pending/merge", merge, 201, "", "")
	if parseDER(t, a.CER).SerialNumber.Int64() != 2 || a.Tags["a"] != "b" {
		t.Errorf("merged: %s", a.raw)
	}
	f.want("POST", "/certificates/web/pending/merge", merge, 403, "Forbidden", "")
	pfx, err := base64.StdEncoding.DecodeString(*f.want("GET", "/secrets/web", "", 200, "", "").Value)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, above, err := pkcs12.DecodeChain(pfx, ""); err != nil || len(above) != 1 {
		t.Errorf("the secret's chain: %d, %v", len(above), err)
	}

	f.operation("POST", "/certificates/other/create", body, 202)
	if o := f.operation("PATCH", "/certificates/other/pending", `{"cancellation_requested":true}`, 200); o.Status != pendingCancelled || !o.Cancelled {
		t.Errorf("cancelled: %+v", o)
	}
	f.operation("DELETE", "/certificates/other/pending", "", 200)
	f.want("GET", "/certificates/other/pending", "", 404, "PendingCertificateNotFound", "")
}

func TestImportCertificate(t *testing.T) {
	f := newFixture(t)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "import"}, NotBefore: f.clock.Now(), NotAfter: f.clock.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pfx, err := pkcs12.Modern.Encode(key, parseDER(t, der), nil, "pass phrase")
	if err != nil {
		t.Fatal(err)
	}
	value := base64.StdEncoding.EncodeToString(pfx)
	f.want("POST", "/certificates/pfx/import", `{"value":"`+value+`"}`, 400, "BadParameter", "")
	a := f.want("POST", "/certificates/pfx/import", `{"value":"`+value+`","pwd":"pass phrase"}`, 200, "", "")
	if string(a.CER) != string(der) || a.Policy.Issuer.Name != issuerUnknown || a.Policy.Key.Curve != "P-384" || a.Policy.X509.Subject != "CN=import" {
		t.Errorf("imported: %s", a.raw)
	}
	p8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p8}))
	body, err := json.Marshal(map[string]any{"value": text, "policy": map[string]any{"key_props": map[string]any{"exportable": false}, "secret_props": map[string]any{"contentType": typePEM}}})
	if err != nil {
		t.Fatal(err)
	}
	f.want("POST", "/certificates/pem/import", string(body), 200, "", "")
	if s := f.want("GET", "/secrets/pem", "", 200, "", ""); strings.Contains(*s.Value, "PRIVATE KEY") || !strings.Contains(*s.Value, "CERTIFICATE") || s.ContentType != typePEM {
		t.Error("a key that is not exportable left the vault")
	}
	for _, bad := range []string{`{}`, `{"value":"AAAA"}`, `{"value":"*"}`, `{"value":"-----BEGIN CERTIFICATE-----"}`} {
		f.want("POST", "/certificates/bad/import", bad, 400, "BadParameter", "")
	}
	f.want("PUT", "/secrets/taken", `{"value":"x"}`, 200, "", "")
	f.want("POST", "/certificates/taken/create", selfSigned, 409, "Conflict", "")
}

func TestRenewal(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	body := strings.Replace(selfSigned, `"reuse_key":false`, `"reuse_key":true`, 1)
	f.operation("POST", "/certificates/web/create", body, 202)
	f.operation("POST", "/certificates/fresh/create", selfSigned, 202)
	first := f.want("GET", "/certificates/web", "", 200, "", "")
	key := f.want("GET", "/keys/web", "", 200, "", "").Key.X
	other := f.want("GET", "/keys/fresh", "", 200, "", "").Key.X
	f.clock.move(200 * 24 * time.Hour)
	if err := f.Renew(ctx); err != nil {
		t.Fatal(err)
	}
	if a := f.want("GET", "/certificates/web", "", 200, "", ""); a.ID != first.ID {
		t.Error("renewed before its time")
	}
	f.clock.move(93 * 24 * time.Hour) // past 80 % of a year
	for range 2 {
		if err := f.Renew(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if l := f.want("GET", "/certificates/web/versions", "", 200, "", "").Items; len(l) != 2 {
		t.Errorf("%d versions", len(l))
	}
	if string(f.want("GET", "/keys/web", "", 200, "", "").Key.X) != string(key) {
		t.Error("reuse_key: another key")
	}
	if string(f.want("GET", "/keys/fresh", "", 200, "", "").Key.X) == string(other) {
		t.Error("no reuse_key: the same key")
	}
}

func TestPolicyIssuersContacts(t *testing.T) {
	f := newFixture(t)
	for _, bad := range []string{
		`{"policy":{"issuer":{"name":"Self"}}}`, `{"policy":{"x509_props":{"subject":"CN=a"}}}`, `{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"nothing"}}}`,
		`{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=a","validity_months":-1}}}`, `{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=a","ekus":["x"]}}}`,
		`{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=a"},"lifetime_actions":[{"trigger":{"lifetime_percentage":100},"action":{"action_type":"AutoRenew"}}]}}`,
	} {
		f.want("POST", "/certificates/bad/create", bad, 400, "BadParameter", "")
	}
	named := strings.Replace(selfSigned, "Self", "Digi", 1)
	f.want("POST", "/certificates/web/create", named, 404, "CertificateIssuerNotFound", "")
	f.want("PUT", "/certificates/issuers/Digi", `{"provider":"Nobody"}`, 400, "BadParameter", "")
	if got := f.raw("PUT", "/certificates/issuers/Digi", `{"provider":"DigiCert","credentials":{"account_id":"acc","pwd":"the-issuers-password"}}`, 200); strings.Contains(got, "the-issuers-password") {
		t.Errorf("a password is shown: %s", got)
	}
	f.want("POST", "/certificates/web/create", named, 501, "NotImplemented", "")
	if got := f.raw("PATCH", "/certificates/issuers/Digi", `{"attributes":{"enabled":false}}`, 200); !strings.Contains(got, "acc") || !strings.Contains(got, "false") {
		t.Errorf("updated: %s", got)
	}
	if got := f.raw("GET", "/certificates/issuers", "", 200); !strings.Contains(got, "/certificates/issuers/Digi") {
		t.Errorf("list: %s", got)
	}
	f.raw("DELETE", "/certificates/issuers/digi", "", 200)
	f.want("GET", "/certificates/issuers/Digi", "", 404, "CertificateIssuerNotFound", "")

	f.want("GET", "/certificates/contacts", "", 404, "ContactsNotFound", "")
	f.want("PUT", "/certificates/contacts", `{"contacts":[]}`, 400, "BadParameter", "")
	f.raw("PUT", "/certificates/contacts", `{"contacts":[{"email":"a@lab.example","name":"A"}]}`, 200)
	if got := f.raw("GET", "/certificates/contacts", "", 200); !strings.Contains(got, "a@lab.example") {
		t.Errorf("contacts: %s", got)
	}
	f.raw("DELETE", "/certificates/contacts", "", 200)
	f.want("GET", "/certificates/contacts", "", 404, "ContactsNotFound", "")

	f.operation("POST", "/certificates/web/create", selfSigned, 202)
	if got := f.raw("PATCH", "/certificates/web/policy", `{"x509_props":{"subject":"CN=new","validity_months":6}}`, 200); !strings.Contains(got, "CN=new") || !strings.Contains(got, "Self") {
		t.Errorf("the policy: %s", got)
	}
	f.operation("POST", "/certificates/web/create", `{}`, 202)
	if c := parseDER(t, f.want("GET", "/certificates/web", "", 200, "", "").CER); c.Subject.CommonName != "new" {
		t.Errorf("the next version is of %v", c.Subject)
	}
}
