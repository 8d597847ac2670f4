package rp

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// maxPage is how many resources a page has at most, as in Azure's own listings.
const maxPage = 1000

// page is the body of a listing.
type page struct {
	Value    []any  `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// paging reads $top and $skipToken; 400 for bad ones.
func paging(q url.Values) (top int, after string, err error) {
	top = maxPage
	if s := q.Get("$top"); s != "" {
		if top, err = strconv.Atoi(s); err != nil || top < 1 {
			return 0, "", arm.Errorf(http.StatusBadRequest, "InvalidTopQueryString", "The $top query string '%s' is not a positive number.", s)
		}
		top = min(top, maxPage)
	}
	if s := skipToken(q); s != "" {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return 0, "", arm.Errorf(http.StatusBadRequest, "InvalidSkipToken", "The $skipToken '%s' is not one that this service gave out.", s)
		}
		after = string(b)
	}
	return top, after, nil
}

func skipToken(q url.Values) string {
	for name, v := range q {
		if strings.EqualFold(name, "$skipToken") && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// next is the link to the page after the key.
func next(r *Request, after string) string {
	q := url.Values{}
	for name, v := range r.Query {
		if !strings.EqualFold(name, "$skipToken") {
			q[name] = v
		}
	}
	q.Set("$skipToken", base64.RawURLEncoding.EncodeToString([]byte(after)))
	return r.Base + (&url.URL{Path: r.Path}).EscapedPath() + "?" + q.Encode()
}

// list is GET on a collection: directly under a resource, or anywhere under a scope.
func (e *Engine) list(d *definition) serveFunc {
	return func(ctx context.Context, t *Target, r *Request) (*Response, error) {
		top, after, err := paging(r.Query)
		if err != nil {
			return nil, err
		}
		visible := func(*record) (bool, error) { return true, nil }
		if perCaller(d) {
			visible = e.readable(ctx, r, permissionName(d.name)+"/read")
		}
		readable := visible
		if d.name.Key() == groupKey {
			if visible, err = filteredGroups(d, r.Query.Get("$filter"), visible); err != nil {
				return nil, err
			}
		}
		var body *page
		err = e.View(ctx, func(tx *Tx) (err error) {
			if d.name.Key() == subscriptionKey {
				visible = tx.readableWithin(visible, e.readable(ctx, r, ""))
			}
			in := t.ID
			if d.implicit { // its parent comes with the first child: until then there are none
				in = in.Parent()
			}
			if err := tx.listable(in); err != nil {
				return err
			}
			if body, err = tx.list(ctx, d, t, r, top, after, visible); err == nil && d.name.Key() == groupKey && len(body.Value) == 0 {
				err = tx.mayList(ctx, d, t.ID, r, readable)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		return &Response{Status: http.StatusOK, Body: body}, nil
	}
}

// mayList refuses the resource groups of a subscription to who may read neither them all nor one of them; a subscription without
// groups has nobody's. (Of subscriptions Azure shows such a caller an empty list.)
func (tx *Tx) mayList(ctx context.Context, d *definition, subscription arm.ID, r *Request, readable func(*record) (bool, error)) error {
	if r.Check == nil {
		return nil
	}
	action := permissionName(d.name) + "/read"
	decision, err := r.Check(ctx, action, subscription)
	if err != nil || decision.Allowed {
		return err
	}
	some := false
	err = tx.each(d, subscription, "", func(rec *record) (bool, error) {
		some, err = readable(rec)
		return !some, err
	})
	if err != nil || some {
		return err
	}
	caller, _ := authz.FromContext(ctx)
	e := arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials. %s",
		caller.Name, caller.ObjectID, action, subscription, decision.By)
	e.AdditionalInfo = []arm.AdditionalInfo{{Type: "RoleDecision", Info: decision.Info()}}
	return e
}

// filteredGroups applies the $filter of a listing of resource groups ("Resource Groups - List").
func filteredGroups(d *definition, text string, visible func(*record) (bool, error)) (func(*record) (bool, error), error) {
	filter, err := parseResourceFilter(text)
	if err != nil || text == "" {
		return visible, err
	}
	return func(rec *record) (bool, error) {
		if ok, err := filter.match(d, rec); err != nil || !ok {
			return false, err
		}
		return visible(rec)
	}, nil
}

// perCaller says that a listing of the type shows each caller what they may read.
func perCaller(d *definition) bool { return scopeType(d) || d.listReadable }

// listable answers 404 for a listing in something that does not exist.
func (tx *Tx) listable(scope arm.ID) error {
	if scope.Type().IsZero() {
		return nil
	}
	d, err := tx.engine.definition(scope.Type())
	if err != nil {
		return nil // a scope that this engine does not keep
	}
	_, err = tx.existing(d, scope)
	return err
}

func (tx *Tx) list(ctx context.Context, d *definition, t *Target, r *Request, top int, after string, visible func(*record) (bool, error)) (*page, error) {
	body := &page{Value: []any{}}
	query := map[string]string{}
	for k := range r.Query {
		query[k] = r.Query.Get(k)
	}
	own := d.kind == Extension && strings.EqualFold(strings.ReplaceAll(query["$filter"], " ", ""), "atScope()")
	last, more := "", false
	err := tx.each(d, t.ID, after, func(rec *record) (bool, error) {
		if len(d.name.Types) > 1 && t.ID.Namespace() != "" && len(rec.id.Names()) != len(t.ID.Names())+1 {
			return true, nil
		}
		if own && rec.id.Scope().Key() != t.ID.Key() {
			return true, nil
		}
		if ok, err := visible(rec); err != nil || !ok {
			return true, err
		}
		if ok, err := selected(d, rec, query); err != nil || !ok {
			return true, err
		}
		if len(body.Value) == top {
			more = true
			return false, nil
		}
		shown, err := tx.render(ctx, d, rec, t.Version)
		if err != nil {
			return false, err
		}
		body.Value = append(body.Value, shown)
		last = rec.id.Key()
		return true, nil
	})
	if more {
		body.NextLink = next(r, last)
	}
	return body, err
}

// selected asks the type whether a listing with this query holds the record.
func selected(d *definition, rec *record, query map[string]string) (bool, error) {
	if d.selects == nil {
		return true, nil
	}
	res, err := d.load(rec)
	if err != nil {
		return false, err
	}
	return d.selects(query, res), nil
}

// each calls yield for the records of a type under scope, after a key, until it returns false or an error.
func (tx *Tx) each(d *definition, scope arm.ID, after string, yield func(*record) (bool, error)) error {
	if tx.vacant(d.stored) {
		return nil
	}
	prefix := strings.TrimSuffix(scope.Key(), "/") + "/"
	var bad error
	err := tx.Scan(d.stored, prefix, after, func(doc store.Doc) bool {
		rec, err := parseRecord(doc)
		if err != nil {
			bad = err
			return false
		}
		more, err := yield(rec)
		bad = err
		return more && err == nil
	})
	return errors.Join(err, bad)
}

// readable makes the filter of listings that show each caller what they may read: subscriptions, resource
// groups, all resources. A right at the scope of the listing is looked up once.
func (e *Engine) readable(ctx context.Context, r *Request, permission string) func(*record) (bool, error) {
	known := map[string]bool{}
	check := func(action string, id arm.ID) (bool, error) {
		key := action + " " + id.Key()
		if ok, seen := known[key]; seen {
			return ok, nil
		}
		decision := authz.Decision{}
		if r.Check != nil {
			var err error
			if decision, err = r.Check(ctx, action, id); err != nil {
				return false, err
			}
		}
		known[key] = decision.Allowed
		return decision.Allowed, nil
	}
	return func(rec *record) (bool, error) {
		action := permission
		if action == "" {
			action = permissionName(rec.id.Type()) + "/read"
		}
		if s := rec.id.Scope(); s.Key() != rec.id.Key() {
			if ok, err := check(action, s); ok || err != nil {
				return ok, err
			}
		}
		return check(action, rec.id)
	}
}

// readableWithin widens visible: a subscription is shown to whoever may read a group or a resource in it.
func (tx *Tx) readableWithin(visible, resource func(*record) (bool, error)) func(*record) (bool, error) {
	return func(rec *record) (bool, error) {
		if ok, err := visible(rec); ok || err != nil {
			return ok, err
		}
		for _, d := range tx.inUse() {
			if d.kind != Tracked || d.name.Key() == subscriptionKey {
				continue
			}
			found := false
			err := tx.each(d, rec.id, "", func(r *record) (more bool, err error) {
				found, err = resource(r)
				return !found, err
			})
			if found || err != nil {
				return found, err
			}
		}
		return false, nil
	}
}
