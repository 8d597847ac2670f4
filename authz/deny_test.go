package authz

import (
	"context"
	"strings"
	"testing"
)

func TestDenyAssignments(t *testing.T) {
	const mg = "/providers/Microsoft.Management/managementGroups/corp"
	me := Principal{ObjectID: "me", Groups: []string{"team"}}
	deny := func(scope string, principals, exclude []string, actions ...string) DenyAssignment {
		return DenyAssignment{ID: "/d", Name: "Locked", Scope: scope, Principals: principals, Exclude: exclude, Permissions: []Permission{{Actions: actions}}}
	}
	only := deny(sub, []string{Everyone}, nil, "*")
	only.OnlyScope = true
	data := deny(group, []string{Everyone}, nil)
	data.Permissions[0].DataActions = []string{"*"}
	except := deny(group, []string{Everyone}, nil, "*")
	except.Permissions[0].NotActions = []string{"*/read"}
	for name, c := range map[string]struct {
		deny          DenyAssignment
		action, scope string
		data          bool
		refused       bool
	}{
		"everyone, below":          {deny(group, []string{Everyone}, nil, "*/write"), writeAccount, account, false, true},
		"another action":           {deny(group, []string{Everyone}, nil, "*/write"), readAccount, account, false, false},
		"another group":            {deny(group+"2", []string{Everyone}, nil, "*"), writeAccount, account, false, false},
		"above":                    {deny(account, []string{Everyone}, nil, "*"), "Microsoft.Resources/subscriptions/resourceGroups/read", group, false, false},
		"by object id":             {deny(group, []string{"ME"}, nil, "*"), writeAccount, account, false, true},
		"by group":                 {deny(group, []string{"team"}, nil, "*"), writeAccount, account, false, true},
		"somebody else":            {deny(group, []string{"you"}, nil, "*"), writeAccount, account, false, false},
		"excluded":                 {deny(group, []string{Everyone}, []string{"Me"}, "*"), writeAccount, account, false, false},
		"excluded by group":        {deny(group, []string{Everyone}, []string{"team"}, "*"), writeAccount, account, false, false},
		"by notActions not":        {except, readAccount, account, false, false},
		"by notActions":            {except, writeAccount, account, false, true},
		"data":                     {data, readBlob, blobs, true, true},
		"data only":                {data, writeAccount, account, false, false},
		"this scope only, a child": {only, writeAccount, account, false, false},
		"this scope only":          {only, "Microsoft.Resources/subscriptions/read", sub, false, true},
		"at a management group":    {deny(mg, []string{Everyone}, nil, "*"), writeAccount, account, false, true},
		"at no scope":              {deny("", []string{Everyone}, nil, "*"), writeAccount, account, false, false},
		"of no principal":          {deny(group, nil, nil, "*"), writeAccount, account, false, false},
	} {
		e := given(to("me", Owner, "/"), to("me", StorageBlobDataOwner, "/"))
		e.Hierarchy = tree{sub: {mg}}
		e.Source.(*Index).PutDenial(c.deny)
		d, err := e.Check(context.Background(), me, Request{Action: c.action, Data: c.data, Scope: c.scope})
		if err != nil || d.Allowed == c.refused {
			t.Errorf("%s: %+v %v", name, d, err)
		}
		if c.refused && (d.Why.Denied == nil || d.Why.Denied.Name != "Locked" || !strings.Contains(d.By, "deny assignment 'Locked' at ")) {
			t.Errorf("%s: %+v", name, d)
		}
		e.Source.(*Index).RemoveDenial("/D")
		if d, _ := e.Check(context.Background(), me, Request{Action: c.action, Data: c.data, Scope: c.scope}); !d.Allowed {
			t.Errorf("%s: removed, and still %s", name, d.By)
		}
	}
}

// people is a Directory.
type people struct {
	groups     map[string][]string
	attributes map[string][]string
}

func (p people) MemberOf(_ context.Context, id string) ([]string, error) { return p.groups[id], nil }

func (p people) SecurityAttribute(_ context.Context, id, name string) ([]string, bool, error) {
	v, ok := p.attributes[id+" "+name]
	return v, ok, nil
}

// TestDirectoryDecides: membership and attributes are those of the directory now, whatever the token says.
func TestDirectoryDecides(t *testing.T) {
	limited := to("team", Contributor, sub)
	limited.Condition = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Engineering_Project] ForAnyOfAnyValues:StringEquals {'Cascade'}"
	for name, c := range map[string]struct {
		directory Directory
		want      bool
	}{
		"no directory":     {nil, false}, // the token's group counts, the attribute is not known
		"in the group":     {people{map[string][]string{"me": {"team"}}, map[string][]string{"me Engineering_Project": {"Baker", "Cascade"}}}, true},
		"other attribute":  {people{map[string][]string{"me": {"team"}}, map[string][]string{"me Engineering_Project": {"Baker"}}}, false},
		"no attribute":     {people{map[string][]string{"me": {"team"}}, nil}, false},
		"not in the group": {people{nil, map[string][]string{"me Engineering_Project": {"Cascade"}}}, false},
	} {
		e := given(limited)
		e.Directory = c.directory
		d, err := e.Check(context.Background(), Principal{ObjectID: "me", Groups: []string{"team"}}, Request{Action: writeAccount, Scope: account})
		if err != nil || d.Allowed != c.want {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
}
