package graph

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/entra/graph/odata"
	"vauban.dev/store"
)

const (
	pageSize    = 100
	pageSizeMax = 999
)

// query is the query options of a request ("Use query parameters to customize Microsoft Graph query responses").
type query struct {
	selected []string
	filter   odata.Filter
	search   odata.Search
	order    odata.Order
	expand   []string
	top      int
	after    string // id of the last object of the page before
	count    bool
	eventual bool // ConsistencyLevel: eventual
}

func unsupported(format string, args ...any) error {
	return fail(http.StatusBadRequest, "Request_UnsupportedQuery", format, args...)
}

func readQuery(r *http.Request) (q query, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, fail(http.StatusBadRequest, "BadRequest", "The query is not escaped as a URL.")
	}
	get := func(name string) string { // with and without the dollar, as Graph takes them
		if v := values.Get("$" + name); v != "" {
			return v
		}
		return values.Get(name)
	}
	q.eventual = strings.EqualFold(r.Header.Get("ConsistencyLevel"), "eventual")
	q.count = strings.EqualFold(get("count"), "true") && q.eventual
	q.selected, q.expand = list(get("select")), list(get("expand"))
	if q.filter, err = odata.Parse(get("filter")); err != nil {
		return q, err
	}
	if q.search, err = odata.ParseSearch(get("search")); err != nil {
		return q, err
	}
	if q.order, err = odata.ParseOrder(get("orderby")); err != nil {
		return q, err
	}
	if get("search") != "" && !q.eventual {
		return q, unsupported("Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'")
	}
	if q.filter.Advanced && !(q.eventual && strings.EqualFold(get("count"), "true")) {
		return q, unsupported("Unsupported Query: operators not, ne, endswith, contains and $count in $filter are served with the header 'ConsistencyLevel: eventual' and $count=true.")
	}
	if get("skip") != "" {
		return q, unsupported("'$skip' is not supported by the service.")
	}
	q.top = pageSize
	if t := get("top"); t != "" {
		if q.top, err = strconv.Atoi(t); err != nil || q.top < 1 || q.top > pageSizeMax {
			return q, fail(http.StatusBadRequest, "Request_UnsupportedQuery", "Invalid page size specified: '%s'. Must be between 1 and 999 inclusive.", printable(t))
		}
	}
	if t := get("skiptoken"); t != "" {
		b, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil || len(b) > 256 {
			return q, fail(http.StatusBadRequest, "Directory_ExpiredPageToken", "The specified page token value has expired and can no longer be included in your request.")
		}
		q.after = string(b)
	}
	return q, nil
}

// list splits at commas outside of parentheses.
func list(text string) (out []string) {
	depth, start := 0, 0
	for i, r := range text + "," {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth <= 0:
			if part := strings.TrimSpace((text + ",")[start:i]); part != "" {
				out = append(out, part)
			}
			start = i + 1
		}
	}
	return out
}

// object is an entity with all its properties, as Graph shows it. What begins with @ is about it.
type object map[string]any

// values gives properties by path, names without case.
func (o object) values(path string) (any, bool) {
	head, rest, deeper := strings.Cut(path, "/")
	v, ok := o[head]
	if !ok {
		for name, candidate := range o {
			if strings.EqualFold(name, head) {
				v, ok = candidate, true
			}
		}
	}
	if !ok {
		return nil, false
	}
	if deeper {
		inner, is := v.(object)
		if !is {
			return nil, false
		}
		return inner.values(rest)
	}
	switch v := v.(type) {
	case []object:
		out := make([]odata.Values, len(v))
		for i, e := range v {
			out[i] = e.values
		}
		return out, true
	case *time.Time:
		if v == nil {
			return nil, true
		}
		return *v, true
	}
	return v, true
}

// kind is an entity type: its name, what is shown when nothing is selected, and properties to hold queries against.
type kind struct {
	name    string // microsoft.graph.user without what stands before the last dot
	set     string // users
	shown   []string
	sample  object   // all of its properties, to know which there are
	derived []string // relations that $expand takes
}

// check refuses properties that the type does not have.
func (k kind) check(q query) error {
	paths := slices.Concat(q.filter.Paths, q.search.Properties())
	for _, o := range q.order {
		paths = append(paths, o.Path)
	}
	for _, s := range q.selected {
		if s != "*" && !strings.HasPrefix(s, "@") {
			paths = append(paths, s)
		}
	}
	for _, p := range paths {
		head, _, _ := strings.Cut(p, "/")
		if _, ok := k.sample.values(head); !ok {
			return fail(http.StatusBadRequest, "BadRequest", "Could not find a property named '%s' on type 'microsoft.graph.%s'.", printable(p), k.name)
		}
	}
	return nil
}

