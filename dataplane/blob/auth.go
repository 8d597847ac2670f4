package blob

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"

	"vauban.dev/authz"
)

// callerKind is how a caller proved who it is.
type callerKind uint8

const (
	anonymous callerKind = iota
	byKey
	byAccountSAS
	byServiceSAS
	byDelegationSAS
	byToken
)

// caller of a request.
type caller struct {
	kind      callerKind
	sas       *sas            // by…SAS
	principal authz.Principal // byToken, byDelegationSAS
}

func (c caller) String() string {
	switch c.kind {
	case byKey:
		return "a holder of the account's key"
	case byAccountSAS:
		return "a holder of an account SAS"
	case byServiceSAS:
		return "a holder of a service SAS"
	case byDelegationSAS:
		return "a holder of a user delegation SAS of " + principalName(c.principal)
	case byToken:
		return principalName(c.principal)
	}
	return "an anonymous caller"
}

func principalName(p authz.Principal) string {
	if p.Name == "" {
		return p.ObjectID
	}
	return p.Name + " (" + p.ObjectID + ")"
}

// authenticate finds out who calls: by the Authorization header, else a signature in the query, else nobody.
func (q *request) authenticate() (caller, error) {
	scheme, value, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	switch {
	case scheme == "" && q.query.Get("sig") != "":
		return q.signature()
	case scheme == "":
		return caller{kind: anonymous}, nil
	case scheme == "SharedKey" || scheme == "SharedKeyLite":
		return q.sharedKey(scheme, value)
	case strings.EqualFold(scheme, "Bearer"):
		return q.bearer(strings.TrimSpace(value))
	}
	return caller{}, newError(http.StatusBadRequest, "InvalidAuthenticationInfo", "The authentication information was not provided in the correct format. Verify the value of Authorization header.")
}

// bearer verifies a token of Microsoft Entra for Azure Storage or for this account.
func (q *request) bearer(token string) (caller, error) {
	if q.r.TLS == nil && q.account.HTTPSOnly {
		return caller{}, newError(http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Tokens are accepted over https only.")
	}
	host := "https://" + q.account.Name + q.s.suffix
	p, err := q.s.tokens.Verify(q.ctx, token, "https://storage.azure.com/", "https://storage.azure.com", host, host+"/")
	if err != nil {
		return caller{}, newError(http.StatusUnauthorized, "InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.").
			detail("%v", err).header("WWW-Authenticate", q.challenge())
	}
	return caller{kind: byToken, principal: p}, nil
}

// challenge is the WWW-Authenticate header that tells clients the tenant and the resource.
func (q *request) challenge() string {
	return fmt.Sprintf("Bearer authorization_uri=https://login.microsoftonline.com/%s/oauth2/authorize resource_id=https://storage.azure.com", q.account.TenantID)
}

// authorize judges whether the caller may do op on the request's container and blob.
func (q *request) authorize(op *operation) error {
	var err error
	switch q.caller.kind {
	case byKey:
	case byAccountSAS, byServiceSAS:
		err = q.authorizeSAS(op)
	case byDelegationSAS:
		if err = q.authorizeSAS(op); err == nil {
			err = q.authorizeRoles(op)
		}
	case byToken:
		err = q.authorizeRoles(op)
	default:
		err = q.authorizeAnonymous(op)
	}
	if err == nil && op.tags && op != writeTags && q.r.Header.Get("X-Ms-Tags") != "" {
		create := q.createOnly // of the write, not of its tags
		err = q.authorize(writeTags)
		q.createOnly = create
	}
	return err
}

func (q *request) authorizeSAS(op *operation) error {
	s := q.caller.sas
	if q.caller.kind == byAccountSAS {
		if !strings.Contains(s.services, "b") {
			return newError(http.StatusForbidden, "AuthorizationServiceMismatch", "This request is not authorized to perform this operation using this service.").because("ss is '%s'", s.services)
		}
		if !strings.ContainsRune(s.types, rune(op.level)) {
			return errSASResource("%s needs srt=%c, the signature has '%s'", op.name, op.level, s.types)
		}
	} else if !op.delegable {
		return errPermission().because("%s cannot be permitted by a service or user delegation SAS", op.name)
	}
	if strings.ContainsAny(s.permissions, op.sas) && op.sas != "" {
		return nil
	}
	if op.sasCreate != "" && strings.ContainsAny(s.permissions, op.sasCreate) {
		q.createOnly = true
		return nil
	}
	return errPermission().because("%s needs one of the permissions '%s', the signature has '%s'", op.name, op.sas+op.sasCreate, s.permissions)
}

const actionRoot = "Microsoft.Storage/storageAccounts/blobServices/"

// scope is the resource on which roles are judged: the container, the finest at which roles are assigned.
func (q *request) scope(op *operation) string {
	scope := q.account.ID + "/blobServices/default"
	if op.level != levelService {
		scope += "/containers/" + q.container
	}
	return scope
}

func (q *request) authorizeRoles(op *operation) error {
	if len(op.roles)+len(op.rolesCreate) == 0 {
		return errPermission().because("%s cannot be permitted by a role", op.name)
	}
	scope := q.scope(op)
	why := ""
	ask := func(action string) (bool, error) {
		d, err := q.s.authz.Check(q.ctx, q.caller.principal, authz.Request{
			Action: actionRoot + action, Data: strings.HasPrefix(action, "containers/blobs/"), Scope: scope,
			SubOperations: q.subOperations(op), Attributes: q.attributes(op),
		})
		why = d.By
		return d.Allowed, err
	}
	for _, action := range op.roles {
		if ok, err := ask(action); ok || err != nil {
			return err
		}
	}
	first := why
	for _, action := range op.rolesCreate {
		if ok, err := ask(action); ok || err != nil {
			q.createOnly = q.createOnly || ok
			return err
		}
	}
	action := append(append([]string{}, op.roles...), op.rolesCreate...)[0]
	return errPermission().because("%s lacks %s%s on %s: %s", q.caller, actionRoot, action, scope, first)
}

func (q *request) authorizeAnonymous(op *operation) error {
	unknown := newError(http.StatusUnauthorized, "NoAuthenticationInformation", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.").
		header("WWW-Authenticate", q.challenge())
	if op.anonymous == "" {
		return unknown
	}
	if !q.account.AllowBlobPublicAccess {
		return newError(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.").
			because("the request has no Authorization header and no signature, and allowBlobPublicAccess is false")
	}
	c, err := q.s.container(q.ctx, q.account.Name, q.container)
	if err != nil && !IsCode(err, CodeContainerNotFound) {
		return err
	}
	if c.Access == "" || op.anonymous == "container" && c.Access != "container" {
		return newError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").
			because("to an anonymous caller: the container is not public").header("WWW-Authenticate", q.challenge())
	}
	return nil
}

// ParseTLSVersion reads minimumTlsVersion, TLS1_0 to TLS1_3; "" is 0, any.
func ParseTLSVersion(v string) (uint16, error) {
	switch strings.ToUpper(v) {
	case "":
		return 0, nil
	case "TLS1_0":
		return tls.VersionTLS10, nil
	case "TLS1_1":
		return tls.VersionTLS11, nil
	case "TLS1_2":
		return tls.VersionTLS12, nil
	case "TLS1_3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("blob: minimumTlsVersion '%s' is not TLS1_0 … TLS1_3", v)
}
