package resources_test

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/resources"
)

const toys = "?api-version=2024-01-01"

type part struct {
	Uses string `json:"uses,omitempty"`
}

// newWorkshop has two subscriptions with the groups a and b in the first and c in the second, parts with children, which
// can be moved, and anvils, which cannot.
func newWorkshop(t *testing.T) *rptest.Region {
	t.Helper()
	roles := &authz.Index{}
	p := resources.New(tenant, nil, roles)
	v := rp.Versions[part]("2024-01-01")
	regs := append(p.Types(), authorization.Locks(),
		rp.Of(rp.Type[part]{Name: "Microsoft.Toys/parts", Versions: v, Move: rp.Moved[part]}),
		rp.Of(rp.Type[part]{Name: "Microsoft.Toys/parts/screws", Kind: rp.Proxy, Versions: v}),
		rp.Of(rp.Type[part]{Name: "Microsoft.Toys/anvils", Versions: v}))
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, regs...)
	p.Attach(r.Engine)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		for _, s := range []string{one, two} {
			if err := resources.Ensure(tx, strings.TrimPrefix(s, "/subscriptions/"), s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, g := range []string{one + "/resourceGroups/a", one + "/resourceGroups/b", two + "/resourceGroups/c"} {
		r.Must("PUT", g+api, `{"location":"westeurope"}`)
	}
	return r
}

// part is a part's id, in a group's.
func partIn(group, name string) string { return group + "/providers/Microsoft.Toys/parts/" + name }

const (
	groupA = one + "/resourceGroups/a"
	groupB = one + "/resourceGroups/b"
	groupC = two + "/resourceGroups/c"
)

// move asks for one and waits: the first answer, and what the operation came to.
func move(r *rptest.Region, verb, from, to string, ids ...string) (rptest.Answer, rptest.Answer) {
	a := r.Request("POST", from+"/"+verb+api, fmt.Sprintf(`{"resources":["%s"],"targetResourceGroup":"%s"}`, strings.Join(ids, `","`), to))
	return a, r.Wait(a)
}

func TestMove(t *testing.T) {
	r := newWorkshop(t)
	r.Must("PUT", partIn(groupA, "p")+toys, `{"location":"westeurope","tags":{"k":"v"},"properties":{"color":"red"}}`)
	r.Must("PUT", partIn(groupA, "p")+"/screws/s"+toys, `{"properties":{"uses":"`+partIn(groupA, "P")+`"}}`)
	r.Must("PUT", partIn(groupA, "q")+toys, `{"location":"westeurope","properties":{"uses":"`+partIn(groupA, "p")+`/screws/s","also":["`+partIn(groupA, "pp")+`"]}}`)
	r.Must("PUT", partIn(groupA, "p")+"/providers/Microsoft.Authorization/locks/l?api-version=2016-09-01", `{"properties":{"level":"CanNotDelete"}}`)
	if a, end := move(r, "validateMoveResources", groupA, groupB, partIn(groupA, "p")); a.Status != 202 || end.String("status") != "Succeeded" {
		t.Fatalf("validate: %d %s %s", a.Status, a.Text, end.Text)
	}
	if a := r.Request("GET", partIn(groupA, "p")+toys, ""); a.Status != 200 {
		t.Fatalf("validated, and gone: %s", a.Text)
	}
	a, end := move(r, "moveResources", groupA, groupB, partIn(groupA, "P"))
	if a.Status != 202 || a.Header.Get("Location") == "" || end.String("status") != "Succeeded" {
		t.Fatalf("move: %d %v %s", a.Status, a.Header, end.Text)
	}
	if result := r.Request("GET", a.Header.Get("Location"), ""); result.Status != 204 {
		t.Errorf("its result: %d %s", result.Status, result.Text)
	}
	if a := r.Request("GET", partIn(groupA, "p")+toys, ""); a.Status != 404 {
		t.Errorf("the old id: %d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", partIn(groupB, "p")+toys, ""); a.String("id") != partIn(groupB, "p") || a.String("tags", "k") != "v" || a.String("properties", "color") != "red" {
		t.Errorf("the new one: %s", a.Text)
	}
	if a := r.Request("GET", partIn(groupB, "p")+"/screws/s"+toys, ""); a.String("properties", "uses") != partIn(groupB, "p") {
		t.Errorf("its child: %s", a.Text)
	}
	a = r.Request("GET", partIn(groupA, "q")+toys, "")
	if a.String("properties", "uses") != partIn(groupB, "p")+"/screws/s" || fmt.Sprint(a.At("properties", "also")) != "["+partIn(groupA, "pp")+"]" {
		t.Errorf("what uses it: %s", a.Text)
	}
	if a := r.Request("DELETE", partIn(groupB, "p")+toys, ""); a.Status != 409 || a.Code() != "ScopeLocked" {
		t.Errorf("its lock: %d %s", a.Status, a.Text)
	}
	if _, end := move(r, "moveResources", groupA, groupB, partIn(groupA, "p")); end.String("status") != "Succeeded" {
		t.Errorf("what has been moved, again: %s", end.Text)
	}
}

func TestMoveToAnotherSubscription(t *testing.T) {
	r := newWorkshop(t)
	r.Must("PUT", partIn(groupA, "p")+toys, `{"location":"westeurope"}`)
	r.Must("PUT", partIn(groupA, "q")+toys, `{"location":"westeurope","properties":{"uses":"`+partIn(groupA, "p")+`"}}`)
	for _, alone := range []string{"p", "q"} {
		_, end := move(r, "moveResources", groupA, groupC, partIn(groupA, alone))
		if end.String("error", "code") != "ResourceMoveProviderValidationFailed" || !strings.Contains(end.Text, "MissingMoveDependentResources") {
			t.Errorf("%s alone: %s", alone, end.Text)
		}
	}
	if _, end := move(r, "moveResources", groupA, groupC, partIn(groupA, "p"), partIn(groupA, "q")); end.String("status") != "Succeeded" {
		t.Fatalf("together: %s", end.Text)
	}
	if a := r.Request("GET", partIn(groupC, "q")+toys, ""); a.String("properties", "uses") != partIn(groupC, "p") {
		t.Errorf("%s", a.Text)
	}
}

func TestMoveRefusals(t *testing.T) {
	r := newWorkshop(t)
	anvil := groupA + "/providers/Microsoft.Toys/anvils/x"
	r.Must("PUT", partIn(groupA, "p")+toys, `{"location":"westeurope"}`)
	r.Must("PUT", partIn(groupB, "p")+toys, `{"location":"westeurope"}`)
	r.Must("PUT", partIn(groupA, "q")+toys, `{"location":"westeurope"}`)
	r.Must("PUT", anvil+toys, `{"location":"westeurope"}`)
	for what, c := range map[string]struct {
		to, id string
		status int
		code   string
	}{
		"no such group":      {one + "/resourceGroups/none", partIn(groupA, "p"), 404, "ResourceGroupNotFound"},
		"no group":           {partIn(groupA, "p"), partIn(groupA, "p"), 400, "InvalidTargetResourceGroup"},
		"the same group":     {groupA, partIn(groupA, "p"), 400, "InvalidTargetResourceGroup"},
		"a child":            {groupB, partIn(groupA, "p") + "/screws/s", 400, "InvalidMoveResources"},
		"of another group":   {groupC, partIn(groupB, "p"), 400, "InvalidMoveResources"},
		"not there":          {groupB, partIn(groupA, "none"), 202, "MoveResourcesNotFound"},
		"a taken name":       {groupB, partIn(groupA, "p"), 202, "ResourceMoveProviderValidationFailed"},
		"a type that stands": {groupB, anvil, 202, "ResourceMoveNotSupported"},
	} {
		a, end := move(r, "moveResources", groupA, c.to, c.id)
		if a.Status != c.status || a.Code() != c.code && end.String("error", "code") != c.code {
			t.Errorf("%s: %d %s %s, want %d %s", what, a.Status, a.Text, end.Text, c.status, c.code)
		}
	}
	lock := "/providers/Microsoft.Authorization/locks/l?api-version=2016-09-01"
	for _, scope := range []string{groupA, groupB, partIn(groupA, "q")} {
		r.Must("PUT", scope+lock, `{"properties":{"level":"ReadOnly"}}`)
		if a, _ := move(r, "moveResources", groupA, groupB, partIn(groupA, "q")); a.Status != 409 || a.Code() != "ScopeLocked" {
			t.Errorf("locked %s: %d %s", scope, a.Status, a.Text)
		}
		r.Must("DELETE", scope+lock, "")
	}
	stranger := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-3333-3333-3333-333333333333"}
	r.Deny(stranger, "Microsoft.Resources/subscriptions/resourceGroups/write", "he may not")
	if a := r.As(stranger, "POST", groupA+"/moveResources"+api, `{"resources":["`+partIn(groupA, "q")+`"],"targetResourceGroup":"`+groupB+`"}`); a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" {
		t.Errorf("without a right at the target: %d %s", a.Status, a.Text)
	}
}
