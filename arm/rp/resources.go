package rp

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
)

// resources is GET /subscriptions/{subscription}[/resourceGroups/{group}]/resources: the tracked resources
// of all types that the caller may read ("Resources - List").
func (e *Engine) resources(ctx context.Context, r *Request, path map[string]string) (*Response, error) {
	text := "/subscriptions/" + path["subscription"]
	if g := path["group"]; g != "" {
		text += "/resourceGroups/" + g
	}
	scope, err := arm.ParseID(text)
	if err != nil {
		return nil, err
	}
	q := inventory{scope: scope}
	if q.top, q.after, err = paging(r.Query); err != nil {
		return nil, err
	}
	if q.filter, err = parseResourceFilter(r.Query.Get("$filter")); err != nil {
		return nil, err
	}
	q.visible = e.readable(ctx, r, "")
	expand := strings.ToLower(r.Query.Get("$expand"))
	body := &page{Value: []any{}}
	err = e.View(ctx, func(tx *Tx) error {
		if err := tx.listable(scope); err != nil {
			return err
		}
		found, err := tx.tracked(q)
		if err != nil {
			return err
		}
		if len(found) > q.top {
			found = found[:q.top]
			body.NextLink = next(r, found[q.top-1].rec.id.Key())
		}
		for _, o := range found {
			shown := generic(o, expand)
			if q.filter.byTag {
				delete(shown, "tags") // Azure leaves them out of what was found by them
			}
			body.Value = append(body.Value, shown)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}

// inventory is what a listing of resources asks for.
type inventory struct {
	scope   arm.ID
	after   string // key of the last one of the page before
	top     int
	filter  *resourceFilter
	visible func(*record) (bool, error)
}

// tracked returns the first top+1 tracked resources, ordered by id: of each type no more than these are read.
func (tx *Tx) tracked(q inventory) ([]owned, error) {
	var found []owned
	for _, d := range tx.inUse() {
		if d.kind != Tracked || scopeType(d) || !q.filter.may(d.name) {
			continue
		}
		n := 0
		err := tx.each(d, q.scope, q.after, func(rec *record) (bool, error) {
			for _, f := range []func(*record) (bool, error){func(r *record) (bool, error) { return q.filter.match(d, r) }, q.visible} {
				if ok, err := f(rec); err != nil || !ok {
					return true, err
				}
			}
			found = append(found, owned{d, rec})
			n++
			return n <= q.top, nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b owned) int { return cmp.Compare(a.rec.id.Key(), b.rec.id.Key()) })
	return found[:min(len(found), q.top+1)], nil
}

// generic is a resource as the listing of all resources shows it: the envelope only.
func generic(o owned, expand string) map[string]any {
	body := o.rec.envelope()
	body["type"] = o.d.name.String()
	delete(body, "systemData")
	if strings.Contains(expand, "createdtime") {
		body["createdTime"] = stamp(o.rec.SystemData.CreatedAt)
	}
	if strings.Contains(expand, "changedtime") {
		body["changedTime"] = stamp(o.rec.SystemData.LastModifiedAt)
	}
	if strings.Contains(expand, "provisioningstate") {
		body["provisioningState"] = o.rec.State
	}
	return body
}
