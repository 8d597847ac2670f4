package graph

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/entra"
)

// Route is one operation with what it needs. A route without a Need is refused to everybody.
type Route struct {
	Method, Pattern string // users/{id}/memberOf; literals are compared without case
	Need            Need
	Do              func(*Call) error
}

// serve finds the route, asks who calls and whether he may, and runs it.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) error {
	token, err := entra.BearerToken(r)
	if err != nil {
		return err
	}
	caller, err := s.dir.Authenticate(r.Context(), token, entra.AudienceGraph)
	if err != nil {
		return err
	}
	segments, err := split(r.URL)
	if err != nil {
		return err
	}
	c := &Call{Service: s, Ctx: r.Context(), W: w, R: r, Caller: caller}
	if c.version = strings.ToLower(segments[0]); c.version != "v1.0" && c.version != "beta" {
		return fail(http.StatusBadRequest, "BadRequest", "Invalid version: %s", printable(segments[0]))
	}
	c.segments = segments[1:]
	route, err := s.find(c, c.segments)
	if err != nil {
		return err
	}
	if c.can, err = s.access(c); err != nil {
		return err
	}
	c.can.weigh(route.Need)
	if err := c.can.allowed(route.Need); err != nil {
		return err
	}
	if c.query, err = readQuery(r); err != nil {
		return err
	}
	return c.discreet(route, route.Do(c))
}

// discreet keeps from a caller who may see only what is his own which objects there are: what is not there is
// refused as what is not his.
func (c *Call) discreet(route Route, err error) error {
	e := new(Error)
	if !errors.As(err, &e) || !route.Need.Own || len(c.Vars) == 0 || e.missing != c.Vars[0] {
		return err
	}
	see := route.Need
	if c.Caller.Type == "User" && !c.can.guest { // members see everything
		see.Members, see.Delegated = true, append([]string{"Directory.Read.All", "User.Read.All", "User.ReadBasic.All", "Group.Read.All", "Application.Read.All"}, see.Delegated...)
	}
	if denied := c.Demand(see); denied != nil {
		return denied
	}
	return err
}

func (s *Service) find(c *Call, segments []string) (Route, error) {
	known := false
	for _, route := range s.routes {
		vars, ok := fits(route.Pattern, segments)
		if !ok {
			continue
		}
		known = true
		if route.Method == c.R.Method {
			c.Vars = vars
			return route, nil
		}
	}
	if known {
		return Route{}, fail(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	}
	return Route{}, notServed(c.R.Method + " /" + strings.Join(segments, "/"))
}

// split unescapes the segments of the path one by one, so that an escaped slash stays in its segment, and takes
// keys in parentheses apart: users('x') is users/x, servicePrincipals(appId='x') is servicePrincipals/appId=x.
func split(u *url.URL) ([]string, error) {
	var out []string
	for raw := range strings.SplitSeq(strings.Trim(u.EscapedPath(), "/"), "/") {
		seg, err := url.PathUnescape(raw)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "BadRequest", "The path is not escaped as a URL.")
		}
		if seg == "" { // a double slash
			continue
		}
		name, key, has := strings.Cut(seg, "(")
		if !has || !strings.HasSuffix(key, ")") || name == "" {
			out = append(out, seg)
			continue
		}
		key = strings.TrimSuffix(key, ")")
		if field, value, named := strings.Cut(key, "="); named && strings.HasPrefix(value, "'") {
			key = field + "=" + strings.Trim(value, "'")
		} else {
			key = strings.Trim(key, "'")
		}
		out = append(out, name, key)
	}
	if len(out) == 0 {
		return nil, fail(http.StatusBadRequest, "BadRequest", "Invalid version")
	}
	return out, nil
}

// fits matches segments with a pattern and returns what stands for its {…}.
func fits(pattern string, segments []string) (vars []string, ok bool) {
	for part := range strings.SplitSeq(pattern, "/") {
		if len(segments) == 0 {
			return nil, false
		}
		if strings.HasPrefix(part, "{") {
			vars = append(vars, segments[0])
		} else if !strings.EqualFold(part, segments[0]) {
			return nil, false
		}
		segments = segments[1:]
	}
	return vars, len(segments) == 0
}
