package blob

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"vauban.dev/authz"
)

// sas is a shared access signature as it stands in a query ("Create an account SAS", "Create a service SAS",
// "Create a user delegation SAS").
type sas struct {
	version     string // sv
	permissions string // sp
	start       time.Time
	expiry      time.Time
	startText   string // st and se as sent, which is what is signed
	expiryText  string
	ip          string // sip
	protocol    string // spr
	services    string // ss: an account SAS
	types       string // srt
	resource    string // sr: a service or user delegation SAS
	identifier  string // si
	scope       string // ses
	headers     [5]string
	key         *delegationKey // skoid …: a user delegation SAS
	authorized  [5]string      // saoid, suoid, scid, skdutid, sduoid
	signature   []byte
	signedText  string
}

// delegationKey is what names a user delegation key.
type delegationKey struct {
	ObjectID, TenantID     string // skoid, sktid
	Start, Expiry          string // skt, ske
	Service, SignedVersion string // sks, skv
}

func (k delegationKey) text() string {
	return strings.Join([]string{k.ObjectID, k.TenantID, k.Start, k.Expiry, k.Service, k.SignedVersion}, "\n")
}

// overrides are the query parameters, and the response headers they set, in the order in which they are signed.
var overrides = [5][2]string{
	{"rscc", "Cache-Control"}, {"rscd", "Content-Disposition"}, {"rsce", "Content-Encoding"}, {"rscl", "Content-Language"}, {"rsct", "Content-Type"},
}

// parseSAS reads the parameters; an error is about their form only.
func parseSAS(q url.Values) (*sas, error) {
	s := &sas{
		version: q.Get("sv"), permissions: q.Get("sp"), startText: q.Get("st"), expiryText: q.Get("se"), ip: q.Get("sip"), protocol: q.Get("spr"),
		services: q.Get("ss"), types: q.Get("srt"), resource: q.Get("sr"), identifier: q.Get("si"), scope: q.Get("ses"), signedText: q.Get("sig"),
		authorized: [5]string{q.Get("saoid"), q.Get("suoid"), q.Get("scid"), q.Get("skdutid"), q.Get("sduoid")},
	}
	for i, o := range overrides {
		s.headers[i] = q.Get(o[0])
	}
	if q.Get("skoid") != "" {
		s.key = &delegationKey{q.Get("skoid"), q.Get("sktid"), q.Get("skt"), q.Get("ske"), q.Get("sks"), q.Get("skv")}
	}
	var err error
	if s.signature, err = base64.StdEncoding.DecodeString(s.signedText); err != nil || len(s.signature) == 0 {
		return nil, errAuthentication("sig is not base64")
	}
	switch {
	case !isVersion(s.version) || s.version < "2015-04-05":
		return nil, errAuthentication("sv '%s' is not a version of 2015-04-05 or later", s.version)
	case s.identifier != "":
		return nil, errNotImplemented("the signature names the stored access policy '%s': these are not kept", s.identifier)
	case s.scope != "":
		return nil, errNotImplemented("encryption scopes (ses)")
	case s.permissions == "":
		return nil, errAuthentication("sp is mandatory. Cannot be empty")
	case s.expiryText == "":
		return nil, errAuthentication("se is mandatory. Cannot be empty")
	}
	if s.expiry, err = parseSASTime(s.expiryText); err != nil {
		return nil, errAuthentication("se '%s' is not a time", s.expiryText)
	}
	if s.startText != "" {
		if s.start, err = parseSASTime(s.startText); err != nil {
			return nil, errAuthentication("st '%s' is not a time", s.startText)
		}
	}
	return s, nil
}

// parseSASTime reads the ISO 8601 forms that Azure accepts.
func parseSASTime(v string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err = time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return t, err
}

// accountText is the string to sign of an account SAS.
func (s *sas) accountText(account string) string {
	lines := []string{account, s.permissions, s.services, s.types, s.startText, s.expiryText, s.ip, s.protocol, s.version}
	if s.version >= "2020-12-06" {
		lines = append(lines, s.scope)
	}
	return strings.Join(lines, "\n") + "\n"
}

