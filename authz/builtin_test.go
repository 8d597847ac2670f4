package authz

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestBuiltin(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Builtins() {
		if _, err := uuid.Parse(d.Name); err != nil || seen[d.RoleName] || d.RoleName == "" || len(d.Permissions) == 0 {
			t.Errorf("bad definition %+v", d)
		}
		seen[d.RoleName] = true
		for _, p := range d.Permissions {
			for _, a := range append(append(p.Actions, p.NotActions...), append(p.DataActions, p.NotDataActions...)...) {
				if strings.TrimSpace(a) != a || a == "" || (a != "*" && !strings.Contains(a, "/")) {
					t.Errorf("%s: bad action %q", d.RoleName, a)
				}
			}
		}
	}
	// the ids and the limits that the region's own assignments rest on
	for id, want := range map[string]struct {
		name        string
		can, cannot []string // "data " before a data action
	}{
		Owner:                     {"Owner", []string{assign, writeAccount}, []string{"data " + readBlob}},
		Contributor:               {"Contributor", []string{writeAccount, readAccount}, []string{assign, "data " + readBlob, "Microsoft.Authorization/locks/delete"}},
		Reader:                    {"Reader", []string{readAccount, "Microsoft.Authorization/roleAssignments/read"}, []string{writeAccount, "Microsoft.Storage/storageAccounts/listKeys/action", "data " + readBlob}},
		UserAccessAdministrator:   {"User Access Administrator", []string{assign, readAccount}, []string{writeAccount}},
		NetworkContributor:        {"Network Contributor", []string{"Microsoft.Network/virtualNetworks/subnets/join/action"}, []string{writeAccount, assign}},
		StorageAccountContributor: {"Storage Account Contributor", []string{writeAccount, "Microsoft.Storage/storageAccounts/listKeys/action"}, []string{assign, "data " + readBlob}},
		StorageBlobDataOwner:      {"Storage Blob Data Owner", []string{"data Microsoft.Storage/storageAccounts/blobServices/containers/blobs/manageOwnership/action"}, []string{readAccount}},
		StorageBlobDataContrib:    {"Storage Blob Data Contributor", []string{"data " + readBlob, "data Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"}, []string{"data Microsoft.Storage/storageAccounts/blobServices/containers/blobs/manageOwnership/action"}},
		StorageBlobDataReader:     {"Storage Blob Data Reader", []string{"data " + readBlob}, []string{"data Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"}},
		StorageFilePrivileged:     {"Storage File Data Privileged Contributor", nil, []string{"data " + readBlob}},
		KeyVaultAdministrator:     {"Key Vault Administrator", []string{"data Microsoft.KeyVault/vaults/secrets/purge/action"}, []string{"Microsoft.KeyVault/vaults/write"}},
		KeyVaultSecretsOfficer:    {"Key Vault Secrets Officer", []string{"data Microsoft.KeyVault/vaults/secrets/setSecret/action"}, []string{"data Microsoft.KeyVault/vaults/keys/read"}},
		KeyVaultSecretsUser:       {"Key Vault Secrets User", []string{"data Microsoft.KeyVault/vaults/secrets/getSecret/action"}, []string{"data Microsoft.KeyVault/vaults/secrets/setSecret/action"}},
		AzureMLDataScientist:      {"AzureML Data Scientist", []string{"Microsoft.MachineLearningServices/workspaces/jobs/write", "Microsoft.MachineLearningServices/workspaces/read"}, []string{"Microsoft.MachineLearningServices/workspaces/write", "Microsoft.MachineLearningServices/workspaces/computes/write", "Microsoft.MachineLearningServices/workspaces/delete"}},
		AcrPull:                   {"AcrPull", []string{"Microsoft.ContainerRegistry/registries/pull/read"}, []string{"Microsoft.ContainerRegistry/registries/push/write"}},
	} {
		d, ok := Builtin("/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/" + strings.ToUpper(id))
		if !ok {
			t.Errorf("%s is not there", want.name)
			continue
		}
		if diff := cmp.Diff(want.name, d.RoleName); diff != "" {
			t.Error(diff)
		}
		for i, list := range [][]string{want.can, want.cannot} {
			for _, a := range list {
				action, data := strings.CutPrefix(a, "data ")
				if got := d.Grants(action, data); got != (i == 0) {
					t.Errorf("%s grants %s: %v", d.RoleName, a, got)
				}
			}
		}
	}
}

func TestParseBuiltinRefuses(t *testing.T) {
	for _, text := range []string{`{`, `[{"name":""}]`, `[{"name":"A"}]`, `[{"name":"a"},{"name":"a"}]`} {
		if _, err := parseBuiltin([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
