package keyvault

import (
	"net/http"
	"slices"
	"strings"

	"vauban.dev/authz"
)

// route is one operation with what permits it: a data action under Microsoft.KeyVault/vaults/, or a permission of an access
// policy. The permission's kind is that of the path.
type route struct {
	name       string // as Azure's log says it
	action     string
	permission string
	run        func(*request) error
}

// routes by method and form of the path: N stands for a name, V for a version, which may be empty before an operation.
var routes = map[string]route{
	"GET secrets":                   {"SecretList", "secrets/readMetadata/action", "list", (*request).list},
	"GET secrets/N":                 {"SecretGet", "secrets/getSecret/action", "get", (*request).getSecret},
	"GET secrets/N/V":               {"SecretGet", "secrets/getSecret/action", "get", (*request).getSecret},
	"PUT secrets/N":                 {"SecretSet", "secrets/setSecret/action", "set", (*request).setSecret},
	"PATCH secrets/N":               {"SecretUpdate", "secrets/update/action", "set", (*request).updateSecret},
	"PATCH secrets/N/V":             {"SecretUpdate", "secrets/update/action", "set", (*request).updateSecret},
	"DELETE secrets/N":              {"SecretDelete", "secrets/delete", "delete", (*request).delete},
	"GET secrets/N/versions":        {"SecretListVersions", "secrets/readMetadata/action", "list", (*request).listVersions},
	"POST secrets/N/backup":         {"SecretBackup", "secrets/backup/action", "backup", (*request).backup},
	"POST secrets/restore":          {"SecretRestore", "secrets/restore/action", "restore", (*request).restore},
	"GET deletedsecrets":            {"SecretListDeleted", "secrets/readMetadata/action", "list", (*request).list},
	"GET deletedsecrets/N":          {"SecretGetDeleted", "secrets/readMetadata/action", "get", (*request).getDeleted},
	"DELETE deletedsecrets/N":       {"SecretPurge", "secrets/purge/action", "purge", (*request).purge},
	"POST deletedsecrets/N/recover": {"SecretRecover", "secrets/recover/action", "recover", (*request).recover},

	"GET keys":                   {"KeyList", "keys/read", "list", (*request).list},
	"GET keys/N":                 {"KeyGet", "keys/read", "get", (*request).getKey},
	"GET keys/N/V":               {"KeyGet", "keys/read", "get", (*request).getKey},
	"PUT keys/N":                 {"KeyImport", "keys/import/action", "import", (*request).importKey},
	"POST keys/N/create":         {"KeyCreate", "keys/create/action", "create", (*request).createKey},
	"PATCH keys/N":               {"KeyUpdate", "keys/update/action", "update", (*request).updateKey},
	"PATCH keys/N/V":             {"KeyUpdate", "keys/update/action", "update", (*request).updateKey},
	"DELETE keys/N":              {"KeyDelete", "keys/delete", "delete", (*request).delete},
	"GET keys/N/versions":        {"KeyListVersions", "keys/read", "list", (*request).listVersions},
	"POST keys/N/backup":         {"KeyBackup", "keys/backup/action", "backup", (*request).backup},
	"POST keys/restore":          {"KeyRestore", "keys/restore/action", "restore", (*request).restore},
	"POST keys/N/rotate":         {"KeyRotate", "keys/rotate/action", "rotate", (*request).rotateKey},
	"GET keys/N/rotationpolicy":  {"KeyRotationPolicyGet", "keyrotationpolicies/read", "getrotationpolicy", (*request).getRotationPolicy},
	"PUT keys/N/rotationpolicy":  {"KeyRotationPolicySet", "keyrotationpolicies/write", "setrotationpolicy", (*request).putRotationPolicy},
	"POST keys/N/V/encrypt":      {"KeyEncrypt", "keys/encrypt/action", "encrypt", (*request).encrypt},
	"POST keys/N/V/decrypt":      {"KeyDecrypt", "keys/decrypt/action", "decrypt", (*request).decrypt},
	"POST keys/N/V/sign":         {"KeySign", "keys/sign/action", "sign", (*request).sign},
	"POST keys/N/V/verify":       {"KeyVerify", "keys/verify/action", "verify", (*request).verify},
	"POST keys/N/V/wrapkey":      {"KeyWrap", "keys/wrap/action", "wrapKey", (*request).wrapKey},
	"POST keys/N/V/unwrapkey":    {"KeyUnwrap", "keys/unwrap/action", "unwrapKey", (*request).unwrapKey},
	"POST keys/N/V/release":      {"KeyRelease", "keys/release/action", "release", (*request).release},
	"GET keys/N/V/attestation":   {"KeyGetAttestation", "keys/read", "get", (*request).attestation},
	"GET deletedkeys":            {"KeyListDeleted", "keys/read", "list", (*request).list},
	"GET deletedkeys/N":          {"KeyGetDeleted", "keys/read", "get", (*request).getDeleted},
	"DELETE deletedkeys/N":       {"KeyPurge", "keys/purge/action", "purge", (*request).purge},
	"POST deletedkeys/N/recover": {"KeyRecover", "keys/recover/action", "recover", (*request).recover},
	"POST rng":                   {"RandomBytesGet", "keys/read", "get", (*request).random},

	"GET certificates":                   {"CertificateList", "certificates/read", "list", (*request).list},
	"GET certificates/N":                 {"CertificateGet", "certificates/read", "get", (*request).getCertificate},
	"GET certificates/N/V":               {"CertificateGet", "certificates/read", "get", (*request).getCertificate},
	"POST certificates/N/create":         {"CertificateCreate", "certificates/create/action", "create", (*request).createCertificate},
	"POST certificates/N/import":         {"CertificateImport", "certificates/import/action", "import", (*request).importCertificate},
	"PATCH certificates/N":               {"CertificateUpdate", "certificates/update/action", "update", (*request).updateCertificate},
	"PATCH certificates/N/V":             {"CertificateUpdate", "certificates/update/action", "update", (*request).updateCertificate},
	"DELETE certificates/N":              {"CertificateDelete", "certificates/delete", "delete", (*request).delete},
	"GET certificates/N/versions":        {"CertificateListVersions", "certificates/read", "list", (*request).listVersions},
	"POST certificates/N/backup":         {"CertificateBackup", "certificates/backup/action", "backup", (*request).backup},
	"POST certificates/restore":          {"CertificateRestore", "certificates/restore/action", "restore", (*request).restore},
	"GET certificates/N/policy":          {"CertificatePolicyGet", "certificates/read", "get", (*request).getPolicy},
	"PATCH certificates/N/policy":        {"CertificatePolicyUpdate", "certificates/update/action", "update", (*request).updatePolicy},
	"GET certificates/N/pending":         {"CertificatePendingGet", "certificates/read", "get", (*request).getPending},
	"PATCH certificates/N/pending":       {"CertificatePendingUpdate", "certificates/update/action", "update", (*request).cancelPending},
	"DELETE certificates/N/pending":      {"CertificatePendingDelete", "certificates/update/action", "update", (*request).deletePending},
	"POST certificates/N/pending/merge":  {"CertificatePendingMerge", "certificates/create/action", "create", (*request).mergeCertificate},
	"GET deletedcertificates":            {"CertificateListDeleted", "certificates/read", "list", (*request).list},
	"GET deletedcertificates/N":          {"CertificateGetDeleted", "certificates/read", "get", (*request).getDeleted},
	"DELETE deletedcertificates/N":       {"CertificatePurge", "certificates/purge/action", "purge", (*request).purge},
	"POST deletedcertificates/N/recover": {"CertificateRecover", "certificates/recover/action", "recover", (*request).recover},

	"GET certificates/contacts":     {"CertificateContactsGet", "certificatecontacts/write", "managecontacts", (*request).getContacts},
	"PUT certificates/contacts":     {"CertificateContactsSet", "certificatecontacts/write", "managecontacts", (*request).setContacts},
	"DELETE certificates/contacts":  {"CertificateContactsDelete", "certificatecontacts/write", "managecontacts", (*request).deleteContacts},
	"GET certificates/issuers":      {"CertificateIssuersList", "certificatecas/read", "listissuers", (*request).listIssuers},
	"GET certificates/issuers/I":    {"CertificateIssuerGet", "certificatecas/read", "getissuers", (*request).getIssuer},
	"PUT certificates/issuers/I":    {"CertificateIssuerSet", "certificatecas/write", "setissuers", (*request).setIssuer},
	"PATCH certificates/issuers/I":  {"CertificateIssuerUpdate", "certificatecas/write", "setissuers", (*request).updateIssuer},
	"DELETE certificates/issuers/I": {"CertificateIssuerDelete", "certificatecas/delete", "deleteissuers", (*request).deleteIssuer},
}

