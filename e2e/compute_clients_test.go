//go:build clients

package e2e

import (
	"net/http"
	"path"
	"strings"
	"testing"
)

// public makes the cluster with public addresses in the training subnet, without nodes.
func (w *world) public(rules ...obj) (nsg string) {
	w.t.Helper()
	nsg = w.group + "/providers/Microsoft.Network/networkSecurityGroups/training"
	w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": rules}})
	w.put(w.cluster, vML, obj{"location": location, "properties": obj{"computeType": "AmlCompute", "properties": obj{
		"vmSize": "STANDARD_DS3_V2", "scaleSettings": obj{"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT1S"},
		"remoteLoginPortPublicAccess": "Enabled", "userAccountCredentials": obj{"adminUserName": "azureuser", "adminUserSshPublicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILs5GyDKmlwuyZMrLqdRFOtwwKn41k0Yp1nzzqOjqhVS"},
		"subnet": obj{"id": w.vnet + "/subnets/training"}, "enableNodePublicIp": true}}})
	return nsg
}

// entry is what the service has in the group of the virtual network, by the end of its name.
func (w *world) entry() map[string]string {
	w.t.Helper()
	found := map[string]string{}
	for _, typ := range []string{"loadBalancers", "publicIPAddresses", "networkSecurityGroups"} {
		var list struct {
			Value []struct{ ID, Name string }
		}
		if err := w.send(request{Method: http.MethodGet, URL: w.group + "/providers/Microsoft.Network/" + typ + "?api-version=" + vNetwork}).json(&list); err != nil {
			w.t.Fatal(err)
		}
		for _, r := range list.Value {
			if _, kind, ok := strings.Cut(r.Name, "-azurebatch-cloudservice"); ok {
				found[kind] = r.ID
			}
		}
	}
	return found
}

// idle waits for a node that is.
func (w *world) idle() {
	w.t.Helper()
	w.eventually("a node is idle", func() bool {
		n, _ := property(w.settled(w.cluster, vML), "properties.properties.nodeStateCounts.idleNodeCount").(float64)
		return n == 1
	})
}

// troubles are the errors of the cluster.
func (w *world) troubles() (text string) {
	w.t.Helper()
	list, _ := property(w.settled(w.cluster, vML), "properties.properties.errors").([]any)
	for _, e := range list {
		text += w.text(e, "error.code") + ": " + w.text(e, "error.message") + "\n"
	}
	return text
}

func mlIn(priority int) obj {
	return rule("AllowML", priority, "Inbound", "Allow", "Tcp", "AzureMachineLearning", "*", "44224")
}

// TestComputeClientsPublic: the load balancer, the public address and the security group of a cluster with public addresses come
// with its first node and go with its last, the service calls the nodes through them, and each thing that keeps it from there is
// told.
func TestComputeClientsPublic(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.network()
	w.services("Enabled")
	w.environment()
	nsg := w.public(mlIn(100))
	if e := w.entry(); len(e) > 0 {
		t.Errorf("before the first node there is %v", e)
	}
	w.submit("first", "true", nil)
	if s := w.ended("first"); s != "Completed" {
		t.Fatalf("the job is %s; the cluster: %s", s, w.troubles())
	}
	w.eventually("the network resources go with the last node", func() bool { return len(w.entry()) == 0 })

	t.Run("while nodes are there", func(t *testing.T) {
		w := w.with1(t)
		w.put(w.cluster, vML, obj{"location": location, "properties": obj{"computeType": "AmlCompute", "properties": obj{"vmSize": "STANDARD_DS3_V2", "enableNodePublicIp": true,
			"subnet": obj{"id": w.vnet + "/subnets/training"}, "scaleSettings": obj{"minNodeCount": 1, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT1S"}}}})
		w.idle()
		e := w.entry()
		if len(e) != 3 {
			t.Fatalf("there is %v", e)
		}
		if a := w.send(request{Method: "DELETE", URL: e["loadbalancer"] + "?api-version=" + vNetwork}); a.Code != "LoadBalancerInUseByVirtualMachineScaleSet" {
			t.Errorf("the load balancer of a compute is deleted: %s", a)
		}
		var nodes struct {
			Nodes []struct {
				PublicIPAddress string
				Port            int
			}
		}
		if err := w.send(request{Method: "POST", URL: w.cluster + "/listNodes?api-version=" + vML}).json(&nodes); err != nil || len(nodes.Nodes) != 1 || nodes.Nodes[0].Port < 50000 {
			t.Errorf("nodes %+v, %v", nodes, err)
		}
		lb := w.settled(e["loadbalancer"], vNetwork)
		rules := property(lb, "properties.inboundNatRules").([]any)
		for _, r := range rules {
			if port := property(r, "properties.backendPort").(float64); port == 44224 {
				w.gone(w.text(r, "id"), vNetwork)
			}
		}
		w.submit("unreachable", "true", nil)
		if s := w.ended("unreachable"); s != "Failed" {
			t.Errorf("without the load balancer's rule the job is %s", s)
		}
		if errs := w.troubles(); !strings.Contains(errs, "NodeNotReachable") || !strings.Contains(errs, "44224") {
			t.Errorf("the cluster says %q", errs)
		} else {
			t.Log(errs)
		}
	})
	t.Run("the subnet's group refuses 44224", func(t *testing.T) {
		w := w.with1(t)
		w.idle()
		w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{rule("NoML", 100, "Inbound", "Deny", "Tcp", "AzureMachineLearning", "*", "44224")}}})
		w.submit("refused", "true", nil)
		if s, errs := w.ended("refused"), w.troubles(); s != "Failed" || !strings.Contains(errs, "NoML") {
			t.Errorf("the job is %s, and the cluster says %q", s, errs)
		} else {
			t.Log(errs)
		}
		w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{mlIn(100)}}})
		w.submit("again", "true", nil)
		w.completed("again")
	})
	t.Run("deleted", func(t *testing.T) {
		w := w.with1(t)
		w.gone(w.cluster, vML)
		w.eventually("the network resources go with it", func() bool { return len(w.entry()) == 0 })
	})
	t.Run("a policy forbids security groups", func(t *testing.T) {
		w := w.with1(t)
		definition := "/subscriptions/" + g.sub + "/providers/Microsoft.Authorization/policyDefinitions/no-nsg"
		w.put(definition, "2021-06-01", obj{"properties": obj{"policyType": "Custom", "mode": "All", "policyRule": obj{
			"if": obj{"field": "type", "equals": "Microsoft.Network/networkSecurityGroups"}, "then": obj{"effect": "deny"}}}})
		w.put(path.Join(w.group, "providers/Microsoft.Authorization/policyAssignments/no-nsg"), "2022-06-01", obj{"properties": obj{"policyDefinitionId": definition}})
		w.put(w.cluster, vML, obj{"location": location, "properties": obj{"computeType": "AmlCompute", "properties": obj{"vmSize": "STANDARD_DS3_V2", "enableNodePublicIp": true,
			"subnet": obj{"id": w.vnet + "/subnets/training"}, "scaleSettings": obj{"minNodeCount": 1, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT1S"}}}})
		w.eventually("the cluster says so", func() bool { return strings.Contains(w.troubles(), "RequestDisallowedByPolicy") })
		t.Log(w.troubles())
		if e := w.entry(); len(e) > 0 {
			t.Errorf("there is %v", e)
		}
	})
}
