//go:build clients

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// generatedRule is a rule as `rules generate --format json` has it.
type generatedRule struct {
	Name, Direction, Access, Protocol, SourceAddressPrefix, DestinationAddressPrefix string
	Priority                                                                         int
	DestinationPortRanges                                                            []string
}

func (r generatedRule) String() string {
	slices.Sort(r.DestinationPortRanges)
	return fmt.Sprintf("%s %d %s %s %s %s→%s %v", r.Name, r.Priority, r.Direction, r.Access, strings.ToLower(r.Protocol), r.SourceAddressPrefix, r.DestinationAddressPrefix, r.DestinationPortRanges)
}

// TestRulesClients: the lines that `rules generate` writes for az are run by az as they stand, and make the security group and the
// route table that the same command describes as JSON.
func TestRulesClients(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	generate := func(format string, more ...string) string {
		t.Helper()
		out, err := g.output(g.command(append([]string{"rules", "generate", "--workspace", w.workspace, "--subnet", "hub/training", "--format", format}, more...)...))
		if err != nil {
			t.Fatalf("%s: %v %s", format, err, out)
		}
		return out
	}
	az := func(script string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "rules.sh")
		if err := os.WriteFile(path, []byte("set -eu\n"+script), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := g.with(t, "PATH="+g.clients("az")+":"+bin+":"+os.Getenv("PATH"), "GROUP=e2e").command("exec", "--", "bash", path)
		out, err := g.output(cmd)
		if err != nil {
			t.Fatalf("%v: %s\n%s", err, out, script)
		}
		return out
	}
	az(generate("az"))
	var want []generatedRule
	if err := json.Unmarshal([]byte(generate("json")), &want); err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Name          string
		SecurityRules []struct {
			generatedRule
			DestinationPortRange string
		}
	}
	if err := json.Unmarshal([]byte(az("az network nsg list -g e2e -o json")), &groups); err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, n := range groups {
		if n.Name != "nsg-training" { // the network's own is another
			for _, r := range n.SecurityRules {
				if r.DestinationPortRange != "" {
					r.DestinationPortRanges = append(r.DestinationPortRanges, r.DestinationPortRange)
				}
				made = append(made, r.String())
			}
		}
	}
	for _, r := range want {
		if !slices.Contains(made, r.String()) {
			t.Errorf("az did not make %s", r)
		}
	}
	var lines []string // az network firewall is an extension, which no package registry has
	for line := range strings.Lines(generate("az", "--firewall", "10.1.250.4", "--name", "behind")) {
		if !strings.HasPrefix(line, "az network firewall ") {
			lines = append(lines, line)
		}
	}
	az(strings.Join(lines, ""))
	if out := az("az network route-table list -g e2e --query '[].routes[].nextHopIpAddress' -o tsv"); strings.TrimSpace(out) != "10.1.250.4" {
		t.Errorf("the route table leads to %q", out)
	}
}