// words of a path that are no version, by the class' path.
var words = map[string][]string{
	"secrets":      {"versions", "backup"},
	"keys":         {"versions", "backup", "create", "rotate", "rotationpolicy"},
	"certificates": {"versions", "backup", "create", "import", "policy", "pending"},
}

// form parses the path: the form of it in routes, without its method. It sets class, name and version.
func (q *request) form() string {
	parts := strings.Split(strings.Trim(q.r.URL.Path, "/"), "/")
	parts[0] = strings.ToLower(parts[0])
	path, deleted := strings.CutPrefix(parts[0], "deleted")
	i := slices.IndexFunc(classes, func(c *class) bool { return c.path == path })
	if i < 0 {
		return strings.Join(parts, "/")
	}
	q.class, q.deleted = classes[i], deleted
	if len(parts) == 1 {
		return parts[0]
	}
	switch second := strings.ToLower(parts[1]); {
	case second == "restore" && len(parts) == 2 && q.r.Method == http.MethodPost:
		return parts[0] + "/restore"
	case q.class == certificateClass && !deleted && (second == "contacts" || second == "issuers"):
		if len(parts) > 2 {
			q.issuer, parts[2] = parts[2], "I"
		}
		parts[1] = second
		return strings.Join(parts, "/")
	}
	q.name, parts[1] = parts[1], "N"
	if len(parts) > 2 && !deleted {
		if slices.Contains(words[path], strings.ToLower(parts[2])) {
			parts[2] = strings.ToLower(parts[2])
		} else {
			q.version, parts[2] = parts[2], "V"
		}
	}
	if len(parts) > 3 {
		parts[3] = strings.ToLower(parts[3])
	}
	return strings.Join(parts, "/")
}

