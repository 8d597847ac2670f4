package keyvault

import (
	"net/http"
	"slices"
	"strings"

	"vauban.dev/authz"
)

// route is one operation with what permits it: a data action under Microsoft.KeyVault/vaults/secrets/, or a
// permission of an access policy.
type route struct {
	action     string
	permission string
	run        func(*request) error
}

// routes by method and form of the path: N stands for a secret's name, V for a version.
var routes = map[string]route{
	"GET secrets":                   {"readMetadata/action", "list", (*request).list},
	"GET secrets/N":                 {"getSecret/action", "get", (*request).get},
	"GET secrets/N/V":               {"getSecret/action", "get", (*request).get},
	"PUT secrets/N":                 {"setSecret/action", "set", (*request).set},
	"PATCH secrets/N":               {"update/action", "set", (*request).update},
	"PATCH secrets/N/V":             {"update/action", "set", (*request).update},
	"DELETE secrets/N":              {"delete", "delete", (*request).delete},
	"GET secrets/N/versions":        {"readMetadata/action", "list", (*request).listVersions},
	"POST secrets/N/backup":         {"backup/action", "backup", (*request).backup},
	"POST secrets/restore":          {"restore/action", "restore", (*request).restore},
	"GET deletedsecrets":            {"readMetadata/action", "list", (*request).listDeleted},
	"GET deletedsecrets/N":          {"readMetadata/action", "get", (*request).getDeleted},
	"DELETE deletedsecrets/N":       {"purge/action", "purge", (*request).purge},
	"POST deletedsecrets/N/recover": {"recover/action", "recover", (*request).recover},
}

// findRoute parses the path.
func (q *request) findRoute() error {
	parts := strings.Split(strings.Trim(q.r.URL.Path, "/"), "/")
	form := append([]string{}, parts...)
	kind := strings.ToLower(parts[0])
	form[0] = kind
	switch kind {
	case "keys", "deletedkeys", "certificates", "deletedcertificates", "storage", "deletedstorage", "rng":
		if strings.EqualFold(q.r.URL.Path, "/certificates/contacts") && q.r.Method == http.MethodGet { // asked of every vault by Terraform
			return newError(http.StatusNotFound, "ContactsNotFound", "", "Contacts not found")
		}
		return errNotImplemented("Vauban serves secrets; %s of Key Vault are not there yet.", kind)
	}
	if len(parts) > 1 && !(len(parts) == 2 && parts[1] == "restore" && q.r.Method == http.MethodPost) {
		form[1], q.name = "N", parts[1]
	}
	if len(parts) > 2 && form[0] == "secrets" && parts[2] != "versions" && parts[2] != "backup" {
		form[2], q.version = "V", parts[2]
	}
	known := false
	for key := range routes {
		known = known || strings.HasSuffix(key, " "+strings.Join(form, "/"))
	}
	r, ok := routes[q.r.Method+" "+strings.Join(form, "/")]
	switch {
	case !ok && known:
		return newError(http.StatusMethodNotAllowed, "MethodNotAllowed", "", "Method %s is not allowed on %s.", q.r.Method, q.r.URL.Path)
	case !ok:
		return newError(http.StatusNotFound, "NotFound", "", "There is nothing at %s.", q.r.URL.Path)
	}
	q.route = r
	if q.name != "" {
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

// authorize asks the roles, or the access policies of a vault without enableRbacAuthorization.
func (q *request) authorize() error {
	if !q.vault.RBAC {
		return q.authorizePolicies()
	}
	scope := q.vault.ID
	if q.name != "" {
		scope += "/secrets/" + q.name
	}
	action := "Microsoft.KeyVault/vaults/secrets/" + q.route.action
	d, err := q.s.Authorizer.Check(q.r.Context(), q.principal, authz.Request{Action: action, Data: true, Scope: scope})
	if err != nil || d.Allowed {
		return err
	}
	return newError(http.StatusForbidden, "Forbidden", "ForbiddenByRbac",
		"Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nVault: %s;location=%s\r\nVauban: %s",
		q.callerText(), action, strings.ToLower(scope), q.vault.Name, q.vault.Location, d.By)
}

func (q *request) authorizePolicies() error {
	for _, p := range q.vault.AccessPolicies {
		if q.concerns(p) && slices.ContainsFunc(p.Secrets, func(s string) bool {
			return strings.EqualFold(s, q.route.permission) || strings.EqualFold(s, "all") && q.route.permission != "purge"
		}) {
			return nil
		}
	}
	return newError(http.StatusForbidden, "Forbidden", "AccessDenied",
		"The user, group or application '%s' does not have secrets %s permission on key vault '%s;location=%s'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287\r\nVauban: none of the vault's %d access policies grants it",
		q.callerText(), q.route.permission, q.vault.Name, q.vault.Location, len(q.vault.AccessPolicies))
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
