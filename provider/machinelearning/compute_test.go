package machinelearning_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

const (
	cpu    = mlw + "/computes/cpu"
	subnet = group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/training"
)

// aml is the body of a cluster with these properties.
func aml(properties string) string {
	return `{"location":"westeurope","properties":{"computeType":"AmlCompute","properties":{` + properties + `}}}`
}

const sized = `"vmSize":"Standard_DS3_v2","scaleSettings":{"maxNodeCount":2}`

func TestComputeShape(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", cpu+api, `{"location":"westeurope","tags":{"a":"b"},"properties":{"computeType":"AmlCompute","description":"d","properties":{
		"vmSize":"STANDARD_DS3_V2","scaleSettings":{"minNodeCount":0,"maxNodeCount":4,"nodeIdleTimeBeforeScaleDown":"PT5M"},"subnet":{"id":"`+subnet+`"},"remoteLoginPortPublicAccess":"Enabled",
		"userAccountCredentials":{"adminUserName":"azureuser","adminUserPassword":"hunter2","adminUserSshPublicKey":"ssh-rsa AAAA"},"currentNodeCount":9,"allocationState":"mine"}}}`)
	got := r.Must("GET", cpu+api, "")
	created, _ := got.At("properties", "createdOn").(string)
	want := map[string]any{
		"id": cpu, "name": "cpu", "type": "Microsoft.MachineLearningServices/workspaces/computes", "location": "westeurope", "tags": map[string]any{"a": "b"}, "systemData": got.At("systemData"),
		"properties": map[string]any{
			"computeType": "AmlCompute", "computeLocation": "westeurope", "description": "d", "provisioningState": "Succeeded", "isAttachedCompute": false, "resourceId": nil,
			"createdOn": created, "modifiedOn": created, "provisioningErrors": nil,
			"properties": map[string]any{
				"vmSize": "STANDARD_DS3_V2", "vmPriority": "Dedicated", "osType": "Linux", "enableNodePublicIp": true, "remoteLoginPortPublicAccess": "Enabled",
				"scaleSettings":          map[string]any{"minNodeCount": 0.0, "maxNodeCount": 4.0, "nodeIdleTimeBeforeScaleDown": "PT5M"},
				"subnet":                 map[string]any{"id": subnet},
				"userAccountCredentials": map[string]any{"adminUserName": "azureuser", "adminUserSshPublicKey": "ssh-rsa AAAA"},
				"allocationState":        "Steady", "allocationStateTransitionTime": created, "currentNodeCount": 0.0, "targetNodeCount": 0.0, "errors": []any{},
				"nodeStateCounts": map[string]any{"idleNodeCount": 0.0, "runningNodeCount": 0.0, "preparingNodeCount": 0.0, "unusableNodeCount": 0.0, "leavingNodeCount": 0.0, "preemptedNodeCount": 0.0},
			},
		},
	}
	if d := cmp.Diff(want, got.Body); d != "" {
		t.Errorf("GET (-want +got):\n%s", d)
	}
	list := r.Must("GET", mlw+"/computes"+api, "")
	patched := r.Must("PATCH", cpu+api, `{"properties":{"properties":{"scaleSettings":{"maxNodeCount":3}}}}`)
	for _, text := range []string{got.Text, list.Text, patched.Text} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password is shown: %s", text)
		}
	}
	if patched.At("properties", "properties", "scaleSettings", "maxNodeCount") != 3.0 || patched.String("properties", "properties", "scaleSettings", "nodeIdleTimeBeforeScaleDown") != "PT5M" {
		t.Errorf("PATCH: %s", patched.Text)
	}
	if nodes := r.Must("POST", cpu+"/listNodes"+api, ""); strings.TrimSpace(nodes.Text) != `{"nodes":[]}` {
		t.Errorf("listNodes: %s", nodes.Text)
	}
}

func TestComputeRefusals(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"location":"westeurope","properties":{}}`, 400, "computeType is missing"},
		{`{"location":"westeurope","properties":{"computeType":"ComputeInstance","properties":{}}}`, 400, "vmSize is missing"},
		{`{"location":"westeurope","properties":{"computeType":"Abacus"}}`, 400, "none of AKS, AmlCompute, ComputeInstance"},
		{`{"location":"westeurope","properties":{"computeType":"AKS","resourceId":"x"}}`, 400, "'x' is not a resource id"},
		{`{"location":"westeurope","properties":{"computeType":"AmlCompute"}}`, 400, "properties.properties of an AmlCompute is missing"},
		{aml(`"scaleSettings":{"maxNodeCount":1}`), 400, "vmSize is missing"},
		{aml(`"vmSize":"Standard_XXL"`), 400, "vmSize 'Standard_XXL' is not available in location 'westeurope'"},
		{aml(`"vmSize":"Standard_DS3_v2","scaleSettings":{"minNodeCount":3,"maxNodeCount":2}`), 400, "minNodeCount (3) ≤ maxNodeCount (2)"},
		{aml(`"vmSize":"Standard_DS3_v2","scaleSettings":{"minNodeCount":-1,"maxNodeCount":2}`), 400, "minNodeCount (-1)"},
		{aml(`"vmSize":"Standard_DS3_v2","scaleSettings":{"maxNodeCount":0}`), 400, "maxNodeCount (0)"},
		{aml(`"vmSize":"Standard_DS3_v2","scaleSettings":{"maxNodeCount":101}`), 400, "maxNodeCount (101)"},
		{aml(`"vmSize":"Standard_DS3_v2","scaleSettings":{"maxNodeCount":1,"nodeIdleTimeBeforeScaleDown":"2 minutes"}`), 400, "'2 minutes' is not an ISO 8601 duration"},
		{aml(`"vmSize":"Standard_DS3_v2","scaleSettings":{"maxNodeCount":"many"}`), 400, "properties.scaleSettings.maxNodeCount"},
		{aml(sized + `,"osType":"Windows"`), 501, "osType 'Windows'"},
		{aml(sized + `,"vmPriority":"LowPriority"`), 501, "vmPriority 'LowPriority'"},
		{aml(sized + `,"remoteLoginPortPublicAccess":"Maybe"`), 400, "remoteLoginPortPublicAccess 'Maybe'"},
		{aml(sized + `,"userAccountCredentials":{"adminUserName":"a"}`), 400, "userAccountCredentials needs"},
		{aml(sized + `,"subnet":{"id":"training"}`), 400, "subnet.id 'training' is not the id of a subnet"},
		{aml(sized + `,"subnet":{"id":"` + account + `"}`), 400, "is not the id of a subnet"},
		{aml(sized + `,"subnet":{"id":"` + strings.Replace(subnet, "1111/", "2222/", 1) + `"}`), 400, "must be in the subscription of the workspace"},
		{aml(sized + `,"enableNodePublicIp":false`), 400, "a cluster without public IP needs properties.properties.subnet"},
		{aml(sized + `,"enableNodePublicIp":false,"subnet":{"id":"` + subnet + `"}`), 400, "needs a private endpoint of the workspace 'mlw'"},
	} {
		r.refused(c.status, c.says, "PUT", cpu+api, c.body)
	}
	for _, name := range []string{"c", "1cpu", "cpu-", "a_b", strings.Repeat("c", 25)} {
		r.refused(400, "is invalid for type", "PUT", mlw+"/computes/"+name+api, aml(sized))
	}
	r.refused(404, "parent resource", "PUT", strings.Replace(cpu, "/mlw/", "/none/", 1)+api, aml(sized))
	if a := r.Request("GET", cpu+api, ""); a.Status != 404 {
		t.Errorf("a refused cluster is there: %s", a.Text)
	}
}

