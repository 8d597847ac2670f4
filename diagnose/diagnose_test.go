package diagnose

import (
	"encoding/json"
	"strings"
	"testing"

	"vauban.dev/authz"
)

func TestRun(t *testing.T) {
	const group = "/subscriptions/s/resourceGroups/g"
	for _, c := range []struct {
		name string
		w    Workspace
		want map[string]string // list → code, level
	}{
		{"healthy", Workspace{Public: true, Clusters: 1, Parts: []Part{{Kind: KeyVault, Location: "here"}}, Location: "HERE",
			Locks: []Lock{{ID: "l", Scope: group + "/providers/Microsoft.KeyVault/vaults/v"}}}, nil},
		{"nobody gets in", Workspace{Endpoints: []Endpoint{{ID: "e", State: "Pending"}}}, map[string]string{"otherResults": "PrivateEndpointNotApproved Error,WorkspaceUnreachable Error"}},
		{"an endpoint is enough", Workspace{Endpoints: []Endpoint{{ID: "e", State: "Approved"}}}, nil},
		{"a lock on the group, and no cluster", Workspace{Public: true, Locks: []Lock{{ID: "l", Scope: group, Group: true}}}, nil},
		{"a lock on the group", Workspace{Public: true, Clusters: 1, Locks: []Lock{{ID: "l", Scope: group, Group: true}}}, map[string]string{"resourceLockResults": "DeleteLockBlocksScaling Error"}},
		{"parts", Workspace{Public: true, Location: "here", Parts: []Part{
			{Kind: StorageAccount, Location: "there", Grants: []Grant{{Role: "r", At: "a", Decision: authz.Decision{By: "nothing grants it."}}}},
			{Kind: ContainerRegistry, Missing: "does not exist"},
		}}, map[string]string{"storageAccountResults": "StorageAccountAccessDenied Error,StorageAccountInAnotherRegion Information", "containerRegistryResults": "ContainerRegistryNotFound Error"}},
		{"a full subnet", Workspace{Public: true, Full: []string{"s"}}, map[string]string{"otherResults": "SubnetFull Error"}},
		{"once each", Workspace{Public: true, Unregistered: []string{"A.B", "A.B"}}, map[string]string{"otherResults": "ResourceProviderNotRegistered Error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Run(t.Context(), &c.w, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var lists map[string][]Result
			if err := json.Unmarshal(b, &lists); err != nil || len(lists) != 9 || strings.Contains(string(b), "null") {
				t.Fatalf("%v %s", err, b)
			}
			for name, list := range lists {
				var got []string
				for _, x := range list {
					got = append(got, x.Code+" "+string(x.Level))
				}
				if text := strings.Join(got, ","); text != c.want[name] {
					t.Errorf("%s: %q, want %q", name, text, c.want[name])
				}
			}
		})
	}
}
