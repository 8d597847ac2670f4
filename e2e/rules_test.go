package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRulesGenerate: the rules that are written are enough for real packets, and leave nothing behind.
func TestRulesGenerate(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	cmd := g.command("rules", "generate", "--workspace", w.workspace, "--subnet", "hub/training", "--format", "json", "--prove")
	out, err := g.output(cmd)
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	var rules []struct {
		Name   string
		Breaks []string `json:"breaksWithout"`
	}
	if err := json.Unmarshal([]byte(out), &rules); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, r := range rules {
		if len(r.Breaks) == 0 || r.Name == "DenyInternetOutBound" && !strings.Contains(strings.Join(r.Breaks, ";"), "any host of the internet") {
			t.Errorf("%s: %q", r.Name, r.Breaks)
		}
	}
	if len(rules) < 8 {
		t.Errorf("%d rules: %s", len(rules), out)
	}
	a, err := w.do(t.Context(), request{Method: "GET", URL: g.groupID("vauban-rules-proof") + "?api-version=2024-03-01"})
	if err != nil || a.Status != 404 {
		t.Errorf("what the proof has made is still there: %v %v", a, err)
	}
}

// TestRulesBehindFirewall: the rules of a firewall and the routes to it are enough for real packets, each is of the kind that
// reads its traffic, and what no rule names does not pass.
func TestRulesBehindFirewall(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	out, err := g.output(g.command("rules", "generate", "--workspace", w.workspace, "--subnet", "hub/training", "--firewall", "10.1.250.4", "--format", "json", "--prove"))
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	var e struct {
		Rules []struct {
			Name, RuleType string
			Names          []string `json:"destinationFqdns"`
			Breaks         []string `json:"breaksWithout"`
		} `json:"firewallRules"`
		Routes []struct {
			Prefix string   `json:"addressPrefix"`
			Breaks []string `json:"breaksWithout"`
		}
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tundra := false
	for _, r := range e.Rules {
		tundra = tundra || r.RuleType == "NetworkRule" && strings.Join(r.Names, "") == location+".tundra.azureml.ms"
		if len(r.Breaks) == 0 {
			t.Errorf("nothing breaks without %s", r.Name)
		}
	}
	if !tundra || len(e.Rules) < 10 || len(e.Routes) != 1 || len(e.Routes[0].Breaks) == 0 {
		t.Errorf("%s", out)
	}
}
