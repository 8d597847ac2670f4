package authz

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestExplain(t *testing.T) {
	me := Principal{ObjectID: "me", Groups: []string{"team"}}
	const definitions = "/providers/Microsoft.Authorization/roleDefinitions/"
	for name, c := range map[string]struct {
		has  []Assignment
		ask  Request
		want Explanation
	}{
		"granted through a group": {
			[]Assignment{to("me", Reader, sub), to("team", definitions+Contributor, group)},
			Request{Action: writeAccount, Scope: account},
			Explanation{Allowed: true, Reason: "role 'Contributor' assigned at " + group, Considered: []Considered{
				{Assignment: "assignment1", Role: "Contributor", Definition: definitions + Contributor, Scope: group, Group: "team", Outcome: Grants},
				{Assignment: "assignment0", Role: "Reader", Definition: Reader, Scope: sub, Outcome: Lacks},
			}},
		},
		"excepted": {
			[]Assignment{to("me", Contributor, sub)},
			Request{Action: assign, Scope: account},
			Explanation{Reason: "role 'Contributor' assigned at " + sub + " excepts " + assign + " by notActions 'Microsoft.Authorization/*/Write'",
				Considered: []Considered{{Assignment: "assignment0", Role: "Contributor", Definition: Contributor, Scope: sub, Outcome: Excepts, ExceptedBy: "Microsoft.Authorization/*/Write"}},
				Would:      &RoleHint{Role: "Role Based Access Control Administrator", Definition: "f58310d9-a9f6-439a-9e8d-f62e7b41a168", Scope: account}},
		},
		"elsewhere": {
			[]Assignment{to("me", StorageBlobDataReader, sub+"/resourceGroups/other")},
			Request{Action: readBlob, Data: true, Scope: blobs},
			Explanation{Reason: "no role assignment of this principal reaches this scope; nearest: role 'Storage Blob Data Reader' at " + sub + "/resourceGroups/other",
				Nearest: &Considered{Assignment: "assignment0", Role: "Storage Blob Data Reader", Definition: StorageBlobDataReader, Scope: sub + "/resourceGroups/other", Outcome: OutOfScope},
				Would:   &RoleHint{Role: "Storage Blob Data Reader", Definition: StorageBlobDataReader, Scope: blobs}},
		},
		"an action that no role has": {
			[]Assignment{to("me", Reader, sub)},
			Request{Action: "Contoso.Nothing/things/read", Data: true, Scope: account},
			Explanation{Reason: "role 'Reader' assigned at " + sub + " lacks data action Contoso.Nothing/things/read (its actions do not reach the data plane)",
				Considered: []Considered{{Assignment: "assignment0", Role: "Reader", Definition: Reader, Scope: sub, Outcome: OtherPlane}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Principal, c.want.Action, c.want.Data, c.want.Scope = "me", c.ask.Action, c.ask.Data, c.ask.Scope
			e := given(c.has...)
			got, err := e.Explain(context.Background(), me, c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(Considered{})); diff != "" {
				t.Error(diff)
			}
			d, err := e.Check(context.Background(), me, c.ask)
			if err != nil || d.Allowed != got.Allowed || d.By != got.Reason {
				t.Errorf("Check says otherwise: %+v %v", d, err)
			}
		})
	}
}

// TestWouldGrant: the role that is named grants what was refused.
func TestWouldGrant(t *testing.T) {
	for plane, list := range known() {
		for i := 0; i < len(list); i += 17 {
			action := list[i]
			id := narrowest(action, plane == 1)
			d, ok := Builtin(id)
			if ok && !d.Grants(action, plane == 1) || !ok && plane == 0 { // Owner has every action
				t.Fatalf("%s: %q", action, d.RoleName)
			}
		}
	}
}

func TestNarrowest(t *testing.T) {
	for action, want := range map[string]string{
		writeAccount: "Storage Account Contributor", readAccount: "Reader", "D " + readBlob: "Storage Blob Data Reader",
		"Microsoft.Network/virtualNetworks/subnets/join/action":          "Network Contributor",
		"Microsoft.MachineLearningServices/workspaces/jobs/write":        "AzureML Data Scientist",
		"D Microsoft.KeyVault/vaults/secrets/getSecret/action":           "Key Vault Secrets User",
		"Microsoft.Resources/subscriptions/resourceGroups/write":         "Contributor",
		"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action": "Managed Identity Operator",
	} {
		name, data := strings.CutPrefix(action, "D ")
		if d, _ := Builtin(narrowest(lower(name), data)); d.RoleName != want {
			t.Errorf("%s: %q, want %q", action, d.RoleName, want)
		}
	}
}

func TestKnownAction(t *testing.T) {
	for action, want := range map[string]bool{
		"*": true, "*/read": true, "Microsoft.Network/*": true, "microsoft.network/virtualnetworks/subnets/join/ACTION": true,
		"Microsoft.Network/virtualNetworks/subnet/join/action": false, // the misprint of the specification
		"Microsoft.Network/virtualNetworks/subnet/*":           false,
		"Microsoft.Network/virtualNetworks/*/join/action":      true,
		"Microsoft.MachineLearningServices/workspaces/*/read":  true,
		"Contoso.Nothing/*":               false,
		"Microsoft.Authorization/*/Write": true,
		readBlob:                          false, // a data action
	} {
		if got := KnownAction(action, false); got != want {
			t.Errorf("%s: %v", action, got)
		}
	}
	if !KnownAction(readBlob, true) || !KnownAction("Microsoft.Storage/*", true) || KnownAction(readAccount, true) {
		t.Error("data actions")
	}
	if !KnownNamespace("microsoft.storage") || KnownNamespace("Microsoft.Stor") || KnownNamespace("") {
		t.Error("namespaces")
	}
}
