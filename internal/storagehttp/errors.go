package storagehttp

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is Azure Storage's error: the status, the code of x-ms-error-code and the message ("Status and error codes").
// Vauban says more: the rule that decided and the caller as it was seen.
type Error struct {
	Status  int
	Code    string
	Message string
	Vauban  string            // why, in our words; follows the message
	Detail  string            // AuthenticationErrorDetail
	Header  map[string]string // more response headers
	More    [][2]string       // more elements of the body: names and values
}

func (e *Error) Error() string {
	s := "storage: " + e.Code + ": " + e.Message
	if e.Vauban != "" {
		s += " (" + e.Vauban + ")"
	}
	return s
}

// Because returns e with our reason.
func (e *Error) Because(format string, args ...any) *Error {
	e.Vauban = fmt.Sprintf(format, args...)
	return e
}

// WithDetail returns e with an AuthenticationErrorDetail.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithHeader returns e with one more response header.
func (e *Error) WithHeader(k, v string) *Error {
	if e.Header == nil {
		e.Header = map[string]string{}
	}
	e.Header[k] = v
	return e
}

// WithElement returns e with one more element of its body.
func (e *Error) WithElement(name, value string) *Error {
	e.More = append(e.More, [2]string{name, value})
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

// Codes of refusals that services share.
const (
	CodeConditionNotMet = "ConditionNotMet"
	CodeInvalidInput    = "InvalidInput"
)

// NewError is an error with Azure's message.
func NewError(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// ConditionNotMet refuses a write by a conditional header.
func ConditionNotMet() *Error {
	return NewError(http.StatusPreconditionFailed, CodeConditionNotMet, "The condition specified using HTTP conditional header(s) is not met.")
}

// InvalidInput refuses an input that has no code of its own.
func InvalidInput(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, CodeInvalidInput, "One of the request inputs is not valid.").Because(format, args...)
}

// InvalidName refuses the name of a resource.
func InvalidName(what, name string) *Error {
	return NewError(http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters.").Because("%s name '%s'", what, name)
}

// InvalidHeader refuses the value of a header.
func InvalidHeader(name, value string) *Error {
	return NewError(http.StatusBadRequest, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.").Because("header %s: '%s'", name, value)
}

// MissingHeader refuses a request without a header that the operation needs.
func MissingHeader(name string) *Error {
	return NewError(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified.").Because("%s", name)
}

// InvalidQuery refuses the value of a query parameter.
func InvalidQuery(name, value string) *Error {
	return NewError(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid.").Because("parameter %s: '%s'", name, value)
}

// InvalidXML refuses a body that is not the document which the operation takes.
func InvalidXML(why error) *Error {
	return NewError(http.StatusBadRequest, "InvalidXmlDocument", "The specified XML is not syntactically valid.").Because("%v", why)
}

// TooLarge refuses a body of more than limit bytes.
func TooLarge(limit int64) *Error {
	return NewError(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.").Because("the limit is %d bytes", limit)
}

// NotImplemented refuses what Azure does and this service does not.
func NotImplemented(format string, args ...any) *Error {
	return NewError(http.StatusNotImplemented, "NotImplemented", "The requested operation is not implemented on the specified resource.").Because(format, args...)
}

// Unauthorized is the firewall's refusal.
func Unauthorized() *Error {
	return NewError(http.StatusForbidden, "AuthorizationFailure", "This request is not authorized to perform this operation.")
}

// PermissionMismatch is a role's or a SAS' refusal.
func PermissionMismatch() *Error {
	return NewError(http.StatusForbidden, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission.")
}

// ResourceTypeMismatch is the refusal of a SAS that is for another kind of resource.
func ResourceTypeMismatch(format string, args ...any) *Error {
	return NewError(http.StatusForbidden, "AuthorizationResourceTypeMismatch", "This request is not authorized to perform this operation using this resource type.").Because(format, args...)
}

// AuthenticationFailed is a signature's refusal.
func AuthenticationFailed(format string, args ...any) *Error {
	return NewError(http.StatusForbidden, "AuthenticationFailed",
		"Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.").WithDetail(format, args...)
}
