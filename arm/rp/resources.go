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
	top, after, err := paging(r.Query)
	if err != nil {
		return nil, err
	}
	conditions, err := parseFilter(r.Query.Get("$filter"))
	if err != nil {
		return nil, err
	}
	expand := strings.ToLower(r.Query.Get("$expand"))
	visible := e.readable(ctx, r, "")
	body := &page{Value: []any{}}
	err = e.View(ctx, func(tx *Tx) error {
		if err := tx.listable(scope); err != nil {
			return err
		}
		found, err := tx.tracked(scope, conditions)
		if err != nil {
			return err
		}
		last := ""
		for _, o := range found {
			key := o.rec.id.Key()
			if key <= after {
				continue
			}
			if ok, err := visible(o.rec); err != nil {
				return err
			} else if !ok {
				continue
			}
			if len(body.Value) == top {
				body.NextLink = next(r, last)
				return nil
			}
			body.Value = append(body.Value, generic(o, expand))
			last = key
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Response{Status: http.StatusOK, Body: body}, nil
}

// tracked returns the tracked resources under scope that match, ordered by id.
func (tx *Tx) tracked(scope arm.ID, conditions []condition) ([]owned, error) {
	var found []owned
	for _, d := range tx.engine.definitions() {
		if d.kind != Tracked || scopeType(d) {
			continue
		}
		recs, err := tx.scan(d, scope)
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			ok, err := rec.matches(conditions, d.name)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, owned{d, rec})
			}
		}
	}
	slices.SortFunc(found, func(a, b owned) int { return cmp.Compare(a.rec.id.Key(), b.rec.id.Key()) })
	return found, nil
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
