package keyvault

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is Key Vault's error: {"error":{"code","message","innererror":{"code"}}} ("Authentication, requests and
// responses", "Azure Key Vault REST API error codes").
type Error struct {
	Status  int
	Code    string // Forbidden, SecretNotFound …
	Inner   string // innererror.code: ForbiddenByFirewall …
	Message string
	Header  map[string]string
}

func (e *Error) Error() string { return "keyvault: " + e.Code + ": " + e.Message }

// IsNotFound reports whether err says that there is no such secret, key or certificate, or version of it.
func IsNotFound(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == "SecretNotFound" || e.Code == "KeyNotFound" || e.Code == "CertificateNotFound"
}

func newError(status int, code, inner, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Inner: inner, Message: fmt.Sprintf(format, args...)}
}

func errBadParameter(format string, args ...any) *Error {
	return newError(http.StatusBadRequest, "BadParameter", "", format, args...)
}

func errNotFound(c *class, name, version string) *Error {
	id := name
	if version != "" {
		id += "/" + version
	}
	return newError(http.StatusNotFound, c.title()+"NotFound", "",
		"A %[1]s with (name/id) %[2]s was not found in this key vault. If you recently deleted this %[1]s you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", c.noun, id)
}

func errDeletedNotFound(c *class, name string) *Error {
	return newError(http.StatusNotFound, c.title()+"NotFound", "", "Deleted %s not found: %s", c.title(), name)
}

func errIsDeleted(c *class, name string) *Error {
	return newError(http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable",
		"%s %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the %s can only be recovered or purged.", c.title(), name, c.noun)
}

// errManaged refuses to change a key or secret behind the back of its certificate.
func errManaged(c *class, name string) *Error {
	return newError(http.StatusForbidden, "Forbidden", "", "The %[1]s %[2]s is managed by the certificate %[2]s: it is changed, deleted and restored with it.", c.noun, name)
}

func errNotImplemented(format string, args ...any) *Error {
	return newError(http.StatusNotImplemented, "NotImplemented", "", format, args...)
}