// TestNoPublicIP: with an approved endpoint of the workspace, and not with one that waits, such a cluster can be made.
func TestNoPublicIP(t *testing.T) {
	r := newRig(t)
	body := aml(sized + `,"enableNodePublicIp":false,"subnet":{"id":"` + subnet + `"}`)
	endpoint := arm.MustParseID(group + "/providers/Microsoft.Network/privateEndpoints/pe")
	err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		_, err := r.links.Connect(tx, arm.MustParseID(mlw), []string{"amlworkspace"}, endpoint, "please", true)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.refused(400, "needs a private endpoint", "PUT", cpu+api, body)
	list := r.Must("GET", mlw+"/privateEndpointConnections"+api, "").At("value").([]any)
	r.Must("PUT", list[0].(map[string]any)["id"].(string)+api, `{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}`)
	r.Must("PUT", cpu+api, body)
}

func TestComputeIsImmutable(t *testing.T) {
	r := newRig(t)
	user := `,"userAccountCredentials":{"adminUserName":"azureuser","adminUserSshPublicKey":"ssh-rsa AAAA"}`
	base := sized + `,"subnet":{"id":"` + subnet + `"},"remoteLoginPortPublicAccess":"Enabled"`
	r.Must("PUT", cpu+api, aml(base+user))
	for _, change := range [][2]string{
		{"Standard_DS3_v2", "Standard_DS2_v2"}, {"subnets/training", "subnets/other"}, {`"Enabled"`, `"Disabled"`}, {"azureuser", "mallory"}, {"AAAA", "BBBB"},
		{`"remoteLogin`, `"enableNodePublicIp":false,"remoteLogin`},
	} {
		r.refused(400, "Only scaleSettings, tags and description", "PUT", cpu+api, strings.Replace(aml(base+user), change[0], change[1], 1))
	}
	// What may change; what is left out stays.
	r.Must("PUT", cpu+api, strings.Replace(aml(strings.Replace(sized, ":2", ":5", 1)+`,"subnet":{"id":"`+strings.ToUpper(subnet)+`"}`), "DS3_v2", "ds3_V2", 1))
	got := r.Must("GET", cpu+api, "")
	p := got.At("properties", "properties").(map[string]any)
	if p["remoteLoginPortPublicAccess"] != "Enabled" || p["userAccountCredentials"] == nil || p["scaleSettings"].(map[string]any)["maxNodeCount"] != 5.0 {
		t.Errorf("after a PUT of the scale: %s", got.Text)
	}
}

