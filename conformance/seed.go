package conformance

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// corpus knows of the cases how each type of resource is made, so that what an example takes for granted can be there
// before it is played.
type corpus struct {
	makers  map[string][]maker // by type in lower case
	unknown map[string]bool    // types that the region does not have
	// recorded are the ids that a recording's own requests make, in lower case.
	recorded map[string]bool
}

// maker is a request body that made a resource of a type, or what Azure showed of one.
type maker struct {
	version string
	body    any
	asked   bool   // a request's body, not an answer's
	path    string // of its case
	whole   bool   // nothing is to be added
}

func newCorpus(cases []Case) *corpus {
	c := &corpus{makers: map[string][]maker{}, unknown: map[string]bool{}, recorded: map[string]bool{}}
	for _, x := range cases {
		id, _, _ := strings.Cut(x.Path, "?")
		version := x.version()
		t := strings.ToLower(x.Type())
		if x.Recorded && x.Method == http.MethodPut {
			c.recorded[strings.ToLower(id)] = true
		}
		switch body, _ := x.Response.(map[string]any); {
		case x.Host != managementHost:
		case x.Method == http.MethodPut && x.Request != nil && (x.Status == 0 || x.Status < 300):
			c.makers[t] = append(c.makers[t], maker{version: version, body: x.Request, asked: true, path: id})
		case x.Method == http.MethodGet && !x.Recorded && body["id"] != nil:
			c.makers[t] = append(c.makers[t], maker{version: version, body: creatable(body), path: id})
		case x.Method == http.MethodGet && !x.Recorded:
			for _, e := range asList(body["value"]) {
				if m, ok := e.(map[string]any); ok && m["id"] != nil && m["properties"] != nil {
					c.makers[t] = append(c.makers[t], maker{version: version, body: creatable(m), path: fmt.Sprint(m["id"])})
				}
			}
		}
	}
	return c
}

func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

// creatable is what a client would send of a resource that Azure showed.
func creatable(shown map[string]any) any {
	out := map[string]any{}
	for k, v := range shown {
		if !slices.Contains([]string{"id", "name", "type", "etag", "systemData"}, k) {
			out[k] = v
		}
	}
	return out
}

// seeder makes what is not there yet.
type seeder struct {
	*Region
	*corpus
	w         *world
	made      map[string]bool     // ids in lower case
	path      []string            // what is being made, the outermost first
	shown     map[string]*maker   // by id in lower case, as the case has it: what the case is of, as it shows it or nil
	grouped   bool                // the case's path is in a group
	subnets   int                 // that were made with a prefix of their own
	leaning   any                 // the body for which resources are being made
	address   netip.Addr          // that the case means, in the first of them
	endpoint  string              // that a case's request names for its connection
	endpoints int                 // private ones that were made for connections
	inner     map[string][]string // by the id of a resource, in lower case: what is named of it that is made with it, collection/name
	beyond    []string            // addresses of what was made outside of groups
	// refused is what could not be made, and why.
	refused []string
}

var armID = regexp.MustCompile(`(?i)^/subscriptions/[^/]+(/resourceGroups/[^/]+)?/providers/[^/]+(/[^/]+/[^/]+)+$`)

