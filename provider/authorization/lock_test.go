package authorization_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/resources"
)

const (
	lockPath = "/providers/Microsoft.Authorization/locks/"
	lockAPI  = "?api-version=2016-09-01"
	rgAPI    = "?api-version=2024-11-01"
	boxAPI   = "?api-version=2024-01-01"
	box      = group + "/providers/Microsoft.Toys/boxes/b"
)

// newLocked is a region with boxes that have toys and a list of keys.
func newLocked(t *testing.T) *rptest.Region {
	t.Helper()
	boxes := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/boxes", Versions: rp.Versions[struct{}]("2024-01-01"), Actions: map[string]rp.Action[struct{}]{
		"listKeys": {Do: func(_ context.Context, _ *rp.Tx, _ *rp.Resource[struct{}], _ []byte) (any, error) {
			return map[string]string{"key": "x"}, nil
		}},
	}})
	toys := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/boxes/toys", Kind: rp.Proxy, Versions: rp.Versions[struct{}]("2024-01-01")})
	regs := append(resources.New(resources.Tenant{}, nil, &authz.Index{}).Types(), boxes, toys, authorization.Locks())
	r := rptest.New(t, rp.Config{Clock: clock.Fixed(now)}, regs...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test")
	}); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+rgAPI, `{"location":"westeurope"}`)
	r.Must("PUT", box+boxAPI, `{"location":"westeurope"}`)
	r.Must("PUT", box+"/toys/t"+boxAPI, `{"properties":{}}`)
	return r
}

func TestLockShape(t *testing.T) {
	r := newLocked(t)
	for _, scope := range []string{sub, group, box, box + "/toys/t"} {
		a := r.Request("PUT", scope+lockPath+"keep"+lockAPI, `{"properties":{"level":"cannotdelete","notes":"why"}}`)
		if a.Status != 201 || a.String("id") != scope+lockPath+"keep" || a.String("type") != "Microsoft.Authorization/locks" || a.String("name") != "keep" {
			t.Fatalf("%s: %d %s", scope, a.Status, a.Text)
		}
		if d := cmp.Diff(map[string]any{"level": "CanNotDelete", "notes": "why"}, a.At("properties")); d != "" {
			t.Error(d)
		}
		if a := r.Request("PUT", scope+lockPath+"keep"+lockAPI, `{"properties":{"level":"ReadOnly"}}`); a.Status != 200 {
			t.Errorf("again: %d %s", a.Status, a.Text)
		}
	}
	for path, want := range map[string]int{
		sub + lockPath: 4, group + lockPath: 3, box + lockPath: 2, sub + "/resourcegroups/rg/providers/Microsoft.Toys//boxes/b" + lockPath: 2,
	} {
		if l := r.Request("GET", strings.TrimSuffix(path, "/")+lockAPI, "").At("value").([]any); len(l) != want {
			t.Errorf("%s lists %d, want %d", path, len(l), want)
		}
		if l := r.Request("GET", strings.TrimSuffix(path, "/")+lockAPI+"&$filter=atScope()", "").At("value").([]any); len(l) != 1 {
			t.Errorf("%s has %d of its own", path, len(l))
		}
	}
	for what, c := range map[string]struct{ path, body, code string }{
		"a level of nobody":   {group + lockPath + "x", `{"properties":{"level":"Open"}}`, "InvalidLockLevel"},
		"no level":            {group + lockPath + "x", `{"properties":{}}`, "InvalidLockLevel"},
		"long notes":          {group + lockPath + "x", `{"properties":{"level":"ReadOnly","notes":"` + strings.Repeat("n", 513) + `"}}`, "InvalidLockNotes"},
		"the tenant":          {lockPath + "x", `{"properties":{"level":"ReadOnly"}}`, "InvalidLockScope"},
		"a lock":              {group + lockPath + "keep" + lockPath + "x", `{"properties":{"level":"ReadOnly"}}`, "InvalidLockScope"},
		"a name with a colon": {group + lockPath + "a:b", `{"properties":{"level":"ReadOnly"}}`, "InvalidResourceName"},
		"what is not there":   {sub + "/resourceGroups/none" + lockPath + "x", `{"properties":{"level":"ReadOnly"}}`, "ResourceGroupNotFound"},
	} {
		if a := r.Request("PUT", c.path+lockAPI, c.body); a.Status < 400 || a.Code() != c.code {
			t.Errorf("%s: %d %s", what, a.Status, a.Text)
		}
	}
	// Locks are removed from the innermost as from the outermost, whatever else they hold.
	for _, scope := range []string{sub, box + "/toys/t", box, group} {
		if a := r.Request("DELETE", scope+lockPath+"keep"+lockAPI, ""); a.Status != 200 {
			t.Errorf("%s: %d %s", scope, a.Status, a.Text)
		}
	}
	if a := r.Request("DELETE", group+lockPath+"keep"+lockAPI, ""); a.Status != 204 {
		t.Errorf("of nothing: %d", a.Status)
	}
}

