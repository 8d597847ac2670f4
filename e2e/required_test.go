package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	profiles "vauban.dev/audit"
)

// TestRequiredRows takes one row after the other of the tables of specifications 002 and 004 away from a subnet's
// security group: the audit names exactly that row, the row's own packet is dropped by that rule, and the component of
// the region that lives behind the row is out of reach, while the others answer. With the row back, all answer.
func TestRequiredRows(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Enabled")
	nsg, public := w.group+"/providers/Microsoft.Network/networkSecurityGroups/rows", w.group+"/providers/Microsoft.Network/publicIPAddresses/node"
	subnet := w.group + "/providers/Microsoft.Network/virtualNetworks/other/subnets/default"
	opened := rule("AllowNodes", 300, "Inbound", "Allow", "Tcp", "AzureMachineLearning", "VirtualNetwork", "44224")
	w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{opened}}})
	w.put(subnet, vNetwork, obj{"properties": obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": true, "networkSecurityGroup": obj{"id": nsg}}})
	called := w.text(w.put(public, vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{"publicIPAllocationMethod": "Static"}}), "properties.ipAddress")
	w.put(w.group+"/providers/Microsoft.Network/networkInterfaces/node", vNetwork, obj{"location": location, "properties": obj{"ipConfigurations": []obj{
		{"name": "c", "properties": obj{"subnet": obj{"id": subnet}, "publicIPAddress": obj{"id": public}}}}}})
	reports := g.audit("required", "--workspace", w.workspace, "--subnet", "other/default", "--public-ip")
	if f := found(reports); len(f) != 0 {
		t.Fatalf("with all rows: %q", f)
	}
	// What lives behind a row today: tag and port, and a request that its component answers.
	components := map[string]string{
		"AzureActiveDirectory 443":           "https://login.microsoftonline.com/" + g.tenant + "/v2.0/.well-known/openid-configuration",
		"AzureMachineLearning 443":           "https://" + w.guid + ".workspace." + location + ".api.azureml.ms/discovery/workspaces" + w.workspace,
		"AzureResourceManager 443":           "https://management.azure.com/subscriptions?api-version=2022-12-01",
		"Storage." + location + " 443":       "https://" + blobHost + "/?comp=list",
		"BatchNodeManagement.westeurope 443": "https://azureml." + location + ".batch.azure.com/",
		"AzureKeyVault." + location + " 443": "https://" + vaultName + ".vault.azure.net/secrets?api-version=7.4",
	}
	answers := func(url string) bool {
		// A component that is out of reach drops packets: five seconds are enough to know.
		_, err := g.output(g.at("other/default", "timeout", "5", "rest", "-json", "-token", "-", "GET", url))
		return err == nil
	}
	for row, url := range components {
		if !answers(url) {
			t.Errorf("%s: %s does not answer", row, url)
		}
	}
	without := func(gone obj, named []string, component string) {
		t.Helper()
		w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{opened, gone}}})
		out, err := g.output(g.command("audit", "required", "--workspace", w.workspace, "--subnet", "other/default", "--public-ip", "--model-only", "--json"))
		var reports []struct {
			Items []struct {
				Level, Kind, What, From string
				Answer                  *struct {
					Host, Protocol string
					Port           int
				}
			}
		}
		if jsonErr := json.Unmarshal([]byte(out), &reports); jsonErr != nil {
			t.Fatalf("%v %v: %s", err, jsonErr, out)
		}
		findings := 0
		for _, x := range reports[0].Items {
			if x.Level != "finding" {
				continue
			}
			findings++
			for _, part := range named {
				if !strings.Contains(x.What, part) {
					t.Errorf("%v: the audit names %q", named, x.What)
				}
			}
			if x.Kind != component || x.Answer == nil {
				t.Errorf("%v: component %q, not %q", named, x.Kind, component)
				continue
			}
			live := g.explainLive("--from", x.From, "--to", net.JoinHostPort(x.Answer.Host, strconv.Itoa(x.Answer.Port)), "--proto", strings.ToLower(x.Answer.Protocol))
			if live.Allowed || !live.Live.Agrees {
				t.Errorf("%v: its packet: %+v", named, live.Live)
			}
		}
		if findings != 1 {
			t.Errorf("%v: %d findings", named, findings)
		}
	}
	latest, err := profiles.ProfileAsOf(profiles.Latest)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range latest.Requirements {
		tag := strings.Replace(q.Tag, ".region", "."+location, 1)
		protocols := map[string][]string{"Tcp": {"Tcp"}, "Udp": {"Udp"}, "*": {"Tcp", "Udp"}}[q.Protocol]
		for _, port := range q.Ports {
			for _, protocol := range protocols {
				gone := rule("Gone", 100, q.Direction, "Deny", protocol, "*", tag, fmt.Sprint(port))
				if q.Direction == "Inbound" {
					gone = rule("Gone", 100, q.Direction, "Deny", protocol, tag, "*", fmt.Sprint(port))
				} else if q.When == profiles.WithoutPublicIP {
					continue
				}
				without(gone, []string{strings.ToLower(q.Direction), strings.ToUpper(protocol), fmt.Sprint(port), tag}, q.Component)
				if url, lives := components[fmt.Sprint(tag, " ", port)]; lives && protocol == "Tcp" {
					if answers(url) {
						t.Errorf("without %s %d: %s answers", tag, port, url)
					}
					if tag == "AzureResourceManager" && !answers(components["AzureActiveDirectory 443"]) {
						t.Errorf("without %s %d: sign-in does not answer either", tag, port)
					}
				}
			}
		}
	}
	w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{opened, rule("Gone", 100, "Outbound", "Deny", "Tcp", "*", "AzureKeyVault."+location, "443")}}})
	if answers(components["AzureKeyVault."+location+" 443"]) {
		t.Error("without AzureKeyVault the vault answers")
	}
	w.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{opened}}})
	for row, url := range components {
		if !answers(url) {
			t.Errorf("with all rows back, %s: %s does not answer", row, url)
		}
	}
	// The node's answers go to a firewall that has not seen the service's call: the audit says so, and what to do.
	table := w.group + "/providers/Microsoft.Network/routeTables/rows"
	w.put(table, vNetwork, obj{"location": location, "properties": obj{"routes": []obj{{"name": "nowhere", "properties": obj{"addressPrefix": "AzureMachineLearning", "nextHopType": "None"}}}}})
	w.put(subnet, vNetwork, obj{"properties": obj{"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": true, "networkSecurityGroup": obj{"id": nsg}, "routeTable": obj{"id": table}}})
	if f := found(g.audit("required", "--workspace", w.workspace, "--subnet", "other/default", "--public-ip", "--without", "workspace")); !has(f, "inbound TCP 44224", called, "arrives, and is not answered") {
		t.Errorf("with the answers' route gone: %q", f)
	}
}