// findRoute parses the path and finds its operation.
func (q *request) findRoute() error {
	form := q.form()
	r, ok := routes[q.r.Method+" "+form]
	if !ok {
		if strings.HasPrefix(form, "storage") || strings.HasPrefix(form, "deletedstorage") {
			return errNotImplemented("Managed storage account keys are not there; Azure has deprecated them as well.")
		}
		for key := range routes {
			if strings.HasSuffix(key, " "+form) {
				return newError(http.StatusMethodNotAllowed, "MethodNotAllowed", "", "Method %s is not allowed on %s.", q.r.Method, q.r.URL.Path)
			}
		}
		return newError(http.StatusNotFound, "NotFound", "", "There is nothing at %s.", q.r.URL.Path)
	}
	q.route = r
	if q.name != "" || strings.Contains(form, "/N") {
		if err := checkName(q.name); err != nil {
			return err
		}
	}
	if q.version != "" && !versionID.MatchString(q.version) {
		return errBadParameter("The request URI contains an invalid version: %s", q.version)
	}
	return nil
}

// callerText names the caller as Key Vault's messages do.
func (q *request) callerText() string {
	return "appid=" + q.principal.AppID + ";oid=" + q.principal.ObjectID + ";iss=https://sts.windows.net/" + q.principal.TenantID + "/"
}

// kind is what an access policy names the caller's permissions of: keys, secrets or certificates.
func (q *request) kind() string {
	if q.class == nil {
		return keyClass.path // random bytes
	}
	return q.class.path
}

// authorize asks the roles, or the access policies of a vault without enableRbacAuthorization.
func (q *request) authorize() error {
	if !q.vault.RBAC {
		return q.authorizePolicies()
	}
	scope := q.vault.ID
	if q.name != "" {
		scope += "/" + q.kind() + "/" + q.name
	}
	action := "Microsoft.KeyVault/vaults/" + q.route.action
	d, err := q.s.Authorizer.Check(q.r.Context(), q.principal, authz.Request{Action: action, Data: true, Scope: scope})
	if err != nil || d.Allowed {
		return err
	}
	return newError(http.StatusForbidden, "Forbidden", "ForbiddenByRbac",
		"Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nVault: %s;location=%s\r\nVauban: %s",
		q.callerText(), action, strings.ToLower(scope), q.vault.Name, q.vault.Location, d.By)
}

// granted are the permissions that an access policy gives on what the request is about.
func (q *request) granted(p AccessPolicy) []string {
	switch q.kind() {
	case keyClass.path:
		return p.Keys
	case certificateClass.path:
		return p.Certificates
	}
	return p.Secrets
}

// permits reports whether a permission of an access policy is the one that is wanted: all is all but purge, manageissuers all of
// issuers.
func permits(granted, wanted string) bool {
	return strings.EqualFold(granted, wanted) || strings.EqualFold(granted, "all") && wanted != "purge" ||
		strings.EqualFold(granted, "manageissuers") && strings.HasSuffix(wanted, "issuers")
}

func (q *request) authorizePolicies() error {
	for _, p := range q.vault.AccessPolicies {
		if q.concerns(p) && slices.ContainsFunc(q.granted(p), func(s string) bool { return permits(s, q.route.permission) }) {
			return nil
		}
	}
	return newError(http.StatusForbidden, "Forbidden", "ForbiddenByPolicy",
		"The user, group or application '%s' does not have %s %s permission on key vault '%s;location=%s'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287\r\nVauban: none of the vault's %d access policies grants it",
		q.callerText(), q.kind(), q.route.permission, q.vault.Name, q.vault.Location, len(q.vault.AccessPolicies))
}

// concerns reports whether an access policy is the caller's: by object id or group. One with an application
// id is for that application on the object's behalf.
func (q *request) concerns(p AccessPolicy) bool {
	if p.TenantID != "" && !strings.EqualFold(p.TenantID, q.principal.TenantID) {
		return false
	}
	if p.ApplicationID != "" && !strings.EqualFold(p.ApplicationID, q.principal.AppID) {
		return false
	}
	same := func(id string) bool { return id != "" && strings.EqualFold(id, p.ObjectID) }
	return same(q.principal.ObjectID) || slices.ContainsFunc(q.principal.Groups, same)
}
