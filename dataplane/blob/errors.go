package blob

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is Azure Storage's error: the status, the code of x-ms-error-code and the message ("Blob service error
// codes", "Status and error codes"). Vauban says more: the rule that decided and the caller as it was seen.
type Error struct {
	Status  int
	Code    string
	Message string
	Vauban  string            // why, in our words; follows the message
	Detail  string            // AuthenticationErrorDetail
	Header  map[string]string // more response headers
}

func (e *Error) Error() string {
	s := "blob: " + e.Code + ": " + e.Message
	if e.Vauban != "" {
		s += " (" + e.Vauban + ")"
	}
	return s
}

// because returns e with our reason.
func (e *Error) because(format string, args ...any) *Error {
	e.Vauban = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) detail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) header(k, v string) *Error {
	if e.Header == nil {
		e.Header = map[string]string{}
	}
	e.Header[k] = v
	return e
}

// IsCode reports whether err is an *Error of one of the codes.
func IsCode(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// Codes that callers of the in-process API look for.
const (
	CodeBlobNotFound           = "BlobNotFound"
	CodeBlobAlreadyExists      = "BlobAlreadyExists"
	CodeContainerNotFound      = "ContainerNotFound"
	CodeContainerAlreadyExists = "ContainerAlreadyExists"
	CodeConditionNotMet        = "ConditionNotMet"
	CodeInvalidInput           = "InvalidInput"
)

func newError(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func errBlobNotFound() *Error {
	return newError(http.StatusNotFound, CodeBlobNotFound, "The specified blob does not exist.")
}

func errContainerNotFound() *Error {
	return newError(http.StatusNotFound, CodeContainerNotFound, "The specified container does not exist.")
}

func errContainerExists() *Error {
	return newError(http.StatusConflict, CodeContainerAlreadyExists, "The specified container already exists.")
}

func errBlobExists() *Error {
	return newError(http.StatusConflict, CodeBlobAlreadyExists, "The specified blob already exists.")
}

func errConditionNotMet() *Error {
	return newError(http.StatusPreconditionFailed, CodeConditionNotMet, "The condition specified using HTTP conditional header(s) is not met.")
}

func errNotModified() *Error {
	return newError(http.StatusNotModified, CodeConditionNotMet, "The condition specified using HTTP conditional header(s) is not met.")
}

func errInvalidBlobType() *Error {
	return newError(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation.")
}

func errInvalidInput(format string, args ...any) *Error {
	return newError(http.StatusBadRequest, CodeInvalidInput, "One of the request inputs is not valid.").because(format, args...)
}

func errInvalidName(what, name string) *Error {
	return newError(http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters.").because("%s name '%s'", what, name)
}

func errInvalidHeader(name, value string) *Error {
	return newError(http.StatusBadRequest, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.").because("header %s: '%s'", name, value)
}

func errInvalidQuery(name, value string) *Error {
	return newError(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid.").because("parameter %s: '%s'", name, value)
}

func errInvalidXML(why error) *Error {
	return newError(http.StatusBadRequest, "InvalidXmlDocument", "The specified XML is not syntactically valid.").because("%v", why)
}

func errTooLarge(limit int64) *Error {
	return newError(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.").because("the limit is %d bytes", limit)
}

func errNotImplemented(format string, args ...any) *Error {
	return newError(http.StatusNotImplemented, "NotImplemented", "The requested operation is not implemented on the specified resource.").because(format, args...)
}

// errUnauthorized is the firewall's refusal.
func errUnauthorized() *Error {
	return newError(http.StatusForbidden, "AuthorizationFailure", "This request is not authorized to perform this operation.")
}

// errPermission is a role's or a SAS' refusal.
func errPermission() *Error {
	return newError(http.StatusForbidden, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission.")
}

// errAuthentication is a signature's refusal.
func errAuthentication(format string, args ...any) *Error {
	return newError(http.StatusForbidden, "AuthenticationFailed",
		"Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.").detail(format, args...)
}
