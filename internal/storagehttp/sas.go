package storagehttp

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// SAS is a shared access signature as it stands in a query ("Create an account SAS", "Create a service SAS",
// "Create a user delegation SAS").
type SAS struct {
	Version     string // sv
	Permissions string // sp
	Start       time.Time
	Expiry      time.Time
	StartText   string // st and se as sent, which is what is signed
	ExpiryText  string
	IP          string // sip
	Protocol    string // spr
	Services    string // ss: an account SAS
	Types       string // srt
	Resource    string // sr: a service or user delegation SAS
	Identifier  string // si: the stored access policy
	Scope       string // ses
	Headers     [5]string
	Key         *DelegationKey // skoid …: a user delegation SAS
	Authorized  [5]string      // saoid, suoid, scid, skdutid, sduoid
	Signature   []byte
}

// DelegationKey is what names a user delegation key.
type DelegationKey struct {
	ObjectID, TenantID     string // skoid, sktid
	Start, Expiry          string // skt, ske
	Service, SignedVersion string // sks, skv
}

// Text is the key in a string to sign.
func (k DelegationKey) Text() string {
	return strings.Join([]string{k.ObjectID, k.TenantID, k.Start, k.Expiry, k.Service, k.SignedVersion}, "\n")
}

// Overrides are the query parameters, and the response headers they set, in the order in which they are signed.
var Overrides = [5][2]string{
	{"rscc", "Cache-Control"}, {"rscd", "Content-Disposition"}, {"rsce", "Content-Encoding"}, {"rscl", "Content-Language"}, {"rsct", "Content-Type"},
}

// ParseSAS reads the parameters; an error is about their form only.
func ParseSAS(q url.Values) (*SAS, error) {
	s := &SAS{
		Version: q.Get("sv"), Permissions: q.Get("sp"), StartText: q.Get("st"), ExpiryText: q.Get("se"), IP: q.Get("sip"), Protocol: q.Get("spr"),
		Services: q.Get("ss"), Types: q.Get("srt"), Resource: q.Get("sr"), Identifier: q.Get("si"), Scope: q.Get("ses"),
		Authorized: [5]string{q.Get("saoid"), q.Get("suoid"), q.Get("scid"), q.Get("skdutid"), q.Get("sduoid")},
	}
	for i, o := range Overrides {
		s.Headers[i] = q.Get(o[0])
	}
	if q.Get("skoid") != "" {
		s.Key = &DelegationKey{q.Get("skoid"), q.Get("sktid"), q.Get("skt"), q.Get("ske"), q.Get("sks"), q.Get("skv")}
	}
	var err error
	if s.Signature, err = base64.StdEncoding.DecodeString(q.Get("sig")); err != nil || len(s.Signature) == 0 {
		return nil, AuthenticationFailed("sig is not base64")
	}
	switch {
	case len(q["sig"]) > 1:
		return nil, AuthenticationFailed("sig is there %d times", len(q["sig"]))
	case !IsVersion(s.Version) || s.Version < "2015-04-05":
		return nil, AuthenticationFailed("sv '%s' is not a version of 2015-04-05 or later", s.Version)
	case s.Scope != "":
		return nil, NotImplemented("encryption scopes (ses)")
	case s.Permissions == "" && s.Identifier == "":
		return nil, AuthenticationFailed("sp is mandatory. Cannot be empty")
	case s.ExpiryText == "" && s.Identifier == "":
		return nil, AuthenticationFailed("se is mandatory. Cannot be empty")
	}
	if s.ExpiryText != "" {
		if s.Expiry, err = ParseTime(s.ExpiryText); err != nil {
			return nil, AuthenticationFailed("se '%s' is not a time", s.ExpiryText)
		}
	}
	if s.StartText != "" {
		if s.Start, err = ParseTime(s.StartText); err != nil {
			return nil, AuthenticationFailed("st '%s' is not a time", s.StartText)
		}
	}
	return s, nil
}

// ParseTime reads the ISO 8601 forms that Azure accepts.
func ParseTime(v string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err = time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return t, err
}

// AccountText is the string to sign of an account SAS.
func (s *SAS) AccountText(account string) string {
	lines := []string{account, s.Permissions, s.Services, s.Types, s.StartText, s.ExpiryText, s.IP, s.Protocol, s.Version}
	if s.Version >= "2020-12-06" {
		lines = append(lines, s.Scope)
	}
	return strings.Join(lines, "\n") + "\n"
}

// VerifyKey says whether a key of the account signed text.
func (q *Request) VerifyKey(s *SAS, text string) error {
	if !q.Account.AllowSharedKeyAccess {
		return KeyNotPermitted()
	}
	if !q.signed(text, s.Signature) {
		return AuthenticationFailed("Signature did not match. String to sign used was %s", text)
	}
	return nil
}

// CheckSAS judges what a signature that is genuine says of time, address and protocol.
func (q *Request) CheckSAS(s *SAS) error {
	now := q.Front.Clock.Now()
	if s.Expiry.IsZero() || s.Permissions == "" {
		return AuthenticationFailed("neither the signature nor its stored access policy says the expiry and the permissions")
	}
	if !now.Before(s.Expiry) || now.Before(s.Start) {
		return AuthenticationFailed("Signature not valid in the specified time frame: Start [%s] - Expiry [%s] - Current [%s]", s.StartText, s.ExpiryText, now.UTC().Format(http.TimeFormat)).
			Because("the region's clock is what counts")
	}
	if !ipAllowed(s.IP, q.Origin.Source) {
		return NewError(http.StatusForbidden, "AuthorizationSourceIPMismatch", "This request is not authorized to perform this operation using this source IP %s.", q.Origin.Source).
			Because("the signature is for %s", s.IP)
	}
	switch s.Protocol {
	case "", "https,http":
	case "https":
		if q.R.TLS == nil {
			return NewError(http.StatusForbidden, "AuthorizationProtocolMismatch", "This request is not authorized to perform this operation using this protocol.").Because("the signature is for https only")
		}
	default:
		return AuthenticationFailed("spr '%s' is not https or https,http", s.Protocol)
	}
	if s.Authorized[4] != "" {
		return NotImplemented("signatures bound to a delegated user (sduoid)")
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

// CheckAccountSAS judges what an account SAS says of service and resource type: letter is the service's in ss, level the
// kind of resource in srt.
func (q *Request) CheckAccountSAS(letter string, level byte, operation string) error {
	s := q.Caller.SAS
	if !strings.Contains(s.Services, letter) {
		return NewError(http.StatusForbidden, "AuthorizationServiceMismatch", "This request is not authorized to perform this operation using this service.").Because("ss is '%s'", s.Services)
	}
	if !strings.ContainsRune(s.Types, rune(level)) {
		return ResourceTypeMismatch("%s needs srt=%c, the signature has '%s'", operation, level, s.Types)
	}
	return nil
}