// project takes the selected properties, in Graph's spelling.
func (k kind) project(o object, selected []string) object {
	names := selected
	if len(names) == 0 {
		names = k.shown
	}
	if len(names) == 0 || slices.Contains(names, "*") {
		return o
	}
	out := object{}
	for name, v := range o {
		if strings.HasPrefix(name, "@odata") || slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) }) {
			out[name] = v
		}
	}
	if _, ok := o["id"]; ok && len(selected) == 0 {
		out["id"] = o["id"]
	}
	return out
}

// source yields the objects after an id, in order of their ids.
type source func(tx store.Tx, after string, yield func(object) bool) error

// list answers a collection: filtered, sorted, page by page.
func (c *Call) list(k kind, from source) error {
	if err := k.check(c.query); err != nil {
		return err
	}
	q := c.query
	page, total, more := []object{}, 0, false
	match := func(o object) bool { return q.filter.Match(o.values) && q.search.Match(o.values) }
	err := c.View(func(tx store.Tx) error {
		if len(q.order) > 0 || q.count {
			all := []object{}
			err := from(tx, "", func(o object) bool {
				if match(o) {
					all = append(all, o)
				}
				return true
			})
			total = len(all)
			slices.SortStableFunc(all, func(a, b object) int { return q.order.Compare(a.values, b.values) })
			page, more = after(all, q)
			return err
		}
		return from(tx, q.after, func(o object) bool {
			if !match(o) {
				return true
			}
			if more = len(page) == q.top; more {
				return false
			}
			page = append(page, o)
			return true
		})
	})
	if err != nil {
		return err
	}
	out := map[string]any{"@odata.context": c.context(k.set)}
	if q.count {
		out["@odata.count"] = total
	}
	if more {
		values := c.R.URL.Query()
		values.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(page[len(page)-1]["id"].(string))))
		out["@odata.nextLink"] = host + c.R.URL.EscapedPath() + "?" + values.Encode()
	}
	for i, o := range page {
		if err := c.expand(k, o); err != nil {
			return err
		}
		page[i] = k.project(o, append(slices.Clone(q.selected), expanded(q)...))
		if len(q.selected) == 0 {
			page[i] = k.project(o, k.with(q))
		}
	}
	out["value"] = page
	return c.Answer(http.StatusOK, out)
}

// expanded are the names of the relations in $expand.
func expanded(q query) (out []string) {
	for _, e := range q.expand {
		name, _, _ := strings.Cut(e, "(")
		out = append(out, name)
	}
	return out
}

// with is what is shown beside the relations of $expand when nothing is selected.
func (k kind) with(q query) []string {
	if len(q.expand) == 0 || len(k.shown) == 0 {
		return nil
	}
	return slices.Concat(k.shown, []string{"id"}, expanded(q))
}

func after(all []object, q query) (page []object, more bool) {
	start := 0
	if q.after != "" {
		start = slices.IndexFunc(all, func(o object) bool { return o["id"] == q.after }) + 1
	}
	end := min(start+q.top, len(all))
	return all[start:end], end < len(all)
}

// number answers …/$count.
func (c *Call) number(k kind, from source) error {
	if err := k.check(c.query); err != nil {
		return err
	}
	if !c.query.eventual {
		return fail(http.StatusBadRequest, "Request_BadRequest", "$count is not currently supported without the header 'ConsistencyLevel: eventual'.")
	}
	n := 0
	err := c.View(func(tx store.Tx) error {
		return from(tx, "", func(o object) bool {
			if c.query.filter.Match(o.values) && c.query.search.Match(o.values) {
				n++
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	c.W.Header().Set("Content-Type", "text/plain")
	_, _ = c.W.Write([]byte(strconv.Itoa(n))) // the client is gone: nobody to tell
	return nil
}

// one answers one entity.
func (c *Call) one(status int, k kind, o object) error {
	q := c.query
	if err := k.check(query{selected: q.selected}); err != nil {
		return err
	}
	if err := c.expand(k, o); err != nil {
		return err
	}
	var out object
	if len(q.selected) > 0 {
		out = k.project(o, append(slices.Clone(q.selected), expanded(q)...))
	} else {
		out = k.project(o, k.with(q))
	}
	set := k.set
	if len(q.selected) > 0 {
		set += "(" + strings.Join(q.selected, ",") + ")"
	}
	delete(out, "@odata.type")
	out["@odata.context"] = c.context(set + "/$entity")
	if status == http.StatusCreated {
		c.W.Header().Set("Location", host+"/v2/"+c.tenant()+"/directoryObjects/"+o["id"].(string)+"/Microsoft.DirectoryServices."+strings.ToUpper(k.name[:1])+k.name[1:])
	}
	return c.Answer(status, out)
}