// ids are the resources that a recorded value names.
func ids(v any) (out []string) {
	switch v := v.(type) {
	case string:
		if armID.MatchString(v) {
			out = append(out, v)
		}
	case []any:
		for _, x := range v {
			out = append(out, ids(x)...)
		}
	case map[string]any:
		for k, x := range v {
			out = append(append(out, ids(k)...), ids(x)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// prepare makes what an example takes for granted: its group, the resource that it reads or changes and all above it,
// and every resource that its request names. What cannot be made is left to the example to show.
func (s *seeder) prepare(ctx context.Context, c Case) error {
	path, _, _ := strings.Cut(c.Path, "?")
	s.w.rename(path)
	s.grouped = strings.Contains(strings.ToLower(path), "/resourcegroups/")
	query, _ := url.ParseQuery(c.Path[strings.Index(c.Path, "?")+1:])
	s.address = addressIn([]any{c.Request, map[string]any{"ipAddress": query.Get("ipAddress")}, c.Response})
	for _, id := range slices.Concat(ids(path), ids(c.Request), ids(c.Response)) {
		s.name(id)
	}
	if err := s.vacate(ctx, path); err != nil {
		return err
	}
	if err := s.group(ctx, path); err != nil {
		return err
	}
	if err := s.delete(ctx, c, path); err != nil {
		return err
	}
	shown, _ := c.Response.(map[string]any)
	target := path
	var seeds []maker
	switch {
	case c.Method == http.MethodPost:
		target = path[:strings.LastIndex(path, "/")]
		if _, is := shown["properties"].(map[string]any); is && shown["id"] != nil { // an action that shows the resource
			s.shown[strings.ToLower(target)] = &maker{version: c.version(), body: creatable(shown), path: target}
		}
	case c.Method == http.MethodPut:
		target = parent(path)
		if strings.Contains(strings.ToLower(path), "/privateendpointconnections/") {
			target = path // a connection is made by its endpoint, and approved by a PUT
			for _, id := range ids(c.Request) {
				if typeOf(id) == "microsoft.network/privateendpoints" {
					s.endpoint = id
				}
			}
		}
		if shown["id"] != nil {
			s.shown[strings.ToLower(path)] = &maker{version: c.version(), body: creatable(shown), path: path}
		}
	case !armID.MatchString(path):
		target = path[:strings.LastIndex(path, "/")]
		seeds = c.named(path)
	case shown["id"] != nil:
		seeds = []maker{{version: c.version(), body: creatable(shown), path: path}}
	}
	if s.shown[strings.ToLower(path)] == nil {
		s.shown[strings.ToLower(path)] = nil
	}
	for _, one := range seeds {
		s.shown[strings.ToLower(one.path)] = &one
	}
	if c.Method != http.MethodPost {
		if err := s.use(ctx, c, path); err != nil {
			return err
		}
	}
	for _, one := range seeds {
		if err := s.ensure(ctx, one.path); err != nil {
			return err
		}
	}
	for target != "" && !armID.MatchString(target) && c.Method == http.MethodPost { // an operation on what is no resource itself
		target = target[:strings.LastIndex(target, "/")]
	}
	if armID.MatchString(target) {
		if err := s.ensure(ctx, target); err != nil {
			return err
		}
	}
	if id := c.taken(); id != "" {
		if err := s.ensure(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range versionsOf(path, shown) {
		if err := s.ensure(ctx, id); err != nil {
			return err
		}
	}
	own := strings.ToLower(s.w.path(path))
	for _, id := range ids(c.Request) {
		if named := strings.ToLower(s.w.path(id)); named != own && !strings.HasPrefix(named, own+"/") {
			if err := s.ensure(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// vacate removes what a subscription has one of in a region, where an example makes its own.
func (s *seeder) vacate(ctx context.Context, path string) error {
	const watchers = "/providers/Microsoft.Network/networkWatchers"
	if !strings.Contains(strings.ToLower(path), strings.ToLower(watchers)) {
		return nil
	}
	const version = "?api-version=2024-05-01"
	have, err := s.send(ctx, http.MethodGet, "https://"+managementHost+"/subscriptions/"+s.Subscription+watchers+version, nil)
	if err != nil {
		return err
	}
	for _, id := range listed(have.body) {
		a, err := s.send(ctx, http.MethodDelete, "https://"+managementHost+id+version, nil)
		if err != nil {
			return err
		}
		if _, _, err := s.settle(ctx, a); err != nil {
			return err
		}
		if err := s.gone(ctx, id+version); err != nil {
			return err
		}
	}
	return nil
}

// gone waits until a resource is no longer there: one whose group goes already takes longer than its own removal.
func (s *seeder) gone(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := s.send(ctx, http.MethodGet, "https://"+managementHost+path, nil)
		if err != nil || a.status == http.StatusNotFound {
			return err
		}
	}
}

// listed are the ids of the resources in a list.
func listed(response any) (out []string) {
	m, _ := response.(map[string]any)
	for _, e := range asList(m["value"]) {
		shown, _ := e.(map[string]any)
		if id, _ := shown["id"].(string); armID.MatchString(id) {
			out = append(out, id)
		}
	}
	return out
}

// below is the id of an element of a list in the collection that was asked for: examples show elements of others.
func below(collection, id string) string {
	of, is := strings.Split(collection, "/"), strings.Split(id, "/")
	if len(of)+1 == len(is) && len(of) > 6 && armID.MatchString(collection+"/x") && strings.EqualFold(of[6], is[6]) {
		return collection + "/" + is[len(is)-1]
	}
	return id
}

// parent is the resource above, "" for one at the top.
func parent(id string) string {
	up := id[:strings.LastIndex(id, "/")]
	if i := strings.LastIndex(up, "/"); i > 0 {
		up = up[:i]
	}
	if !armID.MatchString(up) {
		return ""
	}
	return up
}

// name chooses the names of an id, and notes what is named of the resource above it.
func (s *seeder) name(id string) {
	s.w.rename(id)
	if up := parent(id); up != "" {
		key := strings.ToLower(s.w.path(up))
		s.inner[key] = append(s.inner[key], id[len(up)+1:])
	}
}

func (s *seeder) group(ctx context.Context, path string) error {
	parts := strings.Split(s.w.path(path), "/")
	if len(parts) < 5 || !strings.EqualFold(parts[3], "resourceGroups") {
		return nil
	}
	id := strings.Join(parts[:5], "/")
	if s.made[strings.ToLower(id)] {
		return nil
	}
	s.made[strings.ToLower(id)] = true
	_, err := s.send(ctx, http.MethodPut, "https://"+managementHost+id+"?api-version=2021-04-01", map[string]any{"location": s.w.location})
	return err
}

// ensure makes a resource as it is shown, or by a body of the corpus, after what is above it and what that body names.
func (s *seeder) ensure(ctx context.Context, id string) error {
	s.name(id)
	own := strings.ToLower(s.w.path(id))
	if s.made[own] || len(s.path) > 6 || slices.Contains(s.path, own) {
		return nil
	}
	s.made[own] = true
	t := typeOf(id)
	if s.unknown[t] {
		s.refused = append(s.refused, fmt.Sprintf("%s could not be made: its type is not in the region", id))
		return nil
	}
	s.path = append(s.path, own)
	defer func() { s.path = s.path[:len(s.path)-1] }()
	if err := s.group(ctx, id); err != nil {
		return err
	}
	if up := parent(id); up != "" {
		if err := s.ensure(ctx, up); err != nil {
			return err
		}
	}
	if strings.HasSuffix(t, "/privateendpointconnections") {
		return s.connect(ctx, id)
	}
	if isPart(t) {
		return nil // it was made with what is above it
	}
	why, tried := "no case makes one of its type", false
	ways := s.candidates(id)
	if len(ways) == 0 {
		ways = s.plain(ctx, id)
	}
	for _, m := range ways {
		if !m.whole {
			m.body = s.complete(m.body, own)
		}
		s.leaning = m.body
		for _, ref := range ids(m.body) {
			s.name(ref)
			if !strings.EqualFold(s.w.path(ref), own) && !strings.HasPrefix(strings.ToLower(s.w.path(ref)), own+"/") && userOf(id, ref) == "" {
				if err := s.ensure(ctx, ref); err != nil {
					return err
				}
			}
		}
		url := "https://" + managementHost + s.w.path(id) + "?api-version=" + m.version
		have, err := s.send(ctx, http.MethodGet, url, nil)
		if err != nil || have.ok() && (tried || s.shown[strings.ToLower(id)] == nil) {
			return err
		}
		if strings.HasPrefix(have.code(), "InvalidResourceType") {
			why, s.unknown[t] = have.code(), true
			break
		}
		if strings.HasPrefix(have.code(), "NoRegisteredProviderFound") { // a list's version, which is not one of its elements
			why = have.code()
			continue
		}
		a, err := s.send(ctx, http.MethodPut, url, s.w.located(s.w.own(m.body), id))
		if err != nil {
			return err
		}
		why, tried = a.code(), true
		if a.ok() {
			if !strings.Contains(own, "/resourcegroups/") {
				s.beyond = append(s.beyond, url)
			}
			failure, _, err := s.settle(ctx, a)
			if err != nil || failure == "" {
				return err
			}
			why = failure
		}
	}
	if tried || parent(id) == "" { // else it is made with what is above it
		s.refused = append(s.refused, fmt.Sprintf("%s could not be made: %s", id, why))
	}
	return nil
}

// candidates are the bodies to try, the likeliest first. What the case itself is of should look as Azure showed it; for
// what it leans on the basics will do.
func (s *seeder) candidates(id string) []maker {
	t := typeOf(id)
	all := slices.Clone(s.makers[t])
	slices.SortStableFunc(all, func(a, b maker) int { return rank(a, id) - rank(b, id) })
	all = all[:min(len(all), 3)]
	own, is := s.shown[strings.ToLower(id)]
	if own != nil {
		all = append([]maker{*own}, all...)
	}
	basic, ok := s.basic(t, id)
	if !ok {
		return all
	}
	if own != nil {
		all = slices.Insert(all, 1, grounded(*own, basic))
	}
	if is {
		return append(all, basic)
	}
	with := slices.DeleteFunc(all, func(m maker) bool { return !s.holds(m.body, id) })
	if s.holds(basic.body, id) || len(with) == 0 {
		return []maker{basic}
	}
	return append(with, basic)
}

// grounded is what the case shows of a resource, standing on what the least body of its type names: for what stood on
// what Azure has retired, or on what no body makes.
func grounded(shown, basic maker) maker {
	m, _ := shown.body.(map[string]any)
	least, _ := basic.body.(map[string]any)
	under, _ := least["properties"].(map[string]any)
	properties, _ := m["properties"].(map[string]any)
	m, properties = maps.Clone(m), maps.Clone(properties)
	if m == nil || properties == nil {
		return basic
	}
	maps.Copy(properties, under)
	m["properties"] = properties
	return maker{version: shown.version, body: m, path: shown.path, whole: basic.whole}
}

// holds tells whether a body has the collections from which the case names parts of the resource.
func (s *seeder) holds(body any, id string) bool {
	m, _ := body.(map[string]any)
	properties, _ := m["properties"].(map[string]any)
	for _, inner := range s.inner[strings.ToLower(s.w.path(id))] {
		collection, _, _ := strings.Cut(inner, "/")
		if !parts[strings.ToLower(collection)] {
			continue
		}
		has := false
		for key, v := range properties {
			has = has || strings.EqualFold(key, collection) && len(asList(v)) > 0
		}
		if !has {
			return false
		}
	}
	return true
}

func rank(m maker, id string) int {
	r := 0
	if !strings.EqualFold(m.path[strings.LastIndex(m.path, "/")+1:], id[strings.LastIndex(id, "/")+1:]) {
		r += 2
	}
	if !m.asked {
		r++
	}
	return r
}

// complete puts into a body what is named of the resource and is made with it: a load balancer's frontend, say. It is
// like the first of its kind that the body has.
func (s *seeder) complete(body any, own string) any {
	m, _ := body.(map[string]any)
	properties, _ := m["properties"].(map[string]any)
	if properties == nil {
		return body
	}
	m, properties = maps.Clone(m), maps.Clone(properties)
	m["properties"] = properties
	for _, inner := range s.inner[own] {
		collection, name, _ := strings.Cut(inner, "/")
		for key, v := range properties {
			list := asList(v)
			if !strings.EqualFold(key, collection) || len(list) == 0 || byName(list, name, nil) >= 0 {
				continue
			}
			first, ok := list[0].(map[string]any)
			if !ok {
				continue
			}
			like := maps.Clone(first)
			like["name"] = name
			delete(like, "id")
			if s.named(own, collection, first["name"]) {
				properties[key] = append(slices.Clone(list), like)
			} else {
				properties[key] = append([]any{like}, list[1:]...)
			}
		}
	}
	return m
}

func (s *seeder) named(own, collection string, name any) bool {
	return slices.ContainsFunc(s.inner[own], func(inner string) bool { return strings.EqualFold(inner, fmt.Sprint(collection, "/", name)) })
}

// versionsOf are the latest versions that assets show, an asset or a list of some at the path.
func versionsOf(path string, shown map[string]any) (out []string) {
	add := func(id string, m map[string]any) {
		properties, _ := m["properties"].(map[string]any)
		if v, _ := properties["latestVersion"].(string); v != "" {
			out = append(out, id+"/versions/"+v)
		}
	}
	add(path, shown)
	for _, e := range asList(shown["value"]) {
		if m, ok := e.(map[string]any); ok {
			add(fmt.Sprint(path, "/", m["name"]), m)
		}
	}
	return out
}
