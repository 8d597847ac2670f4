package provider_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/provider/network"
	"vauban.dev/store"
)

const (
	netAPI = "?api-version=2024-05-01"
	stAPI  = "?api-version=2024-01-01"
	kvAPI  = "?api-version=2023-07-01"
	mlAPI  = "?api-version=2024-10-01"
	rgAPI  = "?api-version=2024-11-01"

	vnet      = group + "/providers/Microsoft.Network/virtualNetworks/vnet"
	account   = group + "/providers/Microsoft.Storage/storageAccounts/acct"
	vault     = group + "/providers/Microsoft.KeyVault/vaults/kv1"
	workspace = group + "/providers/Microsoft.MachineLearningServices/workspaces/mlw"
	endpoints = group + "/providers/Microsoft.Network/privateEndpoints/"
	zones     = group + "/providers/Microsoft.Network/privateDnsZones/"
)

// secured makes the specification's secured workspace in one group: a network with its groups and zones, storage and
// vault that are closed to the public, a workspace with its own identity, endpoints, and a cluster without public
// addresses that runs a job.
func (r *region) secured() (node, task string) {
	r.t.Helper()
	nsg := group + "/providers/Microsoft.Network/networkSecurityGroups/nsg"
	r.Must("PUT", nsg+netAPI, `{"location":"westeurope","properties":{"securityRules":[{"name":"deny","properties":{"priority":4000,"direction":"Outbound","access":"Deny","protocol":"*","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"Internet","destinationPortRange":"*"}}]}}`)
	subnet := func(name, prefix string) string {
		return `{"name":"` + name + `","properties":{"addressPrefix":"` + prefix + `","networkSecurityGroup":{"id":"` + nsg + `"}}}`
	}
	r.Must("PUT", vnet+netAPI, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.20.0.0/16"]},"subnets":[`+subnet("endpoints", "10.20.1.0/24")+","+subnet("training", "10.20.2.0/24")+`]}}`)
	r.Must("PUT", account+stAPI, `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{"publicNetworkAccess":"Disabled"}}`)
	r.Must("PUT", vault+kvAPI, `{"location":"westeurope","properties":{"tenantId":"11111111-1111-1111-1111-111111111111","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true,"publicNetworkAccess":"Disabled"}}`)
	r.Must("PUT", workspace+mlAPI, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccount":"`+account+`","keyVault":"`+vault+`","publicNetworkAccess":"Disabled"}}`)
	for name, c := range map[string]struct{ target, group, zone string }{
		"blob": {account, "blob", "privatelink.blob.core.windows.net"}, "vault": {vault, "vault", "privatelink.vaultcore.azure.net"}, "ml": {workspace, "amlworkspace", "privatelink.api.azureml.ms"},
	} {
		r.Must("PUT", zones+c.zone+"?api-version=2020-06-01", `{"location":"global"}`)
		r.Must("PUT", zones+c.zone+"/virtualNetworkLinks/link?api-version=2020-06-01", `{"location":"global","properties":{"virtualNetwork":{"id":"`+vnet+`"},"registrationEnabled":false}}`)
		r.Must("PUT", endpoints+name+netAPI, `{"location":"westeurope","properties":{"subnet":{"id":"`+vnet+`/subnets/endpoints"},"privateLinkServiceConnections":[{"name":"c","properties":{"privateLinkServiceId":"`+c.target+`","groupIds":["`+c.group+`"]}}]}}`)
		r.Must("PUT", endpoints+name+"/privateDnsZoneGroups/default"+netAPI, `{"properties":{"privateDnsZoneConfigs":[{"name":"z","properties":{"privateDnsZoneId":"`+zones+c.zone+`"}}]}}`)
	}
	r.Must("PUT", workspace+"/computes/cpu"+mlAPI, `{"location":"westeurope","properties":{"computeType":"AmlCompute","properties":{"vmSize":"Standard_DS3_v2","enableNodePublicIp":false,"subnet":{"id":"`+vnet+`/subnets/training"},"scaleSettings":{"minNodeCount":0,"maxNodeCount":2}}}}`)
	r.Must("PUT", workspace+"/environments/py/versions/1"+mlAPI, `{"properties":{"image":"`+image+`"}}`)
	r.Must("POST", workspace+"/codes/c/versions/1/startPendingUpload"+mlAPI, `{"pendingUploadType":"TemporaryBlobReference"}`)
	for _, job := range []string{"runs", "waits"} {
		r.Must("PUT", workspace+"/jobs/"+job+mlAPI, `{"properties":{"jobType":"Command","command":"true","environmentId":"azureml:py:1","computeId":"`+workspace+`/computes/cpu"}}`)
	}
	node = r.node()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for {
		changed := r.ml.Queue().Changed(node)
		reply, err := r.ml.Queue().Polled(ctx, node, batch.Poll{State: compute.NodeIdle})
		if err != nil {
			r.t.Fatal(err)
		}
		if reply.Assignment != nil {
			return node, reply.Assignment.Task.ID
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatal("the node gets no task")
		}
	}
}

// left names every document of the store that tells of the group.
func (r *region) left() []string {
	r.t.Helper()
	var out []string
	err := r.Engine.View(r.t.Context(), func(tx *rp.Tx) error {
		for _, kind := range []string{
			"ml.node", "ml.task", "ml.queue", "ml.cluster", "ml.guid", "ml.upload", "storage.name", "keyvault.name", "network/address", "network/public",
			rp.StoreKind("Microsoft.Network/virtualNetworks"), rp.StoreKind("Microsoft.Network/virtualNetworks/subnets"), rp.StoreKind("Microsoft.Network/networkInterfaces"),
			rp.StoreKind("Microsoft.Network/privateEndpoints"), rp.StoreKind("Microsoft.Network/privateDnsZones"), rp.StoreKind("Microsoft.Network/privateDnsZones/A"),
			rp.StoreKind("Microsoft.Storage/storageAccounts"), rp.StoreKind("Microsoft.Storage/storageAccounts/privateEndpointConnections"),
			rp.StoreKind("Microsoft.KeyVault/vaults"), rp.StoreKind("Microsoft.MachineLearningServices/workspaces"), rp.StoreKind("Microsoft.MachineLearningServices/workspaces/computes"),
			rp.StoreKind("Microsoft.MachineLearningServices/workspaces/jobs"), rp.StoreKind("Microsoft.MachineLearningServices/workspaces/datastores"),
			rp.StoreKind("Microsoft.Authorization/roleAssignments"), rp.StoreKind("Microsoft.Resources/resourceGroups"),
		} {
			err := tx.Scan(kind, "", "", func(d store.Doc) bool {
				out = append(out, kind+" "+d.Key)
				return true
			})
			if err != nil {
				return err
			}
		}
		nics, err := network.HiddenNICs(tx)
		for _, n := range nics {
			out = append(out, "nic "+n.ID)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *region) status(job string) string {
	r.t.Helper()
	run, err := r.ml.Runs.Run(r.t.Context(), r.guid, job)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(run.Status)
}

// TestGroupGoes: a group with everything in it goes, in an order that the uses of its resources allow, and nothing is
// left of it: no address, no name, no process, no run that waits for ever.
func TestGroupGoes(t *testing.T) {
	r := newRegion(t)
	node, _ := r.secured()
	r.guid = r.Must("GET", workspace+mlAPI, "").String("properties", "workspaceId")
	deleting := r.Request("DELETE", group+rgAPI, "")
	if deleting.Status != 202 {
		t.Fatalf("DELETE: %d %s", deleting.Status, deleting.Text)
	}
	if end := r.Wait(deleting); end.String("status") != "Succeeded" {
		t.Fatal(end.Text)
	}
	// A deleted vault keeps its name and its secrets until it is purged.
	if purge := r.Request("POST", sub+"/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv1/purge?api-version=2023-07-01", ""); purge.Status != 202 {
		t.Errorf("purge: %d %s", purge.Status, purge.Text)
	}
	if left := r.left(); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
	if r.Alive(node) {
		t.Error("the node's agent still runs")
	}
	for _, job := range []string{"runs", "waits"} {
		if s := r.status(job); s != "Failed" {
			t.Errorf("job %s is %s", job, s)
		}
	}
	for _, id := range []string{account, vault} {
		if !r.dropped[id] {
			t.Errorf("the data of %s were not dropped", id)
		}
	}
}

// TestWorkspaceGoes: a workspace is deleted with its clusters, nodes, jobs, datastores and connections; storage and
// vault, which are their owner's, stay.
func TestWorkspaceGoes(t *testing.T) {
	r := newRegion(t)
	node, task := r.secured()
	r.guid = r.Must("GET", workspace+mlAPI, "").String("properties", "workspaceId")
	r.Must("DELETE", workspace+mlAPI, "")
	if r.Alive(node) {
		t.Error("the node's agent still runs")
	}
	for _, job := range []string{"runs", "waits"} {
		if s := r.status(job); s != "Failed" {
			t.Errorf("job %s is %s", job, s)
		}
	}
	for _, left := range r.left() {
		if strings.Contains(left, "mlw") && !strings.Contains(left, "network") || strings.HasPrefix(left, "ml.") || strings.HasPrefix(left, "nic ") {
			t.Errorf("left: %s", left)
		}
	}
	if err := r.ml.Queue().Report(t.Context(), node, compute.Report{Task: task, Attempt: 1, Seq: 1, State: compute.TaskCompleted}); err == nil {
		t.Error("a node that is gone reports")
	}
	for path, version := range map[string]string{account: stAPI, vault: kvAPI, vnet: netAPI} {
		if a := r.Request("GET", path+version, ""); a.Status != 200 {
			t.Errorf("GET %s: %d %s", path, a.Status, a.Text)
		}
	}
	a := r.Request("GET", endpoints+"ml"+netAPI, "")
	if !strings.Contains(a.Text, `"Disconnected"`) {
		t.Errorf("the workspace's endpoint: %s", a.Text)
	}
	// Its name is free for another, which has another id and knows nothing of the first.
	r.Must("PUT", workspace+mlAPI, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccount":"`+account+`","keyVault":"`+vault+`"}}`)
	if again := r.Must("GET", workspace+mlAPI, ""); again.String("properties", "workspaceId") == r.guid || again.At("properties", "privateLinkCount") != 0.0 {
		t.Errorf("the new workspace: %s", again.Text)
	}
	if list, _ := r.Request("GET", workspace+"/jobs"+mlAPI, "").At("value").([]any); len(list) != 0 {
		t.Errorf("the new workspace has the jobs of the old one: %v", list)
	}
}

// TestSubnetInUse: what stands in a subnet keeps it, and says who it is.
func TestSubnetInUse(t *testing.T) {
	r := newRegion(t)
	r.secured()
	for subnet, by := range map[string]string{"training": "/computes/cpu/nodes/", "endpoints": "/networkInterfaces/blob.nic."} {
		a := r.Request("DELETE", vnet+"/subnets/"+subnet+netAPI, "")
		if a.Status != 400 || a.Code() != "InUseSubnetCannotBeDeleted" || !strings.Contains(a.Text, by) {
			t.Errorf("DELETE of %s: %d %s", subnet, a.Status, a.Text)
		}
	}
	if a := r.Request("DELETE", vnet+netAPI, ""); a.Status/100 == 2 {
		t.Errorf("the network goes from under its nodes: %d", a.Status)
	}
}

// TestDiscoveryFollowsEndpoints: clients are sent to the workspace's own host once an endpoint to it is approved, and
// back when that is gone.
func TestDiscoveryFollowsEndpoints(t *testing.T) {
	r := newRegion(t)
	r.secured()
	at := func() string { return r.Must("GET", workspace+mlAPI, "").String("properties", "discoveryUrl") }
	w := r.Must("GET", workspace+mlAPI, "")
	private := "https://" + w.String("properties", "workspaceId") + ".workspace.westeurope.api.azureml.ms/discovery"
	if at() != private || w.At("properties", "privateLinkCount") != 1.0 || w.At("properties", "notebookInfo", "isPrivateLinkEnabled") != true {
		t.Errorf("with an endpoint: %s", w.Text)
	}
	connections, _ := w.At("properties", "privateEndpointConnections").([]any)
	connection := connections[0].(map[string]any)["id"].(string)
	for _, c := range [][2]string{{"Rejected", "https://westeurope.api.azureml.ms/discovery"}, {"Approved", private}} {
		r.Must("PUT", connection+mlAPI, `{"properties":{"privateLinkServiceConnectionState":{"status":"`+c[0]+`"}}}`)
		if got := at(); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
	r.Must("DELETE", endpoints+"ml"+netAPI, "")
	if got := at(); got != "https://westeurope.api.azureml.ms/discovery" {
		t.Errorf("without an endpoint: %s", got)
	}
}