// serviceText is the string to sign of a service or user delegation SAS for container, or blob in it.
func (s *sas) serviceText(account, container, blob string) string {
	resource := "/blob/" + account + "/" + container
	if s.resource == "b" {
		resource += "/" + blob
	}
	lines := []string{s.permissions, s.startText, s.expiryText, resource}
	if s.key != nil {
		lines = append(lines, s.key.text())
		if s.version >= "2020-02-10" {
			lines = append(lines, s.authorized[:3]...)
		}
		if s.version >= "2025-07-05" {
			lines = append(lines, s.authorized[3:]...)
		}
	} else {
		lines = append(lines, s.identifier)
	}
	lines = append(lines, s.ip, s.protocol, s.version)
	if s.version >= "2018-11-09" {
		lines = append(lines, s.resource, "") // no snapshot
	}
	if s.version >= "2020-12-06" {
		lines = append(lines, s.scope)
	}
	return strings.Join(append(lines, s.headers[:]...), "\n")
}

// signature verifies the request's SAS.
func (q *request) signature() (caller, error) {
	s, err := parseSAS(q.query)
	if err != nil {
		return caller{}, err
	}
	c := caller{sas: s}
	switch {
	case s.services != "" || s.types != "":
		c.kind = byAccountSAS
		err = q.verifyKeySAS(s, s.accountText(q.account.Name))
	case s.resource != "b" && s.resource != "c":
		return c, errNotImplemented("shared access signatures for sr=%s", s.resource)
	case q.container == "":
		return c, errSASResource("the signature is for a container or a blob, not for the service")
	case s.resource == "b" && q.blob == "":
		return c, errSASResource("the signature is for a blob")
	case s.key != nil:
		c.kind = byDelegationSAS
		c.principal, err = q.verifyDelegationSAS(s)
	default:
		c.kind = byServiceSAS
		err = q.verifyKeySAS(s, s.serviceText(q.account.Name, q.container, q.blob))
	}
	if err != nil {
		return c, err
	}
	return c, q.checkSAS(s)
}

func errSASResource(format string, args ...any) *Error {
	return newError(http.StatusForbidden, "AuthorizationResourceTypeMismatch", "This request is not authorized to perform this operation using this resource type.").because(format, args...)
}

func (q *request) verifyKeySAS(s *sas, text string) error {
	if !q.account.AllowSharedKeyAccess {
		return errKeyNotPermitted()
	}
	if !q.signed(text, s.signature) {
		return errAuthentication("Signature did not match. String to sign used was %s", text)
	}
	return nil
}

// checkSAS judges what a signature that is genuine says of time, address and protocol.
func (q *request) checkSAS(s *sas) error {
	now := q.s.clock.Now()
	if !now.Before(s.expiry) || now.Before(s.start) {
		return errAuthentication("Signature not valid in the specified time frame: Start [%s] - Expiry [%s] - Current [%s]", s.startText, s.expiryText, now.UTC().Format(http.TimeFormat)).
			because("the region's clock is what counts")
	}
	if !ipAllowed(s.ip, q.origin.Source) {
		return newError(http.StatusForbidden, "AuthorizationSourceIPMismatch", "This request is not authorized to perform this operation using this source IP %s.", q.origin.Source).
			because("the signature is for %s", s.ip)
	}
	switch s.protocol {
	case "", "https,http":
	case "https":
		if q.r.TLS == nil {
			return newError(http.StatusForbidden, "AuthorizationProtocolMismatch", "This request is not authorized to perform this operation using this protocol.").because("the signature is for https only")
		}
	default:
		return errAuthentication("spr '%s' is not https or https,http", s.protocol)
	}
	if s.authorized[4] != "" {
		return errNotImplemented("signatures bound to a delegated user (sduoid)")
	}
	return nil
}

// ipAllowed reports whether a is the address, or in the range a-b, of a SAS; an unreadable range allows nobody.
func ipAllowed(sip string, a netip.Addr) bool {
	if sip == "" {
		return true
	}
	lo, hi, isRange := strings.Cut(sip, "-")
	from, err := netip.ParseAddr(lo)
	if err != nil {
		return false
	}
	to := from
	if isRange {
		if to, err = netip.ParseAddr(hi); err != nil {
			return false
		}
	}
	a = a.Unmap()
	return a.IsValid() && from.Compare(a) <= 0 && a.Compare(to) <= 0
}