func TestSizes(t *testing.T) {
	r := newRig(t)
	a := r.Must("GET", strings.Split(mlw, "/resourceGroups")[0]+"/providers/Microsoft.MachineLearningServices/locations/westeurope/vmSizes"+api, "")
	list, _ := a.At("value").([]any)
	if len(list) == 0 {
		t.Fatal(a.Text)
	}
	first := list[0].(map[string]any)
	for _, member := range []string{"name", "family", "vCPUs", "memoryGB", "supportedComputeTypes"} {
		if first[member] == nil {
			t.Errorf("a size without %s: %v", member, first)
		}
	}
}

func TestDatastores(t *testing.T) {
	r := newRig(t)
	store := mlw + "/datastores/mine" + api
	body := func(credentials string) string {
		return `{"properties":{"datastoreType":"AzureBlob","accountName":"partner","containerName":"data","credentials":` + credentials + `}}`
	}
	for _, c := range []struct{ body, says string }{
		{`{"properties":{}}`, "datastoreType is missing"},
		{`{"properties":{"datastoreType":"AzureBlob"}}`, "accountName ''"},
		{`{"properties":{"datastoreType":"AzureBlob","accountName":"evil.example/","containerName":"data"}}`, "accountName 'evil.example/'"},
		{`{"properties":{"datastoreType":"AzureBlob","accountName":"acct","containerName":"../data"}}`, "containerName '../data'"},
		{body(`{"credentialsType":"AccountKey","secrets":"hunter2"}`), "secrets is not an object"},
	} {
		r.refused(400, c.says, "PUT", store, c.body)
	}
	r.refused(400, "is invalid for type", "PUT", mlw+"/datastores/a-b"+api, body(`{"credentialsType":"None"}`))
	// However their name is spelt, secrets are in no answer but that of listSecrets.
	for _, name := range []string{"secrets", "Secrets", "SECRETS"} {
		put := r.Must("PUT", store, body(`{"credentialsType":"AccountKey","`+name+`":{"secretsType":"AccountKey","key":"aHVudGVyMg=="}}`))
		for _, text := range []string{put.Text, r.Must("GET", store, "").Text, r.Must("GET", mlw+"/datastores"+api, "").Text, r.Must("PATCH", store, `{"properties":{"description":"d"}}`).Text} {
			if strings.Contains(text, "aHVudGVyMg") {
				t.Errorf("%s: a secret is shown: %s", name, text)
			}
		}
		if got := r.Must("POST", mlw+"/datastores/mine/listSecrets"+api, ""); got.String("key") != "aHVudGVyMg==" {
			t.Errorf("%s: listSecrets: %s", name, got.Text)
		}
	}
	// They stay with the place that they were given for.
	r.Must("PUT", store, body(`{"credentialsType":"AccountKey"}`))
	if got := r.Must("POST", mlw+"/datastores/mine/listSecrets"+api, ""); got.String("key") != "aHVudGVyMg==" {
		t.Errorf("after a PUT without them: %s", got.Text)
	}
	r.Must("PUT", store, strings.Replace(body(`{"credentialsType":"AccountKey"}`), `"data"`, `"other"`, 1))
	r.refused(http.StatusBadRequest, "has no secrets", "POST", mlw+"/datastores/mine/listSecrets"+api, "")
	r.Must("PUT", mlw+"/datastores/files"+api, `{"properties":{"datastoreType":"AzureFile","accountName":"acct","fileShareName":"f","credentials":{"credentialsType":"None"}}}`)
	if a := r.Must("DELETE", store, ""); a.Status != 200 {
		t.Errorf("DELETE: %d", a.Status)
	}
}

