package arm

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is the one error that crosses the API: Azure's error contract ("ARM RPC: Common API details",
// error response content) with the HTTP status that carries it. Any other error is a bare 500.
type Error struct {
	Status         int               `json:"-"`
	Code           string            `json:"code"`
	Message        string            `json:"message"`
	Target         string            `json:"target,omitempty"`
	Details        []*Error          `json:"details,omitempty"`
	AdditionalInfo []AdditionalInfo  `json:"additionalInfo,omitempty"`
	Header         map[string]string `json:"-"` // for example WWW-Authenticate, Retry-After
}

// AdditionalInfo is one typed remark of an Error; Type names it, Info is any JSON value.
type AdditionalInfo struct {
	Type string `json:"type"`
	Info any    `json:"info"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NotFound is Azure's 404 for a resource that does not exist.
func NotFound(id ID) *Error {
	t := id.Type()
	if t.Key() == "microsoft.resources/resourcegroups" {
		return Errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", id.ResourceGroup())
	}
	if t.Key() == "microsoft.resources/subscriptions" {
		return Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id.Subscription())
	}
	if t.Key() == "microsoft.management/managementgroups" {
		return Errorf(http.StatusNotFound, "NotFound", "'%s' not found", id)
	}
	name := ""
	for i, n := range id.Names() {
		if i > 0 {
			name += "/"
		}
		name += n
	}
	group := id.ResourceGroup()
	if group == "" {
		group = "<null>" // as Azure writes it
	}
	return Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", t, name, group)
}

// NotImplemented is the honest answer for what Vauban does not do: 501 with the reason.
func NotImplemented(format string, args ...any) *Error {
	return Errorf(http.StatusNotImplemented, "NotImplemented", format, args...)
}

// AsError returns the *Error in err's chain, or nil.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
