package runhistory

import (
	"errors"
	"fmt"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/ml"
)

// Error is a refusal in the form of Azure Machine Learning's services: a code (UserError, ServiceError, …)
// and a chain of inner codes that says which.
type Error struct {
	Status  int
	Code    string
	Inner   []string // from the outer to the innermost
	Message string
	Target  string
	Header  map[string]string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func userError(status int, inner, format string, args ...any) *Error {
	e := &Error{Status: status, Code: "UserError", Message: fmt.Sprintf(format, args...)}
	if inner != "" {
		e.Inner = []string{inner}
	}
	return e
}

func badRequest(format string, args ...any) *Error {
	return userError(http.StatusBadRequest, "BadArgument", format, args...)
}

func notFound(format string, args ...any) *Error {
	return userError(http.StatusNotFound, "NotFound", format, args...)
}

// asError turns what the store and other services say into an Error; nil for what nobody foresaw.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ml.ErrNotFound):
		return notFound("The run or experiment does not exist in this workspace.")
	case errors.Is(err, ml.ErrExists):
		return userError(http.StatusConflict, "Conflict", "An experiment or run of that name exists.")
	case errors.Is(err, ml.ErrImmutable):
		return userError(http.StatusBadRequest, "Immutable", "%s", ml.Reason(err))
	}
	if a := arm.AsError(err); a != nil {
		return &Error{Status: a.Status, Code: "UserError", Inner: []string{a.Code}, Message: a.Message, Header: a.Header}
	}
	return nil
}

type innerBody struct {
	Code  string     `json:"code"`
	Inner *innerBody `json:"innerError"`
}

type rootBody struct {
	Code              string            `json:"code"`
	Severity          *int              `json:"severity"`
	Message           string            `json:"message"`
	MessageFormat     *string           `json:"messageFormat"`
	MessageParameters map[string]string `json:"messageParameters"`
	ReferenceCode     *string           `json:"referenceCode"`
	DetailsURI        *string           `json:"detailsUri"`
	Target            *string           `json:"target"`
	Details           []rootBody        `json:"details"`
	InnerError        *innerBody        `json:"innerError"`
	DebugInfo         *struct{}         `json:"debugInfo"`
}

// errorBody is ErrorResponse of the run history API.
type errorBody struct {
	Error       rootBody          `json:"error"`
	Correlation map[string]string `json:"correlation"`
	Environment string            `json:"environment"`
	Location    string            `json:"location"`
	Time        stamp             `json:"time"`
	Component   string            `json:"componentName"`
}

func (q *request) errorBody(e *Error) errorBody {
	b := errorBody{
		Error:       rootBody{Code: e.Code, Message: e.Message, MessageParameters: map[string]string{}, Details: []rootBody{}},
		Correlation: map[string]string{"operation": q.operation, "request": q.id},
		Environment: q.place.location, Location: q.place.location, Time: stamp(q.s.Clock.Now()), Component: component(q.target.service),
	}
	if e.Target != "" {
		b.Error.Target = &e.Target
	}
	at := &b.Error.InnerError
	for _, c := range e.Inner {
		*at = &innerBody{Code: c}
		at = &(*at).Inner
	}
	return b
}

// component names the service that refused, as Azure's bodies do.
func component(service string) string {
	switch service {
	case "history":
		return "run-history"
	case "artifact":
		return "artifact"
	case "metric":
		return "metric"
	case "mlflow":
		return "mlflow"
	}
	return "gateway"
}