func TestWorkspaceIsImmutable(t *testing.T) {
	r := newRig(t)
	other := strings.Replace(account, "/acct", "/acct2", 1)
	r.Must("PUT", other+"?api-version=2023-05-01", `{"location":"westeurope","sku":{"name":"Standard_LRS"},"kind":"StorageV2"}`)
	body := func(storage, more string) string {
		return `{"location":"westeurope","properties":{"storageAccount":"` + storage + `","keyVault":"` + vault + `"` + more + `}}`
	}
	r.refused(400, "properties.storageAccount of a workspace cannot be changed", "PUT", mlw+api, body(other, ""))
	r.refused(400, "properties.keyVault of a workspace cannot be changed", "PUT", mlw+api, strings.Replace(body(account, ""), "/kv1", "/kv2", 1))
	r.refused(400, "properties.hbiWorkspace of a workspace cannot be changed", "PUT", mlw+api, body(account, `,"hbiWorkspace":true`))
	before := r.Must("GET", mlw+api, "")
	after := r.Must("PATCH", mlw+api, `{"tags":{"a":"b"},"properties":{"imageBuildCompute":"cpu","workspaceId":"mine","discoveryUrl":"https://evil.example"}}`)
	for _, member := range []string{"workspaceId", "discoveryUrl", "creationTime", "tenantId"} {
		if before.At("properties", member) != after.At("properties", member) {
			t.Errorf("%s changed: %s", member, after.Text)
		}
	}
	if after.String("properties", "imageBuildCompute") != "cpu" || after.String("tags", "a") != "b" {
		t.Errorf("PATCH: %s", after.Text)
	}
}

// TestEndpointMembers: what an endpoint to the workspace must resolve, as "How to use your workspace with a custom DNS
// server" lists it.
func TestEndpointMembers(t *testing.T) {
	r := newRig(t)
	a := r.Must("GET", mlw+"/privateLinkResources"+api, "")
	want := map[string]any{"value": []any{map[string]any{
		"id": mlw + "/privateLinkResources/amlworkspace", "name": "amlworkspace", "type": "Microsoft.MachineLearningServices/workspaces/privateLinkResources",
		"properties": map[string]any{"groupId": "amlworkspace", "requiredMembers": []any{"default", "notebook", "inference"}, "requiredZoneNames": []any{"privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"}},
	}}}
	if d := cmp.Diff(want, a.Body); d != "" {
		t.Error(d)
	}
	err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		names, err := r.links.Names(tx, arm.MustParseID(mlw), "amlworkspace")
		want := []string{
			r.guid + ".workspace.westeurope.api.azureml.ms", r.guid + ".workspace.westeurope.cert.api.azureml.ms",
			"ml-mlw-westeurope-" + r.guid + ".westeurope.notebooks.azure.net", "*." + r.guid + ".inference.westeurope.api.azureml.ms",
		}
		if d := cmp.Diff(want, names); d != "" {
			t.Errorf("names:\n%s", d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttachedComputes(t *testing.T) {
	r := newRig(t)
	bricks := mlw + "/computes/bricks"
	a := r.Must("PUT", bricks+api, `{"location":"westeurope","properties":{"computeType":"databricks","resourceId":"`+account+`","properties":{"databricksAccessToken":"hush","workspaceUrl":"https://x","currentNodeCount":7}}}`)
	if strings.Contains(a.Text, "hush") || strings.Contains(a.Text, "NodeCount") || !strings.Contains(a.Text, `"workspaceUrl":"https://x"`) || a.At("properties", "isAttachedCompute") != true || a.String("properties", "computeType") != "Databricks" {
		t.Errorf("PUT: %s", a.Text)
	}
	if a = r.Must("POST", bricks+"/listKeys"+api, ""); a.String("databricksAccessToken") != "hush" {
		t.Errorf("listKeys: %s", a.Text)
	}
	r.refused(400, "is for compute instances", "POST", bricks+"/start"+api, "")
	r.refused(400, "cannot be changed", "PUT", bricks+api, aml(sized))
	r.Must("DELETE", bricks+api, "")
	one := mlw + "/computes/one"
	r.Must("PUT", one+api, `{"location":"westeurope","properties":{"computeType":"ComputeInstance","properties":{"vmSize":"STANDARD_NC6"}}}`)
	if a = r.Must("GET", one+api, ""); a.String("properties", "properties", "state") != "Stopped" {
		t.Errorf("GET: %s", a.Text)
	}
	r.refused(501, "object only", "POST", one+"/start"+api, "")
	r.Must("POST", one+"/stop"+api, "")
}