// TestLocksHold: what each level refuses at each scope, and that the refusal is the last word whoever asks.
func TestLocksHold(t *testing.T) {
	r := newLocked(t)
	type try struct{ method, path, body string }
	reads := []try{{"GET", group + rgAPI, ""}, {"GET", box + boxAPI, ""}, {"GET", box + "/toys/t" + boxAPI, ""}, {"HEAD", group + rgAPI, ""}, {"GET", group + "/resources" + rgAPI, ""}}
	writes := []try{{"PUT", box + boxAPI, `{"location":"westeurope"}`}, {"PATCH", box + boxAPI, `{"tags":{"a":"b"}}`}, {"PUT", box + "/toys/new" + boxAPI, `{"properties":{}}`}, {"POST", box + "/listKeys" + boxAPI, ""}}
	deletes := []try{{"DELETE", box + "/toys/t" + boxAPI, ""}, {"DELETE", box + boxAPI, ""}, {"DELETE", group + rgAPI, ""}}
	held := func(what string, tries []try, want bool, scope string) {
		t.Helper()
		for _, c := range tries {
			a := r.Request(c.method, c.path, c.body)
			if !want && a.Status >= 300 || want && (a.Status != 409 || a.Code() != "ScopeLocked" || !strings.Contains(a.Text, "following scope(s) are locked: '"+scope+"'") || !strings.Contains(a.Text, "'the-lock'")) {
				t.Errorf("%s: %s %s: %d %s", what, c.method, c.path, a.Status, a.Text)
			}
		}
	}
	for _, scope := range []string{sub, group, box} {
		level := func(l string) {
			t.Helper()
			if a := r.Request("PUT", scope+lockPath+"the-lock"+lockAPI, `{"properties":{"level":"`+l+`"}}`); a.Status >= 300 {
				t.Fatal(a.Text)
			}
		}
		level("CanNotDelete")
		held("delete lock at "+scope, reads, false, scope)
		held("delete lock at "+scope, writes, false, scope)
		held("delete lock at "+scope, deletes, true, scope)
		level("ReadOnly")
		held("read-only at "+scope, reads, false, scope)
		held("read-only at "+scope, writes, true, scope)
		held("read-only at "+scope, deletes, true, scope)
		r.Must("DELETE", scope+lockPath+"the-lock"+lockAPI, "")
		held("without", writes, false, "")
	}
	// On a child: it cannot go, nor what it would go with; its siblings and the parent's writes are free.
	toy := box + "/toys/t"
	if a := r.Request("PUT", toy+lockPath+"the-lock"+lockAPI, `{"properties":{"level":"ReadOnly"}}`); a.Status != 201 {
		t.Fatal(a.Text)
	}
	held("on a child", deletes, true, toy)
	held("on a child", writes, false, "")
	held("its sibling", []try{{"DELETE", box + "/toys/new" + boxAPI, ""}}, false, "")
	held("itself", []try{{"PUT", toy + boxAPI, `{"properties":{}}`}}, true, toy)
	// The region's own work is not bound.
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return rp.Remove(tx, arm.MustParseID(toy)) }); err != nil {
		t.Error(err)
	}
	held("with the child its lock has gone", deletes[1:], false, "")
}

func TestLockNeedsItsPermission(t *testing.T) {
	r := newLocked(t)
	contributor := authz.Principal{ObjectID: "33333333-0000-0000-0000-000000000000", Name: "c", TenantID: rptest.Owner.TenantID}
	for _, verb := range []string{"write", "delete"} {
		r.Deny(contributor, "Microsoft.Authorization/locks/"+verb, "contributors may not")
	}
	path := group + lockPath + "l" + lockAPI
	if a := r.As(contributor, "PUT", path, `{"properties":{"level":"ReadOnly"}}`); a.Status != 403 {
		t.Errorf("PUT: %d %s", a.Status, a.Text)
	}
	r.Must("PUT", path, `{"properties":{"level":"ReadOnly"}}`)
	if a := r.As(contributor, "DELETE", path, ""); a.Status != 403 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	// A role is told before a lock.
	r.Deny(contributor, "Microsoft.Toys/boxes/delete", "no")
	if a := r.As(contributor, "DELETE", box+boxAPI, ""); a.Status != 403 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}
