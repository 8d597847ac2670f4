package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// wholeAnswer is what `vauban explain --live --json` says, as far as these tests read it.
type wholeAnswer struct {
	explained
	Refused    string `json:"refusedBy"`
	Permission *struct {
		Allowed bool   `json:"allowed"`
		By      string `json:"by"`
	} `json:"permission"`
	Fixed bool `json:"fixed"`
	Fixes []struct {
		Commands []string `json:"commands"`
	} `json:"fixes"`
	Live struct {
		Outcome string `json:"outcome"`
		Agrees  bool   `json:"agrees"`
		Why     string `json:"why"`
	} `json:"live"`
}

func (g *ground) explainLive(args ...string) (a wholeAnswer) {
	g.t.Helper()
	out, err := g.output(g.command(append([]string{"explain", "--json", "--live"}, args...)...))
	if jsonErr := json.Unmarshal([]byte(out), &a); jsonErr != nil {
		g.t.Fatalf("%v: %v %v %s", args, err, jsonErr, out)
	}
	return a
}

// TestExplainLive: what explain says of names, rules, firewalls and roles is what a packet meets; and what it
// says to change makes the packet pass.
func TestExplainLive(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	const stranger = "198.51.100.80"
	for _, c := range []struct {
		from, proto, to, refused string
	}{
		{"internet", "tcp", stranger + ":443", ""},
		{"hub/training", "tcp", stranger + ":443", "network"},
		{"hub/training", "udp", stranger + ":53", "network"},
		{"hub/training", "icmp", stranger, "network"},
		{"hub/training", "udp", "168.63.129.16:53", ""},
		{"hub/training", "tcp", "nobody.invalid:443", "name"},
		{"hub/jumpbox", "tcp", blobHost + ":443", ""},
		{"hub/jumpbox", "tcp", vaultName + ".vault.azure.net:443", ""},
		{"internet", "tcp", blobHost + ":443", "service"},
		{"internet", "tcp", vaultName + ".vault.azure.net:443", "service"},
		{"internet", "tcp", w.guid + ".workspace." + location + ".api.azureml.ms:443", "service"},
		{"other/default", "icmp", stranger, "network"}, // an address that is shared passes TCP and UDP only
	} {
		a := g.explainLive("--from", c.from, "--proto", c.proto, "--to", c.to)
		if a.Refused != c.refused || a.Allowed != (c.refused == "") {
			t.Errorf("%v: %+v", c, a)
		}
		if !a.Live.Agrees {
			t.Errorf("%v: live %+v", c, a.Live)
		}
	}
	// a principal that has no role
	made := w.put(w.group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nobody", "2023-01-31", obj{"location": location})
	as := w.text(made, "properties.principalId")
	ask := func() wholeAnswer { return g.explainLive("--from", "hub/jumpbox", "--to", blobHost+":443", "--as", as) }
	if a := ask(); a.Refused != "role" || !a.Fixed || a.Permission == nil || !a.Live.Agrees {
		t.Errorf("a principal without a role: %+v", a)
	}
	w.grant(as, "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", w.account)
	if a := ask(); !a.Allowed || !strings.Contains(a.Permission.By, "Storage Blob Data Reader") {
		t.Errorf("with the role: %+v", a)
	}
	// what explain says to change is what the API takes, and makes the packet pass
	a := g.explainLive("--from", "hub/training", "--to", stranger+":443")
	if !a.Fixed || len(a.Fixes) == 0 {
		t.Fatalf("%+v", a)
	}
	for _, f := range a.Fixes {
		for _, command := range f.Commands {
			flags := azFlags(command)
			if !strings.HasPrefix(command, "az network nsg rule create ") {
				t.Fatalf("a fix that this test does not know: %s", command)
			}
			w.put(w.group+"/providers/Microsoft.Network/networkSecurityGroups/"+flags["--nsg-name"]+"/securityRules/"+flags["-n"], vNetwork, obj{"properties": obj{
				"priority": json.Number(flags["--priority"]), "direction": flags["--direction"], "access": flags["--access"], "protocol": flags["--protocol"],
				"sourceAddressPrefix": flags["--source-address-prefixes"], "sourcePortRange": flags["--source-port-ranges"],
				"destinationAddressPrefix": flags["--destination-address-prefixes"], "destinationPortRange": flags["--destination-port-ranges"]}})
		}
	}
	if a := g.explainLive("--from", "hub/training", "--to", stranger+":443"); !a.Allowed || !a.Live.Agrees {
		t.Errorf("after the fix: %+v", a)
	}
}

// azFlags are the options of a command line of az, each with one value.
func azFlags(command string) map[string]string {
	out := map[string]string{}
	words := strings.Fields(command)
	for i := 0; i+1 < len(words); i++ {
		if strings.HasPrefix(words[i], "-") {
			out[words[i]] = strings.Trim(words[i+1], "'")
		}
	}
	return out
}
