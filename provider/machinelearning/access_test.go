package machinelearning_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/keyvault"
	"vauban.dev/provider/storage"
)

const foreign = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/partner/providers/Microsoft.Storage/storageAccounts/stforeign"

// TestKeysOfOthers: the service holds every account's key, and must lend none to whoever names an account.
func TestKeysOfOthers(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", foreign+"?api-version=2023-05-01", `{"location":"westeurope","sku":{"name":"Standard_LRS"},"kind":"StorageV2"}`)

	store := `{"properties":{"datastoreType":"AzureBlob","accountName":"stforeign","containerName":"secrets","credentials":{"credentialsType":"AccountKey"}}}`
	r.Must("PUT", mlw+"/datastores/theirs"+api, store)
	r.refused(400, "no secrets", "POST", mlw+"/datastores/theirs/listSecrets"+api, "")
	r.Must("POST", mlw+"/datastores/workspaceblobstore/listSecrets"+api, "")

	job := func(inputs string) string {
		return `{"properties":{"jobType":"Command","command":"cat","environmentId":"` + mlw + `/environments/e/versions/1","computeId":"` + mlw + `/computes/cpu",` + inputs + `}}`
	}
	r.Must("PUT", mlw+"/environments/e/versions/1"+api, `{"properties":{"image":"`+image+`"}}`)
	r.Must("PUT", mlw+"/computes/cpu"+api, `{"location":"westeurope","properties":{"computeType":"AmlCompute","properties":{"vmSize":"Standard_DS3_v2","scaleSettings":{"maxNodeCount":1}}}}`)
	for name, inputs := range map[string]string{
		"input by URL":       `"inputs":{"x":{"jobInputType":"uri_file","uri":"https://stforeign.blob.core.windows.net/secrets/a"}}`,
		"input by datastore": `"inputs":{"x":{"jobInputType":"uri_folder","uri":"azureml://datastores/theirs/paths/a"}}`,
		"output by URL":      `"outputs":{"x":{"jobOutputType":"uri_folder","uri":"https://stforeign.blob.core.windows.net/secrets/"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := r.Request("PUT", mlw+"/jobs/j-"+strings.ReplaceAll(name, " ", "-")+api, job(inputs))
			if a.Status != 403 || !strings.Contains(a.Text, "has no data role there") {
				t.Errorf("%d %s", a.Status, a.Text)
			}
		})
	}

	// With the key that its owner has stored, the datastore opens; no answer shows the key but listSecrets.
	key := base64.StdEncoding.EncodeToString([]byte("their key"))
	a := r.Must("PUT", mlw+"/datastores/theirs"+api, strings.Replace(store, `"credentialsType":"AccountKey"`, `"credentialsType":"AccountKey","secrets":{"secretsType":"AccountKey","key":"`+key+`"}`, 1))
	if strings.Contains(a.Text, key) || strings.Contains(r.Must("GET", mlw+"/datastores/theirs"+api, "").Text, key) {
		t.Error("an answer shows the stored key")
	}
	r.Must("PUT", mlw+"/jobs/j-stored"+api, job(`"inputs":{"x":{"jobInputType":"uri_folder","uri":"azureml://datastores/theirs/paths/a"}}`))
}

// TestWorkspaceOnOthers: the service writes into the account and the vault of a workspace by its own powers, so
// who makes a workspace needs the right to write them.
func TestWorkspaceOnOthers(t *testing.T) {
	r := newRig(t)
	guest := authz.Principal{ObjectID: "guest", Name: "guest", TenantID: rptest.Owner.TenantID}
	body := `{"location":"westeurope","properties":{"storageAccount":"` + account + `","keyVault":"` + vault + `"}}`
	for _, action := range []string{storage.AccountType + "/write", keyvault.VaultType + "/write"} {
		r := newRig(t)
		r.Deny(guest, action, "guest may not write it")
		a := r.As(guest, "PUT", strings.Replace(mlw, "/mlw", "/mine", 1)+api, body)
		if a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" || !strings.Contains(a.Text, action) {
			t.Errorf("%s: %d %s", action, a.Status, a.Text)
		}
		if a := r.As(guest, "PATCH", mlw+api, `{"tags":{"a":"b"}}`); a.Status != 200 {
			t.Errorf("tags of a workspace that has them: %d %s", a.Status, a.Text)
		}
	}
	if a := r.As(guest, "PUT", strings.Replace(mlw, "/mlw", "/mine", 1)+api, body); a.Status != 202 {
		t.Errorf("with the right: %d %s", a.Status, a.Text)
	}
}
