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

// IsNotFound reports whether err says that there is no such secret or version.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == "SecretNotFound"
}

func newError(status int, code, inner, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Inner: inner, Message: fmt.Sprintf(format, args...)}
}

func errBadParameter(format string, args ...any) *Error {
	return newError(http.StatusBadRequest, "BadParameter", "", format, args...)
}

func errNotFound(name, version string) *Error {
	id := name
	if version != "" {
		id += "/" + version
	}
	return newError(http.StatusNotFound, "SecretNotFound", "",
		"A secret with (name/id) %s was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", id)
}

func errDeletedNotFound(name string) *Error {
	return newError(http.StatusNotFound, "SecretNotFound", "", "Deleted Secret not found: %s", name)
}

func errIsDeleted(name string) *Error {
	return newError(http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable",
		"Secret %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged.", name)
}

func errNotImplemented(format string, args ...any) *Error {
	return newError(http.StatusNotImplemented, "NotImplemented", "", format, args...)
}
