package loganalytics

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/kql"
)

// Error is what the API refuses ("Azure Monitor Log Analytics API errors").
type Error struct {
	Status  int              `json:"-"`
	Code    string           `json:"code"`
	Message string           `json:"message"`
	Inner   *Inner           `json:"innererror,omitempty"`
	Details []map[string]any `json:"details,omitempty"`

	header map[string]string
}

// Inner says more of an Error.
type Inner struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Pos     *int   `json:"pos,omitempty"`
	Token   string `json:"token,omitempty"`
	Inner   *Inner `json:"innererror,omitempty"`
}

func (e *Error) Error() string {
	text := e.Code + ": " + e.Message
	for i := e.Inner; i != nil; i = i.Inner {
		text += " " + i.Message
	}
	return text
}

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

const badProperties = "The request had some invalid properties"

func badArgument(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "BadArgumentError", Message: badProperties, Inner: &Inner{Code: code, Message: fmt.Sprintf(format, args...)}}
}

func (s *Service) insufficient(format string, args ...any) *Error {
	return &Error{Status: http.StatusForbidden, Code: "InsufficientAccessError", Message: "The provided credentials have insufficient access to perform the requested operation",
		Inner: &Inner{Code: "AuthorizationFailedError", Message: fmt.Sprintf(format, args...)}}
}

// faultOf makes of a kql.Fault what Log Analytics answers; other errors stay.
func faultOf(err error) error {
	var f *kql.Fault
	if !errors.As(err, &f) {
		return err
	}
	syntax, semantic := "A recognition error occurred in the query.", "A semantic error occurred."
	out := &Error{Status: http.StatusBadRequest, Code: "BadArgumentError", Message: badProperties}
	switch f.Kind {
	case kql.Syntax:
		token := f.Token
		if token == "<EOF>" {
			token = ""
		}
		out.Inner = &Inner{Code: "SyntaxError", Message: syntax, Inner: &Inner{Code: "SYN0002", Token: token, Line: f.Line, Pos: &f.Column,
			Message: fmt.Sprintf("Query could not be parsed at '%s' on line [%d,%d]", token, f.Line, f.Column)}}
	case kql.Unsupported:
		out.Inner = &Inner{Code: "SemanticError", Message: semantic, Inner: &Inner{Code: "SEM0260", Message: fmt.Sprintf("'%s' is not known, or is an operator or function of Kusto that this region does not serve.", f.Token)}}
	case kql.UnknownName:
		name := strings.TrimSuffix(strings.TrimPrefix(f.Message, "Table "), " is invalid, unsupported or disallowed.")
		out.Inner = &Inner{Code: "SemanticError", Message: semantic, Inner: &Inner{Code: "SEM0100", Message: fmt.Sprintf("Failed to resolve table or column expression named '%s'", name)}}
	case kql.TooMuch:
		out.Inner = &Inner{Code: "QueryExecutionError", Message: f.Message}
	default:
		out.Inner = &Inner{Code: "SemanticError", Message: semantic, Inner: &Inner{Code: "SEM0100", Message: f.Message}}
	}
	return out
}

// printable is a text of a client as messages show it.
func printable(s string) string {
	if len(s) > 256 {
		s = s[:256] + "…"
	}
	return strings.Trim(strconv.Quote(s), `"`)
}