// SASRequest asks for a URL with a shared access signature.
type SASRequest struct {
	Account, Container string
	Blob               string // "": for the container
	Permissions        string // letters, in any order: r a c w d l t
	Expiry             time.Time

	// As signs with a user delegation key of this principal: its roles are checked when the URL is used.
	// Nil signs with the account's key, which allowSharedKeyAccess false makes useless.
	As *authz.Principal
}

// sasVersion is the version that SAS signs with.
const sasVersion = "2023-11-03"

// sasOrder is the order in which Azure wants permission letters.
const sasOrder = "racwdxltmeopi"

// SAS returns https://{account}.blob…/{container}[/{blob}]?{signature}; ErrNoAccount.
func (s *Service) SAS(ctx context.Context, r SASRequest) (string, error) {
	a, err := s.accounts.Lookup(ctx, r.Account)
	if err != nil {
		return "", err
	}
	if r.As == nil {
		return signSAS(a, r, s.suffix)
	}
	t, err := newSAS(r)
	if err != nil {
		return "", err
	}
	k, secret, err := s.delegate(ctx, r.Account, *r.As, s.clock.Now(), r.Expiry)
	if err != nil {
		return "", err
	}
	t.key = &k
	return t.sign(r, secret, s.suffix), nil
}

// SignSAS is SAS by the key of an account that the caller has at hand; r.As must be nil.
func SignSAS(a Account, r SASRequest) (string, error) { return signSAS(a, r, defaultSuffix) }

func signSAS(a Account, r SASRequest, suffix string) (string, error) {
	if !a.AllowSharedKeyAccess {
		return "", errKeyNotPermitted()
	}
	t, err := newSAS(r)
	if err != nil {
		return "", err
	}
	return t.sign(r, a.Keys[0], suffix), nil
}

// SignQuery signs what the parameters of a shared access signature say: of an account, when container is "", of a
// container, or of a blob in it. It adds sv and sig.
func (s *Service) SignQuery(account, container, blob string, key []byte, q url.Values) (string, error) {
	q = maps.Clone(q)
	q.Set("sv", sasVersion)
	q.Set("sig", "AA==") // parseSAS wants one
	t, err := parseSAS(q)
	if err != nil {
		return "", err
	}
	text := t.accountText(account)
	if container != "" {
		text = t.serviceText(account, container, blob)
	}
	q.Set("sig", base64.StdEncoding.EncodeToString(mac(key, text)))
	return q.Encode(), nil
}

func newSAS(r SASRequest) (*sas, error) {
	t := &sas{version: sasVersion, expiryText: r.Expiry.UTC().Format(time.RFC3339), protocol: "https", resource: "c"}
	for _, p := range sasOrder {
		if strings.ContainsRune(r.Permissions, p) {
			t.permissions += string(p)
		}
	}
	if t.permissions == "" {
		return nil, errInvalidInput("SAS permissions '%s'", r.Permissions)
	}
	if r.Blob != "" {
		t.resource = "b"
	}
	return t, nil
}

func (t *sas) sign(r SASRequest, key []byte, suffix string) string {
	q := url.Values{"sv": {t.version}, "sp": {t.permissions}, "se": {t.expiryText}, "spr": {t.protocol}, "sr": {t.resource}}
	if k := t.key; k != nil {
		for name, v := range map[string]string{"skoid": k.ObjectID, "sktid": k.TenantID, "skt": k.Start, "ske": k.Expiry, "sks": k.Service, "skv": k.SignedVersion} {
			q.Set(name, v)
		}
	}
	q.Set("sig", base64.StdEncoding.EncodeToString(mac(key, t.serviceText(r.Account, r.Container, r.Blob))))
	u := url.URL{Scheme: "https", Host: r.Account + suffix, Path: "/" + r.Container, RawQuery: q.Encode()}
	if r.Blob != "" {
		u.Path += "/" + r.Blob
	}
	return u.String()
}

func (k delegationKey) String() string {
	return fmt.Sprintf("user delegation key of %s", k.ObjectID)
}
