package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sub     = "/subscriptions/11111111-1111-1111-1111-111111111111"
	group   = sub + "/resourceGroups/rg"
	account = group + "/providers/Microsoft.Storage/storageAccounts/data"
	blobs   = account + "/blobServices/default/containers/c"

	readAccount  = "Microsoft.Storage/storageAccounts/read"
	writeAccount = "Microsoft.Storage/storageAccounts/write"
	readBlob     = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	assign       = "Microsoft.Authorization/roleAssignments/write"
)

func given(assignments ...Assignment) *Evaluator {
	x := new(Index)
	for i, a := range assignments {
		a.ID = fmt.Sprint("assignment", i)
		x.Put(a)
	}
	return &Evaluator{Source: x}
}

func to(who, role, scope string) Assignment {
	return Assignment{PrincipalID: who, Definition: role, Scope: scope}
}

func TestCheck(t *testing.T) {
	me := Principal{ObjectID: "Me", Groups: []string{"team"}}
	conditional := to("me", Owner, sub)
	conditional.Condition = "@Resource(x) StringEquals 'x'"
	for name, c := range map[string]struct {
		has  []Assignment
		ask  Request
		want Decision
	}{
		"granted at the subscription": {
			[]Assignment{to("me", Reader, sub)}, Request{Action: readAccount, Scope: account},
			Decision{Allowed: true, By: "role 'Reader' assigned at " + sub},
		},
		"granted at the resource, to a child, in other case": {
			[]Assignment{to("ME", "/providers/Microsoft.Authorization/roleDefinitions/"+strings.ToUpper(StorageBlobDataReader), strings.ToUpper(account))},
			Request{Action: strings.ToUpper(readBlob), Data: true, Scope: blobs},
			Decision{Allowed: true, By: "role 'Storage Blob Data Reader' assigned at " + strings.ToUpper(account)},
		},
		"granted at the root": {
			[]Assignment{to("me", Owner, "/")}, Request{Action: assign, Scope: account},
			Decision{Allowed: true, By: "role 'Owner' assigned at /"},
		},
		"granted to a group": {
			[]Assignment{to("team", Contributor, group)}, Request{Action: writeAccount, Scope: account},
			Decision{Allowed: true, By: "role 'Contributor' assigned at " + group},
		},
		"second assignment grants": {
			[]Assignment{to("me", Reader, sub), to("me", Contributor, account)}, Request{Action: writeAccount, Scope: account},
			Decision{Allowed: true, By: "role 'Contributor' assigned at " + account},
		},
		"notActions of one role do not take from another": {
			[]Assignment{to("me", Contributor, sub), to("me", UserAccessAdministrator, sub)}, Request{Action: assign, Scope: account},
			Decision{Allowed: true, By: "role 'User Access Administrator' assigned at " + sub},
		},
		"nothing assigned": {
			nil, Request{Action: readAccount, Scope: account},
			Decision{Allowed: false, By: "this principal has no role assignment"},
		},
		"assigned elsewhere": {
			[]Assignment{to("me", Contributor, sub+"/resourceGroups/other"), to("me", Reader, group+"/providers/Microsoft.Network/virtualNetworks/v")},
			Request{Action: writeAccount, Scope: account},
			Decision{Allowed: false, By: "no role assignment of this principal reaches this scope; nearest: role 'Reader' at " + group + "/providers/Microsoft.Network/virtualNetworks/v lacks " + writeAccount},
		},
		"a name that another begins with": {
			[]Assignment{to("me", Owner, group)}, Request{Action: readAccount, Scope: group + "2"},
			Decision{Allowed: false, By: "no role assignment of this principal reaches this scope; nearest: role 'Owner' at " + group},
		},
		"the role lacks it": {
			[]Assignment{to("me", Reader, sub)}, Request{Action: writeAccount, Scope: account},
			Decision{Allowed: false, By: "role 'Reader' assigned at " + sub + " lacks " + writeAccount},
		},
		"the role excepts it": {
			[]Assignment{to("me", Contributor, sub)}, Request{Action: assign, Scope: account},
			Decision{Allowed: false, By: "role 'Contributor' assigned at " + sub + " excepts " + assign + " by notActions 'Microsoft.Authorization/*/Write'"},
		},
		"owner reads no data": {
			[]Assignment{to("me", Owner, sub)}, Request{Action: readBlob, Data: true, Scope: blobs},
			Decision{Allowed: false, By: "role 'Owner' assigned at " + sub + " lacks data action " + readBlob + " (its actions do not reach the data plane)"},
		},
		"data role manages nothing": {
			[]Assignment{to("me", StorageBlobDataReader, sub)}, Request{Action: writeAccount, Scope: account},
			Decision{Allowed: false, By: "role 'Storage Blob Data Reader' assigned at " + sub + " lacks " + writeAccount},
		},
		"conditions fail closed": {
			[]Assignment{conditional}, Request{Action: readAccount, Scope: account},
			Decision{Allowed: false, By: "role 'Owner' assigned at " + sub + " has a condition that does not hold: it cannot be read, at character 1: an attribute is written @Source[name]"},
		},
		"role that does not exist": {
			[]Assignment{to("me", "00000000-0000-0000-0000-00000000000a", sub)}, Request{Action: readAccount, Scope: account},
			Decision{Allowed: false, By: "role 00000000-0000-0000-0000-00000000000a assigned at " + sub + " does not exist"},
		},
		"no scope": {
			[]Assignment{to("me", Owner, "/")}, Request{Action: readAccount, Scope: ""},
			Decision{Allowed: false, By: "the request names no action or no scope"},
		},
		"assigned at no scope": {
			[]Assignment{to("me", Owner, "")}, Request{Action: readAccount, Scope: account},
			Decision{Allowed: false, By: "no role assignment of this principal reaches this scope; nearest: role 'Owner' at "},
		},
		"an action with a wildcard": {
			[]Assignment{to("me", Owner, "/")}, Request{Action: "*", Scope: account},
			Decision{Allowed: false, By: "the action * holds a wildcard; only roles may"},
		},
		"many that lack it": {
			[]Assignment{to("me", Reader, "/"), to("me", Reader, sub), to("team", Reader, group), to("me", Reader, account), to("me", AcrPull, sub)},
			Request{Action: writeAccount, Scope: account},
			Decision{Allowed: false, By: "role 'Reader' assigned at / lacks " + writeAccount + "; role 'Reader' assigned at " + sub + " lacks " + writeAccount + "; role 'AcrPull' assigned at " + sub + " lacks " + writeAccount + "; and 2 more role assignments that do not grant it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := given(c.has...).Check(context.Background(), me, c.ask)
			if err != nil {
				t.Fatal(err)
			}
			got.Why = nil // TestExplain
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type tree map[string][]string

func (h tree) ManagementGroups(_ context.Context, id string) ([]string, error) {
	if id == "/subscriptions/broken" {
		return nil, errors.New("broken")
	}
	return h[id], nil
}

func TestManagementGroups(t *testing.T) {
	const mg = "/providers/Microsoft.Management/managementGroups/"
	e := given(to("me", Reader, mg+"Corp"))
	e.Hierarchy = tree{"/subscriptions/11111111-1111-1111-1111-111111111111": {mg + "teams", mg + "corp"}, mg + "teams": {mg + "corp"}}
	for scope, want := range map[string]bool{
		account: true, sub: true,
		mg + "corp":  true,
		mg + "teams": true,
		mg + "teams/providers/Microsoft.Authorization/roleAssignments/x": true,
		mg + "corporate":           false,
		"/subscriptions/elsewhere": false,
	} {
		d, err := e.Check(context.Background(), Principal{ObjectID: "me"}, Request{Action: readAccount, Scope: scope})
		if err != nil || d.Allowed != want {
			t.Errorf("%s: %v %v, want %v", scope, d, err, want)
		}
	}
	if _, err := e.Check(context.Background(), Principal{ObjectID: "me"}, Request{Action: readAccount, Scope: "/subscriptions/broken/x"}); err == nil {
		t.Error("a hierarchy that fails must fail the check")
	}
}

type failing struct{ Index }

func (*failing) Assignments(context.Context, []string) ([]Assignment, error) {
	return []Assignment{{Scope: "/", Definition: "x"}}, nil
}

func (f *failing) AssignmentsAt(ctx context.Context, ids, _ []string) ([]Assignment, error) {
	return f.Assignments(ctx, ids)
}

func (*failing) Definition(context.Context, string) (Definition, bool, error) {
	return Definition{}, false, errors.New("disk")
}

func TestChecksThatCannotBeMade(t *testing.T) {
	ask := Request{Action: readAccount, Scope: account}
	if _, err := (&Evaluator{}).Check(context.Background(), Principal{ObjectID: "me"}, ask); err == nil {
		t.Error("no source: want an error")
	}
	if _, err := (&Evaluator{Source: new(failing)}).Check(context.Background(), Principal{ObjectID: "me"}, ask); err == nil {
		t.Error("unreadable definition: want an error")
	}
	d, err := given(to("", Owner, "/")).Check(context.Background(), Principal{}, ask)
	if err != nil || d.Allowed {
		t.Errorf("nobody: %v %v", d, err)
	}
}

func TestIndex(t *testing.T) {
	x, ctx := new(Index), context.Background()
	x.Put(Assignment{ID: "/A", PrincipalID: "p", Definition: Reader, Scope: "/"})
	x.Put(Assignment{ID: "/b", PrincipalID: "p", Definition: Owner, Scope: "/"})
	held, _ := x.Assignments(ctx, []string{"P"})
	x.Put(Assignment{ID: "/a", PrincipalID: "q", Definition: Reader, Scope: "/"}) // moves
	x.Remove("/B")
	x.Remove("/b")
	if len(held) != 2 || held[0].ID != "/A" || held[1].ID != "/b" {
		t.Errorf("what a reader holds has changed: %v", held)
	}
	if p, _ := x.Assignments(ctx, []string{"p"}); len(p) != 0 {
		t.Errorf("p still has %v", p)
	}
	if q, _ := x.Assignments(ctx, []string{"p", "q", "r"}); len(q) != 1 {
		t.Errorf("q has %v", q)
	}
	custom := Definition{Name: "CUSTOM", RoleName: "Mine", Permissions: []Permission{{Actions: []string{"*"}}}}
	x.PutDefinition(custom)
	x.PutDefinition(Definition{Name: Reader, RoleName: "Forged", Permissions: []Permission{{Actions: []string{"*"}}}})
	if d, ok, _ := x.Definition(ctx, "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/custom"); !ok || !d.Grants("a/b", false) {
		t.Errorf("custom role: %v %v", d, ok)
	}
	if d, _, _ := x.Definition(ctx, Reader); d.RoleName != "Reader" {
		t.Error("a custom role has replaced a built-in one")
	}
	x.RemoveDefinition("custom")
	if _, ok, _ := x.Definition(ctx, "custom"); ok {
		t.Error("removed role is still there")
	}
}

func TestIndexConcurrently(t *testing.T) {
	x := new(Index)
	e := &Evaluator{Source: x}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				id := fmt.Sprint(i, "/", j%10)
				x.Put(Assignment{ID: id, PrincipalID: "p", Definition: Reader, Scope: "/"})
				if d, err := e.Check(context.Background(), Principal{ObjectID: "p"}, Request{Action: "a/read", Scope: "/x"}); err != nil || !d.Allowed {
					t.Errorf("%v %v", d, err)
				}
				if j%3 == 0 {
					x.Remove(id)
					x.Put(Assignment{ID: id, PrincipalID: "p", Definition: Reader, Scope: "/"})
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCheck(b *testing.B) {
	x := new(Index)
	for i := range 10_000 { // other people's
		x.Put(Assignment{ID: fmt.Sprint("o", i), PrincipalID: fmt.Sprint("p", i%1000), Definition: Reader, Scope: fmt.Sprint("/subscriptions/", i)})
	}
	for i := range 20 {
		x.Put(Assignment{ID: fmt.Sprint("m", i), PrincipalID: "me", Definition: AzureMLDataScientist, Scope: fmt.Sprint(sub, "/resourceGroups/g", i)})
	}
	x.Put(Assignment{ID: "last", PrincipalID: "me", Definition: Contributor, Scope: group})
	e, ctx, me := &Evaluator{Source: x}, context.Background(), Principal{ObjectID: "me"}
	for name, action := range map[string]string{"allowed": writeAccount, "refused": assign} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := e.Check(ctx, me, Request{Action: action, Scope: account}); err != nil || d.Allowed != (name == "allowed") {
					b.Fatal(d, err)
				}
			}
		})
	}
}
