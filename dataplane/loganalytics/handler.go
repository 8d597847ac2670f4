package loganalytics

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vauban.dev/authz"
	"vauban.dev/entra"
	"vauban.dev/internal/httpx"
)

// Audiences are what a token for the query API may be for.
var Audiences = []string{entra.AudienceLogs, entra.AudienceLogsAzure}

const maxBody = 1 << 20

// Handler serves the query API's own hosts, api.loganalytics.io and api.loganalytics.azure.com.
func (s *Service) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, answer, err := s.serve(w, r)
		if err != nil {
			refused := new(Error)
			switch {
			case errors.As(err, &refused):
			case r.Context().Err() != nil:
				return // the client went away
			default:
				s.Log.Error("log analytics: request failed", "method", r.Method, "path", r.URL.Path, "err", err)
				refused = refuse(http.StatusInternalServerError, "InternalServerError", "The request failed.")
			}
			for k, v := range refused.header {
				w.Header().Set(k, v)
			}
			status, answer = refused.Status, map[string]any{"error": refused}
		}
		w.Header().Set("Cache-Control", "no-store")
		if err := httpx.WriteJSON(w, status, answer); err != nil {
			s.Log.Error("log analytics: answer", "err", err)
		}
	})
}

// target is what the path of a request names: workspaces/ID/query, or an ARM id and /query.
func target(path string) (Target, bool) {
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return Target{}, false
	}
	rest, ok = strings.CutSuffix(rest, "/query")
	if !ok {
		return Target{}, false
	}
	if id, ok := strings.CutPrefix(rest, "workspaces/"); ok {
		return Target{Workspace: id}, id != "" && !strings.Contains(id, "/")
	}
	if strings.HasPrefix(strings.ToLower(rest), "subscriptions/") {
		return Target{Resource: "/" + rest}, true
	}
	return Target{}, false
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) (int, any, error) {
	p, err := s.authenticate(r)
	if err != nil {
		return 0, nil, err
	}
	path := strings.ReplaceAll(r.URL.Path, "//", "/") // ids begin with a slash
	if path == "/v1/$batch" && r.Method == http.MethodPost {
		return s.batch(w, r, p)
	}
	to, ok := target(path)
	if !ok || r.Method != http.MethodPost && r.Method != http.MethodGet {
		return 0, nil, noPath()
	}
	q := Query{Query: r.URL.Query().Get("query"), Timespan: r.URL.Query().Get("timespan")}
	if r.Method == http.MethodPost {
		b, err := body(w, r)
		if err != nil {
			return 0, nil, err
		}
		if q, err = ReadQuery(b, q.Timespan); err != nil {
			return 0, nil, err
		}
	}
	answer, err := s.Ask(r.Context(), p, to, q, ReadPrefer(r.Header.Get("Prefer")))
	return http.StatusOK, answer, err
}

func noPath() *Error {
	return refuse(http.StatusNotFound, "PathNotFoundError", "The requested path does not exist")
}

func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	b, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return nil, refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeError", "The body could not be read, or is larger than %d bytes.", maxBody)
	}
	return b, nil
}

func badJSON(err error) *Error {
	e := badArgument("QueryValidationError", "Failed parsing the query")
	e.Details = []map[string]any{{"code": "InvalidJsonBody", "message": err.Error(), "target": nil}}
	return e
}

// ReadQuery reads the body of a query; a timespan of the address holds where the body has none.
func ReadQuery(b []byte, timespan string) (q Query, err error) {
	if err := json.Unmarshal(b, &q); err != nil {
		return q, badJSON(err)
	}
	if q.Timespan == "" {
		q.Timespan = timespan
	}
	return q, nil
}

// ReadPrefer reads a Prefer header: wait=SECONDS, include-statistics=true, include-render=true. What else it says is not
// heeded (RFC 7240).
func ReadPrefer(header string) (p Prefer) {
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "wait":
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n <= 600 {
				p.Wait = time.Duration(n) * time.Second
			}
		case "include-statistics":
			p.Statistics = strings.EqualFold(value, "true")
		case "include-render":
			p.Render = strings.EqualFold(value, "true")
		}
	}
	return p
}

// authenticate verifies the caller's token.
func (s *Service) authenticate(r *http.Request) (authz.Principal, error) {
	token, err := entra.BearerToken(r)
	if err == nil {
		var p authz.Principal
		if p, err = s.Tokens.Verify(r.Context(), token, Audiences...); err == nil {
			return p, nil
		}
	}
	bad := new(entra.TokenError)
	if !errors.As(err, &bad) {
		return authz.Principal{}, err
	}
	challenge := map[string]string{"WWW-Authenticate": `Bearer authorization_uri="https://login.microsoftonline.com/common", resource_id="` + entra.AudienceLogs + `"`}
	if bad.Reason == entra.Missing {
		e := refuse(http.StatusUnauthorized, "AuthorizationRequiredError", "Valid authentication was not provided")
		e.header = challenge
		return authz.Principal{}, e
	}
	e := refuse(http.StatusForbidden, "InvalidTokenError", "The provided authentication is not valid for this resource")
	e.Inner = &Inner{Code: bad.Code(), Message: bad.Error()}
	e.header = challenge
	return authz.Principal{}, e
}

// batchMostRequests is how many queries a batch may have.
const batchMostRequests = 100

// batch answers several queries ("Batch queries").
func (s *Service) batch(w http.ResponseWriter, r *http.Request, p authz.Principal) (int, any, error) {
	b, err := body(w, r)
	if err != nil {
		return 0, nil, err
	}
	var all struct {
		Requests []struct {
			ID        string            `json:"id"`
			Method    string            `json:"method"`
			Path      string            `json:"path"`
			Workspace string            `json:"workspace"`
			Headers   map[string]string `json:"headers"`
			Body      Query             `json:"body"`
		} `json:"requests"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return 0, nil, badJSON(err)
	}
	if len(all.Requests) == 0 || len(all.Requests) > batchMostRequests {
		return 0, nil, badArgument("BatchValidationError", "A batch has from 1 to %d members in 'requests'.", batchMostRequests)
	}
	seen := map[string]bool{}
	for i, q := range all.Requests {
		if q.ID == "" || q.Workspace == "" || seen[q.ID] {
			return 0, nil, badArgument("BatchValidationError", "requests[%d] needs an 'id' that no other has, and a 'workspace'.", i)
		}
		seen[q.ID] = true
	}
	answers := []any{}
	for _, q := range all.Requests {
		status, answer := http.StatusOK, any(nil)
		var err error = noPath()
		if strings.EqualFold(q.Method, http.MethodPost) && q.Path == "/query" {
			prefer := ""
			for k, v := range q.Headers {
				if strings.EqualFold(k, "Prefer") {
					prefer = v
				}
			}
			answer, err = s.Ask(r.Context(), p, Target{Workspace: q.Workspace}, q.Body, ReadPrefer(prefer))
		}
		if refused := new(Error); errors.As(err, &refused) {
			status, answer = refused.Status, map[string]any{"error": refused}
		} else if err != nil {
			return 0, nil, fmt.Errorf("request %s of a batch: %w", printable(q.ID), err)
		}
		answers = append(answers, map[string]any{"id": q.ID, "status": status, "body": answer})
	}
	return http.StatusOK, map[string]any{"responses": answers}, nil
}
