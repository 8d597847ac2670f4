package rp

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
)

// route is an operation that is not on a stored resource.
type route struct {
	method     string
	segments   []string // "{name}" matches any segment
	permission string   // "-" = any authenticated caller
	versions   []string // empty = any
	reads      bool     // it changes nothing
	links      func(ctx context.Context, path map[string]string, body []byte) ([]Link, error)
	serve      func(ctx context.Context, r *Request, path map[string]string) (*Response, error)
	own        bool // see Route.Serve
	lenient    bool
}

// router finds the route of a path; literal segments win over "{name}" ones, from the left.
type router struct{ routes []*route }

func checkRoute(r Route) error {
	switch {
	case r.Permission == "":
		return fmt.Errorf("rp: route %s %s has no permission", r.Method, r.Pattern)
	case (r.Do == nil) == (r.Serve == nil):
		return fmt.Errorf("rp: route %s %s needs one function", r.Method, r.Pattern)
	case r.Method == "" || !strings.HasPrefix(r.Pattern, "/"):
		return fmt.Errorf("rp: route %q %q needs a method and an absolute pattern", r.Method, r.Pattern)
	}
	return nil
}

// public makes the internal form of a provider's route: GETs run on a snapshot, all else in a write transaction.
func (e *Engine) public(r Route) *route {
	serve := func(ctx context.Context, req *Request, path map[string]string) (*Response, error) {
		query := map[string]string{}
		for k := range req.Query {
			query[k] = req.Query.Get(k)
		}
		run := e.Update
		if r.Reads || r.Method == http.MethodGet {
			run = e.View
		}
		ctx = context.WithValue(ctx, checkKey{}, req.Check)
		var answer any
		err := run(ctx, func(tx *Tx) (err error) {
			answer, err = r.Do(ctx, tx, path, query, req.Body)
			return err
		})
		if err != nil {
			return nil, err
		}
		return answered(answer), nil
	}
	made := newRoute(r.Method, r.Pattern, r.Permission, r.Versions, serve)
	made.reads, made.own, made.lenient = made.reads || r.Reads, r.Serve != nil, r.Lenient
	if r.Serve != nil {
		made.serve = r.Serve
	}
	if r.Links != nil {
		made.links = func(ctx context.Context, path map[string]string, body []byte) (links []Link, err error) {
			err = e.View(ctx, func(tx *Tx) error {
				links, err = r.Links(ctx, tx, path, body)
				return err
			})
			return links, err
		}
	}
	return made
}

// answered is the response to what a route or an action returned.
func answered(answer any) *Response {
	switch a := answer.(type) {
	case nil:
		return &Response{Status: http.StatusNoContent}
	case *Response:
		return a
	}
	return &Response{Status: http.StatusOK, Body: answer}
}

func newRoute(method, pattern, permission string, versions []string, serve routeFunc) *route {
	return &route{method: method, segments: split(pattern), permission: permission, versions: versions, serve: serve, reads: method == http.MethodGet}
}

func (rt *router) add(r *route) { rt.routes = append(rt.routes, r) }

// match returns the route of the path and the values of its "{name}" segments.
func (rt *router) match(method, path string) (*route, map[string]string) {
	segments := split(path)
	var best *route
	for _, r := range rt.routes {
		if r.method == method && r.matches(segments) && (best == nil || moreLiteral(r.segments, best.segments)) {
			best = r
		}
	}
	if best == nil {
		return nil, nil
	}
	values := map[string]string{}
	for i, s := range best.segments {
		if wildcard(s) {
			values[s[1:len(s)-1]] = segments[i]
		}
	}
	return best, values
}

func (r *route) matches(segments []string) bool {
	if len(segments) != len(r.segments) {
		return false
	}
	for i, s := range r.segments {
		if !wildcard(s) && (len(s) != len(segments[i]) || !strings.EqualFold(s, segments[i])) { // ASCII letters fold to their own length
			return false
		}
	}
	return true
}

func moreLiteral(a, b []string) bool {
	for i := range a {
		if wa, wb := wildcard(a[i]), wildcard(b[i]); wa != wb {
			return wb
		}
	}
	return false
}

func wildcard(segment string) bool { return strings.HasPrefix(segment, "{") }

func split(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// scopeOf is where the permission of a route on this path is checked: the innermost registered resource
// that the path goes through, else what stands before the last /providers/.
func (e *Engine) scopeOf(path string) arm.ID {
	segments := split(path)
	last := len(segments)
	for i, s := range slices.Backward(segments) {
		if strings.EqualFold(s, "providers") {
			last = i
			break
		}
	}
	for n := len(segments); n >= 0; n-- {
		id, err := arm.ParseID("/" + strings.Join(segments[:n], "/"))
		if err != nil {
			continue
		}
		if n <= last {
			return id
		}
		if _, err := e.definition(id.Type()); err == nil {
			return id
		}
	}
	return arm.MustParseID("/")
}

type routeFunc = func(ctx context.Context, r *Request, path map[string]string) (*Response, error)
