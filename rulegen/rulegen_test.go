package rulegen

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/audit"
	"vauban.dev/explain"
	"vauban.dev/fabric"
)

type tags map[string]string

func (t tags) Prefixes(tag string) ([]netip.Prefix, bool) {
	for name, p := range t {
		if strings.EqualFold(name, tag) {
			return []netip.Prefix{netip.MustParsePrefix(p)}, true
		}
	}
	return nil, false
}

const vnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"

func world() (*audit.World, audit.Subject) {
	t := &fabric.Topology{
		VNets: []fabric.VNet{{ID: vnet, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
			Subnets: []fabric.Subnet{{ID: vnet + "/subnets/a", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}}},
			NICs:    []fabric.NIC{{ID: "nic", Subnet: vnet + "/subnets/a", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.4")}}}}},
		Internet: fabric.Internet{Hosts: []fabric.InternetHost{{Name: "www", Addr: netip.MustParseAddr("198.51.100.80")}}},
		Tags: tags{"Storage.westeurope": "20.150.1.0/24", "AzureActiveDirectory": "20.190.1.0/24", "AzureMachineLearning": "20.40.1.0/24",
			"BatchNodeManagement.westeurope": "20.50.1.0/24", "BatchNodeManagement": "20.50.0.0/16", "AzureResourceManager": "20.60.1.0/24", "AzureFrontDoor.FrontEnd": "20.70.1.0/24",
			"AzureFrontDoor.FirstParty": "20.71.1.0/24", "MicrosoftContainerRegistry.westeurope": "20.80.1.0/24", "AzureMonitor": "20.90.1.0/24", "AzureKeyVault.westeurope": "20.91.1.0/24",
			"AzureContainerRegistry.westeurope": "20.92.1.0/24"},
	}
	w := &audit.World{World: explain.World{Topology: t}, Stranger: "198.51.100.80", StrangerPort: 443}
	return w, audit.Subject{Place: audit.Place{At: fabric.Place{Kind: fabric.AtNIC, ID: "nic"}, From: "v/a", Title: "v/a"}, Region: "westeurope"}
}

// The rules of every profile are enough, and none of them can go.
func TestEveryProfileIsProved(t *testing.T) {
	w, s := world()
	for _, date := range []string{"2021-11", "2022-06", "2022-09", audit.Latest} {
		for _, public := range []bool{false, true} {
			p, err := audit.ProfileAsOf(date)
			if err != nil {
				t.Fatal(err)
			}
			s.PublicIP, s.HBI = public, public
			rules := Generate(p, Options{Region: s.Region, PublicIP: public, HBI: public})
			proved, err := Prove(t.Context(), w, s, p, rules)
			if err != nil {
				t.Errorf("%s, public %v: %v", date, public, err)
				continue
			}
			for i, r := range proved {
				// VirtualNetwork and the load balancer are let in by Azure's own rules
				platform := r.Source == fabric.TagLoadBalancer || r.Source == fabric.TagVirtualNetwork && r.Direction == "Inbound"
				if told := strings.HasPrefix(r.Breaks[0], "today"); told != platform {
					t.Errorf("%s, public %v: %s: %q", date, public, r.Name, r.Breaks)
				}
				if i > 0 && r.Direction == proved[i-1].Direction && r.Priority <= proved[i-1].Priority {
					t.Errorf("%s has no later priority than %s", r.Name, proved[i-1].Name)
				}
			}
		}
	}
	if w.Topology.VNets[0].Subnets[0].NSG != "" || len(w.Topology.NSGs) != 0 {
		t.Error("a proof changed the model")
	}
	p, err := audit.ProfileAsOf(audit.Latest)
	if err != nil {
		t.Fatal(err)
	}
	rules := Generate(p, Options{Region: "westeurope"})
	if _, err := Prove(t.Context(), w, s, p, rules[:len(rules)-1]); err == nil || !strings.Contains(err.Error(), "the internet is reached: true") {
		t.Errorf("without the last rule: %v", err)
	}
	if _, err := Prove(t.Context(), w, s, p, rules[1:]); err == nil || !strings.Contains(err.Error(), "AzureActiveDirectory") {
		t.Errorf("without the first rule: %v", err)
	}
}

func TestFormats(t *testing.T) {
	rules := []Rule{
		{Name: "AllowStorage", Priority: 100, Direction: "Outbound", Access: "Allow", Protocol: "Tcp", Source: "VirtualNetwork", Destination: "Storage.westeurope", Ports: []string{"443", "445"}, Purpose: "data"},
		{Name: "Deny", Priority: 4096, Direction: "Outbound", Access: "Deny", Protocol: "*", Source: "*", Destination: "Internet", Ports: []string{"*"}, Purpose: "nothing else"},
	}
	for format, want := range map[string]string{
		"az": `az network nsg create -g "$GROUP" -n nsg -l westeurope
# data
az network nsg rule create -g "$GROUP" --nsg-name nsg -n AllowStorage --priority 100 --direction Outbound --access Allow --protocol 'Tcp' --source-address-prefixes 'VirtualNetwork' --source-port-ranges '*' --destination-address-prefixes 'Storage.westeurope' --destination-port-ranges '443' '445'
# nothing else
az network nsg rule create -g "$GROUP" --nsg-name nsg -n Deny --priority 4096 --direction Outbound --access Deny --protocol '*' --source-address-prefixes '*' --source-port-ranges '*' --destination-address-prefixes 'Internet' --destination-port-ranges '*'
`,
		"bicep": `param location string = 'westeurope'

resource nsg 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: 'nsg'
  location: location
  properties: {
    securityRules: [
      // data
      {
        name: 'AllowStorage'
        properties: {
          priority: 100
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: 'Storage.westeurope'
          destinationPortRanges: [
            '443'
            '445'
          ]
        }
      }
      // nothing else
      {
        name: 'Deny'
        properties: {
          priority: 4096
          direction: 'Outbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: 'Internet'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

output id string = nsg.id
`,
		"terraform": `variable "resource_group_name" {
  type = string
}

resource "azurerm_network_security_group" "this" {
  name                = "nsg"
  location            = "westeurope"
  resource_group_name = var.resource_group_name

  # data
  security_rule {
    name                       = "AllowStorage"
    priority                   = 100
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = "VirtualNetwork"
    source_port_range          = "*"
    destination_address_prefix = "Storage.westeurope"
    destination_port_ranges    = ["443", "445"]
  }

  # nothing else
  security_rule {
    name                       = "Deny"
    priority                   = 4096
    direction                  = "Outbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "Internet"
    destination_port_range     = "*"
  }
}
`,
	} {
		var b strings.Builder
		if err := Write(&b, format, Names{Group: "nsg"}, "westeurope", rules, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	var b strings.Builder
	if err := Write(&b, "json", Names{Group: "nsg"}, "westeurope", rules, nil); err != nil {
		t.Fatal(err)
	}
	var back []Rule
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || !cmp.Equal(rules, back) {
		t.Errorf("%v %s", err, b.String())
	}
	if err := Write(&b, "pulumi", Names{Group: "nsg"}, "westeurope", rules, nil); err == nil {
		t.Error("another format is taken")
	}
}
