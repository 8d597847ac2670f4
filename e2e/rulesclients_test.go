//go:build clients

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// generatedRule is a rule as `rules generate --format json` has it, and as az shows it.
type generatedRule struct {
	Name, Direction, Access, Protocol, SourceAddressPrefix, DestinationAddressPrefix, DestinationPortRange string
	Priority                                                                                               int
	DestinationPortRanges                                                                                  []string
}

func (r generatedRule) String() string {
	ports := slices.Clone(r.DestinationPortRanges)
	if r.DestinationPortRange != "" {
		ports = append(ports, r.DestinationPortRange)
	}
	slices.Sort(ports)
	return fmt.Sprintf("%s %d %s %s %s %s→%s %v", r.Name, r.Priority, r.Direction, r.Access, strings.ToLower(r.Protocol), r.SourceAddressPrefix, r.DestinationAddressPrefix, ports)
}

// firewallRule is a rule of a firewall, as both have it.
type firewallRule struct {
	Name, RuleType                                                                         string
	SourceAddresses, DestinationFqdns, DestinationAddresses, TargetFqdns, DestinationPorts []string
}

func (r firewallRule) String() string {
	return fmt.Sprint(r.Name, r.RuleType, r.SourceAddresses, r.DestinationFqdns, r.DestinationAddresses, r.TargetFqdns, r.DestinationPorts)
}

// rulesGround is a region with a secured workspace, whose rules are written and put in place.
type rulesGround struct {
	*ground
	t         *testing.T
	workspace string
}

func (g *rulesGround) generate(format, name string, more ...string) string {
	g.t.Helper()
	args := []string{"rules", "generate", "--workspace", g.workspace, "--subnet", "hub/training", "--format", format, "--name", "nsg-" + name,
		"--policy-name", "policy-" + name, "--route-table-name", "rt-" + name}
	out, err := g.output(g.command(append(args, more...)...))
	if err != nil {
		g.t.Fatalf("%s: %v %s", format, err, out)
	}
	return out
}

// az runs lines of a shell with az on the region's internet.
func (g *rulesGround) az(script string) string {
	g.t.Helper()
	path := filepath.Join(g.t.TempDir(), "rules.sh")
	if err := os.WriteFile(path, []byte("set -eu\n"+script), 0o600); err != nil {
		g.t.Fatal(err)
	}
	cmd := g.with(g.t, "PATH="+g.clients("az")+":"+bin+":"+os.Getenv("PATH"), "GROUP=e2e").command("exec", "--", "bash", path)
	out, err := g.output(cmd)
	if err != nil {
		g.t.Fatalf("%v: %s\n%s", err, out, script)
	}
	return out
}

// read is what az shows, as JSON.
func (g *rulesGround) read(line string, into any) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(g.az("az "+line+" -o json")), into); err != nil {
		g.t.Fatalf("%s: %v", line, err)
	}
}

const firewallAt = "10.1.250.4"

// made fails unless the region has the group, the firewall's rules if there is a policy, and the routes that the same command
// describes as JSON.
func (g *rulesGround) made(name string, policy bool) {
	g.t.Helper()
	var want struct {
		SecurityRules []generatedRule
		FirewallRules []firewallRule
		Routes        []struct{ Name, AddressPrefix, NextHopType, NextHopIPAddress string }
	}
	if err := json.Unmarshal([]byte(g.generate("json", name, "--firewall", firewallAt)), &want); err != nil {
		g.t.Fatal(err)
	}
	var group []generatedRule
	g.read("network nsg rule list -g e2e --nsg-name nsg-"+name, &group)
	sorted := func(rules []generatedRule) (out []string) {
		for _, r := range rules {
			out = append(out, r.String())
		}
		slices.Sort(out)
		return out
	}
	if got, want := sorted(group), sorted(want.SecurityRules); !slices.Equal(got, want) {
		g.t.Errorf("the group has %q, not %q", got, want)
	}
	routes := slices.Clone(want.Routes[:0])
	g.read("network route-table route list -g e2e --route-table-name rt-"+name, &routes)
	if !slices.Equal(routes, want.Routes) {
		g.t.Errorf("the routes are %v, not %v", routes, want.Routes)
	}
	if !policy {
		return
	}
	var collections []struct{ Rules []firewallRule }
	id := strings.TrimSpace(g.az("az network nsg show -g e2e -n nsg-" + name + " --query id -o tsv"))
	beside, _, _ := strings.Cut(id, "/networkSecurityGroups/")
	g.read("rest --url '"+beside+"/firewallPolicies/policy-"+name+"/ruleCollectionGroups/azureml?api-version=2024-05-01' --query properties.ruleCollections", &collections)
	var got, expected []string
	for _, c := range collections {
		for _, r := range c.Rules {
			got = append(got, r.String())
		}
	}
	for _, r := range want.FirewallRules {
		expected = append(expected, r.String())
	}
	slices.Sort(got)
	slices.Sort(expected)
	if !slices.Equal(got, expected) {
		g.t.Errorf("the policy has %q, not %q", got, expected)
	}
}

// TestRulesClients: what `rules generate` writes makes what the same command describes as JSON: the lines for az as they stand, the
// Bicep file as a template, the Terraform file by azurerm where that is built, whose plan after it is empty.
func TestRulesClients(t *testing.T) {
	ground := newGround(t, nil)
	ground.up()
	g := &rulesGround{ground: ground, t: t, workspace: ground.secured().workspace}
	t.Run("az", func(t *testing.T) {
		g.t = t
		var lines []string // az network firewall is an extension, which no package registry has
		for line := range strings.Lines(g.generate("az", "az", "--firewall", firewallAt)) {
			if !strings.HasPrefix(line, "az network firewall ") {
				lines = append(lines, line)
			}
		}
		g.az(strings.Join(lines, ""))
		g.made("az", false)
	})
	t.Run("bicep", func(t *testing.T) {
		g.t = t
		g.deploy(g.generate("bicep", "bicep", "--firewall", firewallAt))
		g.made("bicep", true)
	})
	t.Run("terraform", func(t *testing.T) {
		g.t = t
		providers, err := filepath.Abs(filepath.Join("..", ".cache", "terraform"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(providers, "terraform-provider-azurerm")); err != nil {
			t.Log("azurerm is not built (sh demo/setup.sh azurerm): the Terraform file is not applied")
			return
		}
		f := newTerraform(t, ground, providers, "rules")
		if err := os.WriteFile(filepath.Join(f.dir, "rules.tf"), []byte(g.generate("terraform", "tf", "--firewall", firewallAt)), 0o600); err != nil {
			t.Fatal(err)
		}
		f.run(0, "apply", "-auto-approve", "-var=resource_group_name=e2e")
		f.run(0, "plan", "-detailed-exitcode", "-var=resource_group_name=e2e")
		g.made("tf", true)
	})
}

// deploy deploys a Bicep file. Bicep's compiler is in no package registry: its grammar is, and testdata/clients/bicep.py makes a
// template of what the file says.
func (g *rulesGround) deploy(text string) {
	g.t.Helper()
	dir := g.t.TempDir()
	file, template := filepath.Join(dir, "rules.bicep"), filepath.Join(dir, "rules.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	out, err := exec.CommandContext(g.t.Context(), filepath.Join(g.clients("bicep"), "python"), filepath.Join("testdata", "clients", "bicep.py"), file).CombinedOutput()
	if err == nil {
		err = os.WriteFile(template, out, 0o600)
	}
	if err != nil {
		g.t.Fatalf("%v: %s", err, out)
	}
	g.az("az deployment group create -g e2e -n rules --template-file " + template + " -o none")
}
