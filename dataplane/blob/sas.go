package blob

import (
	"context"
	"encoding/base64"
	"maps"
	"net/url"
	"strings"
	"time"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
)

// signature verifies the request's SAS.
func (q *request) signature() (storagehttp.Caller, error) {
	s, err := storagehttp.ParseSAS(q.Query)
	if err != nil {
		return storagehttp.Caller{}, err
	}
	c := storagehttp.Caller{SAS: s}
	switch {
	case s.Services != "" || s.Types != "":
		c.Kind = storagehttp.ByAccountSAS
		err = q.VerifyKey(s, s.AccountText(q.Account.Name))
	case s.Resource == "d":
		return c, errNotImplemented("shared access signatures for sr=d: hierarchical namespaces")
	case !strings.Contains("b c bs bv", s.Resource) || s.Resource == "":
		return c, errAuthentication("sr '%s' is not c, b, bs or bv", s.Resource)
	case q.container == "":
		return c, storagehttp.ResourceTypeMismatch("the signature is for a container or a blob, not for the service")
	case s.Resource != "c" && q.blob == "":
		return c, storagehttp.ResourceTypeMismatch("the signature is for a blob")
	case s.Resource != "c" && moment(s.Resource, q.Query) != q.Query.Get("snapshot")+q.Query.Get("versionid"):
		return c, storagehttp.ResourceTypeMismatch("the signature is for sr=%s, and the request for snapshot '%s' or version '%s'", s.Resource, q.Query.Get("snapshot"), q.Query.Get("versionid"))
	case s.Key != nil:
		c.Kind = storagehttp.ByDelegationSAS
		c.Principal, err = q.verifyDelegationSAS(s)
	default:
		c.Kind = storagehttp.ByServiceSAS
		err = q.VerifyKey(s, serviceText(s, q.Account.Name, q.container, q.blob, moment(s.Resource, q.Query)))
	}
	if err != nil {
		return c, err
	}
	if s.Identifier != "" {
		if err := q.applyPolicy(s); err != nil {
			return c, err
		}
	}
	return c, q.CheckSAS(s)
}

// moment is the snapshot or version that a signature of the resource is for, as the request names it.
func moment(resource string, query url.Values) string {
	switch resource {
	case "bs":
		return query.Get("snapshot")
	case "bv":
		return query.Get("versionid")
	}
	return ""
}

// applyPolicy fills in what the container's stored access policy says.
func (q *request) applyPolicy(s *storagehttp.SAS) error {
	c, err := q.s.container(q.Ctx, q.Account.Name, q.container)
	if err != nil && !IsCode(err, CodeContainerNotFound) {
		return err
	}
	return s.Apply(c.Policies)
}

// serviceText is the string to sign of a service or user delegation SAS for container, or blob in it, or the snapshot or version
// of the blob that moment names.
func serviceText(s *storagehttp.SAS, account, container, blob, moment string) string {
	resource := "/blob/" + account + "/" + container
	if s.Resource != "c" {
		resource += "/" + blob
	}
	lines := []string{s.Permissions, s.StartText, s.ExpiryText, resource}
	if s.Key != nil {
		lines = append(lines, s.Key.Text())
		if s.Version >= "2020-02-10" {
			lines = append(lines, s.Authorized[:3]...)
		}
		if s.Version >= "2025-07-05" {
			lines = append(lines, s.Authorized[3:]...)
		}
	} else {
		lines = append(lines, s.Identifier)
	}
	lines = append(lines, s.IP, s.Protocol, s.Version)
	if s.Version >= "2018-11-09" {
		lines = append(lines, s.Resource, moment)
	}
	if s.Version >= "2020-12-06" {
		lines = append(lines, s.Scope)
	}
	return strings.Join(append(lines, s.Headers[:]...), "\n")
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
	a, err := s.front.Accounts.Lookup(ctx, r.Account)
	if err != nil {
		return "", err
	}
	if r.As == nil {
		return signSAS(a, r, s.front.Suffix)
	}
	t, err := newSAS(r)
	if err != nil {
		return "", err
	}
	k, secret, err := s.delegate(ctx, r.Account, *r.As, s.clock.Now(), r.Expiry)
	if err != nil {
		return "", err
	}
	t.Key = &k
	return signURL(t, r, secret, s.front.Suffix), nil
}

// SignSAS is SAS by the key of an account that the caller has at hand; r.As must be nil.
func SignSAS(a storagehttp.Account, r SASRequest) (string, error) {
	return signSAS(a, r, defaultSuffix)
}

func signSAS(a storagehttp.Account, r SASRequest, suffix string) (string, error) {
	if !a.AllowSharedKeyAccess {
		return "", storagehttp.KeyNotPermitted()
	}
	t, err := newSAS(r)
	if err != nil {
		return "", err
	}
	return signURL(t, r, a.Keys[0], suffix), nil
}

// SignQuery signs what the parameters of a shared access signature say: of an account, when container is "", of a
// container, or of a blob in it. It adds sv and sig.
func (s *Service) SignQuery(account, container, blob string, key []byte, q url.Values) (string, error) {
	q = maps.Clone(q)
	q.Set("sv", sasVersion)
	q.Set("sig", "AA==") // parseSAS wants one
	t, err := storagehttp.ParseSAS(q)
	if err != nil {
		return "", err
	}
	text := t.AccountText(account)
	if container != "" {
		text = serviceText(t, account, container, blob, moment(t.Resource, q))
	}
	q.Set("sig", base64.StdEncoding.EncodeToString(storagehttp.MAC(key, text)))
	return q.Encode(), nil
}

func newSAS(r SASRequest) (*storagehttp.SAS, error) {
	t := &storagehttp.SAS{Version: sasVersion, ExpiryText: r.Expiry.UTC().Format(time.RFC3339), Protocol: "https", Resource: "c"}
	for _, p := range sasOrder {
		if strings.ContainsRune(r.Permissions, p) {
			t.Permissions += string(p)
		}
	}
	if t.Permissions == "" {
		return nil, errInvalidInput("SAS permissions '%s'", r.Permissions)
	}
	if r.Blob != "" {
		t.Resource = "b"
	}
	return t, nil
}

func signURL(t *storagehttp.SAS, r SASRequest, key []byte, suffix string) string {
	q := url.Values{"sv": {t.Version}, "sp": {t.Permissions}, "se": {t.ExpiryText}, "spr": {t.Protocol}, "sr": {t.Resource}}
	if k := t.Key; k != nil {
		for name, v := range map[string]string{"skoid": k.ObjectID, "sktid": k.TenantID, "skt": k.Start, "ske": k.Expiry, "sks": k.Service, "skv": k.SignedVersion} {
			q.Set(name, v)
		}
	}
	q.Set("sig", base64.StdEncoding.EncodeToString(storagehttp.MAC(key, serviceText(t, r.Account, r.Container, r.Blob, ""))))
	u := url.URL{Scheme: "https", Host: r.Account + suffix, Path: "/" + r.Container, RawQuery: q.Encode()}
	if r.Blob != "" {
		u.Path += "/" + r.Blob
	}
	return u.String()
}
